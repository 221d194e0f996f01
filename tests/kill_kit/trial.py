"""A job is run undisturbed, and then disturbed and run again: is anything lost?"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kill_kit.compare import find_differences
from kill_kit.jobs import Job
from kill_kit.operations import MODES, NEEDS_SPACE, Fault, Mode, Operation
from kill_kit.stage import Run, Stage

CODES = {"kill": -9, "torn": -9, "full": 2, "interrupt": 130}
"""With what a disturbed command has to end."""


@dataclass(frozen=True)
class Trial:
    """A disturbance and what came of it."""

    fault: Fault
    operation: Operation
    """The one before which it came."""
    lost: list[str]
    """What is not as it should be, a line each."""
    disturbed: Run
    again: Run

    def __str__(self) -> str:
        place = f"{self.fault.mode} at {self.fault.number}, {self.operation.kind} {self.operation.path}"
        return "\n    ".join([place, *self.lost])


@dataclass
class Tally:
    """What became of many trials."""

    job: str
    operations: int
    counts: Counter[str] = field(default_factory=Counter)
    """Mode -> trials."""
    losses: list[Trial] = field(default_factory=list)
    """Those that lost something."""
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {mode}" for mode, count in self.counts.items())
        return (
            f"{self.job}: {self.operations} operations, {self.counts.total()} trials ({counts}) "
            f"in {self.seconds:.0f} s, {len(self.losses)} lost something"
        )


class Bench:
    """A job, run once undisturbed, on which disturbances are tried.

    Every run is in the folder SCRATCH/run, so that paths in the results are the same; SCRATCH/expected is
    what the undisturbed run left there, SCRATCH/start what is there before the command.

    Args:
        stage: runs the commands.
        job: what is run.
        inputs: folder of the package's inputs.
        scratch: folder for the runs; emptied.
    """

    def __init__(self, stage: Stage, job: Job, inputs: Path, scratch: Path) -> None:
        self.stage, self.job, self.inputs = stage, job, inputs
        self.folder, self.expected, self.start = (scratch / name for name in ("run", "expected", "start"))
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        steps = self._make_expected()
        self._make_start(steps)
        self._begin()
        self.operations = self._run(job.words).operations
        """What the command does after the steps before it, some of which may have been killed."""

    def _make_expected(self) -> list[Run]:
        """Run everything undisturbed; return the runs of the steps before the command."""
        self.folder.mkdir()
        steps = [self._run(step.words) for step in self.job.before]
        self.plain = self._run(self.job.words)
        """The command undisturbed."""
        for run in (*steps, self.plain):
            if run.code not in (0, 1):
                raise RuntimeError(f"{self.job.name} fails undisturbed:\n{run.errors}")
        self.folder.rename(self.expected)
        return steps

    def _make_start(self, undisturbed: Sequence[Run]) -> None:
        """Run the steps before the command, those killed that are to be."""
        self.folder.mkdir()
        for step, plain in zip(self.job.before, undisturbed, strict=True):
            run = self._run(step.words, step.point and step.point.find(plain.operations))
            if step.point and run.code != CODES[step.point.mode]:
                raise RuntimeError(f"{self.job.name}: {step.words} was not killed: {run.errors}")
        self.folder.rename(self.start)

    def faults(self, modes: Sequence[Mode] = MODES) -> Iterator[Fault]:
        """Yield every disturbance that can make a difference, at every operation in turn."""
        for number, operation in enumerate(self.operations, 1):
            for mode in modes:
                is_idle = mode == "full" and operation.kind not in NEEDS_SPACE
                if not is_idle and not (mode == "torn" and not operation.can_tear):
                    yield Fault(mode, number)

    def attempt(self, fault: Fault) -> Trial:
        """Disturb the command, run it again, and compare."""
        self._begin()
        disturbed = self._run(self.job.words, fault)
        again = self._run(self.job.words)
        lost = [*self._judge_end(fault, disturbed)]
        if again.code != self.plain.code:
            lost.append(f"run again, it ends with {again.code}, not {self.plain.code}: {_last_line(again)}")
        lost += find_differences(self.expected, self.folder)
        return Trial(fault, self.operations[fault.number - 1], lost, disturbed, again)

    def attempt_all(self, modes: Sequence[Mode] = MODES) -> Tally:
        """Try every disturbance; says at once what is lost."""
        started, tally = time.monotonic(), Tally(self.job.name, len(self.operations))
        for fault in self.faults(modes):
            trial = self.attempt(fault)
            tally.counts[fault.mode] += 1
            if trial.lost:
                tally.losses.append(trial)
                print(f"{self.job.name}: {trial}", flush=True)
        tally.seconds = time.monotonic() - started
        return tally

    def _judge_end(self, fault: Fault, run: Run) -> Iterator[str]:
        """Yield what is wrong with how a disturbed command ended."""
        # Ctrl-C after the last update may let a command end its work.
        is_done = fault.mode == "interrupt" and run.code == self.plain.code
        if run.code != CODES[fault.mode] and not is_done:
            yield f"{fault.mode}: it ends with {run.code}, not {CODES[fault.mode]}: {_last_line(run)}"
        if "Traceback (most recent call last)" in run.errors:
            yield f"{fault.mode}: a traceback: {_last_line(run)}"
        elif fault.mode == "full" and run.errors.count(": error: ") != 1:
            yield f"full: not one line of error: {run.errors[-500:]!r}"

    def _begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.start, self.folder)

    def _run(self, words: Sequence[str], fault: Fault | None = None) -> Run:
        return self.stage.run(
            [word.replace("INPUTS", str(self.inputs)) for word in words], self.folder, fault
        )


def _last_line(run: Run) -> str:
    lines = run.errors.strip().splitlines()
    return lines[-1] if lines else "(silent)"
