"""Multilingual audio-text retrieval: train, evaluate and search (ML-CLAP, arXiv 2406.07012).

    from ml_clap import Retriever

    retriever = Retriever.from_pretrained("runs/clotho")
    retriever.similarity(["un chien aboie"], ["dog.wav", "rain.wav"], lang="fra_Latn")

What is named here is imported when it is first used: `import ml_clap` alone is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audio_common import torchaudio_guard

torchaudio_guard.install()

if TYPE_CHECKING:
    from audio_common.audio import AudioError

    from ml_clap.data.manifest import Clip, ManifestError, read_manifest, write_manifest
    from ml_clap.models.ml_clap import MLCLAP
    from ml_clap.search.audio_index import AudioIndex, Hit
    from ml_clap.search.index_report import IndexReport
    from ml_clap.search.retriever import Retriever, SearchResult
    from ml_clap.search.store import AudioIndexError
    from ml_clap.trainers.processes import TrainingError

__all__ = [
    "MLCLAP",
    "AudioError",
    "AudioIndex",
    "AudioIndexError",
    "Clip",
    "Hit",
    "IndexReport",
    "ManifestError",
    "Retriever",
    "SearchResult",
    "TrainingError",
    "read_manifest",
    "write_manifest",
]
_HOMES = {
    "MLCLAP": "ml_clap.models.ml_clap",
    "AudioError": "audio_common.audio",
    "AudioIndex": "ml_clap.search.audio_index",
    "AudioIndexError": "ml_clap.search.store",
    "Clip": "ml_clap.data.manifest",
    "Hit": "ml_clap.search.audio_index",
    "IndexReport": "ml_clap.search.index_report",
    "ManifestError": "ml_clap.data.manifest",
    "Retriever": "ml_clap.search.retriever",
    "SearchResult": "ml_clap.search.retriever",
    "TrainingError": "ml_clap.trainers.processes",
    "read_manifest": "ml_clap.data.manifest",
    "write_manifest": "ml_clap.data.manifest",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
