"""Write an index as one Parquet file, for pandas, DuckDB, Spark and the like: `ml-clap export-index`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_clap.config.export_index import ExportIndexConfig
from ml_clap.files import write_atomically
from ml_clap.lock import hold_outputs
from ml_clap.output import printable
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.table import table_batches, table_schema
from ml_clap.tables import count_of

if TYPE_CHECKING:
    pass


def export_index(index: AudioIndex, path: Path) -> int:
    """Write the table of an index as Parquet, some windows at a time; the file appears whole or not at all.

    Returns:
        The number of rows.
    """
    import pyarrow.parquet

    def write(temporary: Path) -> None:
        with pyarrow.parquet.ParquetWriter(temporary, table_schema(index), compression="zstd") as writer:
            for batch in table_batches(index):
                writer.write_batch(batch)

    write_atomically(path, write)
    return index.num_windows


def export_index_verb(config: ExportIndexConfig) -> None:
    """Export an index, and say how large it is."""
    assert config.out is not None
    with hold_outputs(config.out):
        rows = export_index(AudioIndex.open(config.index), config.out)
    print(f"{printable(config.out)}: {count_of(rows, 'window')}, {config.out.stat().st_size / 1e6:.1f} MB")
