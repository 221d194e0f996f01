"""Draw the diagrams of docs/architecture.md: `python docs/tools/diagrams.py`; the standard library is enough.

A diagram is a grid of boxes, each with what it does and the file that does it, and arrows between them. The
SVGs are committed; `tests/test_docs.py` holds them to this file, and that every file that a box names exists.
"""

from dataclasses import dataclass
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 184, 62
"""Size of a box."""
GAP_X, GAP_Y = 32, 40
MARGIN = 24
TITLE = 34
COLOURS = {"in": "#fff4d6", "work": "#e3ecfb", "out": "#def3e4", "train": "#f6e3ef"}
"""Kind of box -> its colour; colour-blind safe, and told apart by the legend's words as well."""
KINDS = {"in": "what you give", "work": "what computes", "train": "training alone", "out": "what you get"}


@dataclass(frozen=True)
class Box:
    """A box at a place of the grid."""

    column: float
    row: float
    text: str
    file: str = ""
    """Below `packages/NAME/src/MODULE/`, or in audio-common with `audio_common/` before it."""
    kind: str = "work"


@dataclass(frozen=True)
class Diagram:
    """Boxes by name, and arrows between the names."""

    package: str
    title: str
    boxes: dict[str, Box]
    arrows: tuple[tuple[str, str], ...]


DIAGRAMS = (
    Diagram(
        "ml-clap",
        "ml-clap: sound and text become vectors of one space",
        {
            "sound": Box(0, 0, "sound, any length", kind="in"),
            "text": Box(0, 1, "text in a language", kind="in"),
            "decode": Box(1, 0, "16 kHz, in processes", "audio_common/workers.py"),
            "tokens": Box(1, 1, "tokens, language first", "models/tokenizer.py"),
            "ced": Box(2, 0, "CED, and the mean", "audio_common/ced.py"),
            "encoder": Box(2, 1, "SONAR or another", "models/text_encoder.py"),
            "vectors": Box(3, 0.5, "one space, unit length", "models/ml_clap.py"),
            "index": Box(4, 0, "index of windows", "search/store.py"),
            "search": Box(5, 0, "hits with seconds", "search/search.py", "out"),
            "ranks": Box(4, 1, "ranks both ways", "evaluators/retrieval.py"),
            "report": Box(5, 1, "R@k by language", "evaluators/report.py", "out"),
            "manifest": Box(1, 2, "captions, some translated", "data/enhancement.py", "train"),
            "loss": Box(3, 2, "InfoNCE over processes", "trainers/loss.py", "train"),
            "run": Box(4, 2, "best/ and last/", "trainers/run_folder.py", "train"),
        },
        (
            ("sound", "decode"),
            ("decode", "ced"),
            ("ced", "vectors"),
            ("text", "tokens"),
            ("tokens", "encoder"),
            ("encoder", "vectors"),
            ("vectors", "index"),
            ("index", "search"),
            ("vectors", "ranks"),
            ("ranks", "report"),
            ("manifest", "tokens"),
            ("vectors", "loss"),
            ("loss", "run"),
        ),
    ),
    Diagram(
        "aac-llm",
        "aac-llm: a sound becomes words that a language model goes on from",
        {
            "sound": Box(0, 0, "sound, any length", kind="in"),
            "decode": Box(1, 0, "16 kHz, in processes", "audio_common/workers.py"),
            "encoder": Box(2, 0, "CED or Whisper", "models/encoder.py"),
            "bridge": Box(3, 0, "Q-Former of windows", "models/bridge.py"),
            "decoder": Box(4, 0, "language model, LoRA", "models/decoder.py"),
            "captions": Box(5, 0, "captions and times", "models/generation.py", "out"),
            "manifest": Box(2, 1, "manifest", "data/manifest.py", "in"),
            "loss": Box(3, 1, "next-word loss", "trainers/trainer.py", "train"),
            "rewards": Box(4, 1, "GRPO on captions", "trainers/rewards.py", "train"),
            "given": Box(1, 2, "captions of any system", "data/systems.py", "in"),
            "gate": Box(2, 2, "gate: needs repair?", "correction/gate.py"),
            "repair": Box(3, 2, "language model repairs", "correction/corrector.py"),
            "accept": Box(4, 2, "same meaning?", "correction/acceptance.py"),
            "corrected": Box(5, 2, "caption, with the reason", "correction/correct.py", "out"),
            "scores": Box(5, 1, "scores and page", "evaluators/score_table.py", "out"),
        },
        (
            ("sound", "decode"),
            ("decode", "encoder"),
            ("encoder", "bridge"),
            ("bridge", "decoder"),
            ("decoder", "captions"),
            ("manifest", "loss"),
            ("loss", "bridge"),
            ("rewards", "decoder"),
            ("captions", "scores"),
            ("given", "gate"),
            ("gate", "repair"),
            ("repair", "accept"),
            ("accept", "corrected"),
        ),
    ),
    Diagram(
        "r1-aqa",
        "r1-aqa: answers are rewarded, compared within their group, and learnt from",
        {
            "question": Box(0, 0, "sound, question, options", "data/questions.py", "in"),
            "prompt": Box(1, 0, "prompt or template", "models/prompt.py"),
            "model": Box(2, 0, "audio language model", "models/audio_llm.py"),
            "heard": Box(2, 1, "does it hear at all?", "models/heard.py"),
            "rollouts": Box(3, 0, "8 answers, one encoding", "models/generation.py"),
            "rewards": Box(4, 0, "rewards: right, in form", "rewards/rewards.py"),
            "loss": Box(4, 1, "advantages, GRPO loss", "trainers/grpo.py", "train"),
            "run": Box(3, 1, "adapters, rollouts", "trainers/run_folder.py", "train"),
            "benchmark": Box(0, 2, "benchmark by name", "data/benchmark.py", "in"),
            "orders": Box(1, 2, "other orders, silence", "evaluators/evaluate.py"),
            "verdicts": Box(2, 2, "every harness's rule", "evaluators/harnesses.py"),
            "scores": Box(3, 2, "scores with intervals", "evaluators/scores.py", "out"),
            "answer": Box(5, 0, "the option that is meant", "rewards/verdicts.py", "out"),
            "generate": Box(0, 1, "made of labelled sounds", "data/generate.py", "in"),
        },
        (
            ("question", "prompt"),
            ("prompt", "model"),
            ("model", "rollouts"),
            ("rollouts", "rewards"),
            ("rewards", "answer"),
            ("rewards", "loss"),
            ("loss", "run"),
            ("model", "heard"),
            ("generate", "question"),
            ("benchmark", "orders"),
            ("orders", "verdicts"),
            ("verdicts", "scores"),
        ),
    ),
    Diagram(
        "audio-common",
        "audio-common: any sound file becomes samples, and samples become tokens",
        {
            "file": Box(0, 0, "path, bytes, file, array", kind="in"),
            "identify": Box(1, 0, "what is it really?", "identify.py"),
            "decoder": Box(2, 0, "libsndfile, mpg123, PyAV", "decoder.py"),
            "channels": Box(3, 0, "one channel", "channels.py"),
            "wave": Box(4, 0, "samples at your rate", "audio.py", "out"),
            "workers": Box(2, 1, "processes with limits", "workers.py"),
            "check": Box(3, 1, "damaged, silent, a copy?", "check.py", "out"),
            "mel": Box(4, 1, "log-mel of each clip", "mel.py"),
            "patches": Box(4, 2, "patches with a mask", "patches.py"),
            "blocks": Box(3, 2, "packed attention", "attention.py"),
            "ced": Box(2, 2, "CED", "ced.py"),
            "output": Box(1, 2, "tokens, tags, vectors", "output.py", "out"),
        },
        (
            ("file", "identify"),
            ("identify", "decoder"),
            ("decoder", "channels"),
            ("channels", "wave"),
            ("workers", "decoder"),
            ("workers", "check"),
            ("wave", "mel"),
            ("mel", "patches"),
            ("patches", "blocks"),
            ("blocks", "ced"),
            ("ced", "output"),
        ),
    ),
)


def draw(diagram: Diagram) -> str:
    """Return a diagram as SVG."""
    columns = max(box.column for box in diagram.boxes.values()) + 1
    rows = max(box.row for box in diagram.boxes.values()) + 1
    width = 2 * MARGIN + columns * (WIDTH + GAP_X) - GAP_X
    height = MARGIN + TITLE + rows * (HEIGHT + GAP_Y) - GAP_Y + 52
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="#1b2330">',
        f"<title>{escape(diagram.title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        'orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="#5a6577"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 8}" font-size="16" font-weight="600">',
        f"{escape(diagram.title)}</text>",
    ]
    parts += [arrow(diagram.boxes[start], diagram.boxes[end]) for start, end in diagram.arrows]
    parts += [rectangle(box) for box in diagram.boxes.values()]
    parts += legend(MARGIN, height - 28)
    return "\n".join([*parts, "</svg>", ""])


def rectangle(box: Box) -> str:
    """Return a box with its two lines."""
    x, y = corner(box)
    lines = [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{COLOURS[box.kind]}" '
        'stroke="#8a96a8"/>'
    ]
    middle = x + WIDTH / 2
    first = y + (27 if box.file else 36)
    lines.append(f'<text x="{middle:.0f}" y="{first:.0f}" text-anchor="middle">{escape(box.text)}</text>')
    if box.file:
        lines.append(
            f'<text x="{middle:.0f}" y="{y + 46:.0f}" text-anchor="middle" font-size="11" fill="#4a5568" '
            f'font-family="ui-monospace, monospace">{escape(box.file)}</text>'
        )
    return "\n".join(lines)


def arrow(start: Box, end: Box) -> str:
    """Return an arrow from the side of one box to that of another."""
    (x1, y1), (x2, y2) = corner(start), corner(end)
    if start.column == end.column:
        x = x1 + WIDTH / 2
        points = [(x, y1 + HEIGHT if y2 > y1 else y1), (x, y2 if y2 > y1 else y2 + HEIGHT)]
    else:
        right = x2 > x1
        begin = (x1 + WIDTH if right else x1, y1 + HEIGHT / 2)
        finish = (x2 if right else x2 + WIDTH, y2 + HEIGHT / 2)
        bend = finish[0] - GAP_X / 2 if right else finish[0] + GAP_X / 2
        points = [begin, (bend, begin[1]), (bend, finish[1]), finish] if y1 != y2 else [begin, finish]
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="#5a6577" stroke-width="1.5" marker-end="url(#tip)"/>'
    )


def legend(x: float, y: float) -> list[str]:
    """Return what the colours mean, in a row."""
    parts = []
    for place, (kind, text) in enumerate(KINDS.items()):
        left = x + place * 170
        parts.append(
            f'<rect x="{left:.0f}" y="{y:.0f}" width="14" height="14" rx="3" fill="{COLOURS[kind]}" '
            'stroke="#8a96a8"/>'
        )
        parts.append(f'<text x="{left + 22:.0f}" y="{y + 12:.0f}" font-size="12">{text}</text>')
    return parts


def corner(box: Box) -> tuple[float, float]:
    """Return a box's upper left corner."""
    return MARGIN + box.column * (WIDTH + GAP_X), MARGIN + TITLE + box.row * (HEIGHT + GAP_Y)


def main() -> None:
    """Write every diagram."""
    for diagram in DIAGRAMS:
        path = DOCS / f"architecture-{diagram.package}.svg"
        path.write_text(draw(diagram), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
