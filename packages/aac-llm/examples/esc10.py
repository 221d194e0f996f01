"""The real run of docs/aac-esc10.md: sound scenes composed of ESC-10's recordings, and an encoder for them.

    python packages/aac-llm/examples/esc10.py compose shared/data/esc10 runs/aac-esc10/data
    python packages/aac-llm/examples/esc10.py pretrain_encoder runs/aac-esc10/data runs/aac-esc10/encoder

`compose` writes single recordings and compositions of two or three ("a dog barks, then rain is falling", "a
dog barks while rain is falling") as FLAC, with a manifest that also says from when to when each sounds
(`timestamps`). Folds 1-3 are for training; of their field recordings every fifth is for validation, with all
clips cut from it; fold 4 is for one test.
`pretrain_encoder` trains a small CED from random weights to tag the events of the training part: no published
CED checkpoint is needed, and none of its knowledge is in the result.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import torch
from audio_common import CED, CEDConfig, load_audio, pad_waveforms
from audio_common.augment import SpecAugment
from jsonargparse import auto_cli
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

SAMPLE_RATE = 16_000
NUM_PAIRS = {"train": 360, "validation": 24, "test": 60}
NUM_TRIPLES = {"train": 120, "validation": 8, "test": 20}
NUM_TRAINING_WORDINGS = 3
"""Of a class's four captions the first three are for training; the fourth is only ever a reference."""
CLAUSES = {"A", "An", "Rain", "Heavy", "Sea", "Waves", "Someone", "Raindrops", "Water", "Chopper", "Flames"}
"""First words of the captions that have a verb; the others are noun phrases."""
JOINTS = {"then": (", then ", ", followed by "), "while": (" while ", " together with ")}
"""Between two sounds: after each relation, the words before a clause and those before a noun phrase."""


@dataclass(frozen=True)
class Recording:
    """One clip of ESC-10."""

    audio: Path
    label: str
    split: str


def read_recordings(source: Path) -> list[Recording]:
    """Read the clips of `clips.jsonl`, with the split of the field recording that each was cut from."""
    rows = [json.loads(line) for line in (source / "clips.jsonl").read_text().splitlines()]
    origins = sorted({(row["label"], origin(row["audio"])) for row in rows if row["fold"] < 4})
    held_out = {one for index, one in enumerate(origins) if index % 5 == 0}
    recordings = []
    for row in rows:
        split = "validation" if (row["label"], origin(row["audio"])) in held_out else "train"
        recordings.append(
            Recording(source / row["audio"], row["label"], "test" if row["fold"] == 4 else split)
        )
    return recordings


def origin(audio: str) -> str:
    """Return the field recording of a clip: `1-100032-A.ogg` was cut from recording 100032."""
    return Path(audio).stem.split("-")[1]


def load_event(path: Path) -> np.ndarray:
    """Load a recording without the digital silence at its end, at most 4 s, at a mean level of -25 dBFS."""
    samples = load_audio(path).numpy()
    loud = np.flatnonzero(np.abs(samples) > 1e-3)
    samples = samples[: max(SAMPLE_RATE // 2, loud[-1] + 1 if loud.size else 0)][: 4 * SAMPLE_RATE]
    level = np.sqrt(np.mean(samples**2)) + 1e-6
    return samples * min(10 ** (-25 / 20) / level, 0.99 / (np.abs(samples).max() + 1e-6))


def find_starts(events: Sequence[np.ndarray], relations: Sequence[str]) -> list[int]:
    """Return where each sound begins, in samples: `while` with the one before, `then` 1/4 s after the end."""
    starts, end = [0], len(events[0])
    for event, relation in zip(events[1:], relations, strict=True):
        starts.append(starts[-1] if relation == "while" else end + SAMPLE_RATE // 4)
        end = max(end, starts[-1] + len(event))
    return starts


def mix(events: Sequence[np.ndarray], starts: Sequence[int]) -> np.ndarray:
    """Mix sounds that begin at these samples."""
    ends = [start + len(event) for event, start in zip(events, starts, strict=True)]
    scene = np.zeros(max(ends), dtype=np.float32)
    for event, start in zip(events, starts, strict=True):
        scene[start : start + len(event)] += event
    return scene / max(1.0, float(np.abs(scene).max()) / 0.99)


def join(wordings: Sequence[str], relations: Sequence[str]) -> str:
    """Join captions to one: "A dog barks.", "Rain is falling." -> "A dog barks, then rain is falling."."""
    text = wordings[0].rstrip(".")
    for wording, relation in zip(wordings[1:], relations, strict=True):
        before_clause, before_noun = JOINTS[relation]
        joint = before_clause if wording.split()[0] in CLAUSES else before_noun
        text += joint + wording[0].lower() + wording[1:].rstrip(".")
    return text + "."


def draw_scene(
    recordings: Sequence[Recording], num_events: int, rng: random.Random
) -> tuple[list[Recording], list[str]]:
    """Draw recordings of different classes, and how each follows the one before."""
    chosen = [rng.choice(recordings)]
    while len(chosen) < num_events:
        other = rng.choice(recordings)
        if other.label not in {recording.label for recording in chosen}:
            chosen.append(other)
    return chosen, [rng.choice(("then", "while")) for _ in pairwise(chosen)]


def compose(source: Path, out: Path, seed: int = 0) -> None:
    """Write OUT/audio/*.flac and OUT/manifest.jsonl.

    Args:
        source: folder of ESC-10 with clips.jsonl and captions.json.
        out: folder to write.
        seed: for the choice of recordings and wordings.
    """
    rng = random.Random(seed)
    captions = {k: v["eng_Latn"] for k, v in json.loads((source / "captions.json").read_text()).items()}
    recordings = read_recordings(source)
    sounds = {recording.audio: load_event(recording.audio) for recording in recordings}
    (out / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for split in ("train", "validation", "test"):
        own = [recording for recording in recordings if recording.split == split]
        scenes = [([recording], list[str]()) for recording in own]
        scenes += [draw_scene(own, 2, rng) for _ in range(NUM_PAIRS[split])]
        scenes += [draw_scene(own, 3, rng) for _ in range(NUM_TRIPLES[split])]
        for number, (chosen, relations) in enumerate(scenes):
            name = f"{split}-{number:04d}"
            events = [sounds[recording.audio] for recording in chosen]
            starts = find_starts(events, relations)
            sound = mix(events, starts)
            soundfile.write(out / "audio" / f"{name}.flac", sound, SAMPLE_RATE)
            rows.append(
                {
                    "id": name,
                    "audio": f"audio/{name}.flac",
                    "captions": scene_captions(
                        [captions[recording.label] for recording in chosen], relations, split, rng
                    ),
                    "split": split,
                    "duration": round(len(sound) / SAMPLE_RATE, 3),
                    "dataset": "esc10",
                    "timestamps": [
                        {
                            "text": first_wording(captions[recording.label]),
                            "onset": start / SAMPLE_RATE,
                            "offset": (start + len(event)) / SAMPLE_RATE,
                        }
                        for recording, event, start in zip(chosen, events, starts, strict=True)
                    ],
                    "events": [recording.label for recording in chosen],
                    "relations": relations,
                }
            )
    (out / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} scenes in {out / 'manifest.jsonl'}")


def first_wording(wordings: Sequence[str]) -> str:
    """Return what an event is called in time: always the same words, or none could be found again."""
    return wordings[0][0].lower() + wordings[0][1:].rstrip(".")


def scene_captions(
    wordings: Sequence[Sequence[str]], relations: Sequence[str], split: str, rng: random.Random
) -> list[str]:
    """Write three captions for training; for the others a fourth, in wordings that training never sees."""
    orders = [rng.sample(range(NUM_TRAINING_WORDINGS), NUM_TRAINING_WORDINGS) for _ in wordings]
    found = [
        join([texts[order[index]] for texts, order in zip(wordings, orders, strict=True)], relations)
        for index in range(NUM_TRAINING_WORDINGS)
    ]
    if split != "train":
        found.append(join([texts[-1] for texts in wordings], relations))
    return found


def pretrain_encoder(data: Path, out: Path, steps: int = 3000, batch_size: int = 16, seed: int = 0) -> None:
    """Train a small CED as a tagger of the events, from random weights.

    Args:
        data: folder that `compose` wrote.
        out: folder for the encoder.
        steps: training steps.
        batch_size: scenes of a step, of at most 4 s.
        seed: for weights and batches.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    rows = [json.loads(line) for line in (data / "manifest.jsonl").read_text().splitlines()]
    labels = tuple(sorted({label for row in rows for label in row["events"]}))
    sounds = {row["id"]: load_audio(data / row["audio"]) for row in rows if row["split"] != "test"}
    train = [row for row in rows if row["split"] == "train" and len(row["events"]) == 1]
    validation = [row for row in rows if row["split"] == "validation"]
    model = CED(
        CEDConfig(embed_dim=192, num_heads=3, depth=6, drop_path=0.1, num_classes=len(labels), labels=labels)
    )
    fix_mel_statistics(model, [sounds[row["id"]] for row in rows if row["split"] == "train"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, total_steps=steps, pct_start=0.1)
    augment = SpecAugment(time_width=96, freq_width=16)
    for step in range(steps):
        batch = [rng.sample(train, rng.choice((1, 1, 2))) for _ in range(batch_size)]
        waveforms, lengths = pad_waveforms(
            [overlay([sounds[row["id"]] for row in scene], rng) for scene in batch]
        )
        logits = model(waveforms, lengths, classify=True, spec_augment=augment).logits
        loss = binary_cross_entropy_with_logits(logits, targets(batch, labels))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}, {describe(model, validation, sounds, labels)}")
    model.save_pretrained(out)


def fix_mel_statistics(model: CED, sounds: Sequence[Tensor]) -> None:
    """Keep the mel BatchNorm's statistics of the training sounds: a batch's own depend on its padding."""
    with torch.inference_mode():
        frames = torch.cat([model.front_end(sound[None], [len(sound)])[0] for sound in sounds])
    model.init_bn.running_mean.copy_(frames.mean(0))
    model.init_bn.running_var.copy_(frames.var(0))
    model.freeze_batch_norm()


def overlay(sounds: Sequence[Tensor], rng: random.Random) -> Tensor:
    """Add recordings, each from a random place on and at a level of up to 9 dB more or less."""
    scene = torch.zeros(max(len(sound) for sound in sounds))
    for sound in sounds:
        shifted = sound.roll(rng.randrange(len(sound)))
        start = rng.randint(0, len(scene) - len(sound))
        scene[start : start + len(sound)] += shifted * 10 ** (rng.uniform(-9, 9) / 20)
    return scene


def targets(scenes: Sequence[Sequence[dict]], labels: Sequence[str]) -> Tensor:
    """Return which classes sound in each scene, `(batch, classes)`."""
    heard = [{event for row in rows for event in row["events"]} for rows in scenes]
    return torch.tensor([[float(label in events) for label in labels] for events in heard])


@torch.inference_mode()
def describe(model: CED, rows: Sequence[dict], sounds: dict[str, Tensor], labels: Sequence[str]) -> str:
    """Describe accuracy on single events, and mean recall of the right classes among as many guesses."""
    model.eval()
    hits, recalls = [], []
    for row in rows:
        scores = model(sounds[row["id"]][None], classify=True).logits[0]
        best = {labels[index] for index in scores.topk(len(row["events"])).indices.tolist()}
        recall = len(best & set(row["events"])) / len(row["events"])
        (hits if len(row["events"]) == 1 else recalls).append(recall)
    model.train()
    return f"single events {np.mean(hits):.1%}, events of compositions {np.mean(recalls):.1%}"


if __name__ == "__main__":
    auto_cli([compose, pretrain_encoder], as_positional=True)
