"""Encoded prompts: each question decoded, featurized and, where nothing trains it, encoded once.

What is computed stays in memory, the least recently used is dropped first. Within a step every pass
(rollouts, old, reference and policy) finds a question here; with a frozen encoder later epochs do too.
Chats are laid out by `r1_aqa.models.chat`, audio is read by `r1_aqa.data.sounds`.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import audio_common
import numpy as np
import torch
from torch import Tensor

from r1_aqa.config.model import PromptStyle
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.asked import AskedQuestions
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.chat import stack_inputs
from r1_aqa.models.families import FAMILIES
from r1_aqa.models.log_probs import Prompts
from r1_aqa.models.qwen2_audio import can_be_cut, cut_silence, reading
from r1_aqa.models.template import PromptTemplate

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

AUDIO_TOKENS = 25
"""Tokens of a second of sound in Qwen2-Audio; other families take about as many, or half."""


class LRUCache(OrderedDict[Hashable, Value], Generic[Value]):
    """A dictionary of limited bytes, which drops the least recently used values."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes, self.bytes = max_bytes, 0
        self._sizes: dict[Hashable, int] = {}

    def __getitem__(self, key: Hashable) -> Value:
        self.move_to_end(key)
        return super().__getitem__(key)

    def keep(self, key: Hashable, value: Value, size: int) -> None:
        """Add a value of `size` bytes, in the place of an older one; what is too big alone is not kept."""
        # Counted twice, a value that is kept again would leave less and less room for others.
        self.bytes += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        self[key] = value
        self.move_to_end(key)
        while self.bytes > self.max_bytes and self:
            oldest = next(iter(self))
            self.drop(oldest)

    def drop(self, key: Hashable) -> None:
        """Take a value out, if it is there."""
        if self.pop(key, None) is not None:
            self.bytes -= self._sizes.pop(key)


def compact(tensor: Tensor) -> Tensor:
    """Return the tensor, copied where it is a part of a larger one, which would be kept with it."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


class EncodedPrompts(AskedQuestions):
    """Questions as tensors, by their row; `texts` are their formatted chats.

    With a frozen Qwen2-Audio the encoder's output for a clip is shared by all questions about it; other
    families mix text into it or have no single place for it. Sounds are no longer than the encoder takes.

    Attributes:
        frozen: whether embeddings may be kept, since training does not change them.
        one_by_one: whether each prompt is encoded alone. In a batch its numbers differ in their last digits
            with what is beside it, which depends on what was kept: a training that resumes would be another.
        clips: the encoder's output for each clip (frozen Qwen2-Audio).
    """

    def __init__(
        self,
        llm: AudioLLM,
        questions: Sequence[Question],
        *,
        sound: SoundConfig,
        style: PromptStyle,
        template: PromptTemplate | None = None,
        frozen: bool,
        cache_bytes: int,
        one_by_one: bool = False,
        silent: bool = False,
        clips: LRUCache[Tensor] | None = None,
        given: Mapping[Path, np.ndarray] | None = None,
        decoder: Any = audio_common,
    ) -> None:
        self.llm, self.frozen, self.one_by_one = llm, frozen, one_by_one
        super().__init__(
            questions,
            # The family's processor would drop what is longer without a word.
            sound=sound.within(llm.max_seconds),
            write=lambda question: llm.format_question(question, style, template),
            silent=silent,
            given=given,
            decoder=decoder,
        )
        too_long = {row: llm.why_too_long(text) for row, text in enumerate(self.texts)}
        self.sounds.unaskable |= {row: why for row, why in too_long.items() if why}
        self._said_beyond: set[int] = set()
        self._text_tokens: dict[int, int] = {}
        self._inputs: LRUCache[dict[str, Tensor]] = LRUCache(cache_bytes // 2)
        self._embeddings: LRUCache[Tensor] = LRUCache(cache_bytes // 4)
        self.clips: LRUCache[Tensor] = LRUCache(cache_bytes // 4) if clips is None else clips
        self._reuses_clips = frozen and llm.family is FAMILIES["qwen2_audio"]

    def input_ids(self, row: int) -> list[int]:
        """Return the ids of a prompt, with as many audio tokens as its audio becomes."""
        if row in self._inputs or not self._knows_clips(row):
            return self._encode(row)["input_ids"][0].tolist()
        # Its sounds are neither read nor turned into features for the sake of their number of tokens.
        counts = iter([len(self.clips[clip]) for clip in self._clips(row)])
        ids = self.llm.tokenizer(self.texts[row])["input_ids"]
        return [
            one for own in ids for one in ([own] * next(counts) if own == self.llm.audio_token_id else [own])
        ]

    def inputs(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the processor's tensors of some rows, padded on the left."""
        return stack_inputs([self._encode(row) for row in rows], self.llm.tokenizer.pad_token_id)

    def distinct(
        self, rows: Sequence[int], device: torch.device, *, as_features: bool = False
    ) -> tuple[Prompts, Tensor]:
        """Return the distinct prompts of some rows, and which of them each row has, `(rows,)` int64.

        Args:
            rows: their numbers.
            device: where to put the tensors.
            as_features: give no embeddings, even where nothing trains the encoder: its weights are in parts.
        """
        distinct = list(dict.fromkeys(rows))
        index = torch.tensor([distinct.index(row) for row in rows], device=device)
        if self.frozen and not as_features:
            return Prompts(embeddings=[value.to(device) for value in self.embeddings(distinct)]), index
        inputs = {name: value.to(device) for name, value in self.inputs(distinct).items()}
        return Prompts(inputs=inputs), index

    @torch.no_grad()
    def embeddings(self, rows: Sequence[int]) -> list[Tensor]:
        """Return what the language model is given for each row, `(length, width)`.

        What is new is encoded in one batch, or `one_by_one`.

        Raises:
            AudioError: a row's audio cannot be read.
        """
        missing = [row for row in dict.fromkeys(rows) if row not in self._embeddings]
        # Of several new questions about a clip the first goes through the encoder for all of them.
        first = {clip: row for row in reversed(missing) for clip in self._clips(row)}
        wanted = [row for row in missing if self._needs_encoder(row, first)]
        batches = [[row] for row in wanted] if self.one_by_one else [wanted]
        new = {row: value for batch in batches for row, value in self._encode_batch(batch).items()}
        for row in missing:
            if row not in new:
                new[row] = self._beside(
                    row, [self._encoded(clip, first[clip], new) for clip in self._clips(row)]
                )
        # Read before anything is kept: keeping may drop what a small cache holds.
        found = [new[row] if row in new else self._embeddings[row] for row in rows]
        for row, value in new.items():
            if self.frozen:
                self._embeddings.keep(row, value, value.nbytes)
        return found

    def length(self, row: int) -> float:
        """Return about how many tokens a prompt takes: with a short sound most of them are its text's."""
        if row not in self._text_tokens:
            self._text_tokens[row] = len(self.llm.tokenizer(self.texts[row])["input_ids"])
        return self._text_tokens[row] + AUDIO_TOKENS * self.sounds.seconds(row)

    def needs_sound(self, row: int) -> bool:
        """Return whether encoding a row will decode its audio."""
        known = row in self._inputs or row in self._embeddings
        return not known and not self._knows_clips(row)

    def is_readable(self, row: int) -> bool:
        """Return whether a row can be encoded; if its audio is needed for that, it is then decoded."""
        if row in self.sounds.unaskable:
            self.sounds.report(row)
            return False
        return not self.needs_sound(row) or self.sounds.is_readable(row)

    def readable_row(self, row: int) -> int:
        """Return the row itself, or the next one that can be asked and whose audio can be read.

        Raises:
            ValueError: there is none.
        """
        count = len(self.questions)
        for candidate in range(row, row + count):
            if self.is_readable(candidate % count):
                return candidate % count
        raise ValueError(f"none of {count} questions can be asked; the first: {self.sounds.why_not(0)}")

    def held_bytes(self) -> int:
        """Return the bytes of what is kept: at most `cache_bytes`, whatever the number of steps."""
        return self._inputs.bytes + self._embeddings.bytes + self.clips.bytes

    def forget(self, rows: Sequence[int], *, keep_clips: bool = False) -> None:
        """Drop what is kept of rows that will not be asked about again.

        Args:
            rows: their numbers.
            keep_clips: keep the encoder's output for their clips; else it goes with the last row about it.
        """
        for row in rows:
            self._inputs.drop(row)
            self._embeddings.drop(row)
            for clip in self._clips(row):
                self._waiting[clip] -= 1
                if self._waiting[clip] <= 0 and not keep_clips:
                    self.clips.drop(clip)

    @cached_property
    def _waiting(self) -> Counter[Hashable]:
        """Count the questions about each clip that are still to be asked."""
        return Counter(clip for row in range(len(self.texts)) for clip in self._clips(row))

    def _knows_clips(self, row: int) -> bool:
        return self._reuses_clips and all(clip in self.clips for clip in self._clips(row))

    def _needs_encoder(self, row: int, first: dict[Hashable, int]) -> bool:
        new = any(clip not in self.clips and first[clip] == row for clip in self._clips(row))
        return not self._reuses_clips or new

    def _encode_batch(self, rows: Sequence[int]) -> dict[int, Tensor]:
        if not rows:
            return {}
        inputs = {name: value.to(self.llm.device) for name, value in self.inputs(rows).items()}
        merged, mask = self._embed(inputs), inputs["attention_mask"].bool()
        # Copies without padding: a view would keep the whole batch in memory.
        found = {row: merged[i, mask[i]].clone() for i, row in enumerate(rows)}
        for row in rows if self._reuses_clips else ():
            for clip, sound in zip(self._clips(row), self._sounds_in(row, found[row]), strict=True):
                own = compact(sound)
                self.clips.keep(clip, own, own.nbytes)
        return found

    def _embed(self, inputs: dict[str, Tensor]) -> Tensor:
        # In evaluation mode: without dropout, and without the random numbers that an encoder in training
        # draws, so that a training with a warm cache is the same training.
        training = self.llm.model.training
        self.llm.model.eval()
        if self._reuses_clips and can_be_cut(self.llm.model):
            inputs = cut_silence(inputs)
            with reading(self.llm.model, inputs["input_features"].shape[-1]):
                merged = self.llm.embed_prompts(inputs)
        else:
            merged = self.llm.embed_prompts(inputs)
        self.llm.model.train(training)
        return merged

    def _clips(self, row: int) -> list[Hashable]:
        return [(clip, self.sounds.silent) for clip in self.sounds.clips(row)]

    def _encoded(self, clip: Hashable, row: int, new: dict[int, Tensor]) -> Tensor:
        """Return what the encoder made of a clip: kept, or just now for a row that has it."""
        if clip in self.clips:
            return self.clips[clip]
        return self._sounds_in(row, new[row])[self._clips(row).index(clip)]

    def _sounds_in(self, row: int, embeddings: Tensor) -> list[Tensor]:
        """Return the parts of a prompt's embeddings `(length, width)` that are its sounds, in their order."""
        ids = self._encode(row)["input_ids"][0].to(self.llm.device)
        places = (ids == self.llm.audio_token_id).nonzero()[:, 0]
        # Between the tokens of two sounds there is always another one.
        ends = (places.diff() > 1).nonzero()[:, 0] + 1
        return list(embeddings[places].tensor_split(ends.tolist()))

    def _beside(self, row: int, sounds: Sequence[Tensor]) -> Tensor:
        """Return the embeddings of a prompt about clips that were encoded for other questions."""
        ids = self.llm.tokenizer(self.texts[row], return_tensors="pt")["input_ids"][0].to(self.llm.device)
        # Without its audio the text holds one audio token a sound, which the processor would multiply.
        places = (ids == self.llm.audio_token_id).nonzero()[:, 0].tolist()
        self._say_if_beyond(row, len(ids) + sum(map(len, sounds)) - len(sounds))
        text, parts, start = self.llm.embed(ids), list[Tensor](), 0
        for place, sound in zip(places, sounds, strict=True):
            parts += [text[start:place], sound.to(text)]
            start = place + 1
        return torch.cat([*parts, text[start:]])

    def _say_if_beyond(self, row: int, length: int) -> None:
        # Nothing is cut, but positions that a model never saw make poor answers.
        most = self.llm.max_tokens
        if most is not None and length > most and row not in self._said_beyond:
            self._said_beyond.add(row)
            name = self.questions[row].id
            logger.warning(
                "question %s has %d tokens, its sound included; the model was made for %d", name, length, most
            )

    def _encode(self, row: int) -> dict[str, Tensor]:
        if row not in self._inputs:
            made = self.llm.encode([self.texts[row]], self.sounds.take([row]))
            encoded = {name: compact(value) for name, value in made.items()}
            self._say_if_beyond(row, encoded["input_ids"].shape[1])
            self._inputs.keep(row, encoded, sum(value.nbytes for value in encoded.values()))
            return encoded
        return self._inputs[row]
