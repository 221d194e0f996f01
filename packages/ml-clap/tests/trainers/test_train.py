"""Training of a tiny model: it learns, says what goes wrong, and its parts are what they claim to be."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ml_clap import cli
from ml_clap.config.train import AugmentConfig, OptimizerConfig, TrainConfig, ValidationConfig
from ml_clap.data.manifest import read_clips, read_manifest, write_manifest
from ml_clap.models.checkpoint import find_model
from ml_clap.models.initialization import make_model, measure_mel_statistics
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.interruption import Interruption
from ml_clap.trainers.processes import TrainingError, check_same_run, describe_batch, run_settings
from ml_clap.trainers.run_folder import read_log
from ml_clap.trainers.train import train
from ml_clap.trainers.trainer import Trainer
from ml_clap.trainers.validation import prompts_of, validate


@pytest.fixture
def config(tiny_recipe: Path, tmp_path: Path) -> TrainConfig:
    """The tiny recipe for four updates, without validation."""
    words = ["train", "--config", str(tiny_recipe), "--out", str(tmp_path / "run"), "--max_steps", "4"]
    settings = cli.read(words)
    assert isinstance(settings, TrainConfig)
    return replace(settings, data=replace(settings.data, validation=()), ema_decay=None)


def losses(config: TrainConfig) -> list[float]:
    return [record["loss"] for record in read_log(config.out / "log.jsonl") if "loss" in record]


def without_augmentation(config: TrainConfig) -> TrainConfig:
    audio = replace(config.model.audio, time_patch_out=0.0)
    return replace(config, augment=AugmentConfig(), model=replace(config.model, audio=audio))


def test_training_learns(config: TrainConfig) -> None:
    data = replace(config.data, languages=(), unique_clips="epoch")
    config = replace(without_augmentation(config), data=data, max_steps=120, epochs=40)
    config = replace(config, learning_rate=5e-3, optimizer=OptimizerConfig(encoder_lr_factor=0.4))
    train(config)
    found = losses(config)
    assert sum(found[-6:]) / 6 < 0.6 * found[0]
    assert (config.out / "curves.png").stat().st_size > 5000


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    config: TrainConfig, tmp_path: Path
) -> None:
    train(config)
    again = replace(config, out=tmp_path / "again")
    train(again)
    other = replace(config, out=tmp_path / "other", seed=1)
    train(other)
    assert losses(config) == losses(again)
    assert losses(config) != losses(other)


def test_more_workers_change_nothing(config: TrainConfig, tmp_path: Path) -> None:
    train(config)
    with_workers = replace(config, out=tmp_path / "workers", data=replace(config.data, num_workers=2))
    train(with_workers)
    assert losses(config) == losses(with_workers)


def test_the_best_model_is_the_best_of_all_validations(config: TrainConfig) -> None:
    config = replace(with_validation(config), max_steps=30, ema_decay=0.5)
    result = train(config)
    scores = [record["score"] for record in read_log(config.out / "log.jsonl") if "score" in record]
    assert len(scores) > 1
    assert result.score == max(scores)
    assert result.model == config.out / "best"
    model = MLCLAP.from_pretrained(result.model)
    clips = read_clips(config.data.validation, config.data.validation_splits)
    assert validate(model, clips, ValidationConfig()).score == pytest.approx(result.score, abs=1e-6)


def with_validation(config: TrainConfig) -> TrainConfig:
    data = replace(config.data, validation=config.data.train, validation_splits=("validation",))
    return replace(config, data=data)


def validated_steps(config: TrainConfig) -> list[int]:
    return [record["step"] for record in read_log(config.out / "log.jsonl") if "score" in record]


def test_eval_steps_validates_after_updates_and_at_the_end(config: TrainConfig) -> None:
    config = replace(with_validation(config), eval_steps=3, max_steps=8)
    result = train(config)
    assert validated_steps(config) == [3, 6, 8]
    assert result.score is not None


def test_validation_changes_no_update(config: TrainConfig, tmp_path: Path) -> None:
    train(config)
    often = replace(with_validation(config), eval_steps=1, out=tmp_path / "often")
    train(often)
    assert losses(config) == losses(often)


def test_a_signal_between_update_and_validation_loses_no_validation(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(with_validation(config), eval_steps=3, max_steps=4)
    whole = replace(config, out=tmp_path / "whole")
    train(whole)

    def is_wanted(self: Interruption) -> bool:
        return len(losses(config)) == 3  # the signal comes during the third update

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "is_wanted", property(is_wanted))
        with pytest.raises(KeyboardInterrupt, match="saved up to step 3"):
            train(config)
    assert validated_steps(config) == []
    train(config)
    assert read_log(config.out / "log.jsonl") == read_log(whole.out / "log.jsonl")


def test_a_run_folder_is_a_model(config: TrainConfig, caplog: pytest.LogCaptureFixture) -> None:
    train(config)
    last = MLCLAP.from_pretrained(config.out / "last")
    with caplog.at_level("INFO"):
        assert MLCLAP.from_pretrained(config.out).fingerprint() == last.fingerprint()
    assert f"{config.out} is a training run: using {config.out / 'last'}" in caplog.text
    (config.out / "last").rename(config.out / "best")
    assert find_model(config.out) == config.out / "best"
    assert find_model(config.out / "best") == config.out / "best"
    assert find_model("us/model") == "us/model"


def test_the_batch_of_all_processes_must_stay_and_may_be_shared_anew(config: TrainConfig) -> None:
    assert describe_batch(8, 1) == "batch of 8"
    assert describe_batch(64, 2) == "batch of 128 = 64 x 2 processes"
    one, two = run_settings(config, 1), run_settings(replace(config, batch_size=4), 2)
    check_same_run(one, two, config.out)
    with pytest.raises(TrainingError, match=r"batch_size was 8, is 16 \(of all processes\)"):
        check_same_run(one, run_settings(config, 2), config.out)


def test_a_device_that_is_not_there_is_named(config: TrainConfig) -> None:
    if torch.accelerator.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match="device: cuda:1 is not there"):
        train(replace(config, device="cuda:1"))


def test_validation_by_accuracy_uses_the_captions_of_each_label(config: TrainConfig) -> None:
    clips = read_clips(config.data.train, ("validation",))
    prompts = prompts_of(clips)
    assert set(prompts) == {clip.label for clip in clips}
    accuracy = ValidationConfig(metric="accuracy", languages=("eng_Latn",))
    result = validate(make_model(config.model, None).eval(), clips, accuracy)
    assert set(result.scores) == {"eng_Latn"}
    assert 0.0 <= result.score <= 100.0


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_clips(config: TrainConfig) -> None:
    config = replace(config, learning_rate=1e30, warmup_ratio=0.0, max_grad_norm=None)
    with pytest.raises(TrainingError, match=r"at step [2-4], with clips clip-\d\d"):
        train(config)


def test_unreadable_files_are_skipped_and_reported(config: TrainConfig, tmp_path: Path) -> None:
    clips = read_clips(config.data.train, ("train",))
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF, they said")
    clips[3] = replace(clips[3], audio=broken)
    clips[5] = replace(clips[5], audio=tmp_path / "missing.wav")
    manifest = tmp_path / "manifest.jsonl"
    write_manifest(manifest, clips)
    data = replace(config.data, train=(manifest,), train_splits=())
    result = train(replace(config, data=data, max_steps=12))
    assert set(result.bad_files) == {broken, tmp_path / "missing.wav"}
    assert result.step == 12


def test_a_run_is_not_continued_with_other_settings(config: TrainConfig) -> None:
    train(config)
    with pytest.raises(TrainingError, match="batch_size was 8, is 4"):
        train(replace(config, batch_size=4))
    with pytest.raises(TrainingError, match="resume"):
        train(replace(config, resume="never"))


def test_a_finished_run_is_left_as_it_is(config: TrainConfig) -> None:
    first = train(config)
    log = (config.out / "log.jsonl").read_bytes()
    assert train(replace(config, logging_steps=1)) == first
    assert (config.out / "log.jsonl").read_bytes() == log


def test_accumulation_averages_the_gradients_of_its_batches(config: TrainConfig) -> None:
    config = without_augmentation(config)
    trainer = Trainer(replace(config, max_grad_norm=None))
    trainer.model.eval()  # no dropout
    batches, _ = trainer.data.epoch(0, skip=0)
    pair = [next(batches), next(batches)]
    parameters = [each for each in trainer.model.parameters() if each.requires_grad]
    gradients = [torch.autograd.grad(trainer.learner.objective(batch, 0), parameters) for batch in pair]
    mean = [(one + other) / 2 for one, other in zip(*gradients, strict=True)]
    expected = torch.cat([each.flatten() for each in mean]).norm().item()
    assert trainer.learner.update(pair, step=0, done=0.5)["grad_norm"] == pytest.approx(expected, rel=1e-5)


def test_precomputed_texts_give_the_same_losses(config: TrainConfig, tmp_path: Path) -> None:
    frozen = replace(config, model=replace(config.model, freeze_text=True))
    train(frozen)
    precomputed = replace(frozen, out=tmp_path / "precomputed", precompute_text=True)
    train(precomputed)
    assert losses(precomputed) == pytest.approx(losses(frozen), rel=1e-4)


def test_precomputing_needs_a_frozen_encoder(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match="freeze_text"):
        replace(config, precompute_text=True)


def test_rows_of_a_label_match_when_asked(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, positives="label"))
    rows = trainer.data.positives(torch.arange(24))
    labels = [clip.label for clip in read_clips(config.data.train, ("train",))]
    assert all((rows[i] == rows[j]) == (labels[i] == labels[j]) for i in range(24) for j in range(24))


def test_bf16_starts_with_about_the_same_loss(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(without_augmentation(config), max_steps=1)
    train(config)
    half = replace(config, out=tmp_path / "half", precision="bf16")
    train(half)
    assert losses(half) != losses(config)
    assert losses(half)[0] == pytest.approx(losses(config)[0], rel=0.02)


def test_mel_statistics_are_those_of_the_clips_and_stay(config: TrainConfig) -> None:
    trainer = Trainer(config)
    encoder = trainer.model.audio_encoder
    frames = []
    for waveforms, lengths in trainer.data.some_audio(100):
        frames.append(encoder.front_end(waveforms, lengths.tolist())[0])
    everything = torch.cat(frames)
    assert torch.allclose(encoder.init_bn.running_mean, everything.mean(0), atol=1e-3)
    assert torch.allclose(encoder.init_bn.running_var, everything.var(0, unbiased=False), rtol=1e-3)
    before = encoder.init_bn.running_mean.clone()
    trainer.run()
    assert torch.equal(encoder.init_bn.running_mean, before)


def test_without_a_frame_the_statistics_stay(config: TrainConfig) -> None:
    encoder = make_model(config.model, None).audio_encoder
    assert measure_mel_statistics(encoder, []) == 0
    assert torch.equal(encoder.init_bn.running_mean, torch.zeros(64))


def test_fine_tuning_starts_from_the_trained_weights_with_its_own_training_settings(
    config: TrainConfig,
) -> None:
    trained = train(config).model
    audio = replace(config.model.audio, drop_path=0.3)
    model = make_model(replace(config.model, audio=audio, freeze_text=True), str(trained))
    expected, got = MLCLAP.from_pretrained(trained).export_state(), model.export_state()
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert model.config.audio.drop_path == 0.3
    assert not any(each.requires_grad for each in model.text_encoder.parameters())
    assert all(each.requires_grad for each in model.audio_encoder.blocks.parameters())


def test_tensorboard_gets_the_losses(config: TrainConfig) -> None:
    pytest.importorskip("tensorboard")
    train(replace(config, report_to=("tensorboard",)))
    assert list(config.out.rglob("events.out.tfevents.*"))


def test_a_tracker_that_is_not_installed_is_named(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_clap.trainers.processes.find_spec", lambda _: None)
    with pytest.raises(TrainingError, match="trackio is not installed"):
        train(replace(config, report_to=("trackio",)))


def test_a_split_that_is_not_there_is_named_with_those_that_are(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match="train, validation"):
        read_clips(config.data.train, ("training",))


def test_the_run_keeps_its_settings(config: TrainConfig) -> None:
    train(config)
    saved = json.loads((config.out / "config.json").read_text())
    assert saved["max_steps"] == 4
    assert len(read_manifest(saved["data"]["train"][0])) == 32


def test_what_is_cropped_cut_or_not_used_is_told_in_output_and_json(
    config: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [json.loads(line) for line in config.data.train[0].read_text().splitlines()]
    for row in rows:
        row["audio"] = str(config.data.train[0].parent / row["audio"])
    rows[0]["captions"]["eng_Latn"] = ["a dog barks " * 100]
    rows[1]["captions"] = {"spa_Latn": ["un perro"]}
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = replace(config.data, train=(path,), languages=("fra_Latn",), channel="first")
    data = replace(data, max_seconds=1.5, max_caption_length=1)
    result = train(replace(config, data=data, max_steps=1))
    found = json.loads((config.out / "notices.json").read_text())["notices"]
    assert tuple(found) == result.notices
    for part in (
        "are longer than 1.5 s: a part of each is used",
        "in deu_Latn, spa_Latn not used (--data.languages)",
        "1 clip without a caption in eng_Latn, fra_Latn not used",
        "of more than 1 words not used (--data.max_caption_length)",
        "1 text is cut to the model's 128 tokens: ",
    ):
        assert any(part in notice for notice in found), part
        assert part in caplog.text
    assert MLCLAP.from_pretrained(result.model).channel == "first"
