"""An answer stands beside what it would be in other orders of the options, and in silence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_common.scenes.scene import random_scene, render
from r1_aqa.answering.answerer import Answerer
from r1_aqa.answering.comparison import Comparison, before_answer, compare, with_letters
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import QuestionError
from r1_aqa.data.sounds import SoundTooLongError
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.log_probs import Prompts, completion_log_probs, completion_logits
from r1_aqa.models.prompt import format_prompt

OPTIONS = ("a dog", "rain", "thunder")


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return np.asarray(render(random_scene(0, num_events=2, seconds=3.0)), dtype=np.float32)


def naive_log_prob(
    llm: AudioLLM, samples: np.ndarray, options: tuple[str, ...], target: str, thought: str = ""
) -> float:
    """The log-probability of what is written, by a plain pass over prompt, thinking and answer."""
    style = "think" if thought else "answer"
    text = llm.format_chat(format_prompt("Which?", options, style))
    tokens = [token for part in (thought, target) if part for token in llm.tokenizer(part)["input_ids"]]
    ids = torch.tensor([[*tokens, llm.tokenizer.eos_token_id]])
    prompts = Prompts(inputs=llm.encode([text], [samples]))
    logits = completion_logits(llm, prompts, torch.zeros(1, dtype=torch.long), ids, torch.ones_like(ids))
    return float(completion_log_probs(logits, ids).sum())


@torch.no_grad()
def shares(log_probs: list[float]) -> list[float]:
    return torch.tensor(log_probs).softmax(0).tolist()


def test_probabilities_are_those_of_the_options_as_answers(
    tiny_audio_llm: AudioLLM, clip: np.ndarray
) -> None:
    found = compare(tiny_audio_llm, [clip], "Which?", OPTIONS, max_new_tokens=4)
    silent = np.zeros_like(clip)
    with torch.no_grad():
        orders = [OPTIONS, ("rain", "thunder", "a dog"), ("thunder", "a dog", "rain")]
        by_order = [
            [naive_log_prob(tiny_audio_llm, clip, order, f"<answer>{option}</answer>") for option in OPTIONS]
            for order in orders
        ]
        unheard = [naive_log_prob(tiny_audio_llm, silent, OPTIONS, f"<answer>{o}</answer>") for o in OPTIONS]
    assert [option.text for option in found.options] == list(OPTIONS)
    assert [option.asked for option in found.options] == pytest.approx(shares(by_order[0]), rel=1e-3)
    mean = np.mean(by_order, axis=0).tolist()
    assert [option.shuffled for option in found.options] == pytest.approx(shares(mean), rel=1e-3)
    assert [option.silent for option in found.options] == pytest.approx(shares(unheard), rel=1e-3)
    assert found.num_orders == 3
    first = int(np.argmax(by_order[0]))
    assert found.same_in_orders == sum(int(np.argmax(row)) == first for row in by_order)


def test_the_answer_is_that_of_the_answerer(tiny_model_folder: Path, clip: np.ndarray) -> None:
    answerer = Answerer.from_pretrained(tiny_model_folder, device="cpu")
    for options in (OPTIONS, ()):
        found = compare(answerer.llm, [clip], "Which?", options, max_new_tokens=6)
        assert found.answer == answerer.answer(clip, "Which?", options, max_new_tokens=6)
        assert found.silent_answer is not None


def test_letters_may_be_answered_by_letter_text_or_both(tiny_audio_llm: AudioLLM, clip: np.ndarray) -> None:
    found = compare(tiny_audio_llm, [clip], "Which?", OPTIONS, letters=True, controls=False, max_new_tokens=4)
    shown = with_letters(OPTIONS)
    with torch.no_grad():
        each = [
            torch.tensor(
                [
                    naive_log_prob(tiny_audio_llm, clip, shown, f"<answer>{form}</answer>")
                    for form in (letter, f"({letter})", text, f"({letter}) {text}")
                ]
            ).logsumexp(0)
            for letter, text in zip("ABC", OPTIONS, strict=True)
        ]
    assert [option.asked for option in found.options] == pytest.approx(shares(each), rel=1e-3)
    assert [option.letter for option in found.options] == ["A", "B", "C"]
    assert [option.shuffled for option in found.options] == [None] * 3
    assert (found.silent_answer, found.gain, found.num_orders) == (None, None, 1)


def writing(monkeypatch: pytest.MonkeyPatch, text_of: Callable[[str], str]) -> None:
    """Have the model write what is given for the text of a prompt."""
    from r1_aqa.answering import comparison
    from r1_aqa.models.asked import Written

    def answer_batch(prompts, rows, *, max_new_tokens: int) -> list[Written]:  # type: ignore[no-untyped-def]
        return [Written(text_of(prompts.texts[row])) for row in rows]

    monkeypatch.setattr(comparison, "answer_batch", answer_batch)


def test_thinking_counts_as_written_and_stands_apart(
    tiny_audio_llm: AudioLLM, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(thought: str) -> Comparison:
        writing(monkeypatch, lambda _: f"<think>{thought}</think><answer>rain</answer>")
        return compare(tiny_audio_llm, [clip], "Which?", OPTIONS, style="think")

    first, second = ask("a dog a dog a dog"), ask("rain rain")
    assert (first.answer.thinking, first.answer.choice) == ("a dog a dog a dog", "rain")
    for found, thought in ((first, "<think>a dog a dog a dog</think>"), (second, "<think>rain rain</think>")):
        with torch.no_grad():
            # What was thought is the same for all options, and falls out of their shares.
            expected = [
                naive_log_prob(tiny_audio_llm, clip, OPTIONS, f"<answer>{option}</answer>", thought)
                for option in OPTIONS
            ]
        assert [option.asked for option in found.options] == pytest.approx(shares(expected), rel=1e-3)
    assert [option.asked for option in first.options] != [option.asked for option in second.options]


def test_thinking_that_was_cut_off_is_closed() -> None:
    assert before_answer("<think>It barks, so") == "<think>It barks, so</think>"
    assert before_answer("It barks.</think>\n<answer>x</answer>") == "It barks.</think>\n"


def test_an_option_with_a_letter_is_found_by_its_text(
    tiny_audio_llm: AudioLLM, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing(monkeypatch, lambda _: "<answer>B</answer>")
    found = compare(tiny_audio_llm, [clip], "Which?", OPTIONS, letters=True)
    assert found.answer.choice == "rain"


def test_a_deaf_model_gains_nothing_from_the_sound(deaf_model_folder: Path, clip: np.ndarray) -> None:
    llm = Answerer.from_pretrained(deaf_model_folder, device="cpu").llm
    found = compare(llm, [clip], "Which?", OPTIONS, max_new_tokens=4)
    assert found.gain == pytest.approx(0, abs=1e-4)
    assert [option.silent for option in found.options] == pytest.approx([o.asked for o in found.options])


def test_several_sounds_are_heard_in_their_order(tiny_audio_llm: AudioLLM, clip: np.ndarray) -> None:
    other = np.asarray(render(random_scene(5, num_events=2, seconds=2.5)), dtype=np.float32)
    one = compare(tiny_audio_llm, [clip, other], "Same?", ("yes", "no"), max_new_tokens=4)
    two = compare(tiny_audio_llm, [other, clip], "Same?", ("yes", "no"), max_new_tokens=4)
    assert one.seconds == (3.0, 2.5)
    assert two.seconds == (2.5, 3.0)
    assert one.options != two.options


def test_a_part_that_is_heard_is_said(tiny_audio_llm: AudioLLM, clip: np.ndarray) -> None:
    found = compare(tiny_audio_llm, [clip], "Which?", sound=SoundConfig(max_seconds=1.0), max_new_tokens=2)
    assert found.answer.cut
    assert found.seconds == (3.0,)
    with pytest.raises(SoundTooLongError, match="longer than 1 s"):
        compare(tiny_audio_llm, [clip], "Which?", sound=SoundConfig(max_seconds=1.0, too_long="skip"))
    with pytest.raises(ValueError, match="windows"):
        compare(tiny_audio_llm, [clip], "Which?", sound=SoundConfig(max_seconds=1.0, too_long="windows"))


def test_a_question_beyond_the_context_is_refused(tiny_audio_llm: AudioLLM, clip: np.ndarray) -> None:
    with pytest.raises(QuestionError, match="tokens"):
        compare(tiny_audio_llm, [clip], "Which? " * 3000)
