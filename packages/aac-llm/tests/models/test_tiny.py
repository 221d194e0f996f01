"""The language model made on the spot."""

import pytest
import torch
from aac_llm.models.tiny import create_tiny_decoder

TEXTS = ["a dog barks twice", "rain falls on a tin roof", "Describe this:"]


def test_it_loads_and_its_tokenizer_gives_texts_back(tmp_path):
    from aac_llm.models.decoder import load_decoder

    model, tokenizer = load_decoder(create_tiny_decoder(tmp_path, TEXTS, hidden_size=32))
    for text in [*TEXTS, "unseen wörds 雨\n---\n"]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids).removeprefix(" ") == text
        assert max(ids) < model.config.vocab_size
    assert model.get_input_embeddings().weight.shape == (len(tokenizer), 32)


def test_its_weights_depend_on_its_seed_alone(tmp_path):
    from safetensors.torch import load_file

    def weights(name, seed):
        torch.rand(1)
        folder = create_tiny_decoder(tmp_path / name, TEXTS, hidden_size=16, num_layers=1, seed=seed)
        return load_file(folder / "model.safetensors")["lm_head.weight"]

    assert torch.equal(weights("a", 0), weights("b", 0))
    assert not torch.equal(weights("a", 0), weights("c", 1))


def test_a_width_that_heads_do_not_divide_is_refused(tmp_path):
    with pytest.raises(ValueError, match="num_heads"):
        create_tiny_decoder(tmp_path, TEXTS, hidden_size=30)
