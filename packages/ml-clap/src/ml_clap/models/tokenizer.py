"""Texts to token ids: SONAR's tokenizer in plain sentencepiece, and any tokenizer of transformers.

SONAR's ids are used in the order of its Hugging Face ports (`<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, pieces
from 4, then one token per language, then three unused markers). transformers' own `NllbTokenizer` is not
used: with a custom file it shifts the language ids in 4.x and reads no file at all in 5.x.

torch is imported where tensors are made: a query by ONNX (`ml_clap.models.onnx_tower`) goes without it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sentencepiece
from audio_common.strict_json import read_json

from ml_clap.data.languages import SONAR_LANGUAGES, resolve
from ml_clap.files import to_json, write_atomically
from ml_clap.models.normalization import TextRule, normalize_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)

SENTENCEPIECE_FILE = "sentencepiece.bpe.model"
LANGUAGES_FILE = "sonar_languages.json"
BOS, PAD, EOS, UNK = 0, 1, 2, 3
NUM_MARKERS = 3
"""Tokens after the languages, for how a sentence pair was mined; never produced here."""


class TextBatch(NamedTuple):
    """Token ids `(batch, length)` int64, and a mask `(batch, length)` bool, True where there is a token."""

    ids: Tensor
    mask: Tensor

    def to(self, device: torch.device | str) -> TextBatch:
        """Return the same batch on `device`."""
        return TextBatch(self.ids.to(device), self.mask.to(device))


class SonarTokenizer:
    """SONAR's text tokenizer: `[language] pieces </s>`, the language of each text being its own.

    Args:
        model: A sentencepiece model file, or its bytes.
        languages: Codes in the order of their ids.
        max_tokens: Longer texts lose pieces at their end; language and `</s>` always stay.
    """

    def __init__(
        self, model: Path | bytes, *, languages: Sequence[str] = SONAR_LANGUAGES, max_tokens: int = 512
    ) -> None:
        proto = model if isinstance(model, bytes) else _read_model(model)
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except RuntimeError as e:
            name = "it" if isinstance(model, bytes) else model
            raise ValueError(f"{name} is no sentencepiece model: {e}") from e
        self.languages = tuple(languages)
        self.max_tokens = max_tokens
        first = self._pieces.get_piece_size() + 1
        self._language_ids = {code: first + place for place, code in enumerate(self.languages)}
        self.vocab_size = first + len(self.languages) + NUM_MARKERS

    @classmethod
    def from_folder(cls, folder: Path, *, max_tokens: int = 512) -> SonarTokenizer:
        """Read the sentencepiece model and, if there, the language list (default: SONAR's 202)."""
        listed = folder / LANGUAGES_FILE
        languages = _read_languages(listed) if listed.exists() else SONAR_LANGUAGES
        return cls(find_sentencepiece(folder), languages=languages, max_tokens=max_tokens)

    def save(self, folder: Path) -> None:
        """Write what `from_folder` reads."""
        write_atomically(folder / SENTENCEPIECE_FILE, self._pieces.serialized_model_proto())
        write_atomically(folder / LANGUAGES_FILE, to_json(self.languages))

    pad_id = PAD

    def __call__(self, texts: Sequence[str], languages: Sequence[str]) -> TextBatch:
        """Return token ids of texts, each in its language (a code of `self.languages`), right-padded."""
        return pad_tokens(self.rows(texts, languages), PAD)

    def rows(self, texts: Sequence[str], languages: Sequence[str]) -> list[list[int]]:
        """Return the same ids as lists, without padding."""
        return [
            [self.language_id(language), *self._encode(text), EOS]
            for text, language in zip(texts, languages, strict=True)
        ]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has before it is cut, language and `</s>` included."""
        return [len(pieces) + 2 for pieces in self._pieces.encode(list(texts))]

    def language_id(self, language: str) -> int:
        """Return the id of a language's token; short codes (`fr`, `pt_BR`) are resolved as everywhere."""
        code = language if language in self._language_ids else resolve(language)
        if code not in self._language_ids:
            known = ", ".join(self.languages[:12]) + (", ..." if len(self.languages) > 12 else "")
            raise ValueError(f"this text encoder does not know the language {code}; it knows {known}")
        return self._language_ids[code]

    def piece_ids(self) -> Sequence[int]:
        """Return the ids that stand for text: without special tokens and languages."""
        return range(UNK + 1, self.vocab_size - NUM_MARKERS - len(self.languages))

    def fingerprint(self) -> str:
        """Return a hash of everything that decides the ids."""
        digest = blake2b(self._pieces.serialized_model_proto(), digest_size=16)
        digest.update("\n".join(self.languages).encode())
        return digest.hexdigest()

    def _encode(self, text: str) -> list[int]:
        # Two places are for language and </s>, without which SONAR's vectors mean nothing.
        pieces = self._pieces.encode(text)[: self.max_tokens - 2]
        # sentencepiece numbers <unk> 0, <s> 1, </s> 2; every other piece is one further here.
        return [UNK if piece == 0 else piece + 1 for piece in pieces]


class HFTokenizer:
    """A tokenizer of transformers, padded on the right; such encoders need no language.

    Args:
        tokenizer: What `AutoTokenizer` gives.
        max_tokens: Longer texts are cut to this many tokens, special ones included.
    """

    def __init__(self, tokenizer: Any, *, max_tokens: int = 512) -> None:
        if tokenizer.pad_token_id is None:
            raise ValueError(
                f"the tokenizer {tokenizer.name_or_path!r} has no padding token; "
                "name a text encoder (BERT, e5, XLM-R, ...) rather than a language model"
            )
        self.tokenizer = tokenizer
        self.pad_id: int = tokenizer.pad_token_id
        self.max_tokens = min(max_tokens, tokenizer.model_max_length)

    def save(self, folder: Path) -> None:
        """Write the files that `AutoTokenizer` reads."""
        self.tokenizer.save_pretrained(folder)

    def __call__(self, texts: Sequence[str], languages: Sequence[str]) -> TextBatch:
        """Return token ids of texts, padded to the longest; `languages` is not needed."""
        return pad_tokens(self.rows(texts, languages), self.pad_id)

    def rows(self, texts: Sequence[str], languages: Sequence[str]) -> list[list[int]]:
        """Return the same ids as lists, without padding."""
        found = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)
        return list(found["input_ids"])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has before it is cut, special ones included."""
        # verbose=False: the tokenizer would warn of what is asked for here
        return [len(ids) for ids in self.tokenizer(list(texts), verbose=False)["input_ids"]]

    def piece_ids(self) -> Sequence[int]:
        """Return the ids that stand for text: without special tokens."""
        special = set(self.tokenizer.all_special_ids)
        return sorted(set(self.tokenizer.get_vocab().values()) - special)

    def fingerprint(self) -> str:
        """Return a hash of the vocabulary and of some probes' ids, which show how texts are normalized."""
        digest = blake2b(json.dumps(sorted(self.tokenizer.get_vocab().items())).encode(), digest_size=16)
        probes = ["", "A dog barks.", "Ein Hund BELLT, là-bas!", "犬が吠える。", "  two  spaces"]
        digest.update(json.dumps(self.tokenizer(probes)["input_ids"]).encode())
        return digest.hexdigest()


Tokenizer = SonarTokenizer | HFTokenizer


class FastTokenizer:
    """The `tokenizer.json` of a tokenizer of transformers, read without that library: a second sooner.

    Args:
        path: The file, as `HFTokenizer.save` writes it.
        max_tokens: Longer texts are cut to this many tokens, special ones included.
        pad_id: What stands behind shorter texts of a batch.
    """

    def __init__(self, path: Path, *, max_tokens: int, pad_id: int) -> None:
        from tokenizers import Tokenizer as Backend

        try:
            self._tokenizer = Backend.from_file(str(path))
        except Exception as e:  # the library raises plain Exception for a file that is odd
            raise ValueError(f"{path} cannot be used: {e}") from e
        self._tokenizer.no_padding()
        self.max_tokens = max_tokens
        self.pad_id = pad_id

    def rows(self, texts: Sequence[str], languages: Sequence[str]) -> list[list[int]]:
        """Return token ids of texts; `languages` is not needed."""
        self._tokenizer.enable_truncation(self.max_tokens)
        return [found.ids for found in self._tokenizer.encode_batch(list(texts))]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has before it is cut, special ones included."""
        self._tokenizer.no_truncation()
        return [len(found.ids) for found in self._tokenizer.encode_batch(list(texts))]


class CutText(NamedTuple):
    """A text that is longer than the model reads."""

    text: str
    num_dropped: int
    """Tokens that are cut off its end."""


@dataclass(frozen=True)
class TextPreparer:
    """From captions to token ids; holds no weights, so that a data worker can have one."""

    tokenizer: Tokenizer | FastTokenizer
    rule: TextRule
    prefix: str

    def __call__(self, texts: str | Sequence[str], languages: str | Sequence[str]) -> TextBatch:
        """Normalize, prefix, tokenize and truncate texts; `languages` is one code or one a text."""
        return pad_tokens(self.rows(texts, languages), self.tokenizer.pad_id)

    def rows(self, texts: str | Sequence[str], languages: str | Sequence[str]) -> list[list[int]]:
        """Return the same ids as lists, without padding."""
        if isinstance(texts, str):  # as a sequence it would be one text a letter
            texts = [texts]
        if isinstance(languages, str):
            languages = [languages] * len(texts)
        if len(languages) != len(texts):
            raise ValueError(f"expected one language or {len(texts)}, got {len(languages)}")
        return self.tokenizer.rows(self._written(texts), languages)

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts of which tokens are cut off."""
        limit = self.tokenizer.max_tokens
        # No text has more tokens than bytes and special ones: few need to be counted.
        long = [text for text in texts if len((self.prefix + text).encode("utf-8", "replace")) + 2 > limit]
        counts = self.tokenizer.count_tokens(self._written(long)) if long else []
        return [
            CutText(text, count - limit) for text, count in zip(long, counts, strict=True) if count > limit
        ]

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much, and what changes it; nothing where none does."""
        if not cut:
            return ""
        worst = max(cut, key=lambda text: text.num_dropped)
        many = "1 text is" if len(cut) == 1 else f"{len(cut):,} texts are"
        dropped = sum(text.num_dropped for text in cut)
        most = f", most of {worst.text[:40]!r}..." if len(cut) > 1 else f" of {worst.text[:40]!r}..."
        end = self._find_end(worst.text)
        return (
            f"{many} cut to the model's {self.tokenizer.max_tokens} tokens: {dropped:,} dropped{most}, "
            f"read to its character {end:,} (...{worst.text[max(0, end - 30) : end]!r}); "
            "write less, or train a model with a larger --model.max_text_tokens"
        )

    def warn_of_cut(self, texts: Sequence[str]) -> None:
        """Log in a line which texts are cut."""
        if cut := self.find_cut(texts):
            logger.warning(self.describe_cut(cut))

    def _find_end(self, text: str) -> int:
        """Return how many characters of a text that is cut are read, found by halving."""
        low, high = 0, len(text)
        while high - low > 1:
            middle = (low + high) // 2
            (count,) = self.tokenizer.count_tokens(self._written([text[:middle]]))
            low, high = (middle, high) if count <= self.tokenizer.max_tokens else (low, middle)
        return low

    def _written(self, texts: Sequence[str]) -> list[str]:
        return [self.prefix + normalize_text(text, self.rule) for text in texts]


def check_texts(texts: Any) -> tuple[list[str], bool]:
    """Return texts as a list, and whether they were several; a text alone is one, not one for each letter.

    Raises:
        TypeError: it is, or holds, something else than texts.
        ValueError: a text is empty, or not valid Unicode.
    """
    if isinstance(texts, str):
        return [_checked(texts, "the text")], False
    if isinstance(texts, bytes | Mapping | Set) or not isinstance(texts, Iterable):
        raise TypeError(f"expected a text or a list of texts, got {type(texts).__name__}: {str(texts)[:40]}")
    return [_checked(text, f"texts[{place}]") for place, text in enumerate(texts)], True


def _checked(text: Any, name: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a text, got {type(text).__name__}: {str(text)[:40]}")
    if not text.strip():
        raise ValueError(f"{name} is empty: write what is to be heard")
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise ValueError(f"{name} is not valid Unicode ({e}): {text[:40]!r}") from e
    return str(text)


def pad_tokens(rows: Sequence[Sequence[int]], pad: int) -> TextBatch:
    """Pad rows of ids on the right to the longest."""
    import torch

    longest = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), longest), pad, dtype=torch.int64)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[index, : len(row)] = True
    return TextBatch(ids, mask)


def find_sentencepiece(folder: Path) -> Path:
    """Find SONAR's sentencepiece model in a folder, under either of its names."""
    found = [folder / SENTENCEPIECE_FILE, *sorted(folder.glob("sentencepiece*.model"))]
    for path in found:
        if path.is_file():
            return path
    raise ValueError(
        f"{folder} has no sentencepiece model. SONAR's is sentencepiece.source.256000.model, published with "
        f"its encoder, or {SENTENCEPIECE_FILE} of cointegrated/SONAR_200_text_encoder: put it there"
    )


def _read_languages(path: Path) -> list[str]:
    codes = read_json(path) if path.is_file() else None  # opening a pipe would wait for ever
    if not codes or not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise ValueError(f"{path}: expected a list of language codes")
    return codes


def _read_model(path: Path) -> bytes:
    if not Path(path).is_file():
        raise ValueError(f"there is no sentencepiece model at {path}")
    return Path(path).read_bytes()
