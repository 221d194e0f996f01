"""Language codes: what people write (`fr`, `fr_FR`, `fra-Latn`, `French`) to what SONAR expects (`fra_Latn`).

SONAR's text encoder marks a text's language by one of the 202 codes of its card, those of FLORES-200: an
ISO 639-3 language and an ISO 15924 script. Every one of them is accepted. Where a short code means a group of
languages (`ar`, `ms`, `ku`), FLORES's standard or most widely written member is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from difflib import get_close_matches
from functools import lru_cache

LANGUAGE_NAMES = {
    "eng_Latn": "English",
    "fra_Latn": "French",
    "deu_Latn": "German",
    "spa_Latn": "Spanish",
    "nld_Latn": "Dutch",
    "cat_Latn": "Catalan",
    "jpn_Jpan": "Japanese",
    "zho_Hans": "Chinese",
}
"""English names of the paper's eight languages, in its order."""

LANGUAGES = tuple(LANGUAGE_NAMES)
"""The paper's eight languages, by the codes of SONAR (FLORES-200)."""

# fmt: off
SONAR_LANGUAGES = (
    "ace_Arab", "ace_Latn", "acm_Arab", "acq_Arab", "aeb_Arab", "afr_Latn", "ajp_Arab", "aka_Latn",
    "amh_Ethi", "apc_Arab", "arb_Arab", "ars_Arab", "ary_Arab", "arz_Arab", "asm_Beng", "ast_Latn",
    "awa_Deva", "ayr_Latn", "azb_Arab", "azj_Latn", "bak_Cyrl", "bam_Latn", "ban_Latn", "bel_Cyrl",
    "bem_Latn", "ben_Beng", "bho_Deva", "bjn_Arab", "bjn_Latn", "bod_Tibt", "bos_Latn", "bug_Latn",
    "bul_Cyrl", "cat_Latn", "ceb_Latn", "ces_Latn", "cjk_Latn", "ckb_Arab", "crh_Latn", "cym_Latn",
    "dan_Latn", "deu_Latn", "dik_Latn", "dyu_Latn", "dzo_Tibt", "ell_Grek", "eng_Latn", "epo_Latn",
    "est_Latn", "eus_Latn", "ewe_Latn", "fao_Latn", "pes_Arab", "fij_Latn", "fin_Latn", "fon_Latn",
    "fra_Latn", "fur_Latn", "fuv_Latn", "gla_Latn", "gle_Latn", "glg_Latn", "grn_Latn", "guj_Gujr",
    "hat_Latn", "hau_Latn", "heb_Hebr", "hin_Deva", "hne_Deva", "hrv_Latn", "hun_Latn", "hye_Armn",
    "ibo_Latn", "ilo_Latn", "ind_Latn", "isl_Latn", "ita_Latn", "jav_Latn", "jpn_Jpan", "kab_Latn",
    "kac_Latn", "kam_Latn", "kan_Knda", "kas_Arab", "kas_Deva", "kat_Geor", "knc_Arab", "knc_Latn",
    "kaz_Cyrl", "kbp_Latn", "kea_Latn", "khm_Khmr", "kik_Latn", "kin_Latn", "kir_Cyrl", "kmb_Latn",
    "kon_Latn", "kor_Hang", "kmr_Latn", "lao_Laoo", "lvs_Latn", "lij_Latn", "lim_Latn", "lin_Latn",
    "lit_Latn", "lmo_Latn", "ltg_Latn", "ltz_Latn", "lua_Latn", "lug_Latn", "luo_Latn", "lus_Latn",
    "mag_Deva", "mai_Deva", "mal_Mlym", "mar_Deva", "min_Latn", "mkd_Cyrl", "plt_Latn", "mlt_Latn",
    "mni_Beng", "khk_Cyrl", "mos_Latn", "mri_Latn", "zsm_Latn", "mya_Mymr", "nld_Latn", "nno_Latn",
    "nob_Latn", "npi_Deva", "nso_Latn", "nus_Latn", "nya_Latn", "oci_Latn", "gaz_Latn", "ory_Orya",
    "pag_Latn", "pan_Guru", "pap_Latn", "pol_Latn", "por_Latn", "prs_Arab", "pbt_Arab", "quy_Latn",
    "ron_Latn", "run_Latn", "rus_Cyrl", "sag_Latn", "san_Deva", "sat_Beng", "scn_Latn", "shn_Mymr",
    "sin_Sinh", "slk_Latn", "slv_Latn", "smo_Latn", "sna_Latn", "snd_Arab", "som_Latn", "sot_Latn",
    "spa_Latn", "als_Latn", "srd_Latn", "srp_Cyrl", "ssw_Latn", "sun_Latn", "swe_Latn", "swh_Latn",
    "szl_Latn", "tam_Taml", "tat_Cyrl", "tel_Telu", "tgk_Cyrl", "tgl_Latn", "tha_Thai", "tir_Ethi",
    "taq_Latn", "taq_Tfng", "tpi_Latn", "tsn_Latn", "tso_Latn", "tuk_Latn", "tum_Latn", "tur_Latn",
    "twi_Latn", "tzm_Tfng", "uig_Arab", "ukr_Cyrl", "umb_Latn", "urd_Arab", "uzn_Latn", "vec_Latn",
    "vie_Latn", "war_Latn", "wol_Latn", "xho_Latn", "ydd_Hebr", "yor_Latn", "yue_Hant", "zho_Hans",
    "zho_Hant", "zul_Latn",
)
# fmt: on
"""The 202 languages of SONAR's text encoder, by FLORES-200 code, in the order of its tokenizer's ids.

The order is the one of SONAR's card, not the alphabet's: `pes_Arab` follows `fao_Latn`, `als_Latn` follows
`spa_Latn` and so on. A language's token id is the number of sentencepiece pieces + 1 + its place here.
"""

FLORES_CODES = frozenset(SONAR_LANGUAGES)
"""The 202 codes of SONAR's text encoder."""

# ISO 639-1 and bibliographic 639-2 codes, and groups of languages, to the ISO 639-3 code in FLORES.
_SHORT_CODES = """
    af:afr ak:aka am:amh ar:arb ara:arb as:asm ast:ast ay:ayr aym:ayr az:azj aze:azj ba:bak be:bel
    bg:bul bm:bam bn:ben bo:bod tib:bod bs:bos ca:cat cs:ces cze:ces cy:cym wel:cym da:dan de:deu
    ger:deu din:dik dz:dzo ee:ewe el:ell gre:ell en:eng eo:epo es:spa et:est eu:eus baq:eus fa:pes
    fas:pes per:pes ff:fuv ful:fuv fi:fin fil:tgl fj:fij fo:fao fr:fra fre:fra ga:gle gd:gla gl:glg
    gn:grn gu:guj ha:hau he:heb iw:heb hi:hin hr:hrv ht:hat hu:hun hy:hye arm:hye id:ind ig:ibo is:isl
    ice:isl it:ita ja:jpn jv:jav ka:kat geo:kat kg:kon ki:kik kk:kaz km:khm kn:kan ko:kor kr:knc kau:knc
    ks:kas ku:kmr kur:kmr ky:kir lb:ltz lg:lug li:lim ln:lin lo:lao lt:lit lv:lvs lav:lvs mg:plt mlg:plt
    mi:mri mao:mri mk:mkd mac:mkd ml:mal mn:khk mon:khk mr:mar ms:zsm msa:zsm may:zsm mt:mlt my:mya
    bur:mya nb:nob ne:npi nep:npi nl:nld dut:nld nn:nno no:nob nor:nob ny:nya oc:oci om:gaz orm:gaz
    or:ory ori:ory pa:pan pl:pol ps:pbt pus:pbt pt:por qu:quy que:quy rn:run ro:ron rum:ron ru:rus
    rw:kin sa:san sc:srd sd:snd sg:sag si:sin sk:slk slo:slk sl:slv sm:smo sn:sna so:som sq:als sqi:als
    alb:als sr:srp ss:ssw st:sot su:sun sv:swe sw:swh swa:swh ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk
    tl:tgl tn:tsn tr:tur ts:tso tt:tat tw:twi ug:uig uk:ukr ur:urd uz:uzn uzb:uzn vi:vie wo:wol xh:xho
    yi:ydd yid:ydd yo:yor zh:zho chi:zho cmn:zho zu:zul
"""
_SHORT_TO_FLORES = dict(pair.split(":") for pair in _SHORT_CODES.split())
_NAMES_TO_FLORES = {name.lower(): code for code, name in LANGUAGE_NAMES.items()}
_DEFAULT_SCRIPT = {"zho": "Hans", "ace": "Latn", "bjn": "Latn", "kas": "Arab", "knc": "Latn", "taq": "Latn"}
_TRADITIONAL_CHINESE_REGIONS = ("tw", "hk", "mo")
_LOCALE_SCRIPTS = {"latin": "latn", "cyrillic": "cyrl"}

_TAG = re.compile(
    r"(?P<name>[a-z]{2,3})(?:_(?P<script>[a-z]{4}))?(?:_(?P<region>[a-z]{2}|\d{3}))?(?:@(?P<variant>\w+))?"
)


@lru_cache(maxsize=4096)
def resolve(tag: str) -> str:
    """Return the FLORES code that `tag` means.

    Accepts FLORES codes in any case and with `-` for `_`, ISO 639-1/2/3 codes, locales with a region, script
    or encoding (`pt_BR`, `zh_TW`, `fr_FR.UTF-8`), and the English names of the eight languages.

    >>> [resolve(tag) for tag in ("fr", "fra", "fr_FR", "fra-Latn", "French", "zh_TW")]
    ['fra_Latn', 'fra_Latn', 'fra_Latn', 'fra_Latn', 'fra_Latn', 'zho_Hant']

    Raises:
        ValueError: no FLORES code is meant; the message lists the nearest ones.
    """
    wanted = re.sub(r"\.[\w-]+", "", tag.strip()).lower().replace("-", "_")
    if wanted in _NAMES_TO_FLORES:
        return _NAMES_TO_FLORES[wanted]
    match = _TAG.fullmatch(wanted)
    if match:
        name = _SHORT_TO_FLORES.get(match["name"], match["name"])
        code = f"{name}_{_script(name, match)}"
        if code in FLORES_CODES:
            return code
    raise ValueError(f"unknown language {tag!r}; did you mean {_nearest(wanted)}? {_HELP}")


_HELP = "Languages are FLORES-200 codes such as eng_Latn, or ISO codes such as en."


def _script(name: str, match: re.Match[str]) -> str:
    written = match["script"] or _LOCALE_SCRIPTS.get(match["variant"] or "")
    if written:
        return written.capitalize()
    if name == "zho" and match["region"] in _TRADITIONAL_CHINESE_REGIONS:
        return "Hant"
    scripts = [code[4:] for code in SONAR_LANGUAGES if code[:3] == name]
    return _DEFAULT_SCRIPT.get(name) or (scripts[0] if scripts else "?")


def _nearest(wanted: str) -> str:
    codes = {code.lower(): code for code in FLORES_CODES}
    same_language = sorted(code for lower, code in codes.items() if lower[:3] == wanted[:3])
    near = get_close_matches(wanted, [*codes, *_NAMES_TO_FLORES], n=4, cutoff=0.5)
    found = same_language + [codes.get(one) or _NAMES_TO_FLORES[one] for one in near]
    return ", ".join(dict.fromkeys(found)) or ", ".join(LANGUAGE_NAMES)


def language_name(code: str) -> str:
    """Return the English name of one of the eight languages; any other code as it is."""
    return LANGUAGE_NAMES.get(code, code)


def choose_among(there: Set[str], wanted: Sequence[str] | None) -> list[str]:
    """Return the codes that are wanted, each once, or all that there are, `LANGUAGES` first.

    Args:
        there: Codes of the languages in which clips have captions.
        wanted: Any names that `resolve` knows; None or none: all.

    Raises:
        ValueError: One is not there; names those that are.
    """
    known = [*(code for code in LANGUAGES if code in there), *sorted(there - set(LANGUAGES))]
    chosen = list(dict.fromkeys(resolve(tag) for tag in wanted or known))
    for code in chosen:
        if code not in there:
            raise ValueError(f"no clip has captions in {code}; there are captions in {', '.join(known)}")
    return chosen
