"""Train and keep the runs of docs/esc10.md and docs/tuxpaint.md: English captions against English + 10 %.

    python packages/ml-clap/benchmarks/study.py --esc10 data/esc10 --tuxpaint data/tuxpaint \\
        --text_encoder e5-small --out runs/study

Each run is a file, `STUDY-ARM-FOLD-RATE-SEED.npz`, with the embeddings of every clip and every description;
one that is there is not made again, so that the command can be killed and started again at any moment.
`study_report.py` reads them. The studies:

- `esc10`: each of folds 1-4 is tested in turn, by descriptions in words that no run was trained with.
- `events`: each fifth of Tux Paint's events is kept from training, its sounds and its texts.
- `descriptions`: every sound trains with its English text; of a third of the events the translations are kept
  from training, and they look for their sounds among all.

The learning rate of each arm is chosen on ESC-10 by runs with seed `CHOICE_SEED`, which no result uses, by
what they get right on recordings of the training folds that no run trains on.

What makes a run take less than a minute of one core: a CED of 2 blocks, 96 wide, that drops half of the time
columns in training; sounds decoded once and texts encoded once; each update hears 8 clips and compares them
with all captions that the package's `epoch_captions` draws for them.
"""

from __future__ import annotations

import argparse
import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from audio_common.audio import load_audio
from audio_common.augment import SpecAugment
from audio_common.config import CEDConfig
from audio_common.strict_json import json_lines, read_object
from ml_clap.config.model import ModelConfig
from ml_clap.config.train import AugmentConfig, DataConfig, OptimizerConfig, TrainConfig
from ml_clap.data.enhancement import epoch_captions
from ml_clap.data.languages import LANGUAGES
from ml_clap.data.manifest import Clip
from ml_clap.data.readers.tuxpaint import captions_by_language
from ml_clap.files import write_atomically, write_json
from ml_clap.models.initialization import measure_mel_statistics
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import load_text_encoder
from ml_clap.trainers.augmentation import augment_waveforms
from ml_clap.trainers.loss import contrastive_loss
from ml_clap.trainers.optimizer import learning_rate, make_optimizer, set_learning_rate
from torch import Tensor

ARMS = {"english": (), "ten": LANGUAGES[1:]}
"""Languages whose captions join the English ones, each with probability 0.1."""
FOLDS = {"esc10": 4, "events": 5, "descriptions": 3}
SEEDS = {"esc10": 8, "events": 5, "descriptions": 6}
"""Number of seeds; seed s tests fold s mod `FOLDS`."""
CHOICE_SEED = 99
RATES = (1e-3, 2e-3)
UPDATES = {"esc10": 500, "events": 150, "descriptions": 150}
BATCH_SIZE = 8
RATES_FILE = "rates.json"
MAX_SAMPLES = 4 * 16_000
AUDIO = CEDConfig(embed_dim=96, depth=2, num_heads=3, time_patch_out=0.5)
SILENT = ("rhea", "iguana", "giraffe", "wombat")
COPIES = ("beaver", "goat-mountain")
"""Tux Paint's events whose sound is that of badger and of ram: one of each pair takes part."""


@dataclass(frozen=True)
class Run:
    """What tells one run from another."""

    study: str
    arm: str
    fold: int
    rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.study}-{self.arm}-{self.fold}-{self.rate:g}-{self.seed}.npz"


@dataclass(frozen=True)
class Data:
    """Clips of a study, decoded, and the text encoder's vectors of all their captions."""

    clips: list[Clip]
    waveforms: list[Tensor]
    texts: list[tuple[str, str]]
    """(caption, language) of each row of `features` and of a run's `text`."""
    features: Tensor
    model: MLCLAP
    """Holds the frozen text encoder, which all runs share."""


# Data


def read_esc10(folder: Path) -> list[Clip]:
    """Return the clips with all four captions; `extra` has the fold and the recording they were cut from."""
    captions = read_object(folder / "captions.json")
    rows = [row for _, row in json_lines((folder / "clips.jsonl").read_bytes(), "clips.jsonl")]
    return [
        Clip(
            id=Path(row["audio"]).stem,
            audio=folder / row["audio"],
            captions={code: tuple(captions[row["label"]][code]) for code in LANGUAGES},
            label=row["label"],
            extra={"fold": row["fold"], "recording": re.match(r"\d+-(\d+)-", Path(row["audio"]).stem)[1]},
        )
        for row in rows
    ]


def read_tuxpaint(folder: Path) -> list[Clip]:
    """Return the events with one description in each language."""
    rows = [row for _, row in json_lines((folder / "effects.jsonl").read_bytes(), "effects.jsonl")]
    clips = []
    for row in rows:
        captions, _ = captions_by_language(row["text"])
        own = {code: captions[code] for code in LANGUAGES if code in captions}
        clips.append(Clip(row["id"], folder / row["audio"], own, label=row["id"]))
    return clips


def told_apart(waveforms: Sequence[Tensor]) -> list[int]:
    """Return the sounds that can be heard, and of equal ones the first."""
    seen: dict[bytes, int] = {}
    for place, waveform in enumerate(waveforms):
        if waveform.abs().max() > 1e-4:
            seen.setdefault(waveform.numpy().tobytes(), place)
    return list(seen.values())


def read_study(name: str, folder: Path) -> tuple[list[Clip], list[Tensor], list[tuple[str, str]]]:
    """Return the clips that can be told apart, decoded, and all (caption, language)."""
    clips = read_esc10(folder) if name == "esc10" else read_tuxpaint(folder)
    waveforms = [load_audio(clip.audio, sample_rate=16_000) for clip in clips]
    kept = told_apart(waveforms)
    clips, waveforms = [clips[i] for i in kept], [waveforms[i] for i in kept]
    texts = sorted({(text, code) for clip in clips for code, own in clip.captions.items() for text in own})
    return clips, waveforms, texts


def prepare(name: str, folder: Path, text_encoder: str) -> Data:
    """Decode every clip and encode every caption."""
    clips, waveforms, texts = read_study(name, folder)
    config = ModelConfig(
        text_encoder=text_encoder,
        text_prefix="query: ",
        text_normalization="none",
        freeze_text=True,
        embed_dim=128,
        audio=AUDIO,
    )
    model = MLCLAP(config, text_encoder=load_text_encoder(text_encoder, max_tokens=128)).eval()
    ids, mask = model.tokenize([text for text, _ in texts], [code for _, code in texts])
    with torch.no_grad():
        rows = [model.text_encoder(ids[i : i + 64], mask[i : i + 64]) for i in range(0, len(texts), 64)]
    return Data(clips, waveforms, texts, torch.cat(rows), model)


# What a run may hear and read


def split(study: str, clips: Sequence[Clip], fold: int) -> tuple[list[int], list[int], list[int]]:
    """Return the clips that train, validate and test, as places in `clips`; `fold` counts from 0.

    Of `descriptions` it is of whose clips the translations train, validate and test: all sounds train.
    """
    if study != "esc10":
        groups = np.random.default_rng(0).permutation(len(clips)) % FOLDS[study]
        return np.flatnonzero(groups != fold).tolist(), [], np.flatnonzero(groups == fold).tolist()
    test = [i for i, clip in enumerate(clips) if clip.extra["fold"] == fold + 1]
    generator = np.random.default_rng(fold)
    validation: list[int] = []
    for label in sorted({clip.label or "" for clip in clips}):
        own = [i for i, clip in enumerate(clips) if clip.label == label and i not in test]
        names = sorted({clips[i].extra["recording"] for i in own})
        chosen: list[int] = []
        for name in generator.permutation(names):  # whole recordings, until 4 of the 24 clips are together
            if len(chosen) < 4:
                chosen += [i for i in own if clips[i].extra["recording"] == name]
        validation += chosen
    return [i for i in range(len(clips)) if i not in {*test, *validation}], validation, test


def training_clips(run: Run, clips: Sequence[Clip]) -> dict[int, Clip]:
    """Return place -> clip with those captions alone that the run may read."""
    train, _, test = split(run.study, clips, run.fold)
    if run.study == "esc10":  # the fourth caption is for the test
        return {
            i: replace(clips[i], captions={c: t[:3] for c, t in clips[i].captions.items()}) for i in train
        }
    if run.study == "events":
        return {i: clips[i] for i in train}
    english = {i: replace(clips[i], captions={"eng_Latn": clips[i].captions["eng_Latn"]}) for i in test}
    return {i: english.get(i, clip) for i, clip in enumerate(clips)}


# One run


def settings(run: Run) -> TrainConfig:
    """Return the recipe, as `ml-clap train` would have it."""
    return TrainConfig(
        out=Path("unused"),
        data=DataConfig(train=(Path("unused"),), languages=ARMS[run.arm]),
        learning_rate=run.rate,
        weight_decay=0.05,
        max_grad_norm=2.0,
        optimizer=OptimizerConfig(betas=(0.9, 0.98)),
        augment=AugmentConfig(gain_db=6.0, time_shift=True),
        seed=run.seed,
    )


def train(run: Run, data: Data, updates: int) -> MLCLAP:
    """Train the towers of one run."""
    config = settings(run)
    clips = training_clips(run, data.clips)
    places = sorted(clips)
    labels = {name: i for i, name in enumerate(sorted({clip.label or clip.id for clip in data.clips}))}
    row_of = {text: row for row, text in enumerate(data.texts)}
    torch.manual_seed(run.seed)
    model = MLCLAP(data.model.config, text_encoder=data.model.text_encoder)
    model.audio_encoder.freeze_batch_norm()
    measure_mel_statistics(
        model.audio_encoder, (batch_of([data.waveforms[i]], 0, 0.0)[:2] for i in places[::4])
    )
    model.train()
    optimizer = make_optimizer(model, config)
    generator = np.random.default_rng(run.seed)  # of clips and crops: the same for both arms
    queue: list[int] = []
    for update in range(updates):
        while len(queue) < BATCH_SIZE:
            queue += generator.permutation(places).tolist()
        chosen, queue = queue[:BATCH_SIZE], queue[BATCH_SIZE:]
        waveforms, lengths, _ = batch_of([data.waveforms[i] for i in chosen], update, generator.random())
        waveforms = augment_waveforms(
            waveforms,
            lengths,
            gain_db=config.augment.gain_db,
            time_shift=True,
            generators=[
                torch.Generator().manual_seed(int(n)) for n in generator.integers(2**31, size=BATCH_SIZE)
            ],
        )
        own = [clips[i] for i in chosen]
        pairs = epoch_captions(own, languages=config.data.languages, rate=0.1, seed=run.seed, epoch=update)
        sounds = model.embed_audio(waveforms, lengths, SpecAugment())
        texts = [(own[p.clip].captions[p.language][p.caption], p.language) for p in pairs]
        vectors = model.project_text(data.features[[row_of[text] for text in texts]])
        matching = torch.tensor([labels[own[p.clip].label or own[p.clip].id] for p in pairs])
        loss = contrastive_loss(sounds[[p.clip for p in pairs]], vectors, model.temperature, matching)
        rate = learning_rate((update + 0.5) / updates, peak=run.rate, warmup_ratio=0.1)
        set_learning_rate(optimizer, rate)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 2.0)
        optimizer.step()
    return model.eval()


def batch_of(waveforms: Sequence[Tensor], seed: int, share: float) -> tuple[Tensor, Tensor, float]:
    """Crop sounds to 4 s, at `share` of the places where the crop can begin, and pad them to one length."""
    crops = []
    for waveform in waveforms:
        start = int(share * max(0, len(waveform) - MAX_SAMPLES))
        crops.append(waveform[start : start + MAX_SAMPLES])
    lengths = torch.tensor([len(crop) for crop in crops])
    return torch.nn.utils.rnn.pad_sequence(crops, batch_first=True), lengths, share


def embed(run: Run, model: MLCLAP, data: Data) -> dict[str, np.ndarray]:
    """Return the embeddings of all captions and of the clips, whole; of ESC-10 NaN for those that trained."""
    audio = torch.full((len(data.clips), model.embed_dim), torch.nan)
    train, _, _ = split(run.study, data.clips, run.fold)
    unheard = train if run.study == "esc10" else ()
    with torch.no_grad():
        for i in set(range(len(data.clips))) - set(unheard):
            audio[i] = model.embed_audio(data.waveforms[i][None])[0]
        return {"audio": audio.numpy(), "text": model.project_text(data.features).numpy()}


# All runs


def choose_rates(data: Data, out: Path) -> dict[str, float]:
    """Return each arm's learning rate: the one that does best on the validation part of fold 1's runs.

    The scores are written to `rates.json`, and read from there the next time.
    """
    _, validation, _ = split("esc10", data.clips, 0)

    def score(arm: str, rate: float) -> float:
        with np.load(
            out / keep(Run("esc10", arm, 0, rate, CHOICE_SEED), data, out, UPDATES["esc10"])
        ) as kept:
            return validation_score(data, kept["audio"], kept["text"], validation)

    write_json(out / RATES_FILE, {arm: {f"{rate:g}": score(arm, rate) for rate in RATES} for arm in ARMS})
    return read_rates(out)


def read_rates(out: Path) -> dict[str, float]:
    """Return the learning rates that were chosen."""
    scores = read_object(out / RATES_FILE)
    return {arm: float(max(found, key=found.get)) for arm, found in scores.items()}


def validation_score(data: Data, audio: np.ndarray, text: np.ndarray, validation: Sequence[int]) -> float:
    """Return the mean reciprocal rank of the right class, over ESC-10's validation part and all languages."""
    row_of = {pair: row for row, pair in enumerate(data.texts)}
    labels = sorted({clip.label or "" for clip in data.clips})
    captions = {clip.label: clip.captions for clip in data.clips}
    truth = [labels.index(data.clips[i].label or "") for i in validation]
    found = []
    for code in LANGUAGES:
        own = [[row_of[t, code] for t in captions[label][code][:3]] for label in labels]
        classes = np.stack([text[rows].mean(axis=0) for rows in own])
        scores = audio[validation] @ (classes / np.linalg.norm(classes, axis=1, keepdims=True)).T
        right = scores[np.arange(len(truth)), truth]
        found.append(float((1.0 / (scores >= right[:, None]).sum(axis=1)).mean()))
    return float(np.mean(found))


def keep(run: Run, data: Data, out: Path, updates: int) -> str:
    """Train a run that is not there yet, and return the name of the file with its embeddings."""
    if not (out / run.name).exists():
        began, used = time.monotonic(), time.process_time()
        found = embed(run, train(run, data, updates), data)
        buffer = io.BytesIO()
        np.savez(buffer, **found)
        write_atomically(out / run.name, buffer.getvalue())
        cpu, wall = time.process_time() - used, time.monotonic() - began
        print(f"{run.name}: {cpu:.0f} s of CPU, {wall:.0f} s", flush=True)
    return run.name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--esc10", type=Path, required=True, help="folder with clips.jsonl and captions.json")
    parser.add_argument("--tuxpaint", type=Path, required=True, help="folder with effects.jsonl")
    parser.add_argument("--text_encoder", default="intfloat/multilingual-e5-small")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--studies", nargs="+", choices=list(FOLDS), default=list(FOLDS))
    parser.add_argument("--seeds", type=int, help="seeds of each study (default: 8, 5 and 6)")
    parser.add_argument("--updates", type=int, help="updates of each run (default: 500, 150 and 150)")
    arguments = parser.parse_args()
    out, folders = arguments.out, {"esc10": arguments.esc10, "tuxpaint": arguments.tuxpaint}
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    read = {name: prepare(name, folder, arguments.text_encoder) for name, folder in folders.items()}
    rates = choose_rates(read["esc10"], out)
    seeds = {study: arguments.seeds or SEEDS[study] for study in arguments.studies}
    for seed in range(max(seeds.values())):
        for study in arguments.studies:
            for arm in ARMS if seed < seeds[study] else ():
                data = read["esc10" if study == "esc10" else "tuxpaint"]
                updates = arguments.updates or UPDATES[study]
                keep(Run(study, arm, seed % FOLDS[study], rates[arm], seed), data, out, updates)


if __name__ == "__main__":
    main()
