"""What a language model is asked, and a small random one that answers nonsense in the same way every time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from aac_llm.correction.gate import faults
from aac_llm.correction.llm import (
    EXAMPLES,
    TASK,
    CutAnswerError,
    LLMError,
    LocalLLM,
    messages,
    plain_prompt,
)

CHAT = (
    "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<bot>{% endif %}"
)


@pytest.fixture(scope="module")
def llm(tiny_decoder: Path) -> LocalLLM:
    return LocalLLM.from_pretrained(tiny_decoder, device="cpu", max_new_tokens=8, batch_size=3)


def test_the_conversation_alternates_and_ends_with_the_caption() -> None:
    turns = messages("a dog dog barks")
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * len(EXAMPLES) + ["user"]
    assert turns[0]["content"].startswith(TASK)
    assert turns[-1]["content"] == "a dog dog barks"
    assert [turn["content"] for turn in turns[1::2]] == [repaired for _, repaired in EXAMPLES]


def test_the_examples_repair_what_the_rules_find() -> None:
    assert all(not faults(repaired) for _, repaired in EXAMPLES)
    assert sum(bool(faults(broken)) for broken, _ in EXAMPLES) >= 3
    assert EXAMPLES[-1][0] == EXAMPLES[-1][1]


def test_a_model_without_a_chat_template_goes_on_with_a_text(llm: LocalLLM) -> None:
    assert llm.prompt("a dog").endswith(plain_prompt("a dog"))
    assert plain_prompt("a dog").endswith("Caption: a dog\nFixed:")


def test_a_chat_template_is_used(llm: LocalLLM) -> None:
    llm.tokenizer.chat_template = CHAT
    try:
        prompt = llm.prompt("rain rain falls")
    finally:
        llm.tokenizer.chat_template = None
    assert prompt.startswith(f"<user>{TASK}")
    assert prompt.endswith("<user>rain rain falls\n<bot>")
    assert f"<assistant>{EXAMPLES[0][1]}\n" in prompt


def test_answers_are_the_same_alone_and_in_a_batch(llm: LocalLLM) -> None:
    captions = ["a dog barks", "rain falls and a man speaks while a siren wails", "wind", "a bell rings"]
    together = texts(llm(captions))
    assert together == [texts(llm([caption]))[0] for caption in captions]
    assert together == texts(llm(captions))


def texts(answers: Sequence[str | LLMError]) -> list[str]:
    """The answers, those that were cut included."""
    return [answer.answer if isinstance(answer, CutAnswerError) else str(answer) for answer in answers]


def test_answers_are_bounded_and_say_that_they_were_cut(
    llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    (answer,) = llm(["a dog barks"])  # a random model does not come to an end
    assert isinstance(answer, CutAnswerError)
    count = len(llm.tokenizer(answer.answer, add_special_tokens=False)["input_ids"])
    assert count <= 2 * llm.max_new_tokens
    every_token = list(range(llm.model.config.vocab_size))
    monkeypatch.setattr(llm.model.generation_config, "eos_token_id", every_token)
    assert all(isinstance(answer, str) for answer in llm(["a dog barks"]))


def test_surprise_is_of_the_text_not_of_its_batch(llm: LocalLLM) -> None:
    texts = ["a dog barks", "rain falls and a man speaks while a siren wails", "wind", "", "a bell rings"]
    found = llm.surprise(texts)
    assert np.isinf(found[3])
    alone = [llm.surprise([text])[0] for text in texts]
    np.testing.assert_allclose(found, alone, rtol=1e-4)
    # An untrained model is as surprised as by chance.
    vocabulary = llm.model.config.vocab_size
    np.testing.assert_allclose(np.delete(found, 3), np.log(vocabulary), rtol=0.3)


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no causal language model"):
        LocalLLM.from_pretrained(tmp_path)
