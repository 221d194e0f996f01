"""Draw an answer and its controls as a part of a page: pure functions, all texts escaped."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

from r1_aqa.answering.comparison import Comparison, OptionScore
from r1_aqa.config.serve import ServeConfig
from r1_aqa.models.licence import licence_of_weights
from r1_aqa.models.run_folder import find_model
from r1_aqa.serving.asker import Asker
from r1_aqa.serving.uploads import KEPT_SECONDS

LEAST = 0.05
"""By so much must the sound change an option's probability to be said to matter."""
MOST_NATS = math.log(1e6)
"""Beyond a million times the number says nothing more."""

WELCOME = '<section class="aqa-answer aqa-empty"><p>The answer will stand here.</p></section>'
WAITING = '<section class="aqa-answer aqa-empty" role="status"><p>Listening …</p></section>'
FAILED = '<section class="aqa-answer aqa-empty"><p>There is no answer: the message says why.</p></section>'


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader

    return Environment(
        loader=PackageLoader("r1_aqa.serving", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )


def draw_answer(found: Comparison, *, limit: float = float("inf"), max_new_tokens: int = 256) -> str:
    """Return the HTML of an answer.

    Args:
        found: the answer beside its controls.
        limit: so much of a sound the model hears, seconds.
        max_new_tokens: longest answer that was asked for.
    """
    template = _environment().get_template("answer.html.jinja")
    return template.render(
        found=found,
        answer=found.answer,
        said=said(found),
        bars=[(option, bars_of(option)) for option in found.options],
        chosen=chosen(found),
        chance=100 / len(found.options) if found.options else None,
        sentences=[*describe_options(found), *describe_silence(found)],
        notes=describe_notes(found, limit, max_new_tokens),
    )


def draw_footer(asker: Asker, config: ServeConfig) -> str:
    """Return the HTML of what the page is: model, size, what is taken, and how long it is kept."""
    size = sum(parameter.numel() for parameter in asker.llm.model.parameters())
    return (
        _environment()
        .get_template("footer.html.jinja")
        .render(
            model=model_name(config.model),
            size=describe_size(size),
            licence=licence_of_weights(find_model(config.model)),
            device=str(asker.llm.device),
            hears=asker.hears,
            config=config,
            host="127.0.0.1" if config.host == "0.0.0.0" else config.host,
            minutes=KEPT_SECONDS // 60,
        )
    )


def model_name(source: str) -> str:
    """Return what to call a model: a name on the hub, or the end of a folder's path.

    >>> model_name("mispeech/r1-aqa"), model_name("/home/me/runs/quickstart-r1-aqa/grpo")
    ('mispeech/r1-aqa', 'quickstart-r1-aqa/grpo')
    """
    return "/".join(Path(source).parts[-2:])


def describe_size(count: int) -> str:
    """Return a number of parameters in words.

    >>> describe_size(8_397_094_912), describe_size(143_000_000), describe_size(512_300)
    ('8.4 billion parameters', '143 million parameters', '0.5 million parameters')
    """
    if count >= 1e9:
        return f"{count / 1e9:.1f} billion parameters"
    return f"{count / 1e6:.{0 if count >= 1e7 else 1}f} million parameters"


def chosen(found: Comparison) -> OptionScore | None:
    """Return the option that the model's answer names, or None."""
    return next((option for option in found.options if option.text == found.answer.choice), None)


def said(found: Comparison) -> str:
    """Return the answer in a line: the option with its letter, else the text."""
    option = chosen(found)
    if option is None:
        return found.answer.text or "(nothing)"
    return f"({option.letter}) {option.text}" if option.letter else option.text


def bars_of(option: OptionScore) -> list[tuple[str, float]]:
    """Return the bars of an option: what each is, and per cent."""
    shares = (("as asked", option.asked), ("shuffled", option.shuffled), ("silence", option.silent))
    return [(name, 100 * share) for name, share in shares if share is not None]


def describe_options(found: Comparison) -> list[str]:
    """Return sentences on the options: which is likeliest, and in how many orders."""
    if not found.options:
        return []
    best = max(found.options, key=lambda option: option.asked)
    sentences = []
    if found.answer.choice is None:
        sentences.append("What the model wrote names none of the options.")
    elif found.answer.choice != best.text:
        sentences.append(f"It wrote this, although as an answer “{best.text}” is likelier.")
    if found.num_orders > 1:
        same, tried = found.same_in_orders, found.num_orders
        how = (
            "in every order of the options"
            if same == tried
            else f"in {same} of {tried} orders of the options"
        )
        sentences.append(f"“{best.text}” is the likeliest {how}.")
    return sentences


def describe_silence(found: Comparison) -> list[str]:
    """Return sentences on what the sound changes."""
    if found.silent_answer is None:
        return []
    option = chosen(found) or max(found.options, key=lambda one: one.asked, default=None)
    if option is None:
        return [_describe_gain(found.gain or 0.0)]
    assert option.silent is not None
    change, low, high = option.asked - option.silent, _percent(option.silent), _percent(option.asked)
    if abs(change) < LEAST:
        return [
            f"The sound hardly matters: with silence in its place “{option.text}” has {low}, with it {high}."
        ]
    verb = "raises" if change > 0 else "lowers"
    return [f"Hearing the sound {verb} “{option.text}” from {low} to {high}."]


def _describe_gain(gain: float) -> str:
    if abs(gain) < LEAST:
        return "The sound makes this answer neither likelier nor unlikelier than silence does."
    times = "more than a million" if abs(gain) > MOST_NATS else f"{math.exp(abs(gain)):,.3g}"
    word = "likelier" if gain > 0 else "unlikelier"
    return f"The sound makes this answer {times} times {word} than silence does."


def describe_notes(found: Comparison, limit: float, max_new_tokens: int) -> list[str]:
    """Return what a reader must know: what was not heard, cut off, or is odd."""
    notes = []
    if found.answer.cut:
        longest = max(found.seconds)
        notes.append(f"Only {limit:g} s are heard, the longest sound has {longest:.1f} s.")
    if found.answer.truncated:
        notes.append(f"The answer was ended after {max_new_tokens} tokens and may lack its end.")
    return [*notes, *found.answer.complaints]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%" if share >= 0.005 else "under 1\N{NO-BREAK SPACE}%"
