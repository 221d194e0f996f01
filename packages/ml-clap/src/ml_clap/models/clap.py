"""LAION's CLAP as transformers has it (`ClapModel`; arXiv:2211.06687), without its chance.

Its own feature extractor cuts sounds over 10 s at a random place (`rand_trunc`), or takes three random cuts
(`fusion`), so that two calls give two embeddings, by public reports as far apart as cosine 0.3. Here:

- a sound of up to 10 s gets what the extractor gives it: repeated and filled with zeros (`repeatpad`), or
  what else its configuration says; the embedding equals that of `ClapModel.get_audio_features`;
- a longer one is the mean of its windows of 10 s, see `ml_clap.models.windows`;
- `is_longer` is never drawn: a model with fusion hears each window as the short sound that it is.

Its texts are English.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from audio_common.config import Channel
from audio_common.mel import check_lengths
from audio_common.sizes import check_folder, check_sizes
from audio_common.strict_json import read_object
from torch import Tensor, nn

from ml_clap.models.identity import hash_model
from ml_clap.models.licence import CARD_FILE, UNKNOWN, licence_of_card
from ml_clap.models.text_source import TOKENIZER_FILES, fetch_folder, naming
from ml_clap.models.tokenizer import CutText, HFTokenizer, TextPreparer
from ml_clap.models.windows import embed_windows

if TYPE_CHECKING:
    from typing import Self

logger = logging.getLogger(__name__)

EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Where transformers keeps the feature extractor's settings, in 4 and in 5."""
HUB_FILES = ("config.json", *EXTRACTOR_FILES, CARD_FILE, "model*.safetensors*", *TOKENIZER_FILES)
ENGLISH = "eng_Latn"
WINDOWS_AT_ONCE = 16
MIN_POWER = 1e-10


class CLAP(nn.Module):
    """A `ClapModel` behind the interface of `ml_clap.models.dual_encoder`.

    Args:
        model: the `ClapModel`.
        features: its `ClapFeatureExtractor`.
        tokenizer: its tokenizer.
        licence: of its weights.
    """

    kind = "CLAP of transformers"
    min_samples = 0
    channel: Channel = "mean"

    def __init__(self, model: Any, features: Any, tokenizer: HFTokenizer, licence: str = UNKNOWN) -> None:
        super().__init__()
        self.model = model
        self.features = features
        self.tokenizer = tokenizer
        self.licence = licence
        self.embed_dim: int = model.config.projection_dim
        self.sample_rate: int = features.sampling_rate
        self.max_seconds: float | None = features.nb_max_samples / features.sampling_rate
        self._has_warned = False

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load a folder or a hub id of a `ClapModel` in evaluation mode.

        Raises:
            ValueError: It is none, or lacks a file or weights.
        """
        folder = fetch_folder(
            source, wanted="a folder or hub id of a CLAP of transformers", patterns=HUB_FILES
        )
        if not any(folder.glob("*.safetensors")) and not (folder / "pytorch_model.bin").is_file():
            fetch_folder(source, wanted="its weights", patterns=("pytorch_model.bin",))
        check_folder(folder)
        for path in (folder / name for name in EXTRACTOR_FILES):
            if path.is_file():
                check_sizes(read_object(path), str(path))
        with naming(folder):
            model, features, tokenizer = _read(folder)
        return cls(model, features, tokenizer, licence_of_card(folder)).to(device, dtype).eval()

    def embed_audio(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed a batch of sounds.

        Args:
            waveforms: `(batch, samples)` at `sample_rate`.
            lengths: samples of each, `(batch,)`; None: all of them.

        Returns:
            `(batch, embed_dim)` float32, L2-normalized.
        """
        sizes = check_lengths(waveforms, lengths)
        longest = self.features.nb_max_samples
        return embed_windows(waveforms.to(self.device), sizes, longest, self._embed, at_once=WINDOWS_AT_ONCE)

    def embed_text(self, texts: Sequence[str], languages: str | Sequence[str] = ENGLISH) -> Tensor:
        """Embed a batch of texts, `(texts, embed_dim)` float32, L2-normalized; a language changes nothing."""
        self._warn_of_languages(languages)
        ids, mask = self.prepare_text(texts, ENGLISH).to(self.device)
        output = self.model.text_model(input_ids=ids, attention_mask=mask.long())
        return F.normalize(self.model.text_projection(output.pooler_output).float(), dim=-1)

    @property
    def prepare_text(self) -> TextPreparer:
        """From texts to token ids; the texts as they are."""
        return TextPreparer(self.tokenizer, "none", "")

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts of which tokens are cut off."""
        return self.prepare_text.find_cut(texts)

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much; nothing where none does."""
        return self.prepare_text.describe_cut(cut)

    def find_unheard(self, lengths: Sequence[int]) -> list[int]:
        """Return none: every sound is heard to its end."""
        return []

    def fingerprint(self) -> str:
        """Return a short stable hash of weights, tokenizer, and how sounds become features."""
        kept = {name: each for name, each in self.features.to_dict().items() if not name.startswith("mel_")}
        settings = (sorted(kept.items(), key=str), self.tokenizer.max_tokens, self.tokenizer.fingerprint())
        return hash_model(self.model.state_dict(), settings)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.logit_scale_a.device

    def log_mel(self, windows: Sequence[Tensor]) -> Tensor:
        """Return what the feature extractor makes of sounds of at most its window.

        In double precision, as it computes: a quiet band beside a loud one is lost in single.

        Args:
            windows: each `(samples,)`.

        Returns:
            `(windows, 1, frames, bands)` float32 in dB; with fusion 4 times the same instead of once.
        """
        features = self.features
        filled = torch.stack([fill(window, features.nb_max_samples, features.padding) for window in windows])
        size, has_fusion = features.fft_window_size, features.truncation == "fusion"
        signal = F.pad(filled.double()[:, None], (size // 2, size // 2), mode="reflect")[:, 0]
        frames = signal.unfold(1, size, features.hop_length)  # (windows, frames, size)
        window = torch.hann_window(size, dtype=torch.float64, device=signal.device)
        power = torch.fft.rfft(frames * window).abs().square()
        filters = features.mel_filters if has_fusion else features.mel_filters_slaney
        bands = power @ torch.as_tensor(filters, dtype=torch.float64, device=signal.device)
        decibels = 10.0 * bands.clamp_min(MIN_POWER).log10()
        return decibels.float()[:, None].expand(-1, 4 if has_fusion else 1, -1, -1)

    def _embed(self, windows: list[Tensor]) -> Tensor:
        mels = self.log_mel(windows).to(self.model.logit_scale_a.dtype)
        is_longer = torch.zeros(len(mels), 1, dtype=torch.bool, device=mels.device)
        output = self.model.audio_model(input_features=mels, is_longer=is_longer)
        return self.model.audio_projection(output.pooler_output)

    def _warn_of_languages(self, languages: str | Sequence[str]) -> None:
        others = {languages} if isinstance(languages, str) else set(languages)
        if (others := others - {ENGLISH}) and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "this CLAP was trained on English texts, and reads those in %s as if they were English",
                ", ".join(sorted(others)),
            )


def fill(waveform: Tensor, length: int, padding: str) -> Tensor:
    """Make a sound `(samples,)` as long as a window, as CLAP's feature extractor does.

    Args:
        waveform: at most `length` samples.
        length: samples.
        padding: `repeatpad` repeats it as often as it fits whole, then zeros; `repeat` until it is full;
            `pad` with zeros alone.
    """
    times = 1
    if padding == "repeat":
        times = -(-length // len(waveform))
    elif padding == "repeatpad":
        times = length // len(waveform)
    repeated = waveform.repeat(times)[:length]
    return F.pad(repeated, (0, length - len(repeated)))


def _read(folder: Path) -> tuple[Any, Any, HFTokenizer]:
    import transformers

    kind: Any = transformers.ClapModel
    model, info = kind.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, revision=None
    )
    missing = [name for name in info["missing_keys"] if not name.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"it lacks weights of a ClapModel: {', '.join(sorted(missing)[:5])}")
    features = transformers.ClapFeatureExtractor.from_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, revision=None)
    positions = model.config.text_config.max_position_embeddings
    return model, features, HFTokenizer(theirs, max_tokens=positions - 2)
