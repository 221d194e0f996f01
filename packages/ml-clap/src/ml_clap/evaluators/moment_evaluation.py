"""Evaluation of moments, from files to figures: `ml-clap evaluate --moments 2 5 10`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audio_common.audio import AudioError, measure_audio
from audio_common.config import Channel
from audio_common.prefetch import BadFile
from audio_common.workers import DecodeLimits

from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.data.manifest import BadRow, Clip, read_split
from ml_clap.evaluators.captions import choose_languages
from ml_clap.evaluators.moments import gather_queries, measure_moments, read_moment, spans_of
from ml_clap.evaluators.report import describe_run, print_moments, say_limit
from ml_clap.evaluators.results import MomentReport
from ml_clap.files import write_json
from ml_clap.models.encoding import Progress, encode_files, encode_texts, evaluation_mode
from ml_clap.models.loading import check_model
from ml_clap.tables import show_progress, tables_beside_json

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText


def evaluate_moments(
    model: DualEncoder,
    clips: Sequence[Clip],
    lengths: Sequence[float],
    languages: Sequence[str] | None = None,
    *,
    num_samples: int = 0,
    seed: int = 0,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    channel: Channel | None = None,
    decode_limits: DecodeLimits | None = None,
    progress: Progress | None = None,
) -> MomentReport:
    """Find the seconds of each caption in its file; each window is encoded once for all languages.

    Args:
        model: what to evaluate; it is left in the mode it was in.
        clips: moments: `start` and `end` (seconds) of each are among its further keys.
        lengths: of windows, in seconds.
        languages: any codes that `resolve` knows; default: every language of the captions.
        num_samples: bootstrap draws for the intervals; 0 for none.
        seed: seed for bootstrap sampling.
        seconds_per_batch: seconds of audio encoded at once.
        num_workers: threads that read files.
        channel: what is made of several channels; default: the model's.
        decode_limits: of time and memory, in processes that decode; None: in threads of this one.
        progress: called with the numbers of windows done and of all.

    Raises:
        ValueError: a clip without a moment, no captions in a language, or nothing that could be read.
    """
    began = time.monotonic()
    codes = choose_languages(clips, languages)
    asked = {code: gather_queries(clips, code) for code in codes}
    files, durations, bad = _measure(list(dict.fromkeys(clip.audio for clip in clips)))
    windows = spans_of(files, durations, lengths)
    complaints: list[BadFile] = []
    cut: dict[str, CutText] = {}
    with evaluation_mode(model):
        embeddings, unread = encode_files(
            model,
            windows,
            seconds_per_batch=seconds_per_batch,
            num_workers=num_workers,
            channel=channel,
            decode_limits=decode_limits,
            complaints=complaints,
            progress=progress,
        )
        found = {
            code: measure_moments(
                queries,
                encode_texts(model, [query.text for query in queries], code, cut=cut),
                windows,
                embeddings,
                bad=unread,
                num_samples=num_samples,
                seed=seed,
            )
            for code, queries in asked.items()
        }
    notice = model.describe_cut(list(cut.values()))
    return MomentReport(
        languages=found,
        lengths=tuple(lengths),
        bad_files=(*bad, *unread),
        seconds=time.monotonic() - began,
        complaints=tuple(complaints),
        notices=(notice,) if notice else (),
    )


def find_moments(config: EvaluateConfig) -> MomentReport:
    """Load the model, evaluate the manifest's moments, print the table, and write what was asked for."""
    from ml_clap.models.loading import load_model

    check_model(config.model)
    bad_rows: list[BadRow] = []
    there = read_split(config.data, config.split, language=config.language, bad_rows=bad_rows)
    clips = there[: config.limit]
    # Mistakes show before the model is loaded.
    choose_languages(clips, config.languages)
    for clip in clips:
        read_moment(clip)
    model = load_model(config.model, device=config.device, dtype=config.dtype)
    with show_progress("Encoding windows") as progress:
        report = evaluate_moments(
            model,
            clips,
            config.moments,
            config.languages,
            num_samples=config.bootstrap,
            seed=config.seed,
            seconds_per_batch=config.seconds_per_batch,
            num_workers=config.num_workers,
            channel=config.channel,
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
            progress=progress,
        )
    notices = (*say_limit(len(there), config.limit), *report.notices)
    report = dataclasses.replace(report, bad_rows=tuple(bad_rows), notices=notices)
    with tables_beside_json(config.json):
        print_moments(report)
    if config.json is not None:
        write_json(config.json, describe_run(model, config) | {"results": report})
    return report


def _measure(files: Sequence[Path]) -> tuple[list[Path], list[float], list[BadFile]]:
    """Return the files whose length is known, with it in seconds; and the others."""
    known: list[Path] = []
    durations: list[float] = []
    bad: list[BadFile] = []
    for place, file in enumerate(files):
        try:
            seconds = measure_audio(file).duration
        except (AudioError, OSError) as e:
            bad.append(BadFile(file, str(e), place))
            continue
        if seconds:
            known.append(file)
            durations.append(seconds)
        else:
            bad.append(BadFile(file, f"{file}: its length is not known, so it cannot be cut", place))
    if not known:
        raise ValueError(f"none of the {len(files)} files could be read; the first: {bad[0].reason}")
    return known, durations, bad
