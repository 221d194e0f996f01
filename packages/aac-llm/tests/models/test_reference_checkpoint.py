"""The authors' checkpoints and numbers (golden/loae), and that this captioner computes the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from aac_llm.config.model import BridgeConfig, ModelConfig
from aac_llm.models.bridge import Bridge, cut_windows
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.checkpoint import CheckpointError, load_part
from aac_llm.models.generation import generate_tokens
from aac_llm.models.lora import adapters_disabled
from aac_llm.models.prompt import tokenize_prompt
from aac_llm.models.reference_checkpoint import convert_name, convert_tensors
from audio_common.config import CEDConfig
from safetensors.torch import load_file

GOLDEN = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True)
class Golden:
    model: CaptionModel
    cases: dict[str, Any]
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]

    def waveforms(self, case: str) -> torch.Tensor:
        pcm = self.inputs[f"pcm.{case}"]
        return pcm.view(-1, pcm.shape[-1]).float() / 32768


def character_tokenizer(vocabulary: dict[str, int]):
    """One token for each character, as in the golden files."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )


def golden_decoder(cases: dict[str, Any], folder: Path) -> Path:
    from transformers import LlamaConfig

    LlamaConfig(**cases["config"]["decoder"]).save_pretrained(folder)
    character_tokenizer(cases["vocab"]).save_pretrained(folder)
    return folder


def golden_config(cases: dict[str, Any]) -> ModelConfig:
    encoder, qformer = cases["config"]["encoder"], cases["config"]["qformer"]
    return ModelConfig(
        decoder_dtype="float32",
        layout="reference",
        encoder=CEDConfig(
            mode="reference",
            embed_dim=encoder["embed_dim"],
            depth=encoder["depth"],
            num_heads=encoder["num_heads"],
            num_classes=encoder["outputdim"],
        ),
        bridge=BridgeConfig(
            hidden_size=qformer["hidden_size"],
            num_heads=qformer["num_attention_heads"],
            intermediate_size=qformer["intermediate_size"],
        ),
    )


@pytest.fixture(scope="module")
def golden(shared, tmp_path_factory) -> Golden:
    folder = shared / "golden" / "loae"
    cases = json.loads((folder / "cases.json").read_text())
    decoder = golden_decoder(cases, tmp_path_factory.mktemp("golden_decoder"))
    model = CaptionModel.from_reference(
        folder / "weights.safetensors", decoder=str(decoder), config=golden_config(cases)
    )
    return Golden(
        model, cases, load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    )


@pytest.mark.parametrize("case", ["5s", "10s", "30s", "batch3x5s"])
def test_acoustic_tokens_loss_and_logits_are_the_authors(golden, case):
    model, expected = golden.model, golden.outputs
    waveforms = golden.waveforms(case)
    encoded = model.encoder(waveforms)
    torch.testing.assert_close(encoded.tokens, expected[f"{case}.encoder_tokens"], rtol=0, atol=2e-5)
    windows = cut_windows(encoded.tokens, encoded.mask, 17, "reference")
    features = model.bridge.window_features(windows)
    torch.testing.assert_close(features, expected[f"{case}.qformer_output"], rtol=0, atol=2e-5)
    acoustic = model.encode_audio(waveforms)
    torch.testing.assert_close(acoustic.embeddings, expected[f"{case}.acoustic_tokens"], rtol=0, atol=2e-5)
    labels = model.tokenize_captions(golden.cases["cases"][case]["captions"])
    output = model(waveforms, labels=labels)
    assert abs(output.loss.item() - float(expected[f"{case}.loss"])) < 1e-5
    chosen = expected[f"{case}.labels"] != -100
    ours = output.logits[labels != -100]
    theirs = expected[f"{case}.logits"].roll(1, dims=1)[chosen]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ["5s", "10s"])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_generated_captions_are_the_authors(golden, case, num_beams):
    model = golden.model
    sequences = model.assemble(model.encode_audio(golden.waveforms(case)))
    tokens, _ = generate_tokens(
        model.decoder, sequences, num_beams=num_beams, max_new_tokens=14, min_new_tokens=2, do_sample=False
    )
    assert tokens.tolist() == golden.outputs[f"{case}.generate_beam{num_beams}"].tolist()


def test_without_adapters_the_model_is_the_authors_without_adapters(golden):
    waveforms, model = golden.waveforms("5s"), golden.model
    labels = model.tokenize_captions(golden.cases["cases"]["5s"]["captions"])
    with adapters_disabled(model):
        tokens = model.encoder(waveforms).tokens
        loss = model(waveforms, labels=labels).loss.item()
    torch.testing.assert_close(tokens, golden.outputs["5s.no_lora.encoder_tokens"], rtol=0, atol=2e-5)
    assert abs(loss - golden.outputs["5s.no_lora.loss"].item()) < 1e-5
    assert abs(model(waveforms, labels=labels).loss.item() - golden.outputs["5s.loss"].item()) < 1e-5


def test_a_saved_reference_model_computes_the_same(golden, tmp_path):
    golden.model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cannot be loaded"):  # adapters only
        CaptionModel.from_pretrained(tmp_path, decoder=str(tmp_path / "nowhere"))
    golden.model.save_merged(tmp_path / "merged")
    merged = CaptionModel.from_pretrained(tmp_path / "merged")
    waveforms = golden.waveforms("5s")
    labels = merged.tokenize_captions(golden.cases["cases"]["5s"]["captions"])
    assert abs(merged(waveforms, labels=labels).loss.item() - golden.outputs["5s.loss"].item()) < 1e-5


@pytest.fixture(scope="module")
def small() -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The part of the golden files that is in the repository: cases, weights, tensors."""
    cases = json.loads((GOLDEN / "loae_cases.json").read_text())
    weights = load_file(GOLDEN / "loae_bridge_weights.safetensors")
    return cases, weights, load_file(GOLDEN / "loae_5s.safetensors")


def _small_bridge(cases, weights) -> Bridge:
    config = golden_config(cases)
    bridge = Bridge(config.bridge, encoder_dim=48, decoder_width=64, layout="reference").eval()
    tensors = {n.removeprefix("bridge."): t for n, t in convert_tensors(weights).items() if "bridge." in n}
    load_part(bridge, tensors, "golden")
    return bridge


@torch.no_grad()
def test_windows_qformer_and_acoustic_tokens_are_the_authors(small):
    cases, weights, expected = small
    bridge = _small_bridge(cases, weights)
    tokens = expected["5s.encoder_tokens"]
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
    windows = cut_windows(tokens, mask, cases["config"]["window_kernel"], "reference")
    assert torch.equal(windows.tokens.flatten(0, 1), expected["5s.windows"])
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(bridge.window_features(windows), expected["5s.qformer_output"], **close)
    acoustic = bridge(tokens, mask)
    assert acoustic.mask.all()
    torch.testing.assert_close(acoustic.embeddings, expected["5s.acoustic_tokens"], **close)


@torch.no_grad()
def test_the_decoder_reads_what_the_authors_decoder_reads(small):
    cases, weights, expected = small
    tokenizer = character_tokenizer(cases["vocab"])
    embed = weights["decoder.base_model.model.model.embed_tokens.weight"]
    prompt = tokenize_prompt(tokenizer, golden_config(cases).prompt)
    assert list(prompt.left) == expected["prompt_left_ids"][0].tolist()
    assert list(prompt.right) == expected["prompt_right_ids"][0].tolist()
    acoustic = _small_bridge(cases, weights)(
        expected["5s.encoder_tokens"], torch.ones(1, 124, dtype=torch.bool)
    )
    model = CaptionModel.__new__(CaptionModel)
    torch.nn.Module.__init__(model)
    model.decoder, model.prompt, model.tokenizer = _Embedding(embed), prompt, tokenizer
    model.config = golden_config(cases)
    labels = model.tokenize_captions([cases["caption"]])
    assert labels.tolist() == expected["5s.caption_ids"].tolist()
    sequences = model.assemble(acoustic, labels)
    torch.testing.assert_close(sequences.embeddings, expected["5s.inputs_embeds"], rtol=0, atol=1e-5)
    assert sequences.mask.all()


class _Embedding(torch.nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding.from_pretrained(weight)

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.embedding


class _NoTokenizer:
    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        return {"input_ids": [3]}


def test_every_tensor_of_a_full_size_checkpoint_has_its_place():
    from audio_common.ced import CED
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        described = LlamaConfig(
            vocab_size=32000,
            hidden_size=4096,
            intermediate_size=11008,
            num_hidden_layers=32,
            num_attention_heads=32,
        )
        model = CaptionModel(
            ModelConfig(layout="reference", encoder=CEDConfig(mode="reference")),
            encoder=CED(CEDConfig()),  # the modes have the same tensors
            decoder=LlamaForCausalLM(described),
            tokenizer=_NoTokenizer(),
        )
    keys = json.loads((GOLDEN / "loae_keys.json").read_text())
    theirs = {ours: shape for name, shape in keys.items() if (ours := convert_name(name)) is not None}
    assert theirs == {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert len(keys) - len(theirs) == 3  # the mel filters, their window, BERT's positions
    assert sum(p.numel() for p in model.trainable_parameters()) == 26_544_896  # as counted on their model


def test_tensors_of_another_model_are_named(small):
    _, weights, _ = small
    with pytest.raises(CheckpointError, match=r"llama_proj\.weight"):
        convert_tensors({**weights, "llama_proj.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="front_end"):
        convert_tensors({"encoder.front_end.0.mel_scale.fb": torch.zeros(257, 64)})


def test_a_missing_tensor_is_named(small):
    cases, weights, _ = small
    with pytest.raises(CheckpointError, match=r"missing: projector\.bias"):
        _small_bridge(cases, {n: t for n, t in weights.items() if n != "enc_to_dec_proj.bias"})


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    import pickle

    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(pytest.fail))
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        CaptionModel.from_reference(path, decoder="nowhere")
