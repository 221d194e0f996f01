"""What a process that decodes sends to its parent: frames of samples or JSON."""

from __future__ import annotations

import struct

HEADER = struct.Struct("<cI")
"""Kind of a frame, and the bytes that follow."""
READY, SAMPLES, SHARED, PROGRESS, RESULT, FAILURE = b"Y", b"S", b"M", b"P", b"R", b"F"
"""A worker has started; float32; the number of those in shared memory, int64; seconds decoded, float64; what
a task gives; why it fails: JSON both."""
KINDS = (READY, SAMPLES, SHARED, PROGRESS, RESULT, FAILURE)
FRAME_SAMPLES = 1 << 18
"""Samples sent at once: a clip of 10 s at 16 kHz is one frame."""
SHARED_BYTES = 4 * FRAME_SAMPLES
"""Of the memory in which a sound's last frame is handed over; a pipe would copy it twice more."""
NOISE_BYTES = 1 << 24
"""What the libraries may print before a worker is replaced."""
