"""Labelled clips, of which sounds are composed: a folder, a manifest, or synthesized events.

| source | label | recording |
|---|---|---|
| a folder | the folder of each file; ESC-50's class by its names | ESC-50's source, else the file |
| a manifest | `label`, else the first of `captions` | `recording`, `sound_id`, as in a folder |
| a manifest with `timestamps` | each event's text; events that sound alone are cut out | the same |
| the word `scenes` | `audio_common.scenes`' kinds, synthesized | each instance |

Clips cut from one recording are so alike that a model which has heard one knows the others: `assign_splits`
keeps them together.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from audio_common.files import find_audio
from audio_common.strict_json import read_object

from r1_aqa.config.prepare import PrepareGenerateConfig
from r1_aqa.data.clips import captions_of
from r1_aqa.data.questions import QuestionError
from r1_aqa.data.readers import sounds_of
from r1_aqa.data.report import Kind, Reason
from r1_aqa.data.rows import iterate_rows

SCENES = "scenes"
"""Source that stands for synthesized events."""
INSTANCES, FEWEST_INSTANCES, INSTANCE_SECONDS = 100, 5, 5.0
"""Synthesized events of each kind: a tenth of the number of questions, within these; and their length."""
SPLITS = ("train", "validation", "test")
SEVERAL = Kind("several", "several labels, and no times of each", "give `timestamps`, or one label a clip")
TOGETHER = Kind(
    "together", "the event sounds together with another", "nothing: those that sound alone are used"
)
SHORTEST_EVENT = 0.3
"""Seconds; a shorter annotated event is not used."""

ESC50_CLASSES = (
    *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds"),
    *("water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm"),
    *("crying_baby", "sneezing", "clapping", "breathing", "coughing"),
    *("footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping"),
    *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
    *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    *("helicopter", "chainsaw", "siren", "car_horn", "engine"),
    *("train", "church_bells", "airplane", "fireworks", "hand_saw"),
)
"""ESC-50's classes by the number at the end of its file names (K. J. Piczak, ACM Multimedia 2015)."""
ESC50_FAMILIES = ("animals", "nature", "human, not speech", "interior, domestic", "exterior, urban")
"""Its five groups of ten classes, in the same order."""
_ESC50 = re.compile(r"[1-9]-(?P<recording>\d+)-[A-Z](?:-(?P<target>\d{1,2}))?")


@dataclass(frozen=True, kw_only=True)
class LabelledClip:
    """A clip and what is heard in it; or a part of a clip in which this alone is heard."""

    name: str
    """Unique in its source; the same on every machine."""
    where: str
    """`file:line`, for reports."""
    label: str
    """In words, as questions have it."""
    recording: str
    """What the clip was cut from."""
    audio: Path | None = None
    """None: synthesized, see `event`."""
    event: tuple[str, int] | None = None
    """Kind and seed of a synthesized event."""
    start: float = 0.0
    """Seconds, where in the file it begins."""
    end: float | None = None
    """None: with the file."""
    split: str | None = None
    """The source's own split, if it says."""
    family: str | None = None
    """What the label belongs to."""
    texts: frozenset[str] = frozenset()
    """All that describes it: labels that share one are never options of the same question."""


Row = tuple[str, "LabelledClip | QuestionError | Reason"]
"""Place, and the clip there, or why it cannot be used, or is not."""


def read_clips(config: PrepareGenerateConfig) -> Iterator[Row]:
    """Yield the clips of the source that the settings name."""
    if str(config.source) == SCENES and not config.source.exists():
        yield from _synthesized(config.num_questions)
    elif config.source.is_dir():
        yield from _of_folder(config.source)
    else:
        yield from _of_manifest(config)


def synthesize(event: tuple[str, int]) -> np.ndarray:
    """Return the samples of a synthesized event, `(samples,)` float32 at 16 kHz."""
    from audio_common.scenes.scene import Event, render_event

    kind, seed = event
    sound = render_event(Event(kind=kind, onset=0.0, duration=INSTANCE_SECONDS, gain_db=0.0, seed=seed))
    return np.asarray(sound, np.float32)


def read_families(config: PrepareGenerateConfig, clips: Sequence[LabelledClip]) -> dict[str, str]:
    """Return label -> family, where it is known and says something: of two families or more.

    Raises:
        ValueError: the file of families is no object label -> family, or names none of the labels.
    """
    if config.families is not None:
        table = read_object(config.families)
        if not all(isinstance(family, str) for family in table.values()):
            raise ValueError(f"{config.families}: expected an object label -> family, both texts")
        plain = {in_words(label): family for label, family in table.items()}
        found = {clip.label: plain[clip.label] for clip in clips if clip.label in plain}
        if not found:
            labels = ", ".join(sorted({clip.label for clip in clips})[:5])
            raise ValueError(f"{config.families} has a family of none of the labels ({labels}, ...)")
        return found
    families: dict[str, set[str]] = {}
    for clip in clips:
        if clip.family:
            families.setdefault(clip.label, set()).add(clip.family)
    one_each = {label: next(iter(names)) for label, names in families.items() if len(names) == 1}
    return one_each if len(set(one_each.values())) > 1 else {}


def assign_splits(
    clips: Sequence[LabelledClip], digests: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Return clip's name -> split; a recording, and whatever is its copy, is in one split only.

    Args:
        clips: with the splits of their source, which are kept.
        digests: clip's name -> hash of its sound: equal ones are one recording, whatever their names.
        shares: of recordings, for splits other than train; of each label, and at least one recording.
        seed: of the choice.
    """
    recording = _joined(clips, digests)
    split_of: dict[str, str] = {}
    for clip in clips:
        if clip.split in SPLITS:
            split_of.setdefault(recording[clip.name], clip.split)
    rng = random.Random(f"{seed} splits")
    groups: dict[str, set[str]] = {}
    for clip in clips:
        groups.setdefault(clip.label, set()).add(recording[clip.name])
    # A label of one or two recordings (a caption) cannot be in every split: these are dealt out together.
    few = {name for names in groups.values() if len(names) <= len(shares) for name in names}
    for names in (*(groups[label] for label in sorted(groups) if len(groups[label]) > len(shares)), few):
        left = sorted(names - split_of.keys())
        rng.shuffle(left)
        total, is_label = len(left), names is not few
        for split, share in shares.items():
            count = max(int(is_label), round(total * share)) if share else 0
            split_of |= dict.fromkeys(left[:count], split)
            left = left[count:]
        split_of |= dict.fromkeys(left, "train")
    return {clip.name: split_of[recording[clip.name]] for clip in clips}


def in_words(label: str) -> str:
    """Return a label as a question has it.

    >>> in_words("dog_bark"), in_words("A dog barks.")
    ('dog bark', 'A dog barks')
    """
    return " ".join(label.replace("_", " ").split()).rstrip(".!")


def _synthesized(num_questions: int) -> Iterator[Row]:
    from audio_common.scenes.scene import KINDS
    from audio_common.scenes.text import label

    for kind in KINDS:
        for seed in range(min(INSTANCES, max(FEWEST_INSTANCES, num_questions // 10))):
            name, words = f"{kind}-{seed}", label(kind)
            yield (
                name,
                LabelledClip(name=name, where=name, label=words, recording=name, event=(kind, seed)),
            )


def _of_folder(folder: Path) -> Iterator[Row]:
    for path in find_audio(folder):
        name = path.relative_to(folder).as_posix()
        parts = PurePath(name).parts
        esc50 = _esc50_class(path.stem)
        if esc50 is None and len(parts) < 2:
            yield name, QuestionError("it lies in no folder that names what is heard")
            continue
        above = parts[-3] if len(parts) > 2 else None
        label, family = esc50 or (parts[-2], None if above in SPLITS else above)
        yield (
            name,
            LabelledClip(
                name=name,
                where=name,
                label=in_words(label),
                recording=_recording(path, name),
                audio=path,
                split=above if above in SPLITS else None,
                family=family,
            ),
        )


def _of_manifest(config: PrepareGenerateConfig) -> Iterator[Row]:
    names = Counter[str]()
    for where, row in iterate_rows(config.source):
        if isinstance(row, QuestionError):
            yield where, row
            continue
        try:
            for clip in _clips_of_row(where, row, config):
                if not isinstance(clip, LabelledClip):
                    yield where, clip
                    continue
                names[clip.name] += 1
                if names[clip.name] > 1:
                    raise ValueError(f"the audio {clip.name} is that of an earlier row, too")
                yield where, clip
        except KeyError as error:
            yield where, QuestionError(f"there is no {error.args[0]!r}; it has the keys {', '.join(row)}")
        except ValueError as error:
            yield where, QuestionError(str(error))


def _clips_of_row(
    where: str, row: dict[str, Any], config: PrepareGenerateConfig
) -> Iterator[LabelledClip | Reason]:
    sounds = sounds_of(row, "audio", config.source.parent)
    if sounds["further_audio"]:
        raise ValueError(f"a clip is one sound; audio names {len(sounds['further_audio']) + 1}")
    audio: Path = sounds["audio"]
    if config.audio is not None:
        audio = config.audio / audio.name
    base = config.source.parent
    name = audio.relative_to(base).as_posix() if audio.is_relative_to(base) else str(audio)
    known: dict[str, Any] = {
        "where": where,
        "audio": audio,
        "recording": _recording_of_row(row, audio, name, config.recording),
        "split": row.get("split"),
        "family": row["family"] if isinstance(row.get("family"), str) else None,
    }
    if row.get("timestamps"):
        yield from _alone(name, row["timestamps"], known)
        return
    labels = row.get("labels")
    if isinstance(labels, list) and len(labels) > 1 and not row.get("label"):
        yield Reason(SEVERAL, "several labels")
        return
    label = row.get("label") or (labels[0] if isinstance(labels, list) and labels else None)
    if label is not None and not isinstance(label, str):
        raise ValueError(f"label: expected a text, got {label!r}")
    captions = captions_of(row.get("captions"), config.language)
    if not in_words(label or "") and not any(map(in_words, captions)):
        raise ValueError(f"a clip without label, timestamps or captions in {config.language}")
    # Captions of a labelled clip are of one sound; without labels two clips that share one are alike.
    texts = frozenset() if label else frozenset(caption.casefold() for caption in captions)
    words = in_words(label or "") or next(filter(None, map(in_words, captions)))
    yield LabelledClip(name=name, label=words, texts=texts, **known)


def _alone(name: str, rows: Any, known: dict[str, Any]) -> Iterator[LabelledClip | Reason]:
    """Yield the events of a recording that sound alone, and of the others why they are not used."""
    events = [_event(row) for row in rows] if isinstance(rows, list) else []
    if not events:
        raise ValueError('timestamps: expected a list of {"text": text, "onset": seconds, "offset": seconds}')
    for number, (text, onset, offset) in enumerate(events):
        others = events[:number] + events[number + 1 :]
        if any(onset < end and begin < offset for _, begin, end in others) or offset - onset < SHORTEST_EVENT:
            yield Reason(TOGETHER, f"together with another, or too short: {text} at {onset:g} s")
            continue
        yield LabelledClip(
            name=f"{name}@{onset:g}-{offset:g}", label=in_words(text), start=onset, end=offset, **known
        )


def _event(row: Any) -> tuple[str, float, float]:
    values = [row.get(key) for key in ("text", "onset", "offset")] if isinstance(row, dict) else []
    is_good = len(values) == 3 and isinstance(values[0], str) and bool(in_words(values[0]))
    times = values[1:]
    if not is_good or not all(isinstance(t, int | float) and not isinstance(t, bool) for t in times):
        raise ValueError(
            f'timestamps: expected {{"text": text, "onset": seconds, "offset": seconds}}, got {row!r}'
        )
    text, onset, offset = str(values[0]), float(times[0]), float(times[1])  # type: ignore[arg-type]
    if not 0 <= onset < offset:
        raise ValueError(f"timestamps: an event must end after it begins, got {onset:g} to {offset:g} s")
    return text, onset, offset


def _recording_of_row(row: dict[str, Any], audio: Path, name: str, column: str | None) -> str:
    if column is not None:
        if row.get(column) is None:
            raise KeyError(column)
        return str(row[column])
    found = next((row[key] for key in ("recording", "sound_id") if row.get(key) is not None), None)
    return str(found) if found is not None else _recording(audio, name)


def _recording(path: Path, name: str) -> str:
    match = _ESC50.fullmatch(path.stem)
    return f"freesound {match['recording']}" if match else name


def _esc50_class(stem: str) -> tuple[str, str] | None:
    match = _ESC50.fullmatch(stem)
    if match is None or match["target"] is None or int(match["target"]) >= len(ESC50_CLASSES):
        return None
    number = int(match["target"])
    return ESC50_CLASSES[number], ESC50_FAMILIES[number // 10]


def _joined(clips: Sequence[LabelledClip], digests: Mapping[str, str]) -> dict[str, str]:
    """Return clip's name -> recording, with recordings that share a sound as one."""
    parent = {clip.recording: clip.recording for clip in clips}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    first: dict[str, str] = {}
    for clip in clips:
        digest = digests.get(clip.name)
        if digest is not None:
            parent[root(clip.recording)] = root(first.setdefault(digest, clip.recording))
    return {clip.name: root(clip.recording) for clip in clips}
