"""The sound encoder in 8-bit integers beside float32 on recordings: cosines, accuracy of a probe, seconds.

    python packages/ml-clap/benchmarks/int8.py --model runs/esc10/ten --esc10 ../shared/data/esc10
    python packages/ml-clap/benchmarks/int8.py --random ced-base --esc10 ../shared/data/esc10

The probe is ridge regression on the embeddings, each fold tested with the others trained on. Intervals are of
95 %, a bootstrap over clips; that of the difference in pairs. Seconds are of one thread's processor time, in
turn.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from audio_common.audio import load_audio
from audio_common.ced import CED
from audio_common.config import CED_PRESETS
from ml_clap.models.loading import load_model

RIDGE = 1e-2
DRAWS = 10_000
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "int8": "int8"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="as of every command")
    which.add_argument("--random", choices=list(CED_PRESETS), help="an encoder of this size, random weights")
    parser.add_argument(
        "--esc10", type=Path, required=True, help="folder with clips.jsonl: audio, label, fold"
    )
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--limit", type=int, help="only so many clips, spread over all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = (options.esc10 / "clips.jsonl").read_text(encoding="utf-8").splitlines()
    clips = [json.loads(line) for line in lines]
    if options.limit:
        clips = clips[:: max(1, len(clips) // options.limit)][: options.limit]
    sounds = [torch.as_tensor(load_audio(options.esc10 / clip["audio"])) for clip in clips]
    encoders = {dtype: encoder_of(options, dtype) for dtype in options.dtypes}
    vectors, seconds = encode(encoders, sounds)
    right = {dtype: probe(vectors[dtype], clips) for dtype in encoders}
    rows = [describe(dtype, vectors, seconds, right) for dtype in encoders]
    for row in rows:
        print(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def encoder_of(options: argparse.Namespace, dtype: str) -> CED:
    """Return the sound encoder in a number format; random weights are the same in each."""
    if options.model:
        return load_model(options.model, device="cpu", dtype=dtype).audio_encoder
    torch.manual_seed(0)
    return CED.from_preset(options.random).eval().set_precision(PRECISIONS[dtype])


@torch.inference_mode()
def encode(encoders: dict, sounds: list[torch.Tensor]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Embed all sounds, eight at a time, by each in turn: the encoder's mean tokens, and seconds."""
    vectors: dict[str, list[np.ndarray]] = {dtype: [] for dtype in encoders}
    seconds = dict.fromkeys(encoders, 0.0)
    for start in range(0, len(sounds), 8):
        part = sounds[start : start + 8]
        padded, lengths = (
            torch.nn.utils.rnn.pad_sequence(part, batch_first=True),
            [len(each) for each in part],
        )
        for dtype, encoder in encoders.items():
            began = time.process_time()
            found = encoder(padded, lengths).pooled
            seconds[dtype] += time.process_time() - began
            vectors[dtype].append(found.float().numpy())
    return {dtype: np.concatenate(rows) for dtype, rows in vectors.items()}, seconds


def probe(vectors: np.ndarray, clips: list[dict]) -> np.ndarray:
    """Return for each clip whether a ridge regression on the other folds names its class."""
    labels, numbers = np.unique([clip["label"] for clip in clips], return_inverse=True)
    folds = np.array([clip["fold"] for clip in clips])
    wanted = np.eye(len(labels))[numbers]
    right = np.zeros(len(clips), dtype=bool)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        mean, scale = vectors[train].mean(0), vectors[train].std(0) + 1e-6
        x = np.hstack([(vectors - mean) / scale, np.ones((len(vectors), 1))])
        gram = x[train].T @ x[train] + RIDGE * train.sum() * np.eye(x.shape[1])
        scores = x[test] @ np.linalg.solve(gram, x[train].T @ wanted[train])
        right[test] = scores.argmax(1) == numbers[test]
    return right


def describe(dtype: str, vectors: dict, seconds: dict, right: dict) -> dict[str, object]:
    first = next(iter(vectors))
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors[dtype], vectors[first]))
    cosines = (a * b).sum(1)
    difference = right[dtype].astype(float) - right[first]
    draws = np.random.default_rng(0).integers(len(difference), size=(DRAWS, len(difference)))
    return {
        "dtype": dtype,
        "times as fast": round(seconds[first] / seconds[dtype], 2),
        "least cosine": round(float(cosines.min()), 6),
        "mean cosine": round(float(cosines.mean()), 6),
        "accuracy": with_interval(right[dtype].astype(float), draws, ".4f"),
        "difference": with_interval(difference, draws, "+.4f"),
    }


def with_interval(values: np.ndarray, draws: np.ndarray, form: str) -> str:
    """Return the mean and 95 % of the bootstrap's means."""
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    return f"{values.mean():{form}} ({low:{form}} to {high:{form}})"


if __name__ == "__main__":
    main()
