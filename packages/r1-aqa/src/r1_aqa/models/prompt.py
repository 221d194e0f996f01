"""The text of a question: the paper's three prompts, and the instruction that a thinking model is given.

The paper's prompts (R1-AQA repository, arXiv:2503.11197) show the options as Python writes a list:

1. the question and its options alone (its SFT baselines);
2. and `Output the final answer in <answer> </answer>.` (its best model);
3. and a thinking part before (`<think> </think>`).

For AVQA, whose questions were asked about videos, the reference replaces every lower-case `video` by
`audio`, inside other words too; with MMAU's questions it does not. Both are kept: a prompt that differs in
one word from the one in training is another prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r1_aqa.config.model import PromptStyle

INSTRUCTIONS: dict[PromptStyle, str] = {
    "choices": "",
    "answer": " Output the final answer in <answer> </answer>.",
    "think": " Output the thinking process in <think> </think> and final answer in <answer> </answer>.",
    "think_short": (
        " Output the thinking process (less than 50 words) in <think> </think> and final answer in "
        "<answer> </answer>."
    ),
}


@dataclass(frozen=True)
class Prompt:
    """What a model is asked, beside the sounds."""

    text: str
    """The user's turn."""
    system: str | None = None
    """The system's turn; None: that of the model's chat template, if it has one."""


def format_prompt(
    question: str, choices: Sequence[str] = (), style: PromptStyle = "answer", *, about_video: bool = False
) -> str:
    """Return the text that goes beside the audio; word for word the paper's for its three styles.

    Args:
        question: as the data set has it.
        choices: the options in the order shown; empty for a free answer.
        style: which instruction follows.
        about_video: the question was asked about a video (AVQA): say `audio` instead.

    >>> format_prompt("What is in the video?", ["a dog", "a cat"], "choices", about_video=True)
    "What is in the audio? Please choose the answer from the following options: ['a dog', 'a cat']."
    """
    if style not in INSTRUCTIONS:
        raise ValueError(f"prompt must be one of {', '.join(INSTRUCTIONS)}, got {style!r}")
    text = question.replace("video", "audio") if about_video else question
    if choices:
        text += f" Please choose the answer from the following options: {list(choices)!r}."
    return text + INSTRUCTIONS[style]


def format_target(answer: str, style: PromptStyle = "answer") -> str:
    """Return the completion that fine-tuning teaches: the bare option for style `choices`, else in tags.

    Thinking has no target of its own: its data has none, and an empty block would teach not to think.
    """
    return answer if style == "choices" else f"<answer>{answer}</answer>"


def make_messages(
    prompt: Prompt, sounds: Sequence[dict[str, Any]] = ({"type": "audio"},), *, numbered: bool = True
) -> list[dict[str, Any]]:
    """Return the chat of one user turn, audio before text, as the chat templates of audio LLMs read it.

    By default the audio itself is given to the processor: an `audio` key with None in a text part, which data
    set libraries like to add, would count as another audio.

    Args:
        prompt: text and system's turn.
        sounds: the part of content for each sound.
        numbered: whether `Audio 1: ` and so on stand before several sounds.
    """
    content: list[dict[str, Any]] = []
    numbered = numbered and len(sounds) > 1
    for number, sound in enumerate(sounds, 1):
        label = {"type": "text", "text": ("\n" if number > 1 else "") + f"Audio {number}: "}
        content += [label, sound] if numbered else [sound]
    text = {"type": "text", "text": ("\n" if numbered else "") + prompt.text}
    user = {"role": "user", "content": [*content, text]}
    return [user] if prompt.system is None else [{"role": "system", "content": prompt.system}, user]
