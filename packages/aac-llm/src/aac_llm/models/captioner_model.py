"""The captioner of LOAE (arXiv:2406.13275): CED, a Q-Former over windows, and a causal language model.

What the language model reads of a clip is BOS, the prompt's left half, the sound, the prompt's right half
and, in training, the caption and EOS; the loss is that of the caption's tokens. Departures from the authors'
code:

- a clip's caption and loss depend on that clip alone: padding of sound, windows and text is masked, and no
  padding stands within a sequence (layout `time_major`; `reference` keeps their encoder's batching);
- sequences are padded on the left in training too, so that all captions end together and only the logits of
  the last positions are computed, for any model and whatever it does after its output layer;
- decoded captions hold no special tokens.

Beyond the paper a captioner may learn events with their times, too: the same acoustic tokens are read a
second time, with time markers among them (see `time_markers.py`), and the loss is that of both texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from aac_llm.config.caption import GenerationConfig
from aac_llm.config.model import ModelConfig
from aac_llm.data.predictions import Candidate
from aac_llm.data.timestamps import TimedEvent
from aac_llm.models.bridge import AcousticTokens, Bridge
from aac_llm.models.decoder import embedding_width
from aac_llm.models.encoder import Encoder, count_encoder_tokens, token_seconds
from aac_llm.models.generation import generate
from aac_llm.models.lora import float32_trainable, prepare_decoder, prepare_encoder, trainable_parameters
from aac_llm.models.pretrained import PretrainedModule
from aac_llm.models.prompt import (
    IGNORED,
    Sequences,
    assemble_sequences,
    tokenize_captions,
    tokenize_prompt,
)
from aac_llm.models.time_markers import NotTimedError, TimeMarkers, tokenize_timed

if TYPE_CHECKING:
    from audio_common.augment import SpecAugment

SAMPLE_RATE = 16_000  # Hz


@dataclass
class CaptionOutput(ModelOutput):
    """What the model gives in training and validation."""

    loss: Tensor | None = None
    """Cross-entropy of the captions' tokens, their mean (or sum over `num_items_in_batch`); where events with
    times are learned, too, theirs is added to the sum."""
    logits: Tensor | None = None
    """`(batch, length, vocabulary)` for each label, in evaluation mode only."""


class CaptionModel(PretrainedModule):
    """Encoder, bridge and decoder; made by `from_config`, `from_pretrained` or `from_reference`.

    Args:
        config: what is trained of each, and the bridge between them.
        encoder: of the configuration's architecture and mode.
        decoder: a causal language model of transformers.
        tokenizer: the decoder's.

    Attributes:
        accepts_loss_kwargs: tells transformers' Trainer that `forward` takes `num_items_in_batch`.
    """

    accepts_loss_kwargs = True

    def __init__(self, config: ModelConfig, *, encoder: Encoder, decoder: Any, tokenizer: Any) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.encoder = encoder
        width = embedding_width(decoder)
        self.bridge = Bridge(
            config.bridge, encoder_dim=config.encoder_dim, decoder_width=width, layout=config.layout
        )
        self.decoder = decoder
        # Adapters are injected here, so a checkpoint is loaded after this, not before.
        prepare_encoder(encoder, config.encoder_strategy, config.lora)
        prepare_decoder(decoder, config.decoder_strategy, config.lora)
        float32_trainable(self)
        self.prompt = tokenize_prompt(tokenizer, config.prompt)
        seconds = config.bridge.window * token_seconds(config)
        self.markers = TimeMarkers(tokenizer, seconds, self.bridge.tokens_per_window)

    @property
    def device(self) -> torch.device:
        """The device that inputs go to."""
        return next(self.bridge.parameters()).device

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that are trained."""
        return trainable_parameters(self)

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Any = None) -> None:
        """Recompute the blocks of encoder and decoder in the backward pass instead of keeping activations."""
        self.encoder.gradient_checkpointing_enable()
        options = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}
        self.decoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations again."""
        self.encoder.gradient_checkpointing_enable(False)
        self.decoder.gradient_checkpointing_disable()

    def token_budget(self, seconds: float, *, timestamps: bool = False) -> int:
        """Return the most embeddings of the language model that a sound of `seconds` takes.

        Args:
            seconds: length of the sound.
            timestamps: with time markers among them.
        """
        count = self.bridge.count_tokens(count_encoder_tokens(round(seconds * SAMPLE_RATE), self.config))
        return count + self.markers.count(count, seconds) if timestamps else count

    def tokenize_captions(self, captions: Sequence[str]) -> Tensor:
        """Return labels `(batch, length)` int64 of captions: tokens, EOS, then -100."""
        return tokenize_captions(self.tokenizer, captions, self.config.caption_normalization)

    def tokenize_timed(self, events: Sequence[Sequence[TimedEvent] | None]) -> Tensor:
        """Return labels `(batch, length)` int64 of events with their times; of None nothing but -100."""
        return tokenize_timed(self.tokenizer, events, self.config.caption_normalization)

    def encode_audio(
        self,
        waveforms: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        spec_augment: SpecAugment | None = None,
    ) -> AcousticTokens:
        """Turn sounds into embeddings of the language model.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz.
            lengths: `(batch,)` samples of each; None: all of them.
            spec_augment: masks on the log-mel frames, in training.
        """
        # Without gradients a frozen encoder keeps no activations, which are most of the memory of long sound.
        frozen = self.config.encoder_strategy == "frozen"
        with torch.no_grad() if frozen else nullcontext():
            encoded = self.encoder(waveforms, lengths, spec_augment=spec_augment)
        tokens: AcousticTokens = self.bridge(encoded.tokens, encoded.mask)
        samples = [waveforms.shape[1]] * len(waveforms) if lengths is None else lengths
        return replace(tokens, seconds=torch.as_tensor(samples) / SAMPLE_RATE)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        labels: Tensor | None = None,
        spec_augment: SpecAugment | None = None,
        num_items_in_batch: Tensor | int | None = None,
        timed_labels: Tensor | None = None,
    ) -> CaptionOutput:
        """Compute the loss of captions.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz.
            lengths: `(batch,)` samples of each; None: all of them.
            labels: `(batch * captions, length)` of `tokenize_captions`: as many captions of each sound, those
                of a sound side by side.
            spec_augment: masks on the log-mel frames, in training.
            num_items_in_batch: the loss is a sum over this; None: over the labels that are given.
            timed_labels: `(batch, length)` of `tokenize_timed`, which are learned as well.
        """
        if labels is None:
            raise ValueError(
                "expected labels (batch, length), of tokenize_captions; to caption, use generate"
            )
        if not len(labels) or len(labels) % len(waveforms):
            raise ValueError(
                f"expected as many labels as waveforms, or a multiple, got {len(labels)} and {len(waveforms)}"
            )
        acoustic = self.encode_audio(waveforms, lengths, spec_augment).repeat(len(labels) // len(waveforms))
        logits = self.caption_logits(acoustic, labels)
        # Only the captions are learned, neither prompt nor sound.
        chosen = labels != IGNORED
        loss = F.cross_entropy(logits[chosen].float(), labels[chosen], reduction="sum")
        if timed_labels is not None:
            loss = loss + self.timed_loss(acoustic, timed_labels)
        # Over an accumulated update the divisor is the tokens of all its passes: a mean of means would weigh
        # tokens of short captions more.
        count = chosen.sum() if num_items_in_batch is None else num_items_in_batch
        return CaptionOutput(loss=loss / count, logits=None if self.training else logits.float())

    def timed_loss(self, acoustic: AcousticTokens, labels: Tensor) -> Tensor:
        """Return the cross-entropy, summed over the tokens, of events with their times; of none 0.

        Args:
            acoustic: the sounds.
            labels: `(batch, length)` of `tokenize_timed`.
        """
        rows = (labels != IGNORED).any(1).nonzero()[:, 0].tolist()
        # Weights that are shared out (FSDP) are gathered in every pass, which all ranks must make: without an
        # event to learn, one token of the first sound counts nothing.
        chosen = rows or [0]
        labels = labels[chosen] if rows else labels.new_full((1, 1), self.tokenizer.eos_token_id)
        logits = self.caption_logits(acoustic[chosen], labels, timestamps=True)
        loss = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="sum")
        return loss if rows else loss * 0.0

    def caption_logits(self, acoustic: AcousticTokens, labels: Tensor, *, timestamps: bool = False) -> Tensor:
        """Return logits `(batch, length, vocabulary)` of each label after those before it.

        Args:
            acoustic: the sounds.
            labels: `(batch, length)` of `tokenize_captions`, or with `timestamps` of `tokenize_timed`.
            timestamps: with time markers among the acoustic tokens.
        """
        counts = (labels != IGNORED).sum(1)
        sequences = self.assemble(acoustic, labels, timestamps=timestamps)
        # Padded on the left, all sequences end together: the last `longest + 1` logits hold every caption.
        # The first of them predicts the first token, the very last nothing that is asked for.
        longest = int(counts.max())
        logits = self.decoder(
            inputs_embeds=sequences.embeddings,
            attention_mask=sequences.mask,
            position_ids=sequences.positions,
            use_cache=False,
            logits_to_keep=longest + 1,
        ).logits[:, -longest - 1 : -1]
        # From the right to the left side, as the labels are.
        places = torch.arange(labels.shape[1], device=labels.device) + (longest - counts)[:, None]
        return logits.take_along_dim(places.clamp(max=longest - 1)[..., None], dim=1)

    def assemble(
        self, acoustic: AcousticTokens, labels: Tensor | None = None, *, timestamps: bool = False
    ) -> Sequences:
        """Put together what the language model reads, with the captions of `labels` if there are any.

        Args:
            acoustic: the sounds.
            labels: as of `caption_logits`; None: sequences end where a caption is to begin.
            timestamps: with time markers among the acoustic tokens.
        """
        embed = self.decoder.get_input_embeddings()
        sounds = self.markers.interleave(embed, acoustic) if timestamps else None
        return assemble_sequences(embed, self.prompt, acoustic, labels, sounds)

    def check_timestamps(self, config: GenerationConfig) -> None:
        """Refuse to write times of a model that was not trained on them.

        Raises:
            NotTimedError: what to do instead.
        """
        if config.timestamps and not self.config.timestamps:
            raise NotTimedError(
                "this captioner was not trained to write times: leave --timestamps out, or train it on clips "
                "whose manifest has `timestamps`, with --data.timestamps above 0"
            )

    @torch.no_grad()
    def generate(
        self,
        waveforms: Tensor | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        acoustic: AcousticTokens | None = None,
        config: GenerationConfig | None = None,
        **settings: Any,
    ) -> list[tuple[Candidate, ...]]:
        """Caption sounds.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz.
            lengths: `(batch,)` samples of each; None: all of them.
            acoustic: sounds that `encode_audio` has encoded, instead of waveforms.
            config: how to generate.
            settings: fields of `GenerationConfig`, instead of `config`.

        Returns:
            For each sound `num_candidates` captions, the most probable first; with `timestamps` events with
            their times, for `aac_llm.data.timestamps.parse_timed` (an empty text: no event).

        Raises:
            NotTimedError: times are asked of a model that was not trained on them.
        """
        if (waveforms is None) == (acoustic is None):
            raise ValueError("expected either waveforms or acoustic tokens")
        config = config or GenerationConfig(**settings)
        self.check_timestamps(config)
        # Validation calls this in the midst of training: dropout must be off, and on again.
        was_training = self.training
        self.eval()
        try:
            if acoustic is None:
                assert waveforms is not None
                acoustic = self.encode_audio(waveforms, lengths)
            sequences = self.assemble(acoustic, timestamps=config.timestamps)
            return generate(self.decoder, self.tokenizer, sequences, config)
        finally:
            self.train(was_training)
