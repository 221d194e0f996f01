"""What a gate lets pass, from the gross error to the subtle one: captions of synthesised scenes.

    python packages/ml-clap/benchmarks/translation_gate.py models/e5-small --prefix "query: "

Each scene has two events; its captions in eight languages are made from one description by hand-written
phrases. Thresholds are set on half of the scenes, right captions against shuffled ones, and tried on the
other half. The table says how many captions of which kind are accepted (%): the right one; one of another
scene; one in which another event takes the place of the second; one that leaves the second event out; one
that tells the two in the other order.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from audio_common.scenes.scene import KINDS, Scene, random_scene
from audio_common.scenes.text import caption
from ml_clap.data.languages import LANGUAGES
from ml_clap.translate.gate import best_threshold, remove_centre
from ml_clap.translate.judge import load_judge


def with_another_event(scene: Scene) -> Scene:
    """Return the scene with its second event of another kind."""
    first, second = scene.events
    others = [kind for kind in KINDS if kind not in (first.kind, second.kind)]
    return replace(scene, events=(first, replace(second, kind=others[first.seed % len(others)])))


def without_the_second(scene: Scene) -> Scene:
    """Return the scene with its first event alone."""
    return replace(scene, events=scene.events[:1])


def in_other_order(scene: Scene) -> Scene:
    """Return the scene with the kinds of its two events exchanged."""
    first, second = scene.events
    return replace(scene, events=(replace(first, kind=second.kind), replace(second, kind=first.kind)))


ERRORS: dict[str, Callable[[Scene], Scene]] = {
    "another event": with_another_event,
    "one left out": without_the_second,
    "other order": in_other_order,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("judge")
    parser.add_argument("--prefix", default="")
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--languages", nargs="*", default=LANGUAGES[1:])
    arguments = parser.parse_args()
    judge = load_judge(arguments.judge, prefix=arguments.prefix)
    scenes = [random_scene(seed, num_events=2, seconds=6.0) for seed in range(arguments.scenes)]
    known = np.arange(len(scenes)) < len(scenes) // 2
    english = judge.embed([caption(scene, "eng_Latn") for scene in scenes], "eng_Latn")
    source = remove_centre(english, english[known].mean(axis=0))
    print("| language | right | another scene | " + " | ".join(ERRORS) + " |")
    print("|---" * (3 + len(ERRORS)) + "|")
    rows = [row_of(judge, scenes, known, source, language) for language in arguments.languages]
    for language, row in zip(arguments.languages, rows, strict=True):
        print(f"| {language} | " + " | ".join(f"{value:.0f}" for value in row) + " |")
    print("| mean | " + " | ".join(f"{value:.0f}" for value in np.mean(rows, axis=0)) + " |")


def row_of(judge, scenes: list[Scene], known: np.ndarray, source: np.ndarray, language: str) -> list[float]:  # type: ignore[no-untyped-def]
    """Return percent accepted of right, shuffled and each kind of wrong caption."""
    texts = [caption(scene, language) for scene in scenes]
    vectors = judge.embed(texts, language)
    centre = vectors[known].mean(axis=0)
    scores = source @ remove_centre(vectors, centre).T
    differ = np.array([[one != other for other in texts] for one in texts])
    inside = differ & known[:, None] & known[None, :]
    threshold = best_threshold(np.diag(scores)[known], scores[inside])
    outside = differ & ~known[:, None] & ~known[None, :]
    found = [np.diag(scores)[~known], scores[outside]]
    for change in ERRORS.values():
        wrong = [caption(change(scene), language) for scene in scenes]
        similar = (source * remove_centre(judge.embed(wrong, language), centre)).sum(axis=1)
        is_wrong = np.array([one != text for one, text in zip(wrong, texts, strict=True)])
        found.append(similar[~known & is_wrong])
    return [100 * float((values >= threshold).mean()) for values in found]


if __name__ == "__main__":
    main()
