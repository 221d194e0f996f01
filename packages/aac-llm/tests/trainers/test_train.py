import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from aac_llm import cli
from aac_llm.config.model import ModelConfig
from aac_llm.config.train import AugmentConfig, DataConfig, TrainConfig, ValidationConfig
from aac_llm.data.dataset import CaptionDataset
from aac_llm.data.manifest import Clip, ManifestError, write_manifest
from aac_llm.data.timestamps import TimedEvent
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.card_parts import CARD_FILE, read_scores
from aac_llm.trainers.checkpoint import count_writers
from aac_llm.trainers.run_folder import find_checkpoint
from aac_llm.trainers.train import read_clips, train, training_arguments
from aac_llm.trainers.trainer import CaptionTrainer
from launched import run_launched


@pytest.fixture
def config(tiny_config: ModelConfig, scene_manifest: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        out=tmp_path / "run",
        model=tiny_config,
        data=DataConfig(
            train=(scene_manifest,), validation=(scene_manifest,), validation_splits=("train",), num_workers=0
        ),
        max_steps=6,
        epochs=10,
        batch_size=2,
        learning_rate=3e-3,
        logging_steps=1,
        save_steps=2,
        eval_steps=3,
        validation=ValidationConfig(max_clips=4),
        augment=AugmentConfig(time_masks=1, freq_masks=1),
        device="cpu",
    )


def logged(out: Path, name: str) -> list[float]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def losses(out: Path) -> list[float]:
    return logged(out, "loss")


def test_train_writes_models_that_caption_and_what_happened(config: TrainConfig) -> None:
    result = train(config)
    assert result.steps == 6
    assert set(result.scores) == {"loss", "cider_d", "cider_d_low", "cider_d_high", "unfinished", "step"}
    assert result.scores["cider_d_low"] <= result.scores["cider_d"] <= result.scores["cider_d_high"]
    waveform = torch.randn(1, 16_000) * 0.1
    for folder in ("best", "last"):
        assert CaptionModel.from_pretrained(config.out / folder).generate(waveform)[0][0].text is not None
    assert (config.out / "curves.png").stat().st_size > 1000
    assert len(losses(config.out)) == 6
    assert len(list(config.out.glob("checkpoint-*"))) == 1


def test_the_card_says_what_made_the_model_and_its_command_trains_it_again(
    config: TrainConfig, scene_manifest: Path
) -> None:
    result = train(replace(config, max_steps=3))
    card = (config.out / "best" / CARD_FILE).read_text()
    num_clips = len(read_clips([scene_manifest], ["train"], "eng_Latn"))
    assert f"| training | {scene_manifest.name} | {num_clips} |" in card
    assert "3 updates, seed 20" in card
    scores = {score.metric: score for score in read_scores(config.out / "best")}
    assert set(scores) == {"loss", "cider_d", "unfinished"}
    assert scores["cider_d"].value == result.scores["cider_d"]
    assert (scores["cider_d"].low, scores["cider_d"].count) == (result.scores["cider_d_low"], 4)
    assert read_scores(config.out / "last") == []
    command = shlex.split(next(line for line in card.splitlines() if line.startswith("aac-llm train")))
    assert command[-2:] == ["--out", "AGAIN"]
    assert cli.read(command[1:]) == replace(config, max_steps=3, out=Path("AGAIN"))


def test_times_are_learned_where_clips_have_them(
    config: TrainConfig, scene_clips: list[Clip], tmp_path: Path
) -> None:
    timed = replace(config, data=replace(config.data, timestamps=0.5))
    with pytest.raises(ValueError, match=r"data.timestamps 0.5: no training clip has times"):
        train(replace(timed, out=tmp_path / "none"))
    event = TimedEvent("a dog barks", 0.1, 0.9)
    manifest = tmp_path / "timed.jsonl"
    write_manifest(manifest, [replace(clip, timestamps=(event,)) for clip in scene_clips])
    timed = replace(timed, data=replace(timed.data, train=(manifest,), validation=(manifest,)))
    assert set(train(timed).scores) > {"loss", "timed_loss", "cider_d", "unfinished", "step"}
    # Captions with times have a confidence of their own.
    assert set(CaptionModel.from_pretrained(config.out / "best").calibrations) == {"captions", "timestamps"}
    model = CaptionModel.from_pretrained(config.out / "last")
    assert model.config.timestamps
    assert len(model.generate(torch.zeros(1, 16_000), timestamps=True, max_new_tokens=2)) == 1
    # A captioner that knows captions alone goes on with times.
    train(replace(config, out=tmp_path / "plain", max_steps=1))
    further = replace(
        timed, out=tmp_path / "further", init_from=str(tmp_path / "plain" / "last"), max_steps=1
    )
    train(further)
    assert CaptionModel.from_pretrained(tmp_path / "further" / "last").config.timestamps
    assert not CaptionModel.from_pretrained(tmp_path / "plain" / "last").config.timestamps


def test_the_last_update_is_validated_too(config: TrainConfig) -> None:
    train(replace(config, max_steps=5))
    rows = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "eval_loss" in row] == [3, 5]


def test_without_numbers_of_updates_each_epoch_is_validated_and_saved(config: TrainConfig) -> None:
    steps = train(replace(config, max_steps=None, epochs=2, eval_steps=None, save_steps=None)).steps
    rows = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "eval_loss" in row] == [steps // 2, steps]
    assert find_checkpoint(config.out) == config.out / f"checkpoint-{steps}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "precision fp16 needs a GPU"),
        ({"device": "xpu"}, "device xpu: PyTorch sees no such device"),
    ],
)
def test_what_the_machine_lacks_is_refused_before_anything_is_written(
    config: TrainConfig, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(replace(config, **options))
    assert not config.out.exists()


def test_training_lowers_the_loss(config: TrainConfig) -> None:
    result = train(
        replace(
            config, max_steps=40, learning_rate=1e-2, save_steps=40, augment=AugmentConfig(),
            eval_steps=40, validation=ValidationConfig(max_clips=2),
            model=replace(config.model, decoder_strategy="full"),
        )
    )  # fmt: skip
    found = losses(config.out)
    assert sum(found[-5:]) < 0.8 * sum(found[:5])
    assert result.scores["loss"] < found[0]


def test_checkpoints_hold_adapters_and_no_decoder(config: TrainConfig, tiny_decoder: Path) -> None:
    train(replace(config, max_steps=2, eval_steps=2, validation=ValidationConfig(max_clips=1)))
    saved = sum(path.stat().st_size for path in (config.out / "last").rglob("*.safetensors"))
    assert not (config.out / "last" / "decoder").exists()
    assert (config.out / "last" / "decoder_adapter" / "adapter_model.safetensors").stat().st_size < 60_000
    assert saved < 1_200_000


@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 1), (2, 2), (1, 4)])
def test_accumulating_gradients_equals_one_large_batch(
    config: TrainConfig, scene_clips: list[Clip], batch_size: int, accumulation: int
) -> None:
    """The loss is over caption tokens, which differ in number: a mean of means would not be equal."""
    settings = replace(
        config, batch_size=batch_size, gradient_accumulation_steps=accumulation, max_steps=1,
        max_grad_norm=1e9, augment=AugmentConfig(), learning_rate=1e-9,
        model=replace(config.model, lora=replace(config.model.lora, dropout=0.0)),
    )  # fmt: skip
    torch.manual_seed(0)
    model = CaptionModel.from_config(settings.model)
    model.bridge.qformer.config.hidden_dropout_prob = 0.0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    clips = [scene_clips[0], scene_clips[1], scene_clips[2], scene_clips[4]]
    captions = [
        ("dog",),
        ("a dog barks and rain falls on the roof then a bell rings",),
        ("rain rain",),
        ("x",),
    ]
    clips = [replace(clip, captions=texts) for clip, texts in zip(clips, captions, strict=True)]
    trainer = CaptionTrainer(
        settings,
        model,
        training_arguments(settings, 1, validate=False),
        CaptionDataset(clips, max_seconds=10.0),
        None,
        [],
    )
    trainer.train()
    logged = next(row for row in trainer.state.log_history if "loss" in row)
    model.eval()
    model.zero_grad()
    labels = model.tokenize_captions([texts[0] for texts in captions])
    dataset = CaptionDataset(clips, max_seconds=10.0)
    single = [
        model(dataset[i, 0].waveform[None], None, labels[i : i + 1]).loss * (labels[i] != -100).sum()
        for i in range(4)
    ]
    expected = sum(single) / (labels != -100).sum()
    assert logged["loss"] == pytest.approx(expected.item(), rel=2e-3)
    expected.backward()
    gradients = [p.grad.flatten() for p in model.trainable_parameters() if p.grad is not None]
    assert logged["grad_norm"] == pytest.approx(torch.cat(gradients).norm().item(), rel=2e-3)


def test_a_second_stage_goes_on_from_the_first(config: TrainConfig, tmp_path: Path) -> None:
    first = train(replace(config, max_steps=2, eval_steps=2, validation=ValidationConfig(max_clips=1)))
    second = replace(
        config, out=tmp_path / "second", init_from=str(first.model), max_steps=1, learning_rate=1e-12,
        eval_steps=1, validation=ValidationConfig(max_clips=1),
    )  # fmt: skip
    result = train(second)
    assert result.scores["loss"] == pytest.approx(first.scores["loss"], abs=1e-4)


def test_training_with_other_settings_is_not_resumed(config: TrainConfig) -> None:
    train(replace(config, max_steps=2, eval_steps=2, validation=ValidationConfig(max_clips=1)))
    other = replace(config, eval_steps=2, validation=ValidationConfig(max_clips=1), batch_size=3)
    with pytest.raises(ValueError, match=r"other settings \(batch_size: 2 -> 3\)"):
        train(other)


def test_no_clip_of_the_split_says_what_to_set(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"has a split of \['dev'\]; set data\.train and its splits"):
        train(replace(config, data=replace(config.data, train_splits=("dev",))))


def test_broken_validation_clip_is_left_out(
    config: TrainConfig, scene_clips: list[Clip], tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    broken = Clip(id="b", audio=tmp_path / "broken.wav", captions=("x",), split="train", duration=1.0)
    write_manifest(tmp_path / "m.jsonl", [broken, *scene_clips[:2]])
    data = replace(config.data, validation=(tmp_path / "m.jsonl",))
    steps = ValidationConfig(max_clips=3)
    result = train(replace(config, data=data, max_steps=1, eval_steps=1, validation=steps))
    assert result.scores["cider_d"] >= 0


@pytest.mark.slow
def test_killed_training_resumes_to_the_last_bit(config: TrainConfig, tmp_path: Path) -> None:
    whole = replace(config, out=tmp_path / "whole", max_steps=8)
    train(whole)
    killed = replace(config, out=tmp_path / "killed", max_steps=8)
    words = command(killed)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = killed.out / "checkpoint-4" / "trainer_state.json"
    while not checkpoint.is_file():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    train(killed)
    assert losses(killed.out) == losses(whole.out)
    for name in ("bridge", "encoder_adapter/adapter_model", "decoder_adapter/adapter_model"):
        files = [run.out / "last" / f"{name}.safetensors" for run in (whole, killed)]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_processes_of_a_launcher_train_by_the_command(config: TrainConfig, tmp_path: Path) -> None:
    """What they learn is compared with one process in test_sharded.py."""
    two = replace(
        config, out=tmp_path / "two", augment=AugmentConfig(), max_steps=2, batch_size=1, save_steps=1,
        eval_steps=1, validation=ValidationConfig(max_clips=2),
    )  # fmt: skip
    in_two_processes(two)
    assert len(losses(two.out)) == 2
    assert count_writers(two.out / "checkpoint-2") == 2
    assert json.loads((two.out / "best" / "validation.json").read_text())["step"] <= 2


def in_two_processes(config: TrainConfig) -> None:
    """Train with torch's launcher: on a processor accelerate's starts one process, whatever it is told."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words += ["-m", "aac_llm"]
    # transformers 4 cannot resume on "cpu:0", which is what accelerate calls the processor otherwise.
    run_launched([*words, *command(config)[3:]], ACCELERATE_TORCH_DEVICE="cpu")


def command(config: TrainConfig) -> list[str]:
    """The same settings as a command line."""
    data, model = config.data, config.model
    flags: dict[str, object] = {
        "out": config.out,
        "model.decoder": model.decoder,
        "model.decoder_dtype": "float32",
        "model.encoder.embed_dim": 48,
        "model.encoder.depth": 2,
        "model.encoder.num_heads": 3,
        "model.encoder.num_classes": model.encoder.num_classes,
        "model.bridge.hidden_size": 48,
        "model.bridge.num_heads": 4,
        "model.bridge.intermediate_size": 96,
        "model.lora.dropout": model.lora.dropout,
        "data.train": data.train[0],
        "data.validation": data.validation[0],
        "data.validation_splits": "train",
        "data.num_workers": 0,
        "max_steps": config.max_steps,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "logging_steps": 1,
        "save_steps": config.save_steps,
        "eval_steps": config.eval_steps,
        "keep_checkpoints": config.keep_checkpoints,
        "validation.max_clips": config.validation.max_clips,
        "augment.time_masks": config.augment.time_masks,
        "augment.freq_masks": config.augment.freq_masks,
        "device": "cpu",
    }
    words = [
        word
        for name, value in flags.items()
        for word in (f"--{name}", "null" if value is None else str(value))
    ]
    return [sys.executable, "-m", "aac_llm", "train", *words]


def test_crops_are_told_and_counted(config: TrainConfig, caplog: pytest.LogCaptureFixture) -> None:
    data = replace(config.data, max_seconds=3.0)
    with caplog.at_level("INFO"):
        result = train(
            replace(config, data=data, max_steps=3, save_steps=3, validation=ValidationConfig(max_clips=2))
        )
    assert result.cropped_clips == 8
    assert (
        "4 of 6 training clips are longer than 3 s, of which only a random part is heard at a time; "
        "--data.max_seconds takes more"
    ) in caplog.text
    assert "4 of 6 validation clips are longer than 3 s, of which only the beginning" in caplog.text
    assert (
        "validation captions 2 of 6 clips, drawn from every kind; --validation.max_clips takes more"
        in caplog.text
    )
    report = json.loads((config.out / "report.json").read_text())
    assert report["training"] == {"clips": 6, "cropped": 4, "max_seconds": 3.0, "bad_clips": {}}


def test_sounds_that_do_not_fit_into_the_decoder_are_refused_before_training(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aac_llm.trainers.lengths.longest_seconds", lambda *_: 2.0)
    with pytest.raises(ValueError, match=r"sounds of 6\.2 s, and 2 s fit .* set --data\.max_seconds 2"):
        train(config)


def test_what_is_known_of_its_use_is_saved_with_the_model(config: TrainConfig) -> None:
    result = train(replace(config, data=replace(config.data, channel="first"), max_steps=1))
    model = CaptionModel.from_pretrained(result.model)
    assert model.channel == "first"
    # So are the longest sound that was heard and how likely a caption is right.
    assert model.trained_seconds == pytest.approx(6.2)
    assert model.calibrations["captions"].num_clips == config.validation.max_clips
    assert 0 < model.calibrations["captions"].confidence(-1.0) < 1


def test_a_caption_without_words_is_refused_before_training(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    rows = [
        {"id": name, "audio": "a.wav", "captions": [text]} for name, text in (("a", "Rain"), ("b", "..."))
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ManifestError, match=r"clip 'b' of .* has a caption without words, \['\.\.\.'\]"):
        read_clips([manifest], [], "eng_Latn")


def test_captions_that_do_not_fit_into_the_decoder_are_refused_before_training(
    config: TrainConfig, scene_clips: list[Clip], tmp_path: Path
) -> None:
    long = replace(scene_clips[1], captions=("x", "rain falls " * 2000))
    write_manifest(tmp_path / "m.jsonl", [scene_clips[0], long])
    data = replace(config.data, train=(tmp_path / "m.jsonl",), validation=())
    with pytest.raises(
        ValueError, match=r"captions of 1 clips do not fit .* of \d+ tokens .*: scene1 \(\d+ tok"
    ):
        train(replace(config, data=data))
