"""Show scores on the terminal: accuracies with their intervals, by group, and by every harness's rule."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from r1_aqa.output import console, printable


def print_scores(scores: dict[str, Any]) -> None:
    """Print the accuracies of the whole, its baselines and controls, and the groups."""
    screen = console()
    title = printable(f"{scores.get('benchmark', '')}  {scores.get('version', '')}")
    screen.print(title, markup=False, highlight=False)
    if scores.get("hidden"):
        screen.print(
            f"{scores['num_questions']} questions without known answers, {scores['num_missing']} unanswered; "
            "submission.json is for the benchmark's server"
        )
        return
    screen.print(_summary(scores))
    screen.print(_harnesses(scores))
    for line in _disagreements(scores):
        screen.print(printable(line), markup=False, highlight=False)
    for line in _remarks(scores):
        screen.print(printable(line), markup=False, highlight=False)
    for field, groups in scores["by"].items():
        screen.print(_groups(field, groups))


def _summary(scores: dict[str, Any]) -> Table:
    table = Table(title=f"{scores['num_questions']} questions, {scores['num_missing']} unanswered (wrong)")
    table.add_column("")
    table.add_column("accuracy", justify="right")
    table.add_column("95 % interval")
    rows = [("strict", scores["strict"]), ("official script", scores["official"])]
    rows += list(scores.get("runs", {}).items())
    if "shuffled" in scores:
        rows.append((f"mean of {scores['shuffled']['orders']} orders", scores["shuffled"]["mean"]))
    for name, interval in rows:
        span = f"{interval['low']:.1%} to {interval['high']:.1%}"
        table.add_row(name, f"{interval['value']:.1%}", span)
    if "shuffled" in scores:
        table.add_row("right in every order", f"{scores['shuffled']['always']:.1%}", "")
    table.add_row("always the first option", f"{scores['first_option']:.1%}", "")
    table.add_row("chance", f"{scores['chance']:.1%}", "")
    if "versus" in scores:
        other = scores["versus"]
        table.add_row("the other model", f"{other['second']:.1%}", f"McNemar p = {other['p_value']:.3g}")
    if "needs_sound" in scores:
        table.add_row("with audio or silence", "", f"McNemar p = {scores['needs_sound']['p_value']:.3g}")
    for name, share in scores.get("audio_dependence", {}).items():
        # A name of the file's own, brackets and all.
        title = Text(printable("need the sound" if name == "all" else f"need the sound: {name}"))
        table.add_row(title, f"{share['value']:.1%}", f"{share['low']:.1%} to {share['high']:.1%}")
    return table


def _harnesses(scores: dict[str, Any]) -> Table:
    """Return the accuracies of the same answers by every harness's rule."""
    note = "unread: the rule finds no option; several: it would accept more than one option as right"
    table = Table(title="The same answers by every harness's rule", caption=note)
    for name in ("rule", "accuracy", "95 % interval", "unread", "several", "questions"):
        table.add_column(name, justify="left" if name == "rule" else "right")
    for found in scores["harnesses"].values():
        if "value" not in found:
            table.add_row(found["title"], "-", "", "", "", "0")
            continue
        table.add_row(
            found["title"],
            f"{found['value']:.1%}",
            f"{found['low']:.1%} to {found['high']:.1%}",
            f"{found['unreadable']:.1%}",
            f"{found['several']:.1%}",
            str(found["denominator"]),
        )
    return table


def _disagreements(scores: dict[str, Any]) -> list[str]:
    """Return how many questions the rules judge unlike, and the first of them."""
    count = scores["num_disagreements"]
    if not count:
        return ["the rules agree on every answer"]
    lines = [
        f"the rules differ on {count} of {scores['num_questions']} questions (disagreements.jsonl), as on:"
    ]
    for found in scores["disagreements"]:
        right = [name for name, value in found["verdicts"].items() if value == 1]
        wrong = [name for name, value in found["verdicts"].items() if value == 0]
        output = " ".join(found["output"].split())
        short = output if len(output) <= 60 else f"{output[:30]} ... {output[-25:]}"
        said = f"{found['id']}: {short!r} where {found['answer']!r} is right"
        lines.append(
            f"  {said}: right by {', '.join(right) or 'none'}; wrong by {', '.join(wrong) or 'none'}"
        )
    return lines


def _remarks(scores: dict[str, Any]) -> list[str]:
    """Return a line for each thing that was cut, left out or changed before scoring."""
    counts = (
        ("num_not_scored", "without a known answer (in no number above)"),
        ("num_to_judge", "of these are open: their answers are kept for a judge to read"),
        ("num_unreadable", "without an answer: unreadable or too long audio, or the endpoint failed (wrong)"),
        ("num_cut", "of whose sound only a part was heard"),
        ("num_windowed", "whose long sound was asked about in windows"),
        ("num_truncated", "whose answer was ended by max_new_tokens"),
        ("letters_taken_off", "whose options were compared without their letters (strict)"),
    )
    lines = [f"{scores[name]} questions {what}" for name, what in counts if scores.get(name)]
    if told := scores.get("instructions"):
        lines.append(
            f"{told['followed']} of {told['total']} instructions about an answer's form were followed (in no "
            f"accuracy above); {told['not_judged']} of a form that is not known"
        )
    for name, what in (
        ("bad_rows", "rows that cannot be used"),
        ("bad_answers", "rows that are no answers"),
        ("complaints", "complaints about sounds that were heard"),
    ):
        if bad := scores.get(name):
            lines.append(f"{len(bad)} {what}: {'; '.join(bad[:3])}")
    return lines


def _groups(field: str, groups: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=Text(printable(field.replace("_", " "))))
    for name in ("", "strict", "95 % interval", "official", "questions"):
        table.add_column(name, justify="left" if not name else "right")
    for name, group in groups.items():
        table.add_row(
            Text(printable(name)),  # a value of a column, brackets and all
            f"{group['strict']:.1%}",
            f"{group['low']:.1%} to {group['high']:.1%}",
            f"{group['official']:.1%}",
            str(group["total"]),
        )
    return table
