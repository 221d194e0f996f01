import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_clap.data.languages import FLORES_CODES
from ml_clap.data.manifest import Clip, ManifestError, read_manifest, write_manifest

ROW: dict[str, Any] = {"id": "a", "audio": "a.wav", "captions": {"eng_Latn": ["A dog."]}}

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
).filter(str.strip)
letters = st.characters(exclude_characters="/\0", exclude_categories=["Cs"]) | st.just("\udce9")
names = st.text(letters, min_size=1, max_size=12).filter(
    lambda name: bool(name.strip()) and name not in (".", "..")
)
clips = st.builds(
    Clip,
    id=texts.filter(lambda text: "\0" not in text),
    audio=names.map(lambda name: Path("/data") / name),
    captions=st.dictionaries(
        st.sampled_from(sorted(FLORES_CODES)),
        st.lists(texts, min_size=1, max_size=3).map(tuple),
        min_size=1,
        max_size=3,
    ),
    split=st.none() | st.sampled_from(["train", "test"]),
    licence=st.none() | st.just("CC-BY-4.0"),
    duration=st.none() | st.floats(0, 1e5, allow_nan=False),
    label=st.none() | st.just("dog"),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(clips, min_size=1, max_size=4, unique_by=lambda clip: clip.id))
def test_what_is_written_is_read_back(tmp_path: Path, written: list[Clip]) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, written)
    assert read_manifest(path) == written


@pytest.mark.parametrize(
    "name", ["a, b.wav", 'say "hi".wav', "tab\tline\nbreak.wav", "日本 語.wav", os.fsdecode(b"\xff.wav")]
)
def test_odd_file_names_survive(tmp_path: Path, name: str) -> None:
    clip = Clip("a", tmp_path / "sub" / name, {"eng_Latn": ("A dog.",)})
    write_manifest(tmp_path / "m.jsonl", [clip])
    assert read_manifest(tmp_path / "m.jsonl") == [clip]


def test_audio_below_the_manifest_is_stored_relative_and_moves_with_it(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    inside, outside = tmp_path / "old/audio/a.wav", tmp_path / "elsewhere.wav"
    captions: dict[str, tuple[str, ...]] = {"eng_Latn": ("A dog.",)}
    write_manifest(tmp_path / "old/m.jsonl", [Clip("a", inside, captions), Clip("b", outside, captions)])
    (tmp_path / "old").rename(tmp_path / "new")
    read = read_manifest(tmp_path / "new/m.jsonl")
    assert [clip.audio for clip in read] == [tmp_path / "new/audio/a.wav", outside]


def test_relative_manifest_path_gives_absolute_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.jsonl").write_text(json.dumps(ROW))
    assert read_manifest("m.jsonl")[0].audio == tmp_path / "a.wav"


def test_languages_of_any_spelling_and_further_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(
        "\ufeff"
        + json.dumps(ROW | {"captions": {"en": ["A dog."], "fr-FR": ["Un chien."]}, "note": 1})
        + "\n\n"
    )
    assert list(read_manifest(path)[0].captions) == ["eng_Latn", "fra_Latn"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object, got list"),
        (json.dumps({"id": "b", "audio": "b.wav"}), "the key 'captions' is missing"),
        (json.dumps({"id": "b", "captions": {}}), "the key 'audio' is missing"),
        (json.dumps(ROW | {"id": 3}), "id must be a non-empty text, got 3"),
        (json.dumps(ROW | {"audio": " "}), "audio must be a non-empty text"),
        (json.dumps(ROW | {"captions": {}}), "captions must be a list such as"),
        (json.dumps(ROW | {"captions": []}), "captions must be a list of at least one text, got []"),
        (json.dumps(ROW | {"captions": 7}), "or an object such as"),
        (
            json.dumps(ROW | {"captions": {"eng_Latn": []}}),
            "captions of eng_Latn must be a list of at least one",
        ),
        (json.dumps(ROW | {"captions": {"eng_Latn": 7}}), "captions of eng_Latn must be a list"),
        (
            json.dumps(ROW | {"captions": {"eng_Latn": ["A dog.", " "]}}),
            "captions of eng_Latn must be non-empty",
        ),
        (
            json.dumps(ROW | {"captions": {"eng_Latm": ["A dog."]}}),
            "unknown language 'eng_Latm'; did you mean eng_Latn",
        ),
        (
            json.dumps(ROW | {"captions": {"en": ["A"], "eng_Latn": ["B"]}}),
            "name the language eng_Latn twice",
        ),
        (json.dumps(ROW | {"duration": "5"}), "duration must be a number of seconds, got '5'"),
        (json.dumps(ROW | {"duration": float("nan")}), "NaN is no number of JSON"),
        (json.dumps(ROW | {"split": 1}), "split must be a non-empty text, got 1"),
        (json.dumps(ROW), "id 'a' is already that of line 1"),
    ],
)
def test_bad_line_is_an_error_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(ROW) + "\n\n" + line + "\n")
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    assert str(error.value).startswith(f"{path}:3: ")
    assert message in str(error.value)


def test_bytes_that_are_no_text_are_an_error_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(json.dumps(ROW).encode() + b'\n{"id": "\xff"}\n')
    with pytest.raises(ManifestError, match=r"m\.jsonl:2: not UTF-8"):
        read_manifest(path)


def test_empty_manifest_and_absent_split_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("\n")
    with pytest.raises(ManifestError, match="has no clips"):
        read_manifest(path)
    path.write_text(json.dumps(ROW | {"split": "train"}))
    assert len(read_manifest(path, split="train")) == 1
    with pytest.raises(ManifestError, match="no clip has the split 'test'; there are train"):
        read_manifest(path, split="test")


@pytest.mark.parametrize(
    "bad",
    [
        [Clip("a", Path("/a.wav"), {})],
        [Clip("a", Path("/a.wav"), {"eng_Latn": ("",)})],
        [Clip("a", Path("/a.wav"), {"eng_Latn": ("A",)}), Clip("a", Path("/b.wav"), {"eng_Latn": ("B",)})],
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, bad: list[Clip]) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("old")
    with pytest.raises(ManifestError):
        write_manifest(path, bad)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("captions", [["Un chien."], "Un chien.", {"fr": "Un chien."}])
def test_captions_may_be_a_list_or_one_text_in_the_language_that_is_named(
    tmp_path: Path, captions: Any
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(ROW | {"captions": captions}))
    (clip,) = read_manifest(path, language="fr")
    assert clip.captions == {"fra_Latn": ("Un chien.",)}


def test_further_keys_are_written_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    extra = {"dataset": "Clotho", "question": "What barks?", "choices": ["a dog", "a cat"], "mine": {"x": 1}}
    path.write_text(json.dumps(ROW | extra))
    clips = read_manifest(path)
    assert clips[0].extra == extra
    write_manifest(path, clips)
    assert json.loads(path.read_text()).items() >= extra.items()
