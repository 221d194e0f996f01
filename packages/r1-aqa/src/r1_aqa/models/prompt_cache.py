"""The questions of a training as tensors: each decoded, featurised and, if it is frozen, encoded once.

What is computed stays in memory, the least recently used is thrown out first. Within a step every pass
(rollouts, old, reference and policy) finds a question here; with a frozen encoder later epochs do too.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from audio_common import AudioError
from torch import Tensor

from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import load_sound
from r1_aqa.models.audio_llm import FAMILIES, AudioLLM
from r1_aqa.models.log_probs import Prompts, embedding_of
from r1_aqa.models.prompt import PromptStyle, format_prompt
from r1_aqa.models.qwen2_audio import can_be_cut, cut_silence, reading

logger = logging.getLogger(__name__)

Value = TypeVar("Value")


class EncodedPrompts:
    """Encoded questions by their row.

    Attributes:
        questions: row by row.
        texts: what the chat template makes of each.
        decoded: samples that were read ahead; used up by encoding.
        unreadable: sounds that could not be read, and why.
        on_unreadable: called with each question about such a sound, and why, once.
        frozen: whether embeddings may be kept, since training does not change them.
        clips: what the encoder made of each clip, shared by all questions about it (frozen Qwen2-Audio).
    """

    def __init__(
        self,
        llm: AudioLLM,
        questions: Sequence[Question],
        *,
        sound: SoundConfig,
        style: PromptStyle,
        frozen: bool,
        cache_bytes: int,
        silent: bool = False,
        clips: Kept[Tensor] | None = None,
    ) -> None:
        self.llm, self.questions, self.sound, self.frozen = llm, list(questions), sound, frozen
        self.silent = silent
        self.texts = [
            llm.format_chat(format_prompt(q.question, q.choices, style, about_video=q.about_video))
            for q in self.questions
        ]
        self.decoded: dict[Path, np.ndarray] = {}
        self.unreadable: dict[Path, str] = {}
        self.on_unreadable: Callable[[Question, str], object] = lambda question, why: None
        self._left_out: set[int] = set()
        self._inputs: Kept[dict[str, Tensor]] = Kept(cache_bytes // 2)
        self._embeddings: Kept[Tensor] = Kept(cache_bytes // 4)
        self.clips: Kept[Tensor] = Kept(cache_bytes // 4) if clips is None else clips
        self._reuses_clips = frozen and llm.family is FAMILIES["qwen2_audio"]

    def input_ids(self, row: int) -> list[int]:
        """Ids of a prompt, with as many audio tokens as its sound becomes."""
        return self._encode(row)["input_ids"][0].tolist()

    def inputs(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The processor's tensors of some rows, padded on the left."""
        return stack_inputs([self._encode(row) for row in rows], self.llm.tokenizer.pad_token_id)

    def prompts(self, rows: Sequence[int], device: torch.device) -> tuple[Prompts, Tensor]:
        """The distinct prompts of some rows, and for each row which of them is its own, `(rows,)` int64."""
        distinct = list(dict.fromkeys(rows))
        index = torch.tensor([distinct.index(row) for row in rows], device=device)
        if self.frozen:
            return Prompts(embeddings=[each.to(device) for each in self.embeddings(distinct)]), index
        inputs = {name: value.to(device) for name, value in self.inputs(distinct).items()}
        return Prompts(inputs=inputs), index

    @torch.no_grad()
    def embeddings(self, rows: Sequence[int]) -> list[Tensor]:
        """What the language model is given for each row, `(length, width)`, encoded in one batch if new."""
        missing = [row for row in dict.fromkeys(rows) if row not in self._embeddings]
        first = {self._clip(row): row for row in reversed(missing)}
        new = self._encode_batch([row for row in missing if self._needs_encoder(row, first)])
        for row in missing:
            if row not in new:
                clip = self._clip(row)
                sound = self.clips[clip] if clip in self.clips else self._sound_of(first[clip], new)
                new[row] = self._beside(row, sound)
        found = [new[row] if row in new else self._embeddings[row] for row in rows]
        for row, value in new.items():
            if self.frozen:
                self._embeddings.keep(row, value, value.numel() * value.element_size())
        return found

    def decode(self, row: int) -> np.ndarray:
        """The samples of a row's sound; touches nothing, so that a thread may do it ahead.

        Raises:
            AudioError: it cannot be read, or is too long.
        """
        samples = load_sound(self.questions[row].audio, self.sound)
        return np.zeros_like(samples) if self.silent else samples

    def is_readable(self, row: int) -> bool:
        """Whether a row's sound can be read; if it can, its samples are then at hand."""
        audio = self.questions[row].audio
        if audio not in self.unreadable and audio not in self.decoded and self.needs_sound(row):
            try:
                self.decoded[audio] = self.decode(row)
            except (AudioError, OSError) as error:
                self.unreadable[audio] = str(error)
        if audio in self.unreadable and row not in self._left_out:
            self._left_out.add(row)
            logger.warning("question %s is left out: %s", self.questions[row].id, self.unreadable[audio])
            self.on_unreadable(self.questions[row], self.unreadable[audio])
        return audio not in self.unreadable

    def readable_row(self, row: int) -> int:
        """The row itself, or the next one whose sound can be read.

        Raises:
            ValueError: there is none.
        """
        count = len(self.questions)
        for each in range(row, row + count):
            if self.is_readable(each % count):
                return each % count
        first = next(iter(self.unreadable.values()))
        raise ValueError(f"the sound of none of {count} questions can be read; the first: {first}")

    def needs_sound(self, row: int) -> bool:
        """Whether encoding a row will decode its sound."""
        known = row in self._inputs or row in self._embeddings
        return not known and not (self._reuses_clips and self._clip(row) in self.clips)

    def _needs_encoder(self, row: int, first: dict[Hashable, int]) -> bool:
        """Whether a prompt's clip was not encoded for another question, before or in this batch."""
        clip = self._clip(row)
        return not self._reuses_clips or (clip not in self.clips and first[clip] == row)

    def _encode_batch(self, rows: Sequence[int]) -> dict[int, Tensor]:
        """Prompts that go through the encoder."""
        if not rows:
            return {}
        inputs = {name: value.to(self.device) for name, value in self.inputs(rows).items()}
        merged, mask = self._embed(inputs), inputs["attention_mask"].bool()
        found = {row: merged[i, mask[i]].clone() for i, row in enumerate(rows)}
        for row in rows if self._reuses_clips else ():
            sound = self._sound_of(row, found)
            self.clips.keep(self._clip(row), sound, sound.numel() * sound.element_size())
        return found

    def _clip(self, row: int) -> Hashable:
        return self.questions[row].audio, self.silent

    def _sound_of(self, row: int, found: dict[int, Tensor]) -> Tensor:
        """The part of a prompt's embeddings that is its sound."""
        ids = self._encode(row)["input_ids"][0].to(self.device)
        return found[row][ids == self.llm.audio_token_id]

    def _beside(self, row: int, sound: Tensor) -> Tensor:
        """A prompt about a clip that was encoded for another question."""
        ids = self.llm.tokenizer(self.texts[row], return_tensors="pt")["input_ids"][0].to(self.device)
        place = int((ids == self.llm.audio_token_id).nonzero())
        text = embedding_of(self.llm.model)(ids)
        return torch.cat([text[:place], sound.to(text), text[place + 1 :]])

    def _embed(self, inputs: dict[str, Tensor]) -> Tensor:
        """Without dropout, and without the random numbers that an encoder in training draws."""
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

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.llm.model.parameters()).device

    def _encode(self, row: int) -> dict[str, Tensor]:
        if row not in self._inputs:
            samples = self.decoded.pop(self.questions[row].audio, None)
            samples = self.decode(row) if samples is None else samples
            encoded = self.llm.encode([self.texts[row]], [samples])
            size = sum(value.numel() * value.element_size() for value in encoded.values())
            self._inputs.keep(row, encoded, size)
            return encoded
        return self._inputs[row]


class Kept(OrderedDict[Hashable, Value], Generic[Value]):
    """A dictionary of so many bytes, which throws out what was not asked for the longest."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes, self.bytes = max_bytes, 0
        self._sizes: dict[Hashable, int] = {}

    def __getitem__(self, key: Hashable) -> Value:
        self.move_to_end(key)
        return super().__getitem__(key)

    def keep(self, key: Hashable, value: Value, size: int) -> None:
        """Add a value of `size` bytes; one that is too big alone is not kept."""
        self[key] = value
        self._sizes[key] = size
        self.bytes += size
        while self.bytes > self.max_bytes and self:
            oldest = next(iter(self))
            del self[oldest]
            self.bytes -= self._sizes.pop(oldest)


def stack_inputs(encoded: Sequence[dict[str, Tensor]], pad_token_id: int) -> dict[str, Tensor]:
    """One batch of prompts that were encoded alone: text padded on the left, features put together."""
    length = max(each["input_ids"].shape[1] for each in encoded)
    return {
        name: torch.cat(
            [_pad_text(name, each[name], length, pad_token_id) for each in encoded]
            if encoded[0][name].shape == encoded[0]["input_ids"].shape
            else _pad_features([each[name] for each in encoded])
        )
        for name in encoded[0]
    }


def _pad_text(name: str, value: Tensor, length: int, pad_token_id: int) -> Tensor:
    fill: Any = pad_token_id if name == "input_ids" else 0
    return torch.nn.functional.pad(value, (length - value.shape[1], 0), value=fill)


def _pad_features(values: Sequence[Tensor]) -> list[Tensor]:
    """Zeros at the end of every axis but the first, up to the largest."""
    largest = [max(value.shape[axis] for value in values) for axis in range(1, values[0].dim())]
    padded = []
    for value in values:
        widths = [(0, most - have) for most, have in zip(largest, value.shape[1:], strict=True)]
        padded.append(torch.nn.functional.pad(value, [n for pair in reversed(widths) for n in pair]))
    return padded
