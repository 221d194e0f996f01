import math

import pytest
import torch
from aac_llm.models.silence import SILENCE_DBFS, is_silent, loudest_level


def test_the_loudest_tenth_of_a_second_decides():
    sound = torch.zeros(160_000)
    assert loudest_level(sound) == -math.inf
    sound[40_000:41_600] = torch.tensor([0.01, -0.01]).repeat(800)
    assert loudest_level(sound) == pytest.approx(-40.0, abs=0.1)
    assert not is_silent(sound)


@pytest.mark.parametrize(("level", "silent"), [(SILENCE_DBFS - 1, True), (SILENCE_DBFS + 1, False)])
def test_the_threshold_is_the_documented_one(level, silent):
    tone = torch.sin(torch.arange(16_000) * 0.3) * math.sqrt(2) * 10 ** (level / 20)
    assert is_silent(tone) == silent
    assert is_silent(tone + 0.5) == silent, "an offset is no sound"


def test_what_rounding_to_16_bits_leaves_is_silence_and_one_sample_of_it_too():
    assert is_silent((torch.rand(16_000) - 0.5) / 2**15)
    assert is_silent(torch.full((1,), 0.5))
    assert is_silent(torch.zeros(0))


def test_what_is_not_finite_is_no_silence():
    assert not is_silent(torch.full((16_000,), math.nan))
