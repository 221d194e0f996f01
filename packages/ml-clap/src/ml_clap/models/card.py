"""The model cards of ml-clap: README.md, with a head that the Hugging Face hub reads.

Every save writes one beside the weights. What all packages' cards have in common is `card_parts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_clap.config.model import ModelConfig
from ml_clap.models import card_parts
from ml_clap.models.card_parts import About, Part, Score, Training, hub_names, shown_name
from ml_clap.models.licence import SONAR, licence_of_weights
from ml_clap.models.tower_folder import TowerSettings

TASK = "audio-text-retrieval"
NAME = "ML-CLAP"
EVALUATE = "ml-clap evaluate MANIFEST --model FOLDER --card"
SCALE = (
    "Percentages: `r1` and `r10` are the queries whose right answer is among the first 1 or 10, `map10` is "
    "the mean average precision of the first 10."
)
TEXT = """Sounds, and texts in many languages, as vectors of one space: an audio encoder (CED) and a text
encoder, each with a head; trained and run by `ml-clap` (the method of
[arXiv:2406.07012](https://arxiv.org/abs/2406.07012)).

```sh
ml-clap index recordings --model FOLDER --out runs/index
ml-clap search runs/index "un chien aboie" --lang fra_Latn
```

Where `ml-clap` is installed, sentence-transformers opens the folder, too:
`SentenceTransformer("FOLDER").encode(["a dog barks"])`."""
TOWER_TEXT = """Texts as vectors of the space of another model, whose indexes of sounds it searches
without that model; made and run by `ml-clap`.

```sh
ml-clap search runs/index "un chien aboie" --lang fra_Latn --text_tower FOLDER
```"""


def make_card(
    config: ModelConfig,
    *,
    is_sonar: bool = False,
    languages: Sequence[str] = (),
    base: str | None = None,
    training: Training | None = None,
    scores: Sequence[Score] = (),
) -> str:
    """Return the text of a model's card.

    Args:
        config: of the model.
        is_sonar: whether its text encoder has SONAR's weights, whatever its name is.
        languages: of the texts that it was trained on, as FLORES-200 codes.
        base: the trained model that it began from; None: from the encoders alone.
        training: how it was trained; None: that is not known.
        scores: of it.
    """
    about = About(
        name=NAME,
        title="Sounds and texts in one space",
        text=TEXT,
        evaluate=EVALUATE,
        parts=_parts(config, is_sonar),
        task=TASK,
        pipeline="feature-extraction",
        library="ml-clap",
        tags=("sentence-transformers", "multilingual"),
        languages=tuple(dict.fromkeys(code.split("_")[0] for code in languages)),
        base_models=hub_names(base, config.audio_weights, config.text_encoder),
        relation="finetune",
        scale=SCALE,
    )
    return card_parts.make_card(about, training, scores)


def make_tower_card(settings: TowerSettings, training: Training | None = None) -> str:
    """Return the text of the card of a text tower, with the scores that its settings have.

    Args:
        settings: of the tower.
        training: how it was made; None: that is not known.
    """
    what = {
        "student": "a small encoder of its own, which learnt the other model's vectors",
        "projection": "a linear map from the vectors of an encoder that lies elsewhere",
        "model": "the other model's own text encoder",
    }
    parts = [Part(name="text tower", what=what[settings.kind])]
    for name, source in (("space", settings.model), ("encoder", settings.encoder)):
        if source is not None:
            parts.append(
                Part(name=name, what=shown_name(source), trained="frozen", licence=licence_of_weights(source))
            )
    about = About(
        name="Text tower",
        title="A text tower",
        text=TOWER_TEXT,
        evaluate="ml-clap evaluate MANIFEST --model MODEL --text_tower FOLDER",
        parts=tuple(parts),
        task="text-embedding",
        pipeline="feature-extraction",
        library="ml-clap",
        base_models=hub_names(settings.model, settings.encoder),
        scale="Mean centred cosine with the model's own vectors, in percent.",
    )
    held = training.data[-1] if training is not None else None
    scores = [
        Score(
            metric="centred_cosine",
            value=value,
            data="texts that were held out",
            split=language,
            count=held.count if held is not None else 0,
            unit="texts",
        )
        for language, value in (settings.scores or {}).items()
    ]
    return card_parts.make_card(about, training, scores)


def add_scores(folder: Path, scores: Sequence[Score]) -> Path:
    """Add scores to the card of a model, and return the card's path; errors as in `card_parts`."""
    return card_parts.add_scores(folder, scores, task=TASK, name=NAME)


def _parts(config: ModelConfig, is_sonar: bool) -> tuple[Part, ...]:
    weights = config.audio_weights
    source = "from random weights" if weights is None else shown_name(weights)
    trained = "frozen" if config.freeze_text else "trained in full"
    if config.text_layers is not None:
        trained = f"its last {config.text_layers} layers"
    elif config.text_lora_rank:
        trained = f"adapters of rank {config.text_lora_rank}"
    return (
        Part(
            name="audio encoder",
            what=f"CED of width {config.audio.embed_dim}, {source}",
            trained="frozen" if config.freeze_audio else "trained in full",
            licence=licence_of_weights(weights),
        ),
        Part(
            name="text encoder",
            what=shown_name(config.text_encoder),
            trained=trained,
            licence=SONAR if is_sonar else licence_of_weights(config.text_encoder),
        ),
        Part(name="heads", what=f"two of two layers, into {config.embed_dim} dimensions", trained="in full"),
    )
