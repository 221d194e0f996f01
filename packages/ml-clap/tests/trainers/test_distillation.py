"""`ml-clap distill`: the student comes near its teacher, and a run that is stopped loses nothing."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_kit import page_faults
from ml_clap import cli
from ml_clap.config.distill import DistillConfig
from ml_clap.data.texts import Text
from ml_clap.lock import BusyError, sole_writer
from ml_clap.models.card_parts import read_scores
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.models.tower import open_tower
from ml_clap.trainers import distillation as module
from ml_clap.trainers.distillation import distill, distill_verb, make_batches, read_sides
from ml_clap.trainers.processes import TrainingError
from ml_clap.trainers.run_folder import list_checkpoints

NOUNS = {
    "eng_Latn": ["dog", "cat", "bird", "bell", "horn", "rain", "wind", "sea", "car", "train"],
    "fra_Latn": ["chien", "chat", "oiseau", "cloche", "cor", "pluie", "vent", "mer", "auto", "train"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher in `teacher`, and two hundred texts of two languages in `texts.txt`."""
    folder = tmp_path_factory.mktemp("distil")
    lines = [f"{code}\t{noun} {other}" for code, nouns in NOUNS.items() for noun in nouns for other in nouns]
    (folder / "texts.txt").write_text("\n".join(lines))
    words = [line.split("\t")[1] for line in lines]
    create_small_text_encoder(folder / "teacher", words, vocab_size=80, dim=16, layers=1, heads=2)
    return folder


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> DistillConfig:
    return DistillConfig(
        texts=(folder / "texts.txt",),
        out=tmp_path / "run",
        encoder=str(folder / "teacher"),
        vocab_size=80,
        dim=16,
        layers=1,
        heads=2,
        max_steps=5,
        batch_size=16,
        eval_steps=4,
        save_steps=2,
        validation_share=0.2,
        device="cpu",
    )


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that run, not stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    distill(config_of(folder, out))
    return out


def contents(out: Path) -> dict[str, bytes]:
    """Return the files of a run but for what names its own folder."""
    skipped = ("config.json", "finished.json", "training_state.pt", "README.md")
    files = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in skipped
    }
    return files | {"encoder": (out / "best" / "text_encoder" / "config.json").read_bytes()}


def test_the_student_comes_near_its_teacher(
    config: DistillConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(config, max_steps=150, eval_steps=50, save_steps=150, learning_rate=3e-3)
    distill_verb(config)
    done = json.loads((config.out / "finished.json").read_text())
    assert done["score"] > 60.0
    assert set(done["scores"]) == {"eng_Latn", "fra_Latn", "mean"}
    assert f"on {done['held_out']} held-out texts: {done['score']:.1f} %" in capsys.readouterr().out
    log = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    scores = [record["score"] for record in log if "score" in record]
    assert len(scores) == 3
    assert max(scores) == done["score"]
    tower = open_tower(config.out)
    assert tower.settings.fingerprint.startswith("encoder:")
    assert tower.settings.scores == done["scores"]
    assert page_faults(config.out / "best") == page_faults(config.out / "last") == []
    stated = {score.split: score.value for score in read_scores(config.out / "best")}
    assert stated == done["scores"]
    card = (config.out / "best" / "README.md").read_text()
    command = shlex.split(next(line for line in card.splitlines() if line.startswith("ml-clap distill")))
    assert cli.read(command[1:]) == replace(config, out=Path("AGAIN"))


class Stop(BaseException):
    """As a kill: nobody catches it."""


STOPS = (
    ("save_checkpoint", False, 4),
    ("save_checkpoint", True, 4),
    ("replace_folder", False, 1),
    ("replace_folder", True, 1),
    ("replace_folder", False, 2),
    ("cosine_loss", False, 4),
)


@pytest.mark.parametrize(("name", "after", "call"), STOPS)
def test_a_stopped_run_comes_to_the_same_end(
    config: DistillConfig, whole: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: bool, call: int
) -> None:
    real: Callable[..., Any] = getattr(module, name)
    calls = 0

    def stopped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        is_due = call in arguments if name == "save_checkpoint" else calls == call
        if is_due and not after:
            raise Stop
        result = real(*arguments, **named)
        if is_due:
            raise Stop
        return result

    with monkeypatch.context() as patch:
        patch.setattr(module, name, stopped)
        with pytest.raises(Stop):
            distill(config)
    assert distill(config)["step"] == 5
    assert contents(config.out) == contents(whole)


def test_a_finished_run_is_only_read(whole: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(folder, whole)
    monkeypatch.setattr(module, "Distillation", None)
    assert distill(config)["step"] == 5
    with pytest.raises(TrainingError, match="resume: auto continues it"):
        distill(replace(config, resume="never"))
    with pytest.raises(TrainingError, match="dim was 16, is 32"):
        distill(replace(config, dim=32))


def config_of(folder: Path, out: Path) -> DistillConfig:
    return replace(config.__wrapped__(folder, out.parent), out=out)  # type: ignore[attr-defined]


def test_other_texts_do_not_continue_a_run(config: DistillConfig, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_bytes(config.texts[0].read_bytes())
    config = replace(config, texts=(texts,), max_steps=2, save_steps=1)
    distill(config)
    texts.write_text(texts.read_text() + "\neng_Latn\tone more")
    with pytest.raises(TrainingError, match="vectors of other texts"):
        distill(replace(config, max_steps=3))


def test_a_longer_run_goes_on(config: DistillConfig) -> None:
    distill(replace(config, max_steps=2))
    assert distill(replace(config, max_steps=3))["step"] == 3


@pytest.mark.parametrize("what", ["loss", "weights"])
def test_what_is_not_finite_ends_the_run(
    config: DistillConfig, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    real = module.cosine_loss
    if what == "loss":
        monkeypatch.setattr(module, "cosine_loss", lambda *both: real(*both) * torch.nan)
    else:

        def step(optimizer: torch.optim.Optimizer) -> None:
            optimizer.param_groups[0]["params"][0].data.fill_(torch.inf)

        monkeypatch.setattr(torch.optim.AdamW, "step", step)
        config = replace(config, max_steps=1)
    with pytest.raises(TrainingError, match="lower learning_rate"):
        distill(config)
    assert not list_checkpoints(config.out)
    assert not (config.out / "best").exists()


def test_a_second_process_is_refused(config: DistillConfig) -> None:
    with sole_writer(config.out, folder=True), pytest.raises(BusyError):
        distill(config)


def test_the_teachers_vectors_are_encoded_once(
    config: DistillConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_clap.trainers import teacher

    monkeypatch.setattr(teacher, "PART", 64)
    read: list[int] = []
    real = teacher._write_part

    def write(path: Path, *rest: Any) -> None:
        read.append(len(rest[1]))
        if len(read) == 2:
            raise Stop
        real(path, *rest)

    monkeypatch.setattr(teacher, "_write_part", write)
    with pytest.raises(Stop):
        distill(config)
    monkeypatch.setattr(teacher, "_write_part", real)
    distill(replace(config, max_steps=1))
    parts = sorted((config.out / "teacher").glob("*.safetensors"))
    assert len(parts) == -(-sum(len(side) for side in read_sides(config)) // 64)


def test_a_text_is_on_one_side_only(config: DistillConfig) -> None:
    kept, held = read_sides(config)
    assert not {text.text for text in kept} & {text.text for text in held}
    assert len(held) == pytest.approx(0.2 * 200, abs=20)
    assert (kept, held) == read_sides(replace(config, dim=8))
    assert held != read_sides(replace(config, seed=1))[1]


def test_validation_texts_of_their_own_are_not_learnt(config: DistillConfig, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("dog cat\nun bruit")
    kept, held = read_sides(replace(config, validation_texts=(own,), language="eng_Latn"))
    assert [text.text for text in held] == ["dog cat", "un bruit"]
    assert "dog cat" not in {text.text for text in kept}


def test_each_pass_reads_every_text_once_and_like_lengths_together() -> None:
    texts = [Text("x" * (1 + number % 40), "eng_Latn", str(number)) for number in range(640)]
    batches = make_batches(texts, 16, seed=0)
    assert sorted(place for batch in batches for place in batch) == list(range(640))
    spans = [max(place % 40 for place in batch) - min(place % 40 for place in batch) for batch in batches]
    assert sum(spans) / len(spans) < 10
    assert batches != make_batches(texts, 16, seed=1)
    assert batches == make_batches(texts, 16, seed=0)
    assert [sorted(batch) for batch in make_batches(texts[:3], 8, seed=0)] == [[0, 1, 2]]
    assert [len(batch) for batch in make_batches(texts[:11], 4, seed=0)] == [4, 4]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"encoder": None}, "name the teacher"),
        ({"model": "x"}, "and not both"),
        ({"texts": ()}, "texts: name at least one"),
        ({"dim": 15}, "dim must be even"),
        ({"validation_share": 0.0}, "validation_share must be between"),
        ({"max_text_tokens": 2}, "max_text_tokens must be 3 to 512"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"warmup_ratio": 1.0}, "warmup_ratio"),
        ({"eval_steps": 0}, "eval_steps must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(config: DistillConfig, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(config, **changed)
