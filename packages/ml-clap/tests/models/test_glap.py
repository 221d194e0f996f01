"""GLAP: the published names, and the authors' own numbers (see tests/golden/pack_glap_golden.py)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ml_clap.models.glap import GLAP, convert_glap, dasheng_config
from ml_clap.models.text_encoder import create_small_text_encoder
from torch import Tensor

GOLDEN = Path(__file__).parent.parent / "golden" / "glap.npz"
HEAD_WIDTH = 16


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.fixture(scope="module")
def published(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {
        name.removeprefix("weight:"): each for name, each in golden.items() if name.startswith("weight:")
    }
    return {name: each.float() if each.is_floating_point() else each for name, each in named.items()}


@pytest.fixture(scope="module")
def folder(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the authors' file, which keeps their training configuration too, and the tokenizer."""
    made = tmp_path_factory.mktemp("glap")
    text = create_small_text_encoder(made / "text", ["A dog barks.", "Un chien aboie."], vocab_size=60)
    (text / "sentencepiece.bpe.model").rename(made / "sentencepiece.source.256000.model")
    config = {"outputpath": Path("experiments/glap"), "epochs": 20}
    torch.save({"model": published, "config": config}, made / "glap_checkpoint.pt")
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> GLAP:
    return GLAP.from_pretrained(folder, head_width=HEAD_WIDTH)


def test_a_sound_gives_the_authors_embedding(model: GLAP, golden: dict[str, Tensor]) -> None:
    with torch.inference_mode():
        ours = model.embed_audio(golden["clip"].float()[None])[0]
    torch.testing.assert_close(ours, golden["audio_embedding"], rtol=0, atol=1e-5)


def test_a_text_gives_the_authors_embedding(model: GLAP, golden: dict[str, Tensor]) -> None:
    from ml_clap.models.shared_space import project
    from ml_clap.models.sonar import to_fairseq2_ids

    theirs = golden["text_ids"]
    ours = torch.tensor([[{0: 1, 1: 3, 2: 0, 3: 2}.get(int(each), int(each)) for each in theirs]])
    assert torch.equal(to_fairseq2_ids(ours)[0], theirs)
    with torch.inference_mode():
        vector = model.text_encoder(ours, torch.ones_like(ours, dtype=torch.bool))
        torch.testing.assert_close(
            project(model.text_proj, vector)[0], golden["text_embedding"], rtol=0, atol=1e-5
        )


def test_neighbours_and_padding_change_nothing(model: GLAP, golden: dict[str, Tensor]) -> None:
    clip = golden["clip"].float()
    waveforms = torch.zeros(3, 200_000)
    waveforms[0, :48_000], waveforms[1], waveforms[2, :300] = clip, torch.randn(200_000), clip[:300]
    with torch.inference_mode():
        alone = model.embed_audio(clip[None])[0]
        together = model.embed_audio(waveforms, torch.tensor([48_000, 200_000, 300]))
    assert together.shape == (3, 16)
    assert together.isfinite().all()
    torch.testing.assert_close(together[0], alone, rtol=0, atol=2e-6)


def test_every_language_is_read_as_english(model: GLAP) -> None:
    with torch.inference_mode():
        english, french = model.embed_text(["un chien"]), model.embed_text(["un chien"], "fra_Latn")
    assert torch.equal(english, french)
    assert model.prepare_text(["un chien"], "eng_Latn").ids[0, 0] == model.text_encoder.tokenizer.language_id(
        "eng_Latn"
    )


def test_the_architecture_is_read_from_the_weights(published: dict[str, Tensor]) -> None:
    config = dasheng_config(convert_glap(published), head_width=HEAD_WIDTH)
    assert (config.embed_dim, config.depth, config.num_heads, config.num_tokens) == (32, 1, 2, 252)


def test_the_fingerprint_tells_weights_apart(model: GLAP, folder: Path) -> None:
    again = GLAP.from_pretrained(folder / "glap_checkpoint.pt", head_width=HEAD_WIDTH)
    assert again.fingerprint() == model.fingerprint()
    with torch.no_grad():
        again.audio_proj[0].bias += 1.0
    assert again.fingerprint() != model.fingerprint()
    assert "CC-BY-NC-4.0" in again.licence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("audio_encoder.model.norm.bias"), "missing: audio_encoder.norm.bias"),
        (lambda state: state.update({"more": torch.zeros(1)}), "unexpected: more"),
        (lambda state: state.update({"audio_proj.2.weight": torch.zeros(9, 9)}), "expected \\(16, 16\\)"),
    ],
)
def test_weights_that_do_not_fit_are_told(
    published: dict[str, Tensor], folder: Path, tmp_path: Path, change: Any, message: str
) -> None:
    state = dict(published)
    change(state)
    torch.save(state, tmp_path / "glap_checkpoint.pt")
    with pytest.raises(ValueError, match=message):
        GLAP.from_pretrained(tmp_path, text_tokenizer=folder, head_width=HEAD_WIDTH)


def test_code_in_a_checkpoint_is_not_run(folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("run",))

    torch.save({"model": {}, "config": Evil()}, tmp_path / "glap_checkpoint.pt")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        GLAP.from_pretrained(tmp_path, text_tokenizer=folder)
