"""Published data sets to clips: the authors' JSON, Clotho's and AudioCaps' CSV files.

A reader finds each row's sound file and captions. A row that cannot be used becomes a `Problem` and the
others go on; only a source of the wrong form is an error. Whether the sound files are sound is for
`ml_clap.data.prepare` to find out. Labelled folders are in `ml_clap.data.readers.labelled`, Tux Paint's
stamps in `ml_clap.data.readers.tuxpaint`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_common.files import AudioFolder
from audio_common.strict_json import read_json

from ml_clap.config.prepare import PrepareAudioCapsConfig, PrepareClothoConfig, PrepareReferenceConfig
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import Clip, ManifestError
from ml_clap.data.readers.reading import Reading, id_of_file, seconds_or_none

AUDIOCAPS_SECONDS = 10
"""Length of an AudioCaps clip, of which some file names are made."""
CLOTHO_SPLITS = {
    "clotho_captions_development.csv": ("development", "train"),
    "clotho_captions_validation.csv": ("validation", "validation"),
    "clotho_captions_evaluation.csv": ("evaluation", "test"),
}
"""File of the published set -> its folder of sounds, our name of the split."""
AUDIOCAPS_SPLITS = {"train.csv": "train", "val.csv": "validation", "test.csv": "test"}


def read_reference(config: PrepareReferenceConfig) -> Reading:
    """Read the authors' JSON: `{"num_captions_per_audio": N, "data": [...]}`.

    An entry has `caption_1` and `source_lang_1` to N, or `caption` and `source_lang`; its file is `audio` or
    `wav`, a path or a name.
    """
    entries = _reference_entries(config.source)
    files = AudioFolder(config.audio or config.source.parent)
    reading = Reading()
    for number, entry in enumerate(entries):
        where = f"{config.source}: entry {number}"
        try:
            captions = _reference_captions(entry, config.language)
            names = [str(entry[key]) for key in ("wav", "audio") if entry.get(key)]
            audio = _find_first(files, names)
        except (ValueError, AttributeError) as e:
            reading.add_problem("row", where, e)
        except (LookupError, OSError) as e:
            reading.add_problem("missing", f"{where} ({entry.get('id', '')})", e)
        else:
            clip_id = str(entry.get("id") or id_of_file(audio.name))
            duration = seconds_or_none(entry.get("duration"))
            reading.clips.append(Clip(clip_id, audio, captions, split=config.split, duration=duration))
    return reading


def _reference_entries(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise ManifestError(f"{path}:1: expected an object with a list `data`, got {type(content).__name__}")
    return content["data"]


def _reference_captions(entry: Mapping[str, Any], language: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(entry, dict):
        raise ValueError(f"expected an object, got {type(entry).__name__}")
    captions: dict[str, list[str]] = {}
    for key, text in entry.items():
        if (key == "caption" or key.startswith("caption_")) and isinstance(text, str) and text.strip():
            tag = entry.get(key.replace("caption", "source_lang")) or language
            captions.setdefault(resolve(tag), []).append(text)
    if not captions:
        raise ValueError(f"no caption or caption_1, ...; the entry has {', '.join(entry)}")
    return {tag: tuple(texts) for tag, texts in captions.items()}


def _find_first(files: AudioFolder, names: list[str]) -> Path:
    if not names:
        raise ValueError("neither `audio` nor `wav` names a file")
    for name in names[:-1]:
        try:
            return files.find(name)
        except (LookupError, OSError):
            continue
    return files.find(names[-1])


def read_clotho(config: PrepareClothoConfig) -> Reading:
    """Read Clotho's CSV: one row a clip, with `file_name` and `caption_1` to `caption_5`."""
    reading = Reading()
    for table, folder, split in _clotho_tables(config):
        files = AudioFolder(folder)
        for row in reading.table_rows(table, ("file_name", "caption_1")):
            texts = [text for key, text in row.cells.items() if key.startswith("caption_") and text]
            where, name = f"{table}:{row.line}", row.cells["file_name"]
            _add(reading, where, files, name, texts, config.language, split)
    return reading


def _clotho_tables(config: PrepareClothoConfig) -> Iterator[tuple[Path, Path, str | None]]:
    """Give CSV file, folder of its audio, split."""
    if not config.source.is_dir():
        yield config.source, config.audio or config.source.parent, config.split
        return
    root = config.audio or config.source
    for name, (folder, split) in CLOTHO_SPLITS.items():
        table = config.source / name
        if table.is_file():
            yield table, root / folder if (root / folder).is_dir() else root, split
    _check_folder(config.source, CLOTHO_SPLITS, config.split)


def _add(
    reading: Reading,
    where: str,
    files: AudioFolder,
    name: str,
    texts: list[str],
    language: str,
    split: str | None,
) -> None:
    if not name or not texts:
        reading.add_problem("row", where, "the row has no file_name or no caption")
        return
    try:
        audio = files.find(name)
    except (LookupError, OSError) as e:  # OSError: a longer name than a file system takes
        reading.add_problem("missing", where, e)
        return
    reading.clips.append(Clip(Path(name).stem, audio, {resolve(language): tuple(texts)}, split=split))


def read_audiocaps(config: PrepareAudioCapsConfig) -> Reading:
    """Read AudioCaps' CSV: a row a caption; rows of one `youtube_id` and `start_time` are one clip.

    A file whose name does not say the start cannot be told between two clips of its video: both are left out.
    """
    files = AudioFolder(config.audio or (config.source if config.source.is_dir() else config.source.parent))
    language = resolve(config.language)
    reading = Reading()
    places: dict[Path, list[tuple[str, Clip]]] = defaultdict(list)
    clips_of: dict[str, list[str]] = defaultdict(list)  # video -> ids, whether their files are there or not
    for table, split in _audiocaps_tables(config):
        for key, (line, texts) in _audiocaps_captions(table, reading).items():
            clip_id, where = f"{key[0]}_{key[1]:g}", f"{table}:{line}"
            clips_of[key[0]].append(clip_id)
            try:
                audio = files.find_stem(audiocaps_names(*key))
            except LookupError:
                message = (
                    f"no file below {files.folder} is named Y{key[0]}, {clip_id} or in another known way"
                )
                reading.add_problem("missing", where, message)
            else:
                captions = {language: tuple(texts)}
                clip = Clip(clip_id, audio, captions, split=split, duration=AUDIOCAPS_SECONDS)
                places[audio].append((where, clip))
    for audio, found in places.items():
        # A name without the start may be any of the video's clips, also one that another file is named after.
        stem = audio.stem if audio.stem in clips_of else audio.stem.removeprefix("Y")
        names = list(dict.fromkeys(clips_of.get(stem) or [clip.id for _, clip in found]))
        if len(names) == 1:
            reading.clips += [clip for _, clip in found]
        for where, clip in found if len(names) > 1 else ():
            others = ", ".join(name for name in names if name != clip.id)
            message = f"{audio.name} could be {clip.id} or {others}: put the start into the file's name"
            reading.add_problem("row", where, message)
    return reading


def _audiocaps_captions(table: Path, reading: Reading) -> dict[tuple[str, float], tuple[int, list[str]]]:
    """Return (video, start) -> its first line, its captions."""
    found: dict[tuple[str, float], tuple[int, list[str]]] = {}
    for row in reading.table_rows(table, ("youtube_id", "start_time", "caption")):
        video, start, text = (row.cells[name] for name in ("youtube_id", "start_time", "caption"))
        seconds = seconds_or_none(start)
        if not video or not text:
            reading.add_problem("row", f"{table}:{row.line}", "youtube_id or caption is empty")
        elif seconds is None:
            message = f"start_time must be a number of seconds, got {start!r}"
            reading.add_problem("row", f"{table}:{row.line}", message)
        else:
            found.setdefault((video, seconds), (row.line, []))[1].append(text)
    return found


def _audiocaps_tables(config: PrepareAudioCapsConfig) -> Iterator[tuple[Path, str | None]]:
    if not config.source.is_dir():
        yield config.source, config.split
        return
    for name, split in AUDIOCAPS_SPLITS.items():
        if (config.source / name).is_file():
            yield config.source / name, split
    _check_folder(config.source, AUDIOCAPS_SPLITS, config.split)


def audiocaps_names(youtube_id: str, start: float) -> list[str]:
    """Return the names, without suffix, that downloaders give a clip.

    Those with the start come first, as one video can give several clips.

    >>> audiocaps_names("dQw4w9WgXcQ", 30)[:3]
    ['dQw4w9WgXcQ_30', 'YdQw4w9WgXcQ_30', 'dQw4w9WgXcQ_30_40']
    """
    end = start + AUDIOCAPS_SECONDS
    spans = [
        f"_{start:g}",
        f"_{start:g}_{end:g}",
        f"_{start * 1000:.0f}",
        f"_{start * 1000:.0f}_{end * 1000:.0f}",
    ]
    spans += [f"_{start:.{digits}f}_{end:.{digits}f}" for digits in (1, 3)] + [f"_{start:.1f}", ""]
    return [prefix + youtube_id + span for span in spans for prefix in ("", "Y")]


def _check_folder(folder: Path, names: Iterable[str], split: str | None) -> None:
    if split is not None:
        raise ValueError(
            f"split: {folder} is a folder of CSV files that are splits already; leave --split out"
        )
    if not any((folder / name).is_file() for name in names):
        raise FileNotFoundError(f"{folder} has none of {', '.join(names)}; name a CSV file instead")
