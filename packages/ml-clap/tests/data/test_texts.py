"""Texts without sounds: captions of manifests, and lines of text files."""

from pathlib import Path

import pytest
from ml_clap.data.manifest import Clip, ManifestError, write_manifest
from ml_clap.data.texts import Text, distinct, hold_out, read_texts


def test_captions_and_lines_are_read_with_their_languages(tmp_path: Path) -> None:
    captions: dict[str, tuple[str, ...]] = {"eng_Latn": ("A dog.", "It barks."), "fra_Latn": ("Un chien.",)}
    clips = [
        Clip(id="a", audio=tmp_path / "a.wav", captions=captions, split="train"),
        Clip(id="b", audio=tmp_path / "b.wav", captions={"eng_Latn": ("A cat.",)}, split="test"),
    ]
    write_manifest(tmp_path / "clips.jsonl", clips)
    (tmp_path / "lines.txt").write_bytes("\ufeffEin Hund.\n\nja\t犬\n".encode())
    files = [tmp_path / "clips.jsonl", tmp_path / "lines.txt"]
    found = read_texts(files, splits=["train"], language="de")
    assert found == [
        Text("A dog.", "eng_Latn", "a", 0),
        Text("It barks.", "eng_Latn", "a", 1),
        Text("Un chien.", "fra_Latn", "a", 0),
        Text("Ein Hund.", "deu_Latn", "Ein Hund."),
        Text("犬", "jpn_Jpan", "犬"),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\xff", "lines.txt:2: .*can't decode"),
        (b"xx\ta dog", "lines.txt:2: "),
        (b"fr\t", "lines.txt:2: a language and no text"),
        (b"a\0b", "lines.txt:2: not text"),
    ],
)
def test_a_line_that_is_no_text_is_named(tmp_path: Path, line: bytes, words: str) -> None:
    (tmp_path / "lines.txt").write_bytes(b"rain\n" + line + b"\n")
    with pytest.raises(ManifestError, match=words):
        read_texts([tmp_path / "lines.txt"])


def test_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="no text to learn from"):
        read_texts([tmp_path / "lines.txt"])


def test_a_group_is_held_out_whole_and_its_words_are_learnt_nowhere() -> None:
    texts = [Text(f"{code} {n}", code, str(n)) for n in range(50) for code in ("eng_Latn", "fra_Latn")]
    kept, held = hold_out(texts, 0.2, seed=0)
    assert not {text.group for text in kept} & {text.group for text in held}
    again = Text(held[0].text, "deu_Latn", kept[0].group)
    assert again not in hold_out([*texts, again], 0.2, seed=0)[0]
    assert hold_out([*texts, again], 0.2, seed=0)[1] == held
    with pytest.raises(ValueError, match="leaves none on one side"):
        hold_out(texts[:2], 0.2, seed=0)


def test_a_text_of_a_language_is_counted_once() -> None:
    texts = [Text("a", "eng_Latn", "1"), Text("a", "eng_Latn", "2"), Text("a", "fra_Latn", "3")]
    assert distinct(texts) == [texts[0], texts[2]]
