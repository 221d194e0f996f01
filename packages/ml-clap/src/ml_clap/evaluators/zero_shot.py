"""Classification of sounds by descriptions of the classes, in any language: `ml-clap classify`.

A class is the mean of the embeddings of its descriptions in one language (prompt ensembling), normalised; a
sound belongs to the class of highest cosine. A tie with a wrong class counts as wrong, so that embeddings
that tell nothing apart recognise nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from audio_common.prefetch import AudioSpan, BadFile
from torch import Tensor

from ml_clap.config.classify import ClassifyConfig
from ml_clap.evaluators.evaluate import choose_device, read_split
from ml_clap.evaluators.prompts import Prompts, choose_prompts, read_prompts
from ml_clap.evaluators.report import (
    check_figure_path,
    describe_run,
    plot_heat_map,
    print_bad_files,
    print_table,
    save_figure,
    show_progress,
    write_json,
)
from ml_clap.evaluators.retrieval import TIE, Interval, bootstrap_mean
from ml_clap.models.encoding import Progress, encode_files, encode_texts, evaluation_mode

UNLABELLED, LEFT_OUT = -1, -2
"""In the place of a clip's class."""

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ml_clap.data.manifest import Clip
    from ml_clap.models.ml_clap import MLCLAP


@dataclass(frozen=True)
class Accuracy:
    """How well the labelled sounds were recognised by descriptions in one language."""

    accuracy: float
    """Percentage of sounds."""
    interval: Interval | None
    """95 % interval; None without bootstrap."""
    recall: dict[str, float]
    """Percentage of each class's sounds, for the classes that have any."""
    confusion: list[list[int]]
    """Sounds by true class (rows) and best-scored class (columns), in the order of `labels`."""


@dataclass(frozen=True)
class Prediction:
    """The best labels of a sound in one language."""

    path: Path
    language: str
    labels: list[tuple[str, float]]
    """(label, cosine), best first; cosines rank the labels and are no probabilities."""


@dataclass(frozen=True)
class ZeroShotReport:
    """What a classification found."""

    labels: list[str]
    """The classes, in the order of the prompts."""
    languages: dict[str, Accuracy]
    """By language code; empty where no sound is labelled."""
    average: float | None
    """Mean accuracy over languages; None where no sound is labelled."""
    num_clips: int
    """Labelled sounds that were classified."""
    predictions: list[Prediction]
    """Of the sounds without a label."""
    bad_files: tuple[BadFile, ...]
    """Sounds left out."""


def embed_labels(model: MLCLAP, descriptions: Sequence[Sequence[str]], language: str) -> Tensor:
    """One embedding a class, `(labels, dim)`, L2-normalised: the mean of those of its descriptions."""
    texts = [text for each in descriptions for text in each]
    parts = encode_texts(model, texts, language).split([len(each) for each in descriptions])
    return F.normalize(torch.stack([each.mean(dim=0) for each in parts]), dim=1)


def classify_clips(
    model: MLCLAP,
    clips: Sequence[Clip | Path],
    prompts: Prompts,
    languages: Sequence[str] | None = None,
    *,
    prompt_indices: Sequence[int] = (),
    top_k: int = 3,
    num_samples: int = 0,
    seed: int = 0,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    progress: Progress | None = None,
) -> ZeroShotReport:
    """Classify sounds, each encoded once; leaves the model in the mode it was in.

    Args:
        model: what to evaluate.
        clips: clips whose `label`, where they have one, is the truth, or files.
        prompts: the classes.
        languages: see `choose_prompts`.
        prompt_indices: see `choose_prompts`.
        top_k: labels given for each sound without a label.
        num_samples: bootstrap draws for the intervals; 0 for none.
        seed: of the draws.
        seconds_per_batch: sound encoded at once.
        num_workers: threads that read files.
        progress: told of clips done and of all.

    Raises:
        ValueError: a clip's label is none of the prompts', or nothing could be read.
    """
    chosen = choose_prompts(prompts, languages, prompt_indices)
    labels = list(prompts)
    truth = _true_classes(clips, labels)
    paths = [clip if isinstance(clip, Path) else clip.audio for clip in clips]
    with evaluation_mode(model):
        audio, bad = encode_files(
            model,
            [AudioSpan(path) for path in paths],
            seconds_per_batch=seconds_per_batch,
            num_workers=num_workers,
            progress=progress,
        )
        scores = {code: (audio @ embed_labels(model, each, code).T).numpy() for code, each in chosen.items()}
    if len(bad) == len(clips):
        raise ValueError(f"none of the {len(clips)} sounds could be read; the first: {bad[0].reason}")
    truth[[file.index for file in bad]] = LEFT_OUT
    labelled, unlabelled = truth >= 0, np.flatnonzero(truth == UNLABELLED)
    results = {
        code: measure_accuracy(each[labelled], truth[labelled], labels, num_samples, seed)
        for code, each in scores.items()
        if labelled.any()
    }
    return ZeroShotReport(
        labels=labels,
        languages=results,
        average=float(np.mean([each.accuracy for each in results.values()])) if results else None,
        num_clips=int(labelled.sum()),
        predictions=[
            Prediction(paths[place], code, _top(each[place], labels, top_k))
            for place in unlabelled
            for code, each in scores.items()
        ],
        bad_files=tuple(bad),
    )


def is_correct(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`(clips,)` bool: whether the true class's score `(clips, labels)` is above every other's, ties not."""
    rows = np.arange(len(truth))
    others = scores.copy()
    others[rows, truth] = -np.inf
    return scores[rows, truth] > others.max(axis=1) + TIE


def measure_accuracy(
    scores: np.ndarray, truth: np.ndarray, labels: Sequence[str], num_samples: int = 0, seed: int = 0
) -> Accuracy:
    """Accuracy, recalls and confusions.

    Args:
        scores: `(clips, labels)` cosines.
        truth: `(clips,)` places in `labels`.
        labels: names of the classes.
        num_samples: bootstrap draws for the interval; 0 for none.
        seed: of the draws.
    """
    correct = is_correct(scores, truth)
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (truth, scores.argmax(axis=1)), 1)
    recall = {labels[each]: 100.0 * float(correct[truth == each].mean()) for each in np.unique(truth)}
    interval = _interval(correct, num_samples, seed)
    return Accuracy(100.0 * float(correct.mean()), interval, recall, confusion.tolist())


def classify(config: ClassifyConfig) -> ZeroShotReport:
    """Load the model, classify the sounds, print the tables, and write what was asked for."""
    from ml_clap.models.ml_clap import MLCLAP

    assert config.prompts is not None
    check_figure_path(config.plot)
    clips = find_clips(config.source, config.split)[: config.max_clips]
    prompts = read_prompts(config.prompts)
    choose_prompts(
        prompts, config.languages, config.prompt_indices
    )  # a mistake shows before the model is loaded
    truth = _true_classes(clips, list(prompts))
    if config.plot is not None and (truth == UNLABELLED).all():
        raise ValueError("plot: no sound has a label, so there is no accuracy to draw")
    model = MLCLAP.from_pretrained(config.model, device=choose_device(config.device))
    with show_progress("Encoding sounds") as progress:
        report = classify_clips(
            model,
            clips,
            prompts,
            config.languages,
            prompt_indices=config.prompt_indices,
            top_k=config.top_k,
            num_samples=config.bootstrap,
            seed=config.seed,
            seconds_per_batch=config.seconds_per_batch,
            num_workers=config.num_workers,
            progress=progress,
        )
    print_report(report)
    if config.json is not None:
        write_json(config.json, describe_run(model, config) | {"results": report})
    if config.plot is not None and report.languages:
        save_figure(plot_report(report), config.plot)
    return report


def find_clips(sources: Sequence[Path], split: str | None = None) -> list[Clip | Path]:
    """The clips of manifests (`.jsonl`), the sounds of folders (read recursively), and files, in order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder without sound, or a manifest that cannot be used.
    """
    from ml_clap.search.scan import scan

    clips: list[Clip | Path] = []
    for source in sources:
        if source.suffix.lower() == ".jsonl":
            clips += read_split(source, split)
        elif source.is_dir():
            found = [each.path for each in scan(source)[0]]
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


def print_report(report: ZeroShotReport) -> None:
    """Accuracies and the labels of sounds without one, on standard output."""
    if report.languages:
        rows = [[code, *_accuracy_cells(each, report.labels)] for code, each in report.languages.items()]
        if len(rows) > 1 and report.average is not None:
            rows.append(["average", f"{report.average:.1f}", "", "", ""])
        count = len(report.labels)
        note = f"{report.num_clips:,} sounds, {count} classes; guessing has {100 / count:.1f} %"
        print_table("Zero-shot accuracy", ["", "%", "95 %", "weakest class", "taken for"], rows, note)
    rows = [
        [each.path.name, each.language, ", ".join(f"{label} {score:.3f}" for label, score in each.labels)]
        for each in report.predictions
    ]
    if rows:
        print_table("Best labels (cosine)", ["file", "in", "labels"], rows)
    print_bad_files(report.bad_files)


def plot_report(report: ZeroShotReport) -> Figure:
    """A heat map of the share of each class that was recognised in each language."""
    columns = list(next(iter(report.languages.values())).recall)
    values = [[each.recall[label] for label in columns] for each in report.languages.values()]
    rows = [f"{code}  {each.accuracy:.1f} %" for code, each in report.languages.items()]
    title = f"Zero-shot accuracy by language and class ({report.num_clips:,} sounds)"
    return plot_heat_map(values, rows, columns, title, "% recognised")


def _true_classes(clips: Sequence[Clip | Path], labels: Sequence[str]) -> np.ndarray:
    """`(clips,)` int64: the place of each clip's label in `labels`, or UNLABELLED."""
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
    return np.array([UNLABELLED if name is None else places[name] for name in names])


def _interval(correct: np.ndarray, num_samples: int, seed: int) -> Interval | None:
    if not num_samples:
        return None
    return bootstrap_mean(100.0 * correct, num_samples=num_samples, seed=seed)


def _top(scores: np.ndarray, labels: Sequence[str], top_k: int) -> list[tuple[str, float]]:
    return [(labels[place], float(scores[place])) for place in np.argsort(-scores, kind="stable")[:top_k]]


def _accuracy_cells(result: Accuracy, labels: Sequence[str]) -> list[str]:
    """Accuracy, its interval, the weakest class and what it was most often taken for."""
    interval = "" if result.interval is None else f"{result.interval[0]:.1f}-{result.interval[1]:.1f}"
    weakest = min(result.recall, key=lambda label: result.recall[label])
    own = list(labels).index(weakest)
    others = {label: n for label, n in zip(labels, result.confusion[own], strict=True) if label != weakest}
    other = max(others, key=lambda label: others[label], default="")
    taken_for = f"{other} ({others[other]})" if others.get(other) else ""
    return [f"{result.accuracy:.1f}", interval, f"{weakest} {result.recall[weakest]:.0f} %", taken_for]
