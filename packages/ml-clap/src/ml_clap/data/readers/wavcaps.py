"""WavCaps: four JSON files of captions that ChatGPT wrote from web pages, 403,050 clips.

Some of its recordings are those of the test sets of AudioCaps and Clotho, others those of ESC-50,
UrbanSound8K and VGGSound. The authors publish lists of them beside the captions; these are applied unless
told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audio_common.files import AudioFolder, walk_files
from audio_common.strict_json import JSONError, parse_json

from ml_clap.config.prepare import PrepareWavCapsConfig
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import Clip, ManifestError
from ml_clap.data.readers.reading import Reading, seconds_or_none
from ml_clap.data.table import read_text

BLACKLIST = "blacklist_exclude_test_ac.json"
"""Test sets of AudioCaps and Clotho."""
ZERO_SHOT_BLACKLISTS = (
    "blacklist_exclude_ub8k_esc50_vggsound.json",
    "blacklist_exclude_ubs8k_esc50_vggsound.json",
)
"""Test sets of zero-shot classification, as copies of WavCaps call the list."""
FOLDERS = (".", "blacklist", "json_files/blacklist")
"""Where the lists are: beside the captions, and in the published tree."""
SOURCES = {"as_final": "AudioSet", "bbc_final": "BBC", "fsd_final": "FreeSound", "sb_final": "SoundBible"}
"""Name of the file -> the part of WavCaps, as the lists name it."""


def read_wavcaps(config: PrepareWavCapsConfig) -> Reading:
    """Read one part, or the folder of all, without what is on the lists.

    Raises:
        ValueError: the list is not there, and was not waived.
        ManifestError: a file is not what it should be.
    """
    reading = Reading()
    # First: reading 400,000 entries takes a while, and the mistake would be told late.
    blacklist = read_blacklists(config, reading) if config.use_blacklist else {}
    files = AudioFolder(config.audio or _folder(config.source))
    language = resolve(config.language)
    for path in _parts(config.source):
        part = SOURCES.get(path.stem, path.stem)
        for number, entry in enumerate(_entries(path)):
            where = f"{path}: entry {number}"
            try:
                name, caption = _name_and_caption(entry)
            except ValueError as e:
                reading.add_problem("row", where, e)
                continue
            stem = Path(name).stem
            # Named in the report: it is a reason why counts differ from the paper's.
            if (listed := blacklist.get((part, stem.removeprefix("Y")))) is not None:
                reading.add_problem("blacklisted", name, f"in a test set, by {listed}")
                continue
            try:
                # AudioSet's clips are packed with and without a Y before the id of the video.
                audio = files.find_stem([stem, f"Y{stem.removeprefix('Y')}"])
            except LookupError as e:
                reading.add_problem("missing", where, e)
                continue
            duration = seconds_or_none(entry.get("duration")) or None
            reading.clips.append(
                Clip(
                    f"{part.lower()}-{stem}",
                    audio,
                    {language: (caption,)},
                    split=config.split,
                    duration=duration,
                )
            )
    return reading


def read_blacklists(config: PrepareWavCapsConfig, reading: Reading) -> dict[tuple[str, str], str]:
    """Return (part of WavCaps, name without suffix and Y) -> the list that it is on.

    Raises:
        ValueError: the list of AudioCaps' and Clotho's test sets is not there.
        ManifestError: a list is none.
    """
    paths = list(config.blacklist) or _find_blacklists(config, reading)
    found: dict[tuple[str, str], str] = {}
    for path in paths:
        try:
            content = parse_json(read_text(path), str(path))
            for part, names in content.items():
                for name in names:
                    found.setdefault((part, Path(str(name)).stem.removeprefix("Y")), path.name)
        except (AttributeError, TypeError, JSONError) as e:
            raise ManifestError(f"{path}: expected an object of lists by part of WavCaps ({e})") from e
    return found


def _find_blacklists(config: PrepareWavCapsConfig, reading: Reading) -> list[Path]:
    folder = _folder(config.source)
    # A part lies in a folder of its own, the lists in one beside it.
    places = [base / name for base in (folder, folder.parent) for name in FOLDERS]
    needed = [place / BLACKLIST for place in places if (place / BLACKLIST).is_file()]
    if not needed:
        raise ValueError(
            f"blacklist: {folder / BLACKLIST} is not there; it names the recordings of AudioCaps' and "
            "Clotho's test sets and comes with WavCaps (json_files/blacklist). Name it with --blacklist, or "
            "train on test sets with --no_use_blacklist"
        )
    others = [place / name for place in places for name in ZERO_SHOT_BLACKLISTS if (place / name).is_file()]
    if not others:
        reading.notices.append(
            f"{ZERO_SHOT_BLACKLISTS[0]} is not there: recordings of ESC-50, UrbanSound8K and VGGSound are "
            "kept (--blacklist)"
        )
    return [needed[0], *others[:1]]


def _folder(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _parts(source: Path) -> Iterator[Path]:
    if not source.is_dir():
        yield source
        return
    # WavCaps packs each part into a folder of its own; other JSON files (the blacklists) are no parts.
    found = [path for path in walk_files(source) if path.suffix == ".json" and path.stem in SOURCES]
    if not found:
        raise FileNotFoundError(f"{source} has none of {', '.join(f'{name}.json' for name in SOURCES)}")
    yield from found


def _entries(path: Path) -> list[Any]:
    text = read_text(path)
    try:
        content = parse_json(text, str(path))
    except JSONError as e:
        # A clone without git LFS holds three lines of text in place of each file.
        hint = "; it is a pointer of git LFS: fetch the file itself" if "oid sha256" in text[:500] else ""
        raise ManifestError(f"{e}{hint}") from e
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise ManifestError(f"{path}:1: expected an object with a list `data`, got {type(content).__name__}")
    return content["data"]


def _name_and_caption(entry: Any) -> tuple[str, str]:
    if not isinstance(entry, dict):
        raise ValueError(f"expected an object, got {type(entry).__name__}")
    name, caption = str(entry.get("id") or ""), entry.get("caption")
    if not name or not isinstance(caption, str) or not caption.strip():
        raise ValueError(f"id or caption is empty; the entry has {', '.join(map(str, entry))}")
    return name, caption
