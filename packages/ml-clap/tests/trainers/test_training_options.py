"""Each way to train goes the whole way: it trains, is stopped and continued, saved and loaded."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from ml_clap import cli
from ml_clap.config.train import TrainConfig
from ml_clap.data.enhancement import parallel_captions
from ml_clap.data.manifest import read_clips, write_manifest
from ml_clap.models.initialization import make_model
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import load_text_encoder
from ml_clap.trainers.augmentation import replace_tokens
from ml_clap.trainers.interruption import Interruption
from ml_clap.trainers.processes import check_same_run, run_settings
from ml_clap.trainers.run_folder import read_log
from ml_clap.trainers.train import train
from ml_clap.trainers.trainer import Trainer
from safetensors.torch import load_file


@pytest.fixture
def config(tiny_recipe: Path, tmp_path: Path) -> TrainConfig:
    """The tiny recipe for four updates, without validation."""
    words = ["train", "--config", str(tiny_recipe), "--out", str(tmp_path / "run"), "--max_steps", "4"]
    settings = cli.read(words)
    assert isinstance(settings, TrainConfig)
    return replace(settings, data=replace(settings.data, validation=()))


def losses(config: TrainConfig) -> list[float]:
    return [record["loss"] for record in read_log(config.out / "log.jsonl") if "loss" in record]


def with_settings(config: TrainConfig, settings: dict[str, Any]) -> TrainConfig:
    own = {name: value for name, value in settings.items() if "." not in name}
    model = {name.removeprefix("model."): value for name, value in settings.items() if name not in own}
    return replace(config, model=replace(config.model, **model), **own)


NEEDS_PEFT = pytest.mark.skipif(find_spec("peft") is None, reason="needs the extra `lora`")
OPTIONS: list[Any] = [
    {"loss": "sigmoid", "gradient_cache": 3},
    {"multilingual": "one_to_k", "matryoshka_dims": (4, 8)},
    {"multilingual": "co_anchor"},
    pytest.param({"model.text_lora_rank": 2}, marks=NEEDS_PEFT),
    {"model.text_layers": 1},
]


@pytest.mark.parametrize("settings", OPTIONS, ids=lambda settings: " ".join(settings))
def test_a_stopped_run_ends_as_the_whole_one_and_its_model_loads(
    config: TrainConfig, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_settings(config, settings)
    whole = replace(config, out=tmp_path / "whole")
    train(whole)
    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "is_wanted", property(lambda _: len(losses(config)) == 2))
        with pytest.raises(KeyboardInterrupt, match="saved up to step 2"):
            train(config)
    result = train(config)
    assert losses(config) == losses(whole)
    expected, got = (load_file(out / "last" / "model.safetensors") for out in (whole.out, config.out))
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    model = MLCLAP.from_pretrained(result.model)
    assert model.fingerprint() == MLCLAP.from_pretrained(whole.out).fingerprint()
    assert model.encode_text("a dog barks").shape == (16,)


# What learns of the text encoder


def trained_part(config: TrainConfig) -> MLCLAP:
    """Return a model in training, its learning text weights moved."""
    torch.manual_seed(0)
    model = make_model(config.model, None)
    with torch.no_grad():
        for weight in model.text_encoder.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn_like(weight)
    return model.eval()


@NEEDS_PEFT
def test_adapters_alone_learn_and_at_first_change_nothing(config: TrainConfig) -> None:
    torch.manual_seed(0)
    model = make_model(replace(config.model, text_lora_rank=2), None)
    learning = [name for name, each in model.text_encoder.named_parameters() if each.requires_grad]
    assert len(learning) == 12  # two of each of six linear layers
    assert all("lora_" in name for name in learning)
    source = load_text_encoder(config.model.text_encoder)
    exported = model.text_encoder.export_state()
    assert exported.keys() == source.export_state().keys()
    assert all(torch.equal(exported[name], each) for name, each in source.export_state().items())


def test_the_last_layers_alone_learn(config: TrainConfig) -> None:
    model = make_model(replace(config.model, text_layers=1), None)
    learning = {name for name, each in model.text_encoder.encoder.named_parameters() if each.requires_grad}
    assert {name.split(".")[0] for name in learning} == {"layers", "layer_norm"}
    with pytest.raises(ValueError, match="the text encoder has 1 layers, got 2"):
        make_model(replace(config.model, text_layers=2), None)


@pytest.mark.parametrize(
    "settings",
    [pytest.param({"text_lora_rank": 2}, marks=NEEDS_PEFT), {"text_layers": 1}],
    ids=lambda each: " ".join(each),
)
def test_a_model_saved_with_or_without_its_base_is_the_trained_one(
    config: TrainConfig, settings: dict[str, int], tmp_path: Path
) -> None:
    model = trained_part(replace(config, model=replace(config.model, **settings)))
    expected = model.encode_text(["a dog barks", "rain"])
    for name, save_frozen in (("whole", True), ("part", False)):
        model.save_pretrained(tmp_path / name, save_frozen=save_frozen)
        loaded = MLCLAP.from_pretrained(tmp_path / name)
        torch.testing.assert_close(loaded.encode_text(["a dog barks", "rain"]), expected, atol=1e-6, rtol=0)
        assert loaded.fingerprint() == model.fingerprint()
        assert not any("lora" in each for each in loaded.state_dict())
    weights = load_file(tmp_path / "part" / "model.safetensors")
    saved = {name.split(".")[0] for name in weights} - {"audio_encoder", "audio_proj", "text_proj"}
    assert saved == {"log_temperature"} | ({"text_encoder"} if "text_layers" in settings else set())
    assert (tmp_path / "part" / "text_adapter").is_dir() == ("text_lora_rank" in settings)
    assert not any("embed_tokens" in name for name in weights)
    # Merged, its weights are no longer those of the named source: it is saved whole.
    loaded.save_pretrained(tmp_path / "again", save_frozen=False)
    assert MLCLAP.from_pretrained(tmp_path / "again").fingerprint() == model.fingerprint()


@NEEDS_PEFT
def test_adapters_that_do_not_fit_the_base_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = trained_part(replace(config, model=replace(config.model, text_lora_rank=2)))
    model.save_pretrained(tmp_path / "part", save_frozen=False)
    folder = tmp_path / "part" / "text_adapter"
    weights = load_file(folder / "adapter_model.safetensors")
    whole = dict(weights)
    del weights["base_model.model.layers.0.fc1.lora_B.weight"]
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"the adapter of text_encoder\.layers\.0\.fc1 does not fit"):
        MLCLAP.from_pretrained(tmp_path / "part")
    save_file(whole, folder / "adapter_model.safetensors")
    settings = (folder / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(settings.replace('"lora_alpha": 4', '"lora_alpha": 8'))
    with pytest.raises(ValueError, match=r"lora_alpha is 8, expected 4"):
        MLCLAP.from_pretrained(tmp_path / "part")


@NEEDS_PEFT
def test_plain_peft_puts_the_adapters_on_their_base(config: TrainConfig, tmp_path: Path) -> None:
    from peft import PeftModel

    model = trained_part(replace(config, model=replace(config.model, text_lora_rank=2)))
    model.save_pretrained(tmp_path, save_frozen=False)
    base: Any = load_text_encoder(config.model.text_encoder)
    tokens = base.tokenizer(["a dog barks"], ["eng_Latn"])
    base.encoder = PeftModel.from_pretrained(base.encoder, str(tmp_path / "text_adapter")).merge_and_unload()
    expected = MLCLAP.from_pretrained(tmp_path).text_encoder(tokens.ids, tokens.mask)
    torch.testing.assert_close(base(tokens.ids, tokens.mask), expected, atol=1e-6, rtol=0)


@NEEDS_PEFT
def test_adapters_of_an_earlier_version_are_read(config: TrainConfig, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = trained_part(replace(config, model=replace(config.model, text_lora_rank=2)))
    model.save_pretrained(tmp_path, save_frozen=False)
    names = ("base_model.model.", "text_adapter."), (".weight", "")
    adapters = load_file(tmp_path / "text_adapter" / "adapter_model.safetensors")
    old = {name.replace(*names[0]).removesuffix(names[1][0]): value for name, value in adapters.items()}
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(tmp_path / "text_adapter")
    assert MLCLAP.from_pretrained(tmp_path).fingerprint() == model.fingerprint()


def test_without_peft_the_extra_is_named(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_clap.models.text_training.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'ml-clap\[lora\]'"):
        make_model(replace(config.model, text_lora_rank=2), None)


@NEEDS_PEFT
def test_fine_tuning_by_adapters_starts_from_the_trained_model(config: TrainConfig, tmp_path: Path) -> None:
    trained = train(config).model
    model = make_model(replace(config.model, text_lora_rank=2), str(trained))
    assert model.fingerprint() == MLCLAP.from_pretrained(trained).fingerprint()
    model.save_pretrained(tmp_path / "part", save_frozen=False)  # the base is no named source: all is saved
    assert MLCLAP.from_pretrained(tmp_path / "part").fingerprint() == model.fingerprint()


# Parts of the losses in a run


def test_the_sigmoid_loss_has_a_bias_that_learns_and_is_saved(config: TrainConfig) -> None:
    config = replace(config, loss="sigmoid", ema_decay=None)
    result = train(config)
    model = MLCLAP.from_pretrained(result.model)
    assert model.config.similarity_bias == -10.0
    assert model.bias.item() != -10.0
    without = make_model(config.model, str(result.model))  # infonce has none
    assert "similarity_bias" not in without.state_dict()
    assert without.fingerprint() == model.fingerprint()
    again = make_model(replace(config.model, similarity_bias=-5.0), str(result.model))
    assert again.bias.item() == model.bias.item()


def test_one_audio_meets_its_captions_in_every_language(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, multilingual="one_to_k"))
    batch = next(trainer.data.epoch(0, skip=0)[0])
    assert (len(batch.waveforms), len(batch.text_ids)) == (8, 24)
    languages = [
        trainer.model.text_encoder.tokenizer.languages[int(i)] for i in _language_places(trainer, batch)
    ]
    assert languages == ["eng_Latn", "fra_Latn", "deu_Latn"] * 8
    audio, texts, scales = trainer.learner.engine.towers(*trainer.learner.objective._inputs(batch, 1))
    assert (audio.shape, texts.shape, scales.shape) == ((8, 16), (8, 3, 16), (2,))
    assert trainer.data.summary().startswith("training: 24 clips, 48 captions")


def _language_places(trainer: Trainer, batch: Any) -> torch.Tensor:
    return batch.text_ids[:, 0] - trainer.model.text_encoder.tokenizer.language_id("eng_Latn")


def test_captions_that_come_along_say_the_same(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, multilingual="co_anchor"))
    clips = trainer.data.clips
    for draws in trainer.data.loader._batches._all()[:2]:
        for draw in draws:
            item = trainer.data.loader._dataset[draw]
            place = clips[item.clip].captions["eng_Latn"].index(item.text)
            ((text, language),) = item.others
            assert text == clips[item.clip].captions[language][place]


def test_co_anchor_draws_a_language_anew_for_every_epoch(config: TrainConfig) -> None:
    clips = read_clips(config.data.train, ("train",))
    settings: dict[str, Any] = {
        "source_language": "eng_Latn",
        "languages": ("fra_Latn", "deu_Latn"),
        "count": 1,
    }
    first, again, second = (parallel_captions(clips, epoch=epoch, **settings) for epoch in (0, 0, 1))
    assert first == again != second
    drawn = [sample.others for sample in first]
    assert 10 < drawn.count(("fra_Latn",)) < 38
    assert drawn.count(("fra_Latn",)) + drawn.count(("deu_Latn",)) == 48


def test_captions_that_are_not_parallel_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    clips = read_clips(config.data.train, ("train",))
    clips[4] = replace(
        clips[4], captions={"eng_Latn": ("one", "two"), "fra_Latn": ("un",), "deu_Latn": ("a", "b")}
    )
    write_manifest(tmp_path / "m.jsonl", clips)
    data = replace(config.data, train=(tmp_path / "m.jsonl",), train_splits=())
    with pytest.raises(ValueError, match="clip-04 has 2 in eng_Latn and 1 in fra_Latn"):
        Trainer(replace(config, data=data, multilingual="one_to_k"))


def test_precomputed_texts_serve_one_to_k(config: TrainConfig, tmp_path: Path) -> None:
    frozen = replace(config, model=replace(config.model, freeze_text=True), multilingual="one_to_k")
    train(frozen)
    train(replace(frozen, out=tmp_path / "precomputed", precompute_text=True, gradient_cache=3))
    precomputed = replace(frozen, out=tmp_path / "precomputed")
    # Patch-out is drawn otherwise by chunks: only the first losses are alike.
    assert losses(precomputed)[0] == pytest.approx(losses(frozen)[0], rel=0.05)


def test_embeddings_can_be_cut_to_their_first_dimensions(config: TrainConfig) -> None:
    model = make_model(config.model, None).eval()
    whole, cut = model.encode_text("a dog"), model.encode_text("a dog", dim=4)
    torch.testing.assert_close(cut, torch.nn.functional.normalize(whole[:4], dim=0))
    sounds = model.encode_audio([torch.randn(8000)] * 2, dim=4)
    assert sounds.shape == (2, 4)
    torch.testing.assert_close(sounds.norm(dim=1), torch.ones(2))
    with pytest.raises(ValueError, match="expected 1 to 16 dimensions, got 17"):
        model.encode_text("a dog", dim=17)


def test_random_pieces_take_the_place_of_pieces_alone() -> None:
    ids = torch.tensor([[90, 10, 11, 12, 2], [91, 13, 2, 1, 1]])
    mask = ids != 1
    torch.manual_seed(0)
    found = replace_tokens(ids.repeat(500, 1), mask.repeat(500, 1), share=0.5, pieces=torch.arange(4, 80))
    kept = found == ids.repeat(500, 1)
    is_piece = (ids >= 4) & (ids < 80)
    assert kept[:, ~is_piece.any(dim=0)].all()
    assert kept[::2][:, 1:4].float().mean() == pytest.approx(0.5, abs=0.05)
    assert found.max() <= 91


# Refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.text_lora_rank": 2, "model.text_layers": 1}, "text_layers and text_lora_rank contradict"),
        ({"model.text_lora_rank": 2, "model.freeze_text": True}, "freeze_text and text_lora_rank contradict"),
        ({"model.text_layers": 0}, "text_layers must be at least 1"),
        ({"model.text_lora_rank": 2, "model.text_backend": "sonar"}, "text_lora_rank needs text_backend"),
        ({"model.similarity_bias": -10.0}, "similarity_bias needs loss: sigmoid"),
        ({"matryoshka_dims": (16,)}, "from 1 to below model.embed_dim"),
        ({"matryoshka_dims": (4, 4)}, "must be different numbers"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(
    config: TrainConfig, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        with_settings(config, settings)


def test_several_languages_at_once_need_several(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match="multilingual: one_to_k needs further languages"):
        replace(config, data=replace(config.data, languages=()), multilingual="one_to_k")


def test_token_noise_and_precomputed_texts_contradict(config: TrainConfig) -> None:
    augment = replace(config.augment, token_noise=0.1)
    model = replace(config.model, freeze_text=True)
    with pytest.raises(ValueError, match=r"set augment\.token_noise to 0"):
        replace(config, augment=augment, model=model, precompute_text=True)


def test_a_run_of_an_earlier_version_is_continued(config: TrainConfig) -> None:
    saved = run_settings(config, 1)
    for name in ("loss", "multilingual", "matryoshka_dims", "gradient_cache"):
        del saved[name]
    for name in ("text_layers", "text_lora_rank", "similarity_bias"):
        del saved["model"][name]
    del saved["augment"]["token_noise"]
    check_same_run(saved, run_settings(config, 1), config.out)
