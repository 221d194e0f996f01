"""The rule of every harness, verdict by verdict as its own code; what each cannot read; where they differ."""

import json
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest
from r1_aqa.config.score import ScoreConfig
from r1_aqa.data.questions import Question
from r1_aqa.evaluators.agreement import disagreements_of, judge_by, judge_by_all, score_harnesses
from r1_aqa.evaluators.harnesses import HARNESSES, lmms_eval, lmms_eval_mmar, nemo_rl, vlmevalkit
from r1_aqa.evaluators.scores import score

GOLDEN: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "golden" / "harnesses.jsonl")
    .read_text(encoding="utf-8")
    .split("\n")
    if line
]


def ask(
    answer: str = "rain", choices: tuple[str, ...] = ("rain", "wind", "thunder"), **more: Any
) -> Question:
    return Question(id="1", audio=Path("a.wav"), question="?", choices=choices, answer=answer, **more)


def values(output: str | None, question: Question) -> dict[str, float | None]:
    return {name: judge_by(harness, question, output).value for name, harness in HARNESSES.items()}


def test_rules_read_what_the_harnesses_own_code_reads() -> None:
    assert len(GOLDEN) == 300
    for row in GOLDEN:
        output, choices = row["output"], row["choices"]
        texts, letters = [choice.strip().lower() for choice in choices], ascii_uppercase[: len(choices)]
        found = lmms_eval(output, choices, choices)
        assert found.is_read == (row["lmms_eval"] is not None), row
        if found.is_read:
            place = ord(row["lmms_eval"]) - ord("A")
            chosen = texts[place] if place < len(texts) else None
            assert found.right == tuple(float(text == chosen) for text in texts), row
        found = lmms_eval_mmar(output, choices, choices)
        assert found.is_read == (row["lmms_eval_mmar"] is not None), row
        if found.is_read:
            assert found.right == tuple(float(letter == row["lmms_eval_mmar"]) for letter in letters), row
        found = vlmevalkit(output, choices, choices)
        assert found.right == tuple(float(letter == row["vlmevalkit"]) for letter in letters), row
        assert nemo_rl(output, choices, choices).right == tuple(map(float, row["nemo_rl"])), row


@pytest.mark.parametrize(
    ("output", "right"),
    [
        ("<answer>rain</answer>", {"strict", "mmau", "mmar", "official_raw", "nemo_rl", "vlmevalkit"}),
        ("A", {"strict", "lmms_eval", "lmms_eval_mmar", "vlmevalkit"}),
        ("(A) rain", {*HARNESSES} - {"nemo_rl"}),
        ("not rain", {"mmau", "mmar", "official_raw", "vlmevalkit"}),
        ("<think>wind? no</think><answer>rain</answer>", {"strict", "mmau", "mmar", "nemo_rl"}),
        ("rain or thunderstorms", {"mmau", "mmar", "official_raw"}),
    ],
)
def test_one_answer_under_every_rule(output: str, right: set[str]) -> None:
    assert {name for name, value in values(output, ask()).items() if value == 1} == right


def test_a_random_choice_is_its_expected_value() -> None:
    """lmms-eval's mmau draws from A to D, its mmar from the letters of the question."""
    found = values("rain", ask())
    assert (found["lmms_eval"], found["lmms_eval_mmar"]) == (1 / 4, 1 / 3)
    doubled = ask("rain", ("rain", "rain", "wind", "hail"))
    assert values("?", doubled)["lmms_eval"] == 2 / 4
    # A letter beyond the last option ends lmms-eval; a fifth option cannot be named.
    assert values("D", ask())["lmms_eval"] == 0
    five = ask("e", ("a1", "b1", "c1", "d1", "e"))
    assert values("(E)", five)["lmms_eval"] == 0
    assert values("(E)", five)["lmms_eval_mmar"] == 1


def test_the_official_rule_may_be_right_for_several_options() -> None:
    question = ask("rain then wind", ("rain then wind", "wind then rain"))
    found = judge_by(HARNESSES["mmau"], question, "wind then rain")
    assert (found.value, found.num_right) == (1, 2)
    assert judge_by(HARNESSES["strict"], question, "wind then rain").value == 0


def test_denominators_are_the_harnesses_own() -> None:
    asked = [ask(), ask(), Question(id="2", audio=Path("b.wav"), question="?", answer="a tone")]
    judged = judge_by_all(asked, ["rain", None, "a tone"])
    found = score_harnesses(judged, ["a", "a", "b"], draws=10)
    # The official scripts skip what was not answered; letters need options.
    assert {name: harness["denominator"] for name, harness in found.items()} == {
        "strict": 3, "mmau": 2, "mmar": 2, "official_raw": 2,
        "lmms_eval": 2, "lmms_eval_mmar": 2, "vlmevalkit": 2, "nemo_rl": 3,
    }  # fmt: skip
    assert (found["strict"]["value"], found["mmau"]["value"]) == (2 / 3, 1.0)
    assert found["strict"]["unreadable"] == 1 / 3
    assert found["lmms_eval"]["unreadable"] == 1.0


def test_disagreements_name_the_answer_and_each_verdict() -> None:
    # What no rule can read is no disagreement, though lmms-eval would draw an option.
    asked = [ask(), ask(), ask()]
    outputs = ["(A) rain", "not rain", "???"]
    found = disagreements_of(asked, outputs, judge_by_all(asked, outputs))
    assert [row["output"] for row in found] == outputs[:2]
    assert found[1]["verdicts"]["mmau"] == 1
    assert found[1]["verdicts"]["strict"] == 0
    assert found[0]["unread_by"] == ["nemo_rl"]


def test_the_verb_shows_rules_side_by_side_and_lists_where_they_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "audio": "a.wav",
        "question": "What?",
        "choices": ["a dog", "rain"],
        "answer": "rain",
        "task": "sound",
    }
    said = ["<answer>rain</answer>", "B", "not rain", "a dog"]
    rows = [row | {"id": str(number), "audio": f"{number}.wav"} for number in range(4)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    answers = [{"id": str(number), "output": output} for number, output in enumerate(said)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in answers), encoding="utf-8")
    out = tmp_path / "scores"
    found = score(
        ScoreConfig(predictions=tmp_path / "p.jsonl", data=tmp_path / "q.jsonl", out=out, bootstrap=5)
    )
    assert {name: rule["value"] for name, rule in found["harnesses"].items()} == {
        "strict": 2 / 4, "mmau": 2 / 4, "mmar": 2 / 4, "official_raw": 2 / 4, "lmms_eval": (1 + 3 / 4) / 4,
        "lmms_eval_mmar": (1 + 3 / 2) / 4, "vlmevalkit": 2 / 4, "nemo_rl": 1 / 4,
    }  # fmt: skip
    assert found["harnesses"]["nemo_rl"]["unreadable"] == 3 / 4
    listed = [json.loads(line) for line in (out / "disagreements.jsonl").read_text().splitlines()]
    assert len(listed) == found["num_disagreements"] == 4
    assert found["disagreements"] == listed[:3]
    group = found["by"]["task"]["sound"]
    assert group["low"] < group["strict"] < group["high"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "lmms-eval mmau" in shown
    assert "the rules differ on 4 of 4 questions (disagreements.jsonl)" in shown
    assert "'not rain' where 'rain' is right: right by mmau, mmar, official_raw, vlmevalkit" in shown
