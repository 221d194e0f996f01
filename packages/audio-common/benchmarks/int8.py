"""CED in float32, bfloat16 and 8-bit integers beside the authors' way in float32, at equal and mixed lengths.

    python packages/audio-common/benchmarks/int8.py --presets ced-tiny ced-base --clips 4 --repeats 3
    python packages/audio-common/benchmarks/int8.py --presets ced-tiny --engines onnx-dynamic torchao

`--engines` adds other ways to 8 bits, and torch.compile, whose first batch (warm-up) is told (`engines.py`).
All are timed in turn, twice each, so that another job on the machine slows all of them; the least counts,
of one thread's processor time. Clips are noise of ten seconds, or of 1 to 30: the authors' way (see
`authors_way.py`) fills these up with zeros to the longest. Weights are random: they do not change the work,
and the cosines are of each clip's mean token with ours in float32. Accuracy on recordings:
`packages/ml-clap/benchmarks/int8.py`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from audio_common.ced import CED
from audio_common.config import CED_PRESETS
from audio_common.output import CEDOutput
from authors_way import as_the_authors
from engines import ENGINES, warm_up, with_engine
from torch import Tensor, nn

RATE = 16_000
PRECISIONS = ("fp32", "bf16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["ced-tiny", "ced-base"], choices=list(CED_PRESETS))
    parser.add_argument("--clips", type=int, default=4, help="encoded at once")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, after one that is not timed")
    parser.add_argument("--engines", nargs="*", default=[], choices=list(ENGINES), help="also these")
    parser.add_argument("--lengths", nargs="+", default=["equal", "mixed"], choices=["equal", "mixed"])
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for preset in options.presets:
        with tempfile.TemporaryDirectory() as folder:
            models = {"authors": as_the_authors(preset)} | ours(preset)
            models |= others(models, options.engines, Path(folder))
            for kind in options.lengths:
                rows += measure(preset, kind, models, options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def ours(preset: str) -> dict[str, CED]:
    """The same random weights in each number format."""
    models = {}
    for precision in PRECISIONS:
        torch.manual_seed(0)
        models[precision] = CED.from_preset(preset).eval().set_precision(precision)
    return models


@torch.inference_mode()
def others(models: dict[str, CED], engines: list[str], folder: Path) -> dict[str, CED]:
    """The same weights in other engines; those that are not installed are left out."""
    made = {name: with_engine(name, models, folder) for name in engines}
    return {name: model for name, model in made.items() if model is not None}


@torch.inference_mode()
def measure(preset: str, kind: str, models: dict[str, CED], options: argparse.Namespace) -> list[dict]:
    clips = make_clips(kind, options.clips)
    waveforms, lengths = nn.utils.rnn.pad_sequence(clips, batch_first=True), [len(clip) for clip in clips]
    for way in models.keys() & set(options.engines):
        clock, processors = warm_up(models[way], waveforms, lengths)
        print(f"{way}, {kind}: first batch {clock:.1f} s, {processors:.1f} s of processors", flush=True)
    outputs = {way: model(waveforms, lengths) for way, model in models.items()}
    alone = {way: model(clips[0][None]).pooled for way, model in models.items()}
    taken: dict[str, list[float]] = {way: [] for way in models}
    for _ in range(options.repeats):
        for way, model in models.items():
            for _ in range(2):  # in a job an encoder follows itself, and finds its weights in the cache
                taken[way].append(seconds_of(lambda model=model: model(waveforms, lengths)))
    best = {way: min(seconds) for way, seconds in taken.items()}
    rows = [describe(preset, kind, way, best, outputs) for way in models]
    for row, way in zip(rows, models, strict=True):
        row["alone differs by"] = f"{float((alone[way] - outputs[way].pooled[:1]).abs().max()):.0e}"
    for row in rows:
        print(row, flush=True)
    return rows


def make_clips(kind: str, clips: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    seconds = [10.0] * clips if kind == "equal" else torch.linspace(1.0, 30.0, clips).tolist()
    return [0.1 * torch.randn(round(RATE * each), generator=generator) for each in seconds]


def seconds_of(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def describe(
    preset: str, kind: str, way: str, best: dict[str, float], outputs: dict[str, CEDOutput]
) -> dict[str, object]:
    row: dict[str, object] = {"preset": preset, "lengths": kind, "way": way, "seconds": round(best[way], 3)}
    row["times fp32"] = round(best["fp32"] / best[way], 2)
    row["times authors"] = round(best["authors"] / best[way], 2)
    if way != "authors":
        row["least cosine"] = least_cosine(outputs[way].pooled, outputs["fp32"].pooled)
        mask = outputs[way].mask
        row["least of a token"] = least_cosine(outputs[way].tokens[mask], outputs["fp32"].tokens[mask])
    return row


def least_cosine(ours: Tensor, exact: Tensor) -> float:
    return round(float(torch.cosine_similarity(ours.float(), exact.float(), dim=-1).min()), 6)


if __name__ == "__main__":
    main()
