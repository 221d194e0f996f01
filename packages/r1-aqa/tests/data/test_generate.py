"""`prepare generate`: questions of folders, manifests and synthesized events, and a listener's answers."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_common import DecodePool
from audio_common.scenes import text
from audio_common.scenes.scene import KINDS
from r1_aqa.cli import main
from r1_aqa.config.prepare import PrepareGenerateConfig
from r1_aqa.data import generate as module
from r1_aqa.data.generate import Generation, generate, generate_verb, plan_questions
from r1_aqa.data.labelled import LabelledClip, assign_splits, read_clips, read_families
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.data.report import Report
from r1_aqa.data.sources import read_sources

RATE = 16_000
TONES = {"horn": 300, "cello": 520, "oboe": 900, "flute": 1550, "alarm": 2700, "mosquito": 4600}
"""Label -> Hz of its recordings."""
NUM_CLIPS = 5


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a class each: one tone of 4.5 s, of each class at its own pitch and several levels."""
    folder = tmp_path_factory.mktemp("tones")
    times = np.arange(round(4.5 * RATE)) / RATE
    for label, hz in TONES.items():
        (folder / label).mkdir()
        for number in range(NUM_CLIPS):
            sound = 0.03 * (1 + number) * np.sin(2 * np.pi * hz * times)
            soundfile.write(folder / label / f"1-{hz}{number}-A.wav", sound, RATE)
    return folder


@pytest.fixture(scope="module")
def made(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PrepareGenerateConfig, Generation]:
    config = PrepareGenerateConfig(
        source=tones,
        out=tmp_path_factory.mktemp("out") / "q.jsonl",
        num_questions=130,
        num_choices=4,
        validation_share=0.2,
        test_share=0.2,
    )
    return config, generate(config)


def listen(path: Path) -> dict[str, list[tuple[float, float, float]]]:
    """Return what an ideal listener hears: label -> (onset, offset, level in dB) of each sound of it."""
    samples, rate = soundfile.read(path)
    assert (rate, samples.ndim) == (RATE, 1)
    hop = 400
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop) * np.hanning(hop)
    heard: dict[str, list[tuple[float, float, float]]] = {}
    for label, hz in TONES.items():
        turn = np.exp(-2j * np.pi * hz * np.arange(hop) / RATE)
        levels = 20 * np.log10(np.abs(frames @ turn) / (hop / 2) * 2 + 1e-9)
        on = np.flatnonzero(levels > -50)
        for run in np.split(on, np.flatnonzero(np.diff(on) > 4) + 1) if len(on) else ():
            if len(run) >= 6:
                span = (run[0] * hop / RATE, (run[-1] + 1) * hop / RATE, float(levels[run].max()))
                heard.setdefault(label, []).append(span)
    return heard


def reply(question: Question) -> str:
    """Return the answer of the ideal listener, from the sound and the text alone."""
    heard = listen(question.audio)
    spans = sorted((span, label) for label, found in heard.items() for span in found)
    order = [label for _, label in spans]
    named = question.question.split('"')[1] if '"' in question.question else ""
    lengths = {label: max(off - on for on, off, _ in found) for label, found in heard.items()}
    levels = {label: max(level for *_, level in found) for label, found in heard.items()}
    match question.sub_category:
        case "which":
            return next(choice for choice in question.choices if choice in heard)
        case "absent":
            return next(choice for choice in question.choices if choice not in heard)
        case "first":
            return order[0]
        case "last":
            return order[-1]
        case "after":
            return order[order.index(named) + 1]
        case "count":
            return str(len(heard))
        case "repeats":
            return str(len(heard[named]))
        case "loudest":
            return max(levels, key=levels.__getitem__)
        case "quietest":
            return min(levels, key=levels.__getitem__)
        case "longest":
            return max(lengths, key=lengths.__getitem__)
        case "shortest":
            return min(lengths, key=lengths.__getitem__)
        case "overlap":
            (on, off, _), *_ = heard[named]
            return max(
                (min(off, end) - max(on, start), label) for (start, end, _), label in spans if label != named
            )[1]
        case _:
            steps = {"half a second": 0.5, "1 second": 1.0, "2 seconds": 2.0, "4 seconds": 4.0}
            return min(question.choices, key=lambda choice: abs(np.log(steps[choice] / lengths[named])))


def test_an_ideal_listener_answers_every_question(made: tuple[PrepareGenerateConfig, Generation]) -> None:
    config, generation = made
    assert generation.summary["not_asked"] == {}
    questions = [q for found in generation.questions.values() for q in found]
    assert len(questions) == 130
    assert {q.sub_category for q in questions} == set(config.kinds)
    wrong = [(q.id, q.question, q.choices, q.answer, reply(q)) for q in questions if reply(q) != q.answer]
    assert not wrong


def test_files_are_questions_as_all_verbs_read_them(made: tuple[PrepareGenerateConfig, Generation]) -> None:
    config, generation = made
    for split, name in (("train", "q.jsonl"), ("validation", "q.validation.jsonl"), ("test", "q.test.jsonl")):
        questions = read_questions(config.out.parent / name)
        assert [q.id for q in questions] == [q.id for q in generation.questions[split]]
        assert {q.split for q in questions} == {split}
        assert all(q.audio.is_file() and q.extra["duration"] == 10.0 for q in questions)
        assert {soundfile.info(q.audio).frames for q in questions} == {160_000}
        events = questions[0].extra["timestamps"]
        assert set(events[0]) == {"text", "onset", "offset"}
    report = json.loads((config.out.parent / "q.report.json").read_text())
    assert report["splits"]["train"]["questions"] == report["kept"] == len(generation.questions["train"])
    assert report["splits"]["test"]["text_only"] < 0.6
    assert report["splits"]["train"]["first_option"] == pytest.approx(
        report["splits"]["train"]["chance"], abs=0.06
    )


def test_no_recording_is_in_two_splits(made: tuple[PrepareGenerateConfig, Generation]) -> None:
    recordings = [
        {source["recording"] for q in found for source in q.extra["sources"]}
        for found in made[1].questions.values()
    ]
    assert all(recordings)
    assert sum(map(len, recordings)) == len(set().union(*recordings)) <= len(TONES) * NUM_CLIPS


def test_after_a_kill_the_same_command_goes_on_to_the_same_bytes(
    made: tuple[PrepareGenerateConfig, Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = made
    folder = config.out.parent

    def content() -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    before = content()
    sounds = sorted((folder / "q-audio").iterdir())
    for path in (*sounds[::20], config.out):
        path.unlink()
    (folder / f".{config.out.name}.123.tmp").write_bytes(b"half")
    composed = []
    original = module.flac_bytes
    monkeypatch.setattr(module, "flac_bytes", lambda samples: composed.append(1) or original(samples))
    monkeypatch.setattr(
        "r1_aqa.data.sources.describe_sound", None
    )  # nothing is decoded again to be looked at
    assert generate_verb(config) == 0
    assert content() == before
    assert len(composed) == len(sounds[::20])


def test_medium_options_are_of_one_family(
    made: tuple[PrepareGenerateConfig, Generation], tmp_path: Path
) -> None:
    (tmp_path / "f.json").write_text(json.dumps({label: str(i % 2) for i, label in enumerate(TONES)}))
    settings: dict[str, Any] = {"kinds": ("which", "absent"), "difficulties": ("medium",), "num_choices": 3}
    config = replace(made[0], **settings, num_questions=60)
    for families, is_apart in ((None, False), (tmp_path / "f.json", True)):
        config = replace(config, families=families)
        with DecodePool() as pool:  # nothing is decoded: it was looked at for `made`
            plans = plan_questions(config, read_sources(config, Report(), pool)).plans["train"]
        order = list(TONES)
        sides = [{order.index(choice) % 2 for choice in plan.choices} for plan in plans]
        assert all(len(side) == 1 for side in sides) == is_apart


def test_labels_that_cannot_stand_in_a_question_are_reported(tones: Path, tmp_path: Path) -> None:
    rows = []
    for number, name in enumerate(("horn", "Horn", "<sound>", "oboe", "flute")):
        path = sorted((tones / list(TONES)[number]).iterdir())[0]
        rows.append({"audio": str(path), "label": name})
    config = config_of(
        write_manifest(tmp_path / "m.jsonl", rows), tmp_path, num_questions=8, num_choices=2, kinds=("which",)
    )
    generation = generate(config)
    assert generation.summary["labels"] == 4  # horn is Horn
    assert generation.report.skipped
    assert all("<sound> stands for a sound" in problem.message for problem in generation.report.skipped)
    assert len(generation.questions["train"]) == 8 - len(generation.report.skipped) > 0


def config_of(source: Path, out: Path, **settings: Any) -> PrepareGenerateConfig:
    return PrepareGenerateConfig(source=source, out=out / "q.jsonl", **{"seconds": 4.0, **settings})


def clips_of(config: PrepareGenerateConfig) -> list[LabelledClip]:
    return [clip for _, clip in read_clips(config) if isinstance(clip, LabelledClip)]


def test_names_of_esc50_say_class_family_and_recording(tmp_path: Path) -> None:
    for name in ("audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav", "audio/1-100032-B-10.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    config = config_of(tmp_path, tmp_path)
    clips = clips_of(config)
    assert [clip.label for clip in clips] == ["dog", "rain", "dog"]
    assert clips[0].recording == clips[1].recording == "freesound 100032" != clips[2].recording
    assert read_families(config, clips) == {"dog": "animals", "rain": "nature"}


def test_folders_say_label_family_and_split(tmp_path: Path) -> None:
    for name in ("pets/dog_bark/a.wav", "pets/cat/a.wav", "water/rain/a.wav", "alone.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    config = config_of(tmp_path, tmp_path)
    clips = clips_of(config)
    assert [(clip.label, clip.family) for clip in clips] == [
        ("cat", "pets"),
        ("dog bark", "pets"),
        ("rain", "water"),
    ]
    assert str(dict(read_clips(config))["alone.wav"]) == "it lies in no folder that names what is heard"
    (tmp_path / "pets").rename(tmp_path / "test")
    assert {clip.label: clip.split for clip in clips_of(config)} == {
        "cat": "test",
        "dog bark": "test",
        "rain": None,
    }
    (tmp_path / "f.json").write_text('{"dog_bark": "animals", "cat": "animals", "sun": "sky"}')
    with_file = config_of(tmp_path, tmp_path, families=tmp_path / "f.json")
    assert read_families(with_file, clips) == {"dog bark": "animals", "cat": "animals"}
    (tmp_path / "f.json").write_text('{"sun": "sky"}')
    with pytest.raises(ValueError, match="has a family of none of the labels"):
        read_families(with_file, clips)


def write_manifest(path: Path, rows: Sequence[dict[str, Any]], broken: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + broken)
    return path


def test_manifests_have_labels_captions_or_times(tmp_path: Path) -> None:
    times = [
        {"text": "a bell", "onset": 0.0, "offset": 1.0},
        {"text": "rain", "onset": 0.5, "offset": 2.0},
        {"text": "a dog", "onset": 2.5, "offset": 4.0},
    ]
    rows = [
        {"audio": "a.wav", "label": "dog_bark", "recording": "r1", "split": "test", "family": "animals"},
        {"audio": "b.wav", "captions": {"fra": ["Un chien."], "eng_Latn": ["A dog barks.", "A dog."]}},
        {"audio": "c.wav", "captions": ["a dog."], "sound_id": "s"},
        {"audio": "d.wav", "timestamps": times},
        {"audio": "e.wav", "labels": ["dog", "cat"]},
        {"audio": "f.wav"},
        {"label": "dog"},
        {"audio": "g.wav", "timestamps": [{"text": "x", "onset": 2, "offset": 1}]},
        {"audio": "a.wav", "label": "again"},
        {"audio": ["h.wav", "i.wav"], "label": "two"},
        {"audio": "j.wav", "label": "_", "captions": "..."},
    ]
    config = config_of(write_manifest(tmp_path / "m.jsonl", rows, "{"), tmp_path)
    found = list(read_clips(config))
    clips = [clip for _, clip in found if isinstance(clip, LabelledClip)]
    assert [(clip.label, clip.recording) for clip in clips] == [
        ("dog bark", "r1"),
        ("A dog barks", "b.wav"),
        ("a dog", "s"),
        ("a dog", "d.wav"),
    ]
    assert (clips[3].name, clips[3].start, clips[3].end) == ("d.wav@2.5-4", 2.5, 4.0)
    assert clips[0].split == "test"
    assert clips[1].texts & clips[2].texts == {"a dog."}
    said = {
        where.rpartition(":")[2]: getattr(fault, "text", str(fault))
        for where, fault in found
        if not isinstance(fault, LabelledClip)
    }
    assert said["4"] == "together with another, or too short: rain at 0.5 s"
    assert said["5"] == "several labels"
    assert said["6"] == "a clip without label, timestamps or captions in eng_Latn"
    assert said["7"] == "there is no 'audio'; it has the keys label"
    assert said["8"] == "timestamps: an event must end after it begins, got 2 to 1 s"
    assert said["9"] == "the audio a.wav is that of an earlier row, too"
    assert said["10"] == "a clip is one sound; audio names 2"
    assert said["11"] == "a clip without label, timestamps or captions in eng_Latn"
    assert "12" in said


def test_events_with_times_are_cut_out_of_their_recordings(tones: Path, tmp_path: Path) -> None:
    rows = []
    for number in range(NUM_CLIPS):
        order = sorted(TONES)[number:] + sorted(TONES)[:number]
        sounds = [soundfile.read(next((tones / label).iterdir()))[0][:RATE] for label in order]
        pause = np.zeros(RATE // 2)
        soundfile.write(
            tmp_path / f"{number}.wav", np.concatenate([x for s in sounds for x in (s, pause)]), RATE
        )
        times = [{"text": label, "onset": i * 1.5, "offset": i * 1.5 + 1} for i, label in enumerate(order)]
        rows.append({"audio": f"{number}.wav", "timestamps": times})
    config = config_of(
        write_manifest(tmp_path / "m.jsonl", rows),
        tmp_path,
        num_questions=12,
        kinds=("first", "which", "count"),
    )
    questions = generate(config).questions["train"]
    assert len(questions) == 12
    assert [reply(q) for q in questions] == [q.answer for q in questions]


def test_copies_and_clips_of_one_recording_stay_together() -> None:
    def clip(name: str, label: str, recording: str, split: str | None = None) -> LabelledClip:
        return LabelledClip(name=name, where=name, label=label, recording=recording, split=split)

    clips = [clip(f"{label}{n}", label, f"{label}r{n // 2}") for label in "abc" for n in range(12)]
    clips += [clip(f"one{n}", f"caption {n}", f"one{n}") for n in range(50)]
    # b0 is a copy of a0, whatever its name: so their recordings are one.
    digests = {c.name: c.name for c in clips} | {"b0": "a0"}
    shares = {"validation": 0.2, "test": 0.3}
    split_of = assign_splits(clips, digests, shares, seed=1)
    for c in clips:
        assert len({split_of[other.name] for other in clips if other.recording == c.recording}) == 1
    assert split_of["a0"] == split_of["a1"] == split_of["b0"] == split_of["b1"]
    for label in "abc":
        assert {split_of[c.name] for c in clips if c.label == label} == {"train", "validation", "test"}
    singles = [split_of[f"one{n}"] for n in range(50)]
    assert (singles.count("validation"), singles.count("test")) == (10, 15)
    assert split_of != assign_splits(clips, digests, shares, seed=2)
    fixed = [*clips, clip("x", "a", "ar0", "test")]
    assert assign_splits(fixed, digests, shares, seed=1)["a0"] == "test"


def test_bad_files_are_reported_and_end_nothing(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tones, tmp_path / "in")
    (tmp_path / "in" / "horn" / "broken.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "in" / "horn" / "silent.wav", np.zeros(RATE), RATE)
    out = tmp_path / "q.jsonl"
    arguments = ["prepare", "generate", str(tmp_path / "in"), "--out", str(out), "--num_questions", "6"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--kinds", "which", "first", "--seconds", "4"])
    assert end.value.code == 1
    report = json.loads((tmp_path / "q.report.json").read_text())
    assert {p["where"]: p["kind"] for p in report["problems"]} == {
        "horn/broken.wav": "corrupt",
        "horn/silent.wav": "silent",
    }
    assert len(read_questions(out)) == 6
    assert "without hearing, always the first option is right in" in capsys.readouterr().err


def test_a_benchmarks_recordings_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in "abc":
        for number in range(2):
            (tmp_path / "in" / label).mkdir(parents=True, exist_ok=True)
            # A tune each, that a fingerprint knows.
            sound = np.concatenate([np.sin(np.arange(3200) * f) for f in rng.uniform(0.1, 1.2, 30)])
            soundfile.write(tmp_path / "in" / label / f"{number}.wav", 0.3 * sound, RATE)
    shutil.copy(tmp_path / "in" / "a" / "0.wav", tmp_path / "other.wav")
    row = {"id": "1", "audio": "other.wav", "question": "What?", "choices": ["a", "b"], "answer": "a"}
    (tmp_path / "bench.jsonl").write_text(json.dumps(row))
    config = config_of(
        tmp_path / "in",
        tmp_path,
        num_questions=4,
        num_choices=2,
        kinds=("which",),
        against=(tmp_path / "bench.jsonl",),
    )
    generation = generate(config)
    assert [(p.where, p.kind.name) for p in generation.report.skipped] == [("a/0.wav", "overlap")]
    assert generation.report.is_bad is False


def test_questions_are_probed_before_they_are_written(tmp_path: Path, tones: Path) -> None:
    def keep_even(config: Any, rows: Any, report: Any) -> Any:
        return [(where, replace(q, extra=q.extra | {"probed": 1})) for where, q in rows[::2]]

    made = generate(config_of(tones, tmp_path, num_questions=8, kinds=("which",), test_share=0.25), keep_even)
    written = [read_questions(tmp_path / name) for name in ("q.jsonl", "q.test.jsonl")]
    assert [len(found) for found in written] == [3, 1]
    assert {q.extra["probed"] for found in written for q in found} == {1}
    assert made.summary["splits"]["test"]["questions"] == 1


def test_synthesized_events_need_no_data(tmp_path: Path) -> None:
    config = config_of(
        Path("scenes"), tmp_path, num_questions=4, kinds=("which", "first"), validation_share=0.5
    )
    questions = generate(config).questions
    assert [len(questions[split]) for split in ("train", "validation")] == [2, 2]
    names = {text.label(kind) for kind in KINDS}
    assert all(set(q.choices) <= names for found in questions.values() for q in found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"out": Path("-")}, "give out a name other than -"),
        ({"num_choices": 1}, "num_choices must be at least 2, got 1"),
        ({"max_sounds": 1}, "max_sounds must be at least 2, got 1"),
        ({"num_questions": 0}, "num_questions must be at least 1, got 0"),
        ({"seconds": 1.0}, r"seconds must be in \[2, 60\], got 1.0"),
        ({"test_share": 0.6, "validation_share": 0.5}, "must leave something for training, got 0.6 and 0.5"),
        ({"kinds": ()}, "kinds and difficulties must name at least one each"),
        ({"check_sound": False}, "leave check_sound true"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrepareGenerateConfig(**{"source": Path("x"), "out": Path("q.jsonl"), **settings})


def test_what_is_not_there_or_has_no_labels_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["prepare", "generate", str(tmp_path / "no"), "--out", str(tmp_path / "q.jsonl")])
    assert end.value.code == 2
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(RATE)), RATE)
    with pytest.raises(
        ValueError, match=r"no clip that can be used; the first: a.wav: .* no folder that names"
    ):
        generate(config_of(tmp_path, tmp_path))
    (tmp_path / "dog").mkdir()
    (tmp_path / "a.wav").rename(tmp_path / "dog" / "a.wav")
    with pytest.raises(ValueError, match=r"no question can be made of .*: 1 labels"):
        generate(config_of(tmp_path, tmp_path, kinds=("which",)))
