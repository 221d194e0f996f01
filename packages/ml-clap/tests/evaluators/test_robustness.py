"""Other wordings: what the rules make, and what a model that hears words would score."""

import numpy as np
import pytest
import torch
from ml_clap.data.languages import LANGUAGES
from ml_clap.data.rewording import KINDS, languages_of, reword
from ml_clap.evaluators.robustness import compare_wordings, reword_all


@pytest.mark.parametrize(
    ("caption", "language", "kind", "expected"),
    [
        ("A dog is barking in the yard.", "eng_Latn", "keywords", "dog barking yard"),
        ("Aboiements d'un chien tout près.", "fra_Latn", "keywords", "aboiements chien près"),
        ("Ein Hund bellt.", "deu_Latn", "keywords", "hund bellt"),
        ("It is.", "eng_Latn", "keywords", None),
        ("犬が吠えている。", "jpn_Jpan", "keywords", None),
        ("Ein Hund bellt.", "deu_Latn", "question", "Gibt es ein Geräusch wie dieses: Ein Hund bellt?"),
        ("犬が吠えている。", "jpn_Jpan", "question", "次のような音はありますか：犬が吠えている？"),
        ("A dog barks.", "eng_Latn", "negation", "No dog barks."),
        ("Eine Katze miaut.", "deu_Latn", "negation", "Keine Katze miaut."),
        ("Een hond blaft.", "nld_Latn", "negation", "Geen hond blaft."),
        ("Rain is falling.", "eng_Latn", "negation", "This is not heard: rain is falling."),
        ("Un chien aboie.", "fra_Latn", "negation", "On n'entend pas ceci : un chien aboie."),
        ("un cane abbaia", "ita_Latn", "negation", None),
    ],
)
def test_the_rules_make_what_they_say(caption: str, language: str, kind: str, expected: str | None) -> None:
    assert reword(caption, language, kind) == expected  # type: ignore[arg-type]


def test_the_papers_languages_have_rules_but_for_keywords_without_spaces() -> None:
    assert set(languages_of("question")) == set(languages_of("negation")) == set(LANGUAGES)
    assert set(LANGUAGES) - set(languages_of("keywords")) == {"jpn_Jpan", "zho_Hans"}
    for kind in KINDS:
        for language in languages_of(kind):
            assert reword("Abc abc xyz.", language, kind)


def test_captions_without_a_rewording_are_left_out() -> None:
    assert reword_all(["A dog.", "It is."], "eng_Latn", "keywords") == ([0], ["dog"])


def test_a_denial_that_is_understood_ranks_its_clip_last() -> None:
    audio = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.1, 0.0], [0.1, 1.0, 0.0], [0.0, 0.1, 1.0]]), dim=1
    )
    heard = compare_wordings(audio, audio, -audio, [0, 1, 2], np.arange(3))
    assert (heard.r1.value, heard.change.value, heard.lower.value, heard.below.value) == (
        0.0,
        -100.0,
        100.0,
        100.0,
    )
    deaf = compare_wordings(audio, audio, audio, [0, 1, 2], np.arange(3), num_samples=10)
    assert (deaf.r1.value, deaf.change.value, deaf.lower.value, deaf.below.value) == (100.0, 0.0, 0.0, 0.0)
    assert deaf.change.interval == (0.0, 0.0)
    assert deaf.num_queries == 3


def test_clips_with_an_equal_caption_are_right_too() -> None:
    audio, asked = torch.eye(3), torch.tensor([[0.5, 1.0, 0.0]])
    right = torch.tensor([[True, True, False]])
    assert compare_wordings(audio, asked, asked, [0], np.arange(1)).r1.value == 0.0
    assert compare_wordings(audio, asked, asked, [0], np.arange(1), right=right).r1.value == 100.0
