"""How often `search --explain` points at the event that a query names, where the events' times are known.

    python packages/ml-clap/benchmarks/explain.py --model runs/quickstart-ml-clap/model --scenes 150

Each scene is one of the quickstart's test scenes: two events in four seconds. For each event of a kind that
the scene has once, the query is a caption of that event alone, and the moment that is most like it counts as
right if it lies within the event. Chance is the share of the scene that the event lasts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from audio_common.scenes.scene import Scene, random_scene, render
from audio_common.scenes.text import caption
from ml_clap.models.checkpoint import find_model
from ml_clap.models.ml_clap import MLCLAP

FIRST_TEST_SCENE = 2_000_000
"""As the quickstart draws them."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=150)
    parser.add_argument("--language", default="eng_Latn")
    arguments = parser.parse_args()
    model = MLCLAP.from_pretrained(find_model(arguments.model))
    is_right, chance, scene_of = [], [], []
    for number in range(arguments.scenes):
        scene = random_scene(FIRST_TEST_SCENE + number, num_events=2, seconds=4.0)
        with torch.inference_mode():
            vectors, times = model.embed_columns(torch.from_numpy(render(scene)).float())
            for event in scene.events:
                if scene.kinds.count(event.kind) > 1:
                    continue
                text = caption(Scene(events=(event,), seconds=scene.seconds), arguments.language)
                best = float(times[(vectors @ model.embed_text([text], arguments.language)[0]).argmax()])
                is_right.append(event.onset <= best <= event.end)
                chance.append(event.duration / scene.seconds)
                scene_of.append(number)
    right, owner = np.array(is_right), np.array(scene_of)
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        picked = generator.integers(0, arguments.scenes, arguments.scenes)
        drawn.append(np.concatenate([right[owner == number] for number in picked]).mean())
    low, high = 100 * np.percentile(drawn, [2.5, 97.5])
    print(
        f"{len(right)} events of {arguments.scenes} scenes, {arguments.language}: {100 * right.mean():.1f} % "
        f"(95 %: {low:.1f} to {high:.1f}, scenes resampled); chance {100 * np.mean(chance):.1f} %"
    )


if __name__ == "__main__":
    main()
