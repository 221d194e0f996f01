from pathlib import Path

import pytest
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
        ('{"id": "a", "audio": "a.wav", "captions": "Rain"}', "captions must be a list"),
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
