"""Run in an environment made from a built wheel alone: `python -I smoke_wheel.py PACKAGE`."""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution, requires
from importlib.util import find_spec
from pathlib import Path


def run(*command: str, folder: Path) -> str:
    print("+", *command, flush=True)
    return subprocess.run(command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


def installed_command(name: str) -> str:
    command = shutil.which(name, path=str(Path(sys.executable).parent))
    assert command, f"the wheel installed no command `{name}`"
    return command


def check_audio_common(folder: Path) -> None:
    import soundfile
    import torch
    from audio_common import CED, load_audio
    from audio_common.labels import AUDIOSET_LABELS
    from audio_common.scenes.scene import random_scene, render

    assert find_spec("transformers") is None
    soundfile.write(folder / "scene.wav", render(random_scene(0)), 16000)
    ced = CED.from_preset("ced-tiny").eval()
    with torch.inference_mode():
        output = ced(load_audio(folder / "scene.wav")[None], classify=True)
    assert output.probabilities.shape == (1, len(AUDIOSET_LABELS))


def check_ml_clap(folder: Path) -> None:
    command = installed_command("ml-clap")
    for name in ("trl", "peft", "fairseq2", "sonar", "wandb", "botocore"):
        assert find_spec(name) is None, f"the default install brings {name}"
    assert "quickstart" in run(command, "--help", folder=folder)
    run(command, "quickstart", "--out", "out", "--steps", "4", "--clips", "100", folder=folder)
    assert list(folder.glob("out/**/model.safetensors")), "the quickstart saved no model"


def check_aac_llm(folder: Path) -> None:
    command = installed_command("aac-llm")
    assert find_spec("trl") is None
    assert find_spec("ml_clap") is None
    assert "quickstart" in run(command, "--help", folder=folder)
    run(command, "quickstart", "--out", "out", "--steps", "4", "--clips", "40", folder=folder)
    assert list(folder.glob("out/**/bridge.safetensors")), "the quickstart saved no model"
    assert list(folder.glob("out/*.html")), "the quickstart wrote no page"


def check_r1_aqa(folder: Path) -> None:
    command = installed_command("r1-aqa")
    assert find_spec("sonar") is None
    assert find_spec("aac_llm") is None
    assert "quickstart" in run(command, "--help", folder=folder)
    small = ("--scenes", "16", "--test_scenes", "4", "--sft_epochs", "1", "--grpo_steps", "2")
    run(command, "quickstart", "--out", "out", *small, folder=folder)
    assert list(folder.glob("out/grpo/last/*.safetensors")), "the quickstart saved no model"
    assert list(folder.glob("out/*.html")), "the quickstart wrote no page of rollouts"
    assert list(folder.glob("out/curves.png")), "the quickstart drew no curves"


CHECKS = {
    "audio-common": check_audio_common,
    "ml-clap": check_ml_clap,
    "aac-llm": check_aac_llm,
    "r1-aqa": check_r1_aqa,
}


def assert_holds_sources(package: str) -> None:
    """What is installed is a copy of the repository's sources as they are now, all of them."""
    module = package.replace("-", "_")
    sources = Path(__file__).resolve().parent.parent / "packages" / package / "src" / module
    installed = Path(find_spec(module).origin).resolve().parent  # type: ignore[union-attr]
    assert installed != sources, f"{module} comes from the repository, not from the wheel"
    for source in sources.rglob("*"):
        if source.is_file() and source.suffix != ".pyc":
            copy = installed / source.relative_to(sources)
            assert copy.is_file(), f"the wheel lacks {copy}"
            assert copy.read_bytes() == source.read_bytes(), f"the wheel has another {copy}"


def main(package: str) -> None:
    assert find_spec("pytest") is None, "not an empty environment"
    for name in dict.fromkeys(("audio-common", package)):
        assert_holds_sources(name)
    files = {Path(str(file)).name for file in distribution(package).files or ()}
    assert {"py.typed", "LICENSE", "NOTICE"} <= files, f"missing in the wheel of {package}: {files}"
    print(package, "declares", len(requires(package) or ()), "requirements")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        CHECKS[package](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
