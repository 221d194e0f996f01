"""The command line: quick help, settings from flags and YAML, one clear line for a mistake."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from ml_clap import cli
from ml_clap.command_line import UsageError
from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.prepare import PrepareFolderConfig
from ml_clap.config.search import SearchConfig
from ml_clap.config.train import TrainConfig

COMMANDS = [["prepare"], *(verb.name.split() for verb in cli.VERBS)]


def read(*words: str) -> object:
    return cli.read(words)


def train_settings(*words: str) -> TrainConfig:
    settings = read("train", "--out", "run", "--data.train", "clips.jsonl", *words)
    assert isinstance(settings, TrainConfig)
    return settings


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ml_clap", *words], capture_output=True, text=True)


def test_help_comes_without_torch() -> None:
    script = f"""
import contextlib, io, sys
from ml_clap.cli import main
for words in {[[], *COMMANDS]!r}:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    assert "usage: ml-clap" in text.getvalue(), words
heavy = {{"torch", "transformers", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_every_setting_has_a_help_text() -> None:
    for verb in cli.VERBS:
        assert [name for name, text in verb.options.helps.items() if not text] == [], verb.name


@pytest.mark.parametrize("verb", cli.VERBS, ids=lambda verb: verb.name)
def test_every_verb_names_a_function(verb: cli.Verb) -> None:
    module, _, name = verb.function.partition(":")
    assert callable(getattr(import_module(module), name))


def test_yaml_numbers_without_a_point_are_floats(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {train: [a.jsonl]}\nlearning_rate: 2e-4\noptimizer: {eps: 1E-7}\n")
    settings = read("train", "--config", str(recipe), "--out", "run")
    assert isinstance(settings, TrainConfig)
    assert (settings.learning_rate, settings.optimizer.eps) == (2e-4, 1e-7)


def test_flags_override_the_file_and_the_rest_stays(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {train: [a.jsonl], num_workers: 5}\nmodel: {embed_dim: 64, audio: {depth: 3}}\n")
    settings = read(
        "train", "--config", str(recipe), "--out", "run", "--model.embed_dim", "256", "--learning_rate=3e-4"
    )
    assert isinstance(settings, TrainConfig)
    assert (settings.model.embed_dim, settings.model.audio.depth, settings.data.num_workers) == (256, 3, 5)
    assert settings.learning_rate == 3e-4


def test_lists_switches_and_null_are_read() -> None:
    settings = train_settings(
        *("--data.train", "a.jsonl", "b.jsonl", "--model.freeze_text", "--no_embedding_regularization"),
        "--model.freeze_audio=true",
        *("--max_grad_norm", "null", "--optimizer.betas", "0.9", "0.98"),
    )
    assert settings.data.train == (Path("a.jsonl"), Path("b.jsonl"))
    assert settings.model.freeze_text
    assert settings.model.freeze_audio
    assert not settings.embedding_regularization
    assert settings.max_grad_norm is None
    assert settings.optimizer.betas == (0.9, 0.98)


def test_print_config_can_be_read_back(tmp_path: Path) -> None:
    words = ["train", "--data.train", "a.jsonl", "--out", "run", "--learning_rate", "2e-4", "--seed", "7"]
    printed = run(*words, "--print_config")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout)["seed"] == 7
    (tmp_path / "printed.yaml").write_text(printed.stdout)
    assert read("train", "--config", str(tmp_path / "printed.yaml")) == read(*words)


def test_a_readers_own_settings_and_the_common_ones_are_flags() -> None:
    words = (
        "folder",
        "clips.jsonl",
        "--captions",
        "captions.json",
        "--out",
        "manifest.jsonl",
        "--splits",
        "train=1,2",
    )
    settings = read("prepare", *words, "--split_by", "fold", "--splits", "train=1,2")
    assert isinstance(settings, PrepareFolderConfig)
    assert (settings.source, settings.captions) == (Path("clips.jsonl"), Path("captions.json"))
    assert settings.splits == ("train=1,2",)


def test_search_takes_index_and_queries_without_flags() -> None:
    settings = read("search", "sounds.index", "un chien aboie", "il pleut", "--lang", "fra_Latn")
    assert isinstance(settings, SearchConfig)
    assert settings.index == Path("sounds.index")
    assert settings.query == ("un chien aboie", "il pleut")
    by_sound = read("search", "sounds.index", "--audio", "a.wav", "b.wav")
    assert isinstance(by_sound, SearchConfig)
    assert by_sound.audio == (Path("a.wav"), Path("b.wav"))


def test_a_switch_leaves_the_next_word_alone() -> None:
    settings = read("evaluate", "--reference", "manifest.jsonl", "--model", "pretrain.pt")
    assert isinstance(settings, EvaluateConfig)
    assert (settings.data, settings.reference) == (Path("manifest.jsonl"), True)


@pytest.mark.parametrize(
    "words", [("train", "--learning_ratee", "1"), ("trian",), ("train", "--batch_size", "x")]
)
def test_unknown_flags_verbs_and_types_are_errors(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as error:
        read(*words)
    assert any(name in str(error.value) for name in ("learning_ratee", "trian", "batch_size"))


def test_an_unknown_key_of_the_file_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("optimzer: {eps: 1.0e-4}\n")
    with pytest.raises(UsageError, match="optimzer"):
        read("train", "--config", str(recipe))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train", "--out", "run"], "data.train"),
        (["train", "--data.train", "a.jsonl"], "out"),
        (
            ["train", "--out", "run", "--data.train", "a.jsonl", "--batch_size", "0"],
            "batch_size must be at least 1, got 0",
        ),
        (["train", "--data.train", "missing.jsonl", "--out", "{folder}"], "missing.jsonl"),
        (["search", "nowhere", "a dog"], "nowhere"),
        (["nonsense"], "nonsense"),
        (["search"], "INDEX missing"),
        (["prepare", "folder", "sounds", "--out", "a.jsonl"], "captions"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_one_line(words: list[str], named: str, tmp_path: Path) -> None:
    result = run(*[word.format(folder=tmp_path) for word in words])
    assert result.returncode == 2
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("ml-clap: error: ")


def test_traceback_shows_where_a_mistake_arose() -> None:
    result = run("search", "nowhere", "a dog", "--traceback")
    assert result.returncode != 0
    assert "Traceback" in result.stderr


def test_ctrl_c_says_what_is_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt("Saved up to step 12.")

    monkeypatch.setattr("ml_clap.command_line._load", lambda _: stop)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["train", "--out", "run", "--data.train", __file__])
    assert exit_.value.code == 130
    assert "Saved up to step 12." in capsys.readouterr().err


def test_settings_are_plain_json(tmp_path: Path) -> None:
    from ml_clap.files import write_json

    settings = train_settings("--seed", "3")
    saved = tmp_path / "config.json"
    write_json(saved, settings)
    assert read("train", "--config", str(saved)) == settings


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["evaluate", "{folder}", "--model", "{folder}"], "is a folder; a file is needed"),
        (["evaluate", "{folder}/a.jsonl", "--model", "{folder}"], "is no model"),
        (["evaluate", "{folder}/a.jsonl", "--model", "{folder}/a.jsonl"], "is no model"),
        (["search", "{folder}", "a dog"], "is no index"),
        (["quickstart", "--out", "{folder}/a.jsonl"], "is a file; the output needs a folder"),
        (["prepare", "folder", "{folder}", "--captions", "{folder}/a.jsonl", "--out", "-"], "needs a name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_work_is_refused_before_torch_is_loaded(
    words: list[str], named: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text("")
    verb, settings = cli.PROGRAM.read([word.format(folder=tmp_path) for word in words])
    assert verb.check is not None
    with pytest.raises((OSError, ValueError), match=named):
        verb.check(settings)
