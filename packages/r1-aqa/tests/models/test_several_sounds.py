"""A question about several sounds: all are heard, in their order, in one row as in a batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.families import FAMILIES
from r1_aqa.models.generation import generate_answers
from r1_aqa.models.heard import require_heard
from r1_aqa.models.log_probs import completion_logits
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.models.tiny import train_tokenizer

CHOICES = ("the first", "the second")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, rng = tmp_path_factory.mktemp("several"), np.random.default_rng(0)
    for number, name in enumerate("abc"):
        soundfile.write(folder / f"{name}.wav", rng.normal(0, 0.1, 16_000 * (1 + number)), 16_000)
    return {name: folder / f"{name}.wav" for name in "abc"}


@pytest.fixture
def questions(sounds: dict[str, Path]) -> list[Question]:
    """About a and b, b and a, a alone, a twice, all three."""
    return [
        Question(
            id=names,
            audio=sounds[names[0]],
            further_audio=tuple(sounds[name] for name in names[1:]),
            question="Which is louder?",
            choices=CHOICES,
            answer=CHOICES[0],
        )
        for names in ("ab", "ba", "a", "aa", "abc")
    ]


def make(llm: AudioLLM, questions: list[Question], *, frozen: bool = True) -> EncodedPrompts:
    return EncodedPrompts(
        llm, questions, sound=SoundConfig(), style="answer", frozen=frozen, cache_bytes=2**26
    )


def test_the_template_numbers_the_sounds(tiny_audio_llm: AudioLLM) -> None:
    chat = tiny_audio_llm.format_chat("Which is louder, Audio 1 or Audio 2?", num_audios=2)
    assert [chat.count(f"Audio {number}: <|audio_bos|>") for number in (1, 2, 3)] == [1, 1, 0]


@torch.no_grad()
def test_every_clip_is_encoded_once_and_stands_in_its_place(
    tiny_audio_llm: AudioLLM, questions: list[Question]
) -> None:
    heard: list[int] = []
    tower = next(m for n, m in tiny_audio_llm.model.named_modules() if n.endswith("audio_tower"))
    handle = tower.register_forward_pre_hook(
        lambda _module, args, kwargs: heard.append(len(args[0] if args else kwargs["input_features"])),
        with_kwargs=True,
    )
    prompts = make(tiny_audio_llm, questions)
    found = prompts.embeddings(range(5))
    assert sum(heard) == 5  # a and b of the first question, and all of the last, which brings c
    handle.remove()
    for row, embeddings in enumerate(found):
        expected = tiny_audio_llm.embed_prompts(prompts.inputs([row]))[0]
        torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=1e-4)
    batch = prompts.inputs(range(5))
    merged, mask = tiny_audio_llm.embed_prompts(batch), batch["attention_mask"].bool()
    for row, embeddings in enumerate(found):
        torch.testing.assert_close(merged[row][mask[row]], embeddings, atol=1e-5, rtol=1e-4)
    assert found[0].shape == found[1].shape
    assert not torch.allclose(found[0], found[1])


@torch.no_grad()
def test_a_training_hears_all_sounds_frozen_or_not(
    tiny_audio_llm: AudioLLM, questions: list[Question]
) -> None:
    ids = torch.tensor([[20, 21], [22, 23], [24, 25]])
    logits = []
    for frozen in (True, False):
        prompts, index = make(tiny_audio_llm, questions, frozen=frozen).distinct(
            [0, 4, 1], torch.device("cpu")
        )
        logits.append(completion_logits(tiny_audio_llm, prompts, index, ids, torch.ones_like(ids)))
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=1e-4)


def test_answers_are_those_of_the_question_alone(tiny_audio_llm: AudioLLM, questions: list[Question]) -> None:
    def answers(asked: list[Question], batch_size: int) -> dict[int, str | None]:
        found = generate_answers(
            make(tiny_audio_llm, asked), range(len(asked)), batch_size=batch_size, max_new_tokens=6
        )
        return {completion.row: completion.text for batch in found for completion in batch}

    together = answers(questions, 5)
    assert together == {row: answers([question], 1)[0] for row, question in enumerate(questions)}


def test_a_bad_second_sound_costs_its_question_alone(
    tiny_audio_llm: AudioLLM, questions: list[Question], tmp_path: Path
) -> None:
    bad = replace(questions[0], further_audio=(tmp_path / "none.wav",))
    prompts = make(tiny_audio_llm, [bad, questions[2]])
    (batch,) = generate_answers(prompts, [0, 1], batch_size=2, max_new_tokens=2)
    found = {completion.row: completion for completion in batch}
    assert "none.wav" in (found[0].error or "")
    assert found[1].text is not None
    assert make(tiny_audio_llm, [bad, questions[2]]).readable_row(0) == 1


def test_a_long_second_sound_is_cut_and_counted(tiny_audio_llm: AudioLLM, questions: list[Question]) -> None:
    for rule in ("truncate", "windows"):
        prompts = EncodedPrompts(
            tiny_audio_llm,
            questions,
            sound=SoundConfig(max_seconds=2.5, too_long=rule),
            style="answer",
            frozen=True,
            cache_bytes=0,
        )
        assert len(prompts.questions) == 5  # no windows of several sounds
        assert [prompts.sounds.is_cut(row) for row in range(5)] == [False, False, False, False, True]
        ((_, _, third),) = prompts.sounds.take([4])
        assert len(third) == 2.5 * 16_000


def test_hearing_is_checked_with_all_sounds(tiny_audio_llm: AudioLLM, questions: list[Question]) -> None:
    assert require_heard(tiny_audio_llm, questions[:2], SoundConfig()).num_questions == 2


def test_families_whose_template_does_not_number_are_given_numbers() -> None:
    interleaved = (
        "{% for m in messages %}{% for c in m['content'] %}"
        "{% if c['type'] == 'audio' %}<sound>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    processor = train_tokenizer(["a"], 300)  # the part of a processor that lays chats out
    processor.chat_template = interleaved
    llm = AudioLLM(torch.nn.Identity(), processor, FAMILIES["audioflamingo3"])
    assert llm.format_chat("Which?") == "<sound>Which?"
    # The question's own words are no numbering.
    assert llm.format_chat("Is Audio 2 louder?", num_audios=2) == (
        "Audio 1: <sound>\nAudio 2: <sound>\nIs Audio 2 louder?"
    )
    granite = AudioLLM(torch.nn.Identity(), processor, FAMILIES["granite_speech"])
    processor.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    assert granite.format_chat("Which?", num_audios=2, system="Listen.") == (
        "system: Listen.\nuser: Audio 1: <|audio|>\nAudio 2: <|audio|>\nWhich?\n"
    )
