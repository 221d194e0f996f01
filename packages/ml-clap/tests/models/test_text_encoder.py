import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ml_clap.data.languages import LANGUAGES, SONAR_LANGUAGES
from ml_clap.models.sonar import sonar_config, to_fairseq2_layout, to_our_layout
from ml_clap.models.text_encoder import (
    Backend,
    TextEncoder,
    build_empty,
    build_text_encoder,
    create_small_text_encoder,
    load_text_encoder,
)
from ml_clap.models.text_source import read_text_source
from ml_clap.models.tokenizer import SonarTokenizer
from safetensors.torch import load_file, save_file

needs_sonar = pytest.mark.skipif(
    importlib.util.find_spec("sonar") is None,
    reason="needs the extra `sonar`",
)
TEXTS = [
    "A dog barks twice while rain falls on a tin roof.",
    "Un chien aboie deux fois sous la pluie, l'été.",
    "",
    "犬が二回吠え、トタン屋根に雨が降る。",
    "一只狗叫了两声 😀",
    "Een hond blaft.",
]
TEXT_LANGUAGES = ["eng_Latn", "fra_Latn", "cat_Latn", "jpn_Jpan", "zho_Hans", "nld_Latn"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SONAR with all 202 languages, wide enough that its heads are 64 like the published one's."""
    made = tmp_path_factory.mktemp("sonar")
    return create_small_text_encoder(
        made, TEXTS, vocab_size=200, dim=128, layers=2, heads=2, languages=SONAR_LANGUAGES
    )


def embed(
    encoder: TextEncoder, texts: list[str] = TEXTS, languages: list[str] = TEXT_LANGUAGES
) -> torch.Tensor:
    with torch.inference_mode():
        return encoder.eval()(*encoder.tokenizer(texts, languages))


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        torch.rand(1)  # the global generator is elsewhere each time
        create_small_text_encoder(tmp_path / name, TEXTS, vocab_size=100, dim=8, layers=1, heads=2, seed=3)
    for file in ("model.safetensors", "sentencepiece.bpe.model", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    other = create_small_text_encoder(tmp_path / "c", TEXTS, vocab_size=100, dim=8, layers=1, heads=2, seed=4)
    assert (other / "model.safetensors").read_bytes() != (tmp_path / "a" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("texts", [["rain"], ["犬", "一只狗"], TEXTS])
def test_a_small_tokenizer_knows_every_character_it_saw(tmp_path: Path, texts: list[str]) -> None:
    made = create_small_text_encoder(tmp_path, texts, vocab_size=5000, dim=8, layers=1, heads=2)
    ids = SonarTokenizer.from_folder(made)(texts, ["eng_Latn"] * len(texts)).ids
    assert not (ids == 3).any()


def test_a_tokenizer_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give some captions"):
        create_small_text_encoder(tmp_path, ["", " "])


def test_a_text_is_embedded_alike_alone_and_in_a_mixed_batch(folder: Path) -> None:
    encoder = load_text_encoder(folder)
    batch = embed(encoder)
    for row, text, language in zip(batch, TEXTS, TEXT_LANGUAGES, strict=True):
        torch.testing.assert_close(embed(encoder, [text], [language])[0], row, atol=1e-5, rtol=0)


def test_the_language_of_a_text_counts(folder: Path) -> None:
    encoder = load_text_encoder(folder)
    english, french = embed(encoder, ["pain", "pain"], ["eng_Latn", "fra_Latn"])
    assert (english - french).abs().max() > 1e-3


@needs_sonar
def test_the_backends_agree_in_embeddings_and_gradients(folder: Path) -> None:
    ours, theirs = load_text_encoder(folder), load_text_encoder(folder, backend="sonar")
    torch.testing.assert_close(embed(ours), embed(theirs), atol=1e-5, rtol=0)

    directions = torch.randn(len(TEXTS), ours.dim)
    for encoder in (ours, theirs):
        encoder.eval()
        (encoder(*encoder.tokenizer(TEXTS, TEXT_LANGUAGES)) * directions).sum().backward()
    our_gradients = {name: each.grad for name, each in ours.encoder.named_parameters()}
    their_gradients = to_our_layout({name: each.grad for name, each in theirs.encoder.named_parameters()})
    # fairseq2 takes row 1, <unk>, for padding and does not train it; transformers does.
    our_gradients["embed_tokens.weight"][3] = 0
    for name, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, their_gradients[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("backend", ["transformers", pytest.param("sonar", marks=needs_sonar)])
def test_gradients_reach_every_weight_in_training(folder: Path, backend: str) -> None:
    encoder = load_text_encoder(folder, backend=backend).train()  # type: ignore[arg-type]
    encoder(*encoder.tokenizer(TEXTS, TEXT_LANGUAGES)).square().sum().backward()
    weights = {name: each for name, each in encoder.named_parameters() if name.endswith("weight")}
    assert [name for name, each in weights.items() if each.grad is None or not each.grad.any()] == []


@pytest.mark.parametrize("backend", ["transformers", pytest.param("sonar", marks=needs_sonar)])
def test_gradient_checkpointing_changes_no_gradient(folder: Path, backend: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        encoder = load_text_encoder(folder, backend=backend).train()  # type: ignore[arg-type]
        if checkpointing:
            encoder.enable_gradient_checkpointing()
        torch.manual_seed(1)  # dropout is on, and must be the same when recomputed
        encoder(*encoder.tokenizer(TEXTS, TEXT_LANGUAGES)).square().sum().backward()
        gradients.append([each.grad for each in encoder.parameters()])
        assert encoder.export_state().keys() == load_text_encoder(folder).export_state().keys()
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def as_hub_port(state: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file({f"encoder.{name}": each for name, each in state.items()}, folder / "model.safetensors")
    return folder


def as_encoder_of_nllb(state: dict[str, torch.Tensor], folder: Path) -> Path:
    renamed = {f"model.encoder.{name}": each for name, each in state.items() if "embed" not in name}
    decoder = {"model.decoder.layer_norm.weight": torch.zeros(128)}
    shared = {"model.shared.weight": state["embed_tokens.weight"]}
    save_file(renamed | decoder | shared, folder / "model.safetensors")
    return folder


def as_fairseq2(state: dict[str, torch.Tensor], folder: Path) -> Path:
    torch.save(to_fairseq2_layout(state), folder / "sonar_text_encoder.pt")
    return folder / "sonar_text_encoder.pt"


def as_nested_fairseq2(state: dict[str, torch.Tensor], folder: Path) -> Path:
    torch.save({"model": to_fairseq2_layout(state)}, folder / "encoder.pt")
    return folder / "encoder.pt"


def as_first_fairseq(state: dict[str, torch.Tensor], folder: Path) -> Path:
    extra = {"version": torch.tensor([3.0]), "embed_positions._float_tensor": torch.zeros(1)}
    torch.save({"model": {"state_dict": state | extra}}, folder / "encoder.pt")
    return folder / "encoder.pt"


@pytest.mark.parametrize(
    "layout", [as_hub_port, as_encoder_of_nllb, as_fairseq2, as_nested_fairseq2, as_first_fairseq]
)
def test_every_published_layout_loads_strictly(
    folder: Path, tmp_path: Path, layout: Callable[[dict[str, torch.Tensor], Path], Path]
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "sonar_languages.json").unlink()  # published ones have none, but all 202 languages
    state = load_file(folder / "model.safetensors")
    expected = embed(load_text_encoder(folder))
    torch.testing.assert_close(embed(load_text_encoder(layout(state, tmp_path))), expected, atol=1e-6, rtol=0)
    del state["layers.1.fc2.bias"]
    with pytest.raises(ValueError, match=r"layers\.1\.fc2\.bias"):
        load_text_encoder(layout(state, tmp_path))


def test_layout_conversion_is_its_own_inverse(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    back = to_our_layout(to_fairseq2_layout(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert sonar_config(state).encoder_attention_heads == 2


@pytest.mark.parametrize("backend", ["transformers", pytest.param("sonar", marks=needs_sonar)])
def test_loading_gives_what_was_saved_and_draws_no_random_numbers(folder: Path, backend: Backend) -> None:
    before = torch.get_rng_state()
    loaded = load_text_encoder(folder, backend=backend)
    assert torch.equal(torch.get_rng_state(), before)
    state, saved = loaded.export_state(), load_file(folder / "model.safetensors")
    assert state.keys() == saved.keys()
    assert all(torch.equal(state[name], saved[name]) for name in saved)
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("source", ["folder", "bert"])
def test_buffers_that_are_not_saved_are_there_after_loading(
    source: str, request: pytest.FixtureRequest
) -> None:
    parts = read_text_source(request.getfixturevalue(source), max_tokens=50)
    built = dict(build_text_encoder(parts, backend="transformers").named_buffers())
    loaded = dict(load_text_encoder(request.getfixturevalue(source), max_tokens=50).named_buffers())
    assert loaded.keys() == built.keys() != set()
    assert all(torch.equal(loaded[name], built[name]) for name in built)


def test_empty_models_are_made_whatever_their_initialization() -> None:
    class Drawn(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.empty(50, 50), requires_grad=False)
            self.inner = build_empty(lambda: torch.nn.Linear(3, 3))
            # torch 2.14 draws until all are in range: for ever, if drawing does nothing.
            torch.nn.init.trunc_normal_(self.weight, std=0.02, a=-0.04, b=0.04)

    before = torch.get_rng_state()
    model = build_empty(Drawn)
    assert torch.equal(torch.get_rng_state(), before)
    assert {each.device.type for each in model.parameters()} == {"cpu"}
    assert (model.weight.requires_grad, model.inner.weight.requires_grad) == (False, True)


CARD_SCRIPT = """
import sys, torch
from ml_clap.models.text_encoder import load_text_encoder
encoder = load_text_encoder("tiny_sonar", backend="sonar").eval()
texts, languages = sys.argv[2].split("|"), sys.argv[3].split("|")
with torch.inference_mode():
    torch.save(encoder(*encoder.tokenizer(texts, languages)), sys.argv[1])
"""


@needs_sonar
@pytest.mark.slow
def test_a_fairseq2_card_loads_with_its_own_tokenizer(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = load_file(folder / "model.safetensors")
    torch.save(to_fairseq2_layout(state), tmp_path / "encoder.pt")
    vocab = {
        "size": len(state["embed_tokens.weight"]),
        "unk_idx": 1,
        "bos_idx": 2,
        "eos_idx": 3,
        "pad_idx": 1,
    }
    sizes = {"model_dim": 128, "num_encoder_layers": 2, "num_encoder_attn_heads": 2, "ffn_inner_dim": 512}
    card = {
        "name": "tiny_sonar",
        "model_family": "transformer_encoder",
        "model_arch": "basic",
        "model_config": {"_set_": {**sizes, "vocab_info": vocab}},
        "checkpoint": str(tmp_path / "encoder.pt"),
        "tokenizer": str(folder / "sentencepiece.bpe.model"),
        "tokenizer_family": "nllb",
        "tokenizer_config": {"_set_": {"default_lang": "eng_Latn", "langs": list(SONAR_LANGUAGES)}},
    }
    (tmp_path / "card.yaml").write_text(json.dumps(card))  # JSON is YAML
    monkeypatch.setenv("FAIRSEQ2_USER_ASSET_DIR", str(tmp_path))  # read once in a process, hence another one
    out = tmp_path / "out.pt"
    command = [sys.executable, "-c", CARD_SCRIPT, str(out), "|".join(TEXTS), "|".join(TEXT_LANGUAGES)]
    subprocess.run(command, check=True, timeout=120)
    expected = embed(load_text_encoder(folder))
    torch.testing.assert_close(torch.load(out), expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with its pooler, stored in half precision as small real models are."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    made = tmp_path_factory.mktemp("bert")
    (made / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks"])
    )
    BertTokenizerFast(str(made / "vocab.txt"), model_max_length=64).save_pretrained(made)
    config = BertConfig(
        vocab_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    BertModel(config).half().save_pretrained(made)
    return made


def test_any_encoder_of_transformers_is_mean_pooled_without_its_pooler(bert: Path) -> None:
    from transformers import AutoModel

    encoder = load_text_encoder(bert)
    ids, mask = encoder.tokenizer(["a dog barks", "dog"], ["eng_Latn", "deu_Latn"])
    with torch.inference_mode():
        found = encoder.eval()(ids, mask)
        original = AutoModel.from_pretrained(bert, dtype=torch.float32).eval()
        tokens = original(ids, attention_mask=mask.long()).last_hidden_state
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[0], tokens[0].mean(dim=0))
    torch.testing.assert_close(found[1], tokens[1, :3].mean(dim=0))
    assert [name for name, _ in encoder.named_parameters() if "pooler" in name] == []


def test_texts_are_cut_to_the_positions_an_encoder_has(bert: Path, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    settings = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 9}))
    assert load_text_encoder(tmp_path, max_tokens=50).tokenizer.max_tokens == 9
    assert load_text_encoder(bert, max_tokens=50).tokenizer.max_tokens == 38  # of 40 positions
    assert embed(load_text_encoder(bert, max_tokens=50), ["a dog " * 50], ["eng_Latn"]).isfinite().all()


def test_an_encoder_with_missing_weights_is_refused(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    state = load_file(bert / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights.*encoder\.layer\.1\.output\.dense\.weight"):
        load_text_encoder(tmp_path)


def test_the_sonar_backend_refuses_another_encoder(bert: Path) -> None:
    with pytest.raises(ValueError, match="runs SONAR only, and this encoder is a bert"):
        load_text_encoder(bert, backend="sonar")


def test_the_sonar_backend_without_its_extra_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fairseq2", None)
    with pytest.raises(ImportError, match=r'pip install "ml-clap\[sonar\]".*text_backend: transformers'):
        load_text_encoder(folder, backend="sonar")
    with pytest.raises(ImportError, match=r"ml-clap\[sonar\]"):
        load_text_encoder("text_sonar_basic_encoder", backend="sonar")


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    with pytest.raises(ValueError, match="a text encoder alone is needed"):
        load_text_encoder(tmp_path)


def test_a_tokenizer_too_large_for_its_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    listed = [*SONAR_LANGUAGES, "xxx_Latn"]
    (tmp_path / "sonar_languages.json").write_text(json.dumps(listed))
    with pytest.raises(ValueError, match="they do not belong together"):
        load_text_encoder(tmp_path)


@pytest.mark.parametrize("source", ["no/such/folder", "nowhere", Path("a/b")])
def test_a_source_that_does_not_exist_is_refused(source: str | Path) -> None:
    with pytest.raises(
        ValueError, match=r"does not exist: expected a text encoder \(folder, hub id or \.pt\)"
    ):
        load_text_encoder(source)


def test_a_hub_id_that_cannot_be_fetched_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody/nothing is no folder, and the hub does not give it"):
        load_text_encoder("nobody/nothing")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    torch.save({"lm_head.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"not the weights of SONAR's text encoder.*lm_head\.weight"):
        load_text_encoder(tmp_path / "other.pt")


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.pt").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        load_text_encoder(tmp_path / "encoder.pt")


def test_default_languages_are_the_papers_eight(tmp_path: Path) -> None:
    made = create_small_text_encoder(tmp_path, TEXTS, vocab_size=100, dim=8, layers=1, heads=2)
    assert SonarTokenizer.from_folder(made).languages == LANGUAGES
