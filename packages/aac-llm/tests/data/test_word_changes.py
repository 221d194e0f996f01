"""Changes between texts: nothing is lost, whatever the texts."""

from __future__ import annotations

from aac_llm.data.word_changes import word_changes
from hypothesis import given
from hypothesis import strategies as st

words = st.lists(st.sampled_from(["a", "dog", "barks", "loudly"]))


@given(words, words)
def test_both_texts_can_be_read_from_the_changes(before: list[str], after: list[str]) -> None:
    changes = word_changes(" ".join(before), " ".join(after))
    assert " ".join(text for kind, text in changes if kind != "new").split() == before
    assert " ".join(text for kind, text in changes if kind != "gone").split() == after
