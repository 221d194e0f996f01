"""ML-CLAP: one space for sounds and for their descriptions in many languages (arXiv 2406.07012).

A CED audio encoder and a text encoder, each with the paper's head (linear, ReLU, linear) into a shared space,
L2-normalised. Departures from the paper, each with the setting that undoes it:

- the temperature is learnt in log space and kept between 0.01 and 1 (`temperature_parameter: raw`);
- a clip's embedding depends on that clip alone (`audio.mode: reference`);
- punctuation of every script is removed from texts (`text_normalization: reference`);
- texts in several languages are one forward pass; the authors run one per language, with equal results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from audio_common.ced import CED
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from ml_clap.config.model import TEMPERATURE_RANGE, ModelConfig
from ml_clap.models.text_encoder import TextEncoder, load_text_encoder
from ml_clap.models.tokenizer import TextBatch, TextPreparer

if TYPE_CHECKING:
    from typing import Any, Self

    from audio_common.augment import SpecAugment

Mode = Literal["masked", "reference"]


class MLCLAP(nn.Module):
    """Audio and text encoders with heads into one space.

    Args:
        config: The architecture, and where the encoders' weights start.
        audio_encoder: Used instead of what `config.audio` and `config.audio_weights` say.
        text_encoder: Used instead of what `config.text_encoder` names.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        audio_encoder: CED | None = None,
        text_encoder: TextEncoder | None = None,
    ) -> None:
        super().__init__()
        self.audio_encoder = _make_audio_encoder(config) if audio_encoder is None else audio_encoder
        self.text_encoder = _make_text_encoder(config) if text_encoder is None else text_encoder
        self.config = replace(config, audio=self.audio_encoder.config)
        self.audio_proj = make_head(self.config.audio.embed_dim, config.embed_dim)
        self.text_proj = make_head(self.text_encoder.dim, config.embed_dim)
        if config.temperature_parameter == "log":
            self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        else:
            self.raw_temperature = nn.Parameter(torch.tensor(config.temperature))
        self._freeze()
        self._enable_gradient_checkpointing()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        mode: Mode | None = None,
        text_tokenizer: str | Path | None = None,
    ) -> Self:
        """Load a model in evaluation mode.

        Args:
            source: A folder of `save_pretrained`, a hub id of one, or a checkpoint of the authors
                (`pretrain.pt`, `ac_finetune_le_mixture.pt`, `clotho_finetune_le_mixture.pt`).
            device: Where to put it.
            mode: `reference` runs audio and text as the authors' code does, whatever the model was saved
                with; `masked` runs audio clip by clip. Default: as saved; the authors' checkpoints `masked`.
            text_tokenizer: SONAR's sentencepiece file or a folder with it, which the authors' checkpoints
                lack; by default looked for beside the checkpoint.

        Raises:
            ValueError: The source is not a model, or the text tokenizer is missing.
        """
        from ml_clap.models.checkpoint import load_model

        model: Any = load_model(cls, source, mode=mode, text_tokenizer=text_tokenizer)
        model.to(device).eval()
        return model

    def save_pretrained(self, folder: str | Path, *, save_frozen: bool = True) -> None:
        """Write `config.json`, `model.safetensors` and the text encoder's configuration and tokenizer.

        Args:
            folder: Made if missing; complete in itself.
            save_frozen: False leaves out encoders that are frozen and came from a named source, which loading
                then reads again; the folder is small but no longer complete.
        """
        from ml_clap.models.checkpoint import save_model

        save_model(self, Path(folder), save_frozen=save_frozen)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, save_frozen: bool = True) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub, and return the commit's address.

        Mind the licence of the weights: SONAR's are CC-BY-NC-4.0.
        """
        from ml_clap.models.checkpoint import push_model

        return push_model(self, repo_id, private=private, save_frozen=save_frozen)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | None,
        text_ids: Tensor,
        text_mask: Tensor,
        spec_augment: SpecAugment | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings `(batch, embed_dim)` of a batch of clips and of a batch of texts; arguments as below."""
        return self.encode_audio(waveforms, lengths, spec_augment), self.encode_tokens(text_ids, text_mask)

    def encode_audio(
        self, waveforms: Tensor, lengths: Tensor | None = None, spec_augment: SpecAugment | None = None
    ) -> Tensor:
        """Embed clips.

        Args:
            waveforms: `(batch, samples)` at 16 kHz.
            lengths: Samples of each clip, `(batch,)`; None: all of them.
            spec_augment: Masks bands of the spectrograms; training only.

        Returns:
            `(batch, embed_dim)` float32, L2-normalised.
        """
        lengths = None if lengths is None else lengths.to(self.device)
        output = self.audio_encoder(waveforms.to(self.device), lengths, spec_augment=spec_augment)
        return self.project_audio(output.pooled)

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embed tokenised texts (`ids` and `mask` `(batch, length)`): `(batch, embed_dim)`, L2-normalised."""
        return self.project_text(self.text_encoder(ids.to(self.device), mask.to(self.device)))

    def encode_text(self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn") -> Tensor:
        """Embed texts, all in one language or each in its own: `(batch, embed_dim)`, L2-normalised."""
        return self.encode_tokens(*self.tokenize(texts, languages))

    def project_audio(self, features: Tensor) -> Tensor:
        """The audio head on pooled features `(batch, audio dim)`, L2-normalised."""
        return _embed(self.audio_proj, features)

    def project_text(self, features: Tensor) -> Tensor:
        """The text head on sentence vectors `(batch, text dim)`, L2-normalised."""
        return _embed(self.text_proj, features)

    @property
    def prepare_text(self) -> TextPreparer:
        """What `tokenize` does, without the model: give this to data workers."""
        return TextPreparer(
            self.text_encoder.tokenizer, self.config.text_normalization, self.config.text_prefix
        )

    def tokenize(self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn") -> TextBatch:
        """Normalise, prefix, tokenise and truncate texts, all in one language or each in its own."""
        return self.prepare_text(texts, languages)

    @property
    def temperature(self) -> Tensor:
        """The scalar by which the loss divides similarities, float32, with its gradient."""
        if self.config.temperature_parameter == "raw":
            return self.raw_temperature.float()
        bounds = (math.log(TEMPERATURE_RANGE[0]), math.log(TEMPERATURE_RANGE[1]))
        return _ReturningClamp.apply(self.log_temperature.float(), *bounds).exp()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.audio_proj.parameters()).device

    def train(self, mode: bool = True) -> Self:
        """As of every module, but frozen encoders stay in evaluation mode."""
        super().train(mode)
        if self.config.freeze_text:
            self.text_encoder.eval()
        return self

    def fingerprint(self) -> str:
        """Short stable hash of all that decides an embedding: weights, tokenizer, settings.

        The temperature, the audio encoder's tagging head and the training settings are not part of it; the
        text backend is not either, since both give the same embeddings.
        """
        digest = blake2b(digest_size=12)
        for name, tensor in sorted(self.export_state().items()):
            if not name.endswith(("temperature", "num_batches_tracked")) and ".outputlayer." not in name:
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        digest.update(repr(self._embedding_settings()).encode())
        return digest.hexdigest()

    def export_state(self) -> dict[str, Tensor]:
        """Weights by the names that `save_pretrained` writes, the same for both text backends."""
        own = {name: each for name, each in self.state_dict().items() if not name.startswith("text_encoder.")}
        return own | {f"text_encoder.{name}": each for name, each in self.text_encoder.export_state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load weights by those names, strictly.

        Raises:
            ValueError: Listing what is missing, unexpected or of another shape.
        """
        check_fit(self.export_state(), state)
        text = {name: each for name, each in state.items() if name.startswith("text_encoder.")}
        self.text_encoder.load_state(
            {name.removeprefix("text_encoder."): each for name, each in text.items()}
        )
        self.load_state_dict({name: each for name, each in state.items() if name not in text}, strict=False)

    def summary(self) -> str:
        """Number of parameters of each part, one a line."""
        text = self.text_encoder
        parts: dict[str, nn.Module] = {
            f"audio encoder (CED, {self.config.audio.embed_dim} wide)": self.audio_encoder,
            f"text encoder ({text.config.model_type}, {text.dim} wide)": text,
            f"heads (to {self.config.embed_dim})": nn.ModuleList([self.audio_proj, self.text_proj]),
        }
        lines = [f"{name}: {_count(part)}" for name, part in parts.items()]
        return "\n".join([*lines, f"all: {_count(self)}", f"temperature: {self.temperature.item():.4f}"])

    def _embedding_settings(self) -> tuple[object, ...]:
        config, tokenizer = self.config, self.text_encoder.tokenizer
        audio = (config.audio.mode, config.audio.target_length, config.audio.num_heads)
        return (
            *audio,
            config.text_normalization,
            config.text_prefix,
            tokenizer.max_tokens,
            tokenizer.fingerprint(),
        )

    def _freeze(self) -> None:
        # The tagging head takes no part: distributed training refuses parameters without a gradient.
        self.audio_encoder.outputlayer.requires_grad_(False)
        if self.config.freeze_audio:
            self.audio_encoder.freeze()
        if self.config.freeze_text:
            self.text_encoder.requires_grad_(False)
            self.text_encoder.eval()

    def _enable_gradient_checkpointing(self) -> None:
        if not self.config.gradient_checkpointing:
            return
        if not self.config.freeze_audio:
            self.audio_encoder.gradient_checkpointing_enable()
        if not self.config.freeze_text:
            self.text_encoder.enable_gradient_checkpointing()


class _ReturningClamp(torch.autograd.Function):
    """A clamp whose gradient is dropped only where it points further out, so that a value never sticks."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, low: float, high: float) -> Tensor:
        ctx.at_low, ctx.at_high = value <= low, value >= high  # type: ignore[attr-defined]
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        # Descent moves against the gradient: at the low end a positive one would push lower still.
        outward = (ctx.at_low & (gradient > 0)) | (ctx.at_high & (gradient < 0))  # type: ignore[attr-defined]
        return gradient.masked_fill(outward, 0.0), None, None


def make_head(dim: int, embed_dim: int) -> nn.Sequential:
    """The paper's head: linear, ReLU, linear."""
    return nn.Sequential(nn.Linear(dim, embed_dim), nn.ReLU(), nn.Linear(embed_dim, embed_dim))


def check_fit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raise a ValueError that lists what is missing, unexpected or of another shape in `given`."""
    problems = [f"missing: {name}" for name in wanted if name not in given]
    problems += [f"unexpected: {name}" for name in given if name not in wanted]
    problems += [
        f"{name}: expected {tuple(wanted[name].shape)}, got {tuple(given[name].shape)}"
        for name in wanted
        if name in given and wanted[name].shape != given[name].shape
    ]
    if problems:
        raise ValueError("the weights do not fit the model:\n  " + "\n  ".join(problems[:20]))


def _embed(head: nn.Sequential, features: Tensor) -> Tensor:
    weight = next(head.parameters())
    return F.normalize(head(features.to(weight.dtype)).float(), dim=-1)


def _make_audio_encoder(config: ModelConfig) -> CED:
    if config.audio_weights is None:
        return CED(config.audio)
    wanted = config.audio
    return CED.from_pretrained(
        config.audio_weights,
        mode=wanted.mode,
        drop_path=wanted.drop_path,
        time_patch_out=wanted.time_patch_out,
        freq_patch_out=wanted.freq_patch_out,
    )


def _make_text_encoder(config: ModelConfig) -> TextEncoder:
    return load_text_encoder(
        config.text_encoder, backend=config.text_backend, max_tokens=config.max_text_tokens
    )


def _count(module: nn.Module) -> str:
    total = sum(each.numel() for each in module.parameters())
    learnt = sum(each.numel() for each in module.parameters() if each.requires_grad)
    return f"{_number(total)} parameters" + (
        "" if learnt == total else f", {_number(learnt)} of them trained"
    )


def _number(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count:,}"
