"""What is told of a translation without a model."""

import pytest
from ml_clap.translate.scores import chrf, find_fault, script_share


def test_chrf_by_hand() -> None:
    # "abc" and "abd": 2 of 3 letters, 1 of 2 pairs, 0 of 1 triples, both ways; the mean is F, too.
    assert chrf("abc", "abd") == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    # Precision: a, b of "ab" and "ab" are all there; recall: 2 of 4 letters, 1 of 3 pairs. F2 of the means.
    precision, recall = 1.0, (2 / 4 + 1 / 3) / 2
    assert chrf("ab", "abcd") == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert chrf("A Dog, barks!", "a dog barks") == 100
    assert chrf("", "a dog") == chrf("xyz", "a dog") == chrf("", "") == 0


@pytest.mark.parametrize(
    ("source", "translation", "language", "fault"),
    [
        ("A dog barks.", "Un chien aboie.", "fra_Latn", None),
        ("A dog barks.", " ... ", "fra_Latn", "no words"),
        ("A dog barks.", "a dog barks", "fra_Latn", "a copy of its source"),
        ("A dog barks.", "Un chien abo\ufffde.", "fra_Latn", "damaged characters"),
        ("A dog barks.", "Un chien\0aboie.", "fra_Latn", "damaged characters"),
        ("A robot.", "A robot.", "nld_Latn", None),
        ("A dog barks on.", "犬がワンワンワンワンワンと吠える", "jpn_Jpan", None),
        ("A dog barks.", "chien chien chien chien chien", "fra_Latn", "repeats itself"),
        ("Knock knock knock knock knock.", "Toc toc toc toc toc.", "fra_Latn", None),
        ("A dog barks.", "犬が吠える", "jpn_Jpan", None),
        ("A dog barks.", "A dog is barking", "jpn_Jpan", "not in the script Jpan"),
        ("A DJ plays.", "DJ が演奏している", "jpn_Jpan", None),
        ("A dog barks.", "Собака лает", "fra_Latn", "not in the script Latn"),
        ("A dog barks.", "ᖃᐃᒪᓂᖅ", "kas_Deva", "not in the script Deva"),
    ],
)
def test_faults(source: str, translation: str, language: str, fault: str | None) -> None:
    assert find_fault(source, translation, language) == fault


def test_scripts_that_are_not_known_and_texts_without_letters_pass() -> None:
    assert script_share("anything", "khm_Khmr") == 1
    assert script_share("12", "fra_Latn") == 1
    assert script_share("ﾜﾝ ワン 犬 ab", "jpn_Jpan") == pytest.approx(5 / 7)
