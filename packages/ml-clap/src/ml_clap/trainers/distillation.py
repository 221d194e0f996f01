"""Distillation: a small text tower learns the vectors that a model gives to texts: `ml-clap distill`.

The student has a small vocabulary of its own, learnt from the texts, and a few layers. Its loss is one minus
the cosine with the teacher's vector, half the squared distance on the unit sphere: it bounds how far any
sound's score can move. What holds of `ml-clap train` holds here too (`ml_clap.trainers.train`): a killed run
is continued by the same command and ends as if it had not been killed, a finished one is only read.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from audio_common.strict_json import read_object
from torch import Tensor

from ml_clap.config.distill import DistillConfig
from ml_clap.data.languages import LANGUAGES
from ml_clap.data.texts import Text, distinct, hold_out, read_texts
from ml_clap.files import replace_folder, to_plain, write_json
from ml_clap.lock import sole_writer
from ml_clap.models.card_parts import Training
from ml_clap.models.device import choose_device
from ml_clap.models.normalization import normalize_text
from ml_clap.models.text_encoder import make_small_text_encoder
from ml_clap.models.text_tower import TextTower, make_linear_head, with_scores
from ml_clap.models.tower_folder import TowerSettings, absolute, read_tower_settings
from ml_clap.output import Progress
from ml_clap.trainers.best_model import BEST, VALIDATION_FILE, best_score
from ml_clap.trainers.card import tower_training
from ml_clap.trainers.interruption import Interruption
from ml_clap.trainers.optimizer import learning_rate, parameter_groups, set_learning_rate
from ml_clap.trainers.processes import (
    TrainingError,
    check_finite_weights,
    check_same_run,
    is_same_run,
    random_seed,
)
from ml_clap.trainers.result import FINISHED_FILE
from ml_clap.trainers.run_folder import (
    RunLog,
    list_checkpoints,
    load_checkpoint,
    recover_run,
    save_checkpoint,
)
from ml_clap.trainers.teacher import (
    centred_cosines,
    digest_of,
    load_teacher,
    mean_by_language,
    teacher_vectors,
)

logger = logging.getLogger(__name__)

KEPT_CHECKPOINTS = 2
MIXED = 16


@dataclass
class Progressed:
    """How far a distillation is."""

    step: int = 0
    """Updates taken."""
    validated: int = 0
    """Update after which the last validation ran."""
    best: float | None = None
    """Highest validation score."""


def distill(config: DistillConfig) -> dict[str, Any]:
    """Train a student as `config` says, or continue the run in `config.out`; read a finished one.

    Returns:
        What `finished.json` holds: the folder of the best student, its score, its texts.

    Raises:
        TrainingError: The loss, a gradient or a weight is not finite, or `out` holds another run.
        BusyError: Another process trains in `out`.
    """
    with sole_writer(config.out, folder=True):
        recover_run(config.out)
        found = _read_finished(config)
        return Distillation(config).run() if found is None else found


def distill_verb(config: DistillConfig) -> None:
    """Distil, and say where the tower is and how near it comes."""
    done = distill(config)
    print(
        f"text tower: {config.out / done['model']} ({done['parameters'] / 1e6:.1f} M parameters)\n"
        f"centred cosine with the teacher on {done['held_out']:,} held-out texts: {done['score']:.1f} %"
    )


class Distillation:
    """One run: everything is made here, `run` takes the updates."""

    def __init__(self, config: DistillConfig) -> None:
        self.config = config
        self.state = Progressed()
        self.texts, self.held = read_sides(config)
        teacher = load_teacher(
            config.model, config.encoder, encoder_prefix=config.encoder_prefix, device=config.device
        )
        vectors = teacher_vectors(teacher, [*self.texts, *self.held], config.out)
        self.targets, self.held_targets = vectors[: len(self.texts)], vectors[len(self.texts) :]
        self.centre = self.targets.mean(dim=0)
        self.settings = run_settings(config) | {
            "texts_digest": digest_of([*self.texts, *self.held]),
            "fingerprint": teacher.settings.fingerprint,
        }
        self.batches: list[list[int]] = []
        """Of this pass over the texts."""
        self.batches_per_epoch = max(1, len(self.texts) // config.batch_size)
        self.device = choose_device(config.device)
        self.student = make_student(config, self.texts, self.targets, teacher.settings.fingerprint)
        del teacher  # it may be a hundred times the student
        self.student.to(self.device)
        groups = parameter_groups(self.student, weight_decay=config.weight_decay, encoder_lr_factor=1.0)
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)  # type: ignore[arg-type]

    def run(self) -> dict[str, Any]:
        """Take all updates that are left, validate, keep the best, and write the last."""
        config, state = self.config, self.state
        self._resume()
        (config.out / FINISHED_FILE).unlink(missing_ok=True)  # of the shorter run that this one continues
        write_json(config.out / "config.json", config)
        logger.info(
            "student of %.1f M parameters, %d texts in %d languages, %d held out",
            count_parameters(self.student) / 1e6,
            len(self.texts),
            len({text.language for text in self.texts}),
            len(self.held),
        )
        log = RunLog(config.out / "log.jsonl", step=state.step, validated=state.validated)
        interruption = Interruption()
        with interruption, Progress("Distilling", config.max_steps, start=state.step) as shown:
            # The run was stopped between an update and its validation.
            self._validate_if_due(log)
            while state.step < config.max_steps:
                record = self._update()
                log.write(record)
                shown.advance(note=f"loss {record['loss']:.4f}")
                if interruption.is_wanted:
                    self._save()
                    raise KeyboardInterrupt(
                        f"The run is saved up to step {state.step} in {config.out}; "
                        "the same command continues it."
                    )
                self._validate_if_due(log)
                if state.step % config.save_steps == 0 or state.step == config.max_steps:
                    self._save()
        return self._finish()

    def _update(self) -> dict[str, float]:
        """Take one update; TrainingError before it if the loss or the gradient is not finite."""
        config, state = self.config, self.state
        state.step += 1
        rate = learning_rate(
            (state.step - 0.5) / config.max_steps, peak=config.learning_rate, warmup_ratio=config.warmup_ratio
        )
        set_learning_rate(self.optimizer, rate)
        # A seed for each update: a resumed run draws the same dropout as one that was never stopped.
        torch.manual_seed(random_seed(config.seed, state.step))
        epoch, place = divmod(state.step - 1, self.batches_per_epoch)
        if not self.batches or place == 0:
            self.batches = make_batches(self.texts, config.batch_size, random_seed(config.seed, epoch))
        places = self.batches[place]
        batch = [self.texts[place] for place in places]
        self.student.train()
        vectors = self.student.embed_text([text.text for text in batch], [text.language for text in batch])
        loss = cosine_loss(vectors, self.targets[places].to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.student.parameters(), config.max_grad_norm))
        for name, value in (("loss", loss.item()), ("norm of the gradient", norm)):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} is {value} in update {state.step}, texts "
                    f"{', '.join(text.text[:30] for text in batch[:3])}, ...; lower learning_rate; "
                    "the same command continues from the last checkpoint"
                )
        self.optimizer.step()
        return {"step": state.step, "loss": loss.item(), "lr": rate, "grad_norm": norm}

    def _validate_if_due(self, log: RunLog) -> None:
        """Score the student on the held-out texts; the best so far becomes the folder `best`."""
        config, state = self.config, self.state
        is_wanted = state.step % config.eval_steps == 0 or state.step == config.max_steps
        if not is_wanted or state.step <= state.validated:
            return
        self._check_finite()
        scores = score_by_language(self.student.eval(), self.held, self.held_targets, self.centre)
        score = scores["mean"]
        record = {"step": state.step, "metric": "centred cosine", "score": score, "scores": scores}
        if state.best is None or score > state.best:
            tower = with_scores(self.student, scores)

            def save(folder: Any) -> None:
                tower.save_pretrained(folder, training=self._training())
                write_json(folder / VALIDATION_FILE, record)

            replace_folder(config.out / BEST, save)
            state.best = score
        log.write(record)
        logger.info("validation after %d updates: centred cosine %.2f %%", state.step, score)
        state.validated = state.step

    def _training(self) -> Training:
        """Return how the student was trained so far, for its card."""
        return tower_training(self.config, self.state.step, self.texts, self.held)

    def _save(self) -> None:
        self._check_finite()
        kept = {
            "state": asdict(self.state),
            "config": self.settings,
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(self.config.out, self.state.step, kept, keep=KEPT_CHECKPOINTS)

    def _resume(self) -> None:
        found = list_checkpoints(self.config.out)
        if not found:
            return
        kept = load_checkpoint(found[-1])
        check_same_run(kept["config"], self.settings, self.config.out)
        self.student.load_state_dict(kept["student"])
        self.optimizer.load_state_dict(kept["optimizer"])
        vars(self.state).update(kept["state"])
        # It may be of an update after the checkpoint: there is no better judge than its folder.
        self.state.best = best_score(self.config.out, self.state.best)
        logger.info("continuing after update %d", self.state.step)

    def _check_finite(self) -> None:
        check_finite_weights(self.student, self.state.step)

    def _finish(self) -> dict[str, Any]:
        self._check_finite()
        out = self.config.out
        last, training = self.student, self._training()
        replace_folder(out / "last", lambda folder: last.save_pretrained(folder, training=training))
        result = {
            "model": BEST,
            "step": self.state.step,
            "score": self.state.best,
            "scores": read_tower_settings(out / BEST).scores,
            "parameters": count_parameters(self.student),
            "texts": len(self.texts),
            "held_out": len(self.held),
            "settings": self.settings,
        }
        write_json(out / FINISHED_FILE, result)
        return result


def run_settings(config: DistillConfig) -> dict[str, Any]:
    """Return the settings as JSON has them: those of a run that may be continued."""
    return dict(to_plain(config))


def read_sides(config: DistillConfig) -> tuple[list[Text], list[Text]]:
    """Return the texts to learn from, and those to validate on; no text is on both sides."""
    texts = distinct(read_texts(config.texts, splits=config.splits, language=config.language))
    if not config.validation_texts:
        return hold_out(texts, config.validation_share, config.seed)
    held = distinct(
        read_texts(config.validation_texts, splits=config.validation_splits, language=config.language)
    )
    words = {text.text for text in held}
    kept = [text for text in texts if text.text not in words]
    if not kept:
        raise ValueError("validation_texts: every text to learn from is among them")
    return kept, held


def make_student(config: DistillConfig, texts: list[Text], targets: Tensor, fingerprint: str) -> TextTower:
    """Return a student with random weights whose vectors begin at the mean of the teacher's."""
    spoken = {text.language for text in texts}
    languages = [code for code in LANGUAGES if code in spoken] + sorted(spoken - set(LANGUAGES))
    encoder = make_small_text_encoder(
        # Normalized as the student will read them, so that its pieces are of what it meets.
        [normalize_text(text.text) for text in texts],
        vocab_size=config.vocab_size,
        dim=config.dim,
        layers=config.layers,
        heads=config.heads,
        languages=languages,
        max_tokens=config.max_text_tokens,
        seed=config.seed,
    )
    settings = TowerSettings(
        kind="student",
        model=absolute(str(config.model or config.encoder)),
        fingerprint=fingerprint,
        embed_dim=targets.shape[1],
        max_text_tokens=config.max_text_tokens,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_seed(config.seed, 0))
        weight = torch.randn(targets.shape[1], config.dim) * (0.2 / config.dim)
    return TextTower(settings, encoder, make_linear_head(weight, targets.mean(dim=0)))


def cosine_loss(vectors: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of one minus the cosine of unit vectors `(batch, dim)` with their targets."""
    return 1.0 - (vectors * targets).sum(dim=1).mean()


def make_batches(texts: list[Text], size: int, seed: int) -> list[list[int]]:
    """Return batches of numbers of texts for one pass over them, in an order that follows from the seed.

    Of each `MIXED` batches' worth of texts drawn at random, those of like length are put together: one long
    text would pad a whole batch. What is left of a batch at the end is left out of this pass.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(texts), generator=generator).tolist()
    batches = []
    for first in range(0, len(order), MIXED * size):
        block = sorted(order[first : first + MIXED * size], key=lambda place: len(texts[place].text.encode()))
        batches += [block[start : start + size] for start in range(0, len(block), size)]
    full = [batch for batch in batches if len(batch) == min(size, len(texts))]
    return [full[place] for place in torch.randperm(len(full), generator=generator).tolist()]


def score_by_language(
    student: TextTower, texts: list[Text], targets: Tensor, centre: Tensor
) -> dict[str, float]:
    """Return the mean centred cosine with targets `(texts, dim)` of each language and of all, percent."""
    codes = [text.language for text in texts]
    vectors = torch.from_numpy(student.encode([text.text for text in texts], codes))
    return mean_by_language(centred_cosines(vectors, targets, centre), codes)


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of a model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def _read_finished(config: DistillConfig) -> dict[str, Any] | None:
    """Return the result of this run if it is finished; None if there is something left to do."""
    path = config.out / FINISHED_FILE
    if config.resume == "never" and (path.is_file() or list_checkpoints(config.out)):
        raise TrainingError(f"{config.out} holds a run; resume: auto continues it, or choose another --out")
    if not path.is_file():
        return None
    found, wanted = read_object(path), run_settings(config)
    # Texts and teacher are not read for this: they are compared where the run is continued.
    measured = {name: value for name, value in found["settings"].items() if name not in wanted}
    check_same_run(found["settings"], wanted | measured, config.out)
    if is_same_run(found["settings"], wanted | measured) and (config.out / BEST).is_dir():
        logger.info("%s is finished", config.out)
        return dict(found)
    return None
