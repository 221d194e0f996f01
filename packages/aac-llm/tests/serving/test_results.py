"""Cards of results and the files to keep: right, whole, and nothing in them is markup."""

import base64
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import soundfile
import torch

pytest.importorskip("gradio", reason="the extra serve is not installed")

from aac_llm.data.predictions import NO_SOUND, Candidate, CaptionPart, Prediction, from_json
from aac_llm.data.timestamps import TimedEvent
from aac_llm.serving.api import rows_of
from aac_llm.serving.downloads import downloads, subtitles
from aac_llm.serving.results import explain, render_answer, script
from aac_llm.serving.service import Answer, Heard, Refused, Wanted
from aac_llm.serving.sound import outline, outline_path
from aac_llm.serving.uploads import Sound
from audio_common.strict_json import parse_object

EVIL = "\"><img src=x onerror=alert(1)> ${1+1} {{2+2}} & 'a'"
RAIN, CLOCK = TimedEvent("rain falls", 0.2, 1.2), TimedEvent("a clock ticks", 1.7, 2.8)


def heard(caption: str = "rain falls", seconds: float = 3.0, id: str = "rain.wav", **more) -> Heard:
    wave = torch.sin(torch.arange(int(16_000 * seconds)) / 9) / 2
    return Heard(Prediction(id, None, caption, **more), Sound(id, wave, Path("/uploads/1")))


class Reader(HTMLParser):
    """Elements with their attributes, and texts by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open.pop() != tag:
            pass

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag and text]


def read(*several: Heard, refused: tuple[Refused, ...] = (), correct: bool = True) -> Reader:
    return Reader(render_answer(Answer(several, refused), Wanted(correct=correct)))


def content(address: str) -> bytes:
    return base64.b64decode(address.partition("base64,")[2])


def test_names_and_captions_of_others_are_no_markup():
    candidates = (Candidate(EVIL, -0.1), Candidate("b", -0.2))
    page = read(
        heard(EVIL, id=EVIL, timestamps=(TimedEvent(EVIL, 0.0, 1.0),), candidates=candidates),
        refused=(Refused(EVIL, EVIL),),
    )
    assert page.all("img") == []
    assert page.all("script") == []
    assert EVIL in page.text("p")
    assert EVIL in page.text("li")
    assert page.all("article")[0]["aria-label"] == EVIL


def test_events_stand_on_the_line_of_the_whole_sound():
    page = read(heard(timestamps=(CLOCK, RAIN)))
    events = [one for one in page.all("button") if one["class"] == "event"]
    assert [(one["data-onset"], one["data-offset"]) for one in events] == [("0.2", "1.2"), ("1.7", "2.8")]
    bars = [one["style"] for one in page.all("span") if one.get("class") == "bar"]
    assert bars == ["left:6.667%;width:33.333%", "left:56.667%;width:36.667%"]


def test_of_many_events_the_number_is_told_for_their_list_is_scrolled():
    many = tuple(TimedEvent("rain", float(second), second + 0.5) for second in range(30))
    page = read(heard(seconds=30.0, timestamps=many))
    assert page.text("h4") == ["events and when they are heard: 30, scroll the list for all"]


def test_joined_captions_of_many_windows_are_a_box_that_the_keyboard_reaches():
    parts = tuple(CaptionPart(float(n), n + 1.0, "a dog barks at a cat") for n in range(10))
    page = read(heard("; ".join(part.text for part in parts), seconds=10.0, parts=parts))
    assert "the captions of 10 windows, joined: scroll for all" in page.text("p")
    assert [one["tabindex"] for one in page.all("p") if one.get("class") == "caption long"] == ["0"]


@pytest.mark.parametrize(
    ("more", "kind", "spans"),
    [
        ({}, "the whole sound", [("0.0", "3.0")]),
        (
            {"parts": (CaptionPart(0.0, 2.0, "rain"), CaptionPart(1.0, 3.0, "a clock"))},
            "windows and what is heard in each",
            [("0.0", "2.0"), ("1.0", "3.0")],
        ),
        ({"caption": NO_SOUND}, "nothing can be heard", []),
    ],
)
def test_without_events_windows_or_the_whole_sound_are_drawn(more, kind, spans):
    page = read(heard(**more))
    assert page.text("h4") == [kind]
    assert [(one["data-onset"], one["data-offset"]) for one in page.all("button")] == spans


def test_the_page_plays_what_was_heard(tmp_path):
    one = heard(seconds=0.5)
    sound = content(read(one).all("audio")[0]["src"])
    (tmp_path / "a.flac").write_bytes(sound)
    samples, rate = soundfile.read(tmp_path / "a.flac", dtype="float32")
    assert rate == 16_000
    torch.testing.assert_close(torch.from_numpy(samples), one.sound.waveform, atol=1e-4, rtol=0)


def test_files_to_keep_hold_the_captions_with_their_times():
    one = heard("rain falls, a clock ticks", timestamps=(RAIN, CLOCK), id="../rain 1.wav")
    files = {file.name: file.text for file in downloads(one)}
    assert list(files) == ["rain 1.jsonl", "rain 1.srt", "rain 1.vtt", "rain 1.txt"]
    assert from_json(parse_object(files["rain 1.jsonl"], "line")) == one.prediction
    assert "00:00:01,700 --> 00:00:02,800\na clock ticks" in files["rain 1.srt"]
    assert files["rain 1.vtt"].startswith("WEBVTT\n")
    assert files["rain 1.txt"] == "0.200000\t1.200000\train falls\n1.700000\t2.800000\ta clock ticks\n"
    links = [one for one in read(one).all("a") if "download" in one]
    assert {link["download"]: content(link["href"]).decode() for link in links} == files


def test_several_sounds_are_kept_as_one_file_too():
    page = read(heard(id="a.wav"), heard(id="b.wav"))
    (together,) = [one for one in page.all("a") if one["download"] == "captions.jsonl"]
    lines = content(together["href"]).splitlines()
    assert [parse_object(line, "line")["id"] for line in lines] == ["a.wav", "b.wav"]


@pytest.mark.parametrize(("kind", "nothing"), [("srt", ""), ("vtt", "WEBVTT\n"), ("audacity", "")])
def test_captions_without_times_hold_for_the_whole_sound_and_silence_has_none(kind, nothing):
    assert "rain falls" in subtitles(heard(), kind)
    assert subtitles(heard(NO_SOUND), kind) == nothing


@pytest.mark.parametrize(
    ("record", "words", "changes"),
    [
        (None, "nothing to repair", []),
        (
            {"before": "a dog dog barks and", "after": "a dog barks", "accepted": True, "reason": "accepted",
             "answer": "a dog barks", "llm": "smol"},
            "repaired by smol (dangling end, doubled word)",
            [("same", "a dog"), ("gone", "dog"), ("same", "barks"), ("gone", "and")],
        ),
        (
            {"before": "a dog and", "after": "a dog barks", "accepted": True, "reason": "chosen"},
            "another of its captions is whole (dangling end)",
            [("same", "a dog"), ("gone", "and"), ("new", "barks")],
        ),
        (
            {"before": "a dog and", "after": "a dog and", "accepted": False, "reason": "kept: adds cat",
             "answer": "a cat"},
            "looks wrong (dangling end), but this repair was not taken: adds cat",
            [("same", "a"), ("gone", "dog and"), ("new", "cat")],
        ),
        (
            {"before": "a dog and", "after": "a dog and", "accepted": False,
             "reason": "kept: no candidate is fluent"},
            "looks wrong (dangling end), but stays: no candidate is fluent",
            [],
        ),
    ],
)  # fmt: skip
def test_a_correction_is_a_diff_with_its_reason(record, words, changes):
    one = heard("a dog barks", correction=record)
    assert explain(one.prediction) == (words, changes) or explain(one.prediction) == (words, tuple(changes))
    page = read(one)
    assert f"correction: {words}" in page.text("p")
    assert page.text("del") == [text for kind, text in changes if kind == "gone"]
    assert page.text("ins") == [text for kind, text in changes if kind == "new"]
    assert "correction" not in " ".join(read(one, correct=False).text("p"))


def test_rows_of_the_api_are_those_of_caption_without_a_path_of_this_machine():
    one = heard(timestamps=(RAIN,), confidence=0.5)
    answer = rows_of(Answer((one,), (Refused("b.txt", "no sound"),)), "audacity")
    row = answer["captions"][0]
    assert row.pop("subtitles") == "0.200000\t1.200000\train falls\n"
    assert row.pop("seconds") == 3.0
    assert from_json(row) == one.prediction
    assert "audio" not in row
    assert answer["refused"] == [{"id": "b.txt", "reason": "no sound"}]


@pytest.mark.parametrize("samples", [1, 100, 50_000])
def test_an_outline_is_as_high_as_its_box_and_of_silence_flat(samples):
    heights = outline(torch.sin(torch.arange(samples) + 1.0))
    assert max(heights) == 1.0
    assert len(heights) == min(240, samples)
    assert outline_path(heights).count("L") == 2 * len(heights) - 1
    assert set(outline(torch.zeros(samples))) == {0.0}


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_is_valid_javascript(tmp_path):
    (tmp_path / "page.js").write_text(f"const element = document.body;\n{script()}")
    subprocess.run(["node", "--check", tmp_path / "page.js"], check=True, timeout=60)
