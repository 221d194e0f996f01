"""What went wrong, in one line, and with which exit code."""

from __future__ import annotations

import errno
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

REFUSED, BUG = 2, 70
"""Exit codes: of what the user can mend, and of what only we can (sysexits' EX_SOFTWARE)."""

HUB = {
    "GatedRepoError": "this model must be asked for on its page at huggingface.co, then `hf auth login`",
    "RepositoryNotFoundError": "no such folder here, and no such model on the hub (or a private one)",
    "RevisionNotFoundError": "the hub has no such revision of this model",
    "LocalEntryNotFoundError": "it is not in the cache, and the hub cannot be reached (offline?)",
    "OfflineModeIsEnabled": "it is not in the cache, and HF_HUB_OFFLINE forbids to fetch it",
    "EntryNotFoundError": "the model on the hub lacks this file",
    "HFValidationError": "neither a folder here nor a name of the hub (OWNER/MODEL)",
}
"""Errors of huggingface_hub by name: it need not be imported to know them."""
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"
"""PyTorch's words where the processor's memory is out: a plain RuntimeError."""
FULL = (
    "No space left on device",
    "Disk quota exceeded",
    "PytorchStreamWriter failed writing",
    "basic_ios::clear: iostream error",  # torch.save's stream, which then fails once more as it is closed
)
"""What a full disk is called by libraries that keep no number of the error."""


class UsageError(ValueError):
    """A command line or a file of settings that cannot be meant: what, and what may be meant instead."""


def describe(error: BaseException, package: str, extras: Mapping[str, str]) -> tuple[str, int]:
    """Return a line for an error and the exit code.

    Args:
        error: what was raised.
        package: our package, whose own mistakes are bugs.
        extras: modules that need not be installed, and the extra that brings each.
    """
    line = _expected(error, package, extras)
    return (f"error: {line}", REFUSED) if line else (_bug(error, package), BUG)


def _expected(error: BaseException, package: str, extras: Mapping[str, str]) -> str:
    """Return a line for what can happen to a program without faults, nothing for a bug."""
    text = " ".join(str(error).split())
    chain = list(_causes(error))
    hub = next(
        (HUB[kind.__name__] for one in chain for kind in type(one).__mro__ if kind.__name__ in HUB), ""
    )
    full = next(filter(_is_full_disk, _history(error)), None)
    if full is not None:
        return f"the disk is full: {getattr(full, 'filename', None) or _short(' '.join(str(full).split()))}"
    if hub:
        return f"{_short(text)}: {hub}"
    if isinstance(error, ImportError):
        return _missing_module(error, package, extras)
    if isinstance(error, UnicodeDecodeError):
        return f"a file that should be text (UTF-8) is not: {text}"
    if isinstance(error, RecursionError) and _is_in(error, ("json", "yaml")):
        return "a file is nested too deeply to be read"
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError) or NO_MEMORY in text:
        return f"out of memory, try a smaller batch_size: {_short(text)}"
    if isinstance(error, OSError):
        return (
            f"{error.filename}: {error.strerror}" if error.filename and error.strerror else _short(text, 600)
        )
    return text or type(error).__name__ if isinstance(error, ValueError) else ""


def _missing_module(error: ImportError, package: str, extras: Mapping[str, str]) -> str:
    name = (error.name or "").partition(".")[0]
    if name == package or (name and not isinstance(error, ModuleNotFoundError)):
        return ""
    if not name:  # libraries say it in their own words
        return _short(" ".join(str(error).split()))
    wanted = f"{package.replace('_', '-')}[{extras[name]}]" if name in extras else name
    return f'this needs {name}, which is not installed: pip install "{wanted}"'


def _bug(error: BaseException, package: str) -> str:
    """Return a line about a bug, and keep its trace in a file: it may have come after hours of work."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"/{package}/" in frame.filename.replace("\\", "/")]
    place = f"{Path((ours or frames)[-1].filename).name}:{(ours or frames)[-1].lineno}" if frames else "?"
    with tempfile.NamedTemporaryFile("w", prefix=f"{package}-", suffix=".txt", delete=False) as file:
        file.writelines(traceback.format_exception(error))
    text = _short(" ".join(f"{type(error).__name__}: {error}".split()))
    return f"bug in {package.replace('_', '-')}: {text} ({place}); trace in {file.name}, or with --traceback"


def _causes(error: BaseException | None) -> list[BaseException]:
    return [error, *_causes(error.__cause__)] if error is not None else []


def _history(error: BaseException | None) -> list[BaseException]:
    """Return an error and those that came before it: while one was handled, the next one came."""
    return [error, *_history(error.__cause__ or error.__context__)] if error is not None else []


def _is_full_disk(error: BaseException) -> bool:
    is_told = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return is_told or any(sign in str(error) for sign in FULL)


def _is_in(error: BaseException, folders: tuple[str, ...]) -> bool:
    frames = traceback.extract_tb(error.__traceback__, limit=-20)
    return any(Path(frame.filename).parent.name in folders for frame in frames)


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."
