"""Run every command of a package that reads sound over a folder of damaged sounds, in one process.

    python tests/sound_commands.py ml-clap CORPUS WORK [ALONE]

ALONE is of how many sounds a command that takes one sound is run (default: of all).

Each command's outcome is a line of JSON in WORK/outcomes.jsonl: the exit code, how many sounds it was given,
used and listed as bad, the most memory that it held, and what anything but our own code wrote to the standard
error. A crash ends this process: the outcome that is missing says in which command.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

LIMIT = 8 << 30
"""Bytes that the process may hold at all, so that a fault does not take the machine with it."""
HANGS = 1200.0
"""Seconds of one command after which its stacks are written and the process ends."""
IMPOSSIBLE = (
    "nul\0in-it.wav",
    "half-\ud800.wav",
    "n" * 5000 + ".wav",
    "",
    "/",
    "a.wav/b.wav",
    "/proc/self/mem",
)
"""Paths for manifests that no file of a folder can have, or that are no sound."""
TEXTS = ["a dog barks", "rain falls on a roof", "someone speaks", "a bell rings twice"]

Count = Callable[[], tuple[int, list[str]]]


@dataclass(frozen=True)
class Trial:
    """A command and how its outcome is counted."""

    name: str
    words: list[str]
    given: int
    """Sounds that it is given."""
    count: Count
    """Returns how many sounds were used, and the reasons of those that were listed."""
    codes: tuple[int, ...] = (0, 1)
    """Exit codes that are right."""


@dataclass(frozen=True)
class Outcome:
    """What came of a command."""

    name: str
    code: int
    given: int
    used: int
    listed: int
    seconds: float
    megabytes: float
    """The most memory held, above what was held before."""
    noise: str
    """What others than our Python code wrote to the standard error."""
    errors: str
    """The end of what we wrote there ourselves."""
    is_right: bool
    """Whether it ended with a code that is right and every sound is accounted for."""


def main(package: str, corpus: Path, work: Path, alone: int | None = None) -> None:
    """Run all commands of a package; returns when every outcome is written.

    Args:
        package: its name.
        corpus: folder of sounds.
        work: where outputs and outcomes go.
        alone: of how many sounds a command that takes one sound is run; None: of all.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    work.mkdir(parents=True, exist_ok=True)
    program = import_module(f"{package.replace('-', '_')}.cli").main
    paths = sorted((corpus / name for name in os.listdir(corpus)), key=lambda path: os.fsencode(path.name))
    paths = [path for path in paths if path.name != "round"]
    trials = {"ml-clap": clap_trials, "aac-llm": captioner_trials, "r1-aqa": question_trials}[package]
    with (work / "outcomes.jsonl").open("a", encoding="utf-8") as file:
        for trial in thinned(trials(corpus, paths, work), alone):
            file.write(json.dumps(asdict(try_command(program, trial, work))) + "\n")
            file.flush()


def thinned(trials: Iterator[Trial], alone: int | None) -> Iterator[Trial]:
    """Yield trials, and of those about one sound each so many at most, spread over all."""
    given = list(trials)
    single = [trial for trial in given if trial.given == 1]
    kept = {id(trial) for trial in single[:: max(1, len(single) // alone)]} if alone else set()
    yield from (trial for trial in given if trial.given > 1 or not alone or id(trial) in kept)


def try_command(program: Callable[[Sequence[str]], None], trial: Trial, work: Path) -> Outcome:
    """Run one command, and tell what came of it."""
    began, before = time.monotonic(), reset_peak()
    with caught_output(work) as read:
        faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stderr__)
        try:
            program(trial.words)
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            faulthandler.cancel_dump_traceback_later()
    seconds, megabytes = time.monotonic() - began, (peak_memory() - before) / 1024
    noise, errors = read()
    used, reasons = trial.count() if code in (0, 1) else (0, [])
    is_right = code in trial.codes and (code == 2 or used + len(reasons) == trial.given)
    # Who is told that some are bad must be told by the exit code, too.
    is_right &= code != 0 or not reasons
    return Outcome(
        trial.name,
        code,
        trial.given,
        used,
        len(reasons),
        round(seconds, 1),
        round(megabytes, 1),
        noise,
        errors,
        is_right and not noise,
    )


@contextmanager
def caught_output(work: Path) -> Iterator[Callable[[], tuple[str, str]]]:
    """Send our own messages to one file and what C libraries write to the standard error to another."""
    ours, theirs = work / "stderr.txt", work / "noise.txt"
    kept = os.dup(1), os.dup(2)
    streams = sys.stdout, sys.stderr
    with ours.open("w", errors="backslashreplace") as mine, theirs.open("wb") as noise:
        sys.stdout.flush()
        with (work / "stdout.txt").open("w", errors="backslashreplace") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(noise.fileno(), 2)
            sys.stdout, sys.stderr = out, mine
            try:
                yield lambda: (_read(theirs), _read(ours)[-2000:])
            finally:
                sys.stdout, sys.stderr = streams
                for number, copy in enumerate(kept, 1):
                    os.dup2(copy, number)
                    os.close(copy)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="backslashreplace")[-20_000:]


def reset_peak() -> int:
    """Forget the most memory held so far where the system can; return what is held now, kB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS")


def peak_memory() -> int:
    """Return the most memory held, by this process or by one of its children, kB."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    try:
        return max(_status("VmHWM"), children)
    except OSError:
        return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def rows_of(paths: Sequence[Path], **columns: Any) -> list[dict[str, Any]]:
    """Return a manifest's rows: every sound, then paths that no file can have."""
    named = [*map(str, paths), *IMPOSSIBLE]
    return [{"id": f"{number:05d}", "audio": name} | columns for number, name in enumerate(named)]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write JSON Lines, in ASCII: half characters come as escapes."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_json(path: Path) -> Any:
    """Read JSON that a command wrote."""
    return json.loads(path.read_bytes())


def read_lines(path: Path) -> list[Any]:
    """Read JSON Lines that a command wrote; nothing where the file is not there."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def regular(paths: Sequence[Path]) -> list[Path]:
    """Return the paths of files, which a command line may name: others are refused as a mistake in it."""
    return [path for path in paths if path.is_file()]


def sounds_of(corpus: Path) -> int:
    """Return how many of a folder's files have a sound's name."""
    from audio_common.files import find_audio

    return len(find_audio(corpus))


# ml-clap


def clap_trials(corpus: Path, paths: Sequence[Path], work: Path) -> Iterator[Trial]:
    """Yield ml-clap's commands over a corpus."""
    model = str(make_clap(work / "model"))
    rows = rows_of(paths, captions={"eng_Latn": TEXTS[:1]}, label="dog")
    manifest = write_rows(work / "manifest.jsonl", rows)
    captions = work / "captions.json"
    captions.write_text(json.dumps({"dog": {"eng_Latn": TEXTS}}))
    files = list(map(str, regular(paths)))
    index, out = work / "index", work / "out.json"
    named = len(rows)
    yield Trial(
        "index FOLDER",
        ["index", str(corpus), "--model", model, "--out", str(index), "--json", str(out)],
        sounds_of(corpus),
        lambda: count_report(out),
    )
    again = ["index", str(manifest), "--model", model, "--out", str(work / "second"), "--json", str(out)]
    yield Trial("index MANIFEST", again, named, lambda: count_report(out))
    for reader, source, more in (
        ("folder", manifest, ["--captions", str(captions)]),
        ("jsonl", manifest, []),
    ):
        made = work / f"{reader}.jsonl"
        words = ["prepare", reader, str(source), *more, "--out", str(made)]
        yield Trial(f"prepare {reader}", words, named, lambda made=made: count_prepared(made))
    yield Trial(
        "evaluate",
        ["evaluate", str(manifest), "--model", model, "--json", str(out), "--bootstrap", "0"],
        named,
        lambda: count_results(out),
    )
    yield Trial(
        "classify FOLDER",
        ["classify", str(corpus), "--model", model, "--labels", "dog", "rain", "--json", str(out)],
        sounds_of(corpus),
        lambda: count_results(out, "predictions"),
    )
    for first in range(0, len(files), 100):
        part = files[first : first + 100]
        compare = ["similarity", TEXTS[0], TEXTS[1], *part, "--model", model, "--json", str(out)]
        yield Trial(f"similarity {first}", compare, len(part) + 2, lambda: count_listed(out, "items"))
        by_sound = ["--audio", *part]
        search = ["search", str(index), TEXTS[0], *by_sound, "--json", str(out)]
        yield Trial(f"search --audio {first}", search, len(part) + 1, lambda: count_listed(out, "queries"))


def make_clap(folder: Path) -> Path:
    """Write a tiny model."""
    import torch
    from audio_common.config import CEDConfig
    from ml_clap.config.model import ModelConfig
    from ml_clap.models.ml_clap import MLCLAP
    from ml_clap.models.text_encoder import create_small_text_encoder

    torch.manual_seed(0)
    encoder = create_small_text_encoder(
        folder.with_name("text"), TEXTS, vocab_size=60, dim=32, layers=1, heads=2, languages=["eng_Latn"]
    )
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2, num_classes=2)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=16)).save_pretrained(folder)
    return folder


def count_report(out: Path) -> tuple[int, list[str]]:
    """Count a report of `index`; what is in the index in part is in both and counts once, as used."""
    report = read_json(out)
    # Listed in part is not lost; the exit code is 1 all the same.
    whole = [one for one in [*report["problems"], *report["left_out"]] if not one["partly"]]
    return report["num_clips"], [problem["reason"] for problem in whole]


def count_prepared(made: Path) -> tuple[int, list[str]]:
    """Count the rows of a manifest that was prepared, and those that its report says are left out."""
    report = read_json(made.with_suffix(".report.json"))
    left_out = {kind["kind"] for kind in report["kinds"] if kind["is_left_out"]}
    reasons = [str(problem) for problem in report["problems"] if problem["kind"] in left_out]
    return len(read_lines(made)), reasons


def count_results(out: Path, used: str = "num_clips") -> tuple[int, list[str]]:
    """Count the results of `evaluate` and `classify`."""
    results = read_json(out)["results"]
    number = results[used] if isinstance(results[used], int) else len(results[used])
    return number, [str(bad) for bad in [*results["bad_files"], *results["bad_rows"]]]


def count_listed(out: Path, used: str) -> tuple[int, list[str]]:
    """Count what `similarity` compared or `search` looked for."""
    report = read_json(out)
    return len(report[used]), list(map(str, report["bad_files"]))


# aac-llm


def captioner_trials(corpus: Path, paths: Sequence[Path], work: Path) -> Iterator[Trial]:
    """Yield aac-llm's commands over a corpus."""
    model = str(make_captioner(work))
    rows = rows_of(paths, captions=TEXTS[:1])
    manifest = write_rows(work / "manifest.jsonl", rows)
    fast = ["--num_beams", "1", "--max_new_tokens", "3"]
    for name, source, given, more in (
        ("caption FOLDER", corpus, sounds_of(corpus), []),
        ("caption MANIFEST", manifest, len(rows), []),
        ("caption --segments", manifest, len(rows), ["--segments"]),
    ):
        out = work / f"{name.split()[-1].strip('-')}.jsonl"
        words = ["caption", str(source), "--model", model, "--out", str(out), *fast, *more]
        yield Trial(name, words, given, lambda out=out: count_captions(out))
    made = work / "prepared.jsonl"
    yield Trial(
        "prepare jsonl",
        ["prepare", "jsonl", str(manifest), "--out", str(made)],
        len(rows),
        lambda: count_prepared(made),
    )
    out = work / "scores.json"
    score = ["evaluate", str(manifest), "--model", model, "--json", str(out), *fast, "--bootstrap", "0"]
    yield Trial("evaluate", [*score, "--metrics", "bleu"], len(rows), lambda: count_scores(out))


def make_captioner(work: Path) -> Path:
    """Write a tiny captioner."""
    import torch
    from aac_llm.config.model import ACOUSTIC_TOKENS, REFERENCE_PROMPT, BridgeConfig, ModelConfig
    from aac_llm.models.captioner_model import CaptionModel
    from aac_llm.models.tiny import create_tiny_decoder
    from audio_common.config import CEDConfig

    torch.manual_seed(0)
    texts = [*TEXTS, *REFERENCE_PROMPT.split(ACOUSTIC_TOKENS)]
    decoder = create_tiny_decoder(work / "decoder", texts, vocab_size=300, hidden_size=32)
    config = ModelConfig(
        decoder=str(decoder),
        decoder_dtype="float32",
        encoder=CEDConfig(embed_dim=32, depth=1, num_heads=2, num_classes=2),
        bridge=BridgeConfig(hidden_size=32, num_heads=2, intermediate_size=32),
    )
    CaptionModel.from_config(config).save_pretrained(work / "model")
    return work / "model"


def count_captions(out: Path) -> tuple[int, list[str]]:
    """Count the sounds that have a caption and those that the report lists; in part is used."""
    report = read_json(out.with_name(f"{out.name}.report.json"))
    bad = [str(file) for file in report["bad_files"] if not file["partly"]]
    return len({row["id"] for row in read_lines(out)}), [*bad, *report["bad_rows"]]


def count_scores(out: Path) -> tuple[int, list[str]]:
    """Count the clips that were scored, and what was left out."""
    report = read_json(out)["results"]
    return report["num_clips"], [*map(str, report["bad_files"]), *map(str, report["bad_rows"])]


# r1-aqa


def question_trials(corpus: Path, paths: Sequence[Path], work: Path) -> Iterator[Trial]:
    """Yield r1-aqa's commands over a corpus."""
    model = str(make_audio_llm(work / "model"))
    asked = {"question": "What is heard?", "choices": TEXTS[:3], "answer": TEXTS[0]}
    rows = rows_of(paths, **asked)
    file = write_rows(work / "questions.jsonl", rows)
    clips = write_rows(work / "clips.jsonl", clips_of(paths))
    out, made = work / "scores", work / "prepared.jsonl"
    words = ["evaluate", str(file), "--model", model, "--out", str(out), "--max_new_tokens", "2"]
    yield Trial(
        "evaluate",
        [*words, "--bootstrap", "1", "--check_heard", "false", "--sound.max_seconds", "3"],
        len(rows),
        lambda: count_answers(out),
    )
    yield Trial(
        "prepare questions",
        ["prepare", "questions", str(file), "--out", str(made)],
        len(rows),
        lambda: count_prepared_questions(made),
    )
    second = work / "clip-questions.jsonl"
    yield Trial(
        "prepare clips",
        ["prepare", "clips", str(clips), "--out", str(second)],
        len(rows),
        lambda: count_prepared_questions(second),
    )
    answer = work / "answer.json"
    for path in regular(paths):
        words = ["answer", str(path), asked["question"], "--choices", *asked["choices"], "--model", model]
        # One sound is all of this command's work: without it the command is refused in one line.
        yield Trial(
            f"answer {path.name}",
            [*words, "--max_new_tokens", "2", "--sound.max_seconds", "3", "--json", str(answer)],
            1,
            lambda: (1, []) if read_json(answer) else (0, []),
            codes=(0, 2),
        )


def clips_of(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return rows with captions in turn, so that there are wrong options for each."""
    rows = rows_of(paths)
    return [row | {"captions": [TEXTS[number % len(TEXTS)]]} for number, row in enumerate(rows)]


def make_audio_llm(folder: Path) -> Path:
    """Write a tiny audio LLM."""
    from r1_aqa.models.prompt import format_prompt
    from r1_aqa.models.tiny import create_tiny_audio_llm

    texts = [format_prompt("What is heard?", TEXTS[:3]), *TEXTS]
    return create_tiny_audio_llm(folder, texts, max_seconds=3)


def count_answers(out: Path) -> tuple[int, list[str]]:
    """Count the questions that were answered, and those whose sound or row is bad."""
    lines = read_lines(out / "predictions.jsonl")
    bad = [str(line["error"]) for line in lines if line.get("error")]
    return len(lines) - len(bad), bad


def count_prepared_questions(made: Path) -> tuple[int, list[str]]:
    """Count the questions of a file that was prepared, and the problems that left some out."""
    report = read_json(made.with_suffix(".report.json"))
    return len(read_lines(made)), [str(one) for one in report["problems"] if one["is_left_out"]]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *map(int, sys.argv[4:]))
