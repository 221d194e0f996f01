"""Settings of `ml-clap search`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audio_common.config import Channel, check_decoding

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search an index by text in any language, or by a sound."""

    index: Path
    """Folder made by `ml-clap index`."""
    query: tuple[str, ...] = ()
    """What to look for, in the language `--lang`; several texts are several queries."""
    lang: str = "eng_Latn"
    """Language of the texts, as SONAR's code (fra_Latn) or ISO 639 (fr)."""
    queries: Path | None = None
    """Text file of further queries, one a line (`-`: standard input); `fra_Latn<TAB>un chien aboie` gives a
    line its language."""
    audio: tuple[Path, ...] = ()
    """Sound files to find similar sounds of."""
    channel: Channel | None = None
    """What is made of a sound's channels: `mean`, `first` or `loudest` (default: as the index was made)."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    top_k: int = 10
    """Hits per query."""
    model: str | None = None
    """The model, if it is no longer where it was when the index was made."""
    text_tower: Path | None = None
    """Answer texts by this small tower (`distill`, `project`, `export`) made for the index's model, which is
    then loaded only for queries by sound."""
    all_windows: bool = False
    """List every window of a file that scores high; else only its best one."""
    engine: Literal["numpy", "faiss", "auto"] = "numpy"
    """`numpy` is exact; `faiss` is approximate above 200,000 vectors; `auto` is the faster one."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    json: Path | None = None
    """Also write the hits to this file; `-`: to standard output."""

    def __post_init__(self) -> None:
        if not (self.query or self.queries or self.audio):
            raise ValueError("query: nothing to search for; give a text, --audio FILE or --queries FILE")
        if not all(text.strip() for text in self.query):
            raise ValueError("query: an empty text finds nothing; write what is to be heard")
        check_at_least(self, 1, "top_k")
        check_decoding(self.decode_seconds, self.decode_megabytes)
