"""Scores as a table on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_scores(scores: dict[str, Any]) -> None:
    """The whole, its baselines and controls, and the break-down."""
    console = Console()
    console.print(
        f"{scores.get('benchmark', '')}  {scores.get('version', '')}", markup=False, highlight=False
    )
    if scores.get("hidden"):
        console.print(
            f"{scores['num_questions']} questions without known answers, {scores['num_missing']} unanswered; "
            "submission.json is for the benchmark's server"
        )
        return
    console.print(_summary(scores))
    for field, groups in scores["by"].items():
        console.print(_groups(field, groups))


def _summary(scores: dict[str, Any]) -> Table:
    table = Table(title=f"{scores['num_questions']} questions, {scores['num_missing']} unanswered (wrong)")
    table.add_column("")
    table.add_column("accuracy", justify="right")
    table.add_column("95 % interval")
    rows = [("strict", scores["strict"]), ("official script", scores["official"])]
    rows += [(name, each) for name, each in scores.get("runs", {}).items()]
    if "shuffled" in scores:
        rows.append((f"mean of {scores['shuffled']['orders']} orders", scores["shuffled"]["mean"]))
    for name, each in rows:
        table.add_row(name, f"{each['value']:.1%}", f"{each['low']:.1%} to {each['high']:.1%}")
    if "shuffled" in scores:
        table.add_row("right in every order", f"{scores['shuffled']['always']:.1%}", "")
    table.add_row("always the first option", f"{scores['first_option']:.1%}", "")
    table.add_row("chance", f"{scores['chance']:.1%}", "")
    if "versus" in scores:
        other = scores["versus"]
        table.add_row("the other model", f"{other['second']:.1%}", f"McNemar p = {other['p_value']:.3g}")
    if "needs_sound" in scores:
        table.add_row("with sound or silence", "", f"McNemar p = {scores['needs_sound']['p_value']:.3g}")
    return table


def _groups(field: str, groups: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=field.replace("_", " "))
    for name in ("", "strict", "official", "questions"):
        table.add_column(name, justify="left" if not name else "right")
    for name, each in groups.items():
        table.add_row(name, f"{each['strict']:.1%}", f"{each['official']:.1%}", str(each["total"]))
    return table
