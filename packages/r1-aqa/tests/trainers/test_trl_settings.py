"""`--trl.KEY VALUE`: every field of the installed TRL has its way, and what is handed on arrives typed."""

import json
import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from r1_aqa import cli
from r1_aqa.command_line import UsageError
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig
from r1_aqa.files import write_json
from r1_aqa.trainers.grpo import grpo_arguments, grpo_settings
from r1_aqa.trainers.run_folder import prepare_folder
from r1_aqa.trainers.sft import sft_arguments, sft_settings
from r1_aqa.trainers.train import trainer_arguments
from r1_aqa.trainers.trl_fields import OURS, PASSED, REFUSED, SFT_REFUSED
from r1_aqa.trainers.trl_settings import convert, trl_values, why_refused, with_checked_trl
from transformers.trainer_utils import SchedulerType
from trl import GRPOConfig, SFTConfig

REQUIRED: dict[str, Any] = {"out": Path("o"), "init_from": "m", "data": DataConfig(train=(Path("q"),))}


@pytest.mark.parametrize("kind", [GRPOConfig, SFTConfig])
def test_every_field_of_the_installed_trl_has_one_way(kind: type) -> None:
    tables = [set(OURS), set(REFUSED), set(PASSED), {"loss_type"}]
    for field in fields(kind):
        assert sum(field.name in table for table in tables) == 1, field.name
    assert not SFT_REFUSED.keys() & (OURS.keys() | REFUSED.keys())


def test_what_our_settings_decide_is_refused_with_the_flag() -> None:
    for config in (GRPOTrainConfig(**REQUIRED, device="cpu"), SFTTrainConfig(**REQUIRED, device="cpu")):
        own = grpo_settings if isinstance(config, GRPOTrainConfig) else sft_settings
        kind = GRPOConfig if isinstance(config, GRPOTrainConfig) else SFTConfig
        for name in trainer_arguments(config, 8) | own(config):  # type: ignore[arg-type]
            assert why_refused(name, kind), name
    with pytest.raises(ValueError, match=r"trl\.beta: set --beta instead"):
        trl_values(GRPOTrainConfig(**REQUIRED, trl={"beta": "0.1"}))
    with pytest.raises(ValueError, match=r"trl\.loss_type: set --loss instead"):
        trl_values(GRPOTrainConfig(**REQUIRED, trl={"loss_type": "dapo"}))


def test_the_flags_that_are_named_are_there() -> None:
    names = {field.name for kind in (GRPOTrainConfig, SFTTrainConfig) for field in fields(kind)}
    for flag in OURS.values():
        assert flag.partition(" ")[0].partition(".")[0] in names | {"quiet"}


@pytest.mark.parametrize(
    ("value", "hint", "found"),
    [
        ("4", float | None, 4.0),
        ("1e-5", float, 1e-5),
        ("null", float | None, None),
        (None, str | None, None),
        ("7", int, 7),
        ("true", bool, True),
        ("False", bool, False),
        ("7", str | None, "7"),
        ("7", int | str | None, 7),
        ("auto", int | str | None, "auto"),
        ("a", None | str | list[str], "a"),
        (["a", "b"], None | str | list[str], ["a", "b"]),
        ('{"min_p": 0.1, "stop": ["x"]}', dict | str | None, {"min_p": 0.1, "stop": ["x"]}),
        ({"num_cycles": "2", "on": "true"}, dict[str, Any] | str, {"num_cycles": 2, "on": True}),
        ("cosine", SchedulerType, "cosine"),
        (0.5, float, 0.5),
    ],
)
def test_values_are_of_the_fields_type(value: Any, hint: Any, found: Any) -> None:
    converted = convert(value, hint, "trl.x")
    assert (converted, type(converted)) == (found, type(found))
    assert convert(converted, hint, "trl.x") == found


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("fast", float | None, "trl.x: expected a number or null, got 'fast'"),
        ("4.5", int, "expected a whole number, got '4.5'"),
        ("yes", bool, "expected true or false, got 'yes'"),
        (True, float, "expected a number, got True"),
        (None, int, "expected a whole number, got None"),
        ("sine", SchedulerType, "expected linear or cosine or"),
        (["a"], float, "expected a number"),
    ],
)
def test_a_value_of_another_type_is_refused(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(value, hint, "trl.x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dleta", "trl.dleta: GRPOConfig of the installed TRL has no such field; did you mean delta?"),
        ("dataloader_num_workers", "trl.dataloader_num_workers: questions and their order"),
        ("push_to_hub", "trl.push_to_hub: nothing is uploaded"),
        ("use_liger_kernel", "would not look at it"),
        ("steps_per_generation", "set --minibatches instead"),
    ],
)
def test_a_field_that_does_not_go_is_refused_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        trl_values(GRPOTrainConfig(**REQUIRED, trl={name: "1"}))


def test_fine_tuning_takes_what_has_an_effect_on_it() -> None:
    config = SFTTrainConfig(**REQUIRED, device="cpu", trl={"adam_beta2": "0.95"})
    assert sft_arguments(config, **trainer_arguments(config, 8)).adam_beta2 == 0.95
    for name in ("loss_type", "delta", "shuffle_dataset"):
        with pytest.raises(ValueError, match=f"trl.{name}"):
            trl_values(SFTTrainConfig(**REQUIRED, trl={name: "x"}))


def test_flags_and_files_reach_trl(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        f"out: {tmp_path / 'o'}\ninit_from: m\ndata: {{train: [q]}}\ndevice: cpu\n"
        "trl:\n  adam_beta2: 0.99\n  delta: 1.5\n  lr_scheduler_kwargs: {num_cycles: 2}\n  optim_args: null\n"
    )
    words = ["train", "grpo", "--config", str(tmp_path / "own.yaml"), "--trl.delta", "4", "--trl.min_p=0.05"]
    config = with_checked_trl(cli.read([*words, "--trl.log_completions"]))
    assert config.trl == {
        "adam_beta2": 0.99,
        "delta": 4.0,
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "optim_args": None,
        "min_p": 0.05,
        "log_completions": True,
    }
    args = grpo_arguments(config, **trainer_arguments(config, 8))
    assert {name: getattr(args, name) for name in config.trl} == config.trl
    assert with_checked_trl(config) == config


def test_a_new_field_is_handed_on_with_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("r1_aqa.trainers.trl_settings.PASSED", PASSED - {"delta"})
    with caplog.at_level(logging.WARNING):
        assert trl_values(GRPOTrainConfig(**REQUIRED, trl={"delta": "2"})) == {"delta": 2.0}
    assert "trl.delta is handed on as it is: r1-aqa was never tried with it" in caplog.text


def test_the_command_refuses_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("{}\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    config = GRPOTrainConfig(
        out=tmp_path / "o",
        init_from=str(tmp_path / "model"),
        data=DataConfig(train=(tmp_path / "q.jsonl",)),
        trl={"delta": "much"},
    )
    with pytest.raises(ValueError, match=r"trl\.delta: expected a number or null, got 'much'"):
        cli.check_train(config)


def test_a_training_goes_on_only_with_the_same_settings_of_trl(tmp_path: Path) -> None:
    config = SFTTrainConfig(**REQUIRED | {"out": tmp_path})
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "trainer_state.json").write_text("{}")
    write_json(tmp_path / "config.json", asdict(config))
    other = SFTTrainConfig(**REQUIRED | {"out": tmp_path}, trl={"adam_beta2": 0.95})
    with pytest.raises(ValueError, match=r"other settings \(trl: {} -> {'adam_beta2': 0.95}\)"):
        prepare_folder(other)
    assert json.loads((tmp_path / "config.json").read_text())["trl"] == {}
    assert prepare_folder(config) == tmp_path / "checkpoint-1"


# -- the options that carry them --------------------------------------------------------------------------


def read_file(path: Path, text: str) -> Any:
    path.write_text(f"out: o\ninit_from: m\ndata: {{train: [q]}}\n{text}")
    return cli.read(["train", "sft", "--config", str(path)])


def test_keys_of_a_file_are_kept_as_texts_lists_and_mappings(tmp_path: Path) -> None:
    found = read_file(tmp_path / "c.yaml", "trl:\n  a: 012\n  b: [x, 1]\n  c: {d: 'null', e: null}\n")
    assert found.trl == {"a": "012", "b": ["x", "1"], "c": {"d": "null", "e": None}}
    assert read_file(tmp_path / "c.yaml", "trl:\n").trl == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trl: 4\n", r"line 4: trl: expected keys of its own, got '4'"),
        ("trl:\n  a: 1\n  a: 2\n", r"line 6: trl.a is there twice, first in line 5"),
    ],
)
def test_a_mistake_in_a_file_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_file(tmp_path / "c.yaml", text)


def test_a_section_without_a_key_is_refused_and_its_settings_are_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["train", "sft", "--config", "small_sft", "--trl.optim_args", "x y", "--trl.seeds", "1", "2"]
    assert cli.read(words).trl == {"optim_args": "x y", "seeds": ["1", "2"]}
    with pytest.raises(UsageError, match=r"--trl has keys of its own: write --trl.KEY VALUE"):
        cli.read(["train", "sft", "--trl", "4"])
    cli.main([*words, "--print_config"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    again = cli.read(["train", "sft", "--config", str(tmp_path / "printed.yaml")])
    assert again.trl == cli.read(words).trl
    cli.main(["train", "sft", "--help"])
    assert "--trl.KEY VALUE" in capsys.readouterr().out
