"""Sentence embeddings by plain transformers, for FENSE and for reranking.

Folders and hub repositories in the layout of sentence-transformers are read: `modules.json` names the encoder
and the pooling, `1_Pooling/config.json` says mean or first token, `sentence_bert_config.json` the longest
input. Anything else that `AutoModel` loads is pooled by the mean. An embedding does not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio_common.checkpoint import check_folder
from audio_common.hub import split_revision
from audio_common.strict_json import read_json, read_object
from huggingface_hub import snapshot_download
from numpy.typing import NDArray

from aac_llm.metrics.identity import describe_model
from aac_llm.metrics.missing import MissingMetricError

FENSE_ENCODER = "sentence-transformers/paraphrase-TinyBERT-L6-v2"
"""The encoder with which FENSE compares captions (Zhou et al. 2022, section 4)."""
FENSE_ENCODER_SIZE = (768, 6)
"""Its width and its layers."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
OTHER_FILES = ("*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class Pooling:
    """How a sentence-transformers folder makes one vector of a text."""

    encoder: str = "."
    """Folder of the encoder inside the repository."""
    first_token: bool = False
    """Take the first token's vector; else the mean over the tokens."""
    max_tokens: int | None = None
    """Longest input; None: what the tokenizer says."""


class SentenceEncoder:
    """Texts to vectors of length one.

    Attributes:
        label: the model's name and a digest of its weights.
        is_published: whether it is the one that FENSE's and SBERT's numbers are of.
        num_cut: texts, of all that were encoded, of which the model read only the beginning.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        pooling: Pooling | None = None,
        *,
        label: str = "",
        is_published: bool = False,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.pooling = pooling or Pooling()
        self.label = label
        self.is_published = is_published
        self.num_cut = 0

    @classmethod
    def from_pretrained(
        cls, source: str | Path = FENSE_ENCODER, *, device: str = "cpu", local_only: bool = False
    ) -> SentenceEncoder:
        """Load a folder or a hub id.

        Args:
            source: the folder or the id.
            device: where to compute.
            local_only: take a hub id from the cache only.

        Raises:
            MissingMetricError: it is neither here nor to be had; with the command that gets it.
            ValueError: a pooling that is not known here.
        """
        from transformers import AutoModel, AutoTokenizer

        folder = fetch_folder(source, local_only=local_only)
        pooling = read_pooling(folder)
        place = folder / pooling.encoder
        check_folder(place)
        # A folder in either case: the revision was chosen when it was fetched.
        tokenizer = AutoTokenizer.from_pretrained(place, revision=None, trust_remote_code=False)
        model = AutoModel.from_pretrained(place, revision=None, dtype=torch.float32, trust_remote_code=False)
        return cls(
            model.to(device),
            tokenizer,
            pooling,
            label=describe_model(source, place),
            is_published=is_published_encoder(source, model.config),
        )

    @torch.inference_mode()
    def encode(
        self, texts: Sequence[str], *, batch_size: int = 64, normalize: bool = True
    ) -> NDArray[np.float32]:
        """Return embeddings (texts, dim), of length one if `normalize`; like lengths are batched together."""
        if isinstance(texts, str):
            raise TypeError(f"expected a list of texts, got one text {texts!r}")
        # Like lengths together: less padding.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        for first in range(0, len(order), batch_size):
            places = order[first : first + batch_size]
            vectors[places] = self._encode_batch([texts[place] for place in places]).cpu().numpy()
        if normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def similarity(
        self, candidates: Sequence[str], references: Sequence[Sequence[str]], *, batch_size: int = 64
    ) -> NDArray[np.float64]:
        """Average the cosine of each caption with its references, any number of them, (clips,)."""
        if len(candidates) != len(references) or not all(references):
            raise ValueError("expected at least one reference for each caption")
        # References are often shared, and captions of a poor model even more so.
        distinct = list(dict.fromkeys([*candidates, *(text for refs in references for text in refs)]))
        place = {text: number for number, text in enumerate(distinct)}
        vectors = self.encode(distinct, batch_size=batch_size).astype(np.float64)
        return np.array(
            [
                float(np.mean(vectors[[place[text] for text in refs]] @ vectors[place[candidate]]))
                for candidate, refs in zip(candidates, references, strict=True)
            ]
        )

    def _encode_batch(self, texts: list[str]) -> torch.Tensor:
        # Some tokenizers say that they take 10^30 tokens.
        limit = self.pooling.max_tokens or min(self.tokenizer.model_max_length, 512)
        self.num_cut += count_longer(self.tokenizer, texts, limit)
        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=limit, return_tensors="pt"
        ).to(self.model.device)
        hidden = self.model(**batch).last_hidden_state
        if self.pooling.first_token:
            return hidden[:, 0]
        return mean_pool(hidden, batch["attention_mask"])


def is_published_encoder(source: str | Path, config: Any) -> bool:
    """Tell whether this is FENSE's sentence encoder: by its name, and by its size.

    The publisher names no digest; that of the weights stands beside every score. Whoever gives another model
    this name and this size deceives himself only.
    """
    name = split_revision(source)[0]
    folder = FENSE_ENCODER.rpartition("/")[2]
    named = name == FENSE_ENCODER or Path(name).name == folder or f"--{folder}/" in f"{Path(name).resolve()}/"
    return named and (config.hidden_size, config.num_hidden_layers) == FENSE_ENCODER_SIZE


def count_longer(tokenizer: Any, texts: Sequence[str], limit: int) -> int:
    """Count the texts of more tokens than a model takes; of these it reads the beginning only."""
    # A token has at least one byte, and two are the beginning and the end: few need to be tokenized twice.
    long = [text for text in texts if len(text.encode()) + 2 > limit]
    return sum(len(tokens) > limit for tokens in tokenizer(long)["input_ids"]) if long else 0


def mean_pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average over each text's tokens: hidden (batch, tokens, dim), mask (batch, tokens) -> (batch, dim)."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def fetch_folder(source: str | Path, *, local_only: bool = False) -> Path:
    """Return the folder itself, or a hub repository's files in the cache, fetched if need be.

    Raises:
        MissingMetricError: it cannot be had; with the command that gets it.
    """
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser()
    name, revision = split_revision(source)
    options: dict[str, Any] = {"revision": revision, "local_files_only": local_only}
    try:
        folder = Path(snapshot_download(name, allow_patterns=[*OTHER_FILES, WEIGHTS[0]], **options))
        if not list(folder.rglob(WEIGHTS[0])):
            snapshot_download(name, allow_patterns=[WEIGHTS[1]], **options)
    except Exception as error:  # the hub's client raises some ten kinds, without a common base
        reason = f"{source} is not a folder and not in the hub's cache ({type(error).__name__})"
        raise MissingMetricError(reason, f"`hf download {source}` where there is internet") from error
    if not any(list(folder.rglob(pattern)) for pattern in WEIGHTS):
        raise MissingMetricError(f"{source} has no weights in the hub's cache", f"`hf download {source}`")
    return folder


def read_pooling(folder: Path) -> Pooling:
    """Read the pooling in the files of sentence-transformers; without them, it is the mean.

    Raises:
        ValueError: another pooling, or a module (as Dense) that is not known here.
    """
    if not (folder / "modules.json").is_file():
        return Pooling()
    modules = {
        module["type"].rsplit(".", 1)[-1]: module["path"] for module in read_json(folder / "modules.json")
    }
    unknown = set(modules) - {"Transformer", "Pooling", "Normalize"}
    if unknown or "Transformer" not in modules:
        raise ValueError(
            f"{folder}: expected the modules Transformer, Pooling, Normalize, got {sorted(modules)}"
        )
    encoder = modules["Transformer"] or "."
    path = folder / modules["Pooling"] / "config.json" if "Pooling" in modules else None
    mode = _pooling_mode(read_object(path)) if path is not None else "mean"
    if mode not in ("mean", "cls"):
        raise ValueError(f"{path}: expected pooling by mean or cls, got {mode}")
    limits = folder / encoder / "sentence_bert_config.json"
    length = read_object(limits).get("max_seq_length") if limits.is_file() else None
    return Pooling(encoder, mode == "cls", length)


def _pooling_mode(config: dict[str, Any]) -> str:
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        return "+".join(mode) if isinstance(mode, list) else str(mode)
    chosen = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    names = [
        name.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens") for name in chosen
    ]
    return "+".join(names)
