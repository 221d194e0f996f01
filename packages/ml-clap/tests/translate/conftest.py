"""Tiny translation models of the real classes, a tiny judge, and a manifest."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

CAPTIONS = [
    "A dog barks twice.",
    "Rain falls on a roof.",
    "A dog barks twice.",  # two clips are described alike
    "A man speaks, then a car passes by.",
    "Birds sing.",
]
HUMAN = "Des oiseaux chantent."
LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn", "jpn_Jpan")
TEXTS = [*CAPTIONS, HUMAN, "Ein Hund bellt.", "犬が吠える。", "Un chien aboie."]


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips with English captions, the last with a French one by a person."""
    path = tmp_path_factory.mktemp("clips") / "manifest.jsonl"
    rows = [
        {
            "id": f"clip-{number}",
            "audio": f"{number}.wav",
            "captions": {"eng_Latn": [text]} | ({"fra_Latn": [HUMAN]} if number == 4 else {}),
            "split": "train" if number < 4 else "test",
            "licence": "CC-BY-4.0",
            "recordist": "somebody",
        }
        for number, text in enumerate(CAPTIONS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random encoder of SONAR's kind."""
    from ml_clap.models.text_encoder import create_small_text_encoder

    return create_small_text_encoder(
        tmp_path_factory.mktemp("judge"),
        TEXTS,
        vocab_size=100,
        dim=16,
        layers=1,
        heads=2,
        languages=LANGUAGES,
    )


@pytest.fixture(scope="session")
def nllb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """M2M100ForConditionalGeneration with NLLB's tokenizer: tokens `fra_Latn`, BPE in tokenizer.json."""
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("nllb")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_bpe(["<s>", "<pad>", "</s>", "<unk>"]),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=list(LANGUAGES),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(folder)
    _save_m2m100(folder, len(tokenizer))
    (folder / "README.md").write_text("---\nlanguage: multilingual\nlicense: cc-by-nc-4.0\n---\n# NLLB\n")
    return folder


@pytest.fixture(scope="session")
def m2m100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """M2M100 with its own tokenizer: tokens `__fr__`, sentencepiece and vocab.json."""
    from transformers import M2M100Tokenizer

    folder = tmp_path_factory.mktemp("m2m100")
    pieces = _sentencepiece(folder / "sentencepiece.bpe.model")
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [*special, *(piece for piece in pieces if piece not in special)]
    (folder / "vocab.json").write_text(json.dumps({piece: place for place, piece in enumerate(vocabulary)}))
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"))
    tokenizer.save_pretrained(folder)
    _save_m2m100(folder, len(vocabulary) + 108)
    return folder


@pytest.fixture(scope="session")
def madlad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T5 with MADLAD's tokens `<2fr>`, which are pieces of its tokenizer."""
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("madlad")
    named = ["<2en>", "<2fr>", "<2de>", "<2ja>", "<2translit>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_bpe(["<unk>", "<s>", "</s>", *named]),
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<s>",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=0,
        tie_word_embeddings=False,
    )
    _save(T5ForConditionalGeneration, config, folder)
    return folder


def _bpe(special: list[str]):  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _sentencepiece(path: Path) -> list[str]:
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        vocab_size=150,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [processor.id_to_piece(number) for number in range(processor.get_piece_size())]


def _save_m2m100(folder: Path, vocab_size: int) -> None:
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    config = M2M100Config(
        vocab_size=vocab_size,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=64,
        scale_embedding=True,
    )
    _save(M2M100ForConditionalGeneration, config, folder)


def _save(kind: Callable, config: object, folder: Path) -> None:  # type: ignore[type-arg]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
