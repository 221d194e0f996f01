"""The command line by itself, with a verb made for the tests: words, files, help, failures, exit codes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import yaml
from r1_aqa import command_line
from r1_aqa.command_line import (
    Program,
    UsageError,
    Verb,
    require_any,
    require_file,
    require_folder,
    require_model,
)
from r1_aqa.command_line.failures import describe
from r1_aqa.command_line.options import RECIPES


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Adapters."""

    rank: int = 8
    """Rank of the update."""
    targets: tuple[str, ...] = ("q", "v")
    """Layers."""


@dataclass(frozen=True, kw_only=True)
class ReadingConfig:
    """How data are read."""

    num_workers: int = 2
    """Processes."""
    max_seconds: float | None = None
    """Longest sound; none: any."""
    adapter: AdapterConfig = field(default_factory=lambda: AdapterConfig(rank=4))
    """The adapters."""


@dataclass(frozen=True, kw_only=True)
class WorkConfig:
    """Work on clips.

    Slowly, but well.
    """

    data: Path
    """File of clips."""
    query: tuple[str, ...] = ()
    """Texts."""
    lang: str = "eng"
    """Language of the texts, 100 % of them."""
    metrics: tuple[Literal["bleu", "cider"], ...] = ()
    """Metrics."""
    others: tuple[Path, ...] = ()
    """Other files."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Two numbers."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format."""
    rate: float = 1e-4
    """Learning rate."""
    steps: int | None = None
    """Stop after this many."""
    name: str | None = None
    """A name."""
    fast: bool = False
    """Be quick."""
    check: bool = True
    """Look first."""
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """How data are read."""

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class MoreConfig(WorkConfig):
    """Work more."""

    rate: float = 1.0
    """Rate of more work."""
    extra: int
    """A number that must be given."""


PROGRAM = Program(
    purpose="For the tests.",
    verbs=(
        Verb(
            "work",
            WorkConfig,
            "toy:work",
            ("data", "query"),
            "Half is kept.",
            "work a.jsonl",
            has_model=False,
        ),
        Verb("train more", MoreConfig, "toy:work", has_model=False),
        Verb("train less", MoreConfig, "toy:work", has_model=False),
    ),
    groups={"train": "Train something"},
    extras={"vllm": "fast"},
)


def read(*words: str) -> Any:
    return PROGRAM.read(words)[1]


def mistake(*words: str) -> str:
    with pytest.raises(UsageError) as error:
        read(*words)
    assert "\n" not in str(error.value)
    return str(error.value)


def in_file(tmp_path: Path, text: str, *words: str) -> Any:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    return read("work", "a.jsonl", "--config", str(tmp_path / "c.yaml"), *words)


def mistake_in_file(tmp_path: Path, text: str, verb: tuple[str, ...] = ("work", "a.jsonl")) -> str:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    return mistake(*verb, "--config", str(tmp_path / "c.yaml")).removeprefix(f"{tmp_path}/")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A command's exit code, output and errors; `work` is what the verb does."""

    def run(*words: str, work: Callable[[Any], object] = lambda config: None) -> tuple[int, str, str]:
        toy = ModuleType("toy")
        toy.work = work  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "toy", toy)
        code = 0
        try:
            PROGRAM.main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "--lang", "fra", "un chien"], {"data": Path("a"), "query": ("un chien",), "lang": "fra"}),
        (["--lang", "fra", "a", "x", "--fast", "y"], {"query": ("x", "y"), "fast": True}),
        (["x", "--data", "a"], {"data": Path("a"), "query": ("x",)}),
        (["--data=a", "--lang=-fra", "--query", "x", "y"], {"query": ("x", "y"), "lang": "-fra"}),
        (["a", "--", "-x", "--lang"], {"query": ("-x", "--lang")}),
        (["--", "-"], {"data": Path("-")}),
        (["-"], {"data": Path("-")}),
        (["a", "--rate", "1e-5", "--steps", "+3"], {"rate": 1e-5, "steps": 3}),
        (["a", "--steps", "3", "--steps", "null", "--name", "null"], {"steps": None, "name": None}),
        (["a", "--lang", "null", "--lang", "7"], {"lang": "7"}),
        (["0:", "--name", "~", "--lang", "&x"], {"data": Path("0:"), "name": "~", "lang": "&x"}),
        (["{a: 1}", "[1", "~", "no", "012"], {"data": Path("{a: 1}"), "query": ("[1", "~", "no", "012")}),
        (["a", "--steps", "012", "--rate", "-.5e1", "--rate", "1E5"], {"steps": 12, "rate": 1e5}),
        (["--metrics", "bleu", "cider", "a"], {"metrics": ("bleu", "cider"), "data": Path("a")}),
        (["--betas", "0.8", "-.5", "a"], {"betas": (0.8, -0.5), "data": Path("a")}),
        (["a", "--others", "b", "c", "--fast"], {"others": (Path("b"), Path("c")), "fast": True}),
        (["a", "--others", "--fast", "x"], {"others": (), "query": ("x",)}),
        (["a", "--no_check", "--fast", "true", "--reading.num_workers=0"], {"check": False, "fast": True}),
        (["a", "--check=false", "--fast", "b"], {"check": False, "fast": True, "query": ("b",)}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_words_may_stand_in_any_order(words: list[str], expected: dict[str, Any]) -> None:
    settings = read("work", *words)
    assert {name: getattr(settings, name) for name in expected} == expected


def test_defaults_of_a_section_stay_where_it_is_given_in_part() -> None:
    settings = read("work", "a", "--reading.adapter.targets", "k", "--reading.max_seconds", "3")
    assert settings.reading == ReadingConfig(max_seconds=3.0, adapter=AdapterConfig(rank=4, targets=("k",)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["work", "a", "--rat", "1"], "unknown flag --rat; did you mean --rate?"),
        (["work", "a", "--reading.num_worker", "1"], "did you mean --reading.num_workers?"),
        (["work", "a", "--num_workers=3"], "unknown flag --num_workers; did you mean --reading.num_workers?"),
        (["work", "a", "--num_wrkers=3"], "did you mean --reading.num_workers?"),
        (["work", "a", "--reading.adapter.ranc", "1"], "did you mean --reading.adapter.rank?"),
        (["work", "a", "--zzzz", "1"], "unknown flag --zzzz"),
        (["work", "a", "-z"], "unknown flag -z"),
        (["work", "a", "--no_rate"], "unknown flag --no_rate"),
        (["work", "a", "--rate", "fast"], "--rate: expected FLOAT, got 'fast'"),
        (["work", "a", "--rate", "nan"], "--rate: expected FLOAT, got 'nan'"),
        (["work", "a", "--steps", "1.0"], "--steps: expected INT, got '1.0'"),
        (["work", "a", "--steps", "1_000"], "--steps: expected INT"),
        (["work", "a", "--steps", "+012"], "--steps: expected INT"),
        (["work", "a", "--rate", "1:30"], "--rate: expected FLOAT, got '1:30'"),
        (["work", "a", "--fast=yes"], "--fast: expected {true,false}, got 'yes'"),
        (["work", "a", "--rate", "null"], "--rate: expected FLOAT, got 'null'"),
        (["work", "a", "--precision", "bf61"], "expected {fp32,bf16}, got 'bf61'; did you mean bf16?"),
        (["work", "a", "--betas", "1"], "--betas: expected FLOAT FLOAT, got 1 values"),
        (["work", "a", "--fast=maybe"], "--fast: expected {true,false}, got 'maybe'"),
        (["work", "a", "--rate"], "--rate needs a value: FLOAT"),
        (["work", "a", "--lang", "--fast"], "--lang needs a value"),
        (["work", "a", "--data", "b", "--query", "x", "y"], "unexpected word 'a' (DATA is b"),
        (["work"], "DATA missing; usage: r1-aqa work DATA [QUERY ...] [options]"),
        (["work", ""], "DATA: expected PATH, got ''"),
        (
            ["train", "more", "--data", "a"],
            "--extra missing; usage: r1-aqa train more --data PATH --extra INT",
        ),
        (["wrok"], "unknown verb wrok; did you mean work?"),
        (["train", "mroe"], "unknown verb train mroe; did you mean more?"),
        (["train"], "train what? One of: more, less"),
        (["train", "--rate", "1"], "train what? One of: more, less"),
        (["dance"], "unknown verb dance; known: work, train"),
        (["--rate", "1", "work"], "write the verb first, then --rate"),
        (["work", "a", "--config"], "--config needs a value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_on_the_command_line_is_named_and_helped(words: list[str], message: str) -> None:
    assert message in mistake(*words)


def test_a_flag_of_many_values_that_took_the_data_is_pointed_at() -> None:
    hint = "DATA missing (did --others take it? Write DATA first, or after --); usage"
    assert hint in mistake("work", "--others", "a", "b")
    assert "before flags of many values (--metrics, --others," in PROGRAM._help(["work"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate: 1e-5", {"rate": 1e-5}),
        ("rate: 1", {"rate": 1.0}),
        ("lang: no", {"lang": "no"}),
        ("lang: 012", {"lang": "012"}),
        ('lang: "null"\nname: "a"', {"lang": "null", "name": "a"}),
        ("name: ~\nsteps:", {"name": None, "steps": None}),
        ("fast: True\ncheck: false", {"fast": True, "check": False}),
        ("others: [a, 'b']\nmetrics: [bleu]", {"others": (Path("a"), Path("b")), "metrics": ("bleu",)}),
        ("query:\n- a dog\n- 'no'", {"query": ("a dog", "no")}),
        ("reading: {adapter: {rank: 2}}", {"reading": ReadingConfig(adapter=AdapterConfig(rank=2))}),
        ("reading.num_workers: 1", {"reading": ReadingConfig(num_workers=1)}),
        ("steps: &n 3\nreading: {num_workers: *n}", {"steps": 3, "reading": ReadingConfig(num_workers=3)}),
        ('{"rate": 0.5, "betas": [1e-05, 0.5], "name": null}', {"rate": 0.5, "betas": (1e-5, 0.5)}),
        ("", {"rate": 1e-4}),
        ("# nothing", {"rate": 1e-4}),
    ],
)
def test_a_file_is_read_as_its_fields_types_say(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    settings = in_file(tmp_path, text)
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize("verb", [("work", "a.jsonl"), ("train", "more")], ids=" ".join)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nrat: 1", "c.yaml, line 2: unknown key rat; did you mean rate?"),
        (
            "reading:\n  num_worker: 1",
            "c.yaml, line 2: unknown key reading.num_worker; did you mean reading.num",
        ),
        (
            "reading:\n  adapter: {ranc: 1}",
            "c.yaml, line 2: unknown key reading.adapter.ranc; did you mean reading.ad",
        ),
        ("readin: {num_workers: 1}", "c.yaml, line 1: unknown key readin; did you mean reading?"),
        ("num_workers: 1", "c.yaml, line 1: unknown key num_workers; did you mean reading.num_workers?"),
        ("rate: 1\nsteps: 2\nrate: 3", "c.yaml, line 3: rate is there twice, first in line 1"),
        ("reading: {num_workers: 1}\nreading: {}", "c.yaml, line 2: reading is there twice"),
        ("rate: fast", "c.yaml, line 1: rate: expected FLOAT, got 'fast'"),
        ('steps: "7"', 'c.yaml, line 1: steps: expected INT, got "7"'),
        ('fast: "true"', 'c.yaml, line 1: fast: expected {true,false}, got "true"'),
        ("fast: yes", "c.yaml, line 1: fast: expected {true,false}, got 'yes'"),
        ("steps: 1:30", "c.yaml, line 1: steps: expected INT, got '1:30'"),
        ("steps: 7.0", "c.yaml, line 1: steps: expected INT, got '7.0'"),
        ("steps: [1]", "c.yaml, line 1: steps: expected INT, got a list"),
        ("rate: null", "c.yaml, line 1: rate: expected FLOAT, got nothing"),
        ('name: "null"', "c.yaml, line 1: name: write null without quotes"),
        ("lang:", "c.yaml, line 1: lang: expected TEXT, got nothing"),
        ("others: a", "c.yaml, line 1: others: expected a list of PATH, got 'a'"),
        ("others: [a, null]", "c.yaml, line 1: others: expected PATH, got nothing"),
        ("others: [[a]]", "c.yaml, line 1: others: expected a list of PATH, got a list"),
        ("betas: [1, x]", "c.yaml, line 1: betas: expected FLOAT, got 'x'"),
        (
            "precision: bf61",
            "c.yaml, line 1: precision: expected {fp32,bf16}, got 'bf61'; did you mean bf16?",
        ),
        ("reading: 3", "c.yaml, line 1: reading: expected keys of its own, got '3'"),
        ("- rate", "c.yaml: expected settings as `key: value`, got a list"),
        ("rate", "c.yaml: expected settings as `key: value`, got 'rate'"),
        ("rate: [1", "c.yaml, line 1: "),
        ("rate: 1\n lang: x", "c.yaml, line 2: "),
        ("a: 1\n---\nb: 2", "c.yaml, line 2: "),
        ("rate: *unknown", "c.yaml, line 1: "),
        ("[a]: 1", "c.yaml, line 1: unknown key"),
        ("[" * 5000, "c.yaml"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_a_mistake_in_a_file_names_file_line_and_key(
    tmp_path: Path, text: str, message: str, verb: tuple[str, ...]
) -> None:
    assert message in mistake_in_file(tmp_path, text, verb)


def test_what_is_no_file_of_settings_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00rate: 1")
    assert "binary.yaml: not a file of settings" in mistake(
        "work", "a", "--config", str(tmp_path / "binary.yaml")
    )
    assert f"{tmp_path} is a folder" in mistake("work", "a", "--config", str(tmp_path))
    assert "there is no file nowhere.yaml. Shipped recipes:" in mistake(
        "work", "a", "--config", "nowhere.yaml"
    )


def test_flags_override_files_and_files_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rate: 1\nsteps: 1\nlang: a")
    settings = in_file(tmp_path, "rate: 2\nsteps: 2", "--rate", "3")
    assert (settings.rate, settings.steps) == (3, 2)
    files = ("--config", str(tmp_path / "a.yaml"), f"--config={tmp_path / 'c.yaml'}")
    assert (read("work", "x", *files).steps, read("work", "x", *files).lang) == (2, "a")


def test_a_shipped_recipe_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(RECIPES.glob("*.yaml"))
    monkeypatch.setattr("r1_aqa.command_line.options.RECIPES", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "clotho.yaml").write_text("rate: 7")
    (tmp_path / "clotho").mkdir()  # a folder of that name is no file of settings
    assert read("work", "a", "--config", "clotho").rate == 7
    found = mistake("work", "a", "--config", "cloto")
    assert found == "--config: there is no file cloto; did you mean clotho? Shipped recipes: clotho."
    (tmp_path / "clotho").rmdir()
    (tmp_path / "clotho").write_text("rate: 8")
    assert read("work", "a", "--config", "clotho").rate == 8


def test_printed_settings_are_read_back(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    words = ["work", "a: b.jsonl", "no", "true", "7", "--rate", "1e-5", "--betas", "0.1", "1", "--fast"]
    words += ["--reading.adapter.rank", "2", "--others", "x y", "--lang", "nu\nll #", "--name", "ça"]
    code, printed, _ = run(*words, "--print_config")
    (tmp_path / "printed.yaml").write_text(printed, encoding="utf-8")
    assert code == 0
    assert read("work", "--config", str(tmp_path / "printed.yaml")) == read(*words)
    assert "  # Longest sound; none: any.\n  max_seconds: null\n" in printed
    plain = yaml.safe_load(printed)
    assert (plain["query"], plain["reading"]["adapter"]["rank"]) == (["no", "true", "7"], 2)


def test_settings_can_be_printed_before_all_are_given(run: Callable[..., tuple[int, str, str]]) -> None:
    code, printed, _ = run("train", "more", "--print_config")
    assert code == 0
    assert "# data: PATH (required)\n" in printed
    assert "# Rate of more work.\nrate: 1.0\n" in printed


@pytest.mark.parametrize("words", [["work", "-h"], ["-h", "work"], ["work", "--nonsense", "--help"]])
def test_help_has_types_defaults_and_an_example(
    words: list[str], run: Callable[..., tuple[int, str, str]]
) -> None:
    code, text, _ = run(*words)
    assert code == 0
    assert text.startswith(
        "usage: r1-aqa work DATA [QUERY ...] [options]\n\nWork on clips.\n\nSlowly, but well.\n"
    )
    for line in (
        "example:\n  r1-aqa work a.jsonl\n",
        "  DATA                      File of clips. (required)",
        "  --rate FLOAT              Learning rate. (default: 0.0001)",
        "  --precision {fp32,bf16}   Number format. (default: fp32)",
        "  --metrics {bleu,cider} ...\n",
        "  --steps INT               Stop after this many. (default: null)",
        "  --fast                    Be quick. (default: false)",
        "  --check, --no_check       Look first. (default: true)",
        "The adapters (reading.adapter):\n  --reading.adapter.rank INT",
        "100 % of them",
        "--print_config",
    ):
        assert line in text


def test_the_overview_lists_the_verbs(run: Callable[..., tuple[int, str, str]]) -> None:
    assert "  train more                Work more\n" in run("--help")[1]
    text = run("train", "--help")[1]
    assert text.startswith("usage: r1-aqa train VERB ...\n\nTrain something.\n")
    assert "  work " not in text
    code, printed, errors = run()
    assert (code, printed, errors.startswith("usage: r1-aqa VERB")) == (2, "", True)


def test_what_needs_no_options_does_not_import_jsonargparse() -> None:
    script = """
import sys
from r1_aqa.cli import main
main(["--version"])
main(["--help"])
main(["train", "--help"])
assert not {"jsonargparse", "yaml", "rich"} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_version_is_told(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("--version")[1] == run("work", "--version")[1] == "r1-aqa 0.1.0\n"


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (ValueError("rate must\nbe 1"), "error: rate must be 1", 2),
        (FileNotFoundError("there is no file x"), "error: there is no file x", 2),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "error: x: No such file", 2),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "x"), "error: x: Is a directory", 2),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "error: x: Permission denied", 2),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "error: the disk is full: x", 2),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "error: the disk is full: ", 2),
        (RuntimeError("PytorchStreamWriter failed writing file data/1"), "error: the disk is full: ", 2),
        (ModuleNotFoundError("No module", name="vllm.x"), 'not installed: pip install "r1-aqa[fast]"', 2),
        (
            ModuleNotFoundError("No module", name="wandb"),
            'wandb, which is not installed: pip install "wandb"',
            2,
        ),
        (ModuleNotFoundError("No module", name="r1_aqa.x"), "bug in r1-aqa: ModuleNotFoundError", 70),
        (
            ImportError("needs bitsandbytes: `pip install it`"),
            "error: needs bitsandbytes: `pip install it`",
            2,
        ),
        (ImportError("cannot import name x", name="r1_aqa.y"), "bug in r1-aqa: ImportError", 70),
        (json.JSONDecodeError("Expecting value", "x", 0), "error: Expecting value: line 1", 2),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "error: a file that should be text", 2),
        (MemoryError(), "error: out of memory", 2),
        (RuntimeError("[alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), "error: out of", 2),
        (OSError("We could not connect"), "error: We could not connect", 2),
        (RecursionError("too deep"), "bug in r1-aqa: RecursionError: too deep", 70),
        (KeyError("x"), "bug in r1-aqa: KeyError: 'x'", 70),
        (AssertionError(), "bug in r1-aqa: AssertionError:", 70),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, Exception) else "",
)
def test_every_failure_is_one_line(
    error: Exception, line: str, code: int, run: Callable[..., tuple[int, str, str]]
) -> None:
    def work(_: Any) -> None:
        raise error

    found, printed, errors = run("work", "a", work=work)
    assert (found, printed) == (code, "")
    assert line in errors
    assert errors.startswith("r1-aqa: ")
    assert len(errors.splitlines()) == 1
    found, _, errors = run("work", "a", "--traceback", work=work)
    assert found == code
    assert "Traceback" in errors
    assert line in errors.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("GatedRepoError", "hf auth login"),
        ("RepositoryNotFoundError", "no such model on the hub"),
        ("LocalEntryNotFoundError", "offline"),
        ("OfflineModeIsEnabled", "HF_HUB_OFFLINE"),
        ("HFValidationError", "OWNER/MODEL"),
    ],
)
def test_what_the_hub_refuses_is_explained(name: str, line: str) -> None:
    from huggingface_hub import errors

    kind = getattr(errors, name)
    raised = kind.__new__(kind)
    raised.args = ("401 Client Error",)
    wrapped = OSError("model x cannot be read")
    wrapped.__cause__ = raised
    for error in (raised, wrapped):
        text, code = describe(error, "r1_aqa", {})
        assert (line in text, code) == (True, 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize("size", [3, 1_000_000])
def test_a_disk_that_is_full_for_pytorch_is_no_bug(
    size: int, run: Callable[..., tuple[int, str, str]]
) -> None:
    import torch

    code, _, errors = run("work", "a", work=lambda _: torch.save({"x": torch.zeros(size)}, "/dev/full"))
    assert (code, errors.startswith("r1-aqa: error: the disk is full: ")) == (2, True), errors


def test_a_full_disk_is_told_whatever_came_of_it(run: Callable[..., tuple[int, str, str]]) -> None:
    def work(_: Any) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "x")
        finally:
            raise RuntimeError("the archive was not closed")

    assert run("work", "a", work=work)[::2] == (2, "r1-aqa: error: the disk is full: x\n")


def test_a_deeply_nested_file_is_no_bug(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _, errors = run("work", "a", work=lambda _: json.loads("[" * 100_000))
    assert (code, errors) == (2, "r1-aqa: error: a file is nested too deeply to be read\n")


def test_a_bugs_trace_is_kept(run: Callable[..., tuple[int, str, str]]) -> None:
    _, _, errors = run("work", "a", work=lambda _: {}["x"])
    trace = Path(errors.partition("trace in ")[2].partition(",")[0])
    assert "test_command_line.py" in trace.read_text()
    trace.unlink()


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1), ("done", 0), (3, 3)])
def test_what_a_verb_returns_is_the_exit_code(
    result: object, code: int, run: Callable[..., tuple[int, str, str]]
) -> None:
    assert run("work", "a", work=lambda _: result)[0] == code


def test_ctrl_c_says_what_is_kept(run: Callable[..., tuple[int, str, str]]) -> None:
    def stop(*text: str) -> None:
        raise KeyboardInterrupt(*text)

    assert run("work", "a", work=lambda _: stop())[::2] == (130, "\nr1-aqa: interrupted. Half is kept.\n")
    assert run("work", "a", work=lambda _: stop("All."))[::2] == (130, "\nr1-aqa: interrupted. All.\n")


def test_cheap_checks_come_before_the_work(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    (tmp_path / "clips.jsonl").touch()
    with pytest.raises(FileNotFoundError, match=r"no file .*clip.jsonl; did you mean .*clips.jsonl\?"):
        require_file(None, Path("-"), tmp_path / "clip.jsonl")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        require_file(tmp_path)
    with pytest.raises(NotADirectoryError, match="is a file"):
        require_folder(tmp_path / "clips.jsonl")
    with pytest.raises(FileNotFoundError, match="no folder"):
        require_folder(tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        require_any(tmp_path, tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="no model folder"):
        require_model("./x")
    require_model("owner/name")
    with pytest.raises(ModuleNotFoundError) as missing:
        command_line.require_module("json", "no_such_module")
    assert describe(missing.value, "r1_aqa", {"no_such_module": "e"})[0].endswith('pip install "r1-aqa[e]"')


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    script = """
import sys
from types import ModuleType
from dataclasses import dataclass
from r1_aqa.command_line import Program, Verb
@dataclass
class C:
    x: int = 0
toy = sys.modules["toy"] = ModuleType("toy")
toy.work = lambda config: [print("line") for _ in range(100_000)]
Program("", (Verb("work", C, "toy:work", has_model=False),)).main(["work"])
"""
    command = f"'{sys.executable}' -c '{script}' | head -1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("line\n141\n", "")


@pytest.mark.parametrize("code", [0, 1])
def test_a_process_of_several_ends_without_waiting_for_threads(code: int) -> None:
    # Python's own end waits for this thread, and aborts when one of torch.distributed wakes up too late.
    script = f"""
import atexit, sys, threading, time
from types import ModuleType
from dataclasses import dataclass
from r1_aqa.command_line import Program, Verb
@dataclass
class C:
    x: int = 0
def work(config):
    threading.Thread(target=time.sleep, args=(600,)).start()
    atexit.register(print, "closed")
    return {code}
toy = sys.modules["toy"] = ModuleType("toy")
toy.work = work
sys.argv = ["r1-aqa", "work"]
Program("", (Verb("work", C, "toy:work", has_model=False),)).main()
"""
    environment = os.environ | {"WORLD_SIZE": "2"}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (code, "closed\n", "")
