import copy
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_common.ced import CED
from audio_common.checkpoint import convert_state_dict
from audio_common.config import CEDConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.config.model import ModelConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.trainers.loss import contrastive_loss, embedding_regularizer
from ml_clap.trainers.reporter import describe_model
from safetensors.torch import load_file
from torch import Tensor, nn

GOLDEN = Path(__file__).parent.parent / "golden"
needs_sonar = pytest.mark.skipif(
    importlib.util.find_spec("sonar") is None,
    reason="needs the extra `sonar`",
)
SMALL_CED = CEDConfig(embed_dim=48, depth=2, num_heads=3, num_classes=10)
TEXTS = ["A dog barks twice.", "Un chien aboie sous la pluie.", "犬が吠える。", "一只狗在叫。", ""]
TEXT_LANGUAGES = ["eng_Latn", "fra_Latn", "jpn_Jpan", "zho_Hans", "cat_Latn"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    folder = create_small_text_encoder(
        tmp_path_factory.mktemp("text"), TEXTS, vocab_size=100, dim=32, layers=2, heads=2
    )
    return ModelConfig(audio=SMALL_CED, text_encoder=str(folder), embed_dim=64)


@pytest.fixture
def model(config: ModelConfig) -> MLCLAP:
    return MLCLAP(config).eval()


def make_clips(*lengths: int) -> tuple[Tensor, Tensor]:
    clips = [torch.randn(length) * 0.1 for length in lengths]
    return nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor(lengths)


def embed(model: MLCLAP, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        return model.embed_audio(waveforms, lengths), model.embed_text(TEXTS, TEXT_LANGUAGES)


# Golden numbers of the authors' model (tests/golden/pack_model_golden.py)


class GivenVectors(nn.Module):
    """A text encoder whose sentence vectors are given instead of ids, as in the reference numbers."""

    dim = 96

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        return vectors


def golden_model(weights: dict[str, Tensor]) -> MLCLAP:
    """The reference's small model in reference mode."""
    audio = replace(SMALL_CED, mode="reference")
    config = ModelConfig(
        audio=audio, embed_dim=64, temperature_parameter="raw", text_normalization="reference"
    )
    model = MLCLAP(config, text_encoder=GivenVectors())  # type: ignore[arg-type]
    prefix = "audio_encoder.model."
    encoder = {name.removeprefix(prefix): each for name, each in weights.items() if name.startswith(prefix)}
    state = {f"audio_encoder.{name}": each for name, each in convert_state_dict(encoder).items()}
    state |= {name: each for name, each in weights.items() if "_proj" in name and "model" not in name}
    model.load_state_dict(state | {"raw_temperature": weights["temperature"]}, strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def clips() -> dict[str, Tensor]:
    with np.load(GOLDEN / "model_clips.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.fixture(scope="module")
def reference() -> MLCLAP:
    with np.load(GOLDEN / "model_weights.npz") as stored:
        return golden_model({name: torch.from_numpy(stored[name]) for name in stored.files})


@pytest.mark.parametrize("clip", ["0.3s", "5s"])
def test_audio_embeddings_equal_the_references(
    reference: MLCLAP, clips: dict[str, Tensor], clip: str
) -> None:
    waveform = clips[f"pcm.{clip}"][None] / 32768
    with torch.inference_mode():
        pooled = reference.audio_encoder(waveform).pooled
        torch.testing.assert_close(pooled, clips[f"{clip}.audio_encoder"], atol=2e-6, rtol=0)
        projected = reference.audio_proj(pooled)
        torch.testing.assert_close(projected, clips[f"{clip}.audio_proj"], atol=2e-6, rtol=0)
        embedding = reference.embed_audio(waveform)
    torch.testing.assert_close(embedding, clips[f"{clip}.audio_embed"], atol=2e-6, rtol=0)


def test_text_embeddings_equal_the_references(reference: MLCLAP, clips: dict[str, Tensor]) -> None:
    with torch.inference_mode():
        found = reference.project_text(clips["text_encoder_output"])
    torch.testing.assert_close(found, clips["text_embed"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("clip", ["10.12s", "23.7s"])
def test_long_audio_embeddings_equal_the_references(shared: Path, reference: MLCLAP, clip: str) -> None:
    folder = shared / "golden" / "mlclap"
    waveform = load_file(folder / "inputs.safetensors")[f"pcm.{clip}"][None] / 32768
    with torch.inference_mode():
        found = reference.embed_audio(waveform)
    expected = load_file(folder / "outputs.safetensors")[f"{clip}.audio_embed"]
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def whole_model_loss(model: MLCLAP, inputs: dict[str, Tensor]) -> Tensor:
    vectors, mask = inputs["full.text_encoder_output"], torch.ones(6, 1, dtype=torch.bool)
    audio, text = model(inputs["full.pcm"] / 32768, None, vectors, mask)
    loss = contrastive_loss(audio, text, model.temperature, inputs["full.idx"])
    return loss + embedding_regularizer(audio, text)


def published_gradient(model: MLCLAP, name: str) -> Tensor:
    """The gradient of what the authors' code calls `name`."""
    gradients = {ours: each.grad for ours, each in model.named_parameters()}
    ours = {"temperature": "raw_temperature"}.get(name, name.replace(".model.", "."))
    if ".qkv." in ours:
        return torch.cat([gradients[ours.replace("qkv", part)] for part in "qkv"])  # type: ignore[misc]
    return gradients[ours]  # type: ignore[return-value]


# The stored gradient of this one is wrong: it comes out (within 2e-7) if the gradient that reaches BatchNorm,
# kept band by band, is read frame by frame, as torch 2.13 does on the CPU for the layout torchaudio makes.
# Every other gradient agrees, and this one is tested by finite differences below.
MISCOMPUTED = "audio_encoder.model.init_bn.1.weight"


def test_loss_and_gradients_of_the_whole_model_equal_the_references(shared: Path, reference: MLCLAP) -> None:
    folder = shared / "golden" / "mlclap"
    inputs, outputs = load_file(folder / "inputs.safetensors"), load_file(folder / "loss_outputs.safetensors")
    model = copy.deepcopy(reference)
    loss = whole_model_loss(model, inputs)
    loss.backward()

    torch.testing.assert_close(loss, outputs["full.loss"], atol=1e-5, rtol=0)
    prefix = "full.grad."
    names = {name.removeprefix(prefix) for name in outputs if name.startswith(prefix)} - {MISCOMPUTED}
    assert len(names) == 9
    for name in names:
        atol = 1e-4 if name == "temperature" else 1e-5
        torch.testing.assert_close(
            published_gradient(model, name), outputs[f"{prefix}{name}"], atol=atol, rtol=0
        )


def test_the_gradient_of_the_mel_normalization_equals_finite_differences(
    shared: Path, reference: MLCLAP
) -> None:
    inputs = load_file(shared / "golden" / "mlclap" / "inputs.safetensors")
    model = copy.deepcopy(reference)
    whole_model_loss(model, inputs).backward()
    weight = model.audio_encoder.init_bn.weight
    for band in (0, 15, 29, 63):
        losses = []
        for change in (1e-2, -1e-2):
            with torch.no_grad():
                weight[band] += change
                losses.append(whole_model_loss(model, inputs).item())
                weight[band] -= change
        assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(weight.grad[band].item(), abs=2e-4)


# Embeddings


def test_embeddings_are_unit_vectors_in_one_space(model: MLCLAP) -> None:
    for embeddings in embed(model, *make_clips(16_000, 4_000)):
        assert embeddings.shape[1] == 64
        assert embeddings.dtype == torch.float32
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(len(embeddings)))


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(320, 48_000), min_size=2, max_size=4))
def test_an_embedding_depends_on_its_clip_alone(config: ModelConfig, lengths: list[int]) -> None:
    model = MLCLAP(config).eval()
    waveforms, sizes = make_clips(*lengths)
    with torch.inference_mode():
        together = model.embed_audio(waveforms, sizes)
        for row, waveform, size in zip(together, waveforms, sizes, strict=True):
            alone = model.embed_audio(waveform[None, :size])[0]
            torch.testing.assert_close(alone, row, atol=1e-5, rtol=0)


def test_a_batch_of_languages_equals_one_call_a_language(model: MLCLAP) -> None:
    with torch.inference_mode():
        mixed = model.embed_text(TEXTS, TEXT_LANGUAGES)
        apart = [
            model.embed_text([text], language) for text, language in zip(TEXTS, TEXT_LANGUAGES, strict=True)
        ]
    torch.testing.assert_close(mixed, torch.cat(apart), atol=1e-5, rtol=0)


def test_prefix_and_normalization_reach_the_tokens(config: ModelConfig) -> None:
    model = MLCLAP(replace(config, text_prefix="query: ", text_normalization="none"))
    expected = model.text_encoder.tokenizer(["query: A dog!"], ["eng_Latn"])
    assert torch.equal(model.tokenize(["A dog!"]).ids, expected.ids)


@needs_sonar
def test_both_text_backends_give_the_same_embeddings_and_fingerprint(model: MLCLAP, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    description = json.loads((tmp_path / "config.json").read_text())
    description["model"]["text_backend"] = "sonar"
    (tmp_path / "config.json").write_text(json.dumps(description))
    other = MLCLAP.from_pretrained(tmp_path)
    assert type(other.text_encoder).__name__ == "SonarTextEncoder"
    with torch.inference_mode():
        expected = model.embed_text(TEXTS, TEXT_LANGUAGES)
        torch.testing.assert_close(other.embed_text(TEXTS, TEXT_LANGUAGES), expected, atol=1e-5, rtol=0)
    assert other.fingerprint() == model.fingerprint()


# Precision


def test_bfloat16_gives_nearly_the_same_embeddings(model: MLCLAP) -> None:
    waveforms, lengths = make_clips(16_000, 9_000)
    exact = torch.cat(embed(model, waveforms, lengths))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = torch.cat(embed(model, waveforms, lengths))
    half = torch.cat(embed(copy.deepcopy(model).to(torch.bfloat16), waveforms, lengths))
    for found in (autocast, half):
        assert found.dtype == torch.float32
        assert (found * exact).sum(dim=1).min() > 0.999


# Training


def test_gradients_reach_every_parameter_but_the_unused_tagging_head(model: MLCLAP) -> None:
    model.train()
    audio, text = model(
        *make_clips(16_000, 9_000, 5_000, 4_000, 3_000), *model.tokenize(TEXTS, TEXT_LANGUAGES)
    )
    contrastive_loss(audio, text, model.temperature).backward()
    without = {name for name, each in model.named_parameters() if each.grad is None}
    assert without == {f"audio_encoder.outputlayer.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}


def test_frozen_encoders_learn_nothing_and_stay_in_evaluation(config: ModelConfig) -> None:
    model = MLCLAP(replace(config, freeze_audio=True, freeze_text=True)).train()
    waveforms, lengths = make_clips(16_000, 9_000)
    first, second = (
        model(waveforms, lengths, *model.tokenize(TEXTS[:2], TEXT_LANGUAGES[:2])) for _ in range(2)
    )
    assert torch.equal(first[0], second[0])  # no batch statistics
    assert torch.equal(first[1], second[1])  # no dropout
    contrastive_loss(*first, model.temperature).backward()
    learnt = {name.split(".")[0] for name, each in model.named_parameters() if each.grad is not None}
    assert learnt == {"audio_proj", "text_proj", "log_temperature"}


def test_gradient_checkpointing_changes_no_gradient(config: ModelConfig) -> None:
    waveforms, lengths = make_clips(16_000, 9_000)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = MLCLAP(config).train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        torch.manual_seed(1)
        audio, text = model(waveforms, lengths, *model.tokenize(TEXTS[:2], TEXT_LANGUAGES[:2]))
        contrastive_loss(audio, text, model.temperature).backward()
        gradients.append([each.grad for each in model.parameters() if each.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_one_batch_is_learnt_by_heart(config: ModelConfig) -> None:
    model = MLCLAP(config).train()
    model.text_encoder.eval()  # dropout would keep the loss up
    waveforms, lengths = make_clips(8_000, 7_000, 6_000, 5_000, 4_000)
    tokens = model.tokenize(TEXTS, TEXT_LANGUAGES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = contrastive_loss(*model(waveforms, lengths, *tokens), model.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


# Temperature


@pytest.mark.parametrize(
    ("value", "push", "moves"), [(-9.0, 1.0, False), (-9.0, -1.0, True), (9.0, 1.0, True)]
)
def test_a_clamped_temperature_can_come_back(model: MLCLAP, value: float, push: float, moves: bool) -> None:
    with torch.no_grad():
        model.log_temperature.fill_(value)
    assert model.temperature.item() == pytest.approx(0.01 if value < 0 else 1.0)
    (model.temperature * push).backward()
    assert bool(model.log_temperature.grad) is moves


def test_a_raw_temperature_is_the_papers_plain_parameter(config: ModelConfig) -> None:
    model = MLCLAP(replace(config, temperature_parameter="raw", temperature=0.005))
    model.temperature.backward()
    assert model.temperature.item() == pytest.approx(0.005)
    assert model.raw_temperature.grad == 1.0


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"temperature": 2.0}, {"max_text_tokens": 2}, {"embed_dim": 0}]
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ModelConfig(**wrong)  # type: ignore[arg-type]


# Description


def test_fingerprints_follow_what_changes_embeddings(config: ModelConfig, model: MLCLAP) -> None:
    def variant(**changes: object) -> str:
        other = MLCLAP(replace(config, **changes))  # type: ignore[arg-type]
        own = {name: each for name, each in other.export_state().items() if "temperature" in name}
        rest = {name: each for name, each in model.export_state().items() if "temperature" not in name}
        other.load_state(rest | own)
        return other.fingerprint()

    same = [
        variant(),
        variant(temperature=0.5),
        variant(freeze_text=True),
        variant(temperature_parameter="raw"),
    ]
    assert set(same) == {model.fingerprint()}
    different = [
        variant(text_prefix="query: "),
        variant(text_normalization="none"),
        variant(max_text_tokens=16),
        variant(audio=replace(SMALL_CED, mode="reference")),
    ]
    with torch.no_grad():
        model.text_proj[2].bias[3] += 1e-3
    assert len({*different, model.fingerprint(), same[0]}) == 6


def test_the_summary_counts_each_tower(config: ModelConfig) -> None:
    model = MLCLAP(replace(config, freeze_text=True))
    lines = describe_model(model).splitlines()
    head = 48 * 64 + 32 * 64 + 2 * 64 * 64 + 4 * 64
    text = sum(each.numel() for each in model.text_encoder.parameters())
    assert lines[1] == f"text encoder (m2m_100, 32 wide): {text:,} parameters, 0 of them trained"
    assert lines[2] == f"heads (to 64): {head:,} parameters"
    assert lines[-1] == "temperature: 0.0700"


def test_a_copy_is_independent(model: MLCLAP) -> None:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.audio_proj[0].weight.zero_()
    assert model.audio_proj[0].weight.any()


# Starting from weights


def test_audio_weights_bring_their_architecture(config: ModelConfig, tmp_path: Path) -> None:
    encoder = CED(SMALL_CED)
    encoder.save_pretrained(tmp_path)
    wanted = CEDConfig(mode="reference", drop_path=0.1)
    model = MLCLAP(replace(config, audio=wanted, audio_weights=str(tmp_path)))
    assert model.config.audio == replace(SMALL_CED, mode="reference", drop_path=0.1)
    weight = model.audio_encoder.blocks[1].mlp.fc1.weight
    assert torch.equal(weight, encoder.blocks[1].mlp.fc1.weight)
