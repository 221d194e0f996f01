"""An index as a table: a row a window, with its vector and all that is known of its clip.

The columns are the same in Parquet (`ml-clap export-index`) and in LanceDB (`--engine lancedb`):

- `row`, `entry`: the window's and the clip's number in the index; in LanceDB, when it was copied;
- `id`, `file`, `start`, `end`, `duration`, `label`, `licence`, `sha256`;
- `captions`: JSON of language -> captions;
- `meta_KEY`: the manifest's further keys, as numbers, lists of texts, or texts;
- `vector`: the L2-normalized embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_clap.files import to_json
from ml_clap.search.filters import Column, as_utf8, value_of

if TYPE_CHECKING:
    import pyarrow

    from ml_clap.search.audio_index import AudioIndex

ROWS_AT_ONCE = 16_384
"""Windows of a batch: bounds the memory."""


def table_schema(index: AudioIndex) -> pyarrow.Schema:
    """Return the columns of an index's table, with the model and its fingerprint as metadata."""
    import pyarrow as pa

    kinds = {"number": pa.float64(), "text": pa.string(), "list": pa.list_(pa.string())}
    width = pa.float16() if index.settings.dtype == "float16" else pa.float32()
    columns = index.columns
    fields = [
        ("row", pa.int64()),
        ("entry", pa.int64()),
        *((column.name, kinds[column.kind]) for column in columns.values()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("sha256", pa.string()),
        ("captions", pa.string()),
        ("vector", pa.list_(width, index.settings.dim)),
    ]
    about = {"ml_clap.model": index.settings.model, "ml_clap.fingerprint": index.settings.fingerprint}
    return pa.schema(fields, metadata={key: as_utf8(value) for key, value in about.items()})


def table_batches(
    index: AudioIndex, rows: np.ndarray | None = None, first_number: int = 0
) -> Iterator[pyarrow.RecordBatch]:
    """Give an index's windows, some at a time.

    Args:
        index: the open format.
        rows: numbers of the windows; default: all.
        first_number: what the first of them has in the column `row`; those behind it count on.
    """
    schema, columns = table_schema(index), index.columns
    rows = np.arange(index.num_windows) if rows is None else rows
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        yield _batch(index, some, first_number + start, schema, columns)


def _batch(
    index: AudioIndex,
    rows: np.ndarray,
    first_number: int,
    schema: pyarrow.Schema,
    columns: Mapping[str, Column],
) -> pyarrow.RecordBatch:
    import pyarrow as pa

    spans = index.spans[rows]
    entries = [index.entries[number] for number in spans["entry"].tolist()]
    values: dict[str, Any] = {
        "row": np.arange(first_number, first_number + len(rows)),
        "entry": spans["entry"].astype(np.int64),
        "start": np.ascontiguousarray(spans["start"]),
        "end": np.ascontiguousarray(spans["end"]),
        "sha256": [entry.sha256 for entry in entries],
        "captions": [as_utf8(to_json(entry.captions).decode()) for entry in entries],
    }
    for key, column in columns.items():
        values[column.name] = [_plain(column.plain(value_of(entry, key))) for entry in entries]
    vectors = np.ascontiguousarray(index.vectors[rows])
    flat = pa.array(vectors.reshape(-1), schema.field("vector").type.value_type)
    values["vector"] = pa.FixedSizeListArray.from_arrays(flat, index.settings.dim)
    return pa.record_batch(
        [
            value if isinstance(value, pa.Array) else pa.array(value, schema.field(name).type)
            for name, value in ((name, values[name]) for name in schema.names)
        ],
        schema=schema,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return as_utf8(value)
    return list(map(as_utf8, value)) if isinstance(value, list) else value
