"""Each of the 202 languages can be found by typing its name."""

import pytest
from ml_clap.data.language_names import ENGLISH_NAMES, OWN_NAMES, by_name, find_language, shown_language
from ml_clap.data.languages import LANGUAGE_NAMES, SONAR_LANGUAGES, resolve


def test_every_language_has_a_name_of_its_own() -> None:
    assert set(ENGLISH_NAMES) == set(SONAR_LANGUAGES)
    assert set(OWN_NAMES) <= set(SONAR_LANGUAGES)
    shown = [name for name, _ in by_name()]
    assert len(set(shown)) == 202
    assert len(set(ENGLISH_NAMES.values())) == 202
    assert shown == sorted(shown)


@pytest.mark.parametrize("typed", ["german", "Deutsch", "deu_Latn", "deu"])
def test_a_language_is_found_by_typing_any_of_its_names(typed: str) -> None:
    found = [code for name, code in by_name() if typed.lower() in name.lower()]
    assert found == ["deu_Latn"]


def test_the_eight_names_are_those_of_the_paper() -> None:
    for code, name in LANGUAGE_NAMES.items():
        assert ENGLISH_NAMES[code].startswith(name)
        assert find_language(name) == code == resolve(name)


def test_a_name_means_its_language() -> None:
    assert {find_language(name) for name in ("Swahili", "kiswahili", "sw", "swh_Latn")} == {"swh_Latn"}
    assert find_language(" 日本語 ") == "jpn_Jpan"
    assert shown_language("xxx_Latn") == "xxx_Latn"
    with pytest.raises(ValueError, match="unknown language 'Klingon'"):
        find_language("Klingon")
