"""The command under a local Ray of two workers: one is killed, then the command; the captions are equal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra ray is not installed")

from aac_llm.captioning.caption import caption_sources
from aac_llm.config.caption import CaptionConfig
from aac_llm.config.correct import CorrectConfig
from aac_llm.config.ray import RayConfig
from aac_llm.correction.correct import correct_file
from aac_llm.data.manifest import Clip, write_manifest
from aac_llm.data.predictions import Prediction, read_predictions, write_predictions

pytestmark = pytest.mark.slow
SECONDS = 300


@pytest.fixture(scope="module")
def manifest(scene_files, tmp_path_factory):
    """Twenty sounds, and one that is none."""
    folder = tmp_path_factory.mktemp("sounds")
    clips = []
    for number in range(21):
        file = scene_files[number % 3]
        path = folder / f"{number}.wav"
        path.write_bytes(file.audio.read_bytes() if number != 7 else b"no sound")
        clips.append(Clip(id=f"clip-{number}", audio=path, captions=(file.caption,), duration=file.seconds))
    write_manifest(folder / "clips.jsonl", clips)
    return folder / "clips.jsonl"


def wait_for(what, process=None):
    began = time.monotonic()
    while not (found := what()):
        assert time.monotonic() - began < SECONDS
        assert process is None or process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    return found


def workers_of(pid: int) -> list[int]:
    """Return the processes of a command's own Ray that hold a model."""
    import psutil

    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            name = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if name.startswith("ray::") and "RayWorker" in name:
            found.append(child.pid)
    return found


def test_a_lost_worker_and_a_killed_command_change_nothing(manifest, tiny_model_folder, tmp_path):
    parts = tmp_path / "parts"
    config = CaptionConfig(
        files=(manifest,),
        model=str(tiny_model_folder),
        out=tmp_path / "local.jsonl",
        max_new_tokens=4,
        device="cpu",
    )
    local = caption_sources(config).predictions
    out = tmp_path / "ray.jsonl"
    words = f"caption {manifest} --model {tiny_model_folder} --out {out} --max_new_tokens 4 --device cpu"
    words += f" --engine ray --ray.num_workers 2 --ray.block_seconds 2 --ray.parts {parts}"
    process = subprocess.Popen(
        [sys.executable, "-m", "aac_llm", *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: list(parts.glob("part-*")), process)
        lost = wait_for(lambda: workers_of(process.pid), process)[0]
        os.kill(lost, signal.SIGKILL)
        count = len(list(parts.glob("part-*")))
        wait_for(lambda: len(list(parts.glob("part-*"))) > count + 2, process)
    finally:
        process.kill()
        process.wait()
    written = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert len(written) >= 3
    ray = RayConfig(num_workers=2, block_seconds=2.0, parts=str(parts))
    report = caption_sources(replace(config, out=out, engine="ray", ray=ray))
    assert [rounded(one) for one in read_predictions(out)] == [rounded(one) for one in local]
    assert [file.path.name for file in report.bad_files] == ["7.wav"]
    after = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert {name: after[name] for name in written} == written
    # One sound of 1.2 s with the next, all others alone.
    assert len({name.split("-")[1] for name in after}) == len(after) == 21


def rounded(one: Prediction) -> Prediction:
    return replace(one, score=one.score and round(one.score, 4))


def test_captions_are_corrected_as_by_the_local_engine(tiny_decoder, tmp_path):
    texts = ["a dog dog barks and", "a bell rings", "rain is falling on a", "a cat meows meows"]
    source = tmp_path / "captions.jsonl"
    write_predictions(source, [Prediction(f"{n}", f"/{n}.wav", text) for n, text in enumerate(texts * 3)])
    config = CorrectConfig(
        predictions=source,
        out=tmp_path / "local.jsonl",
        llm=str(tiny_decoder),
        device="cpu",
        max_new_tokens=6,
    )
    local = correct_file(config)
    ray = replace(
        config, engine="ray", out=tmp_path / "ray.jsonl", ray=RayConfig(num_workers=2, block_seconds=4)
    )
    assert correct_file(ray) == local
    assert read_predictions(ray.out) == local
    assert not Path(f"{ray.out}.parts").exists()
