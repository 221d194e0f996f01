"""How fast scenes are synthesised, in seconds of sound per second of one core: the whole and each kind.

    uv run --package audio-common python packages/audio-common/benchmarks/scenes.py

Process time, so that other jobs of the machine count little. The aim is 200 times real time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable

from audio_common.scenes.scene import KINDS, Event, Scene, random_scene, render


def times_real_time(scenes: Iterable[Scene]) -> float:
    scenes = list(scenes)
    start = time.process_time()
    for scene in scenes:
        render(scene)
    return sum(scene.seconds for scene in scenes) / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=300, help="number of scenes (default: 300)")
    count = parser.parse_args().scenes
    render(random_scene(0))  # imports and first-use tables are not what is measured
    print(f"random scenes   {times_real_time(random_scene(seed) for seed in range(count)):6.0f} x real time")
    for kind in KINDS:
        events = (Event(kind=kind, onset=0.0, duration=3.0, seed=seed) for seed in range(count // 5))
        speed = times_real_time(Scene(events=(event,), seconds=3.0) for event in events)
        print(f"  {kind:13} {speed:6.0f}")


if __name__ == "__main__":
    main()
