"""Classification of audio by descriptions of the classes, in any language: `ml-clap classify`.

A class is the mean of the embeddings of its descriptions in one language (prompt ensembling), normalized; a
clip belongs to the class of highest cosine. A tie with a wrong class counts as wrong, so that embeddings
that tell nothing apart recognize nothing. Of clips that have several classes the ranking is measured instead
(`ml_clap.evaluators.multi_label`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from audio_common.config import Channel
from audio_common.files import find_audio
from audio_common.prefetch import AudioSpan, BadFile
from audio_common.workers import DecodeLimits

from ml_clap.config.classify import ClassifyConfig
from ml_clap.data.folders import say_not_sound
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import BadRow, read_split
from ml_clap.data.prompts import Prompts, choose_prompts, prompts_of_labels, read_prompts, read_templates
from ml_clap.evaluators.captions import recordings_of
from ml_clap.evaluators.charts import check_figure_path
from ml_clap.evaluators.multi_label import labels_of, measure_ranking, tag_matrix
from ml_clap.evaluators.report import describe_run, print_zero_shot, say_limit
from ml_clap.evaluators.result_charts import plot_confusion, plot_zero_shot
from ml_clap.evaluators.results import Accuracy, Interval, Prediction, ZeroShotReport
from ml_clap.evaluators.retrieval import TIE
from ml_clap.evaluators.statistics import estimate, wilson
from ml_clap.figures import save_figure
from ml_clap.files import is_stream, write_json
from ml_clap.lock import hold_outputs
from ml_clap.models.encoding import Progress, embed_labels, encode_files, evaluation_mode
from ml_clap.models.loading import check_model
from ml_clap.tables import show_progress, tables_beside_json

if TYPE_CHECKING:
    from ml_clap.data.manifest import Clip
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText

UNLABELLED, SKIPPED, SEVERAL = -1, -2, -3
"""In the place of a clip's class."""


def classify_clips(
    model: DualEncoder,
    clips: Sequence[Clip | Path],
    prompts: Prompts,
    languages: Sequence[str] | None = None,
    *,
    prompt_indices: Sequence[int] = (),
    top_k: int = 3,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    channel: Channel | None = None,
    decode_limits: DecodeLimits | None = None,
    progress: Progress | None = None,
    num_samples: int = 0,
    seed: int = 0,
    recordings: Sequence[str] | None = None,
) -> ZeroShotReport:
    """Classify clips, each encoded once; leaves the model in the mode it was in.

    Args:
        model: what to evaluate.
        clips: clips whose `label`, where they have one, is the truth, or files.
        prompts: the classes.
        languages: see `choose_prompts`.
        prompt_indices: see `choose_prompts`.
        top_k: labels given for each clip without a label.
        seconds_per_batch: seconds of audio encoded at once.
        num_workers: threads that read files.
        channel: what is made of several channels; default: the model's.
        decode_limits: of time and memory, in processes that decode; None: in threads of this one.
        progress: called with the numbers of clips done and of all.
        num_samples: bootstrap draws for the interval of the mean over languages; 0 for none.
        seed: seed for bootstrap sampling.
        recordings: what each clip was cut from: with draws, all intervals resample these.

    Raises:
        ValueError: a clip's label is none of the prompts', or nothing could be read.
    """
    chosen = choose_prompts(prompts, languages, prompt_indices)
    labels = list(prompts)
    truth = _true_classes(clips, labels)
    tags = tag_matrix(clips, labels)
    paths = [clip if isinstance(clip, Path) else clip.audio for clip in clips]
    complaints: list[BadFile] = []
    with evaluation_mode(model):
        audio, bad = encode_files(
            model,
            [AudioSpan(path) for path in paths],
            seconds_per_batch=seconds_per_batch,
            num_workers=num_workers,
            channel=channel,
            decode_limits=decode_limits,
            complaints=complaints,
            progress=progress,
        )
        cut: dict[str, CutText] = {}
        scores = {
            code: (audio @ embed_labels(model, described, code, cut=cut).T).numpy()
            for code, described in chosen.items()
        }
    if len(bad) == len(clips):
        raise ValueError(f"none of the {len(clips)} sounds could be read; the first: {bad[0].reason}")
    truth[[file.index for file in bad]] = SKIPPED  # neither right nor wrong
    labelled, unlabelled = truth >= 0, np.flatnonzero(truth == UNLABELLED)
    results = {
        code: measure_accuracy(cosines[labelled], truth[labelled], labels)
        for code, cosines in scores.items()
        if labelled.any()
    }
    drawn = _draw_intervals(scores, truth, labelled, recordings, num_samples, seed)
    if recordings is not None:
        results = {
            code: dataclasses.replace(found, interval=drawn.get(code, found.interval))
            for code, found in results.items()
        }
    return ZeroShotReport(
        labels=labels,
        languages=results,
        average_interval=drawn.get(""),
        average=float(np.mean([result.accuracy for result in results.values()])) if results else None,
        num_clips=int(labelled.sum()),
        predictions=[
            Prediction(paths[place], code, _top(cosines[place], labels, top_k))
            for place in unlabelled
            for code, cosines in scores.items()
        ],
        bad_files=tuple(bad),
        complaints=tuple(complaints),
        multi_label={
            code: measure_ranking(cosines[truth == SEVERAL], tags[truth == SEVERAL], labels)
            for code, cosines in scores.items()
            if (truth == SEVERAL).any()
        },
        notices=tuple(
            notice
            for notice in (
                _say_left_out(prompts, chosen, languages, prompt_indices),
                model.describe_cut(list(cut.values())),
            )
            if notice
        ),
    )


def _draw_intervals(
    scores: Mapping[str, np.ndarray],
    truth: np.ndarray,
    labelled: np.ndarray,
    recordings: Sequence[str] | None,
    num_samples: int,
    seed: int,
) -> dict[str, Interval]:
    """Return the interval of each language's accuracy, and, by the name "", that of their mean."""
    if not num_samples or not labelled.any():
        return {}
    clusters = np.asarray(recordings or range(len(truth)))[labelled]
    correct = {
        code: 100.0 * is_correct(cosines[labelled], truth[labelled]) for code, cosines in scores.items()
    }
    correct[""] = np.mean(list(correct.values()), axis=0)
    found = {
        code: estimate(values, clusters, num_samples=num_samples, seed=seed, is_percentage=True).interval
        for code, values in correct.items()
    }
    return {code: interval for code, interval in found.items() if interval is not None}


def _say_left_out(
    prompts: Prompts,
    chosen: Mapping[str, Sequence[Sequence[str]]],
    languages: Sequence[str] | None,
    prompt_indices: Sequence[int],
) -> str:
    """Say what of the prompts is not used; nothing where all is, or the caller chose languages."""
    there = {code for texts in prompts.values() for code in texts}
    if not languages and (missing := sorted(there - set(chosen))):
        return f"not every class has a description in {', '.join(missing)}: not used"
    total = sum(len(texts[code]) for texts in prompts.values() for code in chosen)
    used = sum(len(texts) for described in chosen.values() for texts in described)
    if prompt_indices and used < total:
        return f"{total - used:,} of {total:,} descriptions are left out (--prompt_indices)"
    return ""


def is_correct(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return `(clips,)` bool: the true class's score `(clips, labels)` is above every other's, not equal."""
    rows = np.arange(len(truth))
    others = scores.copy()
    others[rows, truth] = -np.inf  # not the class itself
    return scores[rows, truth] > others.max(axis=1) + TIE


def measure_accuracy(scores: np.ndarray, truth: np.ndarray, labels: Sequence[str]) -> Accuracy:
    """Return accuracy with Wilson's 95 % interval, recalls and confusions.

    Args:
        scores: `(clips, labels)` cosines.
        truth: `(clips,)` indices into `labels`.
        labels: names of the classes.
    """
    correct = is_correct(scores, truth)
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (truth, scores.argmax(axis=1)), 1)
    recall = {labels[label]: 100.0 * float(correct[truth == label].mean()) for label in np.unique(truth)}
    interval = wilson(int(correct.sum()), len(correct))
    return Accuracy(100.0 * float(correct.mean()), interval, recall, confusion.tolist())


def classify(config: ClassifyConfig) -> ZeroShotReport:
    """Load the model, classify the clips, print the tables, and write what was asked for."""
    from ml_clap.models.loading import load_model
    from ml_clap.models.with_tower import with_text_tower

    check_figure_path(config.plot)
    check_figure_path(config.confusion)
    check_model(config.model)
    bad_rows: list[BadRow] = []
    there = find_clips(config.data, config.split, language=config.language, bad_rows=bad_rows)
    clips = there[: config.limit]
    prompts = _prompts_of(config)
    # Mistakes show before the model is loaded.
    choose_prompts(prompts, config.languages, config.prompt_indices)
    truth = _true_classes(clips, list(prompts))
    recordings = None if config.recording is None else _recordings(clips, config.recording)
    if not (truth >= 0).any():
        for name in ("plot", "confusion"):
            if getattr(config, name) is not None:
                raise ValueError(f"{name}: no clip has a label of its own, so there is no accuracy to draw")
    model = load_model(config.model, device=config.device, dtype=config.dtype)
    model = with_text_tower(model, config.text_tower)
    with show_progress("Encoding clips") as progress:
        report = classify_clips(
            model,
            clips,
            prompts,
            config.languages,
            prompt_indices=config.prompt_indices,
            top_k=config.top_k,
            seconds_per_batch=config.seconds_per_batch,
            num_workers=config.num_workers,
            channel=config.channel,
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
            progress=progress,
            num_samples=config.bootstrap,
            seed=config.seed,
            recordings=recordings,
        )
    passed_over = [notice for source in config.data for notice in say_not_sound(source)]
    notices = (*say_limit(len(there), config.limit), *passed_over, *report.notices)
    report = dataclasses.replace(report, bad_rows=tuple(bad_rows), notices=notices)
    with tables_beside_json(config.json):
        print_zero_shot(report)
    if config.json is not None:
        write_json(config.json, describe_run(model, config) | {"results": report})
    if config.plot is not None and report.languages:
        save_figure(plot_zero_shot(report), config.plot)
    if config.confusion is not None and report.languages:
        save_figure(plot_confusion(report), config.confusion)
    return report


def classify_verb(config: ClassifyConfig) -> int:
    """Classify, and return 1 if files or lines of manifests had to be skipped."""
    with hold_outputs(config.json, config.plot, config.confusion):
        report = classify(config)
    return int(bool(report.bad_files or report.bad_rows))


def _prompts_of(config: ClassifyConfig) -> Prompts:
    languages = config.languages or (config.language,)
    templates = read_templates(config.prompt, languages)
    # One word that is a file of labels, not a label.
    is_file = len(config.labels) == 1 and os.path.isfile(config.labels[0])
    if config.prompts is None and not is_file:
        return prompts_of_labels(config.labels, languages, templates)
    path = Path(config.labels[0]) if config.prompts is None else config.prompts
    prompts = read_prompts(path, languages, templates)
    # Descriptions of the file's own are the same whatever the sentence for labels.
    marked = [{resolve(tag): f"{{}}{mark}" for tag in languages} for mark in "!?"]
    if config.prompt and read_prompts(path, languages, marked[0]) == read_prompts(path, languages, marked[1]):
        raise ValueError(
            f"prompt: the classes of {path} have descriptions of their own: no label is put into it"
        )
    return prompts


def _recordings(clips: Sequence[Clip | Path], key: str) -> list[str]:
    """Return the recording of each clip; a file that is in no manifest is one by itself."""
    return [str(clip) if isinstance(clip, Path) else recordings_of([clip], key)[0] for clip in clips]


def find_clips(
    sources: Sequence[Path],
    split: str | None = None,
    *,
    language: str = "eng_Latn",
    bad_rows: list[BadRow] | None = None,
) -> list[Clip | Path]:
    """Return the clips of manifests (`.jsonl`), the audio of folders (read recursively), and files, in order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder without sound, or a manifest that cannot be used.
    """
    clips: list[Clip | Path] = []
    for source in sources:
        if source.suffix.lower() == ".jsonl" or is_stream(source):
            clips += read_split(source, split, language=language, bad_rows=bad_rows)
        elif source.is_dir():
            found = find_audio(source.absolute())
            if not found:
                raise ValueError(f"there is no sound in {source}")
            clips += found
        elif source.is_file():
            clips.append(source)
        else:
            raise FileNotFoundError(
                f"{source} is neither a manifest (.jsonl), nor a folder, nor a sound file"
            )
    return clips


def _true_classes(clips: Sequence[Clip | Path], labels: Sequence[str]) -> np.ndarray:
    """Return `(clips,)` int64: the index of each clip's label in `labels`, UNLABELLED or SEVERAL."""
    if not clips:
        raise ValueError("there is no sound to classify")
    names = [None if isinstance(clip, Path) else clip.label for clip in clips]
    unknown = sorted({name for name in names if name is not None and name not in labels})
    if unknown:
        raise ValueError(
            f"the clips' label {unknown[0]!r} is none of the prompts' ({', '.join(labels)}); "
            f"{len(unknown)} such labels: add their descriptions"
        )
    places = {label: place for place, label in enumerate(labels)}
    without = [UNLABELLED if labels_of(clip) is None else SEVERAL for clip in clips]
    return np.array(
        [code if name is None else places[name] for code, name in zip(without, names, strict=True)]
    )


def _top(scores: np.ndarray, labels: Sequence[str], top_k: int) -> list[tuple[str, float]]:
    return [(labels[place], float(scores[place])) for place in np.argsort(-scores, kind="stable")[:top_k]]
