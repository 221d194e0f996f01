"""Files of questions: every kind is read, mistakes are named with their line."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from r1_aqa.data.questions import Question, QuestionError, write_questions
from r1_aqa.data.readers import faults_of, read_questions

TEXT = st.text(min_size=1, max_size=20).filter(
    lambda text: text.strip() and not set(text) & set("\ud800\udfff")
)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@given(st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=2, max_size=5, unique=True)), max_size=5))
@settings(max_examples=30, deadline=None)
def test_questions_survive_writing(tmp_path_factory: pytest.TempPathFactory, given_: list) -> None:
    folder = tmp_path_factory.mktemp("q")
    questions = [
        Question(id=str(i), audio=folder / "a.wav", question=text, choices=tuple(choices), answer=choices[-1])
        for i, (text, choices) in enumerate(given_)
    ]
    write_questions(folder / "q.jsonl", questions)
    assert read_questions(folder / "q.jsonl") == questions


def test_the_papers_rows_are_read(tmp_path: Path) -> None:
    row = {
        "id": 7,
        "video_name": "x",
        "question_text": "What is in the video?",
        "multi_choice": ["a", "b"],
        "answer": 1,
        "question_relation": "Sound",
        "dataset_name": "AVQA",
        "audio_path": "x.wav",
    }
    question = read_questions(write(tmp_path / "q.jsonl", row))[0]
    assert (question.answer, question.about_video, question.relation) == ("b", True, "Sound")
    assert question.audio == tmp_path / "x.wav"


def test_mmau_and_mmar_files_are_read(tmp_path: Path) -> None:
    mmau = {
        "id": "m",
        "audio_id": "./test-mini-audios/m.wav",
        "question": "?",
        "choices": ["a", "b"],
        "answer": "a",
        "task": "music",
        "category": ["Reasoning"],
        "sub-category": "s",
        "difficulty": "hard",
    }
    (tmp_path / "mini.json").write_text(json.dumps([mmau]))
    question = read_questions(tmp_path / "mini.json")[0]
    assert (question.task, question.category, question.sub_category) == ("music", "Reasoning", "s")
    mmar = {
        "id": "r",
        "audio_path": "./audio/r.wav",
        "question": "?",
        "choices": ["a", "b"],
        "answer": "b",
        "modality": "mix-all",
        "category": "Signal Layer",
    }
    question = read_questions(write(tmp_path / "mmar.jsonl", mmar))[0]
    assert (question.modality, question.answer, question.dataset) == ("mix-all", "b", "MMAR")


def test_real_rows_of_the_papers_kind_are_read(shared: Path) -> None:
    lines = (shared / "golden" / "grpo" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    from r1_aqa.data.readers import parse_reference

    for line in lines:
        case = json.loads(line)
        question = parse_reference({"audio_path": "x.wav", "dataset_name": "AVQA"} | case["row"], Path())
        assert f"<answer>{question.answer}</answer>" == case["solution"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"id": "1", "audio": "a.wav", "question": "?", "choices": ["a"]},
            "2: choices: expected none, or at least two",
        ),
        (
            {"id": "1", "audio": "a.wav", "question": "?", "choices": ["a", "b"], "answer": "c"},
            "answer 'c' is not one",
        ),
        (
            {"id": "1", "audio": "a.wav", "question": "?", "choices": ["a", "b"], "answer": 2},
            "2 is no index of 2",
        ),
        ({"id": "1", "audio": "a.wav", "question": " "}, "question is empty"),
        ({"id": "1", "question": "?"}, "no known kind of question: it has the keys id, question"),
        (
            {"id": "1", "audio": "a.wav", "qestion": "?"},
            "there is no 'question'; it has the keys id, audio, qestion; is it the key 'qestion'?",
        ),
        ([1], "expected a JSON object, got list"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, row: object, message: str) -> None:
    good = {"id": "0", "audio": "a.wav", "question": "?"}
    with pytest.raises(QuestionError, match=r"q\.jsonl:2: ") as error:
        read_questions(write(tmp_path / "q.jsonl", good, row))
    assert message.removeprefix("2: ") in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.jsonl"):
        read_questions(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"id": "1", "audio": "a.wav", "question": null}',
            r"q\.jsonl:1: question: expected text, got None",
        ),
        (
            b'{"id": "1", "audio_id": "a.wav", "question": 3, "choices": []}',
            r"question: expected text, got 3",
        ),
        (b"[1, 2", "not JSON: "),
        (bytes(range(128, 200)), r"q\.jsonl:1: not UTF-8 text \(invalid start byte at byte 0\)"),
        (b"RIFF\x00\x00WAVE", "not text: byte 4 is 0; expected JSON in UTF-8"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "q.jsonl").write_bytes(content)
    with pytest.raises(QuestionError, match=message):
        read_questions(tmp_path / "q.jsonl")


def test_columns_of_ones_own_are_kept_and_written_back(tmp_path: Path) -> None:
    row = {
        "audio": "a.wav",
        "question": "What is heard?",
        "choices": ["dog", "tone"],
        "answer": "tone",
        "source": "my set",
        "duration": 0.5,
        "captions": {"eng_Latn": ["A tone."], "fra": "Un son."},
    }
    (question,) = read_questions(write(tmp_path / "q.jsonl", row))
    assert question.extra == {key: row[key] for key in ("source", "duration", "captions")}
    write_questions(tmp_path / "again.jsonl", [question])
    assert json.loads((tmp_path / "again.jsonl").read_text(encoding="utf-8")) == row | {"id": "q-1"}
    assert read_questions(tmp_path / "again.jsonl") == [question]


@pytest.mark.parametrize(
    ("answer", "choices", "meant"),
    [
        ("tone", ["dog", "tone "], "tone "),
        (" tone", ["dog", "tone"], "tone"),
        ("Tone", ["dog", "tone"], "tone"),
        ("Woman", ["(A) Man", "(B) Woman"], "(B) Woman"),
        ("B", ["Man", "Woman"], "Woman"),
        ("(B) Woman", ["Man", "Woman"], "Woman"),
        ("(A) Woman", ["Man", "Woman"], None),
        ("b", {"a": "Man", "b": "Woman"}, "Woman"),
        ("A", ["B", "A"], "A"),
        (1, ["Man", "Woman"], "Woman"),
        (2, [1, 2, 3], "2"),
        ("", ["Man", "Woman"], ""),
        ("cat", ["dog", "tone"], None),
        (True, ["dog", "tone"], None),
    ],
)
def test_an_answer_means_an_option_whatever_its_spaces_letter_and_case(
    tmp_path: Path, answer: object, choices: object, meant: str | None
) -> None:
    row = {"id": "1", "audio": "a.wav", "question": "?", "choices": choices, "answer": answer}
    path = write(tmp_path / "q.jsonl", row)
    if meant is None:
        with pytest.raises(QuestionError, match=r"q\.jsonl:1: answer"):
            read_questions(path)
    else:
        assert read_questions(path)[0].answer == (meant or None)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (["a.wav", 3], "expected the path of a sound, got 3"),
        ([], "audio names no sound"),
        ("https://x.org/a.wav", "is a link; download it"),
        (3, "expected the path of a sound, got 3"),
        ({"bytes": "..."}, "expected the path of a sound, got None"),
    ],
)
def test_what_is_no_sound_is_refused_by_name(tmp_path: Path, audio: object, message: str) -> None:
    with pytest.raises(QuestionError, match=message):
        read_questions(write(tmp_path / "q.jsonl", {"audio": audio, "question": "?"}))


def test_a_question_about_several_sounds_is_read_and_written_with_all_of_them(tmp_path: Path) -> None:
    row = {"id": "1", "audio": ["a.wav", "b.wav"], "question": "Which is higher?"}
    (question,) = read_questions(write(tmp_path / "q.jsonl", row))
    assert question.audios == (tmp_path / "a.wav", tmp_path / "b.wav")
    write_questions(tmp_path / "again.jsonl", [question])
    assert json.loads((tmp_path / "again.jsonl").read_text()) == row


def test_bad_rows_keep_their_places_where_that_is_asked_for(tmp_path: Path) -> None:
    good = {"id": "1", "audio": "a.wav", "question": "?", "choices": ["a", "b"], "answer": "a"}
    lines = [json.dumps(good), "{", json.dumps(good | {"answer": "z", "task": "music"}), "[]"]
    (tmp_path / "q.jsonl").write_bytes("\n".join(lines).encode() + b"\n\xff{}\n")
    found = read_questions(tmp_path / "q.jsonl", keep_faults=True)
    assert [bool(question.fault) for question in found] == [False, True, True, True, True]
    assert [(question.fault or "").partition(": ")[2] for question in found[1:]] == [
        "not JSON: Expecting property name enclosed in double quotes at column 2",
        "answer 'z' is not one of the choices ['a', 'b']",
        "expected a JSON object, got list",
        "not UTF-8 text (invalid start byte at byte 0)",
    ]
    assert found[2].task == "music"
    line = faults_of(found, "q.jsonl", "count as wrong")
    assert line is not None
    assert line.startswith("4 rows of q.jsonl cannot be used and count as wrong: ")
    assert line.endswith("; and 1 more")


@pytest.mark.parametrize("form", ["utf-8-sig", "utf-16", "one object", "object of a list"])
def test_other_forms_of_json_are_read(tmp_path: Path, form: str) -> None:
    row = {"id": "ä", "audio": "a.wav", "question": "Größe?"}
    text = json.dumps(row, ensure_ascii=False)
    if form == "one object":
        text = json.dumps(row, indent=2)
    elif form == "object of a list":
        text = json.dumps({"version": 2, "data": [row]}, indent=2)
    encoding = form if form.startswith("utf") else "utf-8"
    (tmp_path / "q.json").write_bytes(text.encode(encoding))
    assert read_questions(tmp_path / "q.json")[0].question == "Größe?"


def test_a_clip_without_a_question_is_pointed_to_its_verb(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match="`r1-aqa prepare clips` makes questions"):
        read_questions(write(tmp_path / "m.jsonl", {"id": "a", "audio": "a.wav", "captions": ["A dog."]}))
