"""When in a hit its sound is like the query: every 160 ms, from CED's tokens.

A hit's score is the cosine of one vector for the whole window. Here each time column of tokens goes through
the same audio head by itself. What comes out shows where in the window a score comes from; the head has seen
only means over clips in training, so the numbers are compared within one hit, and are no scores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_clap.figures import BLACK, in_style, save_figure
from ml_clap.files import write_json
from ml_clap.search.audio_index import Hit
from ml_clap.search.spectrogram import pitch_ticks, spectrogram

if TYPE_CHECKING:
    from audio_common.config import Channel
    from audio_common.workers import DecodePool
    from matplotlib.figure import Figure
    from torch import Tensor

    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.search.answers import SearchResult

logger = logging.getLogger(__name__)

CONTEXT_SECONDS = 5.0
"""Sound shown before and after a hit."""


class ExplainError(ValueError):
    """A model that does not tell one moment of a sound from another."""


@dataclass(frozen=True)
class Heard:
    """The sound of a hit, with some of what is around it."""

    waveform: np.ndarray
    """(samples,) float32."""
    rate: int
    """Hz."""
    first: float
    """At which second of the file it begins."""

    @property
    def last(self) -> float:
        """At which second of the file it ends."""
        return self.first + len(self.waveform) / self.rate

    def window(self, start: float, end: float) -> np.ndarray:
        """Return the samples from one second of the file to another."""
        first, stop = (round((seconds - self.first) * self.rate) for seconds in (start, end))
        return self.waveform[max(first, 0) : stop]


@dataclass(frozen=True)
class Explanation:
    """How like the query each moment of a hit is."""

    times: np.ndarray
    """Seconds from the file's beginning, (moments,): the middle of each 160 ms."""
    similarity: np.ndarray
    """Cosine with the query, (moments,)."""

    @property
    def best_time(self) -> float:
        """Return the moment that is most like the query."""
        return float(self.times[self.similarity.argmax()])


def hear(hit: Hit, model: DualEncoder, channel: Channel, pool: DecodePool | None = None) -> Heard:
    """Decode a hit and what is around it.

    Raises:
        AudioError: the file is not there any more, or cannot be read.
    """
    from audio_common import audio

    first = max(0.0, hit.start - CONTEXT_SECONDS)
    duration = hit.end + CONTEXT_SECONDS - first
    waveform = (pool or audio).load_audio(
        hit.file, sample_rate=model.sample_rate, offset=first, duration=duration, channel=channel
    )
    return Heard(waveform.numpy(), model.sample_rate, first)


def columns_of(model: DualEncoder) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return what embeds every 160 ms of a sound.

    Raises:
        ExplainError: the model has no such thing.
    """
    embed: Any = getattr(model, "embed_columns", None)
    if embed is None:
        raise ExplainError(
            f"--explain needs a model with CED as its audio encoder, whose tokens stand for 160 ms each; "
            f"{model.kind} gives one vector for a whole sound: search without it"
        )
    return embed  # type: ignore[no-any-return]


def explain(model: DualEncoder, query: np.ndarray, hit: Hit, heard: Heard) -> Explanation:
    """Compare each moment of a hit with the query's vector (dim,).

    Raises:
        ExplainError: the model cannot.
    """
    import torch

    with torch.inference_mode():
        waveform = torch.from_numpy(heard.window(hit.start, hit.end).copy())
        vectors, times = columns_of(model)(waveform)
        similarity = vectors.float().cpu().numpy() @ query
    return Explanation(hit.start + times.cpu().numpy().astype(float), similarity)


def write_explanations(
    folder: Path,
    model: DualEncoder,
    vectors: np.ndarray,
    results: Sequence[SearchResult],
    channel: Channel,
    pool: DecodePool | None = None,
) -> None:
    """Write a picture `QUERY-HIT.png` of each hit, and `explain.json` with the numbers.

    Args:
        folder: made if missing.
        model: with CED.
        vectors: of the queries, (queries, dim).
        results: of the search, in the same order.
        channel: what is made of several channels.
        pool: processes that decode.
    """
    from audio_common.reader import AudioError

    records = []
    for number, (result, vector) in enumerate(zip(results, vectors, strict=True), start=1):
        for place, hit in enumerate(result.hits, start=1):
            try:
                heard = hear(hit, model, channel, pool)
            except AudioError as e:
                logger.warning("%s; this hit is not explained", e)
                continue
            found = explain(model, vector, hit, heard)
            name = f"{number:02d}-{place:02d}.png"
            save_figure(plot_explanation(str(result.query), hit, heard, found), folder / name)
            records.append(
                {
                    "query": str(result.query),
                    "file": hit.file,
                    "start": hit.start,
                    "end": hit.end,
                    "score": hit.score,
                    "picture": name,
                    "best_time": found.best_time,
                    "times": [round(value, 3) for value in found.times.tolist()],
                    "similarity": found.similarity.tolist(),
                }
            )
    write_json(folder / "explain.json", {"step_seconds": 0.16, "hits": records})


@in_style()
def plot_explanation(query: str, hit: Hit, heard: Heard, found: Explanation) -> Figure:
    """Draw a hit's spectrogram, and below it how like the query each moment is."""
    from matplotlib.figure import Figure

    from ml_clap.output import printable

    figure = Figure(figsize=(8, 4))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    window = heard.window(hit.start, hit.end)
    above.imshow(
        spectrogram(window, heard.rate), extent=(hit.start, hit.end, 0, 1), aspect="auto", cmap="magma"
    )
    above.set_yticks(*pitch_ticks(heard.rate))
    above.set_ylabel("kHz (mel scale)")
    above.grid(visible=False)
    above.set_title(printable(f"{query}\n{hit.file.name}, score {hit.score:.3f}", lines=True), fontsize=9)
    below.fill_between(found.times, found.similarity.min(), found.similarity, step="mid", alpha=0.25)
    below.step(found.times, found.similarity, where="mid", color="C0")
    best = f"most alike at {found.best_time:.1f} s"
    below.axvline(found.best_time, linestyle=":", color=BLACK, label=best)
    below.legend(loc="lower right")
    below.set(xlim=(hit.start, hit.end), ylabel="cosine", xlabel="seconds of the file")
    return figure
