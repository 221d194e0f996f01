"""A fluency detector in the manner of FENSE (Zhou et al. 2022): how likely a caption has an error.

Of ours (`aac-llm fluency` trains them) the folder is described in `fluency_folder.py`, and the errors that
they know in `fluency_errors.py`.

The published checkpoint (`echecker_clotho_audiocaps_base.ckpt`, release V0.1 of blmoistawinde/fense) is a
dictionary: `model_type` names the BERT, `num_classes` is 6, `state_dict` holds `encoder.*` of a `BertModel`
and `clf.weight`, `clf.bias` over its first token. The outputs are an added tail, a repeated event, a repeated
adverb, a missing conjunction, a missing verb, and, last, any error: the one that counts. Old checkpoints also
hold the buffer `encoder.embeddings.position_ids`, which transformers keeps no more.

Departures from the reference: its evaluator takes all six outputs for the answer when there are up to 32
captions, so scores depend on their number; it unpickles the file; and it downloads the BERT's own weights
only to overwrite them. Captions go in without punctuation, in lower case, at most 64 tokens, as published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio_common.checkpoint import check_folder
from audio_common.hub import split_revision
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.special import expit
from torch import nn

from aac_llm.metrics.combined import ERROR_THRESHOLD
from aac_llm.metrics.fluency_calibration import Standard
from aac_llm.metrics.fluency_errors import strip_punctuation
from aac_llm.metrics.fluency_folder import (
    CACHE_VARIABLE,
    WEIGHTS,
    cache_folder,
    is_detector,
    read_description,
    read_standard,
)
from aac_llm.metrics.fluency_published import FENSE_DETECTOR, find_checkpoint, read_checkpoint
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.sentence import count_longer, mean_pool

__all__ = [
    "CACHE_VARIABLE",
    "FENSE_DETECTOR",
    "FluencyDetector",
    "cache_folder",
    "strip_punctuation",
]

PUBLISHED_KINDS = (
    *("incomplete_tail", "repeated_event", "repeated_adverb", "missing_conjunction", "missing_verb"),
)
POOLED = {"first": 1, "all": 3}
"""Pooling -> states of the encoder's width that it gives."""
MAX_TOKENS = 64
POSITION_IDS = "encoder.embeddings.position_ids"


class FluencyDetector(nn.Module):
    """A BERT with a linear layer on its tokens' states; sigmoid outputs, the last of which is "any error".

    Attributes:
        pooling: `first`, the first token's state, as published; or `all`, with it the mean and, in each
            dimension, the largest value over the tokens: an error is often between two words, and is learned
            from fewer captions where one token is enough to show it.
        kinds: names of the other outputs.
        threshold: `fault_score` from which on a caption is held to be wrong.
        standard: what is usual in captions of people; None: not known, as of the published detectors.
        num_cut: texts, of all that were judged, of which the model read only the beginning.
    """

    def __init__(
        self,
        encoder: nn.Module,
        tokenizer: Any,
        kinds: Sequence[str] = PUBLISHED_KINDS,
        *,
        threshold: float = ERROR_THRESHOLD,
        pooling: str = "first",
        standard: Standard | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLED:
            raise ValueError(f"pooling must be one of {', '.join(POOLED)}, got {pooling!r}")
        self.encoder = encoder
        width: int = encoder.config.hidden_size  # type: ignore[union-attr, assignment]
        self.clf = nn.Linear(POOLED[pooling] * width, len(kinds) + 1)
        self.pooling = pooling
        self.tokenizer = tokenizer
        self.kinds = tuple(kinds)
        self.threshold = threshold
        self.standard = standard
        self.num_cut = 0

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = FENSE_DETECTOR,
        *,
        backbone: str | Path | None = None,
        device: str = "cpu",
        local_only: bool = False,
    ) -> FluencyDetector:
        """Load a detector of ours from its folder, or a published one by its name, a file or a folder.

        Args:
            source: folder that `aac-llm fluency` wrote; name of a published checkpoint; a `.ckpt` file; or a
                folder with one `.ckpt` file and, for machines without internet, the BERT's `config.json` and
                tokenizer files.
            backbone: hub id or folder of the BERT's configuration and tokenizer; default: beside the
                checkpoint if they are there, else what the checkpoint names.
            device: where to compute.
            local_only: never download.

        Raises:
            MissingMetricError: it is not here and cannot be had; with the command that gets it.
            ValueError: the file holds something else.
        """
        if is_detector(source):
            return _load_folder(Path(source).expanduser()).to(device).eval()
        path = find_checkpoint(source, local_only=local_only)
        record = read_checkpoint(path)
        # So a folder alone is enough on a machine without the internet.
        beside = path.parent if (path.parent / "config.json").is_file() else None
        detector = _build(str(backbone or beside or record["model_type"]), record["num_classes"], local_only)
        detector.load_checkpoint(record["state_dict"])
        return detector.to(device).eval()

    def load_checkpoint(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load every weight of a published `state_dict`, no more and no less.

        Raises:
            ValueError: names or shapes differ; they are listed.
        """
        # A buffer of old checkpoints, which transformers makes anew.
        kept = {name: value for name, value in weights.items() if name != POSITION_IDS}
        try:
            self.load_state_dict(kept, strict=True)
        except RuntimeError as error:
            raise ValueError(f"this is no fluency detector for this BERT: {error}") from error

    def round_weights(self) -> None:
        """Round weights to half precision, in which a folder keeps them.

        A threshold that is found after this is that of the detector in the folder.
        """
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(weight.half())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights, the encoder's configuration and the tokenizer; `fluency.json` is the trainer's."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
        self.tokenizer.save_pretrained(folder)
        # As copies: an encoder may use one matrix in two places. In half precision, see `round_weights`.
        weights = {name: value.detach().cpu().half().clone() for name, value in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    def error_probability(self, texts: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float64]:
        """Return the probability of any error in each caption, (texts,), whatever its batch."""
        return self.class_probabilities(texts, batch_size=batch_size)[:, -1]

    def fault_score(self, texts: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float64]:
        """Return how wrong captions are, (texts,) in [0, 1], to be compared with `threshold`.

        Of ours the kinds of error, each measured by what is usual of it in captions of people; of the
        published detectors, of which that is not known, the probability of any error.
        """
        if self.standard is None:
            return self.error_probability(texts, batch_size=batch_size)
        return self.standard.score(self.logits(texts, batch_size=batch_size)[:, :-1])

    def class_probabilities(self, texts: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float64]:
        """Return the probability of every kind of error and, last, of any, (texts, classes)."""
        return expit(self.logits(texts, batch_size=batch_size))

    @torch.inference_mode()
    def logits(self, texts: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float64]:
        """Return the log-odds of every kind of error and, last, of any, (texts, classes)."""
        if isinstance(texts, str):
            raise TypeError(f"expected a list of texts, got one text {texts!r}")
        clean = [strip_punctuation(text) for text in texts]
        # Like lengths together: less padding.
        order = sorted(range(len(clean)), key=lambda place: len(clean[place]))
        found = np.zeros((len(clean), self.clf.out_features))
        for first in range(0, len(order), batch_size):
            places = order[first : first + batch_size]
            found[places] = self(self.tokenize([clean[place] for place in places])).double().cpu()
        return found

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Turn tokenised texts (each value (batch, tokens)) into logits (batch, classes)."""
        # Not BERT's own pooler: the published detector does not use it.
        hidden = self.encoder(**batch).last_hidden_state
        first = hidden[:, 0]
        if self.pooling == "first":
            return self.clf(first)
        mask = batch["attention_mask"]
        largest = hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)
        return self.clf(torch.cat([first, mean_pool(hidden, mask), largest], dim=-1))

    def tokenize(self, texts: list[str]) -> Mapping[str, torch.Tensor]:
        """Turn texts without punctuation into a batch on the detector's device, each (texts, tokens)."""
        # Truncated as in training; captions are rarely that long.
        self.num_cut += count_longer(self.tokenizer, texts, MAX_TOKENS)
        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        return batch.to(self.clf.weight.device)


def _load_folder(folder: Path) -> FluencyDetector:
    """Load a detector of ours; nothing is fetched, and nothing but numbers is read."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    description = read_description(folder)
    standard = description.get("standard")
    check_folder(folder)
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} has no {WEIGHTS}: the detector is not whole; train it again")
    config = AutoConfig.from_pretrained(folder, revision=None, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, revision=None, trust_remote_code=False)
    detector = FluencyDetector(
        AutoModel.from_config(config, trust_remote_code=False),
        tokenizer,
        description["kinds"],
        threshold=float(description["threshold"]),
        pooling=str(description.get("pooling", "first")),
        standard=read_standard(standard, len(description["kinds"]), folder) if standard else None,
    )
    try:
        weights = load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors' own kinds
        raise ValueError(f"{folder / WEIGHTS} cannot be read as weights: {error}") from error
    detector.load_checkpoint(weights)
    return detector.float()


def _build(backbone: str, num_classes: int, local_only: bool) -> FluencyDetector:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    name, revision = split_revision(backbone)
    check_folder(name)
    options: dict[str, Any] = {"revision": revision, "local_files_only": local_only}
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False, **options)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        reason = f"the configuration and the tokenizer of {backbone} are not at hand"
        get = f"`hf download {backbone} config.json tokenizer.json tokenizer_config.json vocab.txt`"
        raise MissingMetricError(reason, get) from error
    encoder = AutoModel.from_config(config, trust_remote_code=False)
    kinds = PUBLISHED_KINDS if num_classes == len(PUBLISHED_KINDS) + 1 else range(num_classes - 1)
    return FluencyDetector(encoder, tokenizer, [str(kind) for kind in kinds])
