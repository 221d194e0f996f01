"""The 527 class names of AudioSet, in the order of CED's logits.

Google's data, CC BY 4.0: https://research.google.com/audioset/ontology/index.html; of the table of classes
only the display names are kept, one a line.
"""

from __future__ import annotations

from importlib.resources import files

AUDIOSET_LABELS: tuple[str, ...] = tuple(
    (files(__package__) / "audioset_labels.txt").read_text(encoding="utf-8").splitlines()
)
"""Class names; `AUDIOSET_LABELS[i]` names logit `i`."""
