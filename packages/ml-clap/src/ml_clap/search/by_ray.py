"""An index filled by the workers of Ray: `ml-clap index --engine ray`.

The clips that the index lacks are cut into blocks of about equal sound. Workers encode them into parts, which
are put into the index here. Sounds and parts may lie behind fsspec URLs; sounds also in shards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from audio_common.prefetch import BadFile

from ml_clap.bulk.blocks import make_blocks
from ml_clap.bulk.parts import Parts
from ml_clap.bulk.places import names_in
from ml_clap.bulk.run import run_blocks
from ml_clap.config.ray import RayConfig
from ml_clap.data.job_parts import place_of, remove_own
from ml_clap.search.filling import IndexFiller, Problem
from ml_clap.search.index_block import BlockSettings, IndexWorker, estimate_seconds, row_of
from ml_clap.search.index_parts import choose_rows, key_of, merge_parts
from ml_clap.search.scan import Found
from ml_clap.search.store import IndexWriter, sound_path

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder


class RayFiller:
    """Does by Ray what `IndexFiller` does here, with the same result.

    Args:
        model: the index's; workers load it by its name.
        writer: of the index.
        found: all clips that there are now, those that the index has among them.
        settings: how clips are encoded.
        config: the cluster, the workers and the parts.

    Attributes:
        num_windows: windows encoded in this run.
        audio_seconds: sound encoded in this run.
        complaints: what is odd about sounds that were encoded nevertheless.
    """

    def __init__(
        self,
        model: DualEncoder,
        writer: IndexWriter,
        found: Sequence[Found],
        settings: BlockSettings,
        config: RayConfig,
    ) -> None:
        self.writer = writer
        self.settings = settings
        self.config = config
        self.num_windows = 0
        self.audio_seconds = 0.0
        self.complaints: list[BadFile] = []
        self._local = IndexFiller(model, writer, index_silence=settings.index_silence)
        self._found = {clip.id: clip for clip in found}

    def run(self, new: Sequence[Found], on_progress: Callable[[float, int], None]) -> list[Problem]:
        """Encode the windows that the index's clips lack, and the new clips.

        Args:
            new: clips that the index does not have.
            on_progress: called after each block with the number of clips done and of clips to do.

        Returns:
            What could not be read, now or in earlier runs.

        Raises:
            RuntimeError: workers cannot be made, or no clip of a block can be encoded.
        """
        problems = self._known_problems()
        if self.settings.index_silence:
            self.writer.forget_silent()
        clips = [*self._lacking(problems), *new]
        parts = Parts(
            place_of("index", self.settings.identity(), self.writer.folder, self.config.parts), "parquet"
        )
        self._encode(clips, parts, on_progress)
        order = {str(clip.path): number for number, clip in enumerate(clips)}
        merged = merge_parts(self.writer, clips, choose_rows(_names(parts), clips))
        self.num_windows, self.audio_seconds = merged.num_windows, merged.audio_seconds
        self.complaints = [
            BadFile(Path(name), text, order.get(name, 0), partly=True) for name, text in merged.complaints
        ]
        problems |= self._known_problems() | {problem.file: problem for problem in merged.problems}
        if self.config.parts is None:
            remove_own(parts)
        return list(problems.values())

    def list_left_out(self) -> list[Problem]:
        """Return what has no vector because there is no sound in it, or too little, in any run."""
        return self._local.list_left_out()

    def _encode(
        self, clips: Sequence[Found], parts: Parts, on_progress: Callable[[float, int], None]
    ) -> None:
        """Have all clips encoded that no part holds yet."""
        there = choose_rows(_names(parts), clips)
        left = [
            clip for clip in clips if there.get(key_of(clip), ("", {"sha256": None}))[1]["sha256"] is None
        ]
        blocks = make_blocks(
            [row_of(clip) for clip in left],
            [estimate_seconds(clip) for clip in left],
            block_seconds=self.config.block_seconds,
            settings=self.settings.identity(),
        )
        done = len(clips) - len(left)
        for one in run_blocks(blocks, partial(IndexWorker, self.settings), parts, self.config):
            done += len(one.block.rows)
            on_progress(done, len(clips))
        on_progress(len(clips), len(clips))

    def _lacking(self, problems: dict[str, Problem]) -> list[Found]:
        """Return the clips of which the index lacks windows; one that is gone is a problem."""
        clips = []
        for windows in self._local.list_lacking():
            entry = self.writer.entries[windows[0][0]]
            if entry.id in self._found:
                clips.append(self._found[entry.id])
            else:
                path = str(sound_path(self.writer.settings.root, entry.file))
                problems[path] = Problem(path, f"{path} is gone, and not all of it was indexed")
        return clips

    def _known_problems(self) -> dict[str, Problem]:
        """Return what could not be read of the clips that the index has."""
        problems = {}
        for entry in self.writer.entries:
            if entry.problem:
                path = str(sound_path(self.writer.settings.root, entry.file))
                problems[path] = Problem(path, entry.problem, partly=True)
        return problems


def _names(parts: Parts) -> list[str]:
    """Return all parts that lie there, of whatever run, in the order of their names."""
    return sorted(name for name in names_in(parts.place) if name.endswith(".parquet"))
