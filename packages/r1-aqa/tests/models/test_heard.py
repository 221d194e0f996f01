"""A model that does not hear is found out, one that does is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from r1_aqa.config.model import ModelConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.models.heard import DeafModelError, check_heard, other_sounds, require_heard


def make_questions(folder: Path, scale: float = 0.1) -> list[Question]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(3):
        samples = rng.normal(0, scale, 16_000 + 8_000 * number) if scale else np.zeros(16_000)
        soundfile.write(folder / f"{number}.wav", samples, 16_000)
        choices = ("a dog", "a cat")
        path = folder / f"{number}.wav"
        found.append(
            Question(id=str(number), audio=path, question="What is it?", choices=choices, answer="a dog")
        )
    return found


def test_a_model_that_hears_passes(tiny_audio_llm: AudioLLM, tmp_path: Path) -> None:
    report = require_heard(tiny_audio_llm, make_questions(tmp_path), SoundConfig())
    assert report.hears
    assert report.num_questions == 3


def test_a_model_whose_projector_is_dead_is_refused(deaf_model_folder: Path, tmp_path: Path) -> None:
    deaf = load_audio_llm(deaf_model_folder, ModelConfig(dtype="float32"))
    with pytest.raises(DeafModelError, match="does not hear"):
        require_heard(deaf, make_questions(tmp_path), SoundConfig())


def test_silent_recordings_are_no_proof_of_hearing(tiny_audio_llm: AudioLLM, tmp_path: Path) -> None:
    assert not check_heard(tiny_audio_llm, make_questions(tmp_path, scale=0), SoundConfig()).hears


def test_the_check_leaves_the_model_in_training(tiny_audio_llm: AudioLLM, tmp_path: Path) -> None:
    tiny_audio_llm.model.train()
    check_heard(tiny_audio_llm, make_questions(tmp_path), SoundConfig())
    assert tiny_audio_llm.model.training


def test_questions_without_answers_or_options_are_refused(tiny_audio_llm: AudioLLM, tmp_path: Path) -> None:
    free = [Question(id="1", audio=make_questions(tmp_path)[0].audio, question="What is it?")]
    with pytest.raises(ValueError, match="needs a question with an answer or options"):
        check_heard(tiny_audio_llm, free, SoundConfig())


def test_sounds_that_cannot_be_read_are_passed_over(tiny_audio_llm: AudioLLM, tmp_path: Path) -> None:
    good = make_questions(tmp_path)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    bad = [replace(good[0], audio=tmp_path / "bad.wav"), replace(good[0], audio=tmp_path / "gone.wav")]
    report = check_heard(tiny_audio_llm, bad + good * 3, SoundConfig())
    assert report.num_questions == 8
    with pytest.raises(ValueError, match="whose audio can be read"):
        check_heard(tiny_audio_llm, bad, SoundConfig())


def test_other_sounds_differ_and_have_the_same_length() -> None:
    same = np.arange(4, dtype=np.float32)
    sounds = [same, same.copy(), np.ones(7, np.float32)]
    others = other_sounds(sounds)
    assert [len(sound) for sound in others] == [4, 4, 7]
    assert not any(np.array_equal(a, b) for a, b in zip(sounds, others, strict=True))


def test_a_tone_alone_is_exchanged_for_another_sound_of_its_level() -> None:
    tone = np.sin(np.arange(1_600) * 0.3).astype(np.float32)
    (other,) = other_sounds([tone, tone])[:1]
    # Backwards it would be a tone again, and a model that hears would count as deaf.
    assert abs(np.corrcoef(tone, other)[0, 1]) < 0.1
    assert np.std(other) == pytest.approx(np.std(tone), rel=0.1)
