"""The model cards of r1-aqa: README.md, with a head that the Hugging Face hub reads.

Every save writes one beside the weights. What all packages' cards have in common is `card_parts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r1_aqa.config.model import ModelConfig
from r1_aqa.models import card_parts
from r1_aqa.models.card_parts import About, Part, Score, Training, hub_names, shown_name
from r1_aqa.models.licence import CARD_FILE, licence_of_weights

TASK = "audio-question-answering"
NAME = "Audio LLM"
TEXT = """Answers questions about sounds, with options or without: an audio LLM, trained and run by `r1-aqa`
(the method of [arXiv:2503.11197](https://arxiv.org/abs/2503.11197)).

```sh
r1-aqa answer sound.wav --model FOLDER --question "What is heard?" --choices "a dog" "a car"
```

{how}"""
ADAPTERS = """The folder holds adapters as peft writes them; plain peft puts them on their base:
`PeftModel.from_pretrained(base, "FOLDER")`."""
WHOLE = "The folder holds a whole model of transformers, with its processor."


def make_card(
    base: str,
    config: ModelConfig,
    *,
    is_adapted: bool,
    training: Training | None = None,
    scores: Sequence[Score] = (),
) -> str:
    """Return the text of a model's card.

    Args:
        base: the model that it began from, or that the adapters are for: a hub id or a folder.
        config: which parts were trained.
        is_adapted: whether the folder holds adapters.
        training: how it was trained; None: that is not known.
        scores: of it.
    """
    return card_parts.make_card(_about(base, _trained(config, is_adapted), is_adapted), training, scores)


def make_merged_card(source: Path, base: str) -> str:
    """Return the card of adapters that were merged into their base: theirs, as that of a whole model.

    Args:
        source: folder of the adapters.
        base: hub id or folder of the model that they are for.
    """
    text = card_parts.read_card(source)
    if text is None or ADAPTERS not in text:  # not written here: nothing of it is known to hold
        return card_parts.make_card(_about(base, "adapters, merged", is_adapted=False))
    text = text.replace(ADAPTERS, WHOLE)
    return text.replace("library_name: peft\n", "library_name: transformers\n").replace(
        "base_model_relation: adapter\n", "base_model_relation: finetune\n"
    )


def add_scores(folder: Path, scores: Sequence[Score]) -> Path:
    """Add scores to the card of a model, and return the card's path; errors as in `card_parts`."""
    return card_parts.add_scores(folder, scores, task=TASK, name=NAME)


def has_card(folder: Path) -> bool:
    """Tell whether a folder has a card."""
    return (folder / CARD_FILE).is_file()


def _about(base: str, trained: str, is_adapted: bool) -> About:
    part = Part(name="audio LLM", what=shown_name(base), trained=trained, licence=licence_of_weights(base))
    return About(
        name=NAME,
        title="A model that answers questions about sounds",
        text=TEXT.format(how=ADAPTERS if is_adapted else WHOLE),
        evaluate="r1-aqa evaluate DATA --model FOLDER --out OUT --card",
        parts=(part,),
        task=TASK,
        pipeline="audio-text-to-text",
        library="peft" if is_adapted else "transformers",
        tags=("r1-aqa",),
        languages=("en",),
        base_models=hub_names(base),
        relation="adapter" if is_adapted else "finetune",
    )


def _trained(config: ModelConfig, is_adapted: bool) -> str:
    what = f"adapters of rank {config.lora.rank} in the language model" if is_adapted else "in full"
    frozen = [
        name
        for name, is_frozen in (("encoder", config.freeze_encoder), ("projector", config.freeze_projector))
        if is_frozen
    ]
    return f"{what}; {' and '.join(frozen)} frozen" if frozen else f"{what}; encoder and projector, too"
