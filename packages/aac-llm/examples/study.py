"""Train and keep the runs of docs/aac-study.md: which parts of the paper's recipe matter, compared fairly.

    python packages/aac-llm/examples/study.py --esc10 data/esc10 --out runs/aac-study
    python packages/aac-llm/examples/study.py --esc10 data/esc10 --out runs/aac-study \\
        --arms whisper-frozen --whisper models/whisper-tiny --llm models/smollm2
    python packages/aac-llm/examples/study_report.py runs/aac-study

Each run is a file, `runs/ARM-SIZE-RATE-SEED.json`, with its captions; one that is there is not made again, so
the command can be killed and started again at any moment, and arms and seeds can be added later. What makes
the comparison fair:

- seed s tests fold s mod 4 of ESC-10 (`study_data.py`): no recording is in two of training, validation, test;
  a quarter of the pairs of classes is in the test alone;
- the encoder starts from a tagger of seven of the ten classes, other ones in each fold; the decoder from a
  language model that has read keywords and captions, and heard nothing;
- the learning rate of each arm is chosen on validation by runs of `CHOICE_SEED`, which no result uses;
- every arm has as many floating point operations in training, counted on one batch; but for Whisper's, whose
  tokens are computed once and kept: it has the updates of CED frozen;
- checkpoints are chosen on validation clips of every kind (`aac-llm train`'s draw).

What makes a run take seconds: sounds of 2 to 4.25 s, a CED of 3 blocks and a Llama of 2, 96 and 128 wide.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from aac_llm.captioning.captioner import Captioner
from aac_llm.config.correct import CorrectionConfig
from aac_llm.config.model import ACOUSTIC_TOKENS, BridgeConfig, ModelConfig, WhisperConfig
from aac_llm.config.train import DataConfig, TrainConfig, ValidationConfig
from aac_llm.correction.corrector import Corrector
from aac_llm.data.manifest import Clip, read_manifest
from aac_llm.files import write_json
from aac_llm.lock import sole_writer
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.decoder import load_decoder
from aac_llm.models.prompt import IGNORED, tokenize_captions
from aac_llm.models.tiny import create_tiny_decoder
from aac_llm.models.whisper import WhisperEncoder
from aac_llm.trainers.train import train
from audio_common import CED, CEDConfig, load_audio, pad_waveforms
from audio_common.strict_json import read_object
from esc10 import fix_mel_statistics, overlay, targets
from study_data import NUM_FOLDS, random_captions, tagged_classes, write_fold
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.flop_counter import FlopCounterMode

ENCODER = CEDConfig(embed_dim=96, depth=3, num_heads=3)
WHISPER = "whisper-frozen"
BRIDGE = BridgeConfig(window=17, hidden_size=96, num_heads=4, intermediate_size=384)
ARMS = {
    "recipe": ModelConfig(bridge=BRIDGE),
    "encoder-frozen": ModelConfig(bridge=BRIDGE, encoder_strategy="frozen"),
    "encoder-full": ModelConfig(bridge=BRIDGE, encoder_strategy="full"),
    "bridge-clip": ModelConfig(bridge=replace(BRIDGE, kind="clip", num_queries=6)),
    "bridge-linear": ModelConfig(bridge=replace(BRIDGE, kind="linear")),
    "decoder-frozen": ModelConfig(bridge=BRIDGE, decoder_strategy="frozen"),
    WHISPER: ModelConfig(
        bridge=BRIDGE, encoder_kind="whisper", encoder_strategy="frozen", whisper=WhisperConfig(pad_seconds=0)
    ),
}
"""The recipe has adapters at both ends and a Q-Former over windows; each other arm differs in one thing
(Whisper's from `encoder-frozen`)."""
SIZES = {"all": ("train-a", "train-b"), "quarter": ("train-a",)}
"""Training splits of each size of the data."""
RATES = (2e-3, 6e-3)
CHOICE_SEED = 96
PILOT_SEEDS = (100,)
"""Further seeds of the recipe on the fold of `CHOICE_SEED`, for the power alone."""
UPDATES = 100
"""Updates of the recipe; other arms have as many as the same operations allow."""
BATCH_SIZE = 16
ENCODER_UPDATES, DECODER_UPDATES = 300, 500
"""Of what the runs start from."""
SAMPLING = {"do_sample": True, "temperature": 1.5, "top_p": 1.0}
"""Far from the most probable caption, so that there is something to correct."""
SECONDS = 2.75
"""Mean length of a scene, of which operations are counted."""


@dataclass(frozen=True)
class Run:
    """What tells one run from another."""

    arm: str
    size: str
    rate: float
    seed: int

    @property
    def fold(self) -> int:
        """The fold that it tests, from 0."""
        return self.seed % NUM_FOLDS

    @property
    def split(self) -> str:
        """The split that is captioned: a run that chooses a learning rate never hears the test."""
        return "validation" if self.seed in (CHOICE_SEED, *PILOT_SEEDS) else "test"

    @property
    def is_sampled(self) -> bool:
        """Whether captions are also drawn at random, which is what correction is tried on."""
        return (self.arm, self.size, self.split) == ("recipe", "all", "test")

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.arm}-{self.size}-{self.rate:g}-{self.seed}"


# What the runs start from


def pretrain_encoder(data: Path, out: Path, fold: int, steps: int, batch_size: int = 16) -> None:
    """Train a small CED as a tagger of seven classes, on the training recordings of them alone."""
    if (out / "config.json").is_file():
        return
    torch.manual_seed(fold)
    rng, labels = random.Random(fold), tagged_classes(fold)
    rows = [
        {"id": clip.id, "events": clip.extra["events"], "audio": clip.audio}
        for clip in read_manifest(data / "manifest.jsonl")
        if clip.split in SIZES["all"] and len(clip.extra["events"]) == 1
    ]
    rows = [row for row in rows if row["events"][0] in labels]
    sounds = {row["id"]: load_audio(row["audio"]) for row in rows}
    model = CED(replace(ENCODER, drop_path=0.1, num_classes=len(labels), labels=labels))
    fix_mel_statistics(model, list(sounds.values()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        batch = [rng.sample(rows, rng.choice((1, 1, 2))) for _ in range(batch_size)]
        waveforms, lengths = pad_waveforms(
            [overlay([sounds[row["id"]] for row in scene], rng) for scene in batch]
        )
        logits = model(waveforms, lengths, classify=True).logits
        loss = binary_cross_entropy_with_logits(logits, targets(batch, labels))
        step(loss, model, optimizer, schedule)
    print(f"encoder of fold {fold}: loss {loss.item():.3f}", flush=True)
    model.save_pretrained(out)


def pretrain_decoder(esc10: Path, out: Path, steps: int, batch_size: int = 32) -> None:
    """Train a small Llama, on text alone, to write captions of keywords: any class with any.

    A large language model can do so from the start. Without it a small one makes no use of what stands before
    a caption, and learning to do so would take longer than all else.
    """
    if (out / "trained.json").is_file():
        return
    texts = random_captions(esc10, 4000, seed=0)
    words = [text for pair in texts for text in pair]
    create_tiny_decoder(out, words, vocab_size=512, hidden_size=128, num_layers=2, num_heads=4)
    model, tokenizer = load_decoder(out)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    rng = random.Random(0)
    for _ in range(steps):
        rows = []
        for keywords, text in rng.sample(texts, batch_size):
            prefix = [tokenizer.bos_token_id, *tokenizer(keywords, add_special_tokens=False)["input_ids"]]
            labels = tokenize_captions(tokenizer, [text], "reference")[0]
            rows.append((torch.tensor([*prefix, *labels]), len(prefix)))
        inputs = pad_sequence([tokens for tokens, _ in rows], batch_first=True)
        labels = pad_sequence([tokens for tokens, _ in rows], batch_first=True, padding_value=IGNORED)
        for row, (_, size) in zip(labels, rows, strict=True):
            row[:size] = IGNORED  # keywords are read, not written
        logits = model(inputs[:, :-1]).logits
        loss = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        step(loss, model, optimizer, schedule)
    print(f"decoder: loss {loss.item():.3f} per token", flush=True)
    model.save_pretrained(out)
    write_json(out / "trained.json", {"loss": loss.item()})


def step(loss: torch.Tensor, model: torch.nn.Module, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
    """Make one update."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()


# One run


def settings(run: Run, out: Path, updates: int) -> TrainConfig:
    """Return the training, as `aac-llm train` would have it."""
    manifest = out / "data" / f"fold-{run.fold}" / "manifest.jsonl"
    return TrainConfig(
        out=out / "training" / run.name,
        model=model_settings(run.arm, out, run.fold),
        data=DataConfig(
            train=(manifest,), train_splits=SIZES[run.size], validation=(manifest,), num_workers=0
        ),
        batch_size=BATCH_SIZE,
        epochs=updates,  # more than enough: max_steps ends the run
        max_steps=updates,
        learning_rate=run.rate,
        weight_decay=0.01,
        warmup_ratio=0.1,
        eval_steps=-(-updates // 2),
        save_steps=updates,
        logging_steps=max(1, updates // 10),
        validation=ValidationConfig(max_clips=60, batch_size=32),
        device="cpu",
        seed=run.seed,
    )


def model_settings(arm: str, out: Path, fold: int) -> ModelConfig:
    """Return an arm's model, with the fold's encoder and the decoder that all share."""
    encoder = out / "whisper" if arm == WHISPER else out / "encoders" / f"fold-{fold}"
    return replace(
        ARMS[arm],
        decoder=str(out / "decoder"),
        decoder_dtype="float32",
        encoder=ENCODER,
        encoder_weights=str(encoder),
        prompt=ACOUSTIC_TOKENS,
    )


def count_operations(config: ModelConfig) -> int:
    """Count the floating point operations of an update on a batch of mean length."""
    torch.manual_seed(0)
    model = CaptionModel.from_config(config).train()
    waveforms = torch.randn(BATCH_SIZE, round(SECONDS * 16_000)) * 0.05
    labels = model.tokenize_captions(["a dog is barking loudly while it rains"] * BATCH_SIZE)
    with FlopCounterMode(display=False) as counter:
        model(waveforms, labels=labels).loss.backward()
    return counter.get_total_flops()


def keep(run: Run, out: Path, operations: dict[str, int]) -> dict:
    """Train a run that is not there yet, caption its clips, and return what was written of it."""
    path = out / "runs" / f"{run.name}.json"
    if path.exists():
        return read_object(path)
    began, used = time.monotonic(), time.process_time()
    counted = operations["encoder-frozen" if run.arm == WHISPER else run.arm]
    updates = max(1, round(UPDATES * operations["recipe"] / counted))
    result = train(settings(run, out, updates))
    cpu = time.process_time() - used
    found = {
        **asdict(run),
        "updates": updates,
        "operations": updates * counted,
        "cpu_seconds": round(cpu, 1),
        "validation": result.scores,
        "split": run.split,
        "captions": caption(result.model, out / "data" / f"fold-{run.fold}", run.split),
    }
    if run.is_sampled:
        torch.manual_seed(run.seed)
        found["sampled"] = caption(result.model, out / "data" / f"fold-{run.fold}", run.split, **SAMPLING)
    write_json(path, found)
    shutil.rmtree(out / "training" / run.name)
    wall, score = time.monotonic() - began, result.scores["cider_d"]
    print(f"{run.name}: {updates} updates, CIDEr-D {score:.3f}, {cpu:.0f} s of CPU, {wall:.0f} s", flush=True)
    return found


def caption(model: Path, data: Path, split: str, **generation: Any) -> dict[str, str]:
    """Caption the clips of a split, by id."""
    clips: Sequence[Clip] = read_manifest(data / "manifest.jsonl", split=split)
    captioner = Captioner.from_pretrained(str(model), device="cpu")
    found = captioner.caption([load_audio(clip.audio) for clip in clips], **generation)
    return {clip.id: prediction.caption for clip, prediction in zip(clips, found, strict=True)}


def remember_tokens() -> None:
    """Let a frozen Whisper encode each sound once.

    That is exact, because the tokens of a sound depend on that sound alone.
    """
    encode, kept = WhisperEncoder._encode, dict[bytes, torch.Tensor]()

    def encode_new(self: WhisperEncoder, pieces: Sequence[torch.Tensor], augment: Any) -> list[torch.Tensor]:
        keys = [hashlib.sha256(piece.numpy().tobytes()).digest() for piece in pieces]
        new = {key: piece for key, piece in zip(keys, pieces, strict=True) if key not in kept}
        if new:
            kept.update(zip(new, encode(self, list(new.values()), augment), strict=True))
        return [kept[key] for key in keys]

    WhisperEncoder._encode = encode_new  # type: ignore[method-assign]


def correct(out: Path, llm: str) -> None:
    """Repair the sampled captions of the runs that have some, where that is not done yet."""
    corrector = Corrector(CorrectionConfig(llm=llm, device="cpu", dtype="float32"))
    for path in sorted((out / "runs").glob("*.json")):
        run, place = read_object(path), out / "corrections" / path.name
        if "sampled" in run and not place.exists():
            found = dict(zip(run["sampled"], corrector.correct(list(run["sampled"].values())), strict=True))
            kept = {name: run[name] for name in ("arm", "size", "seed", "split")}
            kept["corrected"] = {name: correction.after for name, correction in found.items()}
            kept["considered"] = sum(correction.considered for correction in found.values())
            kept["changed"] = sum(correction.after != correction.before for correction in found.values())
            write_json(place, kept | {"gate": corrector.gate.name, "clips": len(found)})
            print(f"{path.name}: {kept['considered']} held back, {kept['changed']} changed", flush=True)


# All runs


def choose_rates(arms: Sequence[str], out: Path, operations: dict[str, int]) -> dict[str, float]:
    """Return each arm's learning rate: the best by CIDEr-D on validation, of equal ones by loss."""
    chosen = {}
    for arm in arms:
        found = [keep(Run(arm, "all", rate, CHOICE_SEED), out, operations) for rate in RATES]
        best = max(found, key=lambda run: (run["validation"]["cider_d"], -run["validation"]["loss"]))
        chosen[arm] = best["rate"]
        print(f"{arm}: learning rate {best['rate']:g}", flush=True)
    return chosen


def main() -> None:
    """Make the runs that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--esc10", type=Path, required=True, help="folder with clips.jsonl and captions.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), default=[arm for arm in ARMS if arm != WHISPER]
    )
    parser.add_argument("--whisper", type=Path, help="folder of whisper-tiny, for the arm whisper-frozen")
    parser.add_argument("--llm", help="folder of a language model that corrects sampled captions")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=8, help="seeds of each arm and size")
    arguments = parser.parse_args()
    out = arguments.out
    if WHISPER in arguments.arms and not arguments.whisper:
        parser.error("the arm whisper-frozen needs --whisper")
    torch.set_num_threads(1)
    with sole_writer(out, folder=True):
        pretrain_decoder(arguments.esc10, out / "decoder", DECODER_UPDATES)
        for fold in range(min(NUM_FOLDS, arguments.seeds)):
            data, encoder = out / "data" / f"fold-{fold}", out / "encoders" / f"fold-{fold}"
            write_fold(arguments.esc10, data, fold)
            pretrain_encoder(data, encoder, fold, ENCODER_UPDATES)
        arms = list(dict.fromkeys(("recipe", *arguments.arms)))
        if WHISPER in arms:
            WhisperEncoder.from_pretrained(arguments.whisper).save_pretrained(out / "whisper")
            remember_tokens()
        counted = [arm for arm in ARMS if arm != WHISPER]
        operations = {arm: count_operations(model_settings(arm, out, 0)) for arm in counted}
        rates = choose_rates(arms, out, operations)
        for seed in PILOT_SEEDS:
            keep(Run("recipe", "all", rates["recipe"], seed), out, operations)
        for seed in range(arguments.seeds):
            for size in arguments.sizes:
                for arm in arms:
                    keep(Run(arm, size, rates[arm], seed), out, operations)
        if arguments.llm:
            correct(out, arguments.llm)


if __name__ == "__main__":
    main()
