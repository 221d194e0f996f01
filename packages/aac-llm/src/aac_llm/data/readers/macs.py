"""MACS: a YAML file with two to five captions of each clip of TAU Urban Acoustic Scenes 2019."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audio_common.files import AudioFolder

from aac_llm.config.prepare import PrepareMACSConfig
from aac_llm.data.manifest import Clip, ManifestError
from aac_llm.data.readers.source import Reading
from aac_llm.data.table import read_text


def read_macs(config: PrepareMACSConfig) -> Reading:
    """Read MACS.yaml: `files: [{filename, annotations: [{sentence, ...}]}]`."""
    files, reading = AudioFolder(config.audio or config.source.parent), Reading()
    for number, entry in enumerate(_entries(config.source)):
        where = f"{config.source}: entry {number}"
        try:
            name = str(entry["filename"])
            captions = tuple(_sentence(annotation["sentence"]) for annotation in entry["annotations"])
            if not captions:
                raise ValueError("there is no annotation")
            audio = files.find(name)
        except (KeyError, TypeError, ValueError) as e:
            message = f"expected filename and annotations with sentence ({type(e).__name__}: {e})"
            reading.add_problem("row", where, message)
        except LookupError as e:
            reading.add_problem("missing", where, e)
        else:
            clip_id = Path(name).stem
            reading.clips.append(
                Clip(id=clip_id, audio=audio, captions=captions, split=config.split, dataset="macs")
            )
    return reading


def _sentence(value: Any) -> str:
    # YAML makes numbers, dates and truth values of bare words; nobody wrote "None" or "True" of a sound.
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a sentence must be a text that is not empty, got {value!r}")
    return value.strip()


def _entries(path: Path) -> list[Any]:
    import yaml

    try:
        # The C loader, where there is one, reads the 1.5 MB in a tenth of the time.
        content = yaml.load(read_text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as e:
        raise ManifestError(f"{path}: not YAML: {' '.join(str(e).split())}") from e
    if not isinstance(content, dict) or not isinstance(content.get("files"), list):
        raise ManifestError(f"{path}:1: expected a mapping with a list `files`, got {type(content).__name__}")
    return content["files"]
