"""Models of others that metrics use: their sizes are checked before they are loaded.

Metrics import no other room; for the captioner's own models `models/sizes.py` does it.
"""

from __future__ import annotations

from pathlib import Path

from audio_common.checkpoint import check_sizes, safetensors_shapes
from audio_common.strict_json import read_object


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
