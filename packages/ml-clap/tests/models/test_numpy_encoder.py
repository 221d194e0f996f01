"""The encoders in NumPy give what transformers gives, to 1e-5, with random weights."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ml_clap.models.numpy_encoder import Weights, encode_tokens, find_architecture, gelu
from ml_clap.models.text_encoder import _build_encoder
from safetensors.torch import save_file

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}


def config_of(kind: str) -> Any:
    from transformers import BertConfig, M2M100Config, XLMRobertaConfig

    if kind == "bert":
        return BertConfig(vocab_size=50, max_position_embeddings=40, **SIZES)
    if kind == "xlm-roberta":
        return XLMRobertaConfig(
            vocab_size=50, max_position_embeddings=40, pad_token_id=1, hidden_act="relu", **SIZES
        )
    heads = {"encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 40}
    return M2M100Config(vocab_size=50, d_model=32, max_position_embeddings=40, pad_token_id=1, **heads)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "m2m_100"])
def test_sentence_vectors_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    config = config_of(kind)
    encoder: Any = _build_encoder(config).eval()
    state = {
        f"text_encoder.{name}": 3 * torch.randn_like(value) for name, value in encoder.state_dict().items()
    }
    state |= {name: value.abs() for name, value in state.items() if "norm" in name.lower()}
    encoder.load_state_dict({name.removeprefix("text_encoder."): value for name, value in state.items()})
    save_file(state | {"audio.weight": torch.ones(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    config.save_pretrained(tmp_path)
    how = find_architecture(config.to_dict())
    assert how is not None
    weights = Weights(tmp_path / "model.safetensors", "text_encoder.")
    for length in (3, 17, 38):
        ids = torch.randint(4, 50, (2, length))
        with torch.no_grad():
            expected = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(
                dim=1
            )
        scale = float(expected.norm(dim=1).max())
        np.testing.assert_allclose(
            encode_tokens(weights, how, ids.numpy()) / scale, expected / scale, atol=1e-5
        )


def test_gelu_has_the_exact_erf() -> None:
    x = np.linspace(-9, 9, 5001, dtype=np.float32)
    expected = [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x.astype(float)]
    np.testing.assert_allclose(gelu(x), expected, atol=5e-7)


@pytest.mark.parametrize(
    "other", [{"model_type": "t5"}, {"hidden_act": "gelu_new"}, {"position_embedding_type": "relative_key"}]
)
def test_another_architecture_is_not_known(other: dict[str, str]) -> None:
    assert find_architecture({"model_type": "bert"}) is not None
    assert find_architecture({"model_type": "bert"} | other) is None


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2).half()}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="F16"):
        Weights(tmp_path / "w.safetensors")
