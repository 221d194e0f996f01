"""ML-CLAP as a module of sentence-transformers, so that `SentenceTransformer(folder)` loads a model folder.

`MLCLAP.save_pretrained` writes a `modules.json` that names the class below. It is imported from the installed
package, so a local folder needs no `trust_remote_code`.

    >>> from sentence_transformers import SentenceTransformer  # doctest: +SKIP
    >>> model = SentenceTransformer("runs/clotho/best")  # doctest: +SKIP
    >>> model.encode(["un chien aboie"], language="fra_Latn")  # doctest: +SKIP
    >>> model.encode([{"array": samples, "sampling_rate": 44_100}, "dog.wav"])  # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from audio_common.batch import pad_waveforms
from audio_common.waveform import as_waveform
from torch import Tensor, nn

from ml_clap.models.ml_clap import MLCLAP

if TYPE_CHECKING:
    from typing import Self

SAMPLE_RATE = 16_000


class EmbeddingModule(nn.Module):
    """The whole of ML-CLAP as the one module of a `SentenceTransformer`.

    It is no subclass of theirs, so that ml-clap imports without that library; what it has is what their
    `InputModule` has.

    Args:
        model: in evaluation mode.
    """

    save_in_root = True
    forward_kwargs = frozenset({"language"})
    """`encode(..., language="fra_Latn")`: the language of the texts, SONAR's code or ISO 639."""

    def __init__(self, model: MLCLAP) -> None:
        super().__init__()
        self.model = model

    @property
    def modalities(self) -> list[Any]:
        """What `encode` takes."""
        return ["text", "audio"]

    @property
    def max_seq_length(self) -> int:
        """Tokens of a text; longer ones are cut."""
        return self.model.text_encoder.tokenizer.max_tokens

    def preprocess(
        self, inputs: list[Any], prompt: str | None = None, language: str = "eng_Latn", **kwargs: Any
    ) -> dict[str, Any]:
        """Tokenize texts, or decode and resample sounds and pad them to the longest.

        Args:
            inputs: all texts, or all sounds: a path, samples at 16 kHz, a dictionary with `array` and
                `sampling_rate`; or either of them under the key `text` or `audio`.
            prompt: put before every text.
            language: of the texts.
            kwargs: of other modules; not used.
        """
        from sentence_transformers.base.modality import is_audio_url_or_path

        items = [_unwrapped(item) for item in inputs]
        if all(isinstance(item, str) and not is_audio_url_or_path(item) for item in items):
            batch = self.model.tokenize([(prompt or "") + text for text in items], language)
            return {"input_ids": batch.ids, "attention_mask": batch.mask}
        waveforms, lengths = pad_waveforms([self._waveform(item) for item in items])
        return {"waveforms": waveforms, "lengths": lengths}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Embed what `preprocess` made: adds `sentence_embedding` `(batch, embed_dim)`, L2-normalized."""
        if "waveforms" in features:
            vectors = self.model.embed_audio(features["waveforms"], features["lengths"])
        else:
            vectors = self.model.embed_tokens(features["input_ids"], features["attention_mask"])
        return {**features, "sentence_embedding": vectors}

    def get_embedding_dimension(self) -> int:
        """Return the width of the shared space."""
        return self.model.config.embed_dim

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the model folder, always as safetensors."""
        self.model.save_pretrained(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **kwargs: Any) -> Self:
        """Load a model folder or a hub id; of sentence-transformers' settings, `revision` is heeded."""
        revision = kwargs.get("revision")
        is_of_hub = revision is not None and not os.path.isdir(model_name_or_path)
        return cls(
            MLCLAP.from_pretrained(f"{model_name_or_path}@{revision}" if is_of_hub else model_name_or_path)
        )

    def _waveform(self, item: Any) -> Tensor:
        rate: float = SAMPLE_RATE
        if isinstance(item, Mapping) and "array" in item:
            item, rate = item["array"], item.get("sampling_rate", SAMPLE_RATE)
        if isinstance(item, Sequence) and not isinstance(item, str | bytes):
            item = np.asarray(item, np.float32)
        return as_waveform(item, array_rate=rate, channel=self.model.channel)


def _unwrapped(item: Any) -> Any:
    if isinstance(item, Mapping) and len(item) == 1 and (key := next(iter(item))) in ("text", "audio"):
        return item[key]
    return item
