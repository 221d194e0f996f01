"""What a page or a request asks is read, or refused in words; what is answered is drawn and escaped."""

from dataclasses import replace
from typing import Any

import pytest
from r1_aqa.answering.answer import Answer, parse_answer
from r1_aqa.answering.comparison import Comparison, OptionScore
from r1_aqa.config.serve import ServeConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.serving.asker import RequestError, as_json, check_prompt, check_sounds, check_tokens, read_options
from r1_aqa.serving.view import describe_notes, describe_options, describe_silence, draw_answer

HOSTILE = "<script>alert(1)</script>"


def option(text: str, asked: float, silent: float | None = None, letter: str | None = None) -> OptionScore:
    return OptionScore(text=text, letter=letter, asked=asked, shuffled=silent and asked, silent=silent)


def comparison(answer: Answer, *options: OptionScore, **fields: Any) -> Comparison:
    given = {"silent_answer": answer, "num_orders": 2, "same_in_orders": 2, "gain": 0.0, "seconds": (3.0,)}
    return Comparison(answer=answer, options=options, **given | fields)


def test_options_with_letters_lose_them_and_are_put_in_their_order() -> None:
    assert read_options(["a dog", " rain "]) == (("a dog", "rain"), False)
    assert read_options(["(B) rain", "(A) a dog"]) == (("a dog", "rain"), True)
    assert read_options(["2. rain", "1. a dog"]) == (("a dog", "rain"), True)
    assert read_options([]) == ((), False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["rain"], "there is one option, 'rain': give at least two"),
        (["rain", "dog", "rain"], "options 1 and 3 are the same: 'rain'"),
        ([str(number) for number in range(17)], "17 options, at most 16"),
        (["rain", "x" * 501], "option 2 has 501 characters, at most 500"),
    ],
)
def test_options_that_cannot_be_asked_are_refused(options: list[str], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        read_options(options)


def test_other_mistakes_are_refused() -> None:
    for count, words in ((0, "there is no sound"), (5, "there are 5 sounds; 1 to 4 are taken")):
        with pytest.raises(RequestError, match=words):
            check_sounds(count)
    with pytest.raises(RequestError, match="prompt must be one of choices, answer, think, think_short"):
        check_prompt("thinks")
    with pytest.raises(RequestError, match="from 1 to 8 here, got 9"):
        check_tokens(9, 8)
    assert check_tokens(None, 8) == 8
    with pytest.raises(ValueError, match="a page asks about one part of a sound"):
        ServeConfig(sound=SoundConfig(too_long="windows"))
    with pytest.raises(ValueError, match="max_new_tokens must be at least 1, got 0"):
        ServeConfig(max_new_tokens=0)


def test_all_texts_are_escaped() -> None:
    answer = replace(parse_answer(f"<think>{HOSTILE}</think>{HOSTILE}", []), complaints=(HOSTILE,))
    for drawn in (
        draw_answer(comparison(answer)),
        draw_answer(comparison(answer, option(HOSTILE, 0.6, 0.4), option("rain", 0.4, 0.6))),
    ):
        assert HOSTILE not in drawn
        assert "&lt;script&gt;" in drawn


def test_sentences_say_what_the_numbers_do() -> None:
    dog = parse_answer("<answer>a dog</answer>", ["a dog", "rain"])
    found = comparison(dog, option("a dog", 0.83, 0.08), option("rain", 0.17, 0.92), same_in_orders=1)
    assert describe_options(found) == ["“a dog” is the likeliest in 1 of 2 orders of the options."]
    assert describe_silence(found) == ["Hearing the sound raises “a dog” from 8\xa0% to 83\xa0%."]
    other = comparison(dog, option("a dog", 0.3, 0.31), option("rain", 0.7, 0.69))
    assert describe_options(other)[0] == "It wrote this, although as an answer “rain” is likelier."
    assert describe_silence(other)[0].startswith(
        "The sound hardly matters: with silence in its place “a dog”"
    )
    none = comparison(parse_answer("a cat", ["a dog", "rain"]), *other.options)
    assert describe_options(none)[0] == "What the model wrote names none of the options."
    assert describe_silence(comparison(dog, gain=2.0)) == [
        "The sound makes this answer 7.39 times likelier than silence does."
    ]
    assert "more than a million times unlikelier" in describe_silence(comparison(dog, gain=-20.0))[0]
    assert describe_silence(comparison(dog, silent_answer=None)) == []


def test_what_was_not_heard_is_noted() -> None:
    answer = replace(parse_answer("rain", []), cut=True, truncated=True, complaints=("a.wav: damaged",))
    assert describe_notes(comparison(answer, seconds=(3.0, 42.0)), 30.0, 8) == [
        "Only 30 s are heard, the longest sound has 42.0 s.",
        "The answer was ended after 8 tokens and may lack its end.",
        "a.wav: damaged",
    ]


def test_thinking_stands_apart_and_letters_before_options() -> None:
    answer = parse_answer("<think>It barks.</think><answer>a dog</answer>", ["a dog", "rain"])
    drawn = draw_answer(comparison(answer, option("a dog", 0.9, 0.5, "A"), option("rain", 0.1, 0.5, "B")))
    assert '<p class="aqa-said">(A) a dog</p>' in drawn
    assert "<pre>It barks.</pre>" in drawn


def test_json_has_everything() -> None:
    answer = parse_answer("<think>It barks.</think><answer>a dog</answer>", ["a dog", "rain"])
    found = as_json(comparison(answer, option("a dog", 0.9, 0.5), option("rain", 0.1, 0.5)), ["a.wav"])
    assert (found["choice"], found["thinking"], found["orders"]) == (
        "a dog",
        "It barks.",
        {"tried": 2, "same": 2},
    )
    assert found["options"][0] == {
        "text": "a dog", "letter": None, "asked": 0.9, "shuffled": 0.9, "silent": 0.5
    }  # fmt: skip
    assert found["sounds"] == [{"name": "a.wav", "seconds": 3.0}]
