"""Classification of audio by descriptions of the classes, in any language: `ml-clap classify`.

A class is the mean of the embeddings of its descriptions in one language (prompt ensembling), normalized; a
clip belongs to the class of highest cosine. A tie with a wrong class counts as wrong, so that embeddings
that tell nothing apart recognize nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from audio_common.files import find_audio
from audio_common.prefetch import AudioSpan
from torch import Tensor

from ml_clap.config.classify import ClassifyConfig
from ml_clap.data.manifest import read_split
from ml_clap.data.prompts import Prompts, choose_prompts, read_prompts
from ml_clap.evaluators.figures import check_figure_path, save_figure
from ml_clap.evaluators.report import describe_run, plot_zero_shot, print_zero_shot
from ml_clap.evaluators.results import Accuracy, Prediction, ZeroShotReport
from ml_clap.evaluators.retrieval import TIE
from ml_clap.evaluators.statistics import wilson
from ml_clap.files import is_stream, write_json
from ml_clap.models.device import choose_device, choose_dtype
from ml_clap.models.encoding import Progress, encode_files, encode_texts, evaluation_mode
from ml_clap.tables import show_progress, tables_beside_json

if TYPE_CHECKING:
    from ml_clap.data.manifest import Clip
    from ml_clap.models.ml_clap import MLCLAP

UNLABELLED, SKIPPED = -1, -2
"""In the place of a clip's class."""


def embed_labels(model: MLCLAP, descriptions: Sequence[Sequence[str]], language: str) -> Tensor:
    """Return one embedding a class, `(labels, dim)`, L2-normalized: the mean of those of its descriptions."""
    texts = [text for described in descriptions for text in described]
    parts = encode_texts(model, texts, language).split([len(described) for described in descriptions])
    return F.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=1)


def classify_clips(
    model: MLCLAP,
    clips: Sequence[Clip | Path],
    prompts: Prompts,
    languages: Sequence[str] | None = None,
    *,
    prompt_indices: Sequence[int] = (),
    top_k: int = 3,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    progress: Progress | None = None,
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
        progress: called with the numbers of clips done and of all.

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
        scores = {
            code: (audio @ embed_labels(model, described, code).T).numpy()
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
    return ZeroShotReport(
        labels=labels,
        languages=results,
        average=float(np.mean([result.accuracy for result in results.values()])) if results else None,
        num_clips=int(labelled.sum()),
        predictions=[
            Prediction(paths[place], code, _top(cosines[place], labels, top_k))
            for place in unlabelled
            for code, cosines in scores.items()
        ],
        bad_files=tuple(bad),
    )


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
    from ml_clap.models.ml_clap import MLCLAP

    assert config.prompts is not None
    check_figure_path(config.plot)
    clips = find_clips(config.data, config.split)[: config.limit]
    prompts = read_prompts(config.prompts)
    # Mistakes show before the model is loaded.
    choose_prompts(prompts, config.languages, config.prompt_indices)
    truth = _true_classes(clips, list(prompts))
    if config.plot is not None and (truth == UNLABELLED).all():
        raise ValueError("plot: no clip has a label, so there is no accuracy to draw")
    device = choose_device(config.device)
    model = MLCLAP.from_pretrained(config.model, device=device, dtype=choose_dtype(config.dtype, device))
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
            progress=progress,
        )
    with tables_beside_json(config.json):
        print_zero_shot(report)
    if config.json is not None:
        write_json(config.json, describe_run(model, config) | {"results": report})
    if config.plot is not None and report.languages:
        save_figure(plot_zero_shot(report), config.plot)
    return report


def classify_verb(config: ClassifyConfig) -> int:
    """Classify, and return 1 if files had to be skipped."""
    return int(bool(classify(config).bad_files))


def find_clips(sources: Sequence[Path], split: str | None = None) -> list[Clip | Path]:
    """Return the clips of manifests (`.jsonl`), the audio of folders (read recursively), and files, in order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder without sound, or a manifest that cannot be used.
    """
    clips: list[Clip | Path] = []
    for source in sources:
        if source.suffix.lower() == ".jsonl" or is_stream(source):
            clips += read_split(source, split)
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
    """Return `(clips,)` int64: the index of each clip's label in `labels`, or UNLABELLED."""
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


def _top(scores: np.ndarray, labels: Sequence[str], top_k: int) -> list[tuple[str, float]]:
    return [(labels[place], float(scores[place])) for place in np.argsort(-scores, kind="stable")[:top_k]]
