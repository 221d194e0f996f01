"""Instructions about an answer's form: a case that follows and one that does not for every rule."""

from pathlib import Path

import pytest
from r1_aqa.data.questions import Question
from r1_aqa.evaluators.instructions import _RULES, follows, score_instructions

CASES = [
    ("Include Keywords", {"keywords": "rain, dog"}, "A Dog in the rain.", "A dog."),
    ("Keyword Frequency", {"keyword": "rain", "N": 2}, "Rain, rain; raining.", "Rain."),
    ("Forbidden Words", {"forbidden_words": "sound, hear"}, "A dog barks.", "I hear a dog."),
    ("Number Paragraphs", {"N": 2}, "One.\n***\nTwo.", "One. *** Two. *** Three."),
    ("Number Words (at least)", {"N": 3}, "one two three", "one two"),
    ("Number Words (at most)", {"N": 2}, "one two", "one two three"),
    ("Number Words (range)", {"N1": 2, "N2": 3}, "one two three", "one"),
    ("Number Sentences (at least)", {"N": 2}, "It rains. It pours!", "It rains."),
    ("Number Sentences (at most)", {"N": 1}, "It lasts 1.5 s.", "It rains. It pours!"),
    ("Number Sentences (range)", {"N1": 2, "N2": 2}, 'It "rains." It pours...', "It rains."),
    ("Postscript", {"postscript_marker": "P.S."}, "Rain.\nP.S. And wind.", "Rain."),
    ("Number Placeholder", {"N": 2}, "[name] and [place]", "[name]"),
    ("Number Bullets", {"N": 2}, "* rain\n* wind", "* rain"),
    ("Title", {}, "<<Rain>>\nIt falls.", "Rain. It falls."),
    ("Minimum Number Highlighted Section", {"N": 2}, "*rain* and *wind*", "*rain* and wind"),
    ("Multiple Sections", {"N": 2, "section_splitter": "SECTION"}, "SECTION one SECTION two", "SECTION one"),
    ("Repeat Prompt", {}, "What is heard? Rain.", "Rain."),
    ("Two Responses", {}, "Rain.******Wind.", "Rain.******rain."),
    ("All Uppercase", {}, "RAIN.", "Rain."),
    ("All Lowercase", {}, "rain.", "Rain."),
    ("All-capital Words (at least)", {"N": 1}, "It is RAIN", "It is rain"),
    ("All-capital Words (at most)", {"N": 0}, "It rains", "It is RAIN"),
    ("All-capital Words (range)", {"N1": 1, "N2": 2}, "RAIN falls", "rain falls"),
    ("Start Checker", {"start_phrase": "I hear,"}, "I hear rain", "There is rain"),
    ("End Checker", {"end_phrase": "that is all."}, "Rain. That is all", "That is all. Rain"),
    ("Quotation", {}, '"Rain."', '"Rain.'),
    ("No Commas", {}, "Rain and wind", "Rain, wind"),
]


@pytest.mark.parametrize(
    ("identifier", "settings", "right", "wrong"), CASES, ids=lambda value: str(value)[:20]
)
def test_each_form_is_told_from_its_lack(identifier: str, settings: dict, right: str, wrong: str) -> None:
    # In Parquet a row has the other forms' settings, too, as nulls.
    given = dict.fromkeys(("N", "N1", "N2", "keyword", "keywords")) | settings
    assert follows(identifier, given, right, prompt="What is heard?") is True
    assert follows(identifier, given, wrong, prompt="What is heard?") is False


def test_every_rule_has_its_case() -> None:
    assert [case[0] for case in CASES] == list(_RULES)


def test_unanswered_is_not_followed_and_an_unknown_form_is_not_judged() -> None:
    def ask(identifier: str | None) -> Question:
        extra = {"task_identifier": identifier, "kwargs": {"N": None}} if identifier else {}
        return Question(id="1", audio=Path("a.wav"), question="?", extra=extra)

    questions = [ask("No Commas"), ask("No Commas"), ask("Sing it"), ask(None)]
    found = score_instructions(questions, ["<answer>Rain</answer>", None, "La, la", "x"])
    assert found == {"followed": 1, "total": 2, "not_judged": 1}
    assert score_instructions(questions[3:], ["x"]) is None
