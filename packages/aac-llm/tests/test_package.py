"""What the package offers under its own name."""

import aac_llm
import pytest


def test_every_public_name_is_there():
    for name in aac_llm.__all__:
        assert getattr(aac_llm, name).__name__ == name
    assert set(aac_llm.__all__) <= set(dir(aac_llm))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Answerer'"):
        _ = aac_llm.Answerer
