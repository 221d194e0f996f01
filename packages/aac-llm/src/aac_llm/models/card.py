"""The model card of a captioner: README.md, with a head that the Hugging Face hub reads.

Training writes it beside the weights: what the model is made of, with the licences of its parts; data, with
the licences of the clips; scores with their intervals; and the command that trains it again. `--card` of
`aac-llm evaluate` adds the scores of a test. What all packages' cards have in common is `card_parts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aac_llm.config.model import ModelConfig
from aac_llm.data.manifest import Clip
from aac_llm.models import card_parts
from aac_llm.models.card_parts import About, DataSummary, Part, Score, Training, hub_names, shown_name
from aac_llm.models.licence import licence_of_weights

TASK = "audio-captioning"
NAME = "Captioner"
TEXT = """An audio encoder, a bridge and a causal language model, trained and run by `aac-llm` (the method of
[arXiv:2406.13275](https://arxiv.org/abs/2406.13275)).

```sh
aac-llm caption recordings --model FOLDER --out captions.jsonl
```"""


def summarize_data(use: str, names: Sequence[str], clips: Sequence[Clip], seconds: float) -> DataSummary:
    """Summarise clips for a card.

    Args:
        use: `training` or `validation`.
        names: of their manifests.
        clips: the clips.
        seconds: their length together.
    """
    licences, datasets = (clip.licence for clip in clips), (clip.dataset for clip in clips)
    return card_parts.summarize_data(use, names, licences, datasets=datasets, hours=seconds / 3600)


def make_card(
    config: ModelConfig,
    training: Training | None = None,
    scores: Sequence[Score] = (),
    *,
    base: str | None = None,
) -> str:
    """Return the text of a captioner's card.

    Args:
        config: of the model.
        training: how it was trained; None: that is not known.
        scores: of it.
        base: the captioner that it began from; None: from its parts alone.
    """
    about = About(
        name=NAME,
        title="A captioner of sounds",
        text=TEXT,
        evaluate="aac-llm evaluate DATA --model FOLDER --card",
        parts=_parts(config),
        task=TASK,
        pipeline="audio-text-to-text",
        library="aac-llm",
        languages=("en",),
        base_models=hub_names(base, config.decoder, config.encoder_weights),
        relation="adapter" if config.decoder_strategy == "lora" else "finetune",
    )
    return card_parts.make_card(about, training, scores)


def add_scores(folder: Path, scores: Sequence[Score]) -> Path:
    """Add scores to the card of a captioner, and return the card's path; errors as in `card_parts`."""
    return card_parts.add_scores(folder, scores, task=TASK, name=NAME)


def _parts(config: ModelConfig) -> tuple[Part, ...]:
    kind = {"window": "Q-Former over windows", "clip": "Q-Former over the clip", "linear": "projection"}
    what = {"frozen": "frozen", "lora": f"adapters of rank {config.lora.rank}", "full": "trained in full"}
    weights = config.encoder_weights
    encoder = {"ced": "CED", "whisper": "Whisper's encoder"}[config.encoder_kind]
    source = "from random weights" if weights is None else shown_name(weights)
    return (
        Part(
            name="encoder",
            what=f"{encoder} of width {config.encoder_dim}, {source}",
            trained=what[config.encoder_strategy],
            licence=licence_of_weights(weights),
        ),
        Part(name="bridge", what=kind[config.bridge.kind], trained="trained in full"),
        Part(
            name="language model",
            what=shown_name(config.decoder),
            trained=what[config.decoder_strategy],
            licence=licence_of_weights(config.decoder),
        ),
    )
