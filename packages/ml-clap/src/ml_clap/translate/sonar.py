"""SONAR's own encoder and decoder as a translator, the paper's way: a text to a vector, and out of it again.

It needs SONAR's library (the extra `sonar`). The weights are fairseq2's to download (`sonar`), or lie in a
folder under their published names:

    sonar_text_encoder.pt   sonar_text_decoder.pt   sentencepiece.source.256000.model
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml_clap.data.languages import SONAR_LANGUAGES
from ml_clap.models.sonar import import_sonar
from ml_clap.models.text_encoder import load_text_encoder
from ml_clap.models.text_source import load_pt
from ml_clap.models.tokenizer import SonarTokenizer, find_sentencepiece
from ml_clap.translate.provenance import digest_files
from ml_clap.translate.translator import SONAR_DECODER, Translation

ENCODER_CARD, DECODER_CARD = "text_sonar_basic_encoder", "text_sonar_basic_decoder"
ENCODER_FILE = "sonar_text_encoder.pt"
LICENCE = "CC-BY-NC-4.0"
"""Of SONAR's text encoder and decoder (its LICENSE.md); the code is MIT."""
POSITIONS = 512
HEAD_WIDTH = 64
"""Width of an attention head, which no tensor's shape tells."""


class SonarTranslator:
    """SONAR's encoder and decoder.

    Args:
        model: a SonarEncoderDecoderModel.
        tokenizer: fairseq2's NLLB tokenizer.
        counter: the same tokenizer in plain sentencepiece, which counts a batch at once.
        revision: of the weights.
        licence: of the weights.
        num_beams: of the search.
        max_tokens: of a translation.
    """

    name = "SONAR"
    max_source_tokens = POSITIONS

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        counter: SonarTokenizer,
        *,
        revision: str,
        licence: str,
        num_beams: int,
        max_tokens: int,
    ) -> None:
        self.model, self.tokenizer, self._counter = model.eval(), tokenizer, counter
        self.revision, self.licence, self.num_beams = revision, licence, num_beams
        self.max_tokens = min(max_tokens, POSITIONS - 3)  # </s> and the language before it, </s> after it
        self.languages = frozenset(counter.languages)

    @classmethod
    def load(
        cls, source: str, num_beams: int, max_tokens: int, device: str, dtype: Any, licence: str | None
    ) -> SonarTranslator:
        """Load SONAR by its cards (`sonar`) or from a folder; ImportError without its library."""
        import_sonar()
        from sonar.models.sonar_translation import SonarEncoderDecoderModel

        encoder, decoder, pieces, revision = _by_cards() if source == "sonar" else _from_folder(Path(source))
        model = SonarEncoderDecoderModel(encoder, decoder).to(device=torch.device(device), dtype=dtype)
        return cls(
            model,
            _load_tokenizer(pieces),
            SonarTokenizer(pieces),
            revision=revision,
            licence=licence or LICENCE,
            num_beams=num_beams,
            max_tokens=max_tokens,
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, those of language and end included."""
        return self._counter.count_tokens(texts)

    @torch.inference_mode()
    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translation]:
        """Translate a batch from one FLORES code to another."""
        from fairseq2.generation.beam_search.generator import BeamSearchSeq2SeqGenerator
        from sonar.inference_pipelines.utils import TextTranslator

        generator = BeamSearchSeq2SeqGenerator(
            self.model,
            self.tokenizer.vocab_info,
            beam_size=self.num_beams,
            max_gen_len=(0.0, self.max_tokens),
            max_seq_len=POSITIONS,
        )
        translator = TextTranslator(
            generator,
            encoder_tokenizer=self.tokenizer,
            decoder_tokenizer=self.tokenizer,
            source_lang=source,
            target_lang=target,
        )
        found, output = translator.batch_translate(list(texts))
        # fairseq2 puts </s> at the end of what it stops, too: the length tells.
        lengths = [len(hypotheses[0].seq) for hypotheses in output.hypotheses]
        return [
            Translation(" ".join(text.split()), length < self.max_tokens)
            for text, length in zip(found, lengths, strict=True)
        ]


def _by_cards() -> tuple[Any, Any, Path, str]:
    from fairseq2.assets import AssetDownloadManager, get_asset_store
    from fairseq2.models import load_model
    from fairseq2.runtime.dependency import get_dependency_resolver

    card = get_asset_store().retrieve_card(ENCODER_CARD)
    downloads: Any = get_dependency_resolver().resolve(AssetDownloadManager)  # type: ignore[type-abstract]
    pieces = downloads.download_tokenizer(card.field("tokenizer").as_uri(), ENCODER_CARD)
    settings: Any = {"device": torch.device("cpu"), "dtype": torch.float32}
    encoder, decoder = (load_model(name, **settings) for name in (ENCODER_CARD, DECODER_CARD))
    return encoder, decoder, pieces, f"{ENCODER_CARD} and {DECODER_CARD}"


def _from_folder(folder: Path) -> tuple[Any, Any, Path, str]:
    files = [folder / ENCODER_FILE, folder / SONAR_DECODER]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{folder} has no {file.name}: SONAR translates with {ENCODER_FILE} and it")
    encoder = load_text_encoder(files[0], backend="sonar", max_tokens=POSITIONS).encoder
    return encoder, _load_decoder(files[1]), find_sentencepiece(folder), digest_files(files)


def _load_decoder(path: Path) -> Any:
    from fairseq2.data.tokenizers import VocabularyInfo
    from sonar.models.sonar_text import SonarTextDecoderConfig, get_sonar_text_decoder_hub

    vocab_size, dim, layers, ffn_dim = _sizes(load_pt(path), path)
    heads = max(dim // HEAD_WIDTH, 1)
    config = SonarTextDecoderConfig(
        model_dim=dim,
        max_seq_len=POSITIONS,
        vocab_info=VocabularyInfo(size=vocab_size, unk_idx=1, bos_idx=2, eos_idx=3, pad_idx=1),
        activation_fn="ReLU",
        no_scale_embedding=False,
        no_token_positional_embeddings=False,
        learned_pos=False,
        emb_dropout_p=0.1,
        attention_dropout_p=0.1,
        activation_dropout_p=0.1,
        normalize_before=True,
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        num_encoder_attn_heads=heads,
        num_decoder_attn_heads=heads,
        ffn_inner_dim=ffn_dim,
    )
    # fairseq2 reads tensors alone, and knows the names of the first fairseq, too.
    return get_sonar_text_decoder_hub().load_custom_model(path, config, device=torch.device("cpu"))


def _sizes(state: Mapping[str, Tensor], path: Path) -> tuple[int, int, int, int]:
    """Return vocabulary, width, layers and feed-forward width of a decoder, under either library's names."""
    embedding = next(
        (t for name, t in state.items() if name.endswith(("embed.weight", "embed_tokens.weight"))), None
    )
    inner = next((t for name, t in state.items() if name.endswith(("inner_proj.bias", "fc1.bias"))), None)
    if embedding is None or inner is None:
        raise ValueError(
            f"{path} is no decoder of SONAR: its weights begin with {', '.join(list(state)[:3])}"
        )
    layers = {name.split("layers.")[1].split(".")[0] for name in state if "layers." in name}
    return embedding.shape[0], embedding.shape[1], len(layers), len(inner)


def _load_tokenizer(pieces: Path) -> Any:
    from fairseq2.models.nllb.tokenizer import NllbTokenizerConfig, load_nllb_tokenizer

    return load_nllb_tokenizer(
        Path(pieces), NllbTokenizerConfig(langs=list(SONAR_LANGUAGES), default_lang="eng_Latn")
    )
