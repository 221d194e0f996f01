"""Prompts of one's own: a file in Jinja's language, which lays out the text of a question.

    {% set system %}You are an expert listener.{% endset %}
    {{ question }}
    {% for letter, choice in lettered %}({{ letter }}) {{ choice }}
    {% endfor %}
    Answer with the letter.

It knows `question`, `choices` (a list), `lettered` (pairs of letter and option), `num_audios`. What it writes
is the user's turn beside the sounds; `system`, if it is set, is the system's.

The file runs in Jinja's sandbox, without other files.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from r1_aqa.config.model import PromptStyle
from r1_aqa.data.questions import SOUND_TOKEN, Question
from r1_aqa.models.prompt import Prompt, format_prompt


class PromptTemplate:
    """The layout of a prompt.

    Attributes:
        path: its file, for messages.
        text: what the file holds.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text

    @classmethod
    def read(cls, path: Path) -> PromptTemplate:
        """Read a file, and try it on a question.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no template; the message names file and line.
        """
        template = cls(path, path.read_text(encoding="utf-8"))
        template.write("What is heard?", ("a dog", "rain"))
        return template

    def write(self, question: str, choices: Sequence[str], *, num_audios: int = 1) -> Prompt:
        """Return the prompt of a question.

        Raises:
            ValueError: the template fails, writes nothing, or names a sound's token; file and line are named.
        """
        given: dict[str, Any] = {
            "question": question,
            "choices": list(choices),
            "lettered": [(letter_of(number), choice) for number, choice in enumerate(choices)],
            "num_audios": num_audios,
        }
        try:
            module: Any = self._template.make_module(given)
            text, system = str(module).strip(), str(getattr(module, "system", "")).strip()
        except TemplateSyntaxError as error:
            raise ValueError(f"{self.path}:{error.lineno}: {error}") from error
        # A sandboxed template may do to its values whatever Python can: add a text to a number, divide by 0.
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise ValueError(f"{self.path}: {error} (known: {', '.join(given)})") from error
        if not text:
            raise ValueError(f"{self.path}: the template writes nothing")
        for written in (text, system):
            if found := SOUND_TOKEN.search(written):
                raise ValueError(
                    f"{self.path}: {found[0]} stands for a sound in a model's text, and each sound has its "
                    "place already; take it out"
                )
        return Prompt(text, system or None)

    @cached_property
    def _template(self) -> Any:
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True)
        return environment.from_string(self.text)


def read_template(path: Path | None) -> PromptTemplate | None:
    """Return the template that settings name; None where they name none."""
    return PromptTemplate.read(path) if path else None


def letter_of(number: int) -> str:
    """Return the letter of an option by its number from 0: A to Z, then AA, AB, ...

    >>> letter_of(1), letter_of(26)
    ('B', 'AA')
    """
    rest, last = divmod(number, len(ascii_uppercase))
    return (letter_of(rest - 1) if rest else "") + ascii_uppercase[last]


def prompt_of(question: Question, style: PromptStyle, template: PromptTemplate | None = None) -> Prompt:
    """Return what a model is asked: by a template, if there is one, else in one of our styles."""
    text = question.question
    if template is None:
        return Prompt(format_prompt(text, question.choices, style, about_video=question.about_video))
    text = text.replace("video", "audio") if question.about_video else text
    return template.write(text, question.choices, num_audios=len(question.audios))
