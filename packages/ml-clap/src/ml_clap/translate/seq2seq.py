"""Translation models of transformers: NLLB and M2M100 (`m2m_100`), MADLAD (`t5`).

    NLLB, M2M100    encoder: [source language] pieces </s>     decoder: begins with [target language]
    MADLAD          encoder: [target language] pieces </s>     decoder: begins with nothing

The ids of languages are put there by hand: the tokenizers' own way is a state that is set before each call,
is another one in transformers 4 and 5, and cannot say that a language is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from audio_common.hub import split_revision
from audio_common.strict_json import read_object

from ml_clap.models.text_source import HUB_FILES, fetch_folder, naming
from ml_clap.models.tokenizer import pad_tokens
from ml_clap.translate.language_tokens import find_language_tokens
from ml_clap.translate.provenance import card_licence, revision_of
from ml_clap.translate.translator import Translation

KINDS = ("m2m_100", "t5", "mt5")
"""`model_type` of what is known here."""
FILES = (*HUB_FILES, "generation_config.json", "README.md")
T5_TOKENS = 512
"""T5 has no last position; this is what MADLAD was trained with."""


class Seq2SeqTranslator:
    """A translation model of transformers.

    Args:
        model: what AutoModelForSeq2SeqLM gives.
        tokenizer: its tokenizer.
        name, revision, licence: see `Translator`.
        num_beams: of the search.
        max_tokens: of a translation.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        revision: str,
        licence: str,
        num_beams: int,
        max_tokens: int,
    ) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.name, self.revision, self.licence = name, revision, licence
        self.num_beams = num_beams
        self.is_m2m = model.config.model_type == "m2m_100"
        positions = model.config.max_position_embeddings if self.is_m2m else T5_TOKENS
        self.max_source_tokens = positions
        # Its own tokens at the begin, which are no translation, are counted apart.
        self.max_tokens = min(max_tokens, positions - 2)
        self._language_ids = _language_ids(tokenizer, model.config.vocab_size, name)
        self.languages = frozenset(self._language_ids)

    @classmethod
    def load(
        cls, source: str, num_beams: int, max_tokens: int, device: str, dtype: Any, licence: str | None
    ) -> Seq2SeqTranslator:
        """Load a folder or a hub id (name@revision); ValueError if it is no such model."""
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        folder = _fetch(source)
        with naming(folder):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, revision=None)
            model, info = AutoModelForSeq2SeqLM.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, trust_remote_code=False, revision=None
            )
        if missing := sorted(info["missing_keys"]):
            raise ValueError(
                f"{folder} lacks weights of its {type(model).__name__}: {', '.join(missing[:5])}"
            )
        return cls(
            model.to(device),
            tokenizer,
            name=Path(source).name if Path(source).is_dir() else split_revision(source)[0],
            revision=revision_of(folder),
            licence=licence or card_licence(folder),
            num_beams=num_beams,
            max_tokens=max_tokens,
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, those of language and end included."""
        return [len(ids) + 2 for ids in self._pieces(texts)]

    @torch.inference_mode()
    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translation]:
        """Translate a batch from one FLORES code to another."""
        config, first = self.model.config, self._language_ids[source if self.is_m2m else target]
        rows = [[first, *ids, config.eos_token_id] for ids in self._pieces(texts)]
        batch = pad_tokens(rows, config.pad_token_id).to(self.model.device)
        generated = self.model.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask.long(),
            generation_config=self._generation(target),
        )
        return [self._read(row) for row in generated.tolist()]

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        # verbose=False: a text may be too long here; the caller lists it
        encoded = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return list(encoded["input_ids"])

    def _generation(self, target: str) -> Any:
        from transformers import GenerationConfig

        config = self.model.config
        return GenerationConfig(
            num_beams=self.num_beams,
            early_stopping=self.num_beams > 1,
            max_new_tokens=self.max_tokens,
            decoder_start_token_id=config.decoder_start_token_id,
            forced_bos_token_id=self._language_ids[target] if self.is_m2m else None,
            pad_token_id=config.pad_token_id,
            eos_token_id=config.eos_token_id,
        )

    def _read(self, row: Sequence[int]) -> Translation:
        # The first token begins every text (</s> itself in M2M100), the second is the language.
        ids = list(row[2 if self.is_m2m else 1 :])
        end = self.model.config.eos_token_id
        is_finished = end in ids
        ids = ids[: ids.index(end)] if is_finished else ids
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Translation(" ".join(text.split()), is_finished)


def _fetch(source: str) -> Path:
    wanted = "a translation model (NLLB, M2M100 or MADLAD; folder or hub id), or `sonar`"
    folder = fetch_folder(source, wanted=wanted, patterns=FILES)
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json: expected {wanted}")
    kind = read_object(path).get("model_type")
    if kind not in KINDS:
        raise ValueError(f"{path}: model_type is {kind!r}; expected {wanted}, which are {', '.join(KINDS)}")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        # Some are published as .bin alone, of which transformers reads the tensors and runs nothing.
        folder = fetch_folder(source, wanted=wanted, patterns=(*FILES, "pytorch_model*.bin*"))
    return folder


def _language_ids(tokenizer: Any, vocab_size: int, name: str) -> dict[str, int]:
    vocabulary = {**tokenizer.get_vocab(), **getattr(tokenizer, "lang_token_to_id", {})}
    tokens = find_language_tokens(vocabulary)
    ids = {code: vocabulary[token] for code, token in tokens.items() if vocabulary[token] < vocab_size}
    # transformers 5 makes an NLLB tokenizer of its languages alone where there is no tokenizer.json.
    if not ids or len(vocabulary) < len(ids) + 20:
        raise ValueError(
            f"the tokenizer of {name} has {len(vocabulary)} tokens, {len(ids)} of them languages: it is none "
            "of a translation model, or its files are not complete (NLLB and MADLAD need tokenizer.json)"
        )
    return ids
