import doctest
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.data import enhancement
from ml_clap.data.enhancement import RateMeaning, Sample, epoch_captions, one_caption_per_clip, texts_of
from ml_clap.data.languages import LANGUAGES
from ml_clap.data.manifest import Clip

FURTHER = LANGUAGES[1:]


def make_clips(number: int, captions: int = 5, languages: tuple[str, ...] = LANGUAGES) -> list[Clip]:
    texts = tuple(f"caption {place}" for place in range(captions))
    return [Clip(f"c{i}", Path(f"/c{i}.wav"), dict.fromkeys(languages, texts)) for i in range(number)]


def count_by_language(samples: list[Sample]) -> Counter[str]:
    return Counter(sample.language for sample in samples)


def within_five_sigma(count: int, trials: int, probability: float) -> bool:
    return abs(count - trials * probability) < 5 * (trials * probability * (1 - probability)) ** 0.5


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.integers(0, 5), st.integers(0, 5), st.sampled_from(["per_language", "total"]))
def test_every_source_caption_is_there_exactly_once(
    rate: float, seed: int, epoch: int, meaning: RateMeaning
) -> None:
    samples = epoch_captions(
        make_clips(3), languages=FURTHER, rate=rate, rate_meaning=meaning, seed=seed, epoch=epoch
    )
    assert len(set(samples)) == len(samples)
    english = [sample for sample in samples if sample.language == "eng_Latn"]
    assert english == [Sample(clip, "eng_Latn", caption) for clip in range(3) for caption in range(5)]


def test_ten_percent_per_language_adds_seventy_percent() -> None:
    clips = make_clips(600)
    samples = epoch_captions(clips, languages=FURTHER, rate=0.1)
    counts = count_by_language(samples)
    assert counts["eng_Latn"] == 3000
    assert all(within_five_sigma(counts[language], 3000, 0.1) for language in FURTHER)
    assert within_five_sigma(len(samples) - 3000, 21000, 0.1)


def test_ten_percent_in_total_adds_ten_percent() -> None:
    samples = epoch_captions(make_clips(600), languages=FURTHER, rate=0.1, rate_meaning="total")
    counts = count_by_language(samples)
    assert all(within_five_sigma(counts[language], 3000, 0.1 / 7) for language in FURTHER)
    assert within_five_sigma(len(samples) - 3000, 21000, 0.1 / 7)


def test_rate_zero_is_english_only_and_rate_one_is_everything() -> None:
    clips = make_clips(4)
    assert set(count_by_language(epoch_captions(clips, languages=FURTHER, rate=0))) == {"eng_Latn"}
    assert count_by_language(epoch_captions(clips, languages=FURTHER, rate=1)) == Counter(
        dict.fromkeys(LANGUAGES, 20)
    )


def test_epochs_differ_and_are_reproduced() -> None:
    clips = make_clips(50)
    epochs = [epoch_captions(clips, languages=FURTHER, seed=3, epoch=epoch) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]
    assert epochs[0] != epoch_captions(clips, languages=FURTHER, seed=4, epoch=0)


def test_every_caption_of_a_further_language_gets_its_turn() -> None:
    clips = make_clips(3, captions=2)
    seen = {
        sample for epoch in range(100) for sample in epoch_captions(clips, languages=FURTHER, epoch=epoch)
    }
    assert len(seen) == 3 * 2 * 8


def test_clip_without_a_language_is_not_drawn_in_it() -> None:
    clips = make_clips(2, languages=("eng_Latn",)) + make_clips(2, languages=("fra_Latn",))
    samples = epoch_captions(clips, languages=FURTHER, rate=1)
    assert {(sample.clip, sample.language) for sample in samples} == {
        (0, "eng_Latn"), (1, "eng_Latn"), (2, "fra_Latn"), (3, "fra_Latn")
    }  # fmt: skip


def test_long_captions_of_further_languages_never_take_part() -> None:
    captions = {
        "eng_Latn": ("one two three four",),
        "fra_Latn": ("un deux trois", "un deux trois quatre"),
        "jpn_Jpan": ("犬だ。", "犬が吠える"),
    }
    clip = Clip("a", Path("/a.wav"), captions)
    samples = epoch_captions([clip], languages=["fra_Latn", "jpn_Jpan"], rate=1, max_caption_length=3)
    assert samples == [Sample(0, "eng_Latn", 0), Sample(0, "fra_Latn", 0), Sample(0, "jpn_Jpan", 0)]


def test_one_caption_per_clip_takes_each_clip_once_and_others_in_other_epochs() -> None:
    samples = epoch_captions(make_clips(40), languages=FURTHER, rate=1)
    first, second = (one_caption_per_clip(samples, epoch=epoch) for epoch in (0, 1))
    assert [sample.clip for sample in first] == list(range(40))
    assert set(first) <= set(samples)
    assert first != second
    assert one_caption_per_clip(samples, epoch=0) == first


@pytest.mark.parametrize(
    ("settings_", "message"),
    [({"rate": 1.5}, r"in \[0, 1\], got 1.5"), ({"languages": ["fra_Latn", "fra_Latn"]}, "named twice"),
     ({"languages": ["eng_Latn"]}, "named twice")],
)  # fmt: skip
def test_impossible_settings_are_refused(settings_: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        epoch_captions(make_clips(1), **settings_)


def test_docstring_examples_hold() -> None:
    result = doctest.testmod(enhancement)
    assert result.attempted >= 1
    assert result.failed == 0


def test_a_clip_with_fewer_translations_is_no_substitute_for_one_with_more() -> None:
    sample = Sample(0, "eng_Latn", 1, ("fra_Latn",))
    clip = Clip("a", Path("a.wav"), {"eng_Latn": ("one", "two"), "fra_Latn": ("un", "deux")})
    assert texts_of(clip, sample) == [("two", "eng_Latn"), ("deux", "fra_Latn")]
    fewer = Clip("b", Path("b.wav"), {"eng_Latn": ("one", "two"), "fra_Latn": ("un",)})
    assert texts_of(fewer, sample) is None
    assert texts_of(Clip("c", Path("c.wav"), {"fra_Latn": ("un",)}), sample) is None
