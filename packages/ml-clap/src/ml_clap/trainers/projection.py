"""A projection: from any text encoder into a model's space, in closed form: `ml-clap project`.

With X the encoder's vectors and Y the model's of the same texts, or of their translations, both centred, the
map is ridge regression's `W = (X'X + k I)^-1 X'Y`. The strength k, in units of the mean eigenvalue of X'X, is
the one of `RIDGES` with the highest centred cosine on texts that are held out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from ml_clap.config.distill import ProjectConfig
from ml_clap.data.languages import resolve
from ml_clap.data.texts import Text, hold_out, read_texts
from ml_clap.files import recover_folder, replace_folder
from ml_clap.lock import sole_writer
from ml_clap.models.device import choose_device
from ml_clap.models.text_tower import TextTower, encoder_fingerprint, load_encoder_tower, make_linear_head
from ml_clap.models.tower_folder import TOWER_FILE, TextTowerError, TowerSettings, absolute
from ml_clap.trainers.card import tower_training
from ml_clap.trainers.teacher import centred_cosines, load_teacher, mean_by_language

logger = logging.getLogger(__name__)

RIDGES = tuple(10.0**power for power in range(-6, 3))
"""Strengths that are tried."""


@dataclass(frozen=True)
class Pair:
    """What the model reads, and what the encoder reads for the same."""

    source: Text
    text: Text


@dataclass(frozen=True)
class Projection:
    """A fitted map and how well it does."""

    tower: TextTower
    ridge: float
    """The strength that was chosen."""
    scores: dict[str, float]
    """Mean centred cosine with the model's vectors on held-out texts, by language and of all, in percent."""
    num_pairs: int
    """Pairs that were fitted."""
    num_held_out: int


def fit_projection(config: ProjectConfig) -> Projection:
    """Fit the projection that `config` describes and write its folder.

    Raises:
        ValueError: There are no pairs, or `out` holds something else than a text tower.
        BusyError: Another process writes `out`.
    """
    if config.out.exists() and any(config.out.iterdir()) and not (config.out / TOWER_FILE).is_file():
        raise TextTowerError(f"{config.out} holds something else: choose another --out")
    texts = read_texts(config.texts, splits=config.splits, language=config.language)
    kept, held = hold_out(texts, config.validation_share, config.seed)
    pairs, held_pairs = (list(make_pairs(side, config.source_language)) for side in (kept, held))
    if not pairs or not held_pairs:
        raise ValueError(f"no clip has captions in {config.source_language} and another language to pair")
    with sole_writer(config.out):
        recover_folder(config.out)
        teacher = load_teacher(config.model, device=config.device)
        sources = [pair.source for pair in pairs + held_pairs]
        targets = torch.from_numpy(
            teacher.encode([text.text for text in sources], [text.language for text in sources], 64)
        )
        settings = TowerSettings(
            kind="projection",
            model=teacher.settings.model,
            fingerprint=teacher.settings.fingerprint,
            embed_dim=teacher.settings.embed_dim,
            text_normalization=config.encoder_normalization,
            text_prefix=config.encoder_prefix,
            max_text_tokens=config.max_text_tokens,
            encoder=absolute(config.encoder),
        )
        del teacher
        found = _fit(config, settings, pairs, held_pairs, targets)
        training = tower_training(config, 0, pairs, held_pairs)
        replace_folder(config.out, lambda folder: found.tower.save_pretrained(folder, training=training))
    return found


def project_verb(config: ProjectConfig) -> None:
    """Fit a projection, and say how near it comes."""
    found = fit_projection(config)
    scores = ", ".join(f"{code} {value:.1f}" for code, value in found.scores.items())
    print(
        f"projection: {config.out} ({found.num_pairs:,} pairs, ridge {found.ridge:g})\n"
        f"centred cosine with the model on {found.num_held_out:,} held-out texts (%): {scores}"
    )


def make_pairs(texts: Sequence[Text], source_language: str | None) -> Iterator[Pair]:
    """Yield each text with what the model reads for it.

    Args:
        texts: Those of one clip side by side.
        source_language: None: the text itself; else the caption of the same clip in this language and at the
            same place. A clip with more captions in one language than in the other gives as many as pair.
    """
    if source_language is None:
        yield from (Pair(text, text) for text in texts)
        return
    code = resolve(source_language)
    for _, clip in groupby(texts, key=lambda text: text.group):
        rows = list(clip)
        sources = {text.place: text for text in rows if text.language == code}
        yield from (Pair(sources[text.place], text) for text in rows if text.place in sources)


def ridge_regression(features: Tensor, targets: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Return weight `(embed_dim, dim)` and bias `(embed_dim,)`, float32, of the map that the module says.

    Args:
        features: `(pairs, dim)`.
        targets: `(pairs, embed_dim)`.
        ridge: Strength in units of the mean eigenvalue of the centred features' covariance.
    """
    x, y = features.double(), targets.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    covariance = x.T @ x
    strength = ridge * covariance.diagonal().mean().clamp_min(1e-12)
    weight = torch.linalg.solve(covariance + strength * torch.eye(len(covariance), dtype=x.dtype), x.T @ y).T
    return weight.float(), (y_mean - weight @ x_mean).float()


def _fit(
    config: ProjectConfig,
    settings: TowerSettings,
    pairs: list[Pair],
    held: list[Pair],
    targets: Tensor,
) -> Projection:
    base = load_encoder_tower(
        config.encoder,
        prefix=config.encoder_prefix,
        max_tokens=config.max_text_tokens,
        normalization=config.encoder_normalization,
    ).to(choose_device(config.device))
    texts = [pair.text for pair in pairs + held]
    features = base.features([text.text for text in texts], [text.language for text in texts], 64)
    number = len(pairs)
    centre = targets[:number].mean(dim=0)
    best: tuple[float, Tensor, Tensor, Tensor] | None = None
    for ridge in RIDGES:
        weight, bias = ridge_regression(features[:number], targets[:number], ridge)
        vectors = F.normalize(features[number:] @ weight.T + bias, dim=1)
        values = centred_cosines(vectors, targets[number:], centre)
        logger.debug("ridge %g: centred cosine %.4f", ridge, values.mean().item())
        if best is None or values.mean() > best[1].mean():
            best = ridge, values, weight, bias
    assert best is not None
    ridge, values, weight, bias = best
    scores = mean_by_language(values, [pair.text.language for pair in held])
    named = replace(settings, encoder_fingerprint=encoder_fingerprint(base.text_encoder), scores=scores)
    tower = TextTower(named, base.text_encoder, make_linear_head(weight, bias)).eval()
    return Projection(tower, ridge, scores, number, len(held))
