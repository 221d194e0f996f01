import doctest

import pytest
from ml_clap.data import languages
from ml_clap.data.languages import FLORES_CODES, LANGUAGE_NAMES, LANGUAGES, language_name, resolve

# The locales of Tux Paint 2022.06.04 and what they are in FLORES-200; None: it has no such language.
TUXPAINT_LOCALES = {
    "en": "eng_Latn", "af": "afr_Latn", "ak": "aka_Latn", "am": "amh_Ethi", "ar": "arb_Arab",
    "ast": "ast_Latn", "be": "bel_Cyrl", "bg": "bul_Cyrl", "ca": "cat_Latn", "ca@valencia": "cat_Latn",
    "cs": "ces_Latn", "cy": "cym_Latn", "da": "dan_Latn", "de": "deu_Latn", "el": "ell_Grek",
    "en_AU": "eng_Latn", "en_GB": "eng_Latn", "eo": "epo_Latn", "es": "spa_Latn", "eu": "eus_Latn",
    "fa": "pes_Arab", "ff": "fuv_Latn", "fi": "fin_Latn", "fr": "fra_Latn", "ga": "gle_Latn",
    "gd": "gla_Latn", "gl": "glg_Latn", "gu": "guj_Gujr", "he": "heb_Hebr", "hi": "hin_Deva",
    "hr": "hrv_Latn", "hu": "hun_Latn", "hy": "hye_Armn", "id": "ind_Latn", "is": "isl_Latn",
    "it": "ita_Latn", "ja": "jpn_Jpan", "ka": "kat_Geor", "kab": "kab_Latn", "km": "khm_Khmr",
    "ko": "kor_Hang", "ku": "kmr_Latn", "lt": "lit_Latn", "lv": "lvs_Latn", "mk": "mkd_Cyrl",
    "ml": "mal_Mlym", "ms": "zsm_Latn", "nb": "nob_Latn", "nl": "nld_Latn", "nn": "nno_Latn",
    "nso": "nso_Latn", "oc": "oci_Latn", "pl": "pol_Latn", "pt": "por_Latn", "pt_BR": "por_Latn",
    "ro": "ron_Latn", "ru": "rus_Cyrl", "sk": "slk_Latn", "sl": "slv_Latn", "sq": "als_Latn",
    "sr": "srp_Cyrl", "sv": "swe_Latn", "sw": "swh_Latn", "ta": "tam_Taml", "th": "tha_Thai",
    "tr": "tur_Latn", "uk": "ukr_Cyrl", "vec": "vec_Latn", "vi": "vie_Latn", "zh_CN": "zho_Hans",
    "zh_TW": "zho_Hant", "zu": "zul_Latn", "ach": None, "an": None, "iu": None, "shs": None, "son": None,
    "sr@latin": None,
}  # fmt: skip


def test_there_are_the_202_codes_of_sonar() -> None:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    assert set(FAIRSEQ_LANGUAGE_CODES) == FLORES_CODES
    assert len(FLORES_CODES) == 202


def test_the_eight_languages_have_names_in_the_papers_order() -> None:
    assert tuple(LANGUAGE_NAMES) == LANGUAGES
    assert language_name("zho_Hans") == "Chinese"
    assert language_name("tha_Thai") == "tha_Thai"


def test_every_flores_code_is_itself_in_any_spelling() -> None:
    for code in FLORES_CODES:
        assert resolve(code) == code
        assert resolve(code.upper().replace("_", "-")) == code


@pytest.mark.parametrize(
    "tag", ["fr", "fra", "fre", "fr_FR", "fr-CA", "fra-Latn", "fr_Latn_FR", "fr_FR.UTF-8", "FRENCH"]
)
def test_spellings_of_french_are_one_language(tag: str) -> None:
    assert resolve(tag) == "fra_Latn"


@pytest.mark.parametrize(
    ("tag", "code"),
    [("zh", "zho_Hans"), ("zh-Hant", "zho_Hant"), ("zh_HK", "zho_Hant"), ("cmn", "zho_Hans"),
     ("es_419", "spa_Latn"), ("ara", "arb_Arab"), ("no", "nob_Latn"), ("ks_Deva", "kas_Deva")],
)  # fmt: skip
def test_groups_scripts_and_regions_are_resolved(tag: str, code: str) -> None:
    assert resolve(tag) == code


@pytest.mark.parametrize(("locale", "code"), TUXPAINT_LOCALES.items())
def test_tuxpaint_locales_map_to_flores_where_it_has_them(locale: str, code: str | None) -> None:
    if code is not None:
        assert resolve(locale) == code
    else:
        with pytest.raises(ValueError, match="unknown language"):
            resolve(locale)


@pytest.mark.parametrize(
    ("tag", "hint"),
    [
        ("fra_Latm", "fra_Latn"),
        ("frensh", "fra_Latn"),
        ("srp_Latn", "srp_Cyrl"),
        ("qqq", "eng_Latn"),
        ("", "eng_Latn"),
    ],
)
def test_unknown_language_lists_near_ones(tag: str, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown language '{tag}'; did you mean .*{hint}"):
        resolve(tag)


def test_docstring_examples_hold() -> None:
    result = doctest.testmod(languages)
    assert result.attempted >= 1
    assert result.failed == 0
