"""Vectors on disk that outlive a kill, and the exact search over them.

`NpyLog` appends rows to an ordinary .npy file. NumPy pads such a header so that the number of rows can grow
in place; the rows are written and synced before the header counts them. So the file is valid at every moment,
and `numpy.load(path, mmap_mode="r")` reads it in any program.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ml_clap.files import write_atomically

BLOCK_ROWS = 16384
"""Rows scored at a time: bounds the memory of a search and of a copy (64 MB at 1,024 float32)."""
WIDENED_ROWS = 512
"""Rows of float16 made float32 at a time."""


def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype, int]:
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return shape, dtype, file.tell()


def declared_rows(path: Path) -> int:
    """Return how many rows the header of a .npy file counts; a file that is cut off has fewer."""
    with path.open("rb") as file:
        return _read_header(file)[0][0]


def open_rows(path: Path) -> np.ndarray:
    """Return the rows of a .npy file, memory-mapped; fewer than its header says if the file is cut off."""
    with path.open("rb") as file:
        shape, dtype, offset = _read_header(file)
    row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
    rows = min(shape[0], (path.stat().st_size - offset) // row_bytes)
    if rows == 0:  # an empty file cannot be mapped
        return np.empty((0, *shape[1:]), dtype)
    # "c" never writes to the file either, and torch warns of arrays marked as read-only.
    return np.memmap(path, dtype, "c", offset, (rows, *shape[1:]))


class NpyLog:
    """An append-only .npy file; a killed writer loses at most the append under way.

    Attributes:
        rows: number of rows that the file holds and its header counts.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")
        shape, self._dtype, self._offset = _read_header(self._file)
        self._row_shape = shape[1:]
        self._row_bytes = self._dtype.itemsize * int(np.prod(self._row_shape, dtype=np.int64))
        self.rows = 0
        self.truncate(open_rows(path).shape[0])

    @classmethod
    def create(cls, path: Path, dtype: np.dtype, row_shape: tuple[int, ...] = ()) -> NpyLog:
        """Make a new file without rows; one that is there is overwritten."""
        path.write_bytes(_header(dtype, (0, *row_shape)))
        return cls(path)

    def append(self, rows: np.ndarray) -> None:
        """Add rows of shape (rows, *row_shape); they are on disk when this returns."""
        if rows.shape[1:] != self._row_shape:
            raise ValueError(f"expected rows of shape (rows, {self._row_shape}), got {rows.shape}")
        # Where the counted rows end; what a killed append left behind is overwritten.
        self._file.seek(self._offset + self.rows * self._row_bytes)
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self._sync()
        self._count(self.rows + len(rows))

    def truncate(self, rows: int) -> None:
        """Keep the first `rows` rows."""
        self._count(rows)
        self._file.truncate(self._offset + rows * self._row_bytes)

    def close(self) -> None:
        """Close the file; it needs no further step to be valid."""
        self._file.close()

    def _count(self, rows: int) -> None:
        self.rows = rows
        self._file.seek(0)
        self._file.write(_header(self._dtype, (rows, *self._row_shape)))
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as a .npy file, whole or not at all."""

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a name, np.save would add .npy to it
            np.save(file, array)

    write_atomically(path, save)


def match_hashes(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return for each old hash the place of the same one among the new, -1 where it is gone.

    The n-th of several equal ones is matched with the n-th.

        >>> match_hashes(np.array([5, 7, 5, 9]), np.array([5, 9, 8]))
        array([ 0, -1, -1,  1])
    """
    places = np.full(len(old), -1, np.int64)
    old_order, new_order = np.argsort(old, kind="stable"), np.argsort(new, kind="stable")
    starts = np.searchsorted(new[new_order], old[old_order])
    ends = np.searchsorted(new[new_order], old[old_order], side="right")
    turn = np.arange(len(old)) - np.searchsorted(old[old_order], old[old_order])
    is_there = starts + turn < ends
    places[old_order[is_there]] = new_order[(starts + turn)[is_there]]
    return places


def top_columns(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the columns of the k highest scores of each row, best first; equal ones by their columns.

    Args:
        scores: (queries, columns).
        k: how many; all columns when there are fewer.

    Returns:
        (queries, min(k, columns)) int64.
    """
    columns = scores.shape[1]
    if k >= columns:
        return np.argsort(-scores, axis=1, kind="stable")
    # A plain argpartition keeps any of several equal scores at the edge: take the first ones instead.
    edges = np.partition(scores, columns - k, axis=1)[:, columns - k]
    picked = []
    for row, edge in zip(scores, edges, strict=True):
        above, equal = np.flatnonzero(row > edge), np.flatnonzero(row == edge)
        kept = np.sort(np.concatenate([above, equal[: k - len(above)]]))
        picked.append(kept[np.argsort(-row[kept], kind="stable")])
    return np.stack(picked)


def inner_products(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Multiply (queries, dim) float32 with (rows, dim) float32 or float16: (queries, rows) float32."""
    if vectors.dtype == np.float32:
        return queries @ vectors.T
    # Into memory that stays in the cache.
    wide = np.empty((WIDENED_ROWS, vectors.shape[1]), np.float32)
    scores = np.empty((len(queries), len(vectors)), np.float32)
    for first in range(0, len(vectors), WIDENED_ROWS):
        part = vectors[first : first + WIDENED_ROWS]
        widen(part, wide[: len(part)])
        scores[:, first : first + len(part)] = queries @ wide[: len(part)].T
    return scores


def widen(halves: np.ndarray, out: np.ndarray) -> None:
    """Write finite float16 numbers as float32: 4.6 times as fast as NumPy 2.4 does (one core with AVX-512).

    torch does it in half of the time, but takes seconds to load, which a first search would wait for.
    """
    if (torch := sys.modules.get("torch")) is not None:
        torch.from_numpy(out).copy_(torch.from_numpy(halves))
        return
    bits = out.view(np.int32)
    np.copyto(bits, halves.view(np.int16))  # the sign is copied into the upper half
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)  # 0x8fffe000: sign, exponent and fraction
    np.multiply(out, np.float32(2.0**112), out=out)  # the exponent counts from -15, then from -127


def search_exact(
    queries: np.ndarray,
    vectors: np.ndarray,
    k: int,
    block_rows: int = BLOCK_ROWS,
    among: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k vectors of highest inner product with each query, by brute force, block after block.

    Args:
        queries: (queries, dim) float32.
        vectors: (rows, dim) float32 or float16, may be memory-mapped; multiplied as float32.
        k: how many rows; all of them when there are fewer.
        block_rows: rows scored at a time, which bounds the memory.
        among: rows to look at (int64, rising); default: all.

    Returns:
        scores (queries, k) float32 in falling order and rows (queries, k) int64; equal scores by row.
    """
    best_scores = np.empty((len(queries), 0), np.float32)
    best_rows = np.empty((len(queries), 0), np.int64)
    for first in range(0, len(vectors if among is None else among), block_rows):
        # A slice is a view of the file, which picked rows would copy.
        rows = None if among is None else among[first : first + block_rows]
        scores = inner_products(
            queries, vectors[first : first + block_rows] if rows is None else vectors[rows]
        )
        columns = top_columns(scores, k)
        best_scores = np.concatenate([best_scores, np.take_along_axis(scores, columns, 1)], axis=1)
        found = columns + first if rows is None else rows[columns]
        best_rows = np.concatenate([best_rows, found], axis=1)
        kept = top_columns(best_scores, k)
        best_scores = np.take_along_axis(best_scores, kept, 1)
        best_rows = np.take_along_axis(best_rows, kept, 1)
    return best_scores, best_rows
