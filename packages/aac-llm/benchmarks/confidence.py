"""Whether confidences keep their word: captions of test clips, how sure the model is, and which are right.

    python packages/aac-llm/benchmarks/confidence.py runs/quickstart-aac-llm/model \\
        runs/quickstart-aac-llm/data/manifest.jsonl

Scores are calibrated on the validation clips as at the end of a training, whatever the model holds already;
the test clips are captioned as `aac-llm caption` does, and judged by the same criterion. Prints one line of
JSON: expected calibration error in ten bins, the same of a constant (the validation's share of right captions
for each), how often a right caption has more confidence than a wrong one (area under ROC), the share of right
ones among the more and the less confident half, and the same for captions with times where the model writes
them. As so few clips give no exact 0, `calibration_error_of_chance` says what error confidences that are
exactly right would have on so many clips, on average.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from aac_llm.captioning.captioner import Captioner
from aac_llm.data.dataset import CaptionDataset
from aac_llm.data.manifest import Clip, read_manifest
from aac_llm.data.predictions import Prediction
from aac_llm.metrics.calibration import calibration_error, ranking
from aac_llm.models.confidence import TIMESTAMPS
from aac_llm.models.inference import load_for_inference
from aac_llm.trainers.confidence import calibrate, judge
from jsonargparse import auto_cli

MAX_CLIPS = 200
"""Validation clips, as a training takes by default."""


def main(source: str, manifest: Path, split: str = "test", validation: str = "validation") -> None:
    """Calibrate on one split and judge on another."""
    torch.set_num_threads(1)
    captioner = Captioner(load_for_inference(source, device="cpu"))
    clips = read_manifest(manifest, split=validation)[:MAX_CLIPS]
    dataset = CaptionDataset(clips, max_seconds=30.0, random=False)
    model = captioner.model
    model.calibrations = calibrate(model, dataset, range(len(clips)))
    test = read_manifest(manifest, split=split)
    found: dict[str, Any] = {"model": source}
    for kind, one in model.calibrations.items():
        predictions = captioner.caption([clip.audio for clip in test], timestamps=kind == TIMESTAMPS)
        found[kind] = {"calibration": asdict(one)} | measure(predictions, test, one.share_right)
    print(json.dumps(found))


def measure(predictions: Sequence[Prediction], clips: Sequence[Clip], share: float) -> dict[str, float]:
    """Compare confidences with which captions are right."""
    confidences = [one.confidence or 0.0 for one in predictions]
    right, criterion = judge([one.caption for one in predictions], [clip.captions for clip in clips])
    order = sorted(range(len(clips)), key=lambda place: -confidences[place])
    half = len(order) // 2
    return {
        "clips": len(clips),
        "criterion": criterion,
        "share_right": sum(right) / len(right),
        "calibration_error": calibration_error(confidences, right),
        "calibration_error_of_chance": chance(confidences),
        "calibration_error_of_a_constant": calibration_error([share] * len(right), right),
        "ranking": ranking(confidences, right),
        "right_of_more_confident_half": sum(right[place] for place in order[:half]) / half,
        "right_of_less_confident_half": sum(right[place] for place in order[half:]) / (len(order) - half),
    }


def chance(confidences: Sequence[float], draws: int = 200) -> float:
    """Return the mean calibration error where each caption is right exactly as often as is said."""
    rng = np.random.default_rng(0)
    values = np.asarray(confidences)
    return float(np.mean([calibration_error(values, rng.random(len(values)) < values) for _ in range(draws)]))


if __name__ == "__main__":
    auto_cli(main, as_positional=True)
