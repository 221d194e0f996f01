"""The terminal table and the JSON of an evaluation."""

import json
from pathlib import Path

import pytest
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.evaluators.report import (
    Difference,
    Evaluation,
    ScoredClip,
    display_name,
    format_score,
    notes,
    print_report,
    table_rows,
    write_json_report,
)
from aac_llm.evaluators.score_table import Unavailable


@pytest.fixture
def evaluation():
    return Evaluation(
        num_clips=2,
        corpus={"cider_d": 0.481780, "fer": 0.0, "vocabulary": 1234.0},
        intervals={"cider_d": (0.4, 0.5)},
        clips=(
            ScoredClip("a[b].wav", "a.wav", "a dog", ("a dog barks",), {"cider_d": 0.4}),
            ScoredClip("c\udce9.wav", None, "", ("rain", "it rains"), {"cider_d": 0.1}),
        ),
        unavailable={"spice": Unavailable("no CoreNLP", "fetch it")},
        comparison={},
        missing=tuple(f"{number}.wav" for number in range(7)),
    )


def test_the_number_of_clips_and_references_is_always_said(evaluation, capsys):
    print_report(evaluation)
    assert "2 clips, 1 to 2 references each" in capsys.readouterr().out


def test_what_is_not_in_the_numbers_is_said(evaluation, capsys):
    print_report(evaluation)
    shown = capsys.readouterr().out
    assert "7 without a caption, not scored: 0.wav, 1.wav, 2.wav, 3.wav, 4.wav and 2 more" in shown
    assert "SPICE not computed: no CoreNLP; fetch it" in shown
    assert notes(Evaluation(1, {}, {}, (), {}, {})) == []


def test_a_row_has_the_interval_where_there_is_one(evaluation):
    columns, rows = table_rows(evaluation)
    assert columns == ["score", "value", "95 % interval"]
    assert rows == [
        ["CIDEr-D", "0.4818", "0.400 to 0.500"],
        ["FER", "0.0000", ""],
        ["vocabulary", "1,234", ""],
    ]


def test_a_comparison_adds_its_columns(evaluation):
    found = Evaluation(
        **{**vars(evaluation), "comparison": {"cider_d": Difference(0.5, -0.01822, (-0.03, 0.01), 0.24)}}
    )
    columns, rows = table_rows(found)
    assert columns[3:] == ["other", "change", "95 % interval", "p"]
    assert rows[0][3:] == ["0.5000", "-0.0182", "-0.030 to 0.010", "0.240"]
    assert rows[2][3:] == [""] * 4


def test_the_json_holds_every_clip_and_what_made_it(evaluation, tmp_path):
    write_json_report(tmp_path / "new" / "r.json", evaluation, EvaluateConfig(data=Path("p.jsonl")))
    record = json.loads((tmp_path / "new" / "r.json").read_text())
    assert record["settings"]["data"] == "p.jsonl"
    assert record["aac_llm"]
    assert record["results"]["clips"][1]["id"] == "c\udce9.wav"
    assert record["results"]["clips"][0]["scores"] == {"cider_d": 0.4}
    assert record["results"]["unavailable"]["spice"] == {"reason": "no CoreNLP", "remedy": "fetch it"}


def test_names_and_numbers_in_print():
    assert display_name("mean_length") == "mean length"
    assert format_score("mean_length", 8.25) == "8.2500"
    assert format_score("cider_d", 2.0) == "2.0000"
