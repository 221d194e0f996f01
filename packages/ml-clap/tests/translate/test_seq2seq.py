"""Translation models of transformers: each is told its languages in its own way."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ml_clap.translate.language_tokens import find_language_tokens
from ml_clap.translate.loading import load_translator
from ml_clap.translate.provenance import card_licence, revision_of
from ml_clap.translate.seq2seq import Seq2SeqTranslator
from ml_clap.translate.translator import Translator, check_languages

TEXTS = ["A dog barks twice.", "Birds sing."]


def load(folder: Path, **settings: Any) -> Seq2SeqTranslator:
    chosen = {"num_beams": 2, "max_tokens": 12, "device": "cpu", "dtype": torch.float32} | settings
    translator = load_translator(str(folder), **chosen)
    assert isinstance(translator, Seq2SeqTranslator)
    return translator


def test_language_tokens_of_the_three_families() -> None:
    found = find_language_tokens(
        ["dog", "zho_Hans", "__de__", "__ceb__", "<2fr>", "<2fr_Latn>", "<2translit>", "__x__", "<pad>"]
    )
    assert found == {
        "zho_Hans": "zho_Hans",
        "deu_Latn": "__de__",
        "ceb_Latn": "__ceb__",
        "fra_Latn": "<2fr>",
    }


@pytest.mark.parametrize("family", ["nllb", "m2m100"])
def test_the_models_get_what_their_own_tokenizer_gives(
    family: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source language first and </s> last; the decoder begins with the target language."""
    translator = load(request.getfixturevalue(family))
    calls: list[dict[str, Any]] = []
    generate = translator.model.generate
    monkeypatch.setattr(
        translator.model, "generate", lambda **given: calls.append(given) or generate(**given)
    )
    translator.translate(TEXTS, "eng_Latn", "fra_Latn")
    tokenizer = translator.tokenizer
    names = {"nllb": ("eng_Latn", "fra_Latn"), "m2m100": ("__en__", "__fr__")}[family]
    source, target = tokenizer.convert_tokens_to_ids(list(names))
    if family == "m2m100":
        tokenizer.src_lang = "en"
        theirs = tokenizer(TEXTS, padding=True, return_tensors="pt")
        assert tokenizer.get_lang_id("fr") == target
    else:
        pieces = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
        theirs = tokenizer.pad({"input_ids": [[source, *row, 2] for row in pieces]}, return_tensors="pt")
    assert torch.equal(calls[0]["input_ids"], theirs["input_ids"])
    assert torch.equal(calls[0]["attention_mask"], theirs["attention_mask"])
    assert calls[0]["generation_config"].forced_bos_token_id == target
    assert calls[0]["generation_config"].decoder_start_token_id == 2


def test_madlad_gets_the_target_before_the_source(madlad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translator = load(madlad)
    calls: list[dict[str, Any]] = []
    generate = translator.model.generate
    monkeypatch.setattr(
        translator.model, "generate", lambda **given: calls.append(given) or generate(**given)
    )
    translator.translate(TEXTS[:1], "eng_Latn", "fra_Latn")
    tokenizer = translator.tokenizer
    pieces = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    expected = [tokenizer.convert_tokens_to_ids("<2fr>"), *pieces, tokenizer.eos_token_id]
    assert calls[0]["input_ids"].tolist() == [expected]
    assert calls[0]["generation_config"].forced_bos_token_id is None
    assert translator.languages == {"eng_Latn", "fra_Latn", "deu_Latn", "jpn_Jpan"}


@pytest.mark.parametrize("family", ["nllb", "m2m100", "madlad"])
def test_a_batch_gives_what_each_text_gives_alone(family: str, request: pytest.FixtureRequest) -> None:
    translator = load(request.getfixturevalue(family))
    both = translator.translate(TEXTS, "eng_Latn", "deu_Latn")
    alone = [translator.translate([text], "eng_Latn", "deu_Latn")[0] for text in TEXTS]
    assert both == alone
    assert all("</s>" not in one.text and "deu_Latn" not in one.text for one in both)
    pieces = translator.tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    assert translator.count_tokens(TEXTS) == [len(row) + 2 for row in pieces]


def test_a_translation_ends_at_its_end_mark_or_is_unfinished(nllb: Path) -> None:
    translator = load(nllb)
    language = translator.tokenizer.convert_tokens_to_ids("fra_Latn")
    words = translator.tokenizer("Birds sing.", add_special_tokens=False)["input_ids"]
    assert translator._read([2, language, *words, 2, 1, 1]) == ("Birds sing.", True)
    assert translator._read([2, language, *words]) == ("Birds sing.", False)


def test_unknown_languages_are_refused_before_the_work(nllb: Path) -> None:
    translator: Translator = load(nllb)
    with pytest.raises(ValueError, match="does not translate zho_Hans, cat_Latn; of its 4 languages"):
        check_languages(translator, ["fra_Latn", "zho_Hans", "cat_Latn"])


def test_licence_and_revision_stand_in_the_folder(nllb: Path, m2m100: Path, tmp_path: Path) -> None:
    assert load(nllb).licence == card_licence(nllb) == "cc-by-nc-4.0"
    assert load(nllb).name == nllb.name
    assert load(m2m100).licence == "unknown"
    assert load(m2m100, licence="MIT").licence == "MIT"
    assert load(nllb).revision == revision_of(nllb) != revision_of(m2m100)
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0a1b2c"
    snapshot.mkdir(parents=True)
    assert revision_of(snapshot) == "0a1b2c"


def test_what_is_no_translation_model_is_refused(judge: Path, nllb: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist: expected a translation model"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="model_type is 'bert'; expected a translation model"):
        load(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(nllb, broken)
    settings = json.loads((broken / "tokenizer.json").read_text())
    vocabulary = settings["model"]["vocab"]
    kept = {token: number for token, number in vocabulary.items() if number < 4}
    settings["model"] |= {"vocab": kept, "merges": []}
    (broken / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"4 of them languages: .* not complete"):
        load(broken)
