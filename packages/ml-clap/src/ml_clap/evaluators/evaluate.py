"""Retrieval between sounds and captions, in each language: `ml-clap evaluate`.

Each clip is encoded once for all its captions and languages, each distinct caption once. A language is
evaluated on the clips that have captions in it; the tables say how many.

With `reference` the model runs as the authors' evaluation does: their audio front end and text rule, and
batches that are cut in file order from one row for each caption, whose clips are padded with zeros to the
longest and share one dB floor. The batch size is then part of the result.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from audio_common.config import Channel
from audio_common.prefetch import AudioSpan, BadFile
from audio_common.workers import DecodeLimits

from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.data.manifest import BadRow, Clip, read_split
from ml_clap.data.rewording import Kind, languages_of
from ml_clap.data.sources import Sources, read_split_anywhere
from ml_clap.evaluators.captions import (
    Queries,
    check_queries,
    choose_languages,
    count_shared,
    gather,
    recordings_of,
    reference_batches,
    say_left_out,
)
from ml_clap.evaluators.charts import check_figure_path
from ml_clap.evaluators.consistency import LanguageHits, first_hits, measure_consistency
from ml_clap.evaluators.moment_evaluation import find_moments
from ml_clap.evaluators.positives import clips_with, rank_equal_captions
from ml_clap.evaluators.report import (
    describe_run,
    print_retrieval,
    say_limit,
)
from ml_clap.evaluators.result_charts import plot_languages, plot_retrieval
from ml_clap.evaluators.results import (
    Consistency,
    RetrievalMetrics,
    RetrievalReport,
    RetrievalResult,
    Rewording,
    figures_of,
)
from ml_clap.evaluators.retrieval import Ranking, rank_audio_to_text, rank_text_to_audio
from ml_clap.evaluators.robustness import compare_wordings, reword_all
from ml_clap.evaluators.statistics import average_metrics, bootstrap, summarize
from ml_clap.figures import save_figure
from ml_clap.files import write_json
from ml_clap.lock import hold_outputs
from ml_clap.models.checkpoint import find_model
from ml_clap.models.encoding import UNHEARD, Progress, encode_files, encode_texts, evaluation_mode
from ml_clap.models.loading import check_model
from ml_clap.output import printable
from ml_clap.tables import count_of, show_progress, tables_beside_json

if TYPE_CHECKING:
    from torch import Tensor

    from ml_clap.data.shards.reading import Place
    from ml_clap.evaluators.by_ray import Embedded
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Draws:
    """How intervals are drawn."""

    recordings: np.ndarray
    """`(clips,)` the number of each clip's recording."""
    num_samples: int
    seed: int


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
    equal_captions: bool = False,
    rewordings: Sequence[Kind] = (),
    recordings: Sequence[str] | None = None,
    embedded: Embedded | None = None,
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
        equal_captions: count captions that are equal word for word as right for each other's clips.
        rewordings: kinds of other wordings to compare with the captions as they are.
        recordings: what each clip was cut from: intervals resample these; default: each clip by itself.
        embedded: embeddings of the clips and their captions that were made elsewhere, instead of making them.

    Raises:
        ValueError: no captions in a language, or nothing that could be read.
    """
    began = time.monotonic()
    codes = choose_languages(clips, languages)
    batches = None
    if reference_batch_size is not None:
        first = gather(clips, codes[0], num_captions, ())
        rows = [first.clips[place] for place in first.owner]
        batches = reference_batches(rows, range(len(clips)), reference_batch_size)
    complaints: list[BadFile] = []
    embed_texts = encode_texts if embedded is None else embedded.encode_texts
    with evaluation_mode(model):
        if embedded is not None:
            audio, bad, complaints = embedded.audio, embedded.bad, embedded.complaints
        else:
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
        queries = [gather(clips, code, num_captions, {file.index for file in bad}) for code in codes]
        check_queries(codes, queries, bad)
        cut: dict[str, CutText] = {}
        captions = [
            embed_texts(model, asked.texts, code, cut=cut) for code, asked in zip(codes, queries, strict=True)
        ]
        draws = _Draws(_number(recordings or range(len(clips))), num_samples, seed)

        def rewritten(texts: Sequence[str], code: str) -> Tensor:
            return embed_texts(model, texts, code)

        robustness: dict[str, dict[str, Rewording]] = {
            kind: {
                code: compared
                for code, asked, plain in zip(codes, queries, captions, strict=True)
                if (compared := _reworded(rewritten, audio, asked, plain, code, kind, equal_captions, draws))
            }
            for kind in rewordings
        }
    to_audio, to_text = [], []
    for asked, embeddings in zip(queries, captions, strict=True):
        found = audio[asked.clips].to(model.device), embeddings.to(model.device), asked.owner
        if equal_captions:
            ways = rank_equal_captions(*found, asked.texts)
        else:
            ways = rank_text_to_audio(*found), rank_audio_to_text(*found)
        to_audio.append(_number_clips(ways[0], asked.clips))
        to_text.append(_number_clips(ways[1], asked.clips))
    comparable = len(codes) > 1 and all(asked.counts == queries[0].counts for asked in queries)
    # In each direction the metrics of every language, then their average.
    directions = [_summarize(rankings, draws) for rankings in (to_audio, to_text)]
    shared = [count_shared(asked) for asked in queries]
    *results, average = (
        RetrievalResult(*both) for both in zip(*directions, [*shared, sum(shared)], strict=True)
    )
    return RetrievalReport(
        languages=dict(zip(codes, results, strict=True)),
        average=average,
        consistency=_compare_languages(audio, queries, captions, to_audio, draws) if comparable else None,
        num_clips=len(clips) - len(bad),
        bad_files=tuple(bad),
        complaints=tuple(complaints),
        seconds=time.monotonic() - began,
        equal_captions=equal_captions,
        robustness=robustness,
        notices=tuple(
            notice
            for notice in (
                say_left_out(clips, codes, num_captions),
                *(_say_no_rules(kind, codes) for kind in rewordings),
                model.describe_cut(list(cut.values())),
                _say_unheard(complaints),
            )
            if notice
        ),
    )


def _say_unheard(complaints: Sequence[BadFile]) -> str:
    """Say how many clips the authors' code does not hear whole; nothing where it does."""
    clips = {complaint.index for complaint in complaints if complaint.reason.endswith(UNHEARD)}
    return (
        f"of {count_of(len(clips), 'long clip')} the last piece is not heard (--reference)" if clips else ""
    )


def evaluate(config: EvaluateConfig) -> RetrievalReport:
    """Load the model, evaluate the manifest's clips, print the tables, and write what was asked for."""
    from ml_clap.models.loading import load_model
    from ml_clap.models.with_tower import with_text_tower

    check_figure_path(config.plot)
    check_figure_path(config.heat_map, "heat_map")
    check_model(config.model)
    bad_rows: list[BadRow] = []
    sources = _read(config, bad_rows)
    there = sources.clips
    clips = there[: config.limit]
    # Mistakes show before the model is loaded.
    choose_languages(clips, config.languages)
    recordings = None if config.recording is None else recordings_of(clips, config.recording)
    model = load_model(
        config.model,
        device=config.device,
        dtype=config.dtype,
        mode="reference" if config.reference else None,
    )
    model = with_text_tower(model, config.text_tower)
    with show_progress("Encoding clips") as progress:
        embedded = None
        if config.engine == "ray":
            embedded = _embed_by_ray(config, model, clips, sources.places, progress)
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
            equal_captions=config.equal_captions,
            rewordings=config.rewordings,
            recordings=recordings,
            embedded=embedded,
        )
    notices = (*say_limit(len(there), config.limit), *report.notices)
    report = dataclasses.replace(report, bad_rows=tuple(bad_rows), notices=notices)
    with tables_beside_json(config.json):
        print_retrieval(report)
    if config.json is not None:
        write_json(config.json, describe_run(model, config) | {"results": report})
    _draw(report, config)
    if config.card:
        logger.info("card: %s", printable(add_to_card(config, report)))
    return report


def _read(config: EvaluateConfig, bad_rows: list[BadRow]) -> Sources:
    if config.engine == "ray":
        return read_split_anywhere(config.data, config.split, language=config.language, bad_rows=bad_rows)
    return Sources(read_split(config.data, config.split, language=config.language, bad_rows=bad_rows))


def _embed_by_ray(
    config: EvaluateConfig,
    model: DualEncoder,
    clips: Sequence[Clip],
    places: Mapping[int, Place],
    progress: Progress,
) -> Embedded:
    from ml_clap.evaluators.by_ray import EmbeddingSettings, embed_by_ray, texts_of

    codes = choose_languages(clips, config.languages)
    found = find_model(config.model)
    settings = EmbeddingSettings(
        model=str(Path(found).absolute() if Path(found).exists() else found),
        fingerprint=model.fingerprint(),
        text_tower=config.text_tower and config.text_tower.absolute(),
        device=config.device,
        dtype=config.dtype,
        channel=config.channel,
        seconds_per_batch=config.seconds_per_batch,
        num_workers=config.num_workers,
        decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
    )
    return embed_by_ray(
        clips,
        places,
        texts_of(clips, codes, config.num_captions, config.rewordings),
        settings,
        config.ray,
        place=config.ray.parts or f"{Path(str(config.json)).absolute()}.parts",
        progress=progress,
    )


def add_to_card(config: EvaluateConfig, report: RetrievalReport) -> Path:
    """Add the scores to the card of `config.model`, and return the card's path."""
    from ml_clap.models.card import add_scores
    from ml_clap.models.card_parts import Score

    scores = []
    for figure in figures_of(report, ("r1", "r10", "map10")):
        low, high = figure.interval or (None, None)
        scores.append(
            Score(
                metric=figure.metric,
                value=figure.value,
                low=low,
                high=high,
                data=config.data.name,
                split=" ".join(filter(None, (config.split, figure.language))) or None,
                count=report.num_clips,
            )
        )
    return add_scores(Path(find_model(config.model)), scores)


def _draw(report: RetrievalReport, config: EvaluateConfig) -> None:
    if config.plot is not None:
        save_figure(plot_retrieval(report), config.plot)
    if config.heat_map is not None:
        save_figure(plot_languages(report), config.heat_map)
    if config.heat_map is not None and report.consistency is None and len(report.languages) > 1:
        logger.warning(
            "the heat map lacks the hits in common: languages are compared caption by caption, and not every "
            "clip has as many captions in each; --languages or --num_captions chooses what can be compared"
        )


def evaluate_verb(config: EvaluateConfig) -> int:
    """Evaluate, and return 1 if files or lines of the manifest had to be skipped."""
    with hold_outputs(config.json, config.plot, config.heat_map):
        report = find_moments(config) if config.moments else evaluate(config)
    return int(bool(report.bad_files or report.bad_rows))


def _number_clips(ranking: Ranking, clips: Sequence[int]) -> Ranking:
    """Return the ranking with the numbers that clips have in the whole list, which all languages share."""
    return dataclasses.replace(ranking, clips=np.asarray(clips)[ranking.clips])


def _number(recordings: Iterable[str | int]) -> np.ndarray:
    """Return the number of each clip's recording; equal ones have one number."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(one, len(numbers)) for one in recordings])


def _summarize(rankings: Sequence[Ranking], draws: _Draws) -> list[RetrievalMetrics]:
    """Return the metrics of one direction in each language, and their average."""
    metrics = [summarize(ranking) for ranking in rankings]
    metrics.append(average_metrics(metrics))
    if not draws.num_samples:
        return metrics
    by_language, average = bootstrap(
        rankings, num_samples=draws.num_samples, seed=draws.seed, recordings=draws.recordings
    )
    return [
        dataclasses.replace(values, intervals=intervals)
        for values, intervals in zip(metrics, [*by_language, average], strict=True)
    ]


def _compare_languages(
    audio: Tensor,
    queries: Sequence[Queries],
    captions: Sequence[Tensor],
    rankings: Sequence[Ranking],
    draws: _Draws,
) -> Consistency:
    """Measure the consistency of languages whose clips and counts of captions are the same."""
    sounds = audio[queries[0].clips]
    hits = [
        LanguageHits(ranking.ranks, first_hits(sounds, embeddings), embeddings)
        for ranking, embeddings in zip(rankings, captions, strict=True)
    ]
    clusters = draws.recordings[rankings[0].clips]
    return measure_consistency(hits, clusters, num_samples=draws.num_samples, seed=draws.seed)


def _reworded(
    embed: Callable[[Sequence[str], str], Tensor],
    audio: Tensor,
    asked: Queries,
    plain: Tensor,
    code: str,
    kind: Kind,
    equal_captions: bool,
    draws: _Draws,
) -> Rewording | None:
    """Compare the captions of a language with their rewordings; None where it has no rules of this kind."""
    places, texts = reword_all(asked.texts, code, kind)
    if not places:
        return None
    owner = [asked.owner[place] for place in places]
    right = clips_with(asked.texts, asked.owner, len(asked.clips))[places] if equal_captions else None
    return compare_wordings(
        audio[asked.clips],
        plain[places],
        embed(texts, code),
        owner,
        draws.recordings[np.array(asked.clips)[owner]],
        right=right,
        num_samples=draws.num_samples,
        seed=draws.seed,
    )


def _say_no_rules(kind: Kind, codes: Sequence[str]) -> str:
    """Say which languages have no rewordings of a kind; nothing where all have."""
    missing = [code for code in codes if code not in languages_of(kind)]
    return f"there are no rules for {kind} in {', '.join(missing)}: not reworded" if missing else ""
