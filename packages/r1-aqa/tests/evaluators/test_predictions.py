"""Files of answers: resumed where they failed, read in any form, refused when they answer other questions."""

from pathlib import Path

import pytest
from r1_aqa.data.questions import Question
from r1_aqa.evaluators.predictions import Prediction, PredictionFile, read_outputs


def test_answers_of_other_questions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": "x", "output": "a"}\n')
    question = Question(id="1", audio=Path("a.wav"), question="?", choices=("a", "b"), answer="a")
    with pytest.raises(ValueError, match="answers none of the 1 questions"):
        read_outputs(tmp_path / "p.jsonl", [question])
    (tmp_path / "p.jsonl").write_text('{"id": "1", "text": "a"}\n')
    with pytest.raises(ValueError, match="no row has an answer under output, model_output"):
        read_outputs(tmp_path / "p.jsonl", [question])


def test_a_file_of_answers_is_asked_again_where_it_failed(tmp_path: Path) -> None:
    file = PredictionFile(tmp_path / "p.jsonl")
    file.append([Prediction(0, "a", "given", (), "x"), Prediction(1, "b", "given", (), None, "no file")])
    assert set(PredictionFile(tmp_path / "p.jsonl").found) == {("given", 0)}


@pytest.mark.parametrize("output", ["3", '["a"]'])
def test_answers_that_are_no_text_are_named_in_one_line(
    tmp_path: Path, output: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad = f'{{"id": "1", "output": {output}}}\n{{\n'
    (tmp_path / "p.jsonl").write_text(bad)
    asked = [Question(id=str(number), audio=Path("a.wav"), question="?") for number in (1, 2)]
    with pytest.raises(
        ValueError, match=r"2 rows of .*p\.jsonl are no answers: .*p\.jsonl:1: output: expected"
    ):
        read_outputs(tmp_path / "p.jsonl", asked)
    assert not caplog.messages
    # Beside answers that are some, bad ones end nothing.
    (tmp_path / "p.jsonl").write_text(bad + '{"id": "2", "output": "a"}\n')
    assert read_outputs(tmp_path / "p.jsonl", asked) == [None, "a"]
    assert len(caplog.messages) == 1
