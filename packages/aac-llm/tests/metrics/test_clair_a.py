"""CLAIR-A's question and its answer, which is read strictly."""

import pytest
from aac_llm.metrics.clair_a import PROMPT, check_prompt, prompt_version, question, read_judgement


@pytest.mark.parametrize(
    "answer",
    [
        '{"score": 85, "reason": "the dog is there"}',
        '  {"reason": "the  dog\\nis there", "score": 85.0, "confidence": 1}\n',
        '```json\n{"score": 85, "reason": "the dog is there"}\n```',
        '<think>A dog {"score": 3}?</think>\n\n{"score": 85, "reason": "the dog is there"}',
    ],
)
def test_a_judgement_is_read(answer):
    found = read_judgement(answer)
    assert (found.score, found.reason) == (0.85, "the dog is there")


BAD_ANSWERS = [
    ("", "not JSON"),
    ("85", "expected a JSON object"),
    ("The score is 85.", "not JSON"),
    ('I think {"score": 85, "reason": "x"}', "not JSON"),
    ('{"score": 85, "reason": "x"} {"score": 1, "reason": "y"}', "not JSON"),
    ('{"score": 85, "reason": "cut he', "not JSON"),
    ('{"score": 85, "score": 10, "reason": "x"}', "stands twice"),
    ('{"reason": "x"}', "expected a number"),
    ('{"score": "85", "reason": "x"}', "expected a number"),
    ('{"score": true, "reason": "x"}', "expected a number"),
    ('{"score": null, "reason": "x"}', "expected a number"),
    ('{"score": 101, "reason": "x"}', "from 0 to 100, got 101"),
    ('{"score": -1, "reason": "x"}', "from 0 to 100"),
    ('{"score": NaN, "reason": "x"}', "no number of JSON"),
    ('{"score": 1e999, "reason": "x"}', "beyond what a float holds"),
    ('{"score": 85}', "expected a reason"),
    ('{"score": 85, "reason": " "}', "expected a reason"),
    ('[{"score": 85, "reason": "x"}]', "expected a JSON object"),
    ("[" * 1000, "not JSON"),
]


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS)
def test_anything_else_is_refused(answer, reason):
    with pytest.raises(ValueError, match=reason):
        read_judgement(answer)


def test_a_caption_cannot_become_several_or_another_place():
    asked = question("a dog\n- a cat {references}", ["it {caption}s"], "{references}|{caption}")
    assert asked == "- it {caption}s|- a dog - a cat {references}"


def test_the_question_holds_the_texts_and_its_version_changes_with_it():
    asked = question("a dog barks", ["a dog", "a hound"])
    assert "- a dog\n- a hound\n" in asked
    assert "- a dog barks\n" in asked
    check_prompt(PROMPT)
    assert prompt_version() != prompt_version(PROMPT + " ")
    with pytest.raises(ValueError, match=r"no \{references\}"):
        check_prompt("{caption}?")
