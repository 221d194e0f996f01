"""Questions about sounds are answered, one or many, with options or freely."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common import AudioError, DecodeLimits
from audio_common.scenes.scene import random_scene, render
from r1_aqa.answering.answer import parse_answer
from r1_aqa.answering.answerer import Answerer
from r1_aqa.answering.command import answer
from r1_aqa.config.answer import AnswerConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.template import PromptTemplate


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


def test_a_question_may_be_about_several_sounds(
    tiny_model_folder: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answerer = Answerer.from_pretrained(tiny_model_folder, device="cpu")
    samples = render(random_scene(5, num_events=2, seconds=2.5))
    soundfile.write(tmp_path / "other.wav", samples, 16_000, subtype="FLOAT")
    asked = Question(
        id="1", audio=clip, further_audio=(tmp_path / "other.wav",), question="Same?", choices=("yes", "no")
    )
    (expected,) = answerer.answer_all([asked], max_new_tokens=4)
    one = answerer.answer(
        clip, "Same?", ("yes", "no"), further_audio=[tmp_path / "other.wav"], max_new_tokens=4
    )
    each = answerer.answer([clip, clip], "Same?", ("yes", "no"), further_audio=[samples], max_new_tokens=4)
    assert one == each[0] == each[1] == expected
    config = AnswerConfig(
        audio=clip,
        question="Same?",
        choices=("yes", "no"),
        further_audio=(tmp_path / "other.wav",),
        model=str(tiny_model_folder),
        max_new_tokens=4,
        device="cpu",
    )
    assert answer(config) == expected
    with pytest.raises(AudioError, match=r"further_audio\[0\]: "):
        answerer.answer(clip, "Same?", further_audio=[np.zeros(0)])
    with pytest.raises(TypeError, match="further_audio: expected several sounds, got one str"):
        answerer.answer(clip, "Same?", further_audio="b.wav")


def test_a_prompt_of_ones_own_is_used(tiny_model_folder: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bare.jinja").write_text("{{ question }}")
    answerer = Answerer.from_pretrained(tiny_model_folder, device="cpu")
    template = PromptTemplate.read(tmp_path / "bare.jinja")
    # The bare question is what a free question is asked as without a template, too.
    bare = answerer.answer(clip, "What?", max_new_tokens=6)
    found = answerer.answer(clip, "What?", ("a dog", "rain"), template=template, max_new_tokens=6)
    assert found.completion == bare.completion


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


def test_one_bad_sound_of_several_is_one_bad_answer(
    tiny_model_folder: Path, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad, long = clip.with_name("bad.wav"), clip.with_name("long.wav")
    bad.write_bytes(b"no sound")
    soundfile.write(long, np.ones(9 * 16_000) / 2, 16_000)
    sounds = [clip, bad, np.zeros(0), long, "a\0.wav", "half-\ud800.wav", clip.parent, np.ones(9)]
    skipping = SoundConfig(too_long="skip", max_seconds=8)
    for limits in (None, DecodeLimits(seconds=20)):
        answerer = Answerer.from_pretrained(
            tiny_model_folder, device="cpu", sound=skipping, decode_limits=limits
        )
        found = answerer.answer(sounds, "What?", max_new_tokens=2)
        assert [answer.error is None for answer in found] == [True, *[False] * 6, True]
        assert "audio[2]: expected an array of at least one sample" in (found[2].error or "")
        assert (found[1].text, found[1].completion, found[1].choice) == ("", "", None)
        assert "6 of 8 sounds have no answer, the first: " in caplog.text
        with pytest.raises(AudioError):
            answerer.answer(long, "What?")
    assert "Expanding inputs" not in caplog.text  # a few samples still are a sound
    asked = [Question(id=str(i), audio=Path(path), question="What?") for i, path in enumerate((clip, bad))]
    assert [answer.error is None for answer in answerer.answer_all(asked, max_new_tokens=1)] == [True, False]


def test_a_file_that_cannot_be_read_is_an_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        Answerer.from_pretrained(tiny_model_folder, device="cpu").answer(tmp_path / "bad.wav", "What?")


def test_whatever_stands_for_a_sound_is_answered_alike(tiny_model_folder: Path, clip: Path) -> None:
    answerer = Answerer.from_pretrained(tiny_model_folder, device="cpu")
    samples, rate = soundfile.read(clip, dtype="float32")
    sounds = [str(clip), clip, clip.read_bytes(), clip.open("rb"), samples, torch.from_numpy(samples)]
    found = answerer.answer(sounds, "What is heard?", max_new_tokens=3, sample_rate=rate)
    assert found == [found[0]] * 6
    assert answerer.answer(samples, "What is heard?", max_new_tokens=3) == found[0]
    stereo = np.stack([samples, samples])
    assert answerer.answer((stereo,), "What is heard?", max_new_tokens=3) == found[:1]
    assert answerer.answer([], "What is heard?") == []


@pytest.mark.parametrize(
    ("audio", "question", "choices", "message"),
    [
        (np.array([0.0, np.nan]), "What?", (), "nan"),
        (np.zeros((2, 2, 2)), "What?", (), "shape"),
        (np.zeros(0), "What?", (), "sample"),
        (None, "What?", (), "NoneType"),
        (np.zeros(9), " ", (), "question is empty"),
        (np.zeros(9), ["What?"], (), "question: expected a text, got list; several questions: answer_all"),
        (np.zeros(9), "What?", "dog", "choices: expected several texts, got the one text 'dog'"),
        (np.zeros(9), "What?", ("dog", 3), r"choices\[1\]: expected a text, got int"),
        (np.zeros(9), "What?", ("dog", " "), r"choices\[1\] is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(
    tiny_audio_llm: AudioLLM, audio: object, question: object, choices: object, message: str
) -> None:
    with pytest.raises((AudioError, ValueError, TypeError), match=message):
        Answerer(tiny_audio_llm).answer(audio, question, choices)  # type: ignore[call-overload]


def test_a_cut_sound_and_a_cut_answer_are_said(
    tiny_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 9 * 16_000)
    soundfile.write(tmp_path / "long.wav", samples, 16_000)
    config = AnswerConfig(
        audio=tmp_path / "long.wav",
        question="What?",
        choices=("(A) a dog", "(B) rain"),
        model=str(tiny_model_folder),
        max_new_tokens=2,
        device="cpu",
        json=Path("-"),
    )
    with caplog.at_level("INFO", "r1_aqa"):
        answer(config)
    found = json.loads(capsys.readouterr().out)
    assert (found["cut"], found["truncated"], found["windows"]) == (True, True, [])
    assert caplog.messages == [
        f"{tiny_model_folder}: licence of the weights: unknown",
        "the options have letters, as in (A) Man: the answer is compared without them",
        "the sounds of 1 of 1 questions are cut: only their first 4 s are heard, of up to 9.0 s "
        "(sound.too_long windows asks about all of them)",
        "1 of 1 answers were ended after 2 tokens (max_new_tokens) and may lack their end",
    ]
    windowed = answer(replace(config, sound=SoundConfig(too_long="windows"), choices=()))
    assert (windowed.cut, len(windowed.windows)) == (False, 3)
    assert windowed.completion.startswith("0-4 s: ")
    assert "\n5-9 s: " in windowed.completion


def test_an_unreadable_sound_is_said_once(
    tiny_audio_llm: AudioLLM, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        Answerer(tiny_audio_llm).answer(tmp_path / "bad.wav", "What?")
    assert not caplog.messages


def test_options_of_an_iterator_are_not_lost(tiny_model_folder: Path, clip: Path) -> None:
    answerer = Answerer.from_pretrained(tiny_model_folder, device="cpu")
    choices = ["a dog", "rain"]
    listed = answerer.answer(clip, "What?", choices, max_new_tokens=3)
    assert answerer.answer(clip, "What?", iter(choices), max_new_tokens=3) == listed
    with pytest.raises(TypeError, match="choices: expected a list"):
        answerer.answer(clip, "What?", {"A": "a dog", "B": "rain"}, max_new_tokens=3)
    for numbers in ({"batch_size": 0}, {"max_new_tokens": 1.5}, {"temperature": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(numbers))):
            answerer.answer(clip, "What?", **numbers)  # type: ignore[call-overload]


def test_a_prompt_beyond_the_model_is_said_for_every_question_about_a_clip(
    tiny_model_folder: Path, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answerer = Answerer.from_pretrained(tiny_model_folder, device="cpu")
    texts = ["What?", "word " * 1000]
    asked = [Question(id=str(i), audio=clip, question=text) for i, text in enumerate(texts)]
    answerer.answer_all(asked, max_new_tokens=1)
    assert "1 of 2 sounds have no answer, the first: the question has" in caplog.text
