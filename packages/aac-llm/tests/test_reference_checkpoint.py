"""The authors' checkpoints and numbers (golden/loae), and that this captioner computes the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from aac_llm.config.model import BridgeConfig, ModelConfig
from aac_llm.model import CaptionModel
from audio_common.config import CEDConfig
from safetensors.torch import load_file


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
    from aac_llm.windows import cut_windows

    windows = cut_windows(encoded.tokens, encoded.mask, 17, "reference")
    features = model.bridge.window_features(windows)
    torch.testing.assert_close(features, expected[f"{case}.qformer_output"], rtol=0, atol=2e-5)
    acoustic = model.encode_audio(waveforms)
    torch.testing.assert_close(acoustic.embeddings, expected[f"{case}.acoustic_tokens"], rtol=0, atol=2e-5)
    labels = model.tokenize_captions(golden.cases["cases"][case]["captions"])
    output = model(waveforms, labels=labels)
    assert abs(float(output.loss) - float(expected[f"{case}.loss"])) < 1e-5
    chosen = expected[f"{case}.labels"] != -100
    ours = output.logits[labels != -100]
    theirs = expected[f"{case}.logits"].roll(1, dims=1)[chosen]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ["5s", "10s"])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_generated_captions_are_the_authors(golden, case, num_beams):
    from aac_llm.generation import generate_tokens

    model = golden.model
    sequences = model.assemble(model.encode_audio(golden.waveforms(case)))
    tokens, _ = generate_tokens(
        model.decoder, sequences, num_beams=num_beams, max_new_tokens=14, min_new_tokens=2, do_sample=False
    )
    assert tokens.tolist() == golden.outputs[f"{case}.generate_beam{num_beams}"].tolist()
