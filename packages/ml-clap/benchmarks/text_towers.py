"""What text towers cost in quality: the same sounds, their index made once, found by texts of each tower.

    python packages/ml-clap/benchmarks/text_towers.py runs/tuxpaint-index data/tuxpaint.jsonl \\
        --towers runs/small runs/projection --split test --json towers.json
    python packages/ml-clap/benchmarks/text_towers.py runs/esc10-index data/esc10.jsonl --split test \\
        --prompts data/esc10/captions.json --prompt_index 3 --towers runs/small

The first row is the index's own model. Retrieval is text to audio over all clips of the index, by the first
captions of the chosen split's clips; with `--prompts` it is zero-shot accuracy instead, each clip against one
description of every class. Intervals are 95 %, by resampling clips, the same draws for every tower; those of
the difference from the model come of the same draws, too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio_common.strict_json import read_json
from ml_clap.data.languages import LANGUAGES
from ml_clap.data.manifest import Clip, read_manifest
from ml_clap.models.encoding import encode_texts
from ml_clap.models.loading import load_model
from ml_clap.models.tower import open_tower
from ml_clap.models.tower_folder import check_belongs
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.store import entries_path, read_entry, spans_path, vectors_path
from ml_clap.search.vectors import open_rows

Encode = Callable[[Sequence[str], str], np.ndarray]
MODEL = "model"
DRAWS = 2000


def read_vectors(index: AudioIndex) -> dict[str, np.ndarray]:
    """Clip's id -> its vector; a clip of several windows has their mean, normalized."""
    generation = index.settings.generation
    lines = entries_path(index.folder, generation).read_bytes().splitlines()
    names = [read_entry(line, "entries").id for line in lines]
    owners = open_rows(spans_path(index.folder, generation))["entry"]
    rows = np.asarray(open_rows(vectors_path(index.folder, generation)), np.float32)[: len(owners)]
    means = {names[owner]: rows[owners == owner].mean(axis=0) for owner in np.unique(owners)}
    return {name: mean / np.linalg.norm(mean) for name, mean in means.items()}


def make_encoder(index: AudioIndex, tower: str) -> Encode:
    """What embeds texts of one language."""
    if tower == MODEL:
        model = load_model(index.settings.model, device="cpu")
        return lambda texts, language: encode_texts(model, texts, language, 64).numpy()
    opened = open_tower(tower)
    check_belongs(opened.settings, index.settings.fingerprint, str(index.folder))
    return lambda texts, language: opened.encode(texts, language)


def hits_of_retrieval(encode: Encode, sounds: np.ndarray, clips: list[Clip], asked: list[int]) -> np.ndarray:
    """`(2, asked, languages)`: whether the right clip is first, or among ten, for a clip's first caption."""
    found = np.full((2, len(asked), len(LANGUAGES)), np.nan)
    for column, language in enumerate(LANGUAGES):
        there = [row for row, place in enumerate(asked) if language in clips[place].captions]
        places = [asked[row] for row in there]
        texts = encode([clips[place].captions[language][0] for place in places], language)
        scores = texts @ sounds.T
        right = scores[np.arange(len(places)), places]
        # Ties count against the model, as in `rank_text_to_audio`.
        ranks = (scores >= right[:, None] - 1e-6).sum(axis=1) - 1
        found[0, there, column], found[1, there, column] = ranks < 1, ranks < 10
    return found


def hits_of_classes(
    encode: Encode, sounds: np.ndarray, clips: list[Clip], prompts: dict[str, Any], prompt_index: int
) -> np.ndarray:
    """`(1, clips, languages)`: whether the right class scores highest."""
    labels = list(prompts)
    truth = [labels.index(str(clip.label)) for clip in clips]
    columns = []
    for language in LANGUAGES:
        texts = encode([prompts[label][language][prompt_index] for label in labels], language)
        columns.append((sounds @ texts.T).argmax(axis=1) == truth)
    return np.stack(columns, axis=1)[None].astype(float)


def interval(values: np.ndarray, draws: np.ndarray) -> tuple[float, float]:
    """95 % of the mean over clips and languages, in percent."""
    means = [100.0 * np.nanmean(np.nanmean(values[draw], axis=0)) for draw in draws]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def summarize(name: str, hits: np.ndarray, base: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """One tower's figures: by language, their mean with its interval, the difference from the model."""
    by_language = 100.0 * np.nanmean(hits[0], axis=0)
    row = {
        "name": Path(name).name,
        "by_language": dict(zip(LANGUAGES, by_language.tolist(), strict=True)),
        "mean": float(by_language.mean()),
        "interval": interval(hits[0], draws),
        "difference": float(by_language.mean() - 100.0 * np.nanmean(base[0], axis=0).mean()),
        "difference_interval": interval(hits[0] - base[0], draws),
        "num_clips": hits.shape[1],
    }
    if len(hits) > 1:
        row["within_10"] = float(100.0 * np.nanmean(hits[1], axis=0).mean())
    return row


def print_rows(rows: list[dict[str, Any]]) -> None:
    """A table in Markdown."""
    print(
        "| texts by | " + " | ".join(code[:3] for code in LANGUAGES) + " | mean (95 %) | against the model |"
    )
    print("|---|" + "--:|" * (len(LANGUAGES) + 2))
    for row in rows:
        values = " | ".join(f"{value:.1f}" for value in row["by_language"].values())
        low, high = row["interval"]
        change = f"{row['difference']:+.1f} ({row['difference_interval'][0]:+.1f} to "
        change += f"{row['difference_interval'][1]:+.1f})"
        print(f"| {row['name']} | {values} | {row['mean']:.1f} ({low:.1f} to {high:.1f}) | {change} |")
    tenth = [f"{row['name']} {row['within_10']:.1f}" for row in rows if "within_10" in row]
    print(f"\n{rows[0]['num_clips']} clips" + (f"; R@10: {', '.join(tenth)}" if tenth else ""))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--towers", nargs="*", default=[], help="folders of text towers")
    parser.add_argument("--split", help="of the clips whose captions ask, or that are classified")
    parser.add_argument("--prompts", type=Path, help="label -> language -> descriptions: zero-shot accuracy")
    parser.add_argument("--prompt_index", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    index = AudioIndex.open(arguments.index)
    vectors = read_vectors(index)
    clips = [clip for clip in read_manifest(arguments.manifest) if clip.id in vectors]
    asked = [n for n, clip in enumerate(clips) if arguments.split in (None, clip.split)]
    sounds = np.stack([vectors[clip.id] for clip in clips])
    found = {}
    for name in [MODEL, *arguments.towers]:
        encode = make_encoder(index, name)
        if arguments.prompts:
            prompts = read_json(arguments.prompts)
            chosen = [clips[place] for place in asked]
            found[name] = hits_of_classes(encode, sounds[asked], chosen, prompts, arguments.prompt_index)
        else:
            found[name] = hits_of_retrieval(encode, sounds, clips, asked)
    draws = np.random.default_rng(0).integers(len(asked), size=(DRAWS, len(asked)))
    rows = [summarize(name, hits, found[MODEL], draws) for name, hits in found.items()]
    print_rows(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
