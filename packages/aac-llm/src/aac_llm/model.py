"""The captioning model: CED, a bridge and a causal language model.

It is that of "Enhancing Automated Audio Captioning via Large Language Models with Optimized Audio Encoding"
(arXiv:2406.13275).

    waveform -> CED -> tokens -> bridge -> 1.5 embeddings a second -> decoder -> caption

The decoder reads its begin token, the prompt up to the sound, the sound's embeddings, the rest of the prompt,
and writes the caption. Each clip's sequence is put together without holes: a batch is padded only where its
sequences end (in training) or begin (in generation), and masks hold from the waveform to the decoder. So a
caption does not depend on what else is in the batch, which the authors' zero-padded batches cannot say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from audio_common import CED
from torch import Tensor, nn
from transformers.utils import ModelOutput

from aac_llm.beam_search import beam_search, supports
from aac_llm.bridge import Bridge
from aac_llm.config.model import ModelConfig
from aac_llm.decoder import load_decoder
from aac_llm.lora import apply_strategy
from aac_llm.predictions import Candidate
from aac_llm.prompt import IGNORED, normalize_caption, tokenize_captions, tokenize_prompt
from aac_llm.windows import count_windows

if TYPE_CHECKING:
    from audio_common.augment import SpecAugment

FRAMES_PER_SECOND = 100
COLUMN_FRAMES = 16
ROWS = 4  # mel bands of patches


class AcousticTokens(NamedTuple):
    """What the decoder is given for the sounds."""

    embeddings: Tensor
    """`(batch, tokens, width)`."""
    mask: Tensor
    """`(batch, tokens)` bool; sound comes first."""


@dataclass
class CaptionOutput(ModelOutput):
    """What a training step needs."""

    loss: Tensor | None = None
    """Cross-entropy of the caption tokens, over all of them or over `num_items_in_batch`."""
    logits: Tensor | None = None
    """`(batch, length, vocabulary)`: row i of a clip predicts its label i."""


class CaptionModel(nn.Module):
    """An audio captioner; see the module's docstring.

    Args:
        config: what it is made of and what is trained.
        encoder: CED.
        bridge: between encoder and decoder.
        decoder: causal language model of transformers.
        tokenizer: the decoder's.
    """

    def __init__(
        self, config: ModelConfig, encoder: CED, bridge: Bridge, decoder: Any, tokenizer: Any
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.bridge = bridge
        self.decoder = decoder
        self.tokenizer = tokenizer
        left, right = tokenize_prompt(tokenizer, config.prompt)
        self.register_buffer("prompt_left", left, persistent=False)
        self.register_buffer("prompt_right", right, persistent=False)
        if config.encoder_strategy == "frozen":
            encoder.freeze()
        elif config.encoder_strategy == "lora":
            encoder.freeze_batch_norm()

    @classmethod
    def from_config(
        cls, config: ModelConfig, *, device: str | torch.device = "cpu", beside: Path | None = None
    ) -> CaptionModel:
        """A new model: decoder and encoder as published, a random bridge, adapters that do nothing yet.

        Args:
            config: what to build.
            device: for all of it.
            beside: folder where a relative name of the decoder is looked up first.
        """
        encoder = load_encoder(config)
        decoder, tokenizer = load_decoder(config, beside=beside, device=device)
        width = decoder.get_input_embeddings().embedding_dim
        drop_tail = config.layout == "reference"
        bridge = Bridge(config.bridge, config.encoder.embed_dim, width, drop_tail=drop_tail)
        apply_strategy(encoder, config.encoder_strategy, config.lora, config.lora.encoder_targets)
        apply_strategy(decoder, config.decoder_strategy, config.lora, config.lora.decoder_targets)
        model = cls(config, encoder, bridge, decoder, tokenizer)
        for part in (encoder, bridge):
            part.to(device)
        model.prompt_left, model.prompt_right = model.prompt_left.to(device), model.prompt_right.to(device)
        return model

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str | None = None,
        decoder: str | None = None,
        quantization: str | None = None,
    ) -> CaptionModel:
        """Load a checkpoint, ready to caption; see `aac_llm.checkpoint`.

        Args:
            source: folder or hub id.
            device: where to.
            dtype: number format of the decoder's frozen weights; None: as saved.
            decoder: language model to use instead of the one that the checkpoint names.
            quantization: `none`, `8bit` or `4bit`; None: as saved.
        """
        from aac_llm.checkpoint import load_model

        return load_model(source, device=device, dtype=dtype, decoder=decoder, quantization=quantization)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write what was trained, and a config that names the rest; see `aac_llm.checkpoint`."""
        from aac_llm.checkpoint import save_model

        save_model(self, Path(folder))

    def save_merged(self, folder: str | Path) -> None:
        """Write a model without adapters: they are folded into whole copies of encoder and decoder."""
        from aac_llm.checkpoint import save_merged

        save_merged(self, Path(folder))

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face Hub; the address of the commit."""
        from aac_llm.checkpoint import push_model

        return push_model(self, repo_id, **options)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.bridge.projector.weight.device

    @property
    def embedding_dtype(self) -> torch.dtype:
        """Number format of the decoder's embeddings."""
        return self.decoder.get_input_embeddings().weight.dtype

    def trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters that learn."""
        return ((name, each) for name, each in self.named_parameters() if each.requires_grad)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Recompute activations of encoder and decoder in the backward pass: less memory, more time."""
        self.encoder.gradient_checkpointing_enable()
        self.decoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs or {"use_reentrant": False})

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations again."""
        self.encoder.gradient_checkpointing_enable(False)
        self.decoder.gradient_checkpointing_disable()

    def token_budget(self, seconds: float) -> int:
        """Embeddings that the decoder is given for so much sound (paper: 44 for 30 s)."""
        bridge, reference = self.config.bridge, self.config.layout == "reference"
        if bridge.kind == "clip":
            return bridge.num_queries
        frames = 1 + int(seconds * FRAMES_PER_SECOND)
        full, chunk = self.config.encoder.num_columns, self.config.encoder.target_length
        if reference:
            chunks = max(1, -(-frames // chunk) - (frames > chunk and frames % chunk == 0))
            columns = chunks * full if frames > chunk else frames // COLUMN_FRAMES
        else:
            columns = -(-frames // COLUMN_FRAMES)
        per_window = bridge.num_queries if bridge.kind == "window" else 1
        return per_window * count_windows(columns * ROWS, bridge.window, drop_tail=reference)

    def tokenize_captions(self, captions: Sequence[str]) -> Tensor:
        """Labels `(batch, length)` int64: each caption and the end token, padded with -100."""
        rule = self.config.caption_normalization
        return tokenize_captions(self.tokenizer, [normalize_caption(each, rule) for each in captions])

    def encode_audio(
        self,
        waveforms: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        spec_augment: SpecAugment | None = None,
    ) -> AcousticTokens:
        """What the decoder is given for a batch of clips.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz.
            lengths: `(batch,)` samples of each clip; None: all.
            spec_augment: masks on the log-mel frames, in training.
        """
        frozen = self.config.encoder_strategy == "frozen"
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            heard = self.encoder(waveforms, lengths, spec_augment=spec_augment)
        return AcousticTokens(*self.bridge(heard.tokens, heard.mask))

    def forward(
        self,
        waveforms: Tensor | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        labels: Tensor | None = None,
        *,
        acoustic: AcousticTokens | None = None,
        spec_augment: SpecAugment | None = None,
        num_items_in_batch: Tensor | int | None = None,
        return_logits: bool = False,
    ) -> CaptionOutput:
        """The loss of captions.

        The language model's head sees the positions that predict a caption token alone: over prompt and sound
        its logits would cost most of the memory, and nothing is learnt there.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz.
            lengths: `(batch,)` samples of each clip; None: all.
            labels: of `tokenize_captions`.
            acoustic: of `encode_audio`, instead of waveforms.
            spec_augment: masks on the log-mel frames.
            num_items_in_batch: caption tokens of all batches of one update, for gradient accumulation: the
                loss is the sum over tokens divided by it; None: by the tokens of this batch.
            return_logits: also return the logits, in evaluation they are returned anyway.
        """
        if labels is None:
            raise ValueError("forward needs labels; to caption use generate")
        acoustic = self._acoustic(waveforms, lengths, acoustic, spec_augment)
        kept = labels != IGNORED
        embed = self.decoder.get_input_embeddings()
        tails = embed(labels.masked_fill(~kept, self._any_token()))
        sequences = [
            torch.cat([head, tail[: int(count)]])
            for head, tail, count in zip(self._heads(acoustic), tails, kept.sum(1), strict=True)
        ]
        hidden = self._read(sequences)
        # The position before each caption token predicts it: from the head's last position on.
        logits = self._head(self._predicting(hidden, sequences, kept))
        total = F.cross_entropy(logits[kept].float(), labels[kept], reduction="sum")
        count = kept.sum() if num_items_in_batch is None else num_items_in_batch
        keep_logits = return_logits or not self.training
        return CaptionOutput(loss=total / count, logits=logits if keep_logits else None)

    @torch.inference_mode()
    def generate(
        self,
        waveforms: Tensor | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        acoustic: AcousticTokens | None = None,
        num_beams: int = 3,
        max_new_tokens: int = 30,
        min_new_tokens: int = 2,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 0.9,
        repetition_penalty: float = 1.0,
        num_return: int = 1,
    ) -> list[list[Candidate]]:
        """Captions of a batch of clips: for each the candidates, the most probable first.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz.
            lengths: `(batch,)` samples of each clip; None: all.
            acoustic: of `encode_audio`, instead of waveforms.
            num_beams: beams of the search; 1: the most probable token each time.
            max_new_tokens: longest caption.
            min_new_tokens: shortest caption.
            do_sample: draw tokens at random instead.
            temperature: of sampling.
            top_p: of sampling, from the most probable tokens of this mass.
            repetition_penalty: over 1, tokens that are there already become less probable.
            num_return: candidates of each clip; without sampling at most the number of beams.
        """
        if not do_sample and num_return > num_beams:
            raise ValueError(
                f"expected num_return up to num_beams ({num_beams}) or sampling, got {num_return}"
            )
        acoustic = self._acoustic(waveforms, lengths, acoustic, None)
        embeddings, mask = _pad(self._heads(acoustic), left=True)
        bounds = {"max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens}
        if supports(self.decoder, num_beams=num_beams, do_sample=do_sample):
            found = beam_search(
                self.decoder,
                embeddings,
                mask,
                end_tokens=[self.tokenizer.eos_token_id],
                num_beams=num_beams,
                repetition_penalty=repetition_penalty,
                num_return=num_return,
                **bounds,
            )
            return [[Candidate(self._text(each.tokens), each.score) for each in clip] for clip in found]
        sampling = {"temperature": temperature, "top_p": top_p, "top_k": 0} if do_sample else {}
        output = self.decoder.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            do_sample=do_sample,
            num_beams=num_beams,
            num_return_sequences=num_return,
            repetition_penalty=repetition_penalty,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self._any_token(),
            return_dict_in_generate=True,
            output_logits=True,
            **bounds,
            **sampling,
        )
        return self._candidates(output, num_return)

    def _candidates(self, output: Any, num_return: int) -> list[list[Candidate]]:
        """Texts with their mean log-probability under the model, sorted by it."""
        logits = torch.stack(output.logits, 1).float()  # (sequences, length, vocabulary)
        tokens = output.sequences[:, -logits.shape[1] :]
        steps = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        ends = (tokens == self.tokenizer.eos_token_id).int()
        counted = ends.cumsum(1) - ends == 0  # up to the first end token, it included
        scores = (steps.masked_fill(~counted, 0.0).sum(1) / counted.sum(1)).tolist()
        made = [
            Candidate(self._text(row[keep].tolist()), score)
            for row, keep, score in zip(tokens, counted, scores, strict=True)
        ]
        clips = [made[start : start + num_return] for start in range(0, len(made), num_return)]
        return [sorted(clip, key=lambda each: -each.score) for clip in clips]

    def _text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    def _acoustic(
        self,
        waveforms: Tensor | None,
        lengths: Tensor | Sequence[int] | None,
        acoustic: AcousticTokens | None,
        spec_augment: SpecAugment | None,
    ) -> AcousticTokens:
        if (waveforms is None) == (acoustic is None):
            raise ValueError("give either waveforms or acoustic tokens")
        if acoustic is not None:
            return acoustic
        assert waveforms is not None
        return self.encode_audio(waveforms, lengths, spec_augment)

    def _heads(self, acoustic: AcousticTokens) -> list[Tensor]:
        """What comes before each caption: prompt, sound, rest of the prompt, `(length, width)` each."""
        embed = self.decoder.get_input_embeddings()
        left, right = embed(self.prompt_left), embed(self.prompt_right)
        return [
            torch.cat([left, sound[there].to(left.dtype), right])
            for sound, there in zip(acoustic.embeddings, acoustic.mask, strict=True)
        ]

    def _read(self, sequences: list[Tensor]) -> Tensor:
        """The decoder's hidden states of sequences padded at their ends, `(batch, length, width)`."""
        embeddings, mask = _pad(sequences, left=False)
        backbone = self.decoder.get_decoder()
        return backbone(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).last_hidden_state

    def _predicting(self, hidden: Tensor, sequences: list[Tensor], kept: Tensor) -> Tensor:
        """The hidden states that predict each label, `(batch, labels, width)`."""
        counts = kept.sum(1)
        starts = torch.tensor([len(each) for each in sequences], device=hidden.device) - counts - 1
        steps = torch.arange(kept.shape[1], device=hidden.device)
        places = (starts[:, None] + steps).clamp(max=hidden.shape[1] - 1)
        return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))

    def _head(self, hidden: Tensor) -> Tensor:
        return self.decoder.get_output_embeddings()(hidden)

    def _any_token(self) -> int:
        """An id for places that no one looks at."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad


def load_encoder(config: ModelConfig) -> CED:
    """CED with the weights that a configuration names, random ones when it names none.

    Raises:
        ValueError: the weights are of another architecture than `encoder`.
    """
    if config.encoder_weights is None:
        return CED(config.encoder)
    encoder = CED.from_pretrained(config.encoder_weights, mode=config.encoder.mode)
    for name in ("embed_dim", "depth", "num_heads"):
        expected, found = getattr(config.encoder, name), getattr(encoder.config, name)
        if expected != found:
            raise ValueError(f"encoder.{name} is {expected}, but that of {config.encoder_weights} is {found}")
    return encoder


def _pad(sequences: list[Tensor], *, left: bool) -> tuple[Tensor, Tensor]:
    """`(batch, longest, width)` with zeros before or after the shorter ones, and the mask of what counts."""
    longest = max(map(len, sequences))
    sides = [(longest - len(each), 0) if left else (0, longest - len(each)) for each in sequences]
    padded = torch.stack([F.pad(each, (0, 0, *side)) for each, side in zip(sequences, sides, strict=True)])
    mask = torch.zeros(padded.shape[:2], dtype=torch.long, device=padded.device)
    for row, each, side in zip(mask, sequences, sides, strict=True):
        row[side[0] : side[0] + len(each)] = 1
    return padded, mask
