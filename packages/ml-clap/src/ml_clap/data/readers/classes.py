"""Published sets of classes, for zero-shot classification: ESC-50, UrbanSound8K and FSD50K, as they unpack.

Their classes are written beside the manifest, one a line (`FILE.labels.txt`), for `classify --labels`. A
clip's captions are those that a file names for its class, else its class in a sentence. Clips of FSD50K
have several classes: they are in `labels`, and `label` is left open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audio_common.files import AudioFolder

from ml_clap.config.prepare import PrepareESC50Config, PrepareFSD50KConfig, PrepareUrbanSound8KConfig
from ml_clap.data.manifest import Clip, ManifestError
from ml_clap.data.prompts import TEMPLATES
from ml_clap.data.readers.labelled import Captions, read_label_captions
from ml_clap.data.readers.reading import Reading, seconds_or_none
from ml_clap.data.table import Row, read_text

LANGUAGE = "eng_Latn"
FSD50K_TABLES = {"dev.csv": "FSD50K.dev_audio", "eval.csv": "FSD50K.eval_audio"}
"""Table of the ground truth -> the folder of its sounds."""
FSD50K_SPLITS = {"train": "train", "val": "validation"}
"""Value of the column `split` of dev.csv -> our name."""


@dataclass(frozen=True)
class Layout:
    """Where a set with one class a clip has what."""

    table: str
    audio: str
    file: str
    """Column of the file's name."""
    label: str
    number: str
    """Column of the class's number, which orders the classes."""
    kept: tuple[str, ...]
    """Further columns that the manifest keeps."""


ESC50 = Layout("meta/esc50.csv", "audio", "filename", "category", "target", ("fold", "esc10", "src_file"))
URBANSOUND8K = Layout(
    "metadata/UrbanSound8K.csv", "audio", "slice_file_name", "class", "classID", ("fold", "fsID", "salience")
)


def read_esc50(config: PrepareESC50Config) -> Reading:
    """Read ESC-50: `meta/esc50.csv` and `audio/`; a fold is a split (`fold1` to `fold5`)."""
    reading = Reading()
    rows = _rows(config.source, ESC50, reading)
    if config.esc10:
        rows = [row for row in rows if row.cells["esc10"] == "True"]
    return _with_one_class(rows, config, ESC50, reading)


def read_urbansound8k(config: PrepareUrbanSound8KConfig) -> Reading:
    """Read UrbanSound8K: `metadata/UrbanSound8K.csv`, `audio/`; a fold is a split (`fold1` to `fold10`)."""
    reading = Reading()
    rows = _rows(config.source, URBANSOUND8K, reading)
    return _with_one_class(rows, config, URBANSOUND8K, reading)


def _rows(folder: Path, layout: Layout, reading: Reading) -> list[Row]:
    path = folder / layout.table
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {layout.table}; name the folder that the archive unpacks to"
        )
    return reading.table_rows(path, (layout.file, layout.label, layout.number, *layout.kept))


def _with_one_class(
    rows: list[Row], config: PrepareESC50Config | PrepareUrbanSound8KConfig, layout: Layout, reading: Reading
) -> Reading:
    table = config.source / layout.table
    captions = read_label_captions(config.captions) if config.captions else None
    folders: dict[str, AudioFolder] = {}
    numbers: dict[str, float] = {}
    for row in rows:
        where, name, label = f"{table}:{row.line}", row.cells[layout.file], row.cells[layout.label]
        number, fold = seconds_or_none(row.cells[layout.number]), row.cells["fold"]
        if not name or not label or number is None or not fold.isdecimal():
            message = f"{layout.file}, {layout.label}, {layout.number} and fold are needed, got {row.cells}"
            reading.add_problem("row", where, message)
            continue
        numbers.setdefault(label, number)
        try:
            own = _captions_of(label, captions, config.captions)
            # By fold where there is a folder of it: names of UrbanSound8K occur in one fold only by luck.
            folder = config.audio or config.source / layout.audio
            folder = folder / f"fold{fold}" if (folder / f"fold{fold}").is_dir() else folder
            audio = folders.setdefault(str(folder), AudioFolder(folder)).find(name)
        except ManifestError as e:
            reading.add_problem("row", where, e)
            continue
        except (LookupError, OSError) as e:
            reading.add_problem("missing", where, e)
            continue
        extra = {key: row.cells[key] for key in layout.kept}
        split = f"fold{int(fold)}"
        reading.clips.append(Clip(Path(name).stem, audio, own, split=split, label=label, extra=extra))
    reading.labels = sorted(numbers, key=lambda label: (numbers[label], label))
    return reading


def _captions_of(label: str, captions: Captions | None, path: Path | None) -> dict[str, tuple[str, ...]]:
    if captions is None:
        return {LANGUAGE: (_sentence([label]),)}
    if label not in captions:
        raise ManifestError(f"{path} has no captions of its label {label!r}")
    return dict(captions[label])


def _sentence(labels: list[str]) -> str:
    """Return classes in a sentence.

    >>> _sentence(["dog_bark", "Rain"])
    'The sound of dog bark, rain.'
    """
    named = ", ".join(label.replace("_", " ").lower() for label in labels)
    return TEMPLATES[LANGUAGE].format(named)


def read_fsd50k(config: PrepareFSD50KConfig) -> Reading:
    """Read FSD50K: vocabulary, dev.csv and eval.csv of `FSD50K.ground_truth/`, and two folders of sounds.

    The splits are train and validation (dev) and test (eval).
    """
    reading = Reading()
    truth = config.source / "FSD50K.ground_truth"
    if not (truth / "vocabulary.csv").is_file():
        raise FileNotFoundError(f"{config.source} has no FSD50K.ground_truth/vocabulary.csv")
    reading.labels = list(_vocabulary(truth / "vocabulary.csv", reading))
    known = set(reading.labels)
    tables = [truth / name for name in FSD50K_TABLES if (truth / name).is_file()]
    if not tables:
        raise FileNotFoundError(f"{truth} has none of {', '.join(FSD50K_TABLES)}")
    for table in tables:
        is_dev = table.name == "dev.csv"
        folder = AudioFolder((config.audio or config.source) / FSD50K_TABLES[table.name])
        for row in reading.table_rows(table, ("fname", "labels", *(["split"] if is_dev else []))):
            where = f"{table}:{row.line}"
            labels = [label for label in row.cells["labels"].split(",") if label]
            split = FSD50K_SPLITS.get(row.cells["split"]) if is_dev else "test"
            unknown = [label for label in labels if label not in known]
            if not labels or unknown or split is None:
                what = f"labels {unknown} are not in vocabulary.csv" if unknown else f"got {row.cells}"
                reading.add_problem(
                    "row", where, f"fname, labels and split (train or val) are needed: {what}"
                )
                continue
            try:
                audio = folder.find_stem([row.cells["fname"]])
            except (LookupError, OSError) as e:
                reading.add_problem("missing", where, e)
                continue
            clip_id = f"{table.stem}-{row.cells['fname']}"
            own: dict[str, tuple[str, ...]] = {LANGUAGE: (_sentence(labels),)}
            reading.clips.append(Clip(clip_id, audio, own, split=split, extra={"labels": labels}))
    return reading


def _vocabulary(path: Path, reading: Reading) -> Iterator[str]:
    """Give the classes of a table without a header: number, label, machine id."""
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        cells = [cell.strip() for cell in text.split(",")]
        if len(cells) == 3 and cells[0].isdecimal() and cells[1]:
            yield cells[1]
        elif text.strip():
            reading.add_problem("row", f"{path}:{line}", f"expected number,label,id, got {text!r}")
