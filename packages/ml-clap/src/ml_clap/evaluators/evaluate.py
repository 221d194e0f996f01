"""Retrieval between sounds and captions, in each language: `ml-clap evaluate`.

Each clip is encoded once for all its captions and languages, each distinct caption once. A language is
evaluated on the clips that have captions in it; the tables say how many.

With `reference` the model runs as the authors' evaluation does: their audio front end and text rule, and
batches that are cut in file order from one row for each caption, whose clips are padded with zeros to the
longest and share one dB floor. The batch size is then part of the result.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from audio_common.config import Channel
from audio_common.prefetch import AudioSpan, BadFile
from audio_common.workers import DecodeLimits

from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.data.languages import LANGUAGES, resolve
from ml_clap.data.manifest import BadRow, Clip, read_split
from ml_clap.evaluators.figures import check_figure_path, save_figure
from ml_clap.evaluators.report import describe_run, plot_retrieval, print_retrieval, say_limit
from ml_clap.evaluators.results import RetrievalMetrics, RetrievalReport, RetrievalResult
from ml_clap.evaluators.retrieval import Ranking, rank_audio_to_text, rank_text_to_audio
from ml_clap.evaluators.statistics import average_metrics, bootstrap, measure_consistency, summarize
from ml_clap.files import write_json
from ml_clap.lock import hold_outputs
from ml_clap.models.checkpoint import check_model
from ml_clap.models.encoding import UNHEARD, Progress, encode_files, encode_texts, evaluation_mode
from ml_clap.tables import count_of, show_progress, tables_beside_json

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText


@dataclass(frozen=True)
class _Queries:
    """The captions of one language, and whose they are."""

    clips: list[int]
    """Numbers of the clips with captions."""
    texts: list[str]
    owner: list[int]
    """For each text the index of its clip in `clips`."""

    @property
    def counts(self) -> tuple[list[int], list[int]]:
        """What must be equal for languages to be compared query by query."""
        return self.clips, self.owner


def evaluate_retrieval(
    model: DualEncoder,
    clips: Sequence[Clip],
    languages: Sequence[str] | None = None,
    *,
    num_captions: int | None = None,
    num_samples: int = 0,
    seed: int = 0,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    reference_batch_size: int | None = None,
    channel: Channel | None = None,
    decode_limits: DecodeLimits | None = None,
    progress: Progress | None = None,
) -> RetrievalReport:
    """Measure retrieval over `clips`, each encoded once; leaves the model in the mode it was in.

    Args:
        model: what to evaluate.
        clips: files and their captions.
        languages: any codes that `resolve` knows; default: every language of the captions.
        num_captions: use only this many captions of a clip in each language, the first ones.
        num_samples: bootstrap draws for the intervals; 0 for none.
        seed: seed for bootstrap sampling.
        seconds_per_batch: seconds of audio encoded at once.
        num_workers: threads that read files.
        reference_batch_size: captions of a batch as the authors' evaluation cuts them, instead of batches by
            length; for a model in the reference mode.
        channel: what is made of several channels; default: the model's.
        decode_limits: of time and memory, in processes that decode; None: in threads of this one.
        progress: called with the numbers of clips done and of all.

    Raises:
        ValueError: no captions in a language, or nothing that could be read.
    """
    began = time.monotonic()
    codes = choose_languages(clips, languages)
    batches = None
    if reference_batch_size is not None:
        first = _gather(clips, codes[0], num_captions, ())
        rows = [first.clips[place] for place in first.owner]
        batches = reference_batches(rows, range(len(clips)), reference_batch_size)
    complaints: list[BadFile] = []
    with evaluation_mode(model):
        audio, bad = encode_files(
            model,
            [AudioSpan(clip.audio) for clip in clips],
            seconds_per_batch=seconds_per_batch,
            num_workers=num_workers,
            progress=progress,
            batches=batches,
            channel=channel,
            decode_limits=decode_limits,
            complaints=complaints,
        )
        queries = [_gather(clips, code, num_captions, {file.index for file in bad}) for code in codes]
        _check_queries(codes, queries, bad)
        cut: dict[str, CutText] = {}
        captions = [
            encode_texts(model, asked.texts, code, cut=cut)
            for code, asked in zip(codes, queries, strict=True)
        ]
    to_audio, to_text = [], []
    for asked, embeddings in zip(queries, captions, strict=True):
        found = audio[asked.clips].to(model.device), embeddings.to(model.device), asked.owner
        to_audio.append(_number_clips(rank_text_to_audio(*found), asked.clips))
        to_text.append(_number_clips(rank_audio_to_text(*found), asked.clips))
    comparable = len(codes) > 1 and all(asked.counts == queries[0].counts for asked in queries)
    # In each direction the metrics of every language, then their average.
    directions = [_summarize(rankings, num_samples, seed) for rankings in (to_audio, to_text)]
    shared = [_count_shared(asked) for asked in queries]
    *results, average = (
        RetrievalResult(*both) for both in zip(*directions, [*shared, sum(shared)], strict=True)
    )
    return RetrievalReport(
        languages=dict(zip(codes, results, strict=True)),
        average=average,
        consistency=measure_consistency(to_audio) if comparable else None,
        num_clips=len(clips) - len(bad),
        bad_files=tuple(bad),
        complaints=tuple(complaints),
        seconds=time.monotonic() - began,
        notices=tuple(
            notice
            for notice in (
                _say_left_out(clips, codes, num_captions),
                model.describe_cut(list(cut.values())),
                _say_unheard(complaints),
            )
            if notice
        ),
    )


def _say_left_out(clips: Sequence[Clip], codes: Sequence[str], num_captions: int | None) -> str:
    """Say how many captions are not used; nothing where all are."""
    if num_captions is None:
        return ""
    counts = [len(clip.captions.get(code, ())) for clip in clips for code in codes]
    left_out = sum(max(0, count - num_captions) for count in counts)
    if not left_out:
        return ""
    return f"{left_out:,} of {sum(counts):,} captions are left out (--num_captions {num_captions})"


def _say_unheard(complaints: Sequence[BadFile]) -> str:
    """Say how many clips the authors' code does not hear whole; nothing where it does."""
    clips = {complaint.index for complaint in complaints if complaint.reason.endswith(UNHEARD)}
    return (
        f"of {count_of(len(clips), 'long clip')} the last piece is not heard (--reference)" if clips else ""
    )


def choose_languages(clips: Iterable[Clip], languages: Sequence[str] | None) -> list[str]:
    """Return the languages to evaluate: those asked for, each with captions, or all of the captions.

    Raises:
        ValueError: a language without captions, with those that there are.
    """
    there = {language for clip in clips for language in clip.captions}
    known = [*(code for code in LANGUAGES if code in there), *sorted(there - set(LANGUAGES))]
    wanted = list(dict.fromkeys(resolve(tag) for tag in languages or known))
    for code in wanted:
        if code not in there:
            raise ValueError(f"no clip has captions in {code}; there are captions in {', '.join(known)}")
    if not wanted:
        raise ValueError("no clip has captions")
    return wanted


def reference_batches(rows: Sequence[int], clips: Iterable[int], batch_size: int) -> list[list[int]]:
    """Return the clips of each batch of the authors' evaluation, with a row for each caption, in file order.

    A clip whose rows fall into two batches is in both; its first embedding is the one that counts. Clips
    without a row come last.

    >>> reference_batches([0, 0, 0, 1, 1, 1, 2], range(4), 4)
    [[0, 1], [1, 2], [3]]
    """
    batches = [
        list(dict.fromkeys(rows[first : first + batch_size])) for first in range(0, len(rows), batch_size)
    ]
    with_rows = set(rows)
    left = [clip for clip in clips if clip not in with_rows]
    return batches + [left[first : first + batch_size] for first in range(0, len(left), batch_size)]


def evaluate(config: EvaluateConfig) -> RetrievalReport:
    """Load the model, evaluate the manifest's clips, print both tables, and write what was asked for."""
    from ml_clap.models.loading import load_model
    from ml_clap.models.with_tower import with_text_tower

    check_figure_path(config.plot)
    check_model(config.model)
    bad_rows: list[BadRow] = []
    there = read_split(config.data, config.split, language=config.language, bad_rows=bad_rows)
    clips = there[: config.limit]
    choose_languages(clips, config.languages)  # a mistake shows before the model is loaded
    model = load_model(
        config.model,
        device=config.device,
        dtype=config.dtype,
        mode="reference" if config.reference else None,
    )
    model = with_text_tower(model, config.text_tower)
    with show_progress("Encoding clips") as progress:
        report = evaluate_retrieval(
            model,
            clips,
            config.languages,
            num_captions=config.num_captions,
            num_samples=config.bootstrap,
            seed=config.seed,
            seconds_per_batch=config.seconds_per_batch,
            num_workers=config.num_workers,
            reference_batch_size=config.batch_size if config.reference else None,
            channel=config.channel,
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
            progress=progress,
        )
    notices = (*say_limit(len(there), config.limit), *report.notices)
    report = dataclasses.replace(report, bad_rows=tuple(bad_rows), notices=notices)
    with tables_beside_json(config.json):
        print_retrieval(report)
    if config.json is not None:
        write_json(config.json, describe_run(model, config) | {"results": report})
    if config.plot is not None:
        save_figure(plot_retrieval(report), config.plot)
    return report


def evaluate_verb(config: EvaluateConfig) -> int:
    """Evaluate, and return 1 if files or lines of the manifest had to be skipped."""
    with hold_outputs(config.json, config.plot):
        report = evaluate(config)
    return int(bool(report.bad_files or report.bad_rows))


def _gather(
    clips: Sequence[Clip], language: str, num_captions: int | None, without: Iterable[int]
) -> _Queries:
    left_out = set(without)
    queries = _Queries([], [], [])
    for number, clip in enumerate(clips):
        texts = clip.captions.get(language, ())[:num_captions]
        if texts and number not in left_out:
            queries.owner.extend([len(queries.clips)] * len(texts))
            queries.texts.extend(texts)
            queries.clips.append(number)
    return queries


def _count_shared(queries: _Queries) -> int:
    clips_of = Counter(text for text, _ in set(zip(queries.texts, queries.owner, strict=True)))
    return sum(clips_of[text] > 1 for text in queries.texts)


def _check_queries(codes: Sequence[str], queries: Sequence[_Queries], bad: Sequence[BadFile]) -> None:
    for code, asked in zip(codes, queries, strict=True):
        if not asked.clips:
            raise ValueError(
                f"none of the clips with captions in {code} could be read; the first: {bad[0].reason}"
            )


def _number_clips(ranking: Ranking, clips: Sequence[int]) -> Ranking:
    """Return the ranking with the numbers that clips have in the whole list, which all languages share."""
    return dataclasses.replace(ranking, clips=np.asarray(clips)[ranking.clips])


def _summarize(rankings: Sequence[Ranking], num_samples: int, seed: int) -> list[RetrievalMetrics]:
    """Return the metrics of one direction in each language, and their average."""
    metrics = [summarize(ranking) for ranking in rankings]
    metrics.append(average_metrics(metrics))
    if not num_samples:
        return metrics
    by_language, average = bootstrap(rankings, num_samples=num_samples, seed=seed)
    return [
        dataclasses.replace(values, intervals=intervals)
        for values, intervals in zip(metrics, [*by_language, average], strict=True)
    ]
