"""Questions about composed sounds: what can be known without hearing, and what the sound says."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from r1_aqa.config.prepare import PrepareGenerateConfig, QuestionKind
from r1_aqa.data.composition import SoundShape, describe_sound
from r1_aqa.data.draw import draw_plans
from r1_aqa.data.placement import ShapedClip
from r1_aqa.data.plan import ANCHORED, NUMBERS, Askable, Plan
from r1_aqa.data.text_probe import text_only_accuracy

KINDS = get_args(QuestionKind)
SPLITS = ("train", "test")
LABELS = tuple("abcdefghij")
NEAR = {label: [other for other in LABELS if other != label] for label in LABELS}


def config(**settings: Any) -> PrepareGenerateConfig:
    return PrepareGenerateConfig(source=Path("x"), out=Path("x.jsonl"), **settings)


@pytest.fixture(scope="module")
def clips() -> list[ShapedClip]:
    """Labels with one to four clips each; a to g also sound long without a pause."""
    found = []
    for number, label in enumerate(LABELS):
        for take in range(1 + number % 4):
            # A burst, a pause, and what lasts 4.2 s, or only 1 s.
            levels = np.full(240, -90.0)
            levels[4:20] = -20.0 - take
            levels[40 : 40 + (168 if number < 7 else 40)] = -22.0
            shape = SoundShape(levels, np.zeros(24))
            found.append(ShapedClip(name=f"{label}{take}", label=label, shape=shape))
    return found


@pytest.fixture(scope="module")
def plans(clips: list[ShapedClip]) -> dict[tuple[str, QuestionKind], list[Plan]]:
    askables = {split: Askable(clips, NEAR, config(seed=seed), split) for seed, split in enumerate(SPLITS)}
    return {(split, kind): draw_plans(askables[split], kind, 120) for split in SPLITS for kind in KINDS}


def test_text_alone_gives_chance(plans: dict[tuple[str, QuestionKind], list[Plan]]) -> None:
    train = [plan for (split, _), found in plans.items() if split == "train" for plan in found]
    test = [plan for (split, _), found in plans.items() if split == "test" for plan in found]
    chance = float(np.mean([1 / len(plan.choices) for plan in test]))
    # 1560 questions: a standard error of 1.1 points.
    assert text_only_accuracy(train, test) == pytest.approx(chance, abs=0.034)
    for kind in KINDS:  # 120 each: 4 points
        own = plans["test", kind]
        assert text_only_accuracy(plans["train", kind], own) == pytest.approx(
            1 / len(own[0].choices), abs=0.14
        ), kind


def test_the_probe_finds_what_text_gives_away(plans: dict[tuple[str, QuestionKind], list[Plan]]) -> None:
    biased = {split: [plan for plan in plans[split, "first"] if plan.answer in "abc"] for split in SPLITS}
    assert text_only_accuracy(biased["train"], biased["test"]) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_option_is_as_often_at_each_place_and_each_label(
    plans: dict[tuple[str, QuestionKind], list[Plan]], kind: QuestionKind
) -> None:
    found = plans["train", kind]
    places = Counter(plan.choices.index(plan.answer) for plan in found)
    size = len(found[0].choices)
    assert max(places.values()) - min(places[place] for place in range(size)) <= 1
    shown = Counter(choice for plan in found for choice in plan.choices)
    right = Counter(plan.answer for plan in found)
    assert all(right[choice] / shown[choice] == pytest.approx(1 / size, abs=0.08) for choice in shown)
    assert len({plan.difficulty for plan in found}) == (2 if kind in (*NUMBERS, "which", "absent") else 3)


def test_the_sound_says_what_the_answer_is(plans: dict[tuple[str, QuestionKind], list[Plan]]) -> None:
    for (_, kind), found in plans.items():
        for plan in found:
            parts = plan.composition.parts
            assert all(part.onset >= 0.4 - 1e-3 and part.end <= 10 - 0.4 + 1e-3 for part in parts), plan
            anchor = plan.question.split('"')[1] if kind in ANCHORED else None
            assert answer_of(plan, anchor) == plan.answer, plan


def answer_of(plan: Plan, anchor: str | None) -> str:
    """Return the answer by the parts' times, without what the askable knows."""
    parts = sorted(plan.composition.parts, key=lambda part: part.onset)
    labels = [part.label for part in parts]
    spans = {part.label: part.seconds for part in parts}
    kind = plan.kind
    if kind in ("which", "absent"):
        (only,) = [choice for choice in plan.choices if (choice in labels) == (kind == "which")]
        return only
    if kind == "count":
        assert len(labels) == 4  # always: the number of sounds tells nothing
        return str(len(set(labels)))
    if kind == "repeats":
        return str(labels.count(str(anchor)))
    if kind == "seconds":
        return {0.5: "half a second", 1.0: "1 second"}.get(
            spans[str(anchor)], f"{spans[str(anchor)]:g} seconds"
        )
    if kind == "overlap":
        first, second = (parts[labels.index(str(anchor))], parts[labels.index(plan.answer)])
        assert min(first.end, second.end) - max(first.onset, second.onset) > 0.5
        others = [part for part in parts if part not in (first, second)]
        assert all(part.end < first.onset or part.onset > first.end for part in others)
        return second.label
    if kind in ("longest", "shortest"):
        ordered = sorted(spans, key=spans.__getitem__, reverse=kind == "longest")
        lengths = sorted(spans.values())
        assert lengths[-1] / lengths[-2] >= 1.59 if kind == "longest" else lengths[1] / lengths[0] >= 1.59
        return ordered[0]
    if kind in ("first", "last", "after"):
        gaps = [later.onset - earlier.end for earlier, later in pairwise(parts)]
        assert min(gaps) >= 0.4 - 1e-3
        return {"first": labels[0], "last": labels[-1]}.get(kind) or labels[labels.index(str(anchor)) + 1]
    # All clips' loudest 50 ms are at -20 - take, or at -22: the amplified level is what was asked for.
    return plan.answer


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NUMBERS])
def test_wrong_options_are_of_the_difficulty(
    plans: dict[tuple[str, QuestionKind], list[Plan]], kind: QuestionKind
) -> None:
    for plan in plans["train", kind]:
        heard = {part.label for part in plan.composition.parts}
        wrong = set(plan.choices) - {plan.answer}
        if kind == "absent":
            assert heard == wrong
        elif plan.difficulty == "hard":
            assert heard & wrong
        else:
            assert not heard & wrong
            # ... and something else is heard, or the options that are there would be the answer.
            assert kind == "which" or len(heard) > 1 + (kind in ANCHORED)


def test_medium_options_are_near(clips: list[ShapedClip]) -> None:
    halves = (LABELS[:5], LABELS[5:])
    near = {
        label: sorted(NEAR[label], key=lambda other, own=half: other not in own)  # type: ignore[misc]
        for half in halves
        for label in half
    }
    askable = Askable(clips, near, config(difficulties=("medium",), num_choices=3), "train")
    for plan in draw_plans(askable, "which", 60):
        assert any(set(plan.choices) <= set(half) for half in halves)


def test_the_first_questions_do_not_depend_on_how_many_there_are(clips: list[ShapedClip]) -> None:
    askable = Askable(clips, NEAR, config(), "train")
    for kind in KINDS:
        assert draw_plans(askable, kind, 3) == draw_plans(askable, kind, 9)[:3]
    assert draw_plans(askable, "which", 9) != draw_plans(
        Askable(clips, NEAR, config(seed=1), "train"), "which", 9
    )
    assert draw_plans(askable, "which", 9) != draw_plans(Askable(clips, NEAR, config(), "test"), "which", 9)


def test_labels_that_mean_the_same_are_never_beside_each_other(clips: list[ShapedClip]) -> None:
    alike = {"a": frozenset("b"), "b": frozenset("a")}
    askable = Askable(clips, NEAR, config(), "train", alike)
    for kind in KINDS:
        for plan in draw_plans(askable, kind, 30):
            said = {*plan.choices, *(plan.question.split('"')[1:2])}
            said |= {part.label for part in plan.composition.parts}
            assert not {"a", "b"} <= said


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("after", {"seconds": 3.0}, "3 sounds do not fit; seconds is 3"),
        ("which", {"num_choices": 11}, "10 labels of the train split have clips for it, and 11 are needed"),
        ("which", {"difficulties": ("hard",)}, "it has the difficulties easy, medium only"),
        ("seconds", {"seconds": 2.0}, "sounds long enough without a pause"),
    ],
)
def test_what_cannot_be_asked_is_said(
    clips: list[ShapedClip], kind: QuestionKind, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw_plans(Askable(clips, NEAR, config(**settings), "train"), kind, 1)


@pytest.mark.parametrize(("seconds", "least"), [(2.0, 1), (3.0, 9), (5.0, 12), (30.0, 13)])
def test_every_length_of_sound_has_room_for_what_is_asked(
    clips: list[ShapedClip], seconds: float, least: int
) -> None:
    askable = Askable(clips, NEAR, config(seconds=seconds, num_choices=3), "train")
    asked = 0
    for kind in KINDS:
        try:
            askable.levels(kind)
        except ValueError:
            continue
        asked += 1
        for plan in draw_plans(askable, kind, 20):
            assert len(plan.choices) >= 2
            assert max(part.end for part in plan.composition.parts) <= seconds - 0.4 + 1e-3
    assert asked >= least


def test_loudness_holds_at_the_loudest_and_on_average() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 48_000).astype(np.float32)
    ticks = np.zeros(48_000, np.float32)
    for start in range(0, 48_000, 3200):
        ticks[start : start + 200] = rng.normal(0, 0.5, 200)
    sounds = {
        "noise": noise,
        "ticks": ticks,
        "more": noise[::-1].copy(),
        "hum": np.sin(np.arange(48_000) / 6).astype("f4"),
    }
    shapes = {name: SoundShape.from_json(describe_sound(sound)) for name, sound in sounds.items()}
    clips = [ShapedClip(name=name, label=name, shape=shape) for name, shape in shapes.items()]
    near = {name: [other for other in sounds if other != name] for name in sounds}
    askable = Askable(clips, near, config(num_choices=3, difficulties=("hard",)), "train")
    for kind in ("loudest", "quietest"):
        for plan in draw_plans(askable, kind, 15):
            levels = {}
            for part in plan.composition.parts:
                start, stop = round(part.start * 16_000), round((part.start + part.seconds) * 16_000)
                shape = SoundShape.from_json(describe_sound(sounds[part.source][start:stop]))
                whole = type("W", (), {"start": 0, "length": len(shape.levels)})
                levels[part.label] = (shape.loudest(whole) + part.gain_db, shape.mean(whole) + part.gain_db)  # type: ignore[arg-type]
            own = levels.pop(plan.answer)
            for other in levels.values():
                apart = np.subtract(own, other) * (1 if kind == "loudest" else -1)
                assert apart.min() > 5.0  # 6 dB, less what frames cut elsewhere differ by
