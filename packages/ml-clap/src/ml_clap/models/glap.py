"""GLAP (arXiv:2506.11350; xiaomi-research/dasheng-glap): Dasheng and SONAR with the heads of ML-CLAP.

Its authors publish `glap_checkpoint.pt`: weights under `audio_encoder.model.*` (Dasheng),
`text_encoder.model.*` (SONAR, fairseq2's names), `audio_proj.*` and `text_proj.*`, and beside them their
training configuration. Texts are read as they are and, in every language, as English (`eng_Latn`), which is
how GLAP was trained. Its weights hold SONAR's, which are CC-BY-NC-4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from audio_common.checkpoint import convert_state_dict, read_tensors
from audio_common.config import Channel
from torch import Tensor, nn

from ml_clap.models.checkpoint import HEAD_WIDTH, check_fit, find_tokenizer
from ml_clap.models.dasheng import Dasheng, DashengConfig
from ml_clap.models.identity import hash_model
from ml_clap.models.licence import SONAR
from ml_clap.models.published import GLAP_FILE
from ml_clap.models.shared_space import make_head, project
from ml_clap.models.sonar import sonar_config, to_our_layout
from ml_clap.models.text_encoder import TransformersTextEncoder, build_empty
from ml_clap.models.text_source import load_pt, naming
from ml_clap.models.tokenizer import CutText, SonarTokenizer, TextPreparer

if TYPE_CHECKING:
    from typing import Self

LANGUAGE = "eng_Latn"
MAX_TOKENS = 512
_AUDIO, _TEXT = "audio_encoder.model.", "text_encoder.model."


class GLAP(nn.Module):
    """GLAP behind the interface of `ml_clap.models.dual_encoder`.

    Args:
        audio: architecture of the audio encoder.
        text_encoder: SONAR.
        embed_dim: width of the shared space.
    """

    kind = "GLAP"
    sample_rate = 16_000
    min_samples = 0
    max_seconds: float | None = None
    channel: Channel = "mean"
    licence = SONAR

    def __init__(
        self, audio: DashengConfig, text_encoder: TransformersTextEncoder, embed_dim: int = 1024
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.audio_encoder = Dasheng(audio)
        self.float_fingerprint: str | None = None
        self.text_encoder = text_encoder
        self.audio_proj = make_head(audio.embed_dim, embed_dim)
        self.text_proj = make_head(text_encoder.dim, embed_dim)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        text_tokenizer: str | Path | None = None,
        head_width: int = HEAD_WIDTH,
    ) -> Self:
        """Load `glap_checkpoint.pt`, or the folder that holds it, in evaluation mode.

        Args:
            source: the file, `.pt` or `.safetensors`, or its folder.
            device: where to put it.
            dtype: of its weights.
            text_tokenizer: SONAR's sentencepiece file or a folder with it; default: beside the weights.
            head_width: width of an attention head, which no tensor tells.

        Raises:
            ValueError: it is another model, damaged, or lacks its tokenizer.
        """
        path = Path(source)
        path = path / GLAP_FILE if path.is_dir() else path
        state = read_tensors(path) if path.suffix == ".safetensors" else load_pt(path)
        if not is_glap(state):
            raise ValueError(f"{path} is not GLAP's: its weights begin with {', '.join(list(state)[:3])}")
        pieces = find_tokenizer(path, text_tokenizer)
        with naming(path):
            model = build_glap(state, SonarTokenizer(pieces, max_tokens=MAX_TOKENS), head_width=head_width)
        return model.to(device, dtype).eval()  # type: ignore[return-value]

    def embed_audio(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed a batch of clips, each by itself.

        Args:
            waveforms: `(batch, samples)` at 16 kHz.
            lengths: samples of each, `(batch,)`; None: all of them.

        Returns:
            `(batch, embed_dim)` float32, L2-normalized.
        """
        return project(self.audio_proj, self.audio_encoder(waveforms.to(self.device), lengths))

    def embed_text(self, texts: Sequence[str], languages: str | Sequence[str] = LANGUAGE) -> Tensor:
        """Embed texts of any language, `(texts, embed_dim)` float32, L2-normalized.

        `languages` changes nothing: GLAP reads all of them with the token of English.
        """
        ids, mask = self.prepare_text(texts, LANGUAGE).to(self.device)
        return project(self.text_proj, self.text_encoder(ids, mask))

    @property
    def prepare_text(self) -> TextPreparer:
        """From texts to token ids; the texts as they are."""
        return TextPreparer(self.text_encoder.tokenizer, "none", "")

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts of which tokens are cut off."""
        return self.prepare_text.find_cut(texts)

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much; nothing where none does."""
        return self.prepare_text.describe_cut(cut)

    def find_unheard(self, lengths: Sequence[int]) -> list[int]:
        """Return none: every sound is heard to its end."""
        return []

    def round_audio_encoder(self) -> None:
        """Make the sound encoder's layers 8-bit integers, in place, for inference on a CPU.

        The fingerprint stays that of the float32 model: its vectors and these can be compared.

        Raises:
            ValueError: see `audio_common.int8`.
        """
        self.float_fingerprint = self.fingerprint()
        self.audio_encoder.set_precision("int8")

    def fingerprint(self) -> str:
        """Return a short stable hash of weights, tokenizer and architecture."""
        if self.float_fingerprint is not None:
            return self.float_fingerprint
        tokenizer = self.text_encoder.tokenizer
        settings = ("GLAP", asdict(self.audio_encoder.config), tokenizer.max_tokens, tokenizer.fingerprint())
        return hash_model(self.state_dict(), settings)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.audio_proj.parameters()).device


def is_glap(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are GLAP's: ML-CLAP's names, but Dasheng's patches of 64 bands x 4 frames."""
    patches = state.get(f"{_AUDIO}patch_embed.proj.weight")
    return isinstance(patches, Tensor) and tuple(patches.shape[-2:]) == (64, 4)


def build_glap(state: Mapping[str, Tensor], tokenizer: SonarTokenizer, *, head_width: int) -> GLAP:
    """Build the model that GLAP's published weights are of, and load them strictly."""
    ours = convert_glap(state)
    text_state = {
        name.removeprefix("text_encoder.encoder."): each
        for name, each in ours.items()
        if name.startswith("text_encoder.")
    }
    config = sonar_config(text_state, head_width=head_width)
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"its text encoder embeds {config.vocab_size} tokens, and the tokenizer has "
            f"{tokenizer.vocab_size}: give SONAR's own, sentencepiece.source.256000.model"
        )
    audio = dasheng_config(ours, head_width=head_width)
    embed_dim = len(ours["audio_proj.0.bias"])

    def build() -> GLAP:
        return GLAP(audio, TransformersTextEncoder(config, tokenizer), embed_dim)

    model = build_empty(build, lambda made: check_fit(made.state_dict(), ours))
    model.load_state_dict(ours, strict=True)
    return model


def convert_glap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return GLAP's published weights under the names of `GLAP`'s own."""
    audio = convert_state_dict(_below(state, _AUDIO))
    text = to_our_layout(_below(state, _TEXT))
    rest = {name: each for name, each in state.items() if not name.startswith((_AUDIO, _TEXT))}
    return (
        {f"audio_encoder.{name}": each for name, each in audio.items()}
        | {f"text_encoder.encoder.{name}": each for name, each in text.items()}
        | rest
    )


def dasheng_config(state: Mapping[str, Tensor], *, head_width: int = HEAD_WIDTH) -> DashengConfig:
    """Return the architecture of the audio encoder of a converted state."""
    dim, tokens = (state["audio_encoder.time_pos_embed"].shape[place] for place in (1, 3))
    blocks = {name.split(".")[2] for name in state if name.startswith("audio_encoder.blocks.")}
    inner = len(state["audio_encoder.blocks.0.mlp.fc1.bias"])
    return DashengConfig(
        embed_dim=dim,
        depth=len(blocks),
        num_heads=max(dim // head_width, 1),
        mlp_ratio=inner / dim,
        num_tokens=tokens,
    )


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}
