"""Decode in processes with limits of time and memory: what ends such a process is one bad sound, not the job.

A few formats are read by C libraries that have met only half of what is on the internet. A sound on which one
of them crashes, hangs or fills the memory is an AudioError here that says so, and the process is replaced.

    >>> from audio_common.workers import DecodeLimits, DecodePool
    >>> with DecodePool(DecodeLimits(seconds=30.0)) as pool:  # doctest: +SKIP
    ...     waveform = pool.load_audio("rain.mp3", max_seconds=600.0)

The methods are the functions of the same names, and threads may call them at once. `decode_ahead` and
`check_files` make a pool themselves where they are given `decode_limits`.

What the C libraries print is not printed: it is in the reason of the sound that fails, and else a complaint.
Processes start when they are needed, in about 0.3 s; they end with the pool, and by themselves if the program
is killed. They are not forks: no lock, thread or GPU memory of the program is in them.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from audio_common.config import LEAST_MEGABYTES
from audio_common.frames import FAILURE, PROGRESS, SAMPLES, SHARED
from audio_common.reader import AudioError, name_of, shown
from audio_common.strict_json import JSONError, parse_object
from audio_common.worker_group import WorkerGroup
from audio_common.worker_process import WorkerEndedError, WorkerLateError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    import numpy as np
    from torch import Tensor

    from audio_common.config import Channel
    from audio_common.info import AudioInfo

logger = logging.getLogger(__name__)

SHARE_OF_LENGTH = 0.1
"""Of the time that a sound lasts is granted beyond `DecodeLimits.seconds`: hours of sound may take longer."""
MOST_WARNED = 100_000

PathOrBytes = str | os.PathLike[str] | bytes


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding one sound may take, after which it is stopped."""

    seconds: float = 60.0
    """Time, waiting for disks included, and a tenth of the time that the decoded sound lasts in addition."""
    megabytes: int = 1024
    """Memory (MiB) of the process, beyond what its libraries take; and of the samples that are returned."""

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"seconds of decoding must be above 0, got {self.seconds}")
        if not self.megabytes >= LEAST_MEGABYTES:
            raise ValueError(
                f"megabytes of decoding must be at least {LEAST_MEGABYTES}, got {self.megabytes}"
            )


class DecodePool:
    """Processes that decode.

    Args:
        limits: of each sound.
        num_workers: processes at most; as many threads can decode at once, others wait.
    """

    def __init__(self, limits: DecodeLimits | None = None, num_workers: int = 1) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        self.limits = limits or DecodeLimits()
        self._group = WorkerGroup(num_workers, self.limits.megabytes, self.limits.seconds)
        self._warned: set[tuple[str, str]] = set()
        self._ending = weakref.finalize(self, self._group.close)  # also when the program ends

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes; what is being decoded fails with AudioError."""
        self._group.close()

    def give_up(self) -> None:
        """Have what is being decoded fail with AudioError at once. The pool stays open."""
        self._group.give_up()

    def load_audio(
        self,
        source: PathOrBytes,
        *,
        sample_rate: int = 16_000,
        offset: float = 0.0,
        duration: float | None = None,
        channel: Channel = "mean",
        max_seconds: float | None = None,
        complaints: list[str] | None = None,
    ) -> Tensor:
        """As `audio_common.load_audio`, of a path or bytes.

        Raises:
            AudioError: as there; or it took more than the limits allow, or crashed.
        """
        import numpy as np
        import torch

        options = _segment(sample_rate, offset, duration, channel, max_seconds)
        with closing(self._samples(source, options, complaints)) as arriving:
            blocks = []
            left = self.limits.megabytes << 20
            for block in arriving:
                blocks.append(block)
                left -= block.nbytes
                if left < 0:
                    raise AudioError(
                        f"{name_of(source)} is more than {self.limits.megabytes} MB of samples; cut it into "
                        "shorter files, or give max_seconds or duration"
                    )
        return torch.from_numpy(blocks[0] if len(blocks) == 1 else np.concatenate(blocks))

    def stream_audio(
        self,
        source: PathOrBytes,
        *,
        sample_rate: int = 16_000,
        block_seconds: float = 30.0,
        offset: float = 0.0,
        duration: float | None = None,
        channel: Channel = "mean",
        max_seconds: float | None = None,
        complaints: list[str] | None = None,
    ) -> Iterator[Tensor]:
        """As `audio_common.stream_audio`, of a path or bytes. A process is taken until the last block.

        Raises:
            AudioError: as `load_audio`; what came before was good.
        """
        import torch

        from audio_common.audio import block_length, regrouped

        length = block_length(block_seconds, sample_rate)
        options = _segment(sample_rate, offset, duration, channel, max_seconds)
        with closing(self._samples(source, options, complaints)) as arriving:
            for block in regrouped(arriving, length):
                yield torch.from_numpy(block)

    def audio_info(self, source: PathOrBytes) -> AudioInfo:
        """As `audio_common.audio_info`, of a path or bytes."""
        return self._info("info", source)

    def measure_audio(self, source: PathOrBytes) -> AudioInfo:
        """As `audio_common.measure_audio`, of a path or bytes."""
        return self._info("measure", source)

    def audio_infos(self, paths: Sequence[Path]) -> list[AudioInfo | AudioError]:
        """As `audio_info` of each path, in one request: a header costs less than to ask for it."""
        if not paths:
            return []
        try:
            found = self.result_of("infos", paths[0], {"source": [os.fspath(path) for path in paths]})[
                "infos"
            ]
            return [
                AudioError(str(answer["reason"])) if "reason" in answer else _as_info(answer)
                for answer in found
            ]
        except AudioError:  # of one, which took its time or the process with it
            return [self._info_or_error(path) for path in paths]

    def _info_or_error(self, path: Path) -> AudioInfo | AudioError:
        try:
            return self.audio_info(path)
        except AudioError as error:
            return error

    def _info(self, task: str, source: PathOrBytes) -> AudioInfo:
        return _as_info(self.result_of(task, source, {}))

    def _samples(
        self, source: PathOrBytes, options: dict[str, Any], complaints: list[str] | None
    ) -> Generator[np.ndarray, None, None]:
        """Yield float32 (samples,) as they come, then note and log complaints."""
        result = yield from self._run("load", source, options)
        name = name_of(source)
        for complaint in [*result.get("complaints", ()), *printed(result["noise"])]:
            if complaints is not None:
                complaints.append(complaint)
            if len(self._warned) < MOST_WARNED and (name, complaint) not in self._warned:
                self._warned.add((name, complaint))
                logger.warning("%s: %s", name, complaint)

    def result_of(self, task: str, source: PathOrBytes, options: dict[str, Any]) -> dict[str, Any]:
        """Run a task of `audio_common.decode_worker` that gives few samples, or none.

        Returns:
            Its result; `samples` are blocks that it gave, `noise` is what the libraries printed.

        Raises:
            AudioError: it fails, takes too long or ends the process.
        """
        running = self._run(task, source, options)
        samples: list[np.ndarray] = []
        while True:
            try:
                samples.append(next(running))
            except StopIteration as end:
                return {**end.value, "samples": samples}

    def _run(
        self, task: str, source: PathOrBytes, options: dict[str, Any]
    ) -> Generator[np.ndarray, None, dict[str, Any]]:
        """Yield the samples of a task, and return its result, in which `noise` is what the libraries printed.

        Raises:
            AudioError: it fails, takes too long or ends the process.
        """
        import numpy as np

        name = name_of(source)
        asked = os.fspath(source) if isinstance(source, str | os.PathLike) else bytes(source)
        worker = self._group.borrow()
        is_ready = False
        try:
            worker.request(task, {"source": asked, **options}, self.limits.seconds)
            while (frame := worker.receive())[0] in (SAMPLES, SHARED, PROGRESS):
                if frame[0] == PROGRESS:
                    worker.left += SHARE_OF_LENGTH * float(frame[1].view(np.float64)[0])
                    continue
                is_shared = frame[0] == SHARED
                samples = worker.shared_samples(frame[1]) if is_shared else frame[1].view(np.float32)
                worker.left += SHARE_OF_LENGTH * len(samples) / options["sample_rate"]
                yield samples
            kind, content = frame[0], frame[1].tobytes()
            answer = parse_object(content, "what the decoder says") if content else {}
            noise = worker.noise()
            if kind == FAILURE:
                is_ready = not answer["is_full"]
                reason = str(answer["reason"]) if is_ready else f"{name}: {answer['reason']}"
                raise AudioError("; ".join([reason, *printed(noise)]))
            is_ready = True
            return {**answer, "noise": noise}
        except WorkerLateError as error:
            raise AudioError(
                f"{name}: decoding took more than {self.limits.seconds:g} s and was stopped; repair or "
                "replace it, or allow more time"
            ) from error
        except (WorkerEndedError, JSONError, KeyError) as error:
            if self._group.is_closed:
                raise AudioError(f"{name}: decoding was given up") from error
            worker.end()
            what = f"{name}: the process that decoded it {worker.last_words()}; repair or replace it"
            raise AudioError("; ".join([what, *printed(worker.noise())])) from error
        finally:
            self._group.give_back(worker, is_ready=is_ready)


def _as_info(answer: dict[str, Any]) -> AudioInfo:
    from audio_common.info import AudioInfo

    return AudioInfo(**{field.name: answer[field.name] for field in fields(AudioInfo)})


def _segment(
    sample_rate: int, offset: float, duration: float | None, channel: Channel, max_seconds: float | None
) -> dict[str, Any]:
    from audio_common.channels import check_channel
    from audio_common.decoding import check_segment

    check_segment(sample_rate, offset, duration, max_seconds)
    check_channel(channel)
    return {
        "sample_rate": sample_rate,
        "offset": offset,
        "duration": duration,
        "channel": channel,
        "max_seconds": max_seconds,
    }


def printed(noise: str) -> list[str]:
    """What the libraries printed as a complaint, if they did."""
    return [f"the decoder printed: {shown(noise)}"] if noise else []
