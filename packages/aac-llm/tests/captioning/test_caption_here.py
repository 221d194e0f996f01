"""What is found while a batch is kept is in the report, too: the next sounds are decoded meanwhile."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aac_llm.captioning.caption import caption_here
from aac_llm.data.predictions import Prediction
from aac_llm.data.sounds import Sound
from audio_common.prefetch import BadFile


class Run:
    """Keeps, while a thread of the maker's finds one more bad file."""

    sounds = tuple(Sound(f"{number}", Path(f"{number}.wav")) for number in range(3))

    def __init__(self, maker: Any) -> None:
        self.maker = maker
        self.kept: list[BadFile] = []
        self.odd: list[BadFile] = []

    def lacking(self) -> tuple[list[Sound], dict[int, set[float]]]:
        return list(self.sounds), {}

    def keep(self, predictions: Any, bad_files: list[BadFile], complaints: list[BadFile]) -> None:
        self.kept += bad_files
        self.odd += complaints
        if predictions:
            number = len(self.maker.bad_files)
            self.maker.bad_files.append(BadFile(Path(f"{number}.wav"), "cut off", number))
            self.maker.complaints.append(BadFile(Path(f"{number}.wav"), "odd", number))


def test_a_file_found_bad_while_captions_are_kept_is_not_lost() -> None:
    def batches(sounds: Any, done: Any) -> Iterator[tuple[list[Prediction], int]]:
        yield [Prediction("0", "0.wav", "a caption")], 2
        yield [Prediction("0", "0.wav", "a caption")], 1
        yield [Prediction("0", "0.wav", "a caption")], 0

    maker = SimpleNamespace(bad_files=[], complaints=[], batches=batches)
    run = Run(maker)
    caption_here(run, maker)  # type: ignore[arg-type]
    assert [file.path.name for file in run.kept] == ["0.wav", "1.wav", "2.wav"]
    assert [file.path.name for file in run.odd] == ["0.wav", "1.wav", "2.wav"]
