"""What a person checks: a page with samples of each language, and a histogram of its scores."""

from __future__ import annotations

import html
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_clap.data.languages import language_name
from ml_clap.figures import BLACK, in_style, make_panels, save_figure
from ml_clap.files import write_atomically
from ml_clap.translate.factory import Candidate

PAGE = "report.html"

_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; color: #1b1b1b; max-width: 72rem }
body { margin: 1.5rem auto; padding: 0 1rem }
h2 { margin-top: 2.2rem; border-top: 1px solid #ccc; padding-top: 1rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
.wide table { min-width: 36rem }
.facts td { overflow-wrap: anywhere }
th, td { text-align: start; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #ddd }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
img { max-width: 100%; height: auto }
"""


@dataclass(frozen=True, kw_only=True)
class LanguageResult:
    """The translations into one language."""

    language: str
    candidates: Sequence[Candidate]
    """One for each distinct caption."""
    least_similarity: float | None
    least_agreement: float | None
    is_measured: bool
    """Whether human pairs of this language set its threshold."""

    @property
    def accepted(self) -> list[Candidate]:
        """The translations that passed."""
        return [one for one in self.candidates if not one.faults]

    @property
    def rejected(self) -> list[Candidate]:
        """Those that did not, and captions that were not translated."""
        return [one for one in self.candidates if one.faults]

    @property
    def reasons(self) -> Counter[str]:
        """How many were rejected for which reason, each counted once, by its first."""
        return Counter(one.faults[0].partition(":")[0] for one in self.rejected)

    @property
    def picture(self) -> str:
        """Name of its histogram's file."""
        return f"scores-{self.language}.png"


def median(values: Sequence[float | None]) -> float | None:
    """Return the middle of the values that are there, or None.

    >>> median([3.0, None, 1.0])
    2.0
    """
    there = sorted(value for value in values if value is not None)
    if not there:
        return None
    return (there[(len(there) - 1) // 2] + there[len(there) // 2]) / 2


def write_report(
    folder: Path,
    results: Sequence[LanguageResult],
    facts: Mapping[str, str],
    *,
    num_samples: int,
    seed: int,
) -> Path:
    """Write `report.html` and a histogram for each language that has scores; return the page's path.

    Args:
        folder: where they go.
        results: one for each language.
        facts: what made them, name to value: stands at the page's head.
        num_samples: captions of each language, of accepted and rejected ones.
        seed: of the draw.
    """
    parts = [_head(facts), _overview(results)]
    for result in results:
        drawn = draw_histograms(result, folder / result.picture)
        parts.append(_section(result, num_samples, seed, has_picture=drawn))
    page = folder / PAGE
    write_atomically(page, "\n".join([*parts, "</body></html>\n"]))
    return page


@in_style()
def draw_histograms(result: LanguageResult, path: Path) -> bool:
    """Draw how similarity and agreement of a language lie, with its thresholds; False where it has none."""
    panels = [
        (
            "Similarity to the source (cosine, centred)",
            [one.similarity for one in result.candidates if one.similarity is not None],
            result.least_similarity,
        ),
        (
            "Agreement of the back-translation (chrF, %)",
            [one.agreement for one in result.candidates if one.agreement is not None],
            result.least_agreement,
        ),
    ]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        path.unlink(missing_ok=True)
        return False
    figure, columns = make_panels(len(panels), size=(4.2, 2.8))
    for axes, (title, values, least) in zip(columns, panels, strict=True):
        axes.hist(values, color="C0")
        if least is not None:
            rejected = sum(value < least for value in values) / len(values)
            label = f"threshold {least:.3g}: {rejected:.0%} lie below"
            axes.axvline(least, color=BLACK, linestyle="--", linewidth=1.2, label=label)
            axes.legend(loc="upper left")
        axes.set(title=title, xlabel=title.partition(" (")[2].rstrip(")") or "cosine", ylabel="captions")
    save_figure(figure, path)
    return True


def _head(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in facts.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Translated captions</title><style>{_STYLE}</style></head><body>\n"
        f'<h1>Translated captions</h1>\n<table class="facts">{rows}</table>\n'
        "<p>Read the samples: a gate catches what is plainly wrong, not a nuance. Rejected captions are all "
        "in <code>rejected.jsonl</code>.</p>"
    )


def _overview(results: Sequence[LanguageResult]) -> str:
    rows = [
        _row(
            _name(result.language),
            f"{len(result.candidates):,}",
            f"{len(result.accepted):,}",
            f"{len(result.rejected):,}",
            _number(median([one.similarity for one in result.candidates]), 3),
            _number(median([one.agreement for one in result.candidates]), 1),
            ", ".join(f"{reason} {count:,}" for reason, count in result.reasons.most_common()),
        )
        for result in results
    ]
    head = ("language", "captions", "accepted", "rejected", "similarity*", "agreement*", "rejected for")
    return (
        f"<h2>By language</h2>\n{_table(head, rows)}\n<p>* median of all; captions are counted once each.</p>"
    )


def _section(result: LanguageResult, num_samples: int, seed: int, *, has_picture: bool) -> str:
    parts = [f"<h2>{_text(_name(result.language))}</h2>"]
    if result.least_similarity is not None and not result.is_measured:
        parts.append("<p>No human pairs of this language set its threshold of similarity.</p>")
    if has_picture:
        alt = f"Histograms of the scores in {_name(result.language)}"
        parts.append(f'<p><img src="{result.picture}" alt="{_text(alt)}"></p>')
    for title, found in (("accepted", result.accepted), ("rejected", result.rejected)):
        chosen = random.Random(f"{seed} {result.language} {title}").sample(
            found, min(num_samples, len(found))
        )
        if chosen:
            parts.append(f"<h3>{len(chosen):,} of {len(found):,} {title}</h3>")
            parts.append(_samples(chosen, result.language))
    return "\n".join(parts)


def _samples(chosen: Sequence[Candidate], language: str) -> str:
    head = ("source", "translation", "translated back", "similarity", "agreement", "why rejected")
    rows = [
        _row(
            one.source,
            one.text or "",
            one.back or "",
            _number(one.similarity, 3),
            _number(one.agreement, 1),
            "; ".join(one.faults),
            language=language,
        )
        for one in chosen
    ]
    return _table(head, rows)


def _row(*cells: str, language: str = "") -> str:
    written = []
    for place, cell in enumerate(cells):
        is_number = cell.replace(",", "").replace(".", "").removeprefix("-").isdigit()
        kind = ' class="number"' if is_number else ""
        # Arabic and Hebrew are written from the right, whatever the page is.
        kind += f' lang="{language[:3]}" dir="auto"' if language and place == 1 else ""
        written.append(f"<td{kind}>{_text(cell)}</td>")
    return f"<tr>{''.join(written)}</tr>"


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f'<div class="wide"><table><tr>{cells}</tr>\n' + "\n".join(rows) + "\n</table></div>"


def _name(language: str) -> str:
    name = language_name(language)
    return language if name == language else f"{name} ({language})"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _text(text: str) -> str:
    return html.escape(str(text))
