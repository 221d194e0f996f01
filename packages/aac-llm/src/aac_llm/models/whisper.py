"""Whisper's audio encoder (arXiv:2212.04356) behind the interface of CED: sounds in, tokens and a mask out.

The weights are those of any Whisper of the hub; what is computed is what transformers' `WhisperEncoder` does
(tested: 1e-5 on whole windows of 30 s), with three differences:

- what comes out for a clip depends on that clip alone, whatever it is batched with: padding is neither heard
  nor attended to;
- only the tokens of the sound are handed on (50 a second), not those of the silence behind it. How much
  silence there is decides `WhisperConfig.pad_seconds`: up to 30 s, as in Whisper's training, or none, which
  for short sounds is many times faster;
- longer sound is cut into pieces of 30 s, each encoded by itself.

The blocks are those of CED (`audio_common.attention`), whose linear layers have the same names for adapters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from audio_common.attention import AttentionKind, Block, make_layout
from audio_common.checkpoint import check_folder
from audio_common.hub import fetch
from audio_common.mel import check_lengths
from audio_common.strict_json import read_object
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from aac_llm.config.model import WhisperConfig
from aac_llm.files import write_json
from aac_llm.models.tensors import CheckpointError, load_part, write_tensors

if TYPE_CHECKING:
    from typing import Self

    from audio_common.augment import SpecAugment

SAMPLE_RATE = 16_000  # Hz
WINDOW, HOP = 400, 160  # samples of the spectrogram
TOKEN_SAMPLES = 2 * HOP
"""Samples of a token: the second convolution halves the frames."""
MAX_TOKENS = 1500
"""Tokens of 30 s, Whisper's window."""
PIECES_AT_ONCE = 16
"""Pieces encoded together, so that long recordings need no more memory than short ones."""
PATTERNS = ("config.json", "*.safetensors")
NAMES = {
    "self_attn_layer_norm": "norm1",
    "final_layer_norm": "norm2",
    "self_attn.q_proj": "attn.q",
    "self_attn.k_proj": "attn.k",
    "self_attn.v_proj": "attn.v",
    "self_attn.out_proj": "attn.proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
"""Part of a layer: its name in transformers, and here."""


@dataclass(frozen=True)
class EncoderOutput:
    """Tokens of a batch of clips."""

    tokens: Tensor
    """`(batch, tokens, dim)`, zeros where `mask` is False."""
    mask: Tensor
    """`(batch, tokens)` bool, True at tokens of the clip; a prefix of each row."""


def count_tokens(num_samples: int) -> int:
    """Return the number of tokens of a sound of `num_samples` at 16 kHz."""
    return -(-num_samples // TOKEN_SAMPLES)


class WhisperEncoder(nn.Module):
    """The encoder; see the module's docstring.

    >>> encoder = WhisperEncoder(WhisperConfig(embed_dim=48, depth=1, num_heads=3, mlp_dim=96, pad_seconds=0))
    >>> output = encoder.eval()(torch.zeros(2, 16_000), [16_000, 400])
    >>> tuple(output.tokens.shape), output.mask.sum(1).tolist()
    ((2, 50, 48), [50, 2])
    """

    positions: Tensor

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.attention: AttentionKind = "auto"
        self.gradient_checkpointing = False
        self.frozen = False
        dim = config.embed_dim
        self.conv1 = nn.Conv1d(config.num_mels, dim, 3, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2, padding=1)
        self.register_buffer("positions", _sinusoids(MAX_TOKENS, dim))
        self.blocks = nn.ModuleList(_make_block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim)

    @classmethod
    def from_pretrained(cls, source: str | Path, *, pad_seconds: float = 30.0) -> Self:
        """Load the encoder of a Whisper in transformers' layout, in evaluation mode and float32.

        Args:
            source: folder or hub id (`openai/whisper-tiny`).
            pad_seconds: see `WhisperConfig`.

        Raises:
            CheckpointError: not a Whisper, or with missing, unexpected or misshapen tensors, which it lists.
        """
        try:
            folder = fetch(source, PATTERNS)
        except Exception as e:  # huggingface_hub has a class for each kind of failure
            raise CheckpointError(
                f"no Whisper at {str(source)!r}, neither a folder nor on the hub: {e}"
            ) from e
        encoder = cls(_read_config(folder, pad_seconds))
        load_part(encoder, _read_tensors(folder), str(folder))
        return encoder.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `model.safetensors` and `config.json`, in transformers' layout of an encoder alone."""
        folder, config = Path(folder), self.config
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {_foreign_name(name): tensor for name, tensor in self.state_dict().items()}
        write_tensors(tensors, folder / "model.safetensors")
        settings = {
            "model_type": "whisper",
            "d_model": config.embed_dim,
            "encoder_layers": config.depth,
            "encoder_attention_heads": config.num_heads,
            "encoder_ffn_dim": config.mlp_dim,
            "num_mel_bins": config.num_mels,
            "max_source_positions": MAX_TOKENS,
        }
        write_json(folder / "config.json", settings)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        spec_augment: SpecAugment | None = None,
    ) -> EncoderOutput:
        """Encode a batch of clips.

        Args:
            waveforms: `(batch, samples)` float, 16 kHz, about [-1, 1].
            lengths: `(batch,)` samples of each clip, at least 1; None: all of them.
            spec_augment: applied to the log-mel frames of each piece.
        """
        sizes = check_lengths(waveforms, lengths)
        longest = MAX_TOKENS * TOKEN_SAMPLES
        cut = [row[:size].split(longest) for row, size in zip(waveforms, sizes, strict=True)]
        pieces = [piece for clip in cut for piece in clip]
        encoded: list[Tensor] = []
        for start in range(0, len(pieces), PIECES_AT_ONCE):
            encoded += self._encode(pieces[start : start + PIECES_AT_ONCE], spec_augment)
        parts = iter(encoded)
        clips = [torch.cat([next(parts) for _ in clip]) for clip in cut]
        counts = torch.tensor([len(clip) for clip in clips], device=waveforms.device)
        tokens = pad_sequence(clips, batch_first=True)  # (batch, tokens, dim)
        return EncoderOutput(tokens, torch.arange(tokens.shape[1], device=counts.device) < counts[:, None])

    def gradient_checkpointing_enable(self, enabled: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.gradient_checkpointing = enabled

    def freeze(self) -> None:
        """Switch off gradients."""
        self.requires_grad_(False)
        self.frozen = True

    def log_mel(self, piece: Tensor) -> Tensor:
        """Return the log-mel frames `(frames, mels)` of a piece `(samples,)` of at most 30 s, with silence.

        Each piece by itself: the floor, 8 below the maximum, must not come from a neighbour.
        """
        padded = max(len(piece), round(self.config.pad_seconds * SAMPLE_RATE))
        signal = F.pad(piece.float(), (0, count_tokens(padded) * TOKEN_SAMPLES - len(piece)))
        window = torch.hann_window(WINDOW, device=signal.device)
        power = torch.stft(signal, WINDOW, HOP, window=window, return_complex=True)[:, :-1].abs() ** 2
        # In float32 whatever the model's own format is, so the filters are no buffer of the module.
        mel = (_mel_filters(self.config.num_mels).to(signal.device) @ power).clamp(min=1e-10).log10()
        return ((mel.maximum(mel.max() - 8.0) + 4.0) / 4.0).T

    def _encode(self, pieces: Sequence[Tensor], spec_augment: SpecAugment | None) -> list[Tensor]:
        """Return the tokens `(tokens, dim)` of each piece, those of the sound alone."""
        with torch.autocast(pieces[0].device.type, enabled=False):
            frames = [self.log_mel(piece) for piece in pieces]
        if spec_augment is not None:
            counts = [len(piece) for piece in frames]
            frames = list(spec_augment(torch.cat(frames), counts).split(counts))
        tokens = self._embed(frames)
        sizes = [len(piece) for piece in tokens]
        packed = torch.cat(tokens)
        device = packed.device
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else packed.dtype
        layout = make_layout(self.attention, sizes, device, dtype)
        hidden = layout.enter(packed)
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(block, hidden, layout, use_reentrant=False)
            else:
                hidden = block(hidden, layout)
        encoded = self.norm(layout.leave(hidden)).split(sizes)
        return [row[: count_tokens(len(piece))] for row, piece in zip(encoded, pieces, strict=True)]

    def _embed(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """Turn log-mel frames `(frames, mels)` of each piece into its tokens `(frames / 2, dim)`."""
        padded = pad_sequence(list(frames), batch_first=True).to(self.conv1.weight.dtype)
        counts = torch.tensor([len(piece) for piece in frames], device=padded.device)
        own = torch.arange(padded.shape[1], device=padded.device) < counts[:, None]  # (pieces, frames)
        hidden = F.gelu(self.conv1(padded.transpose(1, 2)))
        # The first convolution spreads sound into the padding, which the second would read.
        hidden = F.gelu(self.conv2(hidden * own[:, None])).transpose(1, 2)  # (pieces, tokens, dim)
        sizes = [len(piece) // 2 for piece in frames]
        return [row[:size] + self.positions[:size] for row, size in zip(hidden, sizes, strict=True)]


def _make_block(config: WhisperConfig) -> Block:
    dim = config.embed_dim
    block = Block(dim, config.num_heads, config.mlp_dim / dim, drop_path=0.0)
    # As Whisper has them: a bias of the keys would change no attention.
    block.attn.k = nn.Linear(dim, dim, bias=False)
    block.norm1.eps = block.norm2.eps = 1e-5
    return block


def _sinusoids(length: int, dim: int) -> Tensor:
    """Return the positions `(length, dim)`: sines, then cosines (transformers' `sinusoids`)."""
    half = dim // 2
    rates = torch.exp(-torch.log(torch.tensor(10_000.0)) / (half - 1) * torch.arange(half))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@lru_cache
def _mel_filters(num_mels: int) -> Tensor:
    """Return `(mels, frequencies)` float32, Slaney's filters as in librosa."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=WINDOW // 2 + 1,
        num_mel_filters=num_mels,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.tensor(filters.T, dtype=torch.float32)


def _read_config(folder: Path, pad_seconds: float) -> WhisperConfig:
    path = folder / "config.json"
    try:
        check_folder(folder)  # before anything of absurd size is made
        settings: Mapping[str, Any] = read_object(path)
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{path} cannot be read: {e}") from e
    if settings.get("model_type") != "whisper" or settings.get("max_source_positions", 1500) != MAX_TOKENS:
        raise CheckpointError(
            f"{path}: expected model_type whisper with max_source_positions {MAX_TOKENS}, got "
            f"{settings.get('model_type')!r} and {settings.get('max_source_positions')!r}"
        )
    try:
        return WhisperConfig(
            embed_dim=settings["d_model"],
            depth=settings["encoder_layers"],
            num_heads=settings["encoder_attention_heads"],
            mlp_dim=settings["encoder_ffn_dim"],
            num_mels=settings["num_mel_bins"],
            pad_seconds=pad_seconds,
        )
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: not a Whisper that can be read: {e!r}") from e


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read the encoder's tensors, in float32, under our names; the decoder's are left where they are."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  # it is no dictionary
                    if own := re.fullmatch(r"(?:model\.)?encoder\.(.*)", name):
                        found[_own_name(own[1])] = file.get_tensor(name).float()
        except Exception as e:  # safetensors raises a few kinds for a damaged file
            raise CheckpointError(f"{path} cannot be read as safetensors: {e}") from e
    if not found:
        raise CheckpointError(f"{folder} has no safetensors with an encoder of Whisper")
    return found


def _own_name(name: str) -> str:
    """Translate transformers' name of an encoder's tensor.

    >>> _own_name("layers.3.self_attn.q_proj.weight"), _own_name("embed_positions.weight")
    ('blocks.3.attn.q.weight', 'positions')
    """
    name = name.replace("embed_positions.weight", "positions")
    name = re.sub(r"^layer_norm\.", "norm.", name)
    for theirs, ours in NAMES.items():
        name = re.sub(rf"^layers\.(\d+)\.{re.escape(theirs)}\.", rf"blocks.\1.{ours}.", name)
    return name


def _foreign_name(name: str) -> str:
    """Translate back, with the prefix of a whole Whisper.

    >>> _foreign_name("blocks.3.attn.q.weight"), _foreign_name("norm.bias")
    ('model.encoder.layers.3.self_attn.q_proj.weight', 'model.encoder.layer_norm.bias')
    """
    name = re.sub(r"^positions$", "embed_positions.weight", name)
    name = re.sub(r"^norm\.", "layer_norm.", name)
    for theirs, ours in NAMES.items():
        name = re.sub(rf"^blocks\.(\d+)\.{re.escape(ours)}\.", rf"layers.\1.{theirs}.", name)
    return f"model.encoder.{name}"
