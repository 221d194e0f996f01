"""Where the windows of a long file begin and end.

A file no longer than a window is one window. A longer one is cut at every hop; its last window is moved back
to end with the file, so that every window has its full length of context and nothing of the file is left out.
"""

from __future__ import annotations

import math

TAIL = 0.1
"""A tail shorter than this share of a hop joins the window before it: a clip of 10.02 s stays one window."""


def plan_windows(duration: float, window_seconds: float, hop_seconds: float) -> list[tuple[float, float]]:
    """The (start, end) of each window of a file, in seconds, in order.

    Args:
        duration: length of the file in seconds.
        window_seconds: length of a window; the last one may be longer by less than `TAIL` of a hop.
        hop_seconds: from one start to the next; at most `window_seconds`, else sound would fall in between.

    >>> plan_windows(25.0, 10.0, 10.0)
    [(0.0, 10.0), (10.0, 20.0), (15.0, 25.0)]
    """
    beyond = duration - window_seconds - TAIL * hop_seconds
    extra = math.ceil(beyond / hop_seconds) if beyond > 0 else 0
    starts = [min(index * hop_seconds, duration - window_seconds) for index in range(1, extra + 1)]
    windows = [(start, start + window_seconds) for start in [0.0, *starts]]
    windows[-1] = (windows[-1][0], duration)
    return windows
