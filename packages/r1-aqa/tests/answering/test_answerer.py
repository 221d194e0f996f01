"""Questions about sounds are answered, one or many, with options or freely."""

import json
from pathlib import Path

import pytest
import soundfile
from audio_common import AudioError
from audio_common.scenes.scene import random_scene, render
from r1_aqa.answering.answerer import Answerer, answer, parse_answer
from r1_aqa.config.answer import AnswerConfig
from r1_aqa.data.questions import Question


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "scene.wav"
    soundfile.write(path, render(random_scene(0, num_events=2, seconds=3.0)), 16_000)
    return path


def test_one_answer_is_the_same_as_among_many(tiny_model_folder: Path, clip: Path) -> None:
    answerer = Answerer.from_pretrained(tiny_model_folder, device="cpu")
    asked = [
        Question(id="1", audio=clip, question="What is heard?", choices=("a dog", "rain")),
        Question(id="2", audio=clip, question="What is heard?"),
        Question(
            id="3", audio=clip, question="Which sound comes first?", choices=("thunder", "a dog", "rain")
        ),
    ]
    together = answerer.answer_all(asked, max_new_tokens=6, batch_size=2)
    alone = [answerer.answer(q.audio, q.question, q.choices, max_new_tokens=6) for q in asked]
    assert together == alone
    assert all(answer.completion for answer in together)


def test_sampled_answers_differ(tiny_model_folder: Path, clip: Path) -> None:
    answerer = Answerer.from_pretrained(tiny_model_folder, device="cpu")
    found = {answerer.answer(clip, "What?", max_new_tokens=8, temperature=1.5).completion for _ in range(3)}
    assert len(found) > 1


def test_a_completion_is_taken_apart() -> None:
    found = parse_answer("<think>It barks.</think><answer>A dog.</answer>", ["a cat", "a dog"])
    assert (found.text, found.choice, found.thinking) == ("A dog.", "a dog", "It barks.")
    hedged = parse_answer("a cat or a dog", ["a cat", "a dog"])
    assert (hedged.text, hedged.choice, hedged.thinking) == ("a cat or a dog", None, None)
    cut = parse_answer("<think>It barks and", ["a cat", "a dog"])
    assert (cut.choice, cut.thinking) == (None, "It barks and")


def test_the_verb_prints_json(
    tiny_model_folder: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = AnswerConfig(
        audio=clip,
        question="What?",
        choices=("a dog", "rain"),
        model=str(tiny_model_folder),
        max_new_tokens=4,
        device="cpu",
        json=Path("-"),
    )
    found = answer(config)
    assert json.loads(capsys.readouterr().out)["completion"] == found.completion


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        answer(AnswerConfig(audio=tmp_path / "none.wav", question="What?"))
    with pytest.raises(ValueError, match="at least two, or none"):
        AnswerConfig(audio=Path("a.wav"), question="What?", choices=("one",))


def test_several_files_are_answered_in_their_order(tiny_model_folder: Path, clip: Path) -> None:
    answerer = Answerer.from_pretrained(tiny_model_folder, device="cpu")
    other = clip.with_name("other.wav")
    soundfile.write(other, render(random_scene(5, num_events=2, seconds=3.5)), 16_000)
    several = answerer.answer([other, str(clip)], "What is heard?", ["a dog", "rain"], max_new_tokens=4)
    alone = [
        answerer.answer(path, "What is heard?", ["a dog", "rain"], max_new_tokens=4) for path in (other, clip)
    ]
    assert several == alone


def test_a_file_that_cannot_be_read_is_an_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        Answerer.from_pretrained(tiny_model_folder, device="cpu").answer(tmp_path / "bad.wav", "What?")
