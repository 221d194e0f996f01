"""CED-base, the Q-Former and a Llama of 7 B on one GPU: training steps, and captions a second.

    python packages/aac-llm/benchmarks/real_size.py --json real_size.json
    python packages/aac-llm/benchmarks/real_size.py --tiny    # the same of a small model, to try it

The paper's architecture with random weights, adapters on encoder and decoder, the decoder's frozen weights in
bfloat16. Clips are scenes of 2 to 10 s; a step is the loss, its gradients and an AdamW update. Captions are
made with three beams and never end by themselves, so that each has all `--max_new_tokens`. The authors' way
of a step pads every clip with zeros to 10 s and takes the logits of the whole sequence; their way of
captioning is `transformers.generate`, which reads the prompt once for each beam. Both are in the same number
format as ours.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial

import torch
from aac_llm.config.caption import GenerationConfig
from aac_llm.config.model import BridgeConfig, ModelConfig
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.tiny import create_tiny_decoder
from audio_common import pad_waveforms
from audio_common.ced import CED
from audio_common.config import CED_PRESETS
from captioning import generate_by_transformers
from measurement import DEVICE, Measured, Sheet, add_flags, timed
from torch import Tensor
from training import authors_loss, make_batches, make_clips
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

LLAMA = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
SMALL = LLAMA | {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
RATE = 16_000
NUM_BEAMS = 3
WAYS = ("ours", "authors")
Clips = list[tuple[Tensor, str]]


def main(words: list[str] | None = None) -> int:
    """Measure all; return the exit code."""
    options = read_options(words)
    sheet = Sheet("aac-llm at real size", options)
    options.batch_size = max(options.batch_sizes)
    clips = make_clips(options)
    model = make_model([text for _, text in clips], options)
    sheet.facts = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained": sum(parameter.numel() for parameter in model.trainable_parameters()),
    }
    for size in options.batch_sizes:
        options.batch_size = size
        for way in WAYS:
            sheet.add(f"training, {size} clips", way, partial(train, model, clips, way, options))
    some = clips[:: max(1, len(clips) // options.batch_sizes[0])][: options.batch_sizes[0]]
    for way in WAYS:
        sheet.add(f"captions, {NUM_BEAMS} beams", way, partial(generate, model, some, way, options))
    return sheet.finish()


def read_options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--steps", type=int, default=3, help="batches of one timed run")
    parser.add_argument("--max_new_tokens", type=int, default=30)
    parser.add_argument("--max_seconds", type=float, default=10.0)
    add_flags(parser)
    return parser.parse_args(words)


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
    bridge = (
        BridgeConfig(hidden_size=64, num_heads=4, intermediate_size=128) if options.tiny else BridgeConfig()
    )
    settings = ModelConfig(decoder="random", encoder=preset, bridge=bridge, decoder_dtype="bfloat16")
    model = CaptionModel(settings, encoder=CED(preset), decoder=decoder, tokenizer=tokenizer)
    return model.to(DEVICE).train()


def train(model: CaptionModel, clips: Clips, way: str, options: argparse.Namespace) -> Measured:
    """Train on `steps` batches of mixed lengths, drawn as the way draws them."""
    model.train()
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=5e-5)
    torch.manual_seed(0)
    options.way = way
    size = options.batch_size
    batches = make_batches(clips[:: max(1, len(clips) // (options.steps * size))], options)[: options.steps]

    def epoch() -> None:
        for batch in batches:
            with torch.autocast(DEVICE, torch.bfloat16):
                loss = loss_of(model, batch, way, options.max_seconds)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return timed(epoch, times=1, amount=sum(map(len, batches)), unit="clips")


def loss_of(model: CaptionModel, batch: Clips, way: str, max_seconds: float) -> Tensor:
    labels = model.tokenize_captions([text for _, text in batch]).to(DEVICE)
    waveforms, lengths = waveforms_of(batch, way, max_seconds)
    if way == "ours":
        return model(waveforms, lengths, labels).loss
    return authors_loss(model, waveforms, labels)


def waveforms_of(batch: Clips, way: str, max_seconds: float) -> tuple[Tensor, Tensor]:
    """Return `(batch, samples)` and the samples of each: padded to the longest, or to `max_seconds`."""
    waveforms, lengths = pad_waveforms([sound for sound, _ in batch])
    if way == "authors":
        missing = round(max_seconds * RATE) - waveforms.shape[1]
        waveforms = torch.nn.functional.pad(waveforms, (0, max(0, missing)))
    return waveforms.to(DEVICE), lengths


@torch.no_grad()
def generate(model: CaptionModel, clips: Clips, way: str, options: argparse.Namespace) -> Measured:
    """Caption clips of mixed lengths."""
    model.eval().requires_grad_(False)  # else torch's counter of arithmetic looks for gradients
    waveforms, lengths = waveforms_of(clips, way, options.max_seconds)
    count = options.max_new_tokens
    settings = GenerationConfig(num_beams=NUM_BEAMS, max_new_tokens=count, min_new_tokens=count)

    def caption_all() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            if way == "ours":
                model.generate(waveforms, lengths, config=settings)
            else:
                generate_by_transformers(model, waveforms, settings)

    return timed(caption_all, times=1, amount=len(clips), unit="captions")


if __name__ == "__main__":
    raise SystemExit(main())
