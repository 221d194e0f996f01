"""A tiny data set with its recipe, on which training takes seconds."""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn")


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YAML recipe: 24 scenes of 1 to 2.5 seconds, captions in three languages, a model of 30,000 weights.

    Everything that is drawn at random in training is on, so that a test of resuming means something.
    """
    folder = tmp_path_factory.mktemp("tiny")
    manifest, texts = _write_clips(folder)
    recipe = {
        "model": {
            "audio": {"embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 2, "time_patch_out": 0.2},
            "text_encoder": str(_write_text_encoder(folder, texts)),
            "embed_dim": 16,
        },
        "data": {
            "train": [str(manifest)],
            "train_splits": ["train"],
            "validation": [str(manifest)],
            "validation_splits": ["validation"],
            "languages": list(LANGUAGES[1:]),
            "language_rate": 0.5,
            "max_seconds": 2.0,
            "num_workers": 0,
        },
        "augment": {
            "time_masks": 1,
            "time_mask_frames": 20,
            "freq_masks": 1,
            "gain_db": 6.0,
            "time_shift": True,
        },
        "learning_rate": 1.0e-3,
        "batch_size": 8,
        "epochs": 2,
        "ema_decay": 0.9,
        "save_steps": 3,
        "device": "cpu",
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def _write_clips(folder: Path) -> tuple[Path, list[str]]:
    import soundfile
    from audio_common.scenes.scene import random_scene, render
    from audio_common.scenes.text import caption
    from ml_clap.data.manifest import Clip, write_manifest

    clips, texts = [], []
    for number in range(32):
        scene = random_scene(number, num_events=1, seconds=1.2 + 1.3 * (number % 7) / 7)
        path = folder / f"{number:02d}.wav"
        soundfile.write(path, render(scene), 16_000)
        captions = {each: tuple(caption(scene, each, variant=v) for v in (0, 1)) for each in LANGUAGES}
        texts += [text for each in captions.values() for text in each]
        split = "train" if number < 24 else "validation"
        clips.append(
            Clip(
                id=f"clip-{number:02d}",
                audio=path,
                captions=captions,
                split=split,
                label=scene.events[0].kind,
                duration=scene.seconds,
            )
        )
    manifest = folder / "manifest.jsonl"
    write_manifest(manifest, clips)
    return manifest, texts


def _write_text_encoder(folder: Path, texts: list[str]) -> Path:
    from ml_clap.models.text_encoder import create_small_text_encoder

    return create_small_text_encoder(
        folder / "text_encoder", texts, vocab_size=120, dim=32, layers=1, heads=2, languages=LANGUAGES
    )


@pytest.fixture
def no_dropout(tiny_recipe: Path, tmp_path: Path) -> Path:
    """The same recipe with nothing drawn at random by a process: what several processes can share exactly."""
    return _without_dropout(tiny_recipe, tmp_path)


@pytest.fixture(scope="session")
def no_dropout_everywhere(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`no_dropout` for fixtures of a module."""
    return _without_dropout(tiny_recipe, tmp_path_factory.mktemp("no_dropout"))


def _without_dropout(tiny_recipe: Path, folder: Path) -> Path:
    import shutil

    recipe = yaml.safe_load(tiny_recipe.read_text())
    encoder = folder / "text_encoder"
    shutil.copytree(recipe["model"]["text_encoder"], encoder)
    settings = json.loads((encoder / "config.json").read_text())
    settings |= {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    (encoder / "config.json").write_text(json.dumps(settings))
    recipe["model"]["text_encoder"] = str(encoder)
    recipe["model"]["audio"]["time_patch_out"] = 0.0
    recipe["augment"] = {"gain_db": 6.0, "time_shift": True}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="session")
def write_clap() -> Callable[..., Path]:
    """Writes a folder of a tiny random `ClapModel` at 48 kHz, which hears 2 s at once."""
    return _write_clap


def _write_clap(folder: Path, *, has_fusion: bool = False, padding: str = "repeatpad") -> Path:
    """Write a `ClapModel` of 2 s windows, its feature extractor and an English tokenizer."""
    import torch
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import (
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        ClapProcessor,
        PreTrainedTokenizerFast,
        RobertaTokenizerFast,
    )

    words = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        *["a", "dog", "cat", "barks", "rain", "is", "falling", "in", "the", "distance", "quietly"],
    ]
    vocabulary = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    vocabulary.pre_tokenizer = Whitespace()
    vocabulary.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    # transformers 4 insists on its class, which in transformers 5 does not take a vocabulary as it is.
    is_old = transformers.__version__.startswith("4.")
    tokenizer = (RobertaTokenizerFast if is_old else PreTrainedTokenizerFast)(
        tokenizer_object=vocabulary, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    text = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 18,
    }
    audio = {
        "window_size": 4,
        "num_mel_bins": 16,
        "spec_size": 64,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "hidden_size": 16,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "num_hidden_layers": 2,
        "enable_fusion": has_fusion,
        "fusion_type": "aff_2d" if has_fusion else None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # A large spread, or all embeddings of random weights are alike.
        settings = {"initializer_factor": 20.0, "projection_dim": 12}
        model = ClapModel(ClapConfig(text_config=text, audio_config=audio, **settings))
    features = ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=48_000,
        max_length_s=2,
        truncation="fusion" if has_fusion else "rand_trunc",
        padding=padding,
    )
    model.save_pretrained(folder)
    ClapProcessor(feature_extractor=features, tokenizer=tokenizer).save_pretrained(folder)
    features.save_pretrained(folder)
    return folder


@pytest.fixture
def blocks_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[dict[str, Any]]]]:
    """Lets a module's `run_blocks` do its blocks in this process, one after another, as workers of Ray would.

    Returns:
        A function of the module, and of the number of blocks after which the driver is stopped. It gives the
        list that gets the rows of each block that is worked on.
    """

    def install(module: Any, stop_after: int | None = None) -> list[list[dict[str, Any]]]:
        from ml_clap.bulk.run import Done
        from ml_clap.bulk.work import do_block

        worked: list[list[dict[str, Any]]] = []

        def run_here(blocks: Any, make_worker: Any, parts: Any, config: Any) -> Iterator[Any]:
            worker = None
            for number, block in enumerate(blocks):
                if number == stop_after:
                    raise KeyboardInterrupt
                if not parts.list_done([block]):
                    worker = worker or pickle.loads(pickle.dumps(make_worker))()  # as it travels
                    worked.append(list(block.rows))
                    do_block(worker, block, parts)
                yield Done(block)

        monkeypatch.setattr(module, "run_blocks", run_here)
        return worked

    return install
