"""Each package lives alone: what it does not declare is not there.

Run in every package's own environment; what is installed tells which package is under test.
"""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

FORBIDDEN = {
    "audio-common": ("ml_clap", "r1_aqa", "aac_llm", "transformers", "trl", "peft", "accelerate"),
    "ml-clap": ("r1_aqa", "aac_llm", "trl"),
    "aac-llm": ("ml_clap", "r1_aqa", "trl", "sonar", "fairseq2"),
    "r1-aqa": ("ml_clap", "aac_llm", "sonar", "fairseq2"),
}


def is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def package_under_test() -> str:
    return next((name for name in ("ml-clap", "aac-llm", "r1-aqa") if is_installed(name)), "audio-common")


@pytest.mark.parametrize("module", FORBIDDEN[package_under_test()])
def test_undeclared_packages_are_absent(module: str) -> None:
    assert find_spec(module) is None, f"{module} is importable in the environment of {package_under_test()}"


@pytest.mark.parametrize(
    ("package", "module", "heavy"),
    [
        ("audio-common", "audio_common.config", ("torch", "numpy", "torchaudio")),
        ("audio-common", "audio_common.ced", ("torchaudio", "av")),
        ("audio-common", "audio_common.audio", ("torchaudio", "av")),
        ("ml-clap", "ml_clap.config.train", ("torch", "transformers", "numpy")),
        ("ml-clap", "ml_clap.cli", ("torch", "transformers", "matplotlib", "rich")),
        ("ml-clap", "ml_clap.models.ml_clap", ("fairseq2", "matplotlib", "torchaudio", "peft")),
        ("aac-llm", "aac_llm.config.train", ("torch", "transformers", "numpy")),
        ("aac-llm", "aac_llm.cli", ("torch", "transformers", "numpy", "matplotlib", "rich", "httpx")),
        ("aac-llm", "aac_llm.metrics", ("torch", "transformers", "rich")),
        ("aac-llm", "aac_llm.models.captioner_model", ("matplotlib", "bitsandbytes", "trl")),
        ("r1-aqa", "r1_aqa.config.train", ("torch", "transformers", "numpy")),
        ("r1-aqa", "r1_aqa.cli", ("torch", "transformers", "numpy", "trl", "matplotlib", "rich")),
        ("r1-aqa", "r1_aqa.rewards.rewards", ("torch", "transformers", "numpy", "math_verify")),
        (
            "r1-aqa",
            "r1_aqa.answering.answerer",
            ("trl", "datasets", "matplotlib", "scipy", "r1_aqa.trainers"),
        ),
        ("r1-aqa", "r1_aqa.evaluators.evaluate", ("trl", "datasets", "matplotlib", "r1_aqa.trainers")),
    ],
)
def test_import_leaves_heavy_modules_out(package: str, module: str, heavy: tuple[str, ...]) -> None:
    if not is_installed(package):
        pytest.skip(f"{package} is not installed here")
    program = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    needs_extra = ".serving." in module.name and not importlib.util.find_spec("gradio")
    if not module.name.endswith("__main__") and not needs_extra:
        importlib.import_module(module.name)
if importlib.util.find_spec("transformers"):
    from transformers import AutoModel, AutoProcessor
"""


@pytest.mark.slow
def test_a_broken_torchaudio_breaks_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "torchaudio"
    broken.mkdir()
    (broken / "__init__.py").write_text('raise RuntimeError("compiled with different CUDA versions")')
    module = package_under_test().replace("-", "_")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING, module], env=environment, check=True)
