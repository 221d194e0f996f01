"""Scripts without spaces: each character is a word, and other texts are as they were."""

import pytest
from aac_llm.metrics import score_captions, tokenize
from aac_llm.metrics.scripts import is_latin, unspaced_languages


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("一只狗在叫。", ["一", "只", "狗", "在", "叫"]),
        ("犬が「ワン」と吠える", ["犬", "が", "ワ", "ン", "と", "吠", "え", "る"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("ခွေး ဟောင်", ["ခွေး", "ဟော", "င်"]),
        ("3只dog叫", ["3", "只", "dog", "叫"]),
        ("개가 짖는다", ["개가", "짖는다"]),
        ("Un chien aboie.", ["un", "chien", "aboie"]),
    ],
)
def test_words_are_characters_where_there_are_no_spaces(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


def test_near_equal_chinese_captions_score_well_and_others_do_not() -> None:
    references = [["一只狗在大声叫", "狗在叫"], ["外面正在下雨", "外面下着大雨"]]
    good = score_captions(["一只狗在叫", "外面下着雨"], references).corpus
    bad = score_captions(["钟声响起", "孩子们笑"], references).corpus
    assert good["bleu_1"] > 0.8 > 0.2 > bad["bleu_1"]
    assert good["rouge_l"] > 0.7
    assert good["cider_d"] > 1.0


def test_the_languages_are_named_and_latin_letters_are_told() -> None:
    assert unspaced_languages(["一只狗", "ที่"]) == ["Chinese", "Thai"]
    assert unspaced_languages(["a dog", "собака"]) == []
    assert is_latin(["ein Hund, über", "3"])
    assert not is_latin(["一只狗"])
