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
def test_an_answer_that_is_no_text_is_named(tmp_path: Path, output: str) -> None:
    (tmp_path / "p.jsonl").write_text(f'{{"id": "1", "output": {output}}}\n')
    question = Question(id="1", audio=Path("a.wav"), question="?")
    with pytest.raises(ValueError, match=r"p\.jsonl:1: output: expected text, got"):
        read_outputs(tmp_path / "p.jsonl", [question])
