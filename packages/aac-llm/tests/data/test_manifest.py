import json
from pathlib import Path

import pytest
from aac_llm.data.languages import language_code
from aac_llm.data.manifest import Clip, ManifestError, read_manifest, write_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = st.text(min_size=1, max_size=40).filter(lambda text: text.strip() and "\0" not in text)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=4))
def test_any_captions_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, captions: list[list[str]]
) -> None:
    path = tmp_path_factory.mktemp("m") / "manifest.jsonl"
    clips = [
        Clip(id=str(i), audio=path.parent / f"{i}.wav", captions=tuple(texts), split="train", duration=1.5)
        for i, texts in enumerate(captions)
    ]
    write_manifest(path, clips)
    assert read_manifest(path) == clips


def test_audio_below_the_manifest_is_stored_relative(tmp_path: Path) -> None:
    clip = Clip(id="a", audio=tmp_path / "audio" / "a.wav", captions=("Rain.",))
    write_manifest(tmp_path / "m.jsonl", [clip])
    assert '"audio": "audio/a.wav"' in (tmp_path / "m.jsonl").read_text()
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "m.jsonl").rename(moved / "m.jsonl")
    assert read_manifest(moved / "m.jsonl")[0].audio == moved / "audio" / "a.wav"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object"),
        ('{"id": "a", "audio": "a.wav"}', "the key 'captions' is missing"),
        ('{"id": "a", "audio": "a.wav", "captions": 7}', "captions must be a list"),
        ('{"id": "a", "audio": "a.wav", "captions": {}}', "captions must have a language"),
        (
            '{"id": "a", "audio": "a.wav", "captions": {"en": "x", "eng_Latn": "y"}}',
            "captions name the language eng_Latn twice",
        ),
        ('{"id": "a", "audio": "a.wav", "captions": [" "]}', "captions must be non-empty texts"),
        ('{"id": "a", "audio": "a.wav", "captions": ["x"], "duration": -1}', "duration must be a number"),
        ('{"id": "ok", "audio": "a.wav", "captions": ["x"]}', "id 'ok' is already that of line 1"),
    ],
)
def test_mistake_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "ok", "audio": "ok.wav", "captions": ["x"]}\n' + line + "\n")
    with pytest.raises(ManifestError, match=rf"m\.jsonl:2: .*{message}"):
        read_manifest(path)


def test_unknown_split_lists_those_that_are_there(tmp_path: Path) -> None:
    clip = Clip(id="a", audio=tmp_path / "a.wav", captions=("x",), split="train")
    write_manifest(tmp_path / "m.jsonl", [clip])
    with pytest.raises(ManifestError, match="no clip has the split 'test'; there are train"):
        read_manifest(tmp_path / "m.jsonl", split="test")


def test_nothing_is_written_when_a_clip_could_not_be_read_back(tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        write_manifest(tmp_path / "m.jsonl", [Clip(id="a", audio=tmp_path / "a", captions=())])
    assert not list(tmp_path.iterdir())


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("tag", ["eng_Latn", "eng", "en", "English", "en-GB"])
@pytest.mark.parametrize("texts", [["a dog"], "a dog"])
def test_captions_by_language_are_read_as_ml_clap_writes_them(
    tmp_path: Path, tag: str, texts: object
) -> None:
    captions = {tag: texts, "fra": "un chien"}
    path = write(tmp_path / "m.jsonl", {"id": "a", "audio": "a.wav", "captions": captions, "label": "dog"})
    (clip,) = read_manifest(path)
    assert clip.captions == ("a dog",)
    assert clip.translations == {"fra": ("un chien",)}
    assert clip.extra == {"label": "dog"}
    (french,) = read_manifest(path, language="French")
    assert french.captions == ("un chien",)


@pytest.mark.parametrize("captions", ["a dog", ["a dog"], {"eng_Latn": ["a dog"], "fra": ["un chien"]}])
def test_other_keys_and_languages_are_written_back(tmp_path: Path, captions: object) -> None:
    row = {"id": "a", "audio": "a.wav", "captions": captions, "question": "What?", "choices": ["dog", "cat"]}
    path = write(tmp_path / "m.jsonl", row)
    clips = read_manifest(path)
    write_manifest(tmp_path / "again.jsonl", clips)
    expected = ["a dog"] if isinstance(captions, str) else captions
    assert json.loads((tmp_path / "again.jsonl").read_text()) == row | {"captions": expected}
    assert read_manifest(tmp_path / "again.jsonl") == clips


def test_captions_in_another_language_than_english_say_which_when_written(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", {"id": "a", "audio": "a.wav", "captions": ["un chien"]})
    write_manifest(tmp_path / "again.jsonl", read_manifest(path, language="fr"))
    assert json.loads((tmp_path / "again.jsonl").read_text())["captions"] == {"fra_Latn": ["un chien"]}


def test_clips_without_captions_in_the_language_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"id": "a", "audio": "a.wav", "captions": {"fra": "x"}},
        {"id": "b", "audio": "b", "captions": "y"},
    ]
    path = write(tmp_path / "m.jsonl", *rows)
    assert [clip.id for clip in read_manifest(path)] == ["b"]
    assert (
        "1 of 2 clips have no captions in eng_Latn and are left out, the first being a; --language"
        in caplog.text
    )
    assert [clip.id for clip in read_manifest(path, keep_uncaptioned=True)] == ["a", "b"]
    with pytest.raises(ManifestError, match=r"no clip has captions in deu_Latn; there are fra"):
        read_manifest(write(tmp_path / "n.jsonl", rows[0]), language="de")


def test_bad_rows_are_collected_where_they_may_not_end_the_job(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "a", "audio": "a", "captions": "x"}\n{\n{"id": "b"}\n')
    problems: list[str] = []
    assert [clip.id for clip in read_manifest(path, problems=problems)] == ["a"]
    assert problems[0].startswith(f"{path}:2: not JSON: ")
    assert problems[1].startswith(f"{path}:3: the key 'captions' is missing")


def test_unknown_language_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown language 'klingonese'; expected a code such as eng_Latn"):
        language_code("klingonese")


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_that_no_float_holds_costs_its_row_only(tmp_path: Path, digits: int) -> None:
    path, problems = tmp_path / "m.jsonl", []
    rows = [
        f'{{"id": "{n}", "audio": "a.wav", "captions": "x", "duration": {d}}}'
        for n, d in (("a", 1), ("b", "9" * digits))
    ]
    path.write_text("\n".join(rows))
    assert [clip.id for clip in read_manifest(path, problems=problems)] == ["a"]
    assert problems[0].startswith(f"{path}:2: ")


HOSTILE = {
    "nested": b'{"id": "b", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a key twice": b'{"id": "b", "id": "c", "audio": "b.wav", "captions": "x"}',
    "no number": b'{"id": "b", "audio": "b.wav", "captions": "x", "y": NaN}',
    "not UTF-8": b'{"id": "b\xff", "audio": "b.wav", "captions": "x"}',
    "half a character": b'{"id": "b", "audio": "b.wav", "captions": "x\\ud83d"}',
    "a caption of bytes": b'{"id": "b", "audio": "b.wav", "captions": "x\\udcff"}',
    "an id of bytes": b'{"id": "b\\udcff", "audio": "b.wav", "captions": "x"}',
    "a NUL": b'{"id": "b", "audio": "b\\u0000.wav", "captions": "x"}',
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_line_costs_itself_only_and_is_named(tmp_path: Path, line: bytes) -> None:
    path, problems = tmp_path / "m.jsonl", []
    path.write_bytes(line + b'\n{"id": "a", "audio": "bytes\\udcff.wav", "captions": "x"}\n')
    assert [clip.id for clip in read_manifest(path, problems=problems)] == ["a"]
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:1: ")
    with pytest.raises(ManifestError, match=f"{path}:1: "):
        read_manifest(path)
