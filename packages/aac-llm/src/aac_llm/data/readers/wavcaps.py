"""WavCaps: four JSON files of captions that ChatGPT wrote from web pages, 403,050 clips.

Some of its recordings are those of the test sets of AudioCaps (in its AudioSet part) and of Clotho (in its
Freesound part). The authors publish the list of them; it is applied unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audio_common.files import AudioFolder, walk_files
from audio_common.strict_json import JSONError, parse_json

from aac_llm.config.prepare import PrepareWavCapsConfig
from aac_llm.data.manifest import Clip, ManifestError
from aac_llm.data.readers.source import Reading, metadata_seconds
from aac_llm.data.table import read_text

BLACKLIST = "blacklist_exclude_test_ac.json"
SOURCES = {"as_final": "AudioSet", "bbc_final": "BBC", "fsd_final": "FreeSound", "sb_final": "SoundBible"}
"""Name of the file -> the part of WavCaps, as the blacklist names it."""


def read_wavcaps(config: PrepareWavCapsConfig) -> Reading:
    """Clips of one part or of the folder of all that are not on the blacklist.

    Raises:
        ValueError: the blacklist is not there, and was not waived.
    """
    # First: reading 400,000 entries takes a while, and the mistake would be told late.
    blacklist = read_blacklist(config) if config.use_blacklist else {}
    files = AudioFolder(config.audio or (config.source if config.source.is_dir() else config.source.parent))
    reading = Reading()
    for path in _parts(config.source):
        part = SOURCES.get(path.stem, path.stem)
        excluded = blacklist.get(part, set())
        for number, entry in enumerate(_entries(path)):
            where = f"{path}: entry {number}"
            try:
                name, caption = _name_and_caption(entry)
            except ValueError as e:
                reading.add_problem("row", where, e)
                continue
            # Named in the report: it is a reason why counts differ from the paper's.
            if Path(name).stem in excluded:
                reading.add_problem("blacklisted", name, f"in a test set, by {BLACKLIST}")
                continue
            try:
                # AudioSet's clips are packed with and without a Y before the id of the video.
                audio = files.find_stem([Path(name).stem, f"Y{Path(name).stem.removeprefix('Y')}"])
            except LookupError as e:
                reading.add_problem("missing", where, e)
                continue
            reading.clips.append(
                Clip(
                    id=f"{part.lower()}-{Path(name).stem}",
                    audio=audio,
                    captions=(caption,),
                    split=config.split,
                    duration=metadata_seconds(entry.get("duration")),
                    dataset="wavcaps",
                    sound_id=_sound_id(part, Path(name).stem),
                )
            )
    return reading


def read_blacklist(config: PrepareWavCapsConfig) -> dict[str, set[str]]:
    """Return, by part of WavCaps, the names, without suffix, that must not be trained on.

    Raises:
        ValueError: there is no list.
        ManifestError: it is not one.
    """
    folder = config.source if config.source.is_dir() else config.source.parent
    path = config.blacklist or folder / BLACKLIST
    if not path.is_file():
        raise ValueError(
            f"blacklist: {path} is not there; it names the recordings of AudioCaps' and Clotho's test sets "
            "and comes with WavCaps. Name it with --blacklist, or train on test sets with --no_use_blacklist"
        )
    try:
        content = parse_json(read_text(path), str(path))
        return {part: {Path(str(name)).stem for name in names} for part, names in content.items()}
    except (AttributeError, TypeError, JSONError) as e:
        raise ManifestError(f"{path}: expected an object of lists by part of WavCaps ({e})") from e


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


def _sound_id(part: str, stem: str) -> str | None:
    if part == "FreeSound":
        return f"freesound:{stem}"
    return f"youtube:{stem.removeprefix('Y')[:11]}" if part == "AudioSet" else None
