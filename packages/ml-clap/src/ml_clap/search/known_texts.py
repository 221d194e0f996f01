"""Texts embedded without torch, where that was found equal before: a search starts in one second, not in ten.

Importing torch and transformers takes longer than all the rest of a search by text. So when a model, or a
text tower, was loaded in full, its texts are embedded once more by NumPy (`ml_clap.models.numpy_tower`), and
where both ways agree, a note of it is left in the index: whose files these are, their sizes and times, and
the model's fingerprint, which takes as long to compute as the weights to read. A search that finds the note,
and the files as they were, goes without torch. With anything else it loads the model as ever, and its errors
are the ones that are told.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.files import to_plain, write_json
from ml_clap.models.licence import say_licence_of_weights
from ml_clap.models.model_folder import CONFIG_FILE, TEXT_FOLDER, WEIGHTS_FILE
from ml_clap.models.numpy_tower import NumpyTower
from ml_clap.models.tower_folder import HEAD_FILE, TOWER_FILE, TowerSettings

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tower import Tower

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
"""Of a note, and of what NumPy computes: another number makes all notes void."""
LARGEST = 1e-5
"""Difference of a number of a vector that the two ways may have."""
PROBES = (
    ("a dog barks", "eng_Latn"),
    ("Rain falls on a tin roof while a bell, far away, rings twice; then a door is slammed.", "eng_Latn"),
    ("Un chien aboie à côté de l'église", "fra_Latn"),
    ("犬が吠える。", "jpn_Jpan"),
    ("دق", "arb_Arab"),
    ("1 2 3 !?", "eng_Latn"),
    ("wind " * 200, "eng_Latn"),
)
"""Texts that both ways embed, with their languages: short and cut, of several scripts."""
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, TOWER_FILE, HEAD_FILE)
LIBRARIES = ("numpy", "tokenizers", "sentencepiece")


def open_known(index: Path, source: str | Path, fingerprint: str) -> NumpyTower | None:
    """Return what embeds a model's or a tower's texts without torch; None where no note allows it.

    Args:
        index: The index's folder.
        source: The folder of the model or the tower.
        fingerprint: Of the index's model, which the note must be of.
    """
    folder = Path(source)
    note = _read_note(index, folder, fingerprint)
    if note is None:
        return None
    try:
        tower = NumpyTower(folder, TowerSettings(**note["settings"]))
    except (OSError, ValueError, TypeError) as e:  # of another version
        logger.debug("texts need torch: %s", e)
        return None
    if note.get("licence"):
        say_licence_of_weights(f"{source} ({note.get('kind')})", str(note["licence"]))
    return tower


def note_model(index: Path, source: str | Path, model: DualEncoder, fingerprint: str) -> bool:
    """Compare both ways for a model that is loaded, and leave a note where they agree.

    Args:
        index: The index's folder.
        source: The folder that the model is of; that of a hub's name is not known, and nothing is noted.
        model: In evaluation mode.
        fingerprint: The model's.

    Returns:
        Whether there is a note now.
    """
    from ml_clap.models.ml_clap import MLCLAP
    from ml_clap.models.text_tower import TextTower

    if not isinstance(model, MLCLAP) or not Path(source).is_dir():
        return False
    tower = TextTower.of_model(model, str(source), fingerprint)
    return note_tower(index, source, tower, {"kind": model.kind, "licence": model.licence})


def note_tower(index: Path, source: str | Path, tower: Tower, more: dict[str, str] | None = None) -> bool:
    """Compare both ways for a tower in torch, and leave a note where they agree; see `note_model`.

    Args:
        index: The index's folder.
        source: The tower's folder.
        tower: What was loaded from it.
        more: What else the note says.
    """
    from ml_clap.models.text_tower import TextTower

    folder = Path(source)
    if not isinstance(tower, TextTower) or not (folder / TEXT_FOLDER / CONFIG_FILE).is_file():
        return False
    if _read_note(index, folder, tower.settings.fingerprint) is not None:
        return True
    tokenizer = tower.text_encoder.tokenizer
    settings = replace(
        tower.settings, pad_id=tokenizer.pad_id, max_text_tokens=tokenizer.max_tokens, scores=None
    )
    try:
        state = _state(folder)
        difference = compare(tower, NumpyTower(folder, settings))
        if not difference <= LARGEST:
            logger.debug("%s: NumPy's vectors of texts differ by %g", folder, difference)
            return False
        note = {"of": state, "settings": to_plain(settings), **(more or {})}
        write_json(_place(index, folder), note)
    except (OSError, ValueError) as e:
        # An encoder that is not known here, weights in float16, an index that cannot be written.
        logger.debug("%s: texts will need torch: %s", folder, e)
        return False
    logger.info(
        "from the next search on texts are embedded without torch: %s (NumPy's vectors differ by %.0e)",
        folder,
        difference,
    )
    return True


def compare(one: Tower, other: Tower) -> float:
    """Return the largest difference of a number in two towers' vectors of the probes that they can read."""
    known = getattr(one.prepare_text.tokenizer, "languages", None)  # type: ignore[attr-defined]
    probes = [
        (text, language if known is None or language in known else known[0]) for text, language in PROBES
    ]
    texts, languages = [text for text, _ in probes], [language for _, language in probes]
    return float(np.abs(one.encode(texts, languages) - other.encode(texts, languages)).max())


def _read_note(index: Path, folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return an index's note of a folder, if it is of the files as they are and of this model."""
    try:
        note = read_object(_place(index, folder))
        if note.get("of") == _state(folder) and note.get("settings", {}).get("fingerprint") == fingerprint:
            return note
    except (OSError, ValueError) as e:  # none, or one that is damaged
        logger.debug("texts need torch: %s", e)
        return None
    logger.debug("%s has changed since its texts were compared", folder)
    return None


def _place(index: Path, folder: Path) -> Path:
    name = blake2b(str(folder.absolute()).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return index / f"texts-{name}.json"


def _state(folder: Path) -> dict[str, Any]:
    """Return what a note is of: the files by size and times, and what computes with them.

    The time of the last change of a file's data or attributes cannot be set: another file with the size and
    date of the former one has another.
    """
    files = [path for name in MODEL_FILES if (path := folder / name).is_file()]
    files += sorted(path for path in (folder / TEXT_FOLDER).iterdir() if path.is_file())
    return {
        "format_version": FORMAT_VERSION,
        "libraries": {name: version(name) for name in LIBRARIES},
        "folder": str(folder.absolute()),
        "files": {
            str(path.relative_to(folder)): {
                "size": status.st_size,
                "mtime_ns": status.st_mtime_ns,
                "ctime_ns": status.st_ctime_ns,
            }
            for path in files
            for status in (path.stat(),)
        },
    }
