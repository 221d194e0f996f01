"""Models of others that metrics use: the revision in their name, and sizes that are checked before loading.

Metrics import no other room; the captioner's own models have the same in `models/hub.py`, `models/sizes.py`.
"""

from __future__ import annotations

from pathlib import Path

from audio_common.checkpoint import check_sizes, safetensors_shapes

from aac_llm.strict_json import read_object


def split_revision(source: str | Path) -> tuple[str, str | None]:
    """Return a name, and the revision that stands behind its `@`, or None; a folder is meant as it is.

    >>> split_revision("bert-base-uncased@86b5e09")
    ('bert-base-uncased', '86b5e09')
    """
    name, mark, revision = str(source).rpartition("@")
    if not mark or not name or not revision or Path(source).is_dir():
        return str(source), None
    return name, revision


def check_folder(folder: str | Path) -> None:
    """Refuse a folder of a model of transformers whose configuration asks for more than its weights hold.

    Raises:
        ValueError: naming file and setting.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        return  # a hub id, or transformers says what is missing
    files = [file for file in Path(folder).glob("*.safetensors") if file.is_file()]
    shapes = {name: shape for file in files for name, shape in safetensors_shapes(file).items()}
    check_sizes(read_object(path), str(path), shapes or None)
