"""Sounds of the questions that come next, decoded in a thread while the model learns from these.

A GPU would idle while a disk or a network gives a file and a processor decodes it. What is decoded is what
`QuestionSounds` would decode at its turn, so the training is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from audio_common import AudioError

from r1_aqa.data.sounds import Clip
from r1_aqa.models.prompt_cache import EncodedPrompts


class SoundsAhead:
    """Decodes the sounds of one batch of rows ahead.

    Args:
        prompts: the questions; what they keep encoded is not decoded.
    """

    def __init__(self, prompts: EncodedPrompts) -> None:
        self.prompts = prompts
        self._rows: list[int] = []
        self._begun: dict[Clip, Future[np.ndarray]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="decode")  # its thread begins with the first

    def begin(self, rows: Sequence[int]) -> None:
        """Begin to decode what these rows need; rows that were named last are not begun again."""
        rows = list(dict.fromkeys(rows))
        if rows == self._rows:  # TRL draws the questions of a step once for each of its passes
            return
        self._rows, sounds = rows, self.prompts.sounds
        for row in rows:
            if sounds.why_not(row) is None and self.prompts.needs_sound(row):
                for clip in sounds.clips(row):
                    if clip not in self._begun and clip not in sounds.decoded:
                        self._begun[clip] = self._pool.submit(sounds.decode, clip)

    def take(self, rows: Sequence[int]) -> None:
        """Give the sounds of these rows to the prompts; those that cannot be read are noted there."""
        sounds = self.prompts.sounds
        for row in dict.fromkeys(rows):
            for clip in sounds.clips(row):
                if (future := self._begun.pop(clip, None)) is None:
                    continue
                try:
                    samples = future.result()
                except (AudioError, OSError) as error:
                    sounds.unreadable[clip[0]] = str(error)
                else:
                    if self.prompts.needs_sound(row):  # not encoded meanwhile
                        sounds.decoded[clip] = samples
