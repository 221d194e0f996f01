"""LAION's CLAP: equal to transformers' own classes where those are deterministic, and never random."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ml_clap.models.clap import CLAP, fill
from safetensors.torch import load_file, save_file
from torch import Tensor

RATE = 48_000
WINDOW = RATE * 2
Writer = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(write_clap: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def model(folder: Path) -> CLAP:
    return CLAP.from_pretrained(folder)


def sound(samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / RATE
    tone = 0.5 * torch.sin(2 * torch.pi * (300 + 500 * seed) * time)
    return tone + 0.01 * torch.randn(samples, generator=generator)


def their_embedding(folder: Path, waveform: Tensor) -> Tensor:
    """What the real classes make of a sound of at most one window."""
    from transformers import ClapModel, ClapProcessor

    theirs = ClapModel.from_pretrained(folder).eval()
    processor = ClapProcessor.from_pretrained(folder)
    inputs = processor.feature_extractor(
        waveform.numpy().astype(np.float64), sampling_rate=RATE, return_tensors="pt"
    )
    is_longer = torch.zeros(1, 1, dtype=torch.bool)  # of a model with fusion it is drawn at random otherwise
    with torch.inference_mode():
        output = theirs.get_audio_features(inputs["input_features"].float(), is_longer=is_longer)
    vector = output if isinstance(output, Tensor) else output.pooler_output
    return torch.nn.functional.normalize(vector, dim=-1)[0]


@pytest.mark.parametrize("samples", [700, 30_000, WINDOW - 1, WINDOW])
def test_a_short_sound_gives_the_real_classes_embedding(model: CLAP, folder: Path, samples: int) -> None:
    with torch.inference_mode():
        ours = model.embed_audio(sound(samples)[None])[0]
    torch.testing.assert_close(ours, their_embedding(folder, sound(samples)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("has_fusion", "padding"), [(True, "repeatpad"), (False, "repeat"), (False, "pad")])
def test_fusion_and_other_padding_give_the_real_classes_embedding(
    write_clap: Writer, tmp_path: Path, has_fusion: bool, padding: str
) -> None:
    folder = write_clap(tmp_path, has_fusion=has_fusion, padding=padding)
    with torch.inference_mode():
        ours = CLAP.from_pretrained(folder).embed_audio(sound(40_000)[None])[0]
    torch.testing.assert_close(ours, their_embedding(folder, sound(40_000)), rtol=0, atol=1e-5)


def test_texts_give_the_real_classes_embeddings(model: CLAP, folder: Path) -> None:
    from transformers import ClapModel, ClapProcessor

    texts = ["a dog barks", "rain is falling in the distance"]
    inputs = ClapProcessor.from_pretrained(folder).tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = (
            ClapModel.from_pretrained(folder)
            .eval()
            .get_text_features(inputs["input_ids"], attention_mask=inputs["attention_mask"])
        )
        theirs = output if isinstance(output, Tensor) else output.pooler_output
        ours = model.embed_text(texts)
    torch.testing.assert_close(ours, torch.nn.functional.normalize(theirs, dim=-1), rtol=0, atol=1e-5)


def test_a_long_sound_is_the_mean_of_its_windows(model: CLAP) -> None:
    waveform = torch.cat([sound(WINDOW, 0), sound(WINDOW, 3), sound(WINDOW // 2, 6)])
    with torch.inference_mode():
        whole = model.embed_audio(waveform[None])[0]
        parts = [waveform[:WINDOW], waveform[WINDOW : 2 * WINDOW], waveform[-WINDOW:]]
        rows = model.embed_audio(torch.stack(parts))
    expected = torch.nn.functional.normalize(rows[0] + rows[1] + 0.5 * rows[2], dim=0)
    torch.testing.assert_close(whole, expected, rtol=0, atol=1e-6)
    assert (rows[0] @ rows[1]) < 0.999, "the model hears no difference: the test shows nothing"


def test_nothing_is_random_and_neighbours_change_nothing(model: CLAP) -> None:
    long, short = sound(3 * WINDOW + 100, 2), sound(9_000, 1)
    batch = torch.stack([long, torch.nn.functional.pad(short, (0, len(long) - len(short)))])
    lengths = torch.tensor([len(long), len(short)])
    with torch.inference_mode():
        first = model.embed_audio(batch, lengths)
        np.random.seed(5)
        assert torch.equal(model.embed_audio(batch, lengths), first)
        alone = torch.cat([model.embed_audio(long[None]), model.embed_audio(short[None])])
    torch.testing.assert_close(alone, first, rtol=0, atol=2e-6)


def test_what_the_model_says_of_itself(model: CLAP, folder: Path) -> None:
    assert (model.embed_dim, model.sample_rate, model.max_seconds) == (12, RATE, 2)
    assert model.licence == "unknown"
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# CLAP\n")
    again = CLAP.from_pretrained(folder)
    assert again.licence == "apache-2.0 (its card)"
    assert again.fingerprint() == model.fingerprint()
    again.features.padding = "pad"
    assert again.fingerprint() != model.fingerprint()


def test_texts_of_other_languages_are_warned_of_once(model: CLAP, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        model.embed_text(["un chien", "a dog"], ["fra_Latn", "eng_Latn"])
        model.embed_text(["un chien"], "fra_Latn")
    assert [record.getMessage() for record in caplog.records if "English" in record.getMessage()] == [
        "this CLAP was trained on English texts, and reads those in fra_Latn as if they were English"
    ]


def test_a_text_longer_than_the_model_reads_is_found(model: CLAP) -> None:
    [cut] = model.find_cut(["a dog", "a dog barks " * 9])
    assert cut.num_dropped == 2 + 27 - 16


def test_missing_weights_are_told(write_clap: Writer, tmp_path: Path) -> None:
    folder = write_clap(tmp_path)
    state = load_file(folder / "model.safetensors")
    del state["text_projection.linear1.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of a ClapModel: text_projection\.linear1\.weight"):
        CLAP.from_pretrained(folder)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [("repeatpad", [1, 2, 3, 1, 2, 3, 0]), ("repeat", [1, 2, 3, 1, 2, 3, 1]), ("pad", [1, 2, 3, 0, 0, 0, 0])],
)
def test_a_short_sound_fills_the_window(padding: str, expected: list[int]) -> None:
    assert fill(torch.tensor([1.0, 2.0, 3.0]), 7, padding).tolist() == expected


@pytest.mark.parametrize("kept", ["preprocessor_config.json", "processor_config.json"])
def test_the_extractors_settings_are_read_of_either_file(
    write_clap: Writer, tmp_path: Path, kept: str
) -> None:
    folder = write_clap(tmp_path, padding="pad")
    if not (folder / kept).exists():
        pytest.skip("transformers 4 writes, and reads, preprocessor_config.json alone")
    other = {"preprocessor_config.json", "processor_config.json"} - {kept}
    (folder / other.pop()).unlink(missing_ok=True)
    model = CLAP.from_pretrained(folder)
    assert (model.features.padding, model.sample_rate, model.max_seconds) == ("pad", RATE, 2)


def test_an_absurd_extractor_is_refused(write_clap: Writer, tmp_path: Path) -> None:
    path = write_clap(tmp_path) / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fft_window_size": 1 << 40}))
    with pytest.raises(ValueError, match="fft_window_size is 1099511627776"):
        CLAP.from_pretrained(tmp_path)
