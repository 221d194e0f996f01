"""Nothing that a sound does to the process that decodes it ends the program; no process is left behind."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common import (
    AudioError,
    BadFile,
    BatchLimits,
    CheckMemory,
    DecodeLimits,
    DecodePool,
    audio_info,
    check_files,
    decode_ahead,
    load_audio,
    measure_audio,
    stream_audio,
)
from audio_common.worker_process import WorkerProcess

RATE = 16_000
TESTS = Path(__file__).parent


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Path]:
    """Write a sound of this name."""

    def write(name: str) -> Path:
        noise = np.random.default_rng(len(name)).uniform(-0.5, 0.5, RATE)
        soundfile.write(tmp_path / f"{name}.wav", noise, RATE)
        return tmp_path / f"{name}.wav"

    return write


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that behave as the sounds' names say."""
    monkeypatch.syspath_prepend(str(TESTS))
    monkeypatch.setattr("audio_common.worker_process.MODULE", "odd_decoder")


@pytest.fixture
def pool(odd: None) -> Iterator[DecodePool]:
    with DecodePool() as pool:
        yield pool


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop
        time.sleep(0.02)


def test_methods_give_what_the_functions_give(make: Callable[[str], Path], tmp_path: Path) -> None:
    wav = make("a")
    stereo = tmp_path / "b.mp3"
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (44_100 * 3, 2))
    soundfile.write(stereo, noise, 44_100, format="MP3")
    with DecodePool() as pool:
        for path in (wav, stereo):
            assert torch.equal(pool.load_audio(path), load_audio(path))
            assert torch.equal(pool.load_audio(path.read_bytes()), load_audio(path))
            assert pool.audio_info(path) == audio_info(path)
            assert pool.measure_audio(path) == measure_audio(path)
        options = {"sample_rate": 8_000, "offset": 0.3, "duration": 1.5, "channel": "loudest"}
        assert torch.equal(pool.load_audio(stereo, **options), load_audio(stereo, **options))
        blocks, expected = (list(f(stereo, block_seconds=0.7)) for f in (pool.stream_audio, stream_audio))
        assert [len(block) for block in blocks] == [len(block) for block in expected]
        assert torch.equal(torch.cat(blocks), torch.cat(expected))
        for source in (tmp_path / "no.wav", b"", b"<html>", "no\0", "\ud800", tmp_path, "/dev/zero"):
            with pytest.raises(AudioError) as there:
                pool.load_audio(source)
            with pytest.raises(AudioError) as here:
                load_audio(source)
            assert str(there.value) == str(here.value)


def test_relative_paths_are_those_of_the_moment(
    make: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("a")
    with DecodePool() as pool:
        for folder, is_there in ((tmp_path, True), (tmp_path.parent, False), (tmp_path, True)):
            monkeypatch.chdir(folder)
            if is_there:
                assert len(pool.load_audio("a.wav")) == RATE
            else:
                with pytest.raises(AudioError, match=r"a\.wav cannot be opened"):
                    pool.load_audio("a.wav")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hanging", "took more than 1 s and was stopped"),
        ("holding", "took more than 1 s and was stopped"),
        ("bomb", "took more than 256 MB of memory and was stopped"),
        ("crashing", "was ended by signal 11"),
        ("noisy and crashing", "was ended by signal 11.*; the decoder printed: libodd: frame 7 is odd"),
        ("aborting", "was ended by signal 6"),
        ("leaving", "ended with exit status 3"),
        ("babbling", "repair or replace it"),
    ],
)
@pytest.mark.parametrize("task", ["load_audio", "audio_info"])
def test_a_sound_that_ends_its_process_is_one_bad_sound(
    make: Callable[[str], Path], odd: None, name: str, reason: str, task: str
) -> None:
    path = make(name)
    good = make("good")
    seconds = 1.0 if name in ("hanging", "holding") else 60.0
    with DecodePool(DecodeLimits(seconds=seconds, megabytes=256)) as pool:
        with pytest.raises(AudioError, match=f"{path.stem}.wav.*{reason}"):
            getattr(pool, task)(path)
        assert len(pool.load_audio(good)) == RATE


def test_a_sound_that_gets_on_may_take_longer(make: Callable[[str], Path], odd: None) -> None:
    with DecodePool(DecodeLimits(seconds=1.5)) as pool:
        assert len(pool.load_audio(make("slow"))) == 41 * RATE  # 2 s; of 1.5 s, and a tenth of 40 s


def test_what_libraries_print_is_a_complaint(
    make: Callable[[str], Path],
    pool: DecodePool,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaints: list[str] = []
    with caplog.at_level(logging.WARNING):
        for name in ("noisy", "quiet", "printing"):
            pool.load_audio(make(name), complaints=complaints)
    said = ["libodd: frame 7 is odd", "libodd says hello"]
    assert complaints == [f"the decoder printed: {text}" for text in said]
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == complaints
    assert capfd.readouterr() == ("", "")


def test_samples_are_bounded_as_well(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(RATE * 1200), RATE)
    with DecodePool(DecodeLimits(megabytes=64)) as pool:
        with pytest.raises(AudioError, match=r"long\.flac is more than 64 MB of samples"):
            pool.load_audio(tmp_path / "long.flac")
        assert len(pool.load_audio(tmp_path / "long.flac", duration=900.0)) == 900 * RATE


def test_bulk_jobs_go_on_after_every_kind_of_bad_sound(
    make: Callable[[str], Path], odd: None, tmp_path: Path
) -> None:
    names = ("a", "hanging", "b", "bomb", "crashing", "c", "noisy", "aborting", "d")
    paths = [make(name) for name in names]
    bad: list[BadFile] = []
    complaints: list[BadFile] = []
    limits = DecodeLimits(seconds=5.0, megabytes=256)
    found = decode_ahead(
        paths,
        BatchLimits(size=2),
        bad_files=bad,
        complaints=complaints,
        num_workers=2,
        decode_limits=limits,
    )
    assert sorted(index for indices, _ in found for index in indices) == [0, 2, 5, 6, 8]
    assert sorted(file.index for file in bad) == [1, 3, 4, 7]
    reason = "the decoder printed: libodd: frame 7 is odd"
    assert complaints == [BadFile(paths[6], reason, 6, partly=True)]
    checks, failures = check_files(
        paths, CheckMemory(tmp_path / "m.jsonl"), num_workers=2, decode_limits=limits
    )
    assert {path.stem for path in failures} == {"hanging", "bomb", "crashing", "aborting"}
    assert {path.stem: check.problem for path, check in checks.items()} == {
        **dict.fromkeys("abcd"),
        "noisy": reason,
    }


def test_checks_are_those_of_the_threads(make: Callable[[str], Path], tmp_path: Path) -> None:
    noise = 0.5 * np.random.default_rng(0).uniform(-1, 1, 44_100 * 70)
    soundfile.write(tmp_path / "cancels.flac", np.stack([noise, -noise], 1), 44_100)
    (tmp_path / "cut.wav").write_bytes(make("whole").read_bytes()[:20_000])
    paths = [tmp_path / name for name in ("cancels.flac", "cut.wav", "whole.wav", "no.wav")]
    found = [
        check_files(paths, CheckMemory(tmp_path / f"{limits}.jsonl"), describe=describe, decode_limits=limits)
        for limits in (None, DecodeLimits())
        for describe in (lambda samples: [len(samples), float(samples.max())],)
    ]
    assert found[0] == found[1]
    quick = [
        check_files(paths, CheckMemory(tmp_path / f"{limits}.q", is_quick=True), decode_limits=limits)
        for limits in (None, DecodeLimits())
    ]
    assert quick[0] == quick[1]


def test_a_stream_that_is_left_frees_its_process(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(RATE * 200), RATE)
    with DecodePool() as pool:
        for _ in range(2):
            for block in pool.stream_audio(tmp_path / "long.wav", block_seconds=1.0):
                assert len(block) == RATE
                break
        assert pool.audio_info(tmp_path / "long.wav").duration == 200


def test_threads_share_processes(make: Callable[[str], Path]) -> None:
    paths = [make("a" * number) for number in range(1, 13)]
    expected = [load_audio(path) for path in paths]
    with DecodePool(num_workers=2) as pool:
        found: dict[int, torch.Tensor] = {}
        threads = [
            threading.Thread(target=lambda i=i: found.update({i: pool.load_audio(paths[i])}))  # type: ignore[misc]
            for i in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pool._group._idle) <= 2
    assert all(torch.equal(found[i], expected[i]) for i in range(12))


def test_closing_ends_idle_and_busy_processes(make: Callable[[str], Path], odd: None) -> None:
    pool = DecodePool(DecodeLimits(seconds=100.0), num_workers=2)
    failures: list[str] = []

    def hang() -> None:
        try:
            pool.load_audio(make("hanging"))
        except AudioError as error:
            failures.append(str(error))

    thread = threading.Thread(target=hang)
    thread.start()
    wait_for(lambda: len(pool._group._busy) == 1)
    pool.load_audio(make("good"))
    pids = [worker._process.pid for worker in [*pool._group._busy, *pool._group._idle]]
    assert len(pids) == 2
    pool.close()
    thread.join(10)
    assert "decoding was given up" in failures[0]
    assert not any(map(is_running, pids))
    with pytest.raises(RuntimeError, match="closed"):
        pool.load_audio(make("good"))


def test_a_pool_stays_open_for_the_next_job_also_if_one_is_stopped(
    make: Callable[[str], Path], odd: None, tmp_path: Path
) -> None:
    paths = [make("a"), make("hanging"), make("b")]
    with DecodePool(DecodeLimits(seconds=600.0), num_workers=2) as pool:
        batches = decode_ahead(
            paths, BatchLimits(), num_workers=2, decode_limits=pool, batches=[[0], [1], [2]]
        )
        assert next(batches)[0] == [0]
        start = time.monotonic()
        batches.close()  # type: ignore[attr-defined]
        assert time.monotonic() - start < 60
        assert [indices for indices, _ in decode_ahead(paths[::2], BatchLimits(), decode_limits=pool)] == [
            [0, 1]
        ]
        assert len(check_files(paths[::2], CheckMemory(tmp_path / "m"), decode_limits=pool)[0]) == 2
        assert len(pool.load_audio(paths[0])) == RATE


def test_a_pool_that_nobody_has_leaves_nothing(make: Callable[[str], Path]) -> None:
    pool = DecodePool()
    pool.load_audio(make("a"))
    pid = pool._group._idle[0]._process.pid
    assert is_running(pid)
    del pool
    assert not is_running(pid)


def test_an_idle_process_that_dies_is_replaced(make: Callable[[str], Path]) -> None:
    with DecodePool() as pool:
        pool.load_audio(make("a"))
        worker = pool._group._idle[0]
        os.kill(worker._process.pid, signal.SIGKILL)
        wait_for(lambda: not worker.is_usable)
        assert len(pool.load_audio(make("a"))) == RATE


def test_a_process_that_does_not_start_is_no_sounds_fault(
    make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_common.worker_process.MODULE", "no_such_module")
    with DecodePool() as pool, pytest.raises(RuntimeError, match=r"does not start: .*No module named"):
        pool.load_audio(make("a"))


def test_no_file_in_the_current_folder_is_run(
    tmp_path: Path, make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "soundfile.py").write_text("raise SystemExit('code ran')")
    monkeypatch.chdir(tmp_path)
    with DecodePool() as pool:
        assert len(pool.load_audio(make("a"))) == RATE


PROGRAM = """
import sys, threading, time
sys.path.insert(0, {tests!r})
import audio_common.worker_process
audio_common.worker_process.MODULE = "odd_decoder"
from audio_common import BatchLimits, DecodeLimits, decode_ahead
from audio_common.worker_process import WorkerProcess
request = WorkerProcess.request
def telling(worker, task, options, seconds):
    request(worker, task, options, seconds)
    if task == "load":
        print(worker._process.pid, flush=True)
WorkerProcess.request = telling
sounds = [*sys.argv[1:]]
for _ in decode_ahead(sounds, BatchLimits(), decode_limits=DecodeLimits(seconds=600.0), batches=[[0]]):
    print("done", flush=True)
    time.sleep(600)
"""


def run_program(sound: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a program that decodes a sound, in a process group of its own; with it, its worker's number."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(tests=str(TESTS)), str(sound)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert program.stdout is not None
    return program, int(program.stdout.readline())


@pytest.mark.parametrize("name", ["hanging", "holding", "good"])
def test_processes_end_when_the_program_is_killed(make: Callable[[str], Path], name: str) -> None:
    program, worker = run_program(make(name))
    if name == "good":
        assert program.stdout is not None
        assert program.stdout.readline() == "done\n"
    else:
        time.sleep(0.2)
    assert is_running(worker)
    program.kill()
    program.communicate()
    wait_for(lambda: not is_running(worker))


def test_ctrl_c_is_the_programs_affair_and_waits_for_nothing(make: Callable[[str], Path]) -> None:
    program, worker = run_program(make("hanging"))
    time.sleep(0.2)
    start = time.monotonic()
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=200)  # the sound may take 600 s
    assert time.monotonic() - start < 200
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not is_running(worker)


FORKING = """
import os, sys
from audio_common import DecodePool
path, length = sys.argv[1], int(sys.argv[2])
with DecodePool() as pool:
    pool.load_audio(path)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = int(len(pool.load_audio(path)) != length)
            pool.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(pool.load_audio(path)) == length
"""


def test_a_fork_starts_its_own(make: Callable[[str], Path]) -> None:
    # A program of its own: pytest's process has threads, whose locks a fork may find held for ever.
    words = [sys.executable, "-c", FORKING, str(make("a")), str(RATE)]
    subprocess.run(words, check=True, timeout=300)


def test_the_worker_loads_no_torch() -> None:
    worker = WorkerProcess(256, 10.0)
    try:
        maps = Path(f"/proc/{worker._process.pid}/maps").read_text()
    finally:
        worker.end()
    assert "libsndfile" in maps
    assert "libtorch" not in maps


@pytest.mark.parametrize("values", [(0.0, 512), (float("nan"), 512), (1.0, 0)])
def test_limits_that_allow_nothing_are_refused(values: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="of decoding must be"):
        DecodeLimits(*values)
