"""Captions per second: this package against the authors' way of captioning, on the same files in one run.

    python benchmarks/captioning.py --decoder runs/smollm2 --audio data/ESC-50-master/audio

The authors' way: float32, each clip padded with zeros to 30 s (which are sound to the model), batches in the
order of the files, adapters beside the weights, and `transformers.generate`, which reads the prompt once for
each beam. Ours: `Captioner`. Both decode the same files and generate with the same settings. The encoder and
the bridge have random weights and the authors' sizes (CED-base, window-level Q-Former, LoRA at both ends), so
the captions mean nothing, but take the time of real ones. Before the clock starts, ours in float32 is checked
against `transformers.generate` of each clip alone.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from aac_llm.captioning.captioner import Captioner
from aac_llm.config.caption import GenerationConfig
from aac_llm.config.model import ModelConfig
from aac_llm.data.sounds import find_sounds
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.generation import generate_tokens
from audio_common.audio import load_audio

SAMPLE_RATE = 16_000
PADDED_SECONDS = 30.0
"""The length to which the authors pad for Clotho."""
NUM_CHECKED = 3


def main() -> None:
    options = read_options()
    torch.manual_seed(options.seed)
    settings = GenerationConfig(num_beams=options.num_beams, max_new_tokens=options.max_new_tokens)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_clips(Path(folder), options)
        seconds = [len(load_audio(path)) / SAMPLE_RATE for path in paths]
        checkpoint = make_checkpoint(Path(folder), options)
        rows = measure_all(checkpoint, paths, settings, options)
    rows = {"num_clips": len(paths), "mean_seconds": sum(seconds) / len(seconds), **rows}
    print_rows(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--decoder", type=Path, help="folder of the language model (none: random, its size)")
    parser.add_argument("--audio", type=Path, help="folder or manifest of sounds (none: synthesised scenes)")
    parser.add_argument("--num_clips", type=int, default=24)
    parser.add_argument("--num_beams", type=int, default=3)
    parser.add_argument("--max_new_tokens", type=int, default=30)
    parser.add_argument("--batch_size", type=int, default=8, help="of the authors' way")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers there")
    return parser.parse_args()


def make_clips(folder: Path, options: argparse.Namespace) -> list[Path]:
    """Clips of 1 to 30 s, each length as likely: real sounds one after another, cut to the length."""
    import soundfile

    chance = random.Random(options.seed)
    paths = []
    for number in range(options.num_clips):
        num_samples = round(chance.uniform(1.0, PADDED_SECONDS) * SAMPLE_RATE)
        path = folder / f"{number:04}.wav"
        soundfile.write(path, make_sound(num_samples, chance, options.audio), SAMPLE_RATE)
        paths.append(path)
    return paths


def make_sound(num_samples: int, chance: random.Random, audio: Path | None) -> Any:
    """Sound of so many samples, an array."""
    if audio is None:
        from audio_common.scenes.scene import random_scene, render

        return render(random_scene(chance.randrange(10**6), seconds=num_samples / SAMPLE_RATE))
    sounds = find_sounds([audio])
    parts: list[torch.Tensor] = []
    while sum(map(len, parts)) < num_samples:
        parts.append(load_audio(chance.choice(sounds).path))
    return torch.cat(parts)[:num_samples].numpy()


def make_checkpoint(folder: Path, options: argparse.Namespace) -> Path:
    """A captioner of the authors' sizes with trained-looking adapters."""
    decoder = options.decoder or make_decoder(folder / "decoder")
    model = CaptionModel.from_config(ModelConfig(decoder=str(decoder), decoder_dtype="float32"))
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.01)
    model.save_pretrained(folder / "model")
    return folder / "model"


def make_decoder(folder: Path) -> Path:
    """A random model of SmolLM2-135M's size."""
    from aac_llm.models.tiny import create_tiny_decoder
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    create_tiny_decoder(folder, ["a dog barks while rain falls"], hidden_size=64)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def measure_all(
    checkpoint: Path, paths: Sequence[Path], settings: GenerationConfig, options: argparse.Namespace
) -> dict[str, Any]:
    """Captions per second of each way."""
    rows: dict[str, Any] = {}
    model = CaptionModel.from_pretrained(checkpoint, device=options.device, dtype=torch.float32)
    theirs = lambda some: caption_as_authors(model, some, settings, options.batch_size)  # noqa: E731
    rows["reference"] = measure(theirs, paths)
    for dtype in ("float32", "bfloat16"):
        captioner = Captioner.from_pretrained(checkpoint, device=options.device, dtype=dtype)
        if dtype == "float32":
            check(model, captioner, paths[:NUM_CHECKED], settings)
        ours = lambda some, captioner=captioner: caption_as_we(captioner, some, settings)  # noqa: E731
        rows[dtype] = measure(ours, paths)
    return rows


def measure(run: Callable[[Sequence[Path]], None], paths: Sequence[Path]) -> dict[str, float]:
    """Clips per second by the wall clock and by processor time; what is done first is not counted."""
    run(paths[:2])
    cpu, wall = time.process_time(), time.perf_counter()
    run(paths)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"clips_per_second": len(paths) / wall, "clips_per_cpu_second": len(paths) / cpu}


def caption_as_authors(
    model: CaptionModel, paths: Sequence[Path], settings: GenerationConfig, batch_size: int
) -> None:
    size = round(PADDED_SECONDS * SAMPLE_RATE)
    for first in range(0, len(paths), batch_size):
        waveforms = torch.zeros(len(paths[first : first + batch_size]), size)
        for row, path in zip(waveforms, paths[first : first + batch_size], strict=True):
            waveform = load_audio(path)[:size]
            row[: len(waveform)] = waveform
        generate_by_transformers(model, waveforms, settings)


@torch.no_grad()
def generate_by_transformers(
    model: CaptionModel, waveforms: torch.Tensor, settings: GenerationConfig
) -> list[str]:
    sequences = model.assemble(model.encode_audio(waveforms.to(model.device)))
    tokens, _ = generate_tokens(
        model.decoder,
        sequences,
        num_beams=settings.num_beams,
        max_new_tokens=settings.max_new_tokens,
        min_new_tokens=settings.min_new_tokens,
        do_sample=False,
    )
    return [text.strip() for text in model.tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def caption_as_we(captioner: Captioner, paths: Sequence[Path], settings: GenerationConfig) -> None:
    for _ in captioner.caption_files(paths, settings, []):
        pass


def check(
    model: CaptionModel, captioner: Captioner, paths: Sequence[Path], settings: GenerationConfig
) -> None:
    """Stop if a caption is another one than transformers finds for the clip alone."""
    found: dict[int, Any] = {}
    for batch in captioner.caption_files(paths, settings, []):
        found |= batch
    for index, path in enumerate(paths):
        (expected,) = generate_by_transformers(model, load_audio(path)[None], settings)
        caption = found[index][0].candidates[0].text
        if caption != expected:
            raise SystemExit(f"captions differ: {caption!r} and {expected!r} of {path}")
    print(f"checked: {len(paths)} captions equal to those of each clip alone")


def print_rows(rows: dict[str, Any]) -> None:
    print(f"{rows['num_clips']} clips of {rows['mean_seconds']:.1f} s on average")
    print(f"{'':12} {'clips/s':>8} {'ratio':>6} {'clips/CPU s':>12} {'ratio':>6}")
    for name in ("reference", "float32", "bfloat16"):
        cells = []
        for unit in ("clips_per_second", "clips_per_cpu_second"):
            cells += [rows[name][unit], rows[name][unit] / rows["reference"][unit]]
        print(f"{name:12} {cells[0]:8.3f} {cells[1]:5.2f}x {cells[2]:12.3f} {cells[3]:5.2f}x")


if __name__ == "__main__":
    main()
