"""Prompt and captions as tokens."""

import pytest
from aac_llm.config.model import REFERENCE_PROMPT
from aac_llm.models.prompt import IGNORED, normalize_caption, tokenize_captions, tokenize_prompt
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def tokenizer(tiny_decoder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_decoder)


def test_captions_lose_case_and_punctuation_but_not_hyphens():
    assert normalize_caption('A man\'s dog (small) "barks": twice!  Pitter-patter.') == (
        "a man's dog small barks twice pitter-patter"
    )
    assert normalize_caption(" A dog,  barks. ", "none") == "A dog, barks."


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_normalizing_twice_changes_nothing(text):
    once = normalize_caption(text)
    assert normalize_caption(once) == once


def test_labels_end_in_eos_though_it_also_pads(tokenizer):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    labels = tokenize_captions(tokenizer, ["A dog barks.", "a"], "reference")
    for row, text in zip(labels, ["a dog barks", "a"], strict=True):
        tokens = row[row != IGNORED]
        assert tokens[-1] == tokenizer.eos_token_id
        assert (tokens == tokenizer.eos_token_id).sum() == 1
        assert tokenizer.decode(tokens[:-1]).strip() == text


def test_the_prompt_begins_with_bos_only_if_there_is_one(tokenizer):
    prompt = tokenize_prompt(tokenizer, REFERENCE_PROMPT)
    assert prompt.left[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in prompt.right
    without = type("NoBos", (), {"bos_token_id": None, "__call__": tokenizer.__call__})()
    assert tokenize_prompt(without, REFERENCE_PROMPT).left == prompt.left[1:]
    assert tokenize_prompt(without, "<AcousticTokens>x").left == ()


@pytest.mark.parametrize("captions", [[], ["a dog", " . "]])
def test_nothing_to_learn_is_refused(tokenizer, captions):
    with pytest.raises(ValueError, match=r"at least one caption|caption 1 is empty"):
        tokenize_captions(tokenizer, captions, "reference")


def test_a_tokenizer_without_end_is_refused():
    with pytest.raises(ValueError, match="no EOS token"):
        tokenize_captions(type("NoEos", (), {"eos_token_id": None})(), ["a"], "none")
