"""A program that says how well texts fit sounds, run as a command: any text-audio model, none imported.

The program reads lines `{"audio": "/data/rain.wav", "text": "rain falls"}` from its standard input to their
end, and writes for each, in the same order, a line `{"similarity": 0.31}`, or `null` for a sound that it
cannot read. Higher is more alike; only differences for the same sound are looked at.
`examples/sound_scorer.py` of this package is such a program around ml-clap.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

from audio_common.strict_json import JSONError, parse_object

from aac_llm.files import to_json
from aac_llm.output import printable


class ScorerError(Exception):
    """Why there is no similarity."""


class UnreadSoundError(ScorerError):
    """The program says, by `null`, that it cannot read the sound."""

    def __init__(self) -> None:
        super().__init__("the program cannot read the sound")


class SoundScorer:
    """Similarities by a command.

    Args:
        command: program and arguments, as one would type them; no shell reads it.
        timeout: seconds for one run.
        secrets: environment variables that the program does not get.
    """

    def __init__(self, command: str, *, timeout: float = 600.0, secrets: Sequence[str] = ()) -> None:
        try:
            self.arguments = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"sound_scorer: {command!r} is no command ({error})") from error
        self.timeout = timeout
        self.secrets = secrets

    def check(self) -> None:
        """Look for the program, so that a wrong name is an error before a long job.

        Raises:
            ValueError: there is none.
        """
        if not self.arguments or shutil.which(self.arguments[0]) is None:
            name = self.arguments[0] if self.arguments else ""
            raise ValueError(f"sound_scorer: there is no program {name!r} that could be run")

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float | ScorerError]:
        """Return the similarity of each pair (sound's path, text), or why there is none."""
        if not pairs:
            return []
        lines = b"".join(to_json({"audio": audio, "text": text}) + b"\n" for audio, text in pairs)
        try:
            return read_similarities(self._run(lines), len(pairs))
        # A program that fails as a whole costs judgements, not the job.
        except ScorerError as error:
            return [error] * len(pairs)

    def _run(self, lines: bytes) -> bytes:
        environment = {name: value for name, value in os.environ.items() if name not in self.secrets}
        try:
            process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                # A group of its own: a wrapper such as `uv run` is ended with what it started.
                start_new_session=True,
            )
        except OSError as error:
            raise ScorerError(f"{self.arguments[0]} could not be run: {error}") from error
        try:
            said, messages = process.communicate(lines, timeout=self.timeout)
        except subprocess.TimeoutExpired as error:
            raise ScorerError(f"no end after {self.timeout:g} s; --sound_timeout allows more") from error
        finally:
            _end(process)
        if process.returncode:
            last = messages.decode(errors="replace").strip().splitlines()[-1:] or ["without a message"]
            raise ScorerError(f"exit code {process.returncode}: {printable(last[0])[:200]}")
        return said


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.wait()


def read_similarities(content: bytes, count: int) -> list[float | ScorerError]:
    """Read a program's lines.

    Raises:
        ScorerError: they are not as many as the pairs, so that none could be told to belong to one.
    """
    lines = [line for line in content.splitlines() if line.strip()]
    if len(lines) != count:
        raise ScorerError(f"{len(lines)} lines for {count} pairs")
    return [_similarity(line) for line in lines]


def _similarity(line: bytes) -> float | ScorerError:
    try:
        row = parse_object(line, "the scorer's line")
    except JSONError as error:
        return ScorerError(str(error))
    value: Any = row.get("similarity")
    if value is None and "similarity" in row:
        return UnreadSoundError()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ScorerError("no number under 'similarity'")
    return float(value)
