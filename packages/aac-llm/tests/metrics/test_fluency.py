"""FENSE's fluency detector: the published layout, loaded strictly and safely."""

import hashlib

import numpy as np
import pytest
import torch
from aac_llm.metrics import fluency, fluency_published
from aac_llm.metrics.fluency import FENSE_DETECTOR, FluencyDetector
from aac_llm.metrics.missing import MissingMetricError
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
def record(bert):
    """A checkpoint as published, of a tiny BERT: its names are those of the reference's class."""
    torch.manual_seed(1)
    weights = {
        f"encoder.{name}": value for name, value in AutoModel.from_pretrained(bert).state_dict().items()
    }
    weights |= {"clf.weight": torch.randn(6, 16), "clf.bias": torch.randn(6)}
    weights["encoder.embeddings.position_ids"] = torch.arange(512)[None]
    return {"model_type": str(bert), "num_classes": 6, "state_dict": weights}


@pytest.fixture
def checkpoint(record, tmp_path):
    path = tmp_path / "echecker.ckpt"
    torch.save(record, path)
    return path


def test_names_are_those_of_the_published_file(record):
    assert {
        "encoder.pooler.dense.weight",
        "encoder.encoder.layer.0.attention.self.query.weight",
        "clf.bias",
    } <= set(record["state_dict"])


def test_probability_is_the_sigmoid_of_the_last_output(checkpoint, record, bert):
    found = FluencyDetector.from_pretrained(checkpoint).error_probability(["A dog, barks!"])
    encoder = AutoModel.from_pretrained(bert)
    tokens = AutoTokenizer.from_pretrained(bert)(
        ["a dog barks"], padding="max_length", max_length=64, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        first = encoder(**tokens).last_hidden_state[:, 0]
    weights = record["state_dict"]
    logits = first @ weights["clf.weight"].T + weights["clf.bias"]
    np.testing.assert_allclose(found, logits.sigmoid()[:, -1], atol=1e-6)


def test_a_probability_does_not_depend_on_the_number_of_captions(checkpoint):
    detector = FluencyDetector.from_pretrained(checkpoint)
    many = TEXTS * 12  # beyond the 32 where the reference changes its mind
    together = detector.error_probability(many, batch_size=32)
    assert together.shape == (len(many),)
    alone = np.concatenate([detector.error_probability([text], batch_size=1) for text in many])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert len(np.unique(together.round(6))) == len(TEXTS)


def test_weights_that_are_missing_or_too_many_are_named(record, tmp_path):
    record["state_dict"].pop("clf.bias")
    record["state_dict"]["encoder.extra"] = torch.zeros(1)
    torch.save(record, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=r"(?s)clf\.bias.*encoder\.extra"):
        FluencyDetector.from_pretrained(tmp_path / "bad.ckpt")


def test_nothing_in_a_checkpoint_is_run(tmp_path, record):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    torch.save(record | {"trap": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(ValueError, match="read safely"):
        FluencyDetector.from_pretrained(tmp_path / "trap.ckpt")
    assert not (tmp_path / "sprung").exists()


def test_another_file_is_told_by_its_keys(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(
        ValueError, match=r"expected model_type, num_classes and state_dict, got \['weights'\]"
    ):
        FluencyDetector.from_pretrained(tmp_path / "other.ckpt")


def test_a_folder_with_everything_needs_no_hub(record, bert, tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    for path in bert.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    torch.save(record | {"model_type": "nobody/nothing"}, folder / "echecker.ckpt")
    assert FluencyDetector.from_pretrained(folder).error_probability(TEXTS).shape == (len(TEXTS),)


def test_a_backbone_that_is_not_here_is_named_with_the_command(record, tmp_path):
    torch.save(record | {"model_type": "nobody/nothing"}, tmp_path / "a.ckpt")
    with pytest.raises(MissingMetricError, match=r"hf download nobody/nothing"):
        FluencyDetector.from_pretrained(tmp_path / "a.ckpt", local_only=True)


def test_the_published_checkpoint_is_named_with_its_address_when_missing(tmp_path, monkeypatch):
    monkeypatch.setenv(fluency.CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(
        MissingMetricError, match=r"curl .*releases/download/V0\.1/echecker_clotho_audiocaps_base\.ckpt"
    ):
        FluencyDetector.from_pretrained()
    with pytest.raises(MissingMetricError, match="no fluency detector at another"):
        FluencyDetector.from_pretrained("another")


def test_the_published_checkpoint_is_found_in_the_cache(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv(fluency.CACHE_VARIABLE, str(tmp_path))
    checkpoint.rename(tmp_path / f"{FENSE_DETECTOR}.ckpt")
    assert FluencyDetector.from_pretrained().error_probability(["a dog"]).shape == (1,)


def test_a_download_is_kept_only_with_the_published_digest(tmp_path, monkeypatch):
    import httpx

    content = b"weights"
    answer = httpx.MockTransport(lambda request: httpx.Response(200, content=content))

    def stream(method, url, **options):
        return httpx.Client(transport=answer).stream(method, url)

    monkeypatch.setattr(httpx, "stream", stream)
    with pytest.raises(MissingMetricError, match="expected 1a719f09"):
        fluency_published.download(FENSE_DETECTOR, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(fluency_published.PUBLISHED, FENSE_DETECTOR, hashlib.sha256(content).hexdigest())
    assert fluency_published.download(FENSE_DETECTOR, tmp_path).read_bytes() == content


@pytest.fixture
def own(bert, tmp_path):
    """A folder of a detector of ours, with random weights."""
    torch.manual_seed(2)
    detector = FluencyDetector(
        AutoModel.from_pretrained(bert), AutoTokenizer.from_pretrained(bert), ["wrong_order"], threshold=0.25
    )
    detector.round_weights()
    folder = tmp_path / "own"
    detector.save_pretrained(folder)
    (folder / "fluency.json").write_text('{"kinds": ["wrong_order"], "threshold": 0.25}')
    return detector.eval(), folder


def test_a_folder_of_ours_gives_the_same_probabilities(own):
    detector, folder = own
    found = FluencyDetector.from_pretrained(folder)
    assert (found.kinds, found.threshold) == (("wrong_order",), 0.25)
    assert not list(folder.glob("*.bin")) + list(folder.glob("*.ckpt"))
    np.testing.assert_array_equal(found.class_probabilities(TEXTS), detector.class_probabilities(TEXTS))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"kinds": [], "threshold": 0.5}', "expected a list of names under kinds"),
        ('{"kinds": ["a"], "threshold": "high"}', "expected a number under threshold"),
        ('{"kinds": ["a", "b"], "threshold": 0.5}', "this is no fluency detector"),
        ("[]", "expected a JSON object"),
    ],
)
def test_a_description_that_does_not_fit_is_told(own, content, message):
    _, folder = own
    (folder / "fluency.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        FluencyDetector.from_pretrained(folder)


def test_weights_that_are_missing_or_damaged_are_told(own):
    _, folder = own
    (folder / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(ValueError, match=r"cannot be read as weights|model\.safetensors"):
        FluencyDetector.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="the detector is not whole"):
        FluencyDetector.from_pretrained(folder)


def test_a_folder_without_a_detector_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingMetricError, match=r"no fluency\.json, and 0 \.ckpt files.*aac-llm fluency"):
        FluencyDetector.from_pretrained(tmp_path)
