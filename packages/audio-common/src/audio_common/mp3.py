"""Headers of mp3's frames: what they tell, and the silent first frame that tells a length.

Layouts: ISO 11172-3 and 13818-3 for headers; for the first frame, which is no part of a standard, what
encoders write (Xing, LAME's Info, Fraunhofer's VBRI) and libmpg123 reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

BITRATES = {
    (3, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by version (below; 2.5 as 2) and layer."""
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Hz by the version bits of a header: MPEG-1, MPEG-2, MPEG-2.5."""
DECODER_DELAY = 529
"""Samples that a decoder is late by, and libmpg123 leaves out where a first frame tells of a length."""


@dataclass(frozen=True)
class Kind:
    """What all frames of a run have in common."""

    version: int
    layer: int
    sample_rate: int
    is_mono: bool

    @property
    def frame_samples(self) -> int:
        """Samples per frame and channel."""
        return {1: 384, 2: 1152, 3: 1152 if self.version == 3 else 576}[self.layer]

    @property
    def mark_at(self) -> int:
        """Bytes of a silent first frame before its mark."""
        wide, narrow = (32, 17) if self.version == 3 else (17, 9)
        return 4 + (narrow if self.is_mono else wide)


@dataclass(frozen=True)
class Info:
    """What a silent first frame tells."""

    num_frames: int | None
    num_bytes: int | None
    """Of the file, this frame included."""
    trimmed: tuple[int, int] | None
    """Samples that the encoder put before and after the sound."""
    is_trimmed: bool = True
    """Whether anything is left out at all; not by the rules of VBRI."""


@cache
def frame_length(header: bytes) -> int:
    """Bytes of the frame with this header (its first three bytes count); 0 if none begins so."""
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if header[0] != 0xFF or header[1] < 0xE0 or version == 1 or layer == 4 or rate == 3:
        return 0
    if not 0 < bitrate < 15:  # 0: free format, whose frames tell no length
        return 0
    bits = 1000 * BITRATES[max(version, 2), layer][bitrate - 1]
    if layer == 1:
        return 4 * (12 * bits // RATES[version][rate] + padding)
    return (72 if layer == 3 and version != 3 else 144) * bits // RATES[version][rate] + padding


def kind_of(header: bytes) -> Kind | None:
    """What the four bytes of a header tell; None if they are none."""
    if len(header) < 4 or not frame_length(header[:3]):
        return None
    version = header[1] >> 3 & 3
    rate = RATES[version][header[2] >> 2 & 3]
    return Kind(version, 4 - (header[1] >> 1 & 3), rate, header[3] >> 6 == 3)


@cache
def frame_lengths(kind: Kind) -> dict[bytes, int]:
    """First three bytes -> length, of all frames of a kind."""
    rate = RATES[kind.version].index(kind.sample_rate)
    second = 0xE0 | kind.version << 3 | (4 - kind.layer) << 1
    heads = (
        bytes([0xFF, second | crc, bitrate << 4 | rate << 2 | rest])
        for crc in (0, 1)
        for bitrate in range(1, 15)
        for rest in range(4)
    )
    return {head: frame_length(head) for head in heads}


def read_info(frame: bytes, kind: Kind) -> Info | None:
    """Read a silent first frame; None if it is one with sound.

    >>> read_info(bytes(200), Kind(3, 3, 44_100, is_mono=True)) is None
    True
    """
    if frame[36:40] == b"VBRI" and not any(frame[6:36]):
        return Info(int.from_bytes(frame[50:54]), int.from_bytes(frame[46:50]), None, is_trimmed=False)
    at = kind.mark_at
    if frame[at : at + 4] not in (b"Xing", b"Info") or any(frame[6:at]):
        return None
    # (The first two bytes may be a check sum.)
    flags, at = frame[at + 7] if len(frame) > at + 7 else 0, at + 8
    fields = []
    for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)):
        fields.append(int.from_bytes(frame[at : at + size]) if flags & bit else None)
        at += size if flags & bit else 0
    delays = int.from_bytes(frame[at + 21 : at + 24])
    has_delays = len(frame) >= at + 24 and frame[at] != 0
    return Info(fields[0], fields[1], (delays >> 12, delays & 0xFFF) if has_delays else None)


def info_frame(kind: Kind, header: bytes, num_frames: int, trimmed: tuple[int, int]) -> bytes:
    """Make a silent first frame that tells a number of frames, and how many samples to leave out."""
    at = kind.mark_at
    for bitrate in range(1, 15):
        head = bytes([0xFF, header[1] | 1, bitrate << 4 | header[2] & 0x0C, header[3]])
        if frame_length(head[:3]) >= at + 48:
            break
    frame = bytearray(frame_length(head[:3]))
    frame[:4] = head
    frame[at : at + 12] = b"Info" + (1).to_bytes(4) + num_frames.to_bytes(4)
    before, after = trimmed
    frame[at + 12 : at + 21] = b"LAME3.100"
    padding = after + DECODER_DELAY if after else 0
    frame[at + 33 : at + 36] = ((before - DECODER_DELAY) << 12 | padding).to_bytes(3)
    return bytes(frame)


def tag_stop(head: bytes) -> int:
    """Where an ID3v2 tag of a file's beginning ends; 0 if there is none."""
    if head[:3] != b"ID3" or len(head) < 10 or max(head[6:10]) > 0x7F:
        return 0
    size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if head[5] & 0x10 else 0)
