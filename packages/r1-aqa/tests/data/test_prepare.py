"""Preparation: AVQA's names and filters, bad rows and sounds left out with their reason, contamination."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_common import load_audio
from audio_common.check import CheckMemory
from audio_common.scenes.scene import random_scene, render
from r1_aqa.config.prepare import PrepareAVQAConfig, PrepareQuestionsConfig
from r1_aqa.data.avqa import MediaIndex, known_names, visual_reason
from r1_aqa.data.check import SoundCheck, check_sounds
from r1_aqa.data.fingerprints import RATE, FingerprintIndex, fingerprint
from r1_aqa.data.prepare import prepare_avqa, prepare_questions, split_recordings
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.readers import read_questions
from r1_aqa.data.report import RELATION, VISUAL, Reason


def scene(path: Path, seed: int, seconds: float = 4.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, render(random_scene(seed, num_events=2, seconds=seconds)), 16_000)
    return path


def avqa_row(number: int, name: str, **changes: object) -> dict[str, object]:
    return {
        "id": number,
        "video_name": name,
        "video_id": number,
        "question_text": "What sounds in the video?",
        "multi_choice": ["dog", "cat", "car", "rain"],
        "answer": 1,
        "question_relation": "Sound",
        "question_type": "Which",
    } | changes


@pytest.mark.parametrize(
    "stem",
    [
        "-HG3Omg_89c_000030",
        "-HG3Omg_89c_30",
        "-HG3Omg_89c_000030_000040",
        "-HG3Omg_89c_30_40",
        "-HG3Omg_89c_30000_40000",
    ],
)
def test_a_sound_is_found_under_every_name_that_is_in_use(tmp_path: Path, stem: str) -> None:
    scene(tmp_path / "deep" / f"{stem}.wav", 0, 3.0)
    assert MediaIndex(tmp_path).find("-HG3Omg_89c_000030") is not None
    assert MediaIndex(tmp_path).find("-HG3Omg_89c_000031") is None


def test_a_name_that_is_no_youtube_clip_is_itself_alone() -> None:
    assert list(known_names("dog")) == ["dog"]


def test_questions_for_the_eye_are_known() -> None:
    kept, words = ("Sound", "Both"), ("color",)
    view = visual_reason(avqa_row(0, "x", question_relation="View"), kept, words)
    assert view == Reason(RELATION, "relation View")
    coloured = avqa_row(0, "x", question_text="What color is the car?")
    assert visual_reason(coloured, kept, words) == Reason(VISUAL, "about what is seen (color)")
    assert visual_reason(avqa_row(0, "x", question_text="What is colorful?"), kept, words) is None


def test_avqa_becomes_questions_and_a_report(tmp_path: Path) -> None:
    scene(tmp_path / "media" / "aaaaaaaaaaa_10.wav", 0)
    (tmp_path / "media" / "bbbbbbbbbbb_20.wav").write_bytes(b"broken")
    soundfile.write(tmp_path / "media" / "ccccccccccc_0.wav", np.zeros(16_000), 16_000)
    rows = [
        avqa_row(0, "aaaaaaaaaaa_000010"),
        avqa_row(1, "aaaaaaaaaaa_000010", question_relation="View"),
        avqa_row(2, "bbbbbbbbbbb_000020"),
        avqa_row(3, "ccccccccccc_000000"),
        avqa_row(4, "ddddddddddd_000000"),
        avqa_row(5, "aaaaaaaaaaa_000010"),
        avqa_row(6, "aaaaaaaaaaa_000010", answer=9, question_text="Again?"),
    ]
    (tmp_path / "train_qa.json").write_text(json.dumps(rows))
    report = prepare_avqa(
        PrepareAVQAConfig(
            source=tmp_path / "train_qa.json", audio=tmp_path / "media", out=tmp_path / "avqa.jsonl"
        )
    )
    question = read_questions(tmp_path / "avqa.jsonl")[0]
    assert (report.kept, question.answer, question.about_video) == (1, "cat", True)
    assert dict(report.reasons) == {
        "relation View": 1,
        "unreadable": 1,
        "silent": 1,
        "missing": 1,
        "the same question twice": 1,
        "cannot be read": 1,
    }
    written = json.loads((tmp_path / "avqa.report.json").read_text())
    assert written["skipped"] == dict(report.reasons)
    assert any("ddddddddddd_000000" in row["message"] for row in written["problems"])


def test_the_sound_of_videos_is_extracted(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="videos need the extra av")
    samples = render(random_scene(1, num_events=2, seconds=4.0))
    (tmp_path / "media").mkdir()
    with av.open(str(tmp_path / "media" / "aaaaaaaaaaa_000010.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.asarray(samples, np.float32)[None], "fltp", "mono")
        frame.rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    (tmp_path / "qa.json").write_text(json.dumps([avqa_row(0, "aaaaaaaaaaa_000010")]))
    prepare_avqa(
        PrepareAVQAConfig(source=tmp_path / "qa.json", audio=tmp_path / "media", out=tmp_path / "avqa.jsonl")
    )
    audio = read_questions(tmp_path / "avqa.jsonl")[0].audio
    assert audio.suffix == ".flac"
    assert soundfile.info(audio).duration == pytest.approx(4.0, abs=0.2)


def test_bad_rows_are_left_out_and_named(tmp_path: Path) -> None:
    scene(tmp_path / "a.wav", 0)
    good = {"id": "1", "audio": "a.wav", "question": "What?", "choices": ["x", "y"], "answer": "x"}
    lines = [
        json.dumps(good),
        "{",
        json.dumps(good | {"answer": "z"}),
        json.dumps(good | {"audio": "none.wav"}),
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    report = prepare_questions(
        PrepareQuestionsConfig(source=tmp_path / "q.jsonl", out=tmp_path / "out.jsonl")
    )
    assert report.kept == 1
    assert [problem.where.rpartition(":")[2] for problem in report.skipped] == ["2", "3", "4"]
    (tmp_path / "q.jsonl").write_text("{\n{\n{")
    with pytest.raises(
        ValueError, match=r"is left \(3 cannot be read\); report: .*report\.json; the first: .*:1: "
    ):
        prepare_questions(PrepareQuestionsConfig(source=tmp_path / "q.jsonl", out=tmp_path / "out.jsonl"))


def test_recordings_of_a_benchmark_are_left_out_whatever_they_are_called(tmp_path: Path) -> None:
    for seed in range(4):
        scene(tmp_path / "train" / f"{seed}.wav", seed, 5.0)
    samples, _ = soundfile.read(tmp_path / "train" / "2.wav")
    (tmp_path / "bench").mkdir()
    soundfile.write(tmp_path / "bench" / "x.ogg", 0.5 * samples[9_000:], 16_000)
    scene(tmp_path / "bench" / "y.wav", 77, 5.0)
    write_questions(
        tmp_path / "train.jsonl",
        [Question(id=str(i), audio=tmp_path / "train" / f"{i}.wav", question="What?") for i in range(4)],
    )
    write_questions(
        tmp_path / "bench.jsonl",
        [Question(id=n, audio=tmp_path / "bench" / n, question="What?") for n in ("x.ogg", "y.wav")],
    )
    report = prepare_questions(
        PrepareQuestionsConfig(
            source=tmp_path / "train.jsonl", out=tmp_path / "out.jsonl", against=(tmp_path / "bench.jsonl",)
        )
    )
    assert [q.id for q in read_questions(tmp_path / "out.jsonl")] == ["0", "1", "3"]
    assert "x.ogg" in report.skipped[0].message


def test_no_recording_is_in_training_and_validation() -> None:
    questions = [Question(id=str(i), audio=Path(f"{i % 10}.wav"), question=f"{i}?") for i in range(40)]
    training, validation = split_recordings(questions, 0.2, seed=0)
    assert len(validation) == 8
    assert not {q.audio for q in training} & {q.audio for q in validation}


def test_sounds_of_one_question_stay_together() -> None:
    asked = [
        Question(id=str(n), audio=Path(f"{n}.wav"), question="?", further_audio=(Path(f"{n + 1}.wav"),))
        for n in (0, 1, 2, 10, 20, 30, 31, 40)
    ]
    training, validation = split_recordings(asked, 0.4, seed=0)
    assert training
    assert validation
    heard = [{audio for question in part for audio in question.audios} for part in (training, validation)]
    assert not heard[0] & heard[1]
    assert len({question.id in {"0", "1", "2"} for question in training if int(question.id) < 10}) <= 1


def test_a_question_is_as_good_as_its_worst_sound(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        scene(tmp_path / f"{name}.wav", seed)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    pairs = (["a.wav", "b.wav"], ["b.wav", "a.wav"], ["a.wav", "silent.wav"], ["a.wav", "gone.wav"])
    rows = [{"id": str(n), "audio": pair, "question": "Same?"} for n, pair in enumerate(pairs)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out" / "q.jsonl"
    report = prepare_questions(PrepareQuestionsConfig(source=tmp_path / "q.jsonl", out=out, audio=tmp_path))
    assert [reason.kind.name for reason in report.skipped] == ["silent", "missing"]
    assert [[audio.name for audio in q.audios] for q in read_questions(out)] == [*map(list, pairs[:2])]


def test_a_sound_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene(tmp_path / "a.wav", 0)
    first = check_sounds([path, path], CheckMemory(tmp_path / "journal.jsonl"))
    monkeypatch.setattr("audio_common.audio.stream_audio", lambda *_, **__: pytest.fail("decoded again"))
    again = check_sounds([path], CheckMemory(tmp_path / "journal.jsonl"))[path]
    assert again.seconds == first[path].seconds == pytest.approx(4.0)
    assert np.array_equal(again.print.hashes, first[path].print.hashes)


def test_real_recordings_are_found_again_and_others_are_not(shared: Path) -> None:
    files = sorted((shared / "data" / "esc10").rglob("*.ogg"))[::10][:30]
    if len(files) < 30:
        pytest.skip("needs 30 recordings of ESC-10")
    prints = [fingerprint(np.asarray(load_audio(path, sample_rate=RATE))) for path in files]
    index = FingerprintIndex([str(path) for path in files[:15]], prints[:15])
    assert sum(index.find(mark) is not None for mark in prints[15:]) <= 1
    found = 0
    for path in files[:15]:
        samples = np.asarray(load_audio(path, sample_rate=RATE))
        found += index.find(fingerprint(0.3 * samples[1_237:])) == str(path)
    assert found >= 14


def test_the_report_says_what_how_many_where_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = render(random_scene(3, num_events=2, seconds=4.0))
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "good.wav", sound, 16_000)
    soundfile.write(tmp_path / "short.wav", rng.normal(0, 0.1, 8_000), 16_000)
    soundfile.write(tmp_path / "loud.wav", 20_000 * sound, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "cancels.wav", np.stack([sound, -sound], 1), 16_000)
    soundfile.write(tmp_path / "long.wav", np.tile(sound, 9), 16_000)
    soundfile.write(tmp_path / "part.wav", rng.normal(0, 0.1, 64_000), 16_000)
    whole = (tmp_path / "part.wav").read_bytes()
    (tmp_path / "part.wav").write_bytes(whole[: len(whole) // 2])
    names = ("good", "short", "loud", "cancels", "long", "part", "good", "none")
    rows = [
        {"id": str(min(number, 6)), "audio": f"{name}.wav", "question": f"What {number}?", "duration": 10.0}
        | ({"choices": ["(A) dog", "(B) rain"]} if number == 1 else {})
        | ({} if name == "short" else {"duration": None})
        for number, name in enumerate(names)
    ]
    rows[6]["id"] = "0"
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "q.jsonl").write_text("\n".join([*lines, "{", ""]))
    config = PrepareQuestionsConfig(
        source=tmp_path / "q.jsonl", out=tmp_path / "out.jsonl", json=tmp_path / "report.json"
    )
    with caplog.at_level("INFO", "r1_aqa"):
        report = prepare_questions(config)
    written = json.loads((tmp_path / "report.json").read_text())
    assert written == json.loads((tmp_path / "out.report.json").read_text())
    kinds = {kind["kind"]: kind for kind in written["kinds"]}
    places = {kind: found["first"][0].rpartition(":")[2] for kind, found in kinds.items()}
    assert places == {
        "missing": "8",
        "row": "9",
        "length": "2",
        "letters": "2",
        "loud": "3",
        "cancels": "4",
        "long": "5",
        "damaged": "6",
        "id": "7",
    }
    assert all(kind["advice"] and kind["count"] == 1 for kind in written["kinds"])
    assert {kind for kind, found in kinds.items() if found["is_left_out"]} == {"missing", "row"}
    remarks = {row["kind"]: row["message"] for row in written["problems"]}
    assert remarks["length"] == "length: shorter than its metadata says (0.5 s of 10 s)"
    assert "integers stored as floats?" in remarks["loud"]
    assert report.kept == 7
    assert any("1 skipped, the sound is not there" in line for line in caplog.messages)


@pytest.mark.parametrize(("said", "is_named"), [(3.6, False), (4.4, False), (4.6, True), (2.0, True)])
def test_a_length_may_differ_a_little_from_its_metadata(said: float, is_named: bool) -> None:
    remarks = SoundCheck(seconds=4.0).remarks(said, max_seconds=30)
    assert bool(remarks) == is_named
