"""Evaluation of retrieval between sounds and captions, from clips to figures, in each language.

Each clip is encoded once for all its captions and languages, each distinct caption once. A language is
evaluated on the clips that have captions in it; the tables say how many.

In the reference mode the model runs as the authors' evaluation does: their audio front end and text rule, and
batches that are cut in file order from one row for each caption, whose clips are padded with zeros to the
longest and share one dB floor. The batch size is then part of the result.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from audio_common.config import Channel
from audio_common.prefetch import AudioSpan, BadFile
from audio_common.workers import DecodeLimits

from ml_clap.data.manifest import Clip
from ml_clap.data.rewording import Kind, languages_of
from ml_clap.evaluators.captions import (
    Queries,
    check_queries,
    choose_languages,
    count_shared,
    gather,
    reference_batches,
    say_left_out,
)
from ml_clap.evaluators.consistency import LanguageHits, first_hits, measure_consistency
from ml_clap.evaluators.positives import clips_with, rank_equal_captions
from ml_clap.evaluators.results import (
    Consistency,
    RetrievalMetrics,
    RetrievalReport,
    RetrievalResult,
    Rewording,
)
from ml_clap.evaluators.retrieval import Ranking, rank_audio_to_text, rank_text_to_audio
from ml_clap.evaluators.robustness import compare_wordings, reword_all
from ml_clap.evaluators.statistics import average_metrics, bootstrap, summarize
from ml_clap.models.encoding import UNHEARD, Progress, encode_files, encode_texts, evaluation_mode
from ml_clap.tables import count_of

if TYPE_CHECKING:
    from torch import Tensor

    from ml_clap.evaluators.by_ray import Embedded
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText

EmbedTexts = Callable[..., "Tensor"]
"""Texts and their language -> `(texts, dim)`; those that were cut go into `cut`."""


@dataclass(frozen=True)
class _Draws:
    """How intervals are drawn."""

    recordings: np.ndarray
    """`(clips,)` the number of each clip's recording."""
    num_samples: int
    seed: int


@dataclass(frozen=True)
class _Asked:
    """What is asked in one language."""

    code: str
    queries: Queries
    captions: Tensor
    """`(captions, dim)` their embeddings."""


def _cut_batches(
    clips: Sequence[Clip], code: str, num_captions: int | None, batch_size: int | None
) -> list[list[int]] | None:
    """Return the clips of each batch of the authors' evaluation; None for batches by length."""
    if batch_size is None:
        return None
    queries = gather(clips, code, num_captions, ())
    rows = [queries.clips[place] for place in queries.owner]
    return reference_batches(rows, range(len(clips)), batch_size)


def _number(recordings: Iterable[str | int]) -> np.ndarray:
    """Return the number of each clip's recording; equal ones have one number."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(one, len(numbers)) for one in recordings])


def _rank(
    asked: Sequence[_Asked], audio: Tensor, model: DualEncoder, equal_captions: bool
) -> tuple[list[Ranking], list[Ranking]]:
    """Return the rankings of each language: text to audio, and audio to text."""
    to_audio, to_text = [], []
    for one in asked:
        clips = one.queries.clips
        found = audio[clips].to(model.device), one.captions.to(model.device), one.queries.owner
        if equal_captions:
            ways = rank_equal_captions(*found, one.queries.texts)
        else:
            ways = rank_text_to_audio(*found), rank_audio_to_text(*found)
        to_audio.append(_number_clips(ways[0], clips))
        to_text.append(_number_clips(ways[1], clips))
    return to_audio, to_text


def _number_clips(ranking: Ranking, clips: Sequence[int]) -> Ranking:
    """Return the ranking with the numbers that clips have in the whole list, which all languages share."""
    return dataclasses.replace(ranking, clips=np.asarray(clips)[ranking.clips])


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


def _list_results(
    asked: Sequence[_Asked], to_audio: Sequence[Ranking], to_text: Sequence[Ranking], draws: _Draws
) -> list[RetrievalResult]:
    """Return the results of every language, then their average."""
    shared = [count_shared(one.queries) for one in asked]
    columns = _summarize(to_audio, draws), _summarize(to_text, draws), [*shared, sum(shared)]
    return [RetrievalResult(*values) for values in zip(*columns, strict=True)]


def _compare_languages(
    audio: Tensor, asked: Sequence[_Asked], rankings: Sequence[Ranking], draws: _Draws
) -> Consistency | None:
    """Measure the consistency of languages; None where their clips or counts of captions differ."""
    first = asked[0].queries
    if len(asked) < 2 or any(one.queries.counts != first.counts for one in asked):
        return None
    sounds = audio[first.clips]
    hits = [
        LanguageHits(ranking.ranks, first_hits(sounds, one.captions), one.captions)
        for ranking, one in zip(rankings, asked, strict=True)
    ]
    clusters = draws.recordings[rankings[0].clips]
    return measure_consistency(hits, clusters, num_samples=draws.num_samples, seed=draws.seed)


def _compare_wordings(
    one: _Asked, audio: Tensor, kind: Kind, embed: EmbedTexts, equal_captions: bool, draws: _Draws
) -> Rewording | None:
    """Compare the captions of a language with their rewordings; None where it has no rules of this kind."""
    queries = one.queries
    places, texts = reword_all(queries.texts, one.code, kind)
    if not places:
        return None
    owner = [queries.owner[place] for place in places]
    right = clips_with(queries.texts, queries.owner, len(queries.clips))[places] if equal_captions else None
    return compare_wordings(
        audio[queries.clips],
        one.captions[places],
        embed(texts, one.code),
        owner,
        draws.recordings[np.array(queries.clips)[owner]],
        right=right,
        num_samples=draws.num_samples,
        seed=draws.seed,
    )


def _reword(
    asked: Sequence[_Asked], audio: Tensor, kind: Kind, embed: EmbedTexts, equal_captions: bool, draws: _Draws
) -> dict[str, Rewording]:
    """Compare the captions with their rewordings of a kind, in each language that has rules for it."""
    compared = {one.code: _compare_wordings(one, audio, kind, embed, equal_captions, draws) for one in asked}
    return {code: rewording for code, rewording in compared.items() if rewording is not None}


def _say_no_rules(kind: Kind, codes: Sequence[str]) -> str:
    """Say which languages have no rewordings of a kind; nothing where all have."""
    missing = [code for code in codes if code not in languages_of(kind)]
    return f"there are no rules for {kind} in {', '.join(missing)}: not reworded" if missing else ""


def _say_unheard(complaints: Sequence[BadFile]) -> str:
    """Say how many clips the authors' code does not hear whole; nothing where it does."""
    clips = {complaint.index for complaint in complaints if complaint.reason.endswith(UNHEARD)}
    return (
        f"of {count_of(len(clips), 'long clip')} the last piece is not heard (--reference)" if clips else ""
    )


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
    draws = _Draws(_number(recordings or range(len(clips))), num_samples, seed)
    embed: EmbedTexts = partial(encode_texts if embedded is None else embedded.encode_texts, model)
    cut: dict[str, CutText] = {}
    with evaluation_mode(model):
        if embedded is None:
            complaints: list[BadFile] = []
            audio, bad = encode_files(
                model,
                [AudioSpan(clip.audio) for clip in clips],
                seconds_per_batch=seconds_per_batch,
                num_workers=num_workers,
                progress=progress,
                batches=_cut_batches(clips, codes[0], num_captions, reference_batch_size),
                channel=channel,
                decode_limits=decode_limits,
                complaints=complaints,
            )
        else:
            audio, bad, complaints = embedded.audio, embedded.bad, embedded.complaints
        queries = [gather(clips, code, num_captions, {file.index for file in bad}) for code in codes]
        check_queries(codes, queries, bad)
        pairs = zip(codes, queries, strict=True)
        asked = [_Asked(code, own, embed(own.texts, code, cut=cut)) for code, own in pairs]
        robustness: dict[str, dict[str, Rewording]] = {
            kind: _reword(asked, audio, kind, embed, equal_captions, draws) for kind in rewordings
        }
    to_audio, to_text = _rank(asked, audio, model, equal_captions)
    *results, average = _list_results(asked, to_audio, to_text, draws)
    notices = (
        say_left_out(clips, codes, num_captions),
        *(_say_no_rules(kind, codes) for kind in rewordings),
        model.describe_cut(list(cut.values())),
        _say_unheard(complaints),
    )
    return RetrievalReport(
        languages=dict(zip(codes, results, strict=True)),
        average=average,
        consistency=_compare_languages(audio, asked, to_audio, draws),
        num_clips=len(clips) - len(bad),
        bad_files=tuple(bad),
        complaints=tuple(complaints),
        seconds=time.monotonic() - began,
        equal_captions=equal_captions,
        robustness=robustness,
        notices=tuple(filter(None, notices)),
    )
