"""The gate measured on captions that people translated: `ml-clap gate`."""

from __future__ import annotations

import numpy as np

from ml_clap.config.translate import GateConfig
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import Clip, read_manifest
from ml_clap.lock import hold_outputs
from ml_clap.models.device import choose_device
from ml_clap.output import Progress, printable
from ml_clap.tables import count_of, print_table
from ml_clap.translate.gate import Gate, Pairs, measure, plot_gate, write_gate
from ml_clap.translate.judge import Judge, load_judge


def gate_verb(config: GateConfig) -> int:
    """Measure a gate, print it, and write what was asked for."""
    assert config.out is not None  # the settings refuse to be without
    with hold_outputs(config.out, config.plot):
        gate = measure_gate(config)
        write_gate(config.out, gate)
        if config.plot is not None:
            plot_gate(gate, config.plot)
        _print(gate)
        print(printable(f"{config.out}: for `ml-clap translate --gate`"))
    return 0


def measure_gate(config: GateConfig) -> Gate:
    """Embed the captions and measure every language.

    Raises:
        ValueError: no language has enough pairs, or one that was named has not.
    """
    source_language = resolve(config.source_language)
    clips = read_manifest(config.data, language=config.language)
    languages = choose_languages(clips, config, source_language)
    judge = load_judge(config.judge, prefix=config.judge_prefix, device=choose_device(config.device))
    sources = list(dict.fromkeys(text[0] for clip in clips if (text := clip.captions.get(source_language))))
    vectors = dict(zip(sources, judge.embed(sources, source_language, config.batch_size), strict=True))
    measured = {}
    with Progress("Judging languages", len(languages)) as shown:
        for language in languages:
            pairs = _pairs(clips, judge, vectors, source_language, language, config.batch_size)
            measured[language] = measure(
                pairs, num_shuffles=config.num_shuffles, num_folds=config.num_folds, seed=config.seed
            )
            shown.advance(note=f"{language} {measured[language].accuracy:.1f} %")
    return Gate(
        judge=judge.name,
        fingerprint=judge.fingerprint,
        source_language=source_language,
        source_centre=np.mean(list(vectors.values()), axis=0).tolist(),
        languages=measured,
    )


def choose_languages(clips: list[Clip], config: GateConfig, source_language: str) -> list[str]:
    """Return the languages to measure: those named, or all that have enough pairs."""
    counts: dict[str, int] = {}
    for clip in clips:
        if source_language in clip.captions:
            for code in clip.captions:
                counts[code] = counts.get(code, 0) + 1
    named = [resolve(name) for name in config.languages]
    for code in named:
        if counts.get(code, 0) < config.min_pairs:
            raise ValueError(
                f"{config.data} has {count_of(counts.get(code, 0), 'clip')} with captions in "
                f"{source_language} and {code}; at least {config.min_pairs} are needed (min_pairs)"
            )
    found = named or sorted(
        code for code, count in counts.items() if count >= config.min_pairs and code != source_language
    )
    if not found:
        raise ValueError(
            f"{config.data} has no language with {config.min_pairs} clips that also have captions in "
            f"{source_language} (min_pairs)"
        )
    return found


def _pairs(
    clips: list[Clip],
    judge: Judge,
    vectors: dict[str, np.ndarray],
    source_language: str,
    language: str,
    batch_size: int,
) -> Pairs:
    both = [clip.captions for clip in clips if {source_language, language} <= set(clip.captions)]
    sources = [captions[source_language][0] for captions in both]
    targets = [captions[language][0] for captions in both]
    return Pairs(
        np.stack([vectors[text] for text in sources]),
        judge.embed(targets, language, batch_size),
        sources,
        targets,
    )


def _print(gate: Gate) -> None:
    columns = [
        "language",
        "pairs",
        "accuracy",
        "95 %",
        "false rej.",
        "false acc.",
        "ranked 1st",
        "threshold",
    ]
    rows = [
        [
            code,
            str(one.num_pairs),
            f"{one.accuracy:.1f}",
            f"{one.interval[0]:.0f}-{one.interval[1]:.0f}",
            f"{one.false_rejects:.1f}",
            f"{one.false_accepts:.1f}",
            f"{one.ranked_first:.1f}",
            f"{one.similarity:.3f}",
        ]
        for code, one in sorted(gate.languages.items(), key=lambda item: -item[1].accuracy)
    ]
    values = [one.accuracy for one in gate.languages.values()]
    note = (
        f"Mean of {count_of(len(values), 'language')}: {sum(values) / len(values):.1f} %. Accuracy: mean of "
        "right and shuffled pairs, held-out clips (chance 50). Ranked 1st: likelier than all wrong ones."
    )
    print_table("Human translations against shuffled ones (%)", columns, rows, note)
