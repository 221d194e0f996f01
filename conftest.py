"""Settings of every test: nothing from the network, one torch thread, one seed."""

import logging
import os
import signal
from collections.abc import Iterator

# A shell's background job ignores Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any test module imports torch or huggingface_hub. Two OpenMP threads on a busy two-core machine
# run many times slower than one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_handler_of_a_command_stays() -> Iterator[None]:
    """Take off what a command's `output.set_up` put on: tests after it would write to standard error."""
    yield
    for handler in logging.getLogger().handlers[:]:
        if type(handler).__name__ == "_StderrHandler":
            logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's folder of real data, beside the checkout; a user does not have it."""
    folder = Path(__file__).resolve().parent.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"the real data of {folder} is not here")
    return folder
