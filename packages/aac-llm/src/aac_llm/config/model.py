"""What a captioning model is made of: encoder, bridge and decoder, and what is trained of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audio_common.config import CEDConfig

ACOUSTIC_TOKENS = "<AcousticTokens>"
"""Placeholder of the sound in a prompt."""

REFERENCE_PROMPT = f"Describe the detail of this audio:{ACOUSTIC_TOKENS}\n---\nDetailed: "
"""The authors' one prompt."""

Strategy = Literal["frozen", "lora", "full"]


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Low-rank adapters of the encoder and of the decoder; the defaults are the authors'."""

    rank: int = 8
    """Rank of the update of each adapted matrix."""
    alpha: float = 32.0
    """The update is scaled by alpha / rank."""
    dropout: float = 0.1
    """Dropout before the adapters, in training."""
    encoder_targets: tuple[str, ...] = ("q", "v")
    """Linear layers of the encoder's blocks to adapt: any of q, k, v, proj, fc1, fc2."""
    decoder_targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of the decoder's linear layers to adapt."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank must be at least 1, got {self.rank}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"lora.dropout must be in [0, 1), got {self.dropout}")
        unknown = set(self.encoder_targets) - {"q", "k", "v", "proj", "fc1", "fc2"}
        if unknown:
            raise ValueError(f"lora.encoder_targets: the encoder has no layer {sorted(unknown)}")


@dataclass(frozen=True, kw_only=True)
class WhisperConfig:
    """Architecture of Whisper's audio encoder (defaults: whisper-tiny); weights say their own."""

    embed_dim: int = 384
    """Width of the tokens."""
    depth: int = 4
    """Number of transformer blocks."""
    num_heads: int = 6
    """Attention heads of a block."""
    mlp_dim: int = 1536
    """Width of a block's hidden layer."""
    num_mels: int = 80
    """Mel bands."""
    pad_seconds: float = 30.0
    """Silence is added to shorter sound up to this length: 30, as in Whisper's training, or less, down to 0,
    which is many times faster."""

    def __post_init__(self) -> None:
        for name in ("embed_dim", "depth", "num_heads", "mlp_dim", "num_mels"):
            if getattr(self, name) < 1:
                raise ValueError(f"whisper.{name} must be at least 1, got {getattr(self, name)}")
        if self.embed_dim % self.num_heads or self.embed_dim % 2:
            raise ValueError(
                f"whisper.embed_dim must be even and divide by num_heads, got {self.embed_dim} and "
                f"{self.num_heads}"
            )
        if not 0.0 <= self.pad_seconds <= 30.0:
            raise ValueError(f"whisper.pad_seconds must be in [0, 30], got {self.pad_seconds}")


@dataclass(frozen=True, kw_only=True)
class BridgeConfig:
    """From encoder tokens to decoder embeddings; the defaults are the authors' window-level Q-Former."""

    kind: Literal["window", "clip", "linear"] = "window"
    """A Q-Former over each `window` or over the `clip`; `linear`: each window's mean, projected."""
    window: int = 17
    """Encoder tokens in a window, windows do not overlap (kinds window and linear)."""
    num_queries: int = 1
    """Decoder embeddings for each window (kind window) or for the clip (kind clip)."""
    num_layers: int = 2
    """Layers of the Q-Former."""
    hidden_size: int = 768
    """Width of the Q-Former."""
    num_heads: int = 12
    """Attention heads of the Q-Former."""
    intermediate_size: int = 3072
    """Width of the Q-Former's feed-forward layers."""
    cross_attention_frequency: int = 1
    """Layers from one that looks at the sound to the next; 1: all look."""

    def __post_init__(self) -> None:
        for name in (
            *("window", "num_queries", "num_layers", "hidden_size", "num_heads", "intermediate_size"),
            "cross_attention_frequency",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"bridge.{name} must be at least 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"bridge.hidden_size must divide by num_heads, got {self.hidden_size} and {self.num_heads}"
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A captioner: an audio encoder, a bridge and a causal language model."""

    decoder: str = "meta-llama/Llama-2-7b-hf"
    """Hub id or folder of the causal language model."""
    decoder_strategy: Strategy = "lora"
    """What to train of the decoder: `frozen` nothing, `lora` adapters, `full` all of it."""
    decoder_dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Number format of the decoder's frozen weights (trained ones are kept in float32)."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Load the decoder's frozen weights in 8 or 4 bits with bitsandbytes (4bit and lora: QLoRA)."""
    encoder_kind: Literal["ced", "whisper"] = "ced"
    """The audio encoder: CED, as in the paper, or Whisper's."""
    encoder: CEDConfig = field(default_factory=CEDConfig)
    """Architecture of CED."""
    whisper: WhisperConfig = field(default_factory=WhisperConfig)
    """Architecture of Whisper's encoder, with encoder_kind whisper."""
    encoder_weights: str | None = None
    """Initial weights of the encoder: hub id (mispeech/ced-base, openai/whisper-tiny), folder, or of CED a
    file; none: random."""
    encoder_strategy: Strategy = "lora"
    """What to train of the encoder; as decoder_strategy."""
    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    """Bridge between the two."""
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    """Low-rank adapters of both."""
    layout: Literal["time_major", "reference"] = "time_major"
    """`time_major`: windows of time, nothing dropped, padding masked; `reference`: the authors' windows
    along time within one mel band, the tail dropped (needs encoder.mode reference)."""
    prompt: str = REFERENCE_PROMPT
    """Text around the sound, which stands at <AcousticTokens>."""
    caption_normalization: Literal["reference", "none"] = "reference"
    """Training captions: `reference` in lower case without punctuation, as the authors; `none` as given."""
    timestamps: bool = False
    """Whether it was trained to write events with their times, too; `data.timestamps` of training sets it."""

    def __post_init__(self) -> None:
        if self.timestamps and (self.layout == "reference" or self.bridge.kind == "clip"):
            raise ValueError(
                "timestamps need acoustic tokens in the order of time: layout time_major and a bridge of "
                f"kind window or linear, got layout {self.layout} and bridge.kind {self.bridge.kind}"
            )
        if self.prompt.count(ACOUSTIC_TOKENS) != 1:
            raise ValueError(f"prompt must hold {ACOUSTIC_TOKENS} once, got {self.prompt!r}")
        if (self.layout == "reference") != (self.encoder.mode == "reference"):
            raise ValueError(
                f"layout {self.layout} goes with encoder.mode "
                f"{'reference' if self.layout == 'reference' else 'masked'}, got {self.encoder.mode}"
            )
        if self.encoder_kind == "whisper" and self.layout == "reference":
            raise ValueError("layout reference is of CED's mel bands: set layout time_major for whisper")
        if self.encoder_kind == "ced" and self.whisper != WhisperConfig():
            raise ValueError("whisper.* goes with encoder_kind whisper")
        if self.quantization != "none" and self.decoder_strategy == "full":
            raise ValueError(
                f"quantization {self.quantization} cannot be trained in full; use lora or frozen"
            )

    @property
    def encoder_dim(self) -> int:
        """Width of the encoder's tokens."""
        return self.whisper.embed_dim if self.encoder_kind == "whisper" else self.encoder.embed_dim

    @property
    def encoder_depth(self) -> int:
        """Number of the encoder's blocks."""
        return self.whisper.depth if self.encoder_kind == "whisper" else self.encoder.depth
