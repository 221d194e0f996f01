"""What a process that decodes sends to its parent: frames of samples or JSON."""

from __future__ import annotations

import struct

HEADER = struct.Struct("<cI")
"""Kind of a frame, and the bytes that follow."""
READY, SAMPLES, PROGRESS, RESULT, FAILURE = b"Y", b"S", b"P", b"R", b"F"
"""A worker has started; float32; seconds decoded, float64; what a task gives; why it fails: JSON both."""
KINDS = (READY, SAMPLES, PROGRESS, RESULT, FAILURE)
FRAME_SAMPLES = 1 << 18
"""Samples sent at once: a clip of 10 s at 16 kHz is one frame."""
NOISE_BYTES = 1 << 24
"""What the libraries may print before a worker is replaced."""
