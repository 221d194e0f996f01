"""The captions of clips alone, without their sounds, for what learns from text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from audio_common.strict_json import JSONError, is_writable_text, json_lines

from aac_llm.data.manifest import ManifestError, read_manifest
from aac_llm.data.systems import TABLES, read_references
from aac_llm.data.table import read_text
from aac_llm.files import read_bytes

TEST = "test"
"""The split that nothing learns from unless it is named."""


def read_texts(
    paths: Sequence[Path], problems: list[str], *, split: str | None = None
) -> list[tuple[str, ...]]:
    """Read the English captions of clips, each clip's together.

    Args:
        paths: manifests, tables and JSON as `read_references` takes, or `.txt`, a caption a line, which are
            clips of one caption each.
        problems: gets `file:line: reason` of each row that cannot be read.
        split: only clips of this split of manifests; none: all but those of `test`.

    Raises:
        ValueError: a file of another form, or one without captions.
    """
    return [texts for path in paths for texts in _read(path, problems, split)]


def read_scored(path: Path, problems: list[str]) -> list[tuple[str, float]]:
    """Read captions and the probability of an error that another detector gave them.

    Args:
        path: lines of JSON with `caption` and `error_probability`.
        problems: gets `file:line: reason` of each row that cannot be used.

    Raises:
        ManifestError: not one row can be used.
    """
    found: list[tuple[str, float]] = []
    try:
        for number, row in json_lines(read_bytes(path), str(path)):
            if isinstance(row, JSONError):
                problems.append(str(row))
                continue
            caption, value = row.get("caption"), row.get("error_probability")
            if isinstance(caption, str) and caption.strip() and is_probability(value):
                found.append((caption, float(value)))
            else:
                problems.append(
                    f"{path}:{number}: expected a caption (text) and an error_probability (0 to 1), got "
                    f"{caption!r:.80} and {value!r:.20}"
                )
    except JSONError as error:
        raise ManifestError(str(error)) from error
    if not found:
        raise ManifestError(problems[0] if problems else f"{path} has no captions")
    return found


def is_probability(value: Any) -> TypeGuard[float]:
    """Tell whether a value of JSON is a number from 0 to 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _read(path: Path, problems: list[str], split: str | None) -> list[tuple[str, ...]]:
    suffix = path.suffix.lower()
    found: list[tuple[str, ...]]
    if suffix == ".txt":
        found = [(line.strip(),) for line in read_text(path).splitlines() if line.strip()]
    elif suffix in TABLES or suffix == ".json":
        found = [texts for texts in read_references(path, problems).texts.values() if texts]
    else:
        clips = read_manifest(path, split=split, problems=problems)
        found = [clip.captions for clip in clips if split is not None or clip.split != TEST]
    found = [tuple(text for text in texts if is_writable_text(text)) for texts in found]
    if not any(found):
        raise ManifestError(f"{path} has no captions, apart from any of the split test (--split takes those)")
    return [texts for texts in found if texts]
