"""Any audio-text model of sentence-transformers, through its multimodal `encode`.

A sound over what the model's feature extractor takes is cut into windows and averaged (the extractor itself
would cut it, some at random). Sounds are given to the model one by one: padding and, in some extractors,
chance would let neighbours decide otherwise. Prompts are those that the model has for `encode` by default.

No code that lies in a model's folder is run: modules must be of sentence-transformers itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from audio_common.config import Channel
from audio_common.mel import check_lengths
from audio_common.sizes import check_folder
from audio_common.strict_json import read_json
from torch import Tensor, nn

from ml_clap.models.identity import hash_model
from ml_clap.models.licence import CARD_FILE, UNKNOWN, licence_of_card
from ml_clap.models.text_source import fetch_folder, naming
from ml_clap.models.tokenizer import CutText, HFTokenizer
from ml_clap.models.windows import embed_windows

if TYPE_CHECKING:
    from typing import Self

MODULES_FILE = "modules.json"
HUB_FILES = (CARD_FILE, "*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
NO_LIMIT = 1_000_000
"""Tokenizers that know no limit state an astronomic one."""


class SentenceTransformerTowers(nn.Module):
    """A `SentenceTransformer` behind the interface of `ml_clap.models.dual_encoder`.

    Args:
        model: a `SentenceTransformer` that takes texts and sounds.
        licence: of its weights.

    Raises:
        ValueError: it takes no sounds, or does not say at which sample rate.
    """

    kind = "sentence-transformers"
    min_samples = 0
    channel: Channel = "mean"

    def __init__(self, model: Any, licence: str = UNKNOWN) -> None:
        super().__init__()
        lacking = {"text", "audio"} - set(model.modalities)
        if lacking:
            raise ValueError(
                "a model of texts and sounds is needed, and this one takes "
                f"{', '.join(map(str, model.modalities))}"
            )
        processor = getattr(model[0], "processor", None)
        self._extractor = getattr(processor, "feature_extractor", processor)
        rate = getattr(self._extractor, "sampling_rate", None)
        if not isinstance(rate, int):
            raise ValueError("its processor does not say the sampling_rate of its sounds")
        self.model = model
        self.licence = licence
        self.sample_rate = rate
        self._longest = self._find_longest()
        self.max_seconds = None if self._longest is None else self._longest / rate
        self.embed_dim = self._encode_texts(["a"]).shape[1]

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load a folder or a hub id with a `modules.json` in evaluation mode.

        Raises:
            ValueError: It is no such model, or has modules of its own.
            ImportError: The extra `sentence-transformers` is not installed.
        """
        folder = fetch_folder(source, wanted="a model of sentence-transformers", patterns=HUB_FILES)
        check_modules(folder)
        check_folder(folder)
        with naming(folder):
            model = _import_class()(
                str(folder), device=str(device), trust_remote_code=False, local_files_only=True
            )
            return cls(model, licence_of_card(folder)).to(device, dtype).eval()

    def embed_audio(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed a batch of sounds.

        Args:
            waveforms: `(batch, samples)` at `sample_rate`.
            lengths: samples of each, `(batch,)`; None: all of them.

        Returns:
            `(batch, embed_dim)` float32, L2-normalized; without gradients.
        """
        sizes = check_lengths(waveforms, lengths)
        # One window at a time, on the CPU, where the feature extractor works.
        return embed_windows(waveforms.cpu(), sizes, self._longest, self._encode_sounds, at_once=1)

    def embed_text(self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn") -> Tensor:
        """Embed texts, `(texts, embed_dim)` float32, L2-normalized, without gradients.

        `languages` changes nothing: such models read the language off the text.
        """
        return F.normalize(self._encode_texts(list(texts)).float(), dim=-1)

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts of which tokens are cut off, where the model states a limit."""
        limit, tokenizer = self.model.max_seq_length, getattr(self.model, "tokenizer", None)
        if not callable(tokenizer) or not isinstance(limit, int) or limit > NO_LIMIT:
            return []
        rows = tokenizer(list(texts), truncation=False)["input_ids"] if texts else []
        return [
            CutText(text, len(ids) - limit) for text, ids in zip(texts, rows, strict=True) if len(ids) > limit
        ]

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much; nothing where none does."""
        if not cut:
            return ""
        worst = max(cut, key=lambda text: text.num_dropped)
        dropped = sum(text.num_dropped for text in cut)
        return (
            f"{len(cut):,} text(s) cut to the model's {self.model.max_seq_length} tokens: {dropped:,} "
            f"dropped, most of {worst.text[:40]!r}...; write less"
        )

    def find_unheard(self, lengths: Sequence[int]) -> list[int]:
        """Return none: every sound is heard to its end."""
        return []

    def fingerprint(self) -> str:
        """Return a short stable hash of weights, modules, prompts and the tokenizer."""
        tokenizer = getattr(self.model, "tokenizer", None)
        words = HFTokenizer(tokenizer).fingerprint() if hasattr(tokenizer, "get_vocab") else None
        settings = (
            str(self.model),
            self.sample_rate,
            self._longest,
            sorted(self.model.prompts.items()),
            words,
        )
        return hash_model(self.model.state_dict(), settings)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.model.device)

    def _encode_sounds(self, windows: list[Tensor]) -> Tensor:
        items = [{"array": window.float().numpy(), "sampling_rate": self.sample_rate} for window in windows]
        return self._encode(items)

    def _encode_texts(self, texts: list[str]) -> Tensor:
        # As a dictionary: a text that is a file's name would be taken for the file.
        return self._encode([{"text": text} for text in texts])

    def _encode(self, items: list[Any]) -> Tensor:
        with torch.no_grad():
            vectors = self.model.encode(
                items, batch_size=max(1, len(items)), convert_to_tensor=True, show_progress_bar=False
            )
        return vectors.detach().clone()

    def _find_longest(self) -> int | None:
        """Return the samples beyond which the feature extractor cuts; None: it does not, or does not say."""
        for name in ("nb_max_samples", "n_samples"):  # CLAP's name, Whisper's name
            if isinstance(value := getattr(self._extractor, name, None), int):
                return value
        return None


def check_modules(folder: Path) -> None:
    """Refuse a folder without `modules.json`, or whose modules are not sentence-transformers' own.

    Raises:
        ValueError: naming the module; loading it would run code of the folder, or of any package.
    """
    path = folder / MODULES_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {MODULES_FILE}: it is no model of sentence-transformers")
    modules = read_json(path)
    names = [each.get("type") for each in modules] if _is_list_of_objects(modules) else [None]
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"{path}: expected a list of modules, each with a type")
        if not name.startswith("sentence_transformers."):
            raise ValueError(
                f"{path} asks for the class {name[:100]!r}, which is not of sentence-transformers: loading "
                "it would run code that comes with the model, and ml-clap runs none"
            )


def _is_list_of_objects(modules: Any) -> bool:
    return isinstance(modules, list) and bool(modules) and all(isinstance(each, dict) for each in modules)


def _import_class() -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as e:
        raise ImportError(
            'models of sentence-transformers need that library: pip install "ml-clap[sentence-transformers]"'
        ) from e
    return SentenceTransformer
