"""Words of a caption as coco-caption finds them with Stanford CoreNLP 3.4.1's PTBTokenizer, but without Java.

Penn Treebank conventions: `don't` is `do n't`, `it's` is `it 's`, `cannot` is `can not`; hyphenated words,
numbers, times and abbreviations stay whole; then everything is in lower case and punctuation is left out.
Made from that program's answers to sentences of our own, which the tests compare with (tests/golden).

Two habits of coco-caption are kept, since scores are compared with published ones: brackets stay, as `-lrb-`
(its list of punctuation has them in upper case only), and so do runs like `!!`. Tags with attributes,
telephone numbers, addresses without a scheme and rarer smileys are not treated as there. Nor are scripts
without spaces, of which that program makes one word a sentence, so that no two captions share any: here each
character is a word (see `scripts.py`).
"""

from __future__ import annotations

import re
from functools import lru_cache

from aac_llm.metrics.scripts import PUNCTUATION, is_character, space_characters

_MORE = r"\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209f\u2150-\u2189"  # alphanumeric for Python: ² ½
_L = rf"(?:[^\W\d_{_MORE}]|[\u0300-\u036f\u0900-\u0e4e])"  # letters and the marks that combine with them
_A = rf"(?:[^\W_{_MORE}]|[\u0300-\u036f\u0900-\u0e4e])"
_APOSTROPHE = r"['’]"
_NUMBER = r"(?:\d*(?:[.:,]\d+)+|\d+(?:/\d+)*)"
_PIECE = rf"(?:[dolDOL]{_APOSTROPHE})?{_A}+"
_PART = r"(?:[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*|[A-Za-z0-9]+)"
_SPLIT = {
    "cannot": ["can", "not"],
    "gimme": ["gim", "me"],
    "gonna": ["gon", "na"],
    "gotta": ["got", "ta"],
    "lemme": ["lem", "me"],
    "wanna": ["wan", "na"],
    "'tis": ["'t", "is"],
    "'twas": ["'t", "was"],
}
_SHORTENED = """
al cf co ct dr ft ga jr ky lt md mo mr ms mt ph rd rt sq sr st va vs vt wm adj adm adv ala apr aug ave
bhd cie col cos cpl dak dec det drs ens esq est etc ext feb fla fri gen gov hon inc ind jan jos jul jun
kan ltd maj mar mfg mme mon mrs mtg neb nev nov oct pfc plc pte pty pvt rep rev sen sep seq sfc sgt spc
ste sys tel thu tue wed wis wyo alex ariz assn asst atty bldg blvd brig bros capt cmdr colo conn corp
dept elec govs insp intl invt kans mich minn mlle mont msgr natl okla penn pres prof reps sens sept supt
tenn tues univ wisc assoc attys calif comdr lieut profs supts thurs treas messrs
"""
_ABBREVIATIONS = frozenset(_SHORTENED.split())
"""Abbreviations, whose full stop belongs to them."""
_NAMES = frozenset(["Ark", "Az", "Del", "Ill", "La", "Mass", "Miss", "Ore", "Pa", "Tex", "Wash"])
"""Such abbreviations that are words when they begin with a small letter."""
_BEFORE_NUMBER = frozenset(["art", "ca", "fig", "figs", "no", "nos", "op", "pp", "prop"])
"""Such abbreviations if a number follows."""
_SPELLED = {
    **dict.fromkeys("“”«»‹›‘’‚–—`'\".?!,:;-" + PUNCTUATION, ""),
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "£": "#",
    "€": "$",
    "¢": "cents",
    "½": "1/2",
    "¼": "1/4",
    "¾": "3/4",
    "⅓": "1/3",
    "⅔": "2/3",
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "…": "",
}
"""Spellings of some tokens; those spelled as nothing are punctuation."""
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_L}{_A}*(?:[.!?]{_L}{_A}*)*",
        rf"[-+]?{_NUMBER}",
        rf"{_PIECE}(?:[-_‑]{_PIECE})*",
        rf"\d+/\d+{_A}*|[Pp]h\.?[Dd]\.",
        r"[A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:[A-Za-z](?:\.[A-Za-z])+\.?|[A-Za-z0-9]+))+",
        rf"{_PART}(?:/{_PART}){{1,2}}",
        rf"{_L}\.(?:{_L}\.)*",
        rf"(?i:{_APOSTROPHE}(?:tis|twas|cause|til|em|n|\d0s)(?!{_A}))",
        rf"(?i:{_APOSTROPHE}n{_APOSTROPHE})",
        rf"(?i:{_APOSTROPHE}(?:s|m|d|ll|re|ve)(?!{_A})|n['’`]t(?!{_A}))",
        rf"(?i:(?:ma'am|ol'|d'|somethin'|n?e'er|ev'ry)(?!{_A}))".replace("'", _APOSTROPHE),
        rf"(?i:qu{_APOSTROPHE}{_L}+|c{_APOSTROPHE}mon|y{_APOSTROPHE}(?={_L}))",
        r"https?://[^\s\"<>|(),]*[^\s\"<>|(),.!?;:]",
        rf"{_A}[\w.]*@{_A}[\w.]*{_A}|{_A}+@{_A}+|[@#]{_L}\w*",
        r"</?[A-Za-z]\w*/?>|<<|>>",
        r"-(?i:[lr][rsc]b)-",
        r"[A-Z]+&[A-Z]+|US\$|[cC]\+\+|&(?:amp|lt|gt);",
        r"[:;=]-?[()DpP](?!\w)",
        r"[!?]{2,}|\*{2,}|__+",
        r"\S",
    )
)
_CONTRACTED = re.compile(rf"(?i:{_L}*?(?=n['’`]t(?!{_A})))")
_BEFORE_COMMA = re.compile(r"\.(?=[,;:])")
_SILENT = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\ufeff\ue000-\uf8ff\ud800-\udfff\U00010000-\U0010ffff]"
)
_ENTITY = re.compile(r"&(?:quot|nbsp|apos);")


def tokenize(text: str) -> list[str]:
    """Lower-case words of a caption without punctuation; none for an empty text.

    >>> tokenize("A dog doesn't bark, it's howling (loudly), 5:30 p.m.!")
    ['a', 'dog', 'does', "n't", 'bark', 'it', "'s", 'howling', '-lrb-', 'loudly', '-rrb-', '5:30', 'p.m.']
    """
    words: list[str] = []
    chunks = (text if text.isascii() and text.isprintable() else _clean(text)).split()
    for chunk, following in zip(chunks, [*chunks[1:], ""], strict=False):
        # Most chunks are plain words, and the patterns are slow.
        if chunk.isalpha() and chunk.isascii():
            word = chunk.lower()
            words += _SPLIT.get(word, (word,))
        elif is_character(chunk):
            words.append(chunk)
        else:
            words += _chunk_words(chunk, following[:1].isdigit())
    return words


def _clean(text: str) -> str:
    """Remove soft hyphens, and split at what has no place in a text and around unspaced characters."""
    return space_characters(_SILENT.sub(" ", text.replace("\u00ad", "")))


@lru_cache(maxsize=1 << 16)
def _chunk_words(chunk: str, before_number: bool) -> tuple[str, ...]:
    """Split what stands between two spaces into words."""
    words: list[str] = []
    text = _ENTITY.sub(lambda found: "'" if found[0] == "&apos;" else '"', chunk)
    at = 0
    while at < len(text):
        end = _token_end(text, at, before_number)
        words += _spell(text[at:end])
        at = end
    return tuple(words)


def _token_end(text: str, at: int, before_number: bool) -> int:
    """Return where the longest token from here ends."""
    # The longest match wins, as in a lexer; the last pattern matches anything.
    end = max(found.end() for pattern in _PATTERNS if (found := pattern.match(text, at)))
    if (contracted := _CONTRACTED.match(text, at)) and at < contracted.end() < end <= contracted.end() + 1:
        return contracted.end()  # the n of `don't` belongs to what follows
    # A full stop before a comma cannot end a sentence, so it belongs to the word.
    if _BEFORE_COMMA.match(text, end) and text[end - 1].isalnum():
        return end + 1
    if text[end : end + 1] == "." and _is_abbreviation(text[at:end], text[end + 1 :], before_number):
        return end + 1
    return end


def _is_abbreviation(word: str, rest: str, before_number: bool) -> bool:
    lower = word.lower()
    if lower in _BEFORE_NUMBER and (rest[:1].isdigit() or (not rest and before_number)):
        return True
    return lower in _ABBREVIATIONS or word in _NAMES or (rest[:1] == "," and word.capitalize() in _NAMES)


def _spell(token: str) -> list[str]:
    """Return how a token is written: nothing for punctuation, two words for some."""
    lower = token.replace("’", "'").lower()
    if lower in _SPLIT:
        return _SPLIT[lower]
    if (len(token) == 3 and token[0] in ":;=") or (token[:1] in ":;=" and len(token) == 2):
        return ["".join(_SPELLED.get(character) or character for character in lower)]
    word = _SPELLED.get(token, lower)
    return [word] if word else []
