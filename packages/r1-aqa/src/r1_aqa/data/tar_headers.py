"""Headers of a tar that may be damaged: tarfile passes over what is none without a word, and ends early.

After a header that is none the next good one is looked for, block by block.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, Any

MOST_ZEROS = 21 * tarfile.BLOCKSIZE
"""Bytes of zeros after which another archive may follow; tar ends one with up to 20 blocks of them."""
ABOUT_NEXT = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Kinds of headers whose content is about the next member; tarfile reads it whole."""
MOST_ABOUT_NEXT = 1 << 20
"""Bytes of it."""


class _Tar(tarfile.TarFile):
    """A tar that notes what it finds where a header should be."""

    gap: tuple[int, int, bool] | None = None
    """First and last byte of what is no header, and whether all of it is zeros."""

    def note(self, *, zeros: bool) -> None:
        """Note that there is no header at the place that has been reached."""
        first, _, only_zeros = self.gap or (self.offset, 0, True)
        self.gap = (first, self.offset + tarfile.BLOCKSIZE, only_zeros and zeros)

    def take_gap(self) -> tuple[int, int, bool] | None:
        """Return what was noted, and forget it."""
        gap, self.gap = self.gap, None
        return gap


class _Header(tarfile.TarInfo):
    """A header; tarfile passes over a damaged one without a word."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        is_about_next = header.type in ABOUT_NEXT and header.size > MOST_ABOUT_NEXT
        if header.size < 0 or is_about_next:
            raise tarfile.InvalidHeaderError("an impossible size")  # type: ignore[attr-defined]
        return header

    @classmethod
    def fromtarfile(cls, tar: Any) -> _Header:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros
            tar.note(zeros=True)
            raise
        except tarfile.InvalidHeaderError:  # type: ignore[attr-defined]
            tar.note(zeros=False)
            raise


def read_headers(file: IO[bytes], faults: list[tuple[str, str]]) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a tar in its order.

    Args:
        file: the open tar; the caller may read members in between.
        faults: gets ("", reason) of what is damaged between them.
    """
    last = ""
    try:
        tar = _Tar(fileobj=file, mode="r", ignore_zeros=True, tarinfo=_Header)
    except tarfile.ReadError as error:
        faults.append(("", f"it is no tar: {error}"))
        return
    while True:
        member = _next(tar)
        gap = tar.take_gap()
        if member is None:
            if gap is None:
                faults.append(("", f"it is cut off{_after(last)}: the end is without its mark"))
            elif not gap[2]:
                faults.append(("", _damage(gap, last)))
            return
        if gap is not None and (not gap[2] or gap[1] - gap[0] > MOST_ZEROS):
            faults.append(("", _damage(gap, last)))
        yield member
        last = member.name
        if tar.offset <= member.offset:  # a negative size
            faults.append(("", f"it is damaged{_after(last)}"))
            return


def _next(tar: _Tar) -> tarfile.TarInfo | None:
    while True:
        tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all: memory that grows
        try:
            return tar.next()
        except OSError:  # of the disk or the network
            raise
        except Exception:  # whatever tarfile makes of a damaged header, or the last member is cut off
            file: Any = tar.fileobj
            if tar.offset >= file.seek(0, 2):
                return None
            tar.note(zeros=False)
            tar.offset += tarfile.BLOCKSIZE


def _damage(gap: tuple[int, int, bool], last: str) -> str:
    what = "nothing but zeros" if gap[2] else "damaged"
    return f"{what} from byte {gap[0]:,} to {gap[1]:,}{_after(last)}: what was there is lost"


def _after(last: str) -> str:
    return f" after {last}" if last else ""
