"""The sound stamps of Tux Paint to clips: 111 sound events named in the languages of its translators.

The stamps are those of Debian's package tuxpaint-stamps-default (GPL-2+), which this module reads in place.
Beside each sound `NAME.ogg` lies `NAME.txt`: English in the first line, then `LOCALE.utf8=text`. Stamps of
digits and letters are spoken words, not sound events, and are left out, as are the spoken descriptions
(`NAME_desc*.ogg`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from audio_common.files import walk_files

from ml_clap.config.prepare import PrepareTuxpaintConfig
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import Clip
from ml_clap.data.readers.reading import Reading, id_of_file

LICENCE = "GPL-2.0-or-later"
SPOKEN = ("symbols/math", "symbols/alphabets")
"""Folders of digits and letters."""
INSIDE_PACKAGE = Path("usr/share/tuxpaint/stamps")
EFFECTS_LIST = "effects.jsonl"
INSTALL = (
    "get them on Debian or Ubuntu with `apt-get download tuxpaint-stamps-default && dpkg-deb -x "
    "tuxpaint-stamps-default_*.deb tuxpaint`, then name the folder tuxpaint/usr/share/tuxpaint/stamps"
)

_TRANSLATION = re.compile(r"(?P<locale>[A-Za-z_@]+)\.utf8=(?P<text>.*)")
_SPOKEN_DESCRIPTION = re.compile(r"_desc(_[A-Za-z_@]+)?$")


def read_tuxpaint(config: PrepareTuxpaintConfig) -> Reading:
    """Read the events of a stamps folder, or of a list made from one, with one text in each language."""
    reading = Reading()
    unknown: set[str] = set()
    for clip_id, audio, texts in _events(config.source, reading):
        captions, others = captions_by_language(texts)
        unknown |= others
        if captions:
            licence = config.licence or LICENCE
            reading.clips.append(Clip(clip_id, audio, captions, split=config.split, licence=licence))
        else:
            reading.add_problem("row", clip_id, "no text in a known language")
    if unknown:
        codes = ", ".join(sorted(unknown))
        reading.notices.append(f"texts in languages that FLORES-200 does not have are left out: {codes}")
    return reading


def captions_by_language(texts: Mapping[str, str]) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """Return FLORES code -> one text, and the locales that FLORES does not have.

    Where several locales are one language (`pt` and `pt_BR`), the plain one is taken.
    """
    captions: dict[str, tuple[str, ...]] = {}
    unknown: set[str] = set()
    for locale in sorted(texts, key=lambda locale: (len(locale), locale)):
        text = texts[locale].strip()
        try:
            code = resolve(locale)
        except ValueError:
            unknown.add(locale)
            continue
        if text:
            captions.setdefault(code, (text,))
    return captions, unknown


def _events(source: Path, reading: Reading) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """Give (id, audio, locale -> text)."""
    listed = source / EFFECTS_LIST if source.is_dir() else source
    if listed.is_file():
        for line, row in reading.json_rows(listed):
            clip_id, audio, texts = row.get("id"), row.get("audio"), row.get("text")
            if isinstance(clip_id, str) and isinstance(audio, str) and isinstance(texts, dict):
                yield clip_id, listed.parent / audio, {key: str(text) for key, text in texts.items()}
            else:
                message = f"expected id, audio and text, got {', '.join(row)}"
                reading.add_problem("row", f"{listed}:{line}", message)
        return
    stamps = _stamps_folder(source)
    for audio in sorted(walk_files(stamps), key=lambda path: path.relative_to(stamps).as_posix()):
        description = audio.with_suffix(".txt")
        name = id_of_file(audio.relative_to(stamps).as_posix())
        is_event = audio.suffix in (".ogg", ".wav") and not _SPOKEN_DESCRIPTION.search(name)
        if is_event and not name.startswith(SPOKEN) and description.is_file():
            yield name, audio, read_description(description)


def _stamps_folder(source: Path) -> Path:
    for folder in (source, source / "stamps", source / INSIDE_PACKAGE):
        if (folder / "animals").is_dir():
            return folder
    raise FileNotFoundError(f"the stamps of Tux Paint are not in {source}; {INSTALL}")


def read_description(path: Path) -> dict[str, str]:
    """Read locale -> text of a stamp's description."""
    # The files hold a few broken bytes and line ends of two kinds.
    first, *rest = path.read_text(encoding="utf-8", errors="replace").replace("\r", "").split("\n")
    matches = [_TRANSLATION.fullmatch(line) for line in rest]
    return {"en": first.strip()} | {
        m["locale"]: m["text"].strip() for m in matches if m and m["text"].strip()
    }
