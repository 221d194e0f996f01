"""Texts to learn from without sounds: the captions of manifests, and lines of text files.

A manifest's captions of one clip, in whatever languages, are one group: they say the same, so they are held
out together. Of a text file each line is a group.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from audio_common.strict_json import is_writable_text

from ml_clap.data.languages import resolve
from ml_clap.data.manifest import ManifestError, read_clips
from ml_clap.files import read_bytes


@dataclass(frozen=True)
class Text:
    """A text, its language, and what it belongs to."""

    text: str
    language: str
    """FLORES code."""
    group: str
    """The clip's id in its manifest, or the text itself."""
    place: int = 0
    """Place among the clip's captions in this language."""


def read_texts(
    files: Sequence[Path], *, splits: Sequence[str] = (), language: str = "eng_Latn"
) -> list[Text]:
    """Return the texts of manifests (.jsonl) and text files: those of manifests first, a clip's together.

    Args:
        files: Manifests, and text files of which a line is a text, or a language, a tab and a text.
        splits: Of manifests, only these splits.
        language: Of what does not name its language.

    Raises:
        ManifestError: A line cannot be used; names it.
        ValueError: A split is in no manifest, or there is no text.
    """
    default = resolve(language)
    texts = []
    manifests = [path for path in files if path.suffix == ".jsonl"]
    for clip in read_clips(manifests, splits, language=default):
        for code, captions in clip.captions.items():
            texts += [Text(text, code, clip.id, place) for place, text in enumerate(captions)]
    for path in files:
        if path.suffix != ".jsonl":
            texts += _read_lines(path, default)
    if not texts:
        raise ValueError(f"{', '.join(map(str, files))}: no text to learn from")
    return texts


def distinct(texts: Sequence[Text]) -> list[Text]:
    """Return each text of a language once, at its first place."""
    first: dict[tuple[str, str], Text] = {}
    for text in texts:
        first.setdefault((text.text, text.language), text)
    return list(first.values())


def hold_out(texts: Sequence[Text], share: float, seed: int) -> tuple[list[Text], list[Text]]:
    """Divide texts by their groups into those that are learnt from and those that are held out.

    A group's side follows from its name and the seed alone, whatever else there is. A text that is held out
    is learnt from nowhere, even where another clip has the same words.

    Returns:
        The texts to learn from, and those held out.

    Raises:
        ValueError: One side would have none.
    """
    limit = share * 2.0**64
    held = [text for text in texts if _hash(f"{seed} {text.group}") < limit]
    words = {text.text for text in held}
    kept = [text for text in texts if text.text not in words]
    if not held or not kept:
        raise ValueError(
            f"validation_share: {share} of {len(texts)} texts leaves none on one side: give more texts, "
            "another share, or files of their own to validate on"
        )
    return kept, held


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "replace"), digest_size=8).digest())


def _read_lines(path: Path, default: str) -> list[Text]:
    texts = []
    for number, line in enumerate(read_bytes(path).removeprefix(BOM_UTF8).splitlines(), 1):
        where = f"{path}:{number}"
        try:
            before, tab, after = line.decode().partition("\t")
            words = (after if tab else before).strip()
            language = resolve(before.strip()) if tab else default
        except ValueError as e:
            raise ManifestError(f"{where}: {e}") from e
        if tab and not words:
            raise ManifestError(f"{where}: a language and no text")
        if "\0" in words or not is_writable_text(words):
            raise ManifestError(f"{where}: not text; expected one text a line")
        if words:
            texts.append(Text(words, language, words))
    return texts
