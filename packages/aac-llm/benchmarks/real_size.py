"""CED-base, the Q-Former and a Llama of 7 B on one GPU: training steps, and captions a second.

    python packages/aac-llm/benchmarks/real_size.py --json real_size.json
    python packages/aac-llm/benchmarks/real_size.py --tiny    # the same of a small model, to try it

The paper's architecture with random weights, adapters on encoder and decoder, the decoder's frozen weights in
bfloat16. Clips are ten seconds of scenes; a step is the loss, its gradients and an AdamW update. Captions are
made with three beams and never end by themselves, so that each has all `--max_new_tokens`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from aac_llm.config.caption import GenerationConfig
from aac_llm.config.model import BridgeConfig, ModelConfig
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.tiny import create_tiny_decoder
from audio_common import pad_waveforms
from audio_common.ced import CED
from audio_common.config import CED_PRESETS
from audio_common.scenes.scene import random_scene, render
from audio_common.scenes.text import caption
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LLAMA = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
SMALL = LLAMA | {"vocab_size": 2048, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SECONDS = 10.0


def main() -> None:
    options = read_options()
    sounds, captions = make_clips(max(options.batch_sizes))
    model = make_model(captions, options)
    trained = sum(parameter.numel() for parameter in model.trainable_parameters())
    total = sum(parameter.numel() for parameter in model.parameters())
    rows: list[dict[str, object]] = [{"device": name(), "parameters": total, "trained": trained}]
    rows += [train(model, sounds[:size], captions[:size], options) for size in options.batch_sizes]
    rows.append(generate(model, sounds[: options.batch_sizes[0]], options))
    for row in rows:
        print(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--steps", type=int, default=3, help="to time, after one that is not timed")
    parser.add_argument("--max_new_tokens", type=int, default=30)
    parser.add_argument("--tiny", action="store_true", help="a small decoder, on whatever device there is")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def make_clips(count: int) -> tuple[list[Tensor], list[str]]:
    scenes = [random_scene(seed, num_events=2, seconds=SECONDS) for seed in range(count)]
    return [torch.as_tensor(render(scene)) for scene in scenes], [caption(s, "eng_Latn") for s in scenes]


def make_model(captions: list[str], options: argparse.Namespace) -> CaptionModel:
    """Make all on the device; of the small decoder only the tokenizer is used."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = AutoTokenizer.from_pretrained(
            create_tiny_decoder(folder, captions), revision=None, trust_remote_code=False
        )
    sizes = SMALL if options.tiny else LLAMA
    torch.manual_seed(0)
    config = LlamaConfig(**sizes, pad_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id)
    preset = CED_PRESETS["ced-tiny" if options.tiny else "ced-base"]
    with torch.device(DEVICE):
        decoder = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    settings = ModelConfig(decoder="random", encoder=preset, bridge=BridgeConfig(), decoder_dtype="bfloat16")
    model = CaptionModel(settings, encoder=CED(preset), decoder=decoder, tokenizer=tokenizer)
    return model.to(DEVICE).train()


def train(
    model: CaptionModel, sounds: list[Tensor], captions: list[str], options: argparse.Namespace
) -> dict[str, object]:
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=5e-5)
    waveforms, lengths = pad_waveforms(sounds)
    labels = model.tokenize_captions(captions).to(DEVICE)
    waveforms = waveforms.to(DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = model(waveforms, lengths, labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    reset_peak()
    seconds = mean_seconds(step, options.steps)
    return {
        "batch_size": len(sounds),
        "step_seconds": seconds,
        "clips_per_second": len(sounds) / seconds,
        "peak_gigabytes": peak(),
    }


@torch.no_grad()
def generate(model: CaptionModel, sounds: list[Tensor], options: argparse.Namespace) -> dict[str, object]:
    model.eval()
    waveforms, lengths = pad_waveforms(sounds)
    count = options.max_new_tokens
    settings = GenerationConfig(num_beams=3, max_new_tokens=count, min_new_tokens=count)

    def caption_all() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            model.generate(waveforms.to(DEVICE), lengths, config=settings)

    reset_peak()
    seconds = mean_seconds(caption_all, 1)
    return {"captions_per_second": len(sounds) / seconds, "num_beams": 3, "peak_gigabytes": peak()}


def mean_seconds(run: Callable[[], None], times: int) -> float:
    run()
    synchronize()
    started = time.perf_counter()
    for _ in range(times):
        run()
    synchronize()
    return (time.perf_counter() - started) / times


def name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


if __name__ == "__main__":
    main()
