"""Training by rewards against its supervised start, and against as many seconds of supervised training more.

    python packages/aac-llm/benchmarks/reinforce.py --start runs/quickstart-aac-llm

For each seed the quickstart's captioner is trained on by `reinforce` and by `train`; all of them caption
test scenes that nothing was trained or chosen on. A difference is of the mean over seeds, its interval is
over clips (paired bootstrap), and the p value of a permutation test. Resumable: what is there is kept.
CPU seconds of each training are printed, because the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from aac_llm.config.caption import GenerationConfig
from aac_llm.config.reinforce import ReinforceConfig
from aac_llm.config.train import DataConfig, TrainConfig
from aac_llm.files import write_json
from aac_llm.metrics.cider import cider_d
from aac_llm.metrics.events import event_scores
from aac_llm.metrics.faults import rule_scores
from aac_llm.metrics.statistics import compare_systems
from aac_llm.models.inference import caption_waveforms, load_for_inference
from aac_llm.trainers.reinforce import reinforce
from aac_llm.trainers.train import train
from audio_common.prefetch import BatchLimits
from audio_common.scenes.scene import Scene, random_scene, render
from audio_common.scenes.text import NUM_VARIANTS, caption

FIRST_TEST_SEED = 500_000_000
"""Of the test scenes; the quickstart's begin with its seed times three millions."""
SECONDS = 3.0
CAPTIONS = {
    "greedy": GenerationConfig(num_beams=1),
    "sampled": GenerationConfig(do_sample=True, top_p=1.0, min_new_tokens=0),
}
"""What is written, and what is trained for: captions drawn at random from the whole distribution."""


def main() -> None:
    options = read_options()
    torch.set_num_threads(1)
    scenes = [
        random_scene(FIRST_TEST_SEED + number, num_events=1 + number % 2, seconds=SECONDS)
        for number in range(options.clips)
    ]
    references = [
        tuple(caption(scene, "eng_Latn", variant=variant) for variant in range(NUM_VARIANTS))
        for scene in scenes
    ]
    arms = {
        "start": [str(options.start / "model")],
        "reinforce": [train_arm(options, "reinforce", seed) for seed in options.seeds],
        "train": [train_arm(options, "train", seed) for seed in options.control_seeds],
    }
    waveforms: list[torch.Tensor] = []
    for kind, settings in CAPTIONS.items():
        found = {
            arm: [caption_scenes(options, model, kind, settings, scenes, waveforms) for model in models]
            for arm, models in arms.items()
        }
        print(f"\n{kind} captions of {len(scenes)} scenes\n")
        print_table(
            {arm: np.stack([score(texts, references) for texts in several]) for arm, several in found.items()}
        )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--start", type=Path, required=True, help="folder that the quickstart wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/aac-reinforce"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--control_seeds", type=int, nargs="+", default=[1, 2, 3], help="of train")
    parser.add_argument("--steps", type=int, default=120, help="updates of reinforce")
    parser.add_argument("--train_steps", type=int, default=240, help="updates of train")
    parser.add_argument("--learning_rate", type=float, default=3e-4, help="of reinforce")
    parser.add_argument("--train_learning_rate", type=float, default=5e-4, help="of train")
    parser.add_argument("--beta", type=float, default=0.0)
    parser.add_argument("--eval_steps", type=int, help="updates between validations (none: the last alone)")
    parser.add_argument("--clips", type=int, default=600, help="test scenes")
    return parser.parse_args()


def train_arm(options: argparse.Namespace, arm: str, seed: int) -> str:
    """Train on, or see that it is done; return the folder of the run."""
    manifest = options.start / "data" / "manifest.jsonl"
    steps = options.steps if arm == "reinforce" else options.train_steps
    common: dict[str, Any] = {
        "out": options.out / f"{arm}-{seed}",
        "init_from": str(options.start / "model"),
        "data": DataConfig(train=(manifest,), validation=(manifest,), num_workers=0),
        "max_steps": steps,
        "epochs": steps,
        "learning_rate": options.learning_rate if arm == "reinforce" else options.train_learning_rate,
        "eval_steps": options.eval_steps or steps,
        "save_steps": max(1, steps // 10),
        "device": "cpu",
        "seed": seed,
    }
    began = time.process_time()
    if arm == "reinforce":
        reinforce(ReinforceConfig(**common, batch_size=8, num_rollouts=8, beta=options.beta))
    else:
        train(TrainConfig(**common, batch_size=16, weight_decay=0.05))
    print(f"{arm}, seed {seed}: {time.process_time() - began:.0f} CPU s", flush=True)
    return str(common["out"])


def caption_scenes(
    options: argparse.Namespace,
    model: str,
    kind: str,
    settings: GenerationConfig,
    scenes: Sequence[Scene],
    waveforms: list[torch.Tensor],
) -> list[str]:
    """Return the captions of a model, from the file that an earlier run wrote if there is one."""
    name = "-".join(Path(model).parts[-2:])
    path = options.out / f"captions-{name}-{kind}-{len(scenes)}.json"
    if path.is_file():
        return json.loads(path.read_text())["captions"]
    if not waveforms:
        waveforms += [torch.from_numpy(render(scene)).float() for scene in scenes]
    loaded = load_for_inference(model, device="cpu")
    torch.manual_seed(0)
    made = {
        number: candidates[0].text
        for number, candidates in caption_waveforms(loaded, waveforms, settings, BatchLimits(size=64))
    }
    texts = [made[number] for number in range(len(scenes))]
    write_json(path, {"captions": texts})
    return texts


def score(texts: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return event F1, precision, recall, CIDEr-D and fluency of each clip, `(clips, 5)`."""
    events = event_scores(texts, references).clips
    columns = [events[name] for name in ("f1", "precision", "recall")]
    return np.stack([*columns, cider_d(texts, references)[1], 1 - rule_scores(texts)], axis=1)


def print_table(scores: dict[str, np.ndarray]) -> None:
    """Print means, and differences with their intervals.

    Args:
        scores: of each arm, `(seeds, clips, columns)`.
    """
    names = ("event F1", "event precision", "event recall", "CIDEr-D", "fluency by rules")
    found = {arm: values.mean(0) for arm, values in scores.items()}
    num_clips = len(found["start"])
    print("| | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for arm, seeds in scores.items():
        print(
            f"| {arm}, {len(seeds)} seeds | " + " | ".join(f"{one:.3f}" for one in found[arm].mean(0)) + " |"
        )
        for number, values in enumerate(seeds if len(seeds) > 1 else (), start=1):
            print(
                f"| {arm}, seed {number} of them | "
                + " | ".join(f"{one:.3f}" for one in values.mean(0))
                + " |"
            )
    for arm, other in (("reinforce", "start"), ("train", "start"), ("reinforce", "train")):
        cells = []
        for column in range(len(names)):
            pair = compare_systems(found[arm][:, column], found[other][:, column], draws=2000)
            cells.append(
                f"{pair.difference:+.3f} ({pair.low:.3f} to {pair.high:.3f}), p = {pair.p_value:.2g}"
            )
        print(f"| {arm} - {other} | " + " | ".join(cells) + " |")
    spread = np.std(found["reinforce"][:, 0] - found["start"][:, 0], ddof=1) / num_clips**0.5
    print(
        f"\nevent F1: a difference of {2.8 * spread:.3f} would be seen four times of five (p < .05)\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
