from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from aac_llm.config.train import ValidationConfig
from aac_llm.data.dataset import CaptionDataset
from aac_llm.data.manifest import Clip
from aac_llm.files import write_json
from aac_llm.trainers.trainer import CaptionTrainer, rank
from aac_llm.trainers.validation import draw_clips

ONE, TWO, THREE = "a dog barks", "a dog barks while it rains", "a dog barks while it rains, then a bell rings"


def make_clips() -> list[Clip]:
    """Return 120 clips as manifests have them: 80 single sounds first, then 30 of two and 10 of three."""
    captions = [ONE] * 80 + [TWO] * 30 + [THREE] * 10
    return [
        Clip(id=str(number), audio=Path("x.wav"), captions=(caption,), dataset="esc")
        for number, caption in enumerate(captions)
    ]


def test_clips_of_every_kind_are_drawn_in_proportion() -> None:
    clips = make_clips()
    drawn = draw_clips(clips, [3.0] * 120, 24, seed=0)
    assert len(set(drawn)) == 24
    assert Counter(clips[index].captions[0] for index in drawn) == {ONE: 16, TWO: 6, THREE: 2}


def test_data_sets_and_lengths_are_drawn_in_proportion_too() -> None:
    clips = [
        Clip(id=str(number), audio=Path("x.wav"), captions=(ONE,), dataset="a" if number < 30 else "b")
        for number in range(90)
    ]
    seconds = [1.0 if number % 3 else 20.0 for number in range(90)]
    drawn = draw_clips(clips, seconds, 9, seed=3)
    kinds = Counter((clips[index].dataset, seconds[index]) for index in drawn)
    assert kinds == {("a", 1.0): 2, ("a", 20.0): 1, ("b", 1.0): 4, ("b", 20.0): 2}


def test_the_draw_depends_on_its_seed_alone() -> None:
    clips = make_clips()
    draws = [draw_clips(clips, [3.0] * 120, 24, seed=seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(("count", "drawn"), [(0, 0), (1, 1), (119, 119), (120, 120), (500, 120)])
def test_as_many_are_drawn_as_there_are(count: int, drawn: int) -> None:
    assert len(set(draw_clips(make_clips(), [3.0] * 120, count, seed=0))) == drawn


def test_where_the_metric_ties_the_lower_loss_is_better() -> None:
    worse, better = {"cider_d": 0.0, "loss": 3.0}, {"cider_d": 0.0, "loss": 2.0}
    assert rank(better, "cider_d") > rank(worse, "cider_d")
    assert rank({"cider_d": 0.1, "loss": 9.0}, "cider_d") > rank(better, "cider_d")
    assert rank({"cider_d": 0.0, "loss": 2.0}, "loss") > rank({"cider_d": 9.0, "loss": 3.0}, "loss")
    assert not rank(better, "cider_d") > rank(dict(better), "cider_d")  # the earlier model stays


def test_a_training_captions_the_draw_of_its_validation_seed() -> None:
    clips = [Clip(id=c.id, audio=c.audio, captions=c.captions, duration=3.0) for c in make_clips()]
    dataset = CaptionDataset(clips, max_seconds=10.0, random=False)
    for seed in (0, 5):
        settings = SimpleNamespace(validation=ValidationConfig(max_clips=24, seed=seed), seed=1)
        trainer = SimpleNamespace(eval_dataset=dataset, settings=settings)
        assert CaptionTrainer.captioned.func(trainer) == set(draw_clips(clips, [3.0] * 120, 24, seed=seed))


@pytest.mark.parametrize(("loss", "is_kept"), [(2.9, True), (3.0, False), (3.1, False)])
def test_a_later_model_of_equal_captions_is_kept_if_its_loss_is_lower(
    tmp_path: Path, loss: float, is_kept: bool
) -> None:
    write_json(tmp_path / "validation.json", {"cider_d": 0.0, "loss": 3.0, "step": 10})
    settings = SimpleNamespace(validation=ValidationConfig())
    trainer = SimpleNamespace(best_folder=tmp_path, judged=10, settings=settings)
    scores = {"cider_d": 0.0, "loss": loss, "step": 20}
    assert CaptionTrainer._is_best(trainer, scores) is is_kept
