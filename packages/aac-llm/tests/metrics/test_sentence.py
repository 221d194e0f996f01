"""Sentence embeddings: pooling by hand, folders of sentence-transformers, no influence of the batch."""

import json

import numpy as np
import pytest
import torch
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.sentence import (
    FENSE_ENCODER,
    Pooling,
    SentenceEncoder,
    is_published_encoder,
    read_pooling,
)
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

WORDS = ["a", "dog", "barks", "rain", "falls", "on", "the", "roof", "while", "birds", "sing", "loudly"]
TEXTS = [
    "a dog barks",
    "rain falls on the roof while birds sing",
    "birds",
    "the dog barks loudly on the roof",
]


def write_bert(folder, **changes):
    """A random BERT of 16 dimensions with a tokenizer of a few words."""
    torch.manual_seed(0)
    vocabulary = folder / "vocab.txt"
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    tokenizer = (
        BertTokenizerFast(vocab=str(vocabulary)) if _takes_vocab() else BertTokenizerFast(str(vocabulary))
    )
    tokenizer.save_pretrained(folder)
    settings = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.5,
    }
    BertModel(BertConfig(vocab_size=5 + len(WORDS), **settings | changes)).save_pretrained(folder)
    return folder


def _takes_vocab():
    import transformers

    return int(transformers.__version__.split(".")[0]) >= 5


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert") / "plain")


@pytest.fixture
def layout(bert, tmp_path):
    """The same encoder as sentence-transformers keeps it."""

    def write(pooling, modules=("Transformer", "Pooling"), max_length=6):
        for path in bert.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize", "Dense": "2_Dense"}
        rows = [
            {
                "idx": number,
                "name": str(number),
                "path": places[name],
                "type": f"sentence_transformers.models.{name}",
            }
            for number, name in enumerate(modules)
        ]
        (tmp_path / "modules.json").write_text(json.dumps(rows))
        (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_length}))
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
        return tmp_path

    return write


def pool_by_hand(folder, text, max_length=512):
    tokens = AutoTokenizer.from_pretrained(folder)(
        text, return_tensors="pt", truncation=True, max_length=max_length
    )
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state[0]
    mean = hidden.mean(dim=0)
    return hidden[0].numpy(), (mean / mean.norm()).numpy()


def test_an_embedding_is_the_normalised_mean_over_the_tokens(bert):
    found = SentenceEncoder.from_pretrained(bert).encode(TEXTS)
    assert found.shape == (len(TEXTS), 16)
    for vector, text in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(vector, pool_by_hand(bert, text)[1], atol=1e-6)


def test_an_embedding_does_not_depend_on_the_batch(bert):
    encoder = SentenceEncoder.from_pretrained(bert)
    together = encoder.encode(TEXTS)
    np.testing.assert_allclose(together, encoder.encode(TEXTS, batch_size=1), atol=1e-6)
    np.testing.assert_allclose(together[::-1], encoder.encode(TEXTS[::-1], batch_size=3), atol=1e-6)


def test_similarity_is_the_mean_cosine_over_any_number_of_references(bert):
    encoder = SentenceEncoder.from_pretrained(bert)
    found = encoder.similarity(TEXTS[:2], [[TEXTS[0], TEXTS[2]], [TEXTS[3]]])
    vectors = {text: pool_by_hand(bert, text)[1] for text in TEXTS}
    by_hand = [(1 + vectors[TEXTS[0]] @ vectors[TEXTS[2]]) / 2, vectors[TEXTS[1]] @ vectors[TEXTS[3]]]
    np.testing.assert_allclose(found, by_hand, atol=1e-6)


def test_pooling_and_length_of_a_sentence_transformers_folder_are_kept(layout):
    folder = layout({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, max_length=5)
    assert read_pooling(folder) == Pooling(".", first_token=True, max_tokens=5)
    found = SentenceEncoder.from_pretrained(folder).encode(TEXTS, normalize=False)
    np.testing.assert_allclose(found[1], pool_by_hand(folder, TEXTS[1], max_length=5)[0], atol=1e-6)


@pytest.mark.parametrize("pooling", [{"pooling_mode_mean_tokens": True}, {"pooling_mode": "mean"}])
def test_both_ways_of_writing_the_mean_are_read(layout, pooling):
    modules = ("Transformer", "Pooling", "Normalize")
    assert read_pooling(layout(pooling, modules)) == Pooling(".", first_token=False, max_tokens=6)


@pytest.mark.parametrize("pooling", [{"pooling_mode_max_tokens": True}, {"pooling_mode": "lasttoken"}])
def test_another_pooling_is_refused(layout, pooling):
    with pytest.raises(ValueError, match=r"expected pooling by mean or cls, got (max|lasttoken)"):
        read_pooling(layout(pooling))


def test_a_module_that_would_be_left_out_is_refused(layout):
    with pytest.raises(ValueError, match="Dense"):
        read_pooling(layout({"pooling_mode_mean_tokens": True}, ("Transformer", "Pooling", "Dense")))


def test_an_encoder_that_is_not_here_is_named_with_the_command():
    with pytest.raises(MissingMetricError, match=r"nobody/nothing.*hf download nobody/nothing"):
        SentenceEncoder.from_pretrained("nobody/nothing", local_only=True)


def test_no_text_gives_no_vector(bert):
    assert SentenceEncoder.from_pretrained(bert).encode([]).shape == (0, 16)


def test_only_the_published_encoder_is_taken_for_it(bert, tmp_path):
    found = SentenceEncoder.from_pretrained(bert)
    assert found.label.startswith("plain ")
    assert not found.is_published
    published = BertConfig(hidden_size=768, num_hidden_layers=6)
    snapshot = tmp_path / "models--sentence-transformers--paraphrase-TinyBERT-L6-v2" / "snapshots" / "1a"
    for source in (FENSE_ENCODER, f"{FENSE_ENCODER}@1a2b", "models/paraphrase-TinyBERT-L6-v2", snapshot):
        assert is_published_encoder(source, published)
    # Another model under its name, and its like under another name.
    assert not is_published_encoder(FENSE_ENCODER, BertConfig(hidden_size=16, num_hidden_layers=2))
    assert not is_published_encoder("models/e5-small", published)
