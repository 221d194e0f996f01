"""Hostile model folders: refused in one line, or loaded as if they were good; never run, never waited for.

The short form takes a drawn share of the zoo, and all that is known to be worst; the nightly one all of it.
"""

import json
import random
import re
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import sound_commands
from damaged_sounds import good_sounds
from hostile import MARK, SIZES, Hostile, copy_of, zoo_of
from isolated import Ended, run_program

PACKAGES = {"ml-clap": "ml_clap", "aac-llm": "aac_llm", "r1-aqa": "r1_aqa"}
SECONDS = 30.0
"""In which each folder must be refused or used, on a busy machine."""
MEGABYTES = 1000
DRAWN = 15
"""Folders of the short form that are drawn; the worst ones come on top."""
WORST = re.compile(rf"\b({'|'.join(SIZES)}) = (1000000|-1)|nested 100|evil|auto_map|pytorch_model|FIFO")


@pytest.fixture(scope="module", params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    if find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"{request.param} is not installed here")
    return request.param


@pytest.fixture(scope="module")
def model(package: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the package, all in one folder."""
    folder = tmp_path_factory.mktemp(package)
    (folder / "sound.wav").write_bytes(good_sounds()["pcm16.wav"])
    make = {
        "ml-clap": sound_commands.make_clap,
        "aac-llm": lambda path: sound_commands.make_captioner(path.parent),
        "r1-aqa": sound_commands.make_audio_llm,
    }[package]
    made = make(folder / "model")
    run_program(import_module(f"{PACKAGES[package]}.cli").main, words(package, made), folder)
    return made


def words(package: str, model: Path) -> list[str]:
    """Return a command that loads a model and uses it."""
    sound, short = str(model.parent / "sound.wav"), ["--max_new_tokens", "3"]
    return {
        "ml-clap": ["similarity", sound, "a dog barks", "--model", str(model)],
        "aac-llm": ["caption", sound, "--model", str(model), "--num_beams", "1", *short],
        "r1-aqa": ["answer", sound, "What?", "--choices", "a", "b", "--model", str(model), *short],
    }[package]


def load(package: str, model: Path, change: Hostile, folder: Path) -> tuple[Ended, list[str]]:
    """Load a hostile copy of a model; return how that ended, and what is wrong about it."""
    copy = copy_of(model, model.with_name("hostile"))
    change.apply(copy)
    program = import_module(f"{PACKAGES[package]}.cli").main
    ended = run_program(program, words(package, copy), folder, seconds=SECONDS, megabytes=MEGABYTES * 2)
    faults = []
    if ended.timed_out:
        faults.append(f"not done in {SECONDS:g} s")
    elif ended.code not in (0, 2):
        faults.append(f"exit code {ended.code}")
    if ended.megabytes > MEGABYTES:
        faults.append(f"{ended.megabytes:.0f} MB")
    if any(copy.rglob(MARK)):
        faults.append("RAN ITS CODE")
    if ended.code == 0 and change.must_refuse:
        faults.append("loaded")
    if "\x1b" in ended.out + ended.err:
        faults.append("terminal codes came through")
    lines = ended.err.strip().splitlines()
    if ended.code == 2 and len(lines) != 1:
        faults.append(f"{len(lines)} lines")
    if ended.code == 2 and change.key and change.key not in ended.err:
        faults.append(f"{change.key} is not named")
    if ended.code == 2 and "hostile" not in ended.err:
        faults.append("the folder is not named")
    return ended, faults


def run_zoo(package: str, model: Path, changes: list[Hostile], folder: Path) -> Counter[str]:
    """Load every folder; fail with what was wrong about any, shortest first."""
    counts: Counter[str] = Counter()
    wrong = []
    for change in changes:
        ended, faults = load(package, model, change, folder)
        counts["loaded" if ended.code == 0 else "refused" if ended.code == 2 else "other"] += 1
        if faults:
            wrong.append(f"{change.name}: {', '.join(faults)} | {ended.err.strip()[-300:]}")
    assert not wrong, f"{len(wrong)} of {len(changes)} folders ({dict(counts)}):\n" + "\n".join(wrong[:60])
    return counts


def test_the_good_model_works(package: str, model: Path, tmp_path: Path) -> None:
    good = Hostile("nothing", lambda folder: None)
    ended, faults = load(package, model, good, tmp_path)
    assert ended.code == 0, ended.err
    assert not faults


@pytest.mark.slow
def test_hostile_models_are_refused(package: str, model: Path, tmp_path: Path) -> None:
    zoo = list(zoo_of(model))
    worst = [change for change in zoo if WORST.search(change.name)]
    run_zoo(package, model, [*worst, *random.Random(12).sample(zoo, DRAWN)], tmp_path)


@pytest.mark.nightly
def test_the_whole_zoo_of_models(
    package: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo = list(zoo_of(model))
    counts = run_zoo(package, model, zoo, tmp_path)
    with capsys.disabled():
        print(f"\n{package}: {len(zoo)} hostile model folders: {json.dumps(counts)}", flush=True)
