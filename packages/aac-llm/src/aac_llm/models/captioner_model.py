"""The captioner of LOAE (arXiv:2406.13275): CED, a Q-Former over windows, and a causal language model.

What the language model reads of a clip is BOS, the prompt's left half, the sound, the prompt's right half
and, in training, the caption and EOS; the loss is that of the caption's tokens. Departures from the authors'
code:

- a clip's caption and loss depend on that clip alone: padding of sound, windows and text is masked, and no
  padding stands within a sequence (layout `time_major`; `reference` keeps their encoder's batching);
- sequences are padded on the left in training too, so that all captions end together and only the logits of
  the last positions are computed, for any model and whatever it does after its output layer;
- decoded captions hold no special tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from audio_common.ced import CED
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers.utils.generic import ModelOutput

from aac_llm.captioning.predictions import Candidate
from aac_llm.config.model import ModelConfig
from aac_llm.models.bridge import AcousticTokens, Bridge
from aac_llm.models.decoder import Quantization, embedding_width, load_decoder
from aac_llm.models.lora import float32_trainable, prepare_decoder, prepare_encoder, trainable_parameters
from aac_llm.models.prompt import IGNORED, tokenize_captions, tokenize_prompt
from aac_llm.models.windows import encoder_tokens

if TYPE_CHECKING:
    from audio_common.augment import SpecAugment

SAMPLE_RATE = 16_000
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class CaptionOutput(ModelOutput):
    """What the model gives in training and validation."""

    loss: Tensor | None = None
    """Cross-entropy of the captions' tokens, their mean (or sum over `num_items_in_batch`)."""
    logits: Tensor | None = None
    """`(batch, length, vocabulary)` for each label, in evaluation mode only."""


@dataclass(frozen=True)
class Sequences:
    """Inputs of the language model, padded on the left."""

    embeddings: Tensor
    """`(batch, length, width)`."""
    mask: Tensor
    """`(batch, length)` int64: 1 where there is something."""

    @property
    def positions(self) -> Tensor:
        """`(batch, length)`: each one's place in its own sequence."""
        return (self.mask.cumsum(1) - 1).clamp(min=0)


class CaptionModel(nn.Module):
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

    def __init__(self, config: ModelConfig, *, encoder: CED, decoder: Any, tokenizer: Any) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.encoder = encoder
        width = embedding_width(decoder)
        self.bridge = Bridge(
            config.bridge, encoder_dim=config.encoder.embed_dim, decoder_width=width, layout=config.layout
        )
        self.decoder = decoder
        prepare_encoder(encoder, config.encoder_strategy, config.lora)
        prepare_decoder(decoder, config.decoder_strategy, config.lora)
        float32_trainable(self)
        self.prompt = tokenize_prompt(tokenizer, config.prompt)

    @classmethod
    def from_config(cls, config: ModelConfig, *, device: str | torch.device = "cpu") -> CaptionModel:
        """A model to train: the named encoder and decoder, and a random bridge.

        Raises:
            DecoderError: the decoder cannot be loaded.
            CheckpointError: the encoder's weights cannot.
        """
        config, encoder = build_encoder(config)
        decoder, tokenizer = load_decoder(
            config.decoder,
            dtype=DTYPES[config.decoder_dtype],
            quantization=config.quantization,
            device=device,
        )
        return cls(config, encoder=encoder, decoder=decoder, tokenizer=tokenizer).eval().to(device)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        decoder: str | None = None,
        quantization: Quantization | None = None,
    ) -> CaptionModel:
        """Load what `save_pretrained` wrote, in evaluation mode; see `aac_llm.models.checkpoint`.

        Args:
            source: a folder, or a model's id on the Hugging Face hub.
            device: where it goes.
            dtype: of all weights, for inference; None: as trained, i.e. trained weights in float32 and the
                decoder's frozen ones in the configuration's `decoder_dtype`.
            decoder: hub id or folder of the language model, if it is not the one that the model names.
            quantization: of the decoder; None: as the model says.
        """
        from aac_llm.models.checkpoint import load

        return load(source, device=device, dtype=dtype, decoder=decoder, quantization=quantization)

    @classmethod
    def from_reference(
        cls,
        source: str | Path | Mapping[str, Any],
        *,
        decoder: str,
        config: ModelConfig | None = None,
        device: str | torch.device = "cpu",
    ) -> CaptionModel:
        """Load a checkpoint of the authors' code; see `aac_llm.models.reference_checkpoint`."""
        from aac_llm.models.reference_checkpoint import load_reference

        return load_reference(source, decoder=decoder, config=config, device=device)

    def save_pretrained(self, folder: str | Path, *, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """Write what was trained, and the names of the rest, for `from_pretrained`.

        Args:
            folder: created if need be; other files in it are left alone.
            state_dict: the tensors to write under the model's names, if they are not the model's own
                (gathered from many GPUs).
        """
        from aac_llm.models.checkpoint import save

        save(self, Path(folder), state_dict)

    def save_merged(self, folder: str | Path) -> None:
        """Write everything, adapters merged into the weights: `decoder/` and `encoder/` are plain models.

        Raises:
            ValueError: the decoder is quantized.
        """
        from aac_llm.models.checkpoint import save_merged

        save_merged(self, Path(folder))

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub; the address of the commit."""
        from aac_llm.models.checkpoint import push

        return push(self, repo_id, private=private, token=token)

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return next(self.bridge.parameters()).device

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
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

    def token_budget(self, seconds: float) -> int:
        """Embeddings of the language model that a sound of so many seconds takes."""
        return self.bridge.count_tokens(encoder_tokens(round(seconds * SAMPLE_RATE), self.config.encoder))

    def tokenize_captions(self, captions: Sequence[str]) -> Tensor:
        """Labels `(batch, length)` int64 of captions: tokens, EOS, then -100."""
        return tokenize_captions(self.tokenizer, captions, self.config.caption_normalization)

    def encode_audio(
        self,
        waveforms: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        spec_augment: SpecAugment | None = None,
    ) -> AcousticTokens:
        """Sounds as embeddings of the language model.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz.
            lengths: `(batch,)` samples of each; None: all of them.
            spec_augment: masks on the log-mel frames, in training.
        """
        frozen = self.config.encoder_strategy == "frozen"
        with torch.no_grad() if frozen else nullcontext():
            encoded = self.encoder(waveforms, lengths, spec_augment=spec_augment)
        tokens: AcousticTokens = self.bridge(encoded.tokens, encoded.mask)
        return tokens

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        labels: Tensor | None = None,
        spec_augment: SpecAugment | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> CaptionOutput:
        """The loss of captions.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz.
            lengths: `(batch,)` samples of each; None: all of them.
            labels: `(batch, length)` of `tokenize_captions`.
            spec_augment: masks on the log-mel frames, in training.
            num_items_in_batch: the loss is a sum over this; None: over the labels that are given.
        """
        if labels is None:
            raise ValueError(
                "expected labels (batch, length), of tokenize_captions; to caption, use generate"
            )
        if len(labels) != len(waveforms):
            raise ValueError(f"expected as many labels as waveforms, got {len(labels)} and {len(waveforms)}")
        acoustic = self.encode_audio(waveforms, lengths, spec_augment)
        logits = self.caption_logits(acoustic, labels)
        chosen = labels != IGNORED
        loss = F.cross_entropy(logits[chosen].float(), labels[chosen], reduction="sum")
        count = chosen.sum() if num_items_in_batch is None else num_items_in_batch
        return CaptionOutput(loss=loss / count, logits=None if self.training else logits.float())

    def caption_logits(self, acoustic: AcousticTokens, labels: Tensor) -> Tensor:
        """Logits `(batch, length, vocabulary)` of each label after those before it."""
        counts = (labels != IGNORED).sum(1)
        sequences = self.assemble(acoustic, labels)
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

    def assemble(self, acoustic: AcousticTokens, labels: Tensor | None = None) -> Sequences:
        """What the language model reads: prompt and sound, and the captions of `labels` if there are any."""
        device = acoustic.embeddings.device
        embed = self.decoder.get_input_embeddings()
        left, right = (embed(torch.tensor(ids, dtype=torch.long, device=device)) for ids in self.prompt_ids())
        sounds = acoustic.embeddings.to(left.dtype)
        captions = [] if labels is None else [row[row != IGNORED] for row in labels]
        if captions:
            texts = embed(torch.cat(captions)).split([len(row) for row in captions])
        rows = []
        for index, count in enumerate(acoustic.counts()):
            parts = [left, sounds[index, :count], right]
            rows.append(torch.cat([*parts, texts[index]] if captions else parts))
        masks = [torch.ones(len(row), dtype=torch.long, device=device) for row in rows]
        return Sequences(_pad_left(rows), _pad_left(masks))

    def prompt_ids(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tokens of the prompt before and after the sound."""
        return self.prompt.left, self.prompt.right

    @torch.no_grad()
    def generate(
        self,
        waveforms: Tensor | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        acoustic: AcousticTokens | None = None,
        **settings: Any,
    ) -> list[list[Candidate]]:
        """Caption sounds.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz.
            lengths: `(batch,)` samples of each; None: all of them.
            acoustic: sounds that `encode_audio` has encoded, instead of waveforms.
            settings: of `aac_llm.models.generation.generate`: num_beams (3), max_new_tokens (30),
                min_new_tokens (2), do_sample (False), temperature (1), top_p (0.9), repetition_penalty (1),
                num_return (1).

        Returns:
            For each sound `num_return` captions, the most probable first.
        """
        from aac_llm.models.generation import generate

        if (waveforms is None) == (acoustic is None):
            raise ValueError("expected either waveforms or acoustic tokens")
        was_training = self.training
        self.eval()
        try:
            if acoustic is None:
                assert waveforms is not None
                acoustic = self.encode_audio(waveforms, lengths)
            return generate(self.decoder, self.tokenizer, self.assemble(acoustic), **settings)
        finally:
            self.train(was_training)


def build_encoder(config: ModelConfig) -> tuple[ModelConfig, CED]:
    """The encoder, with the weights that the configuration names, which then say its architecture."""
    if config.encoder_weights is None:
        return config, CED(config.encoder)
    wanted = config.encoder
    encoder = CED.from_pretrained(
        config.encoder_weights,
        mode=wanted.mode,
        drop_path=wanted.drop_path,
        time_patch_out=wanted.time_patch_out,
        freq_patch_out=wanted.freq_patch_out,
    )
    return replace(config, encoder=encoder.config), encoder


def _pad_left(rows: Sequence[Tensor]) -> Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_side="left")
