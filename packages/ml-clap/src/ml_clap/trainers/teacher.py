"""What a text tower is fitted to: the vectors that a model, or a text encoder, gives to texts.

A large teacher takes hours for many texts, so its vectors are kept in parts as they come: OUT/teacher/.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from audio_common.checkpoint import read_tensors
from audio_common.strict_json import read_object
from safetensors.torch import save_file
from torch import Tensor

from ml_clap.data.texts import Text
from ml_clap.files import write_atomically, write_json
from ml_clap.models.device import choose_device
from ml_clap.models.dual_encoder import DualEncoder
from ml_clap.models.encoding import encode_texts
from ml_clap.models.loading import load_model
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_tower import TextTower, load_encoder_tower
from ml_clap.models.tower_folder import TowerSettings, absolute
from ml_clap.output import Progress
from ml_clap.trainers.processes import TrainingError

logger = logging.getLogger(__name__)

PART = 2048
"""Texts whose vectors are written at once."""
FOLDER = "teacher"


class Teacher(Protocol):
    """What gives the vectors."""

    settings: TowerSettings

    def encode(
        self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn", batch_size: int = 256
    ) -> np.ndarray:
        """Return `(texts, embed_dim)` float32, L2-normalized."""


class ModelTexts:
    """The texts of any model with two towers.

    Args:
        model: The model.
        name: Its folder or hub id.
    """

    def __init__(self, model: DualEncoder, name: str) -> None:
        self._model = model.eval()
        self.settings = TowerSettings(
            kind="model", model=name, fingerprint=model.fingerprint(), embed_dim=model.embed_dim
        )

    def encode(
        self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn", batch_size: int = 256
    ) -> np.ndarray:
        """Return `(texts, embed_dim)` float32, L2-normalized."""
        return encode_texts(self._model, texts, languages, batch_size).numpy()


def load_teacher(
    model: str | None, encoder: str | None = None, *, encoder_prefix: str = "", device: str = "auto"
) -> Teacher:
    """Return what gives a model's text vectors, or a text encoder's; of ML-CLAP no audio encoder stays."""
    if model is None:
        tower = load_encoder_tower(str(encoder), prefix=encoder_prefix, max_tokens=512)
        return tower.to(choose_device(device))
    loaded = load_model(model, device=device)
    name = absolute(model)
    return TextTower.of_model(loaded, name) if isinstance(loaded, MLCLAP) else ModelTexts(loaded, name)


def digest_of(texts: Sequence[Text]) -> str:
    """Return a hash of texts and their languages, in their order."""
    digest = blake2b(digest_size=12)
    for text in texts:
        digest.update(f"{text.language}\t{text.text}\n".encode("utf-8", "replace"))
    return digest.hexdigest()


def teacher_vectors(teacher: Teacher, texts: Sequence[Text], out: Path) -> Tensor:
    """Return the teacher's vectors of texts `(texts, embed_dim)` float32, those in `out` read, others added.

    Raises:
        TrainingError: `out` holds vectors of other texts or of another teacher, or one is not finite.
    """
    folder = out / FOLDER
    about = {"fingerprint": teacher.settings.fingerprint, "texts": digest_of(texts), "part": PART}
    notes = folder / "vectors.json"
    if notes.is_file() and read_object(notes) != about:
        raise TrainingError(
            f"{folder} holds vectors of other texts or of another teacher: choose another --out, or remove it"
        )
    write_json(notes, about)
    parts = []
    with Progress("Encoding texts by the teacher", len(texts)) as shown:
        for number, first in enumerate(range(0, len(texts), PART)):
            batch = texts[first : first + PART]
            path = folder / f"vectors-{number:06d}.safetensors"
            if not path.is_file():
                _write_part(path, teacher, batch)
            parts.append(read_tensors(path)["vectors"])
            shown.advance(len(batch))
    return torch.cat(parts)


def _write_part(path: Path, teacher: Teacher, texts: Sequence[Text]) -> None:
    found = teacher.encode([text.text for text in texts], [text.language for text in texts], 64)
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise TrainingError(f"the teacher's vector of {texts[bad[0]].text[:60]!r} is not finite")
    vectors = torch.from_numpy(found)
    write_atomically(path, lambda place: save_file({"vectors": vectors}, place))


def centred_cosines(vectors: Tensor, targets: Tensor, centre: Tensor) -> Tensor:
    """Return the cosine of each row with its target after `centre` `(dim,)` is taken off both: `(rows,)`.

    Text vectors of one model have much in common (unrelated ones of e5 a cosine of 0.75), so that whoever
    always answers their mean is near to all. Centred, that answer has a cosine of 0.
    """
    return F.cosine_similarity(vectors - centre, targets - centre, dim=1)


def mean_by_language(values: Tensor, codes: Sequence[str]) -> dict[str, float]:
    """Return the mean of values `(texts,)` for each language and of all (`mean`), in percent."""
    means = {
        code: 100.0 * values[[place for place, other in enumerate(codes) if other == code]].mean().item()
        for code in dict.fromkeys(codes)
    }
    return means | {"mean": 100.0 * values.mean().item()}
