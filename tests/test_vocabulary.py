"""The same idea has the same name, type and default form in the three packages' settings.

Settings need the standard library alone, so that every environment can read those of all packages.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / "packages"
TRAIN = {
    "r1-aqa": ("r1_aqa.config.train", "TrainConfig"),
    "aac-llm": ("aac_llm.config.train", "TrainConfig"),
    "ml-clap": ("ml_clap.config.train", "TrainConfig"),
}
EVALUATE = {
    "r1-aqa": ("r1_aqa.config.evaluate", "EvaluateConfig"),
    "aac-llm": ("aac_llm.config.evaluate", "EvaluateConfig"),
    "ml-clap": ("ml_clap.config.evaluate", "EvaluateConfig"),
}

SHARED = (
    "out",
    "init_from",
    "data",
    "data.train",
    "data.validation",
    "data.cache_gigabytes",
    "epochs",
    "max_steps",
    "batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "precision",
    "gradient_checkpointing",
    "eval_steps",
    "save_steps",
    "keep_checkpoints",
    "logging_steps",
    "report_to",
    "validation",
    "device",
    "seed",
)
"""Fields of every TrainConfig, as they are written in a recipe."""

OLD_NAMES = (
    "gradient_accumulation",
    "accumulation_steps",
    "lr",
    "optimizer.lr",
    "warmup_fraction",
    "optimizer.warmup_fraction",
    "optimizer.weight_decay",
    "optimizer.clip_grad_norm",
    "bf16",
    "save_every",
    "save_every_steps",
    "checkpoint_every",
    "validate_every",
    "validation.every_steps",
    "log_every",
    "log_every_steps",
    "start_from",
    "model.name",
    "questions",
    "validation_questions",
    "validate_by",
)

ANOTHER_DEFAULT = {"init_from", "save_steps"}
"""r1-aqa always starts from a model, the others may start from nothing; saving costs each something else."""

PROGRAM = """
import dataclasses, importlib, json, sys, typing
def plain(value):
    return None if value is None else type(value).__name__
def fields(cls, prefix=""):
    hints = typing.get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        has_default = field.default is not dataclasses.MISSING
        has_factory = field.default_factory is not dataclasses.MISSING
        default = plain(field.default) if has_default else "made" if has_factory else "required"
        if dataclasses.is_dataclass(hint):
            found[prefix + field.name] = ["section", default]
            found |= fields(hint, prefix + field.name + ".")
        else:
            found[prefix + field.name] = [str(hint), default]
    return found
module, name = sys.argv[1:]
print(json.dumps(fields(getattr(importlib.import_module(module), name))))
"""


@cache
def fields_of(module: str, name: str) -> dict[str, list[str | None]]:
    """Return field -> [type, kind of default] of a dataclass and of those nested in it."""
    path = os.pathsep.join(str(folder) for folder in sorted(PACKAGES.glob("*/src")))
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, name],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", SHARED)
def test_shared_training_settings_are_the_same(name: str) -> None:
    found = {package: fields_of(*place).get(name) for package, place in TRAIN.items()}
    assert None not in found.values(), f"{name} is missing: {found}"
    compared = {
        str(kind).replace("<class 'str'>", "str").removesuffix(" | None")
        if name in ANOTHER_DEFAULT
        else (kind, default)
        for kind, default in found.values()
    }
    assert len(compared) == 1, found


@pytest.mark.parametrize("package", TRAIN)
def test_old_names_are_gone(package: str) -> None:
    assert not set(OLD_NAMES) & set(fields_of(*TRAIN[package]))


@pytest.mark.parametrize("name", ["data", "model", "batch_size", "device", "dtype", "limit", "seed"])
def test_evaluation_is_told_the_same_way(name: str) -> None:
    found = {package: fields_of(*place).get(name) for package, place in EVALUATE.items()}
    assert None not in found.values(), f"{name} is missing: {found}"
    if name in {"data", "model"}:  # a path or a benchmark's name; aac-llm also scores captions that are there
        return
    # In 8 bits is ml-clap's encoder of sound; of the others' decoders `quantization` says it.
    told = {json.dumps(field).replace(", 'int8'", "") for field in found.values()}
    assert len(told) == 1, found


@pytest.mark.parametrize("package", TRAIN)
def test_what_is_unlimited_is_none_and_not_zero(package: str) -> None:
    fields = fields_of(*TRAIN[package]) | fields_of(*EVALUATE[package])
    for name in ("max_steps", "eval_steps", "limit"):
        assert fields[name] == ["int | None", None], f"{name}: {fields[name]}"
