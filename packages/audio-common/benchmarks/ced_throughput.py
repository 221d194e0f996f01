"""How fast CED encodes clips of equal and of mixed lengths, four ways, against the machine's matrix products.

    python packages/audio-common/benchmarks/ced_throughput.py --presets ced-tiny ced-base --json ced.json

`packed` is the library's default on a CPU; `padded` gives every piece as many tokens as the longest of its
group, behind a mask; `single` encodes clip after clip; `reference` is the authors' way (zeros
as sound; its features are not those of the clip alone). `peak` is the share of the fastest matrix product
measured in the same run that the arithmetic of real audio reaches; `per s` is the time per second of real
audio over that of the packed equal-length batch: 1.0 means that mixed lengths cost in proportion to audio,
not to padding.

With one thread times are CPU time, so that other jobs on the machine disturb little; otherwise wall time.
The best of the repeats counts. Weights are random: they do not change the work.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from audio_common.ced import CED
from audio_common.config import CED_PRESETS, CEDConfig
from audio_common.mel import PATCH_FRAMES, SAMPLE_RATE, LogMel, num_frames
from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Row:
    preset: str
    dtype: str
    lengths: str
    way: str
    clips_per_second: float
    audio_seconds_per_second: float
    share_of_peak: float
    cost_per_audio_second: float


def timer(device: str, threads: int) -> Callable[[Callable[[], object]], float]:
    clock = time.process_time if device == "cpu" and threads == 1 else time.perf_counter

    def seconds(run: Callable[[], object]) -> float:
        start = clock()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    return seconds


def best(seconds: Callable[[Callable[[], object]], float], run: Callable[[], object], repeats: int) -> float:
    seconds(run)
    return min(seconds(run) for _ in range(repeats))


def matmul_peak(dtype: torch.dtype, device: str, seconds: Callable) -> float:
    """The most FLOP/s of a few matrix products of the encoders' shapes."""
    rates = []
    for rows, inner, columns in ((2048, 768, 3072), (2048, 3072, 768), (4096, 2048, 2048)):
        a = torch.randn(rows, inner, device=device, dtype=dtype)
        b = torch.randn(columns, inner, device=device, dtype=dtype)
        product = partial(torch.nn.functional.linear, a, b)
        rates.append(2 * rows * inner * columns / best(seconds, product, 8))
    return max(rates)


def front_end_times(device: str, clips: int, repeats: int, seconds: Callable) -> dict[str, float]:
    """Milliseconds per 10-second clip of the log-mel front ends on a batch."""
    waveforms = torch.randn(clips, 10 * SAMPLE_RATE, device=device) * 0.1
    ours, lengths = LogMel().to(device), [waveforms.shape[1]] * clips
    runs: dict[str, Callable] = {"ours": lambda: ours(waveforms, lengths)}
    try:
        from torchaudio import transforms

        mel = transforms.MelSpectrogram(SAMPLE_RATE, n_fft=512, hop_length=160, n_mels=64)
        theirs = torch.nn.Sequential(mel, transforms.AmplitudeToDB(stype="power", top_db=120.0)).to(device)
        runs["torchaudio"] = lambda: theirs(waveforms)
    except (ImportError, OSError, RuntimeError) as e:
        print(f"no torchaudio: {e}")
    return {name: 1000 * best(seconds, run, 5 * repeats) / clips for name, run in runs.items()}


def real_flops(config: CEDConfig, lengths: list[int]) -> float:
    """Multiplications and additions that the clips themselves need, without the front end's (under 3 %)."""
    total, dim = 0.0, config.embed_dim
    for length in lengths:
        columns = -(-num_frames(length) // PATCH_FRAMES)
        pieces = [min(config.num_columns, columns - start) for start in range(0, columns, config.num_columns)]
        for tokens in (4 * piece for piece in pieces):
            linear = 2 * tokens * dim * dim * (4 + 2 * config.mlp_ratio)
            total += config.depth * (linear + 4 * tokens * tokens * dim) + 2 * tokens * PATCH_FRAMES**2 * dim
    return total


def clip_lengths(kind: str, clips: int) -> list[int]:
    if kind == "equal":
        return [10 * SAMPLE_RATE] * clips
    seconds = torch.linspace(1.0, 30.0, clips)[
        torch.randperm(clips, generator=torch.Generator().manual_seed(0))
    ]
    return (seconds * SAMPLE_RATE).int().tolist()


def runs(preset: str, dtype: torch.dtype, device: str, clips: list[Tensor]) -> Iterator[tuple[str, Callable]]:
    """Each way that works here, as a function that encodes all clips."""
    waveforms = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True).to(device)
    lengths = [len(clip) for clip in clips]
    model = CED.from_preset(preset).eval().to(device, dtype)
    yield "packed", lambda: model(waveforms, lengths, classify=True)
    model.attention = "padded"
    yield "padded", lambda: model(waveforms, lengths, classify=True)
    model.attention = "auto"
    alone = [clip[None].to(device) for clip in clips]
    yield "single", lambda: [model(clip, classify=True) for clip in alone]
    try:
        reference = CED.from_preset(preset, mode="reference").eval().to(device, dtype)
    except ImportError as e:
        print(f"no reference: {e}")
        return
    yield "reference", lambda: reference(waveforms, classify=True)


def measure(args: argparse.Namespace, seconds: Callable) -> Iterator[Row]:
    for dtype in args.dtypes:
        peak = matmul_peak(DTYPES[dtype], args.device, seconds)
        print(f"{dtype}: matrix products reach {peak / 1e9:,.0f} GFLOP/s")
        for preset in args.presets:
            base = 0.0
            for kind in ("equal", "mixed"):
                lengths = clip_lengths(kind, args.clips)
                audio, flops = sum(lengths) / SAMPLE_RATE, real_flops(CED_PRESETS[preset], lengths)
                clips = [torch.randn(length) * 0.1 for length in lengths]
                for way, run in runs(preset, DTYPES[dtype], args.device, clips):
                    taken = best(seconds, run, args.repeats)
                    base = base or taken / audio  # the first is packed, equal lengths
                    share, cost = flops / taken / peak, taken / audio / base
                    row = Row(preset, dtype, kind, way, len(clips) / taken, audio / taken, share, cost)
                    print(format_row(row), flush=True)
                    yield row


def format_row(row: Row) -> str:
    return (
        f"{row.preset:10} {row.dtype} {row.lengths:6} {row.way:10} {row.clips_per_second:8.2f} clips/s "
        f"{row.audio_seconds_per_second:8.1f} x real time  {row.share_of_peak:5.0%} of peak "
        f" {row.cost_per_audio_second:5.2f} per s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=list(CED_PRESETS), choices=list(CED_PRESETS))
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path, help="also write the rows here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    seconds = timer(args.device, args.threads)
    with torch.inference_mode():
        front_end = front_end_times(args.device, args.clips, args.repeats, seconds)
        for name, taken in front_end.items():
            print(f"log-mel of a 10-second clip, {name}: {taken:.2f} ms")
        rows = list(measure(args, seconds))
    if args.json:
        machine = torch.cuda.get_device_name() if args.device == "cuda" else platform.processor()
        where = {"torch": torch.__version__, "machine": machine, "threads": args.threads, "clips": args.clips}
        where["front_end_ms"] = front_end
        args.json.write_text(json.dumps({**where, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
