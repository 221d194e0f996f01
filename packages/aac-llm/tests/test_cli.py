"""The command line: quick help, settings from flags and YAML, one clear line for a mistake."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from aac_llm import cli
from aac_llm.command_line import UsageError, leave_processes
from aac_llm.config.caption import CaptionConfig
from aac_llm.config.correct import CorrectConfig
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.config.train import TrainConfig

COMMANDS = [["prepare"], *(verb.name.split() for verb in cli.VERBS)]


def read(*words: str) -> object:
    return cli.read(words)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "aac_llm", *words], capture_output=True, text=True)


def test_help_comes_without_torch() -> None:
    script = f"""
import contextlib, io, sys
from aac_llm.cli import main
for words in {[[], *COMMANDS]!r}:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    assert "usage: aac-llm" in text.getvalue(), words
heavy = {{"torch", "transformers", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("verb", cli.VERBS, ids=lambda verb: verb.name)
def test_every_setting_has_a_help_text(verb: cli.Verb) -> None:
    assert [name for name, text in verb.options.helps.items() if not text] == []


@pytest.mark.parametrize("verb", cli.VERBS, ids=lambda verb: verb.name)
def test_every_verb_names_a_function(verb: cli.Verb) -> None:
    module, _, name = verb.function.partition(":")
    assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("verb", cli.VERBS, ids=lambda verb: verb.name)
def test_what_is_written_without_a_flag_is_a_setting(verb: cli.Verb) -> None:
    assert set(verb.positional) <= set(verb.settings.__dataclass_fields__)


def test_caption_takes_any_number_of_files() -> None:
    settings = read("caption", "a.wav", "b.wav", "folder", "--model", "runs/model", "--num_beams", "4")
    assert isinstance(settings, CaptionConfig)
    assert settings.files == (Path("a.wav"), Path("b.wav"), Path("folder"))
    assert (settings.model, settings.num_beams) == ("runs/model", 4)


def test_a_switch_leaves_the_next_word_alone() -> None:
    settings = read("caption", "--model", "m", "--segments", "a.wav", "b.wav")
    assert isinstance(settings, CaptionConfig)
    assert (settings.segments, settings.files) == (True, (Path("a.wav"), Path("b.wav")))


def test_correct_and_evaluate_take_one_file() -> None:
    corrected = read("correct", "captions.jsonl", "--llm", "some/model", "--out", "corrected.jsonl")
    assert isinstance(corrected, CorrectConfig)
    assert (corrected.predictions, corrected.out) == (Path("captions.jsonl"), Path("corrected.jsonl"))
    scored = read("evaluate", "captions.jsonl", "--metrics", "bleu", "cider", "--compare", "other.jsonl")
    assert isinstance(scored, EvaluateConfig)
    assert (scored.data, scored.metrics) == (Path("captions.jsonl"), ("bleu", "cider"))


def test_numbers_lists_and_null_are_read_from_yaml(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("metrics: [bleu]\nbootstrap: 50\nmodel: null\n")
    settings = read("evaluate", "captions.jsonl", "--config", str(recipe), "--bootstrap", "7")
    assert isinstance(settings, EvaluateConfig)
    assert (settings.metrics, settings.bootstrap, settings.model) == (("bleu",), 7, None)


def test_unknown_flags_verbs_and_types_are_errors() -> None:
    for words, named in (
        (["caption", "a.wav", "--model", "m", "--num_beems", "3"], "num_beems"),
        (["captoin", "a.wav"], "captoin"),
        (["evaluate", "a.jsonl", "--bootstrap", "many"], "bootstrap"),
    ):
        with pytest.raises(UsageError, match=named):
            read(*words)


def test_an_unknown_key_of_the_file_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("metrix: [bleu]\n")
    with pytest.raises(UsageError, match="metrix"):
        read("evaluate", "a.jsonl", "--config", str(recipe))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["caption", "a.wav"], "model"),
        (["caption", "--model", "m"], "FILES missing"),
        (["caption", "a.wav", "--model", "m", "--num_beams", "0"], "num_beams must be at least 1, got 0"),
        (["evaluate", "nowhere.jsonl"], "nowhere.jsonl"),
        (["correct", "nowhere.jsonl", "--out", "b.jsonl"], "--llm"),
        (["quickstart", "--clips", "3"], "clips must be at least 40, got 3"),
        (["nonsense"], "nonsense"),
        (["prepare", "clotho"], "SOURCE missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_one_line(words: list[str], named: str) -> None:
    result = run(*words)
    assert result.returncode == 2, result.stderr
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("aac-llm: error: ")


def test_traceback_shows_where_a_mistake_arose() -> None:
    result = run("evaluate", "nowhere.jsonl", "--traceback")
    assert result.returncode != 0
    assert "Traceback" in result.stderr


def test_ctrl_c_says_what_is_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt("Saved up to clip 12.")

    monkeypatch.setattr("aac_llm.command_line._load", lambda _: stop)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["evaluate", __file__])
    assert exit_.value.code == 130
    assert "Saved up to clip 12." in capsys.readouterr().err


def train_settings(*words: str) -> TrainConfig:
    settings = read("train", *words)
    assert isinstance(settings, TrainConfig)
    return settings


def test_settings_of_settings_are_dotted_and_flags_override_the_file(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "out: runs/x\nlearning_rate: 2e-4\n"
        "data: {train: [a.jsonl], num_workers: 3}\n"
        "model: {decoder: some/llama, lora: {rank: 4}, encoder: {depth: 3}}\n"
    )
    settings = train_settings(
        *("--config", str(recipe), "--model.lora.rank", "16", "--data.train", "b.jsonl", "c.jsonl"),
        *("--precision", "bf16"),
    )
    assert settings.learning_rate == 2e-4
    assert (settings.model.decoder, settings.model.lora.rank, settings.model.encoder.depth) == (
        "some/llama",
        16,
        3,
    )
    assert settings.data.train == (Path("b.jsonl"), Path("c.jsonl"))
    assert (settings.data.num_workers, settings.precision, settings.out) == (3, "bf16", Path("runs/x"))


def test_a_switch_can_be_taken_back(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("out: runs/x\ndata: {train: [a.jsonl]}\ngradient_checkpointing: true\n")
    for taken_back in ("--no_gradient_checkpointing", "--gradient_checkpointing=false"):
        assert not train_settings("--config", str(recipe), taken_back).gradient_checkpointing


def test_print_config_can_be_read_back(tmp_path: Path) -> None:
    words = ["evaluate", "a.jsonl", "--metrics", "bleu", "events", "--seed", "7"]
    printed = run(*words, "--print_config")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout)["seed"] == 7
    (tmp_path / "printed.yaml").write_text(printed.stdout)
    assert read("evaluate", "a.jsonl", "--config", str(tmp_path / "printed.yaml")) == read(*words)


def test_the_process_group_is_left_before_the_process_ends(tmp_path: Path) -> None:
    from torch import distributed

    leave_processes()  # of none, nothing happens
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    leave_processes()
    assert not distributed.is_initialized()


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must be refused, and return the line that it prints."""
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


CAPTIONS = {
    "null": b'{"id": "a", "caption": "x"}\n{"id": "b", "caption": null}\n',
    "number": b'{"id": "a", "caption": "x"}\n{"id": 5, "caption": "x"}\n',
    "list": b'{"id": "a", "caption": "x"}\n{"id": "b", "caption": ["x"]}\n',
    "array": b'{"id": "a", "caption": "x"}\n[{"id": "b", "caption": "x"}]\n',
    "binary": b'{"id": "a", "caption": "x"}\n\xff\xfe\x00\x01\n',
}
MANIFESTS = {
    "null": b'{"id": "a", "audio": "a.wav", "captions": null}\n',
    "number": b'{"id": "a", "audio": 5, "captions": ["x"]}\n',
    "array": b'[{"id": "a", "audio": "a.wav", "captions": ["x"]}]\n',
    "binary": b"\xff\xfe\x00\x01\n",
}


@pytest.mark.parametrize("kind", CAPTIONS)
def test_a_malformed_caption_is_told_by_file_and_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_bytes(CAPTIONS[kind])
    place = f"{path}:2: "
    assert place in one_line(capsys, "evaluate", str(path))


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_malformed_manifest_is_told_by_file_and_line(
    kind: str, tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(MANIFESTS[kind])
    place = f"{path}: not text" if kind == "binary" else f"{path}:1: "
    assert place in one_line(capsys, "evaluate", str(path), "--model", str(tiny_model_folder))


def test_an_empty_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "captions.jsonl"
    path.touch()
    assert f"{path} has no captions" in one_line(capsys, "evaluate", str(path))


@pytest.mark.parametrize("reader", ["audiocaps", "autoacd", "clotho", "macs", "wavcaps"])
def test_a_binary_file_is_named_by_every_reader(
    reader: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"\xff\xfe\x00\x01")
    waived = ["--no_use_blacklist"] if reader == "wavcaps" else []
    line = one_line(capsys, "prepare", reader, str(path), "--out", str(tmp_path / "out.jsonl"), *waived)
    assert str(path) in line


def test_files_and_folders_that_are_mixed_up_are_told_before_torch_is_loaded(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, model = tmp_path / "a.wav", str(tiny_model_folder)
    sound.touch()
    for words, named in (
        (["evaluate", str(tmp_path)], "is a folder; a file is needed"),
        (["caption", str(sound), "--model", str(sound)], "the folder of a captioner is needed"),
        (["caption", str(sound), "--model", str(tmp_path)], "is no captioner"),
        (["caption", str(sound), "--model", model, "--out", str(tmp_path)], "the output needs a file"),
        (["caption", str(sound), "--model", model, "--out", f"{sound}/b.jsonl"], "a folder is needed for b"),
        (["quickstart", "--out", str(sound)], "the output needs a folder"),
        (["evaluate", "-", "--references", "-"], "there is one standard input"),
        (["prepare", "jsonl", "-", "--out", "-", "--json", "-"], "give one of them a file"),
    ):
        assert named in one_line(capsys, *words)


def test_a_model_that_cannot_be_fetched_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.wav").touch()
    line = one_line(capsys, "caption", str(tmp_path / "a.wav"), "--model", "no-such-owner/no-such-model")
    assert "no folder 'no-such-owner/no-such-model' here" in line


def test_lines_are_read_from_and_written_to_the_standard_streams(
    scene_manifest: Path, tiny_model_folder: Path
) -> None:
    """A manifest goes through captioning and scoring, with nothing but results between them."""

    def pipe(given: bytes, *words: str) -> bytes:
        command = [sys.executable, "-m", "aac_llm", *words]
        return subprocess.run(
            command, input=given, capture_output=True, check=True, cwd=scene_manifest.parent
        ).stdout

    rows = [json.loads(line) for line in scene_manifest.read_text().splitlines()]
    manifest = "".join(json.dumps(row) + "\n" for row in rows).encode()
    model = ["--model", str(tiny_model_folder), "--device", "cpu", "--max_new_tokens", "3"]
    captions = pipe(manifest, "caption", "-", *model, "--out", "-")
    assert [json.loads(line)["id"] for line in captions.splitlines()] == [row["id"] for row in rows]
    scores = pipe(captions, "evaluate", "-", "--metrics", "bleu", "--json", "-")
    assert json.loads(scores)["results"]["num_clips"] == len(rows)


def test_training_prints_results_alone_and_no_chatter(
    scene_manifest: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["--init_from", str(tiny_model_folder), "--data.train", str(scene_manifest), "--device", "cpu"]
    result = run("train", *words, "--data.num_workers", "0", "--max_steps", "1", "--out", str(out))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"model: {out / 'last'}", f"curves: {out / 'curves.png'}"]
    ours = ("encoder ", "bridge ", "decoder ", "memory on each device")
    others = [line for line in result.stderr.splitlines() if not line.startswith(ours)]
    assert [line.split()[1] for line in others] == ["licence", "clips,", "s"]
