"""Sound scenes synthesised with numpy, and what can be said of them: captions and questions.

    >>> from audio_common.scenes import caption, random_scene, render
    >>> scene = random_scene(seed=3, num_events=3, seconds=6.0)
    >>> caption(scene, "eng_Latn"), render(scene).shape
    ('People applaud quietly, then a bell rings while rain falls.', (96000,))

Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audio_common.scenes.scene import KINDS, Event, Scene, random_scene, render, render_event
    from audio_common.scenes.text import (
        HELD_OUT_VARIANT,
        LANGUAGES,
        NUM_VARIANTS,
        TRAINING_VARIANTS,
        Question,
        caption,
        label,
        questions,
    )

_HOME = {
    **dict.fromkeys(("KINDS", "Event", "Scene", "random_scene", "render", "render_event"), "scene"),
    **dict.fromkeys(("HELD_OUT_VARIANT", "LANGUAGES", "NUM_VARIANTS", "TRAINING_VARIANTS"), "text"),
    **dict.fromkeys(("Question", "caption", "label", "questions"), "text"),
}

__all__ = [
    "HELD_OUT_VARIANT",
    "KINDS",
    "LANGUAGES",
    "NUM_VARIANTS",
    "TRAINING_VARIANTS",
    "Event",
    "Question",
    "Scene",
    "caption",
    "label",
    "questions",
    "random_scene",
    "render",
    "render_event",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
