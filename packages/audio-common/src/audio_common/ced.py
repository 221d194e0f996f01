"""CED, the audio transformer of "Consistent ensemble distillation for audio tagging" (arXiv:2308.11957).

Sound at 16 kHz becomes 64 mel bands in dB, BatchNorm over the bands, 16x16 patches, and a plain pre-norm
vision transformer over at most 1012 frames (10 s) at a time. The head tags AudioSet's 527 classes.

Two modes, chosen by `CEDConfig.mode`, with the same weights:

`masked` (default): what comes out for a clip depends on that clip alone.
`reference`: what the authors' code does with a batch, so that published checkpoints give published numbers.

They differ where the authors' way lets a clip's neighbours, its padding or its length decide:

| | masked | reference |
|---|---|---|
| dB floor (maximum - 120) | of the clip | of the whole batch: a loud neighbour hides quiet sound |
| `lengths` | padding is ignored everywhere | ignored: zeros up to the longest clip are sound |
| more than 1012 frames | pieces of 1008 frames | chunks of 1012 frames, the last 4 of each unused |
| end of a long clip | a shorter last piece | filled with 0 after BatchNorm; counts as a full chunk |
| a multiple of 1012 frames | nothing special | the last full chunk is thrown away |
| last `frames % 16` frames | in a last patch that overlaps its neighbour | dropped (up to 150 ms) |
| under 2400 samples (0.15 s) | followed by digital silence up to one patch | an error |
| probabilities | sigmoid of the head on the mean of all tokens | mean over chunks of each chunk's sigmoid |
| BatchNorm in training | counts sound only | counts padding |

They agree on one clip of at most 1008 frames whose frames divide by 16.

Linear layers, for adapters such as LoRA: `blocks.{i}.attn.{q,k,v,proj}` and `blocks.{i}.mlp.{fc1,fc2}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from audio_common.attention import AttentionKind, Block, make_layout
from audio_common.config import CED_PRESETS, PRECISIONS, CEDConfig, Precision
from audio_common.mel import LogMel, MelBatchNorm, ReferenceLogMel, check_lengths
from audio_common.output import CEDOutput, assemble, masked_mean
from audio_common.patches import (
    NUM_ROWS,
    PatchEmbed,
    Plan,
    choose_rows,
    cut_columns,
    plan_masked,
    plan_reference,
)
from audio_common.speed import is_bf16_faster

if TYPE_CHECKING:
    from typing import Self

    from audio_common.augment import SpecAugment

Pooling = Literal["mean", "max", "dm"]

_CPU_GROUP, _GPU_GROUP, _INT8_GROUP = 512, 32_768, 256  # tokens; see CED.tokens_per_group


class CED(nn.Module):
    """The CED audio encoder; see the module's docstring for its two modes.

    >>> ced = CED(CEDConfig(embed_dim=48, depth=2, num_heads=3, num_classes=10)).eval()
    >>> output = ced(torch.zeros(2, 16_000), lengths=[16_000, 400], classify=True)
    >>> tuple(output.tokens.shape), output.mask.sum(1).tolist(), tuple(output.probabilities.shape)
    ((2, 28, 48), [28, 4], (2, 10))

    Attributes:
        attention: `auto` (default), `packed`, `varlen` or `padded`; see `audio_common.attention`.
        tokens_per_group: pieces are encoded in groups of at most this many tokens (at least one piece), so
            that without gradients a long recording needs no more memory than a short one but for its
            features; None (default): what fits the cache is fastest: 512 on a CPU, 256 in int8, 32768 on
            a GPU.
        precision: `int8` once `set_precision` has made it so; `float` before, whatever its dtype.
    """

    def __init__(self, config: CEDConfig) -> None:
        super().__init__()
        self.config = config
        self.attention: AttentionKind = "auto"
        self.tokens_per_group: int | None = None
        self.gradient_checkpointing = False
        self.frozen = False
        self.precision: Literal["float", "int8"] = "float"
        dim = config.embed_dim
        self.front_end = _make_front_end(config)
        self.init_bn = MelBatchNorm()
        self.patch_embed = PatchEmbed(dim)
        self.time_pos_embed = nn.Parameter(torch.empty(1, dim, 1, config.num_columns))
        self.freq_pos_embed = nn.Parameter(torch.empty(1, dim, NUM_ROWS, 1))
        for positions in (self.time_pos_embed, self.freq_pos_embed):
            nn.init.normal_(positions, std=0.02)
        rates = [config.drop_path * i / max(1, config.depth - 1) for i in range(config.depth)]
        self.blocks = nn.ModuleList(Block(dim, config.num_heads, config.mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.outputlayer = nn.Sequential(nn.LayerNorm(dim, eps=1e-5), nn.Linear(dim, config.num_classes))
        self.apply(_init_linear)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> CED:
        """Make a randomly initialised `ced-tiny`, `-mini`, `-small` or `-base`; `overrides` of CEDConfig."""
        if name not in CED_PRESETS:
            raise ValueError(f"expected one of {', '.join(CED_PRESETS)}, got {name!r}")
        return cls(replace(CED_PRESETS[name], **overrides))

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, mode: str | None = None, precision: Precision = "fp32", **overrides: Any
    ) -> CED:
        """Load published weights or our own, in evaluation mode; see `audio_common.checkpoint`.

        Args:
            source: a hub id (`mispeech/ced-base`), a folder, or a `.safetensors` or `.pt` file.
            mode: `masked` or `reference`; default: as saved, and `masked` for published weights.
            precision: see `set_precision`.
            overrides: other fields of `CEDConfig`.

        Raises:
            CheckpointError: not a CED checkpoint, with every missing, unexpected and misshapen key.
        """
        from audio_common.checkpoint import load_checkpoint, load_tensors

        if mode is not None:
            overrides["mode"] = mode
        config, tensors = load_checkpoint(source, **overrides)
        with torch.device("meta"):  # no memory and no random numbers for weights that are read next
            model = cls(config)
        model.to_empty(device="cpu").front_end = _make_front_end(config)
        load_tensors(model, tensors, source=str(source))
        return model.eval().set_precision(precision)

    def set_precision(self, precision: Precision) -> Self:
        """Choose, in place, how the encoder computes.

        Args:
            precision: `fp32`; `bf16`; `int8`: linear layers of the blocks in 8-bit integers, for inference on
                a CPU (see `audio_common.int8`): there is no way back, and it cannot be trained or saved;
                `auto`: bf16 where this device multiplies it faster (measured once, see `audio_common.speed`),
                else fp32; never int8.

        Raises:
            ValueError: another precision, or the encoder cannot be made int8.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if self.precision == "int8" and precision != "int8":
            raise ValueError(f"an encoder in int8 cannot become {precision} again: load it again")
        if precision == "int8":
            return self if self.precision == "int8" else self._to_int8()
        is_bf16 = precision == "bf16" or (precision == "auto" and is_bf16_faster(self.norm.weight.device))
        return self.to(torch.bfloat16 if is_bf16 else torch.float32)

    def _to_int8(self) -> Self:
        from audio_common.int8 import check_processor, to_int8

        between = check_processor(self.norm.weight.device)
        self.blocks = to_int8(self.blocks, between)
        self.precision = "int8"
        self.freeze()
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `model.safetensors` and `config.json` in `folder`, for `from_pretrained`.

        Raises:
            ValueError: the encoder is in int8.
        """
        from audio_common.checkpoint import save_checkpoint

        if self.precision == "int8":
            raise ValueError("an encoder in int8 is for inference: save it before set_precision('int8')")
        save_checkpoint(self.config, self.state_dict(), Path(folder))

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        classify: bool = False,
        spec_augment: SpecAugment | None = None,
    ) -> CEDOutput:
        """Encode a batch of clips.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz, about [-1, 1].
            lengths: `(batch,)` samples of each clip, at least 1; None: all of them. The reference mode
                ignores it.
            classify: also compute `logits` and `probabilities`.
            spec_augment: applied to the log-mel frames, before BatchNorm.

        Raises:
            ValueError: wrong shape or type, an empty clip, or (reference mode) less than 2400 samples.
        """
        sizes = check_lengths(waveforms, lengths)
        if self.config.mode == "masked":
            frames, plan = self._frames_masked(waveforms, sizes, spec_augment)
        else:
            frames, plan = self._frames_reference(waveforms, spec_augment)
        tokens, rows = self._embed(frames, plan, len(waveforms))
        encoded = self._encode(tokens, [size * rows for size in plan.sizes])
        reference = self.config.mode == "reference"
        chunk_columns = plan.sizes[0] if reference else self.config.num_columns
        output = assemble(encoded, plan, rows=rows, chunk_columns=chunk_columns, band_major=reference)
        if not classify:
            return output
        logits, probabilities = self.classify(output)
        return replace(output, logits=logits, probabilities=probabilities)

    def classify(self, output: CEDOutput, pooling: Pooling = "mean") -> tuple[Tensor, Tensor]:
        """Compute AudioSet logits and probabilities `(batch, classes)`, float32, of encoded clips.

        The logits are the head's on the mean token (reference mode: the mean over chunks of each chunk's
        logits). The probabilities are by `pooling`: `mean`, the sigmoid of those logits (reference mode:
        the mean over chunks of each chunk's sigmoid); `max`, the greatest over pieces; `dm`, the mean over
        time columns of each one's.
        """
        chunks, chunk_mask = output.chunk_features()
        chunk_logits = self.outputlayer(chunks).float()  # (batch, pieces, classes)
        masked = self.config.mode == "masked"
        logits = self.outputlayer(output.pooled).float() if masked else chunk_logits.mean(1)
        if pooling == "max":
            return logits, chunk_logits.sigmoid().masked_fill(~chunk_mask[..., None], 0.0).amax(1)
        if pooling == "dm":
            features, mask = output.time_features()
            return logits, masked_mean(self.outputlayer(features).float().sigmoid(), mask)
        if pooling == "mean":
            return logits, logits.sigmoid() if masked else chunk_logits.sigmoid().mean(1)
        raise ValueError(f"pooling must be 'mean', 'max' or 'dm', got {pooling!r}")

    @torch.no_grad()
    def tag(
        self, waveforms: Tensor, lengths: Tensor | Sequence[int] | None = None, *, top_k: int = 5
    ) -> list[list[tuple[str, float]]]:
        """Return the `top_k` most probable classes of each clip as (label, probability), the best first."""
        labels = self.config.labels or _audioset_labels(self.config.num_classes)
        probabilities = self(waveforms, lengths, classify=True).probabilities
        values, indices = probabilities.topk(min(top_k, len(labels)), dim=1)
        return [
            [(labels[i], p) for i, p in zip(row_i, row_p, strict=True)]
            for row_i, row_p in zip(indices.tolist(), values.tolist(), strict=True)
        ]

    def gradient_checkpointing_enable(self, enabled: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.gradient_checkpointing = enabled

    def freeze_batch_norm(self) -> None:
        """Keep the mel BatchNorm's statistics in training too (small batches, few clips, adapters)."""
        self.init_bn.frozen = True
        self.init_bn.eval()

    def freeze(self) -> None:
        """Switch off gradients; stay in evaluation (BatchNorm, drop path, patch-out) even in `.train()`."""
        self.requires_grad_(False)
        self.frozen = True
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode as `nn.Module.train` does, but leave a frozen encoder in evaluation."""
        return super().train(mode and not self.frozen)

    def _frames_masked(
        self, waveforms: Tensor, sizes: list[int], spec_augment: SpecAugment | None
    ) -> tuple[Tensor, Plan]:
        frames, counts = self.front_end(waveforms, sizes)
        drop = self.config.time_patch_out if self.training else 0.0
        frames = self._normalize(frames, counts, spec_augment)
        return frames, plan_masked(counts, self.config.num_columns, drop)

    def _frames_reference(self, waveforms: Tensor, spec_augment: SpecAugment | None) -> tuple[Tensor, Plan]:
        mel = self.front_end(waveforms)  # (batch, frames, 64)
        batch, num_frames, _ = mel.shape
        frames = self._normalize(mel.flatten(0, 1), [num_frames] * batch, spec_augment).view_as(mel)
        chunk = self.config.target_length
        num_chunks = max(1, -(-num_frames // chunk))
        if num_chunks > 1 and num_frames % chunk == 0:
            num_chunks -= 1  # the authors' code takes a full last chunk for the remainder, and loses it
            frames = frames[:, : num_chunks * chunk]
        elif num_chunks > 1:
            frames = F.pad(frames, (0, 0, 0, num_chunks * chunk - num_frames))
        drop = self.config.time_patch_out if self.training else 0.0
        plan = plan_reference(batch, num_chunks, frames.shape[1] // num_chunks, drop)
        return frames.flatten(0, 1), plan

    def _normalize(self, frames: Tensor, counts: list[int], spec_augment: SpecAugment | None) -> Tensor:
        if spec_augment is not None:
            frames = spec_augment(frames, counts)
        with torch.autocast(frames.device.type, enabled=False):
            return self.init_bn(frames)

    def _embed(self, frames: Tensor, plan: Plan, batch: int) -> tuple[Tensor, int]:
        """Embed patches with their positions `(tokens, dim)`, by columns; and count the rows of a column."""
        device, dtype = frames.device, self.patch_embed.proj.weight.dtype
        tokens = self.patch_embed(cut_columns(frames, plan.frame.to(device)).to(dtype))  # (columns, 4, dim)
        times = self.time_pos_embed[0, :, 0].T[plan.position.to(device)]
        tokens = tokens + times[:, None] + self.freq_pos_embed[0, :, :, 0].T
        if self.training and self.config.freq_patch_out > 0.0:
            rows = choose_rows(batch, self.config.freq_patch_out)[plan.clip].to(device)  # (columns, rows)
            tokens = tokens.take_along_dim(rows[..., None], dim=1)
        return tokens.flatten(0, 1), tokens.shape[1]

    def _encode(self, tokens: Tensor, sizes: list[int]) -> Tensor:
        """Run the transformer over pieces of `sizes` tokens; `(tokens, dim)` to the same."""
        default = _CPU_GROUP if tokens.device.type == "cpu" else _GPU_GROUP
        if self.precision == "int8":
            default = _INT8_GROUP
        groups = _group(sizes, self.tokens_per_group or default)
        parts = tokens.split([sum(group) for group in groups])
        encoded = [self._encode_group(part, group) for part, group in zip(parts, groups, strict=True)]
        return encoded[0] if len(encoded) == 1 else torch.cat(encoded)

    def _encode_group(self, tokens: Tensor, sizes: list[int]) -> Tensor:
        device = tokens.device
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else tokens.dtype
        layout = make_layout(self.attention, sizes, device, dtype)
        x = layout.enter(tokens)
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, layout, use_reentrant=False)
            else:
                x = block(x, layout)
        return self.norm(layout.leave(x))


def _make_front_end(config: CEDConfig) -> LogMel | ReferenceLogMel:
    return LogMel() if config.mode == "masked" else ReferenceLogMel()


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _group(sizes: list[int], limit: int) -> list[list[int]]:
    """Put consecutive pieces in lists of at most `limit` tokens, or of one piece."""
    groups: list[list[int]] = [[]]
    for size in sizes:
        if groups[-1] and sum(groups[-1]) + size > limit:
            groups.append([])
        groups[-1].append(size)
    return groups


def _audioset_labels(num_classes: int) -> Sequence[str]:
    from audio_common.labels import AUDIOSET_LABELS

    if num_classes != len(AUDIOSET_LABELS):
        raise ValueError(f"no names for the {num_classes} classes of this model; give CEDConfig(labels=...)")
    return AUDIOSET_LABELS
