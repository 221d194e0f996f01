"""Times among the acoustic tokens, and events with their times as what the language model is to write.

A sound whose events are asked for stands in the prompt with the time before each window and at its end:

    [0.0] token [0.7] token [1.4] token [2.0]

and what is written of it has its times in the same form: "[0.0-1.5] a dog barks, [1.2-2.0] rain falls".
Markers are text, tokens that the decoder has anyway: no weights are added, and the markers tell the decoder
what it is asked for. Without them a prompt is that of a plain caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from aac_llm.data.timestamps import DECIMALS, TimedEvent, write_timed
from aac_llm.models.bridge import AcousticTokens
from aac_llm.models.prompt import IGNORED, encode_text, normalize_caption

_NO_BRACKETS = str.maketrans("[]", "()")


class NotTimedError(ValueError):
    """Times are asked of a captioner that was not trained on them."""


@dataclass(frozen=True)
class TimeMarkers:
    """How a sound's windows are marked."""

    tokenizer: Any
    """The decoder's."""
    window_seconds: float
    """From the beginning of a window to that of the next."""
    tokens_per_window: int
    """Acoustic tokens between two markers."""

    def tokens(self, seconds: float) -> list[int]:
        """Return the tokens of the marker of a time."""
        return encode_text(self.tokenizer, f"[{seconds:.{DECIMALS}f}]")

    def count(self, num_acoustic: int, seconds: float) -> int:
        """Return the most tokens that the markers of so many acoustic tokens take."""
        windows = -(-num_acoustic // self.tokens_per_window)
        return (windows + 1) * len(self.tokens(seconds))

    def interleave(self, embed: nn.Module, acoustic: AcousticTokens) -> list[Tensor]:
        """Return each sound `(length, width)`, in the decoder's number format, with its markers' embeddings.

        Raises:
            ValueError: the sounds' lengths are not known.
        """
        if acoustic.seconds is None:
            raise ValueError("expected acoustic tokens with the seconds of each sound, as encode_audio gives")
        counts, lengths = acoustic.counts(), acoustic.seconds.tolist()
        starts = [
            self.tokens(place * self.window_seconds)
            for place in range(-(-max(counts, default=0) // self.tokens_per_window))
        ]
        ends = [self.tokens(seconds) for seconds in lengths]
        sizes = [len(tokens) for tokens in (*starts, *ends)]
        flat = [token for tokens in (*starts, *ends) for token in tokens]
        # One look-up for all markers of the batch.
        marks = embed(torch.tensor(flat, dtype=torch.long, device=acoustic.embeddings.device)).split(sizes)
        sounds = acoustic.embeddings.to(marks[0].dtype)
        rows = []
        for row, count in enumerate(counts):
            windows = sounds[row, :count].split(self.tokens_per_window)
            parts = [part for pair in zip(marks, windows, strict=False) for part in pair]
            rows.append(torch.cat([*parts, marks[len(starts) + row]]))
        return rows


def tokenize_timed(
    tokenizer: Any,
    events: Sequence[Sequence[TimedEvent] | None],
    normalization: Literal["reference", "none"],
) -> Tensor:
    """Return labels `(batch, length)` int64: tokens of the events with their times and EOS, then -100.

    Args:
        tokenizer: the decoder's, which has an EOS.
        events: of each sound, perhaps none; None: not known, nothing is to be learned of it.
        normalization: of the events' words.
    """
    rows = []
    for one in events:
        tokens: list[int] = []
        if one is not None:
            # Of no event the end alone.
            tokens = [*encode_text(tokenizer, timed_text(one, normalization)), tokenizer.eos_token_id]
        rows.append(torch.tensor(tokens, dtype=torch.long))
    return pad_sequence(rows, batch_first=True, padding_value=IGNORED)


def timed_text(events: Sequence[TimedEvent], normalization: Literal["reference", "none"]) -> str:
    """Return events as they are learned: words as those of captions, without brackets of their own."""
    plain = []
    for event in events:
        words = normalize_caption(event.text.translate(_NO_BRACKETS), normalization)
        # Words that normalization leaves nothing of stay as they are: an event must have some.
        plain.append(replace(event, text=words or event.text))
    return write_timed(plain)
