import importlib.util
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.data.languages import LANGUAGES, SONAR_LANGUAGES
from ml_clap.models.sonar import to_fairseq2_ids
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.models.tokenizer import HFTokenizer, SonarTokenizer, TextPreparer

needs_sonar = pytest.mark.skipif(
    importlib.util.find_spec("sonar") is None,
    reason="needs the extra `sonar`",
)
CAPTIONS = {
    "eng_Latn": "A dog barks twice while rain falls on a tin roof.",
    "fra_Latn": "Un chien aboie deux fois sous la pluie, l'été.",
    "deu_Latn": "Ein Hund bellt zweimal, während Regen auf ein Blechdach fällt.",
    "spa_Latn": "¡Un perro ladra dos veces mientras llueve!",
    "nld_Latn": "Een hond blaft twee keer terwijl het regent.",
    "cat_Latn": "Un gos borda dues vegades; la pluja és molt pròxima, col·lecció.",
    "jpn_Jpan": "犬が二回吠え、トタン屋根に雨が降る。",
    "zho_Hans": "一只狗叫了两声，雨水落在铁皮屋顶上。",
}
PROBES = [
    *CAPTIONS.values(),
    "",
    " ",
    "  two  spaces ",
    "😀🐕",
    "ｆｕｌｌ　ｗｉｄｔｈ",
    "</s>",
    "<pad> <unk> <s>",
    "__fra_Latn__ un chien",
    "tab\tand\nnewline",
    "ελληνικά عربى",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = list(CAPTIONS.values())
    made = tmp_path_factory.mktemp("encoder")
    return create_small_text_encoder(made, texts, vocab_size=300, dim=8, layers=1, heads=2)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> SonarTokenizer:
    return SonarTokenizer.from_folder(folder)


def test_a_row_is_language_pieces_end_and_padding(tokenizer: SonarTokenizer) -> None:
    ids, mask = tokenizer(["A dog", ""], ["eng_Latn", "zho_Hans"])
    first = tokenizer.vocab_size - 3 - len(LANGUAGES)
    assert ids[:, 0].tolist() == [first, first + 7]
    assert ids[0, -1] == 2
    assert ids[1, 1] == 2
    assert set(ids[1, 2:].tolist()) == {1}
    assert mask.sum(dim=1).tolist() == [ids.shape[1], 2]
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.bool)


def test_long_texts_keep_language_and_end(folder: Path) -> None:
    short = SonarTokenizer.from_folder(folder, max_tokens=5)
    whole = SonarTokenizer.from_folder(folder)
    cut, full = (each([CAPTIONS["deu_Latn"]], ["deu_Latn"]).ids[0].tolist() for each in (short, whole))
    assert cut == [*full[:4], 2]


def test_a_tokenizer_survives_saving_and_pickling(tokenizer: SonarTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    languages = ["eng_Latn"] * len(PROBES)
    expected = tokenizer(PROBES, languages)
    for other in (SonarTokenizer.from_folder(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert torch.equal(other(PROBES, languages).ids, expected.ids)
        assert other.fingerprint() == tokenizer.fingerprint()


def test_fingerprints_tell_language_lists_apart(folder: Path, tokenizer: SonarTokenizer) -> None:
    proto = folder / "sentencepiece.bpe.model"
    other = SonarTokenizer(proto, languages=LANGUAGES[::-1])
    assert other.fingerprint() != tokenizer.fingerprint()


def test_short_language_codes_mean_the_same(tokenizer: SonarTokenizer) -> None:
    assert (
        tokenizer.language_id("fr") == tokenizer.language_id("fra-Latn") == tokenizer.language_id("fra_Latn")
    )


def test_an_unknown_language_is_refused_with_what_is_known(tokenizer: SonarTokenizer) -> None:
    with pytest.raises(ValueError, match="unknown language 'klingon'"):
        tokenizer(["x"], ["klingon"])
    with pytest.raises(ValueError, match="does not know the language swe_Latn; it knows eng_Latn, fra_Latn"):
        tokenizer(["x"], ["sv"])


def test_a_folder_without_sentencepiece_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sentencepiece\.source\.256000\.model"):
        SonarTokenizer.from_folder(tmp_path)


def test_language_ids_of_the_published_tokenizer_follow_the_card() -> None:
    assert len(SONAR_LANGUAGES) == len(set(SONAR_LANGUAGES)) == 202
    # Known ids: 256000 pieces, so the first language is 256001.
    known = {"eng_Latn": 256047, "fra_Latn": 256057, "deu_Latn": 256042, "spa_Latn": 256161}
    known |= {"nld_Latn": 256127, "cat_Latn": 256034, "jpn_Jpan": 256079, "zho_Hans": 256200}
    assert {code: 256001 + SONAR_LANGUAGES.index(code) for code in known} == known
    assert SONAR_LANGUAGES[SONAR_LANGUAGES.index("pes_Arab") - 1] == "fao_Latn"


@needs_sonar
def test_languages_equal_the_installed_cards() -> None:
    import yaml

    spec = importlib.util.find_spec("sonar")
    assert spec is not None
    assert spec.origin is not None
    card = yaml.safe_load((Path(spec.origin).parent / "cards" / "text_sonar_basic_encoder.yaml").read_text())
    assert tuple(card["tokenizer_config"]["_set_"]["langs"]) == SONAR_LANGUAGES


@needs_sonar
def test_ids_equal_those_of_fairseq2(folder: Path) -> None:
    from ml_clap.models.sonar import import_sonar

    import_sonar()
    from fairseq2.models.nllb.tokenizer import NllbTokenizerConfig, load_nllb_tokenizer

    path = folder / "sentencepiece.bpe.model"
    ours = SonarTokenizer(path, languages=SONAR_LANGUAGES)
    config = NllbTokenizerConfig(langs=list(SONAR_LANGUAGES), default_lang="eng_Latn")
    theirs = load_nllb_tokenizer(path, config)
    assert theirs.vocab_info.size == ours.vocab_size
    for language in (*LANGUAGES, "ace_Arab", "pes_Arab", "als_Latn", "zul_Latn"):
        encode = theirs.create_encoder(lang=language, mode="source")
        for text in PROBES:
            found = to_fairseq2_ids(ours([text], [language]).ids[0])
            assert found.tolist() == encode(text).tolist(), (language, text)


def test_renumbering_for_fairseq2_exchanges_the_special_tokens_only() -> None:
    assert to_fairseq2_ids(torch.arange(7)).tolist() == [2, 0, 3, 1, 4, 5, 6]


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_any_text_gives_ids_that_the_encoder_knows(tokenizer: SonarTokenizer, texts: list[str]) -> None:
    ids, mask = tokenizer(texts, ["cat_Latn"] * len(texts))
    assert int(ids.min()) >= 0
    assert int(ids.max()) < tokenizer.vocab_size
    assert torch.equal(mask, ids != 1)


@pytest.fixture
def word_pieces(tmp_path: Path) -> HFTokenizer:
    """BERT's tokenizer with a few words."""
    from transformers import BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "bark", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    return HFTokenizer(BertTokenizerFast(str(tmp_path / "vocab.txt")), max_tokens=5)


def test_a_tokenizer_of_transformers_pads_right_and_truncates(word_pieces: HFTokenizer) -> None:
    ids, mask = word_pieces(["A dog barks a dog", "dog"], ["eng_Latn", "fra_Latn"])
    assert ids.tolist() == [[2, 5, 6, 7, 3], [2, 6, 3, 0, 0]]
    assert mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert torch.equal(pickle.loads(pickle.dumps(word_pieces))(["dog"], ["eng_Latn"]).ids, ids[1:, :3])


def test_a_preparer_normalises_prefixes_and_spreads_one_language(tokenizer: SonarTokenizer) -> None:
    prepare = TextPreparer(tokenizer, "standard", "query: ")
    found = prepare(["A DOG, barks!", "rain"], "fra_Latn")
    expected = tokenizer(["query: a dog barks", "query: rain"], ["fra_Latn", "fra_Latn"])
    assert torch.equal(found.ids, expected.ids)
    with pytest.raises(ValueError, match="expected one language or 2, got 3"):
        prepare(["a", "b"], ["eng_Latn"] * 3)
