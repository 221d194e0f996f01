"""Languages of captions: what people write (`en`, `eng`, `English`, `eng_Latn`, `en-GB`) to one code.

The code is that of FLORES-200, an ISO 639-3 language and an ISO 15924 script, as in ml-clap's manifests. Only
widely used languages can be written in short; any other one is written by its whole code.

    >>> [language_code(tag) for tag in ("en", "English", "ENG-latn", "zh_TW", "ace_Arab")]
    ['eng_Latn', 'eng_Latn', 'eng_Latn', 'zho_Hant', 'ace_Arab']
"""

from __future__ import annotations

import re

ENGLISH = "eng_Latn"
"""What captions are in where nothing else is said."""

_LANGUAGES = """
ar:arb_Arab:Arabic bg:bul_Cyrl:Bulgarian bn:ben_Beng:Bengali ca:cat_Latn:Catalan cs:ces_Latn:Czech
da:dan_Latn:Danish de:deu_Latn:German el:ell_Grek:Greek en:eng_Latn:English es:spa_Latn:Spanish
et:est_Latn:Estonian fa:pes_Arab:Persian fi:fin_Latn:Finnish fr:fra_Latn:French he:heb_Hebr:Hebrew
hi:hin_Deva:Hindi hr:hrv_Latn:Croatian hu:hun_Latn:Hungarian id:ind_Latn:Indonesian it:ita_Latn:Italian
ja:jpn_Jpan:Japanese km:khm_Khmr:Khmer ko:kor_Hang:Korean lo:lao_Laoo:Lao lt:lit_Latn:Lithuanian
my:mya_Mymr:Burmese nl:nld_Latn:Dutch no:nob_Latn:Norwegian pl:pol_Latn:Polish pt:por_Latn:Portuguese
ro:ron_Latn:Romanian ru:rus_Cyrl:Russian sk:slk_Latn:Slovak sl:slv_Latn:Slovenian sr:srp_Cyrl:Serbian
sv:swe_Latn:Swedish sw:swh_Latn:Swahili ta:tam_Taml:Tamil te:tel_Telu:Telugu th:tha_Thai:Thai
tr:tur_Latn:Turkish uk:ukr_Cyrl:Ukrainian ur:urd_Arab:Urdu vi:vie_Latn:Vietnamese zh:zho_Hans:Chinese
"""
_ENTRIES = [entry.split(":") for entry in _LANGUAGES.split()]
_CODES = {word.lower(): code for short, code, name in _ENTRIES for word in (short, code[:3], name)}
# Other ISO codes of the same languages: bibliographic ones, and members of groups.
_CODES |= {"ger": "deu_Latn", "fre": "fra_Latn", "dut": "nld_Latn", "chi": "zho_Hans", "cmn": "zho_Hans"}
_CODES |= {"cze": "ces_Latn", "gre": "ell_Grek", "rum": "ron_Latn", "ara": "arb_Arab", "fas": "pes_Arab"}
_NAMES = {code: name for _, code, name in _ENTRIES}
_TAG = re.compile(r"(?P<name>[a-z]{2,})(?:_(?P<script>[a-z]{4}))?(?:_(?P<region>[a-z]{2}|\d{3}))?")
_TRADITIONAL_REGIONS = ("tw", "hk", "mo")


def language_code(tag: str) -> str:
    """Return the code of a language, written in any of the ways above.

    Raises:
        ValueError: it is neither one of the languages that can be written in short nor a whole code.
    """
    match = _TAG.fullmatch(tag.strip().partition(".")[0].lower().replace("-", "_"))
    known = _CODES.get(match["name"]) if match else None
    if match and known:
        if known == "zho_Hans" and match["region"] in _TRADITIONAL_REGIONS:
            return "zho_Hant"
        return f"{known[:3]}_{match['script'].capitalize()}" if match["script"] else known
    if match and match["script"] and len(match["name"]) == 3:
        return f"{match['name']}_{match['script'].capitalize()}"
    raise ValueError(
        f"unknown language {tag!r}; expected a code such as eng_Latn or en, or an English name such as French"
    )


def language_name(code: str) -> str:
    """Return the English name of a language's code, or the code where none is known."""
    return _NAMES.get(code, code)
