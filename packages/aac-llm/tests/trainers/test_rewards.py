"""Rewards of captions: what they favour, and that they stay in their range."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from aac_llm.config.reinforce import ReinforceConfig
from aac_llm.config.train import DataConfig
from aac_llm.data.manifest import Clip
from aac_llm.metrics.cider import DocumentFrequencies
from aac_llm.trainers.rewards import (
    cider_reward,
    consensus_reward,
    events_reward,
    fluency_reward,
    make_rewards,
    total_reward,
)

REFERENCES = [("a dog barks while rain falls", "a hound is woofing in the rain"), ("a bell rings twice",)]
FREQUENCIES = DocumentFrequencies.from_references([*REFERENCES, ("a cat meows",)])


def each(references: list[tuple[str, ...]], times: int) -> list[tuple[str, ...]]:
    return [texts for texts in references for _ in range(times)]


def test_the_rewards_favour_what_is_right() -> None:
    captions = ["a dog barks while rain falls", "a dog barks", "a cat meows"]
    references = each(REFERENCES[:1], 3)
    for reward in (partial(cider_reward, frequencies=FREQUENCIES), events_reward):
        values = reward(captions, references)
        assert values[0] > values[1] > values[2] == 0
    assert events_reward(captions, references)[0] == 1


def test_fluency_favours_captions_without_faults() -> None:
    values = fluency_reward(["a dog barks", "a dog dog barks and", ""], each(REFERENCES[:1], 3))
    assert values[0] == 1 > values[1] > values[2] == 0


def test_a_detector_takes_the_place_of_the_rules() -> None:
    score = lambda texts: np.array([0.25] * len(texts))  # noqa: E731
    assert fluency_reward(["a dog dog"], REFERENCES[:1], score=score).tolist() == [0.75]


def test_consensus_compares_with_the_clips_other_captions_alone() -> None:
    captions = ["a dog barks loudly", "a dog barks", "a bell rings", "a bell rings", "a bell rings", "rain"]
    values = consensus_reward(captions, each(REFERENCES, 3), num_rollouts=3, frequencies=FREQUENCIES)
    assert values[0] == values[1] > values[2] == 0  # the bells of the other clip do not help
    assert values[3] == values[4] > values[5] == 0


@pytest.mark.parametrize("name", ["cider", "consensus", "events", "fluency"])
@pytest.mark.parametrize("captions", [["", " "], ["a dog barks while rain falls"] * 2, ["!!", "犬"]])
def test_every_reward_is_finite_and_in_its_range(name: str, captions: list[str]) -> None:
    config = ReinforceConfig(
        out=Path("o"), init_from="m", data=DataConfig(train=(Path("t"),)), rewards=(name,), num_rollouts=2
    )
    clips = [Clip(id=str(n), audio=Path("a"), captions=texts) for n, texts in enumerate(REFERENCES)]
    values = make_rewards(config, clips, "cpu")[name](captions, each(REFERENCES[:1], 2))
    assert values.shape == (2,)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= 1).all()


def test_rewards_are_summed_with_their_weights() -> None:
    found = {"cider": np.array([0.1, 0.2]), "events": np.array([1.0, 0.5])}
    assert total_reward(found, (2.0, 0.5)).tolist() == pytest.approx([0.7, 0.65])
