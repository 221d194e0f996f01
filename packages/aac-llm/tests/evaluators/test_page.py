"""The page: well-formed, safe, self-contained, worst first."""

import base64
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.data.timestamps import TimedEvent
from aac_llm.evaluators.evaluate import page_title
from aac_llm.evaluators.page import (
    EMBED_BYTES,
    audio_source,
    choose_order,
    render_page,
    sort_clips,
    write_page,
)
from aac_llm.evaluators.report import Difference, Evaluation, ScoredClip
from aac_llm.evaluators.score_table import Unavailable
from aac_llm.evaluators.timeline import draw_timeline

VOID = {"meta", "input", "br", "link", "img"}


class Reader(HTMLParser):
    """Elements with their attributes and texts; refuses tags that do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script") and data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag):
        return [text for name, text in self.texts if name == tag]


def clip(id, score, caption="a dog barks", audio=None, fer=0.0, references=("a dog", "it barks")):
    return ScoredClip(id, audio, caption, references, {"cider_d": score, "fer": fer})


def make(*clips, **changes):
    return Evaluation(
        len(clips), {"cider_d": 0.5, "fer": 0.1}, {"cider_d": (0.4, 0.6)}, clips, {}, {}, **changes
    )


def test_the_worst_clip_comes_first(tmp_path):
    page = Reader(render_page(make(clip("b", 0.5), clip("c", 0.9), clip("a", 0.1)), tmp_path))
    assert page.text("h3") == ["a", "b", "c"]
    assert "CIDEr-D" in page.text("td")
    assert "0.400 to 0.600" in page.text("td")


def test_a_corrected_caption_shows_what_was_corrected_and_why_not(tmp_path):
    repaired = replace(clip("a", 0.5), original="a dog <dog> barks and", decision="accepted")
    kept = replace(clip("b", 0.6, caption="rain falls on a"), decision="kept: adds cat")
    text = render_page(make(repaired, kept, clip("c", 0.7)), tmp_path)
    page = Reader(text)
    assert page.text("del") == ["<dog>", "and"]
    assert page.text("ins") == []
    tags = [words for words in page.text("span") if words.startswith("correction")]
    assert tags == ["correction: accepted", "correction: kept: adds cat"]


def test_of_errors_more_are_worse():
    clips = (clip("fluent", 0.1, fer=0.0), clip("broken", 0.9, fer=1.0))
    assert [clip.id for clip in sort_clips(clips, "fer")] == ["broken", "fluent"]


def test_the_most_telling_score_is_chosen_and_an_unknown_one_refused():
    assert choose_order(["bleu_1", "cider_d", "fense"], "auto") == "fense"
    assert choose_order(["odd"], "auto") == "odd"
    assert choose_order([], "auto") == ""
    with pytest.raises(ValueError, match="no score 'spice'; they have bleu_1"):
        choose_order(["bleu_1"], "spice")


def test_everything_of_a_clip_is_there_and_nothing_in_it_is_markup(tmp_path):
    evil = '<script>alert(1)</script> & "x" it\'s'
    page = render_page(make(clip(evil, 0.1, caption=evil, references=(evil,))), tmp_path, title=evil)
    found = Reader(page)
    assert len(found.attributes("script")) == 1, "the page's own"
    assert found.text("h3") == [evil]
    assert evil in found.text("p")
    assert evil in found.text("li")


def test_nothing_comes_from_elsewhere(tmp_path):
    page = render_page(make(clip("a", 0.1, audio=str(tmp_path / "a.wav"))), tmp_path)
    found = Reader(page)
    assert "http" not in page.replace("http-equiv", "")
    assert found.attributes("link") == []
    assert not any("src" in element for element in found.attributes("script"))


def test_sounds_are_linked_from_where_the_page_lies(tmp_path):
    path = tmp_path / "sounds" / "a b#1 ü.wav"
    source = audio_source(str(path), tmp_path / "pages" / "deep", embed=False)
    assert unquote(source) == "../../sounds/a b#1 ü.wav"
    assert " " not in source
    assert "#" not in source


def test_small_sounds_are_embedded_and_large_ones_linked(tmp_path):
    small, large = tmp_path / "small.wav", tmp_path / "large.wav"
    small.write_bytes(b"RIFF")
    large.write_bytes(bytes(EMBED_BYTES + 1))
    page = Reader(
        render_page(
            make(clip("s", 0.1, audio=str(small)), clip("l", 0.2, audio=str(large))), tmp_path, embed=True
        )
    )
    first, second = (element["src"] for element in page.attributes("audio"))
    assert first.startswith("data:audio/")
    assert base64.b64decode(first.split(",")[1]) == b"RIFF"
    assert second == "large.wav"


def test_the_title_says_whose_captions_of_what_they_are():
    config = EvaluateConfig(data=Path("data/clotho.jsonl"), model="runs/clotho", split="test")
    assert page_title(config) == "Captions by runs/clotho of clotho.jsonl (test)"
    config = EvaluateConfig(data=Path("mine.jsonl"), compare=Path("greedy.jsonl"))
    assert page_title(config) == "Captions in mine.jsonl, compared with greedy.jsonl"


def test_nothing_is_off_a_phones_screen_without_a_cue(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (group dev)")
    if shutil.which("chromium") is None:
        pytest.skip("needs Debian's package chromium")
    long = timed([TimedEvent("a very long name of an event " * 5, 0.0, 1.0)], [TimedEvent("rain", 2.0, 4.0)])
    wide = make(clip("a" * 90, 0.1), long)
    wide.comparison["cider_d"] = Difference(0.1, 0.4, (0.2, 0.6), 0.001)
    write_page(tmp_path / "wide.html", wide)
    write_page(tmp_path / "narrow.html", make(clip("a", 0.1)))
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.goto((tmp_path / "wide.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.get_by_text("scroll it sideways").is_visible()
        page.get_by_role("region", name="scores").focus()
        page.set_viewport_size({"width": 1280, "height": 800})
        # The page looks at its new size a moment later.
        sync_api.expect(page.get_by_text("scroll it sideways")).to_be_hidden()
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto((tmp_path / "narrow.html").as_uri())
        # The page looks at its new size a moment later.
        sync_api.expect(page.get_by_text("scroll it sideways")).to_be_hidden()
        browser.close()


def test_a_clip_without_sound_has_no_player(tmp_path):
    assert Reader(render_page(make(clip("a", 0.1)), tmp_path)).attributes("audio") == []


def test_players_load_nothing_before_they_are_used(tmp_path):
    page = Reader(render_page(make(clip("a", 0.1, audio="a.wav")), tmp_path))
    assert page.attributes("audio")[0]["preload"] == "none"


def test_scores_can_be_sorted_by_their_full_value(tmp_path):
    page = Reader(render_page(make(clip("a", 0.123456789)), tmp_path))
    values = {
        element["data-score"]: element["data-value"]
        for element in page.attributes("div")
        if "data-score" in element
    }
    assert values == {"cider_d": "0.123456789", "fer": "0.0"}
    options = {element["value"]: element["data-lower"] for element in page.attributes("option")}
    assert options == {"cider_d": "0", "fer": "1"}


def test_what_is_missing_is_said_on_the_page_too(tmp_path):
    page = make(clip("a", 0.1), missing=("x.wav",))
    page.unavailable["spice"] = Unavailable("no jar", "get it")
    assert {"1 without a caption, not scored: x.wav", "SPICE not computed: no jar; get it"} <= set(
        Reader(render_page(page, tmp_path)).text("li")
    )


def test_names_that_are_no_unicode_do_not_stop_the_page(tmp_path):
    write_page(tmp_path / "p.html", make(clip("c\udce9.wav", 0.1, audio="c\udce9.wav")))
    page = Reader((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert page.attributes("audio")[0]["src"].endswith("c%E9.wav"), "the link leads to the file's own bytes"


def test_clips_without_scores_are_shown_in_their_order(tmp_path):
    bare = [ScoredClip(id, None, "", ("r",), {}) for id in "ba"]
    page = Reader(render_page(make(*bare), tmp_path))
    assert page.text("h3") == ["b", "a"]
    assert page.text("p").count("(empty)") == 2


def timed(reference, prediction):
    return ScoredClip(
        "a", "a.wav", "a dog barks", ("a dog",), {}, None, 0.72, tuple(prediction), tuple(reference)
    )


def test_events_are_on_a_line_of_time_the_reference_above_the_prediction(tmp_path):
    evil = '"><script>bark</script>'
    line = timed([TimedEvent(evil, 0.0, 1.0)], [TimedEvent("rain", 2.0, 4.0), TimedEvent("a dog", 0.5, 1.5)])
    page = Reader(render_page(make(line), tmp_path))
    assert [one["class"] for one in page.attributes("div") if "lane" in one.get("class", "")] == [
        "lane reference", "lane prediction",
    ]  # fmt: skip
    events = [one for one in page.attributes("button") if one.get("class") == "event"]
    assert [(one["data-onset"], one["title"]) for one in events] == [
        ("0.0", f"{evil}, 0.0 to 1.0 s"), ("0.5", "a dog, 0.5 to 1.5 s"), ("2.0", "rain, 2.0 to 4.0 s"),
    ]  # fmt: skip
    bars = [one["style"] for one in page.attributes("span") if one.get("class") == "bar"]
    assert bars == ["left:0.0%;width:25.0%", "left:12.5%;width:25.0%", "left:50.0%;width:50.0%"]
    assert "confidence 0.72" in page.text("span")
    assert len(page.attributes("script")) == 1


def test_a_side_without_events_says_so_and_a_clip_without_any_has_no_line(tmp_path):
    page = Reader(render_page(make(timed([], [TimedEvent("rain", 0.0, 3.0)])), tmp_path))
    assert "reference: no event" in page.text("h4")
    assert draw_timeline(timed([], [])) is None


@pytest.mark.parametrize("seconds", [0.4, 3.0, 9.97, 61.0, 3600.0, 1e6])
def test_marks_are_few_and_on_the_line(seconds):
    ticks = draw_timeline(timed([TimedEvent("rain", 0.0, seconds)], [])).ticks
    assert 2 <= len(ticks) <= 7
    assert ticks[0] == ("0", 0.0)
    assert all(0 <= place <= 100 for _, place in ticks)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_is_valid_javascript(tmp_path):
    page = render_page(make(clip("a", 0.1)), tmp_path)
    script = page.split("<script>")[1].split("</script>")[0]
    (tmp_path / "page.js").write_text(script)
    subprocess.run(["node", "--check", tmp_path / "page.js"], check=True, timeout=60)


@pytest.mark.parametrize(
    "name", ["a #1?.wav", "javascript:alert(1)", "n" * 5000, "bytes\udcff.wav", "a%41.wav"]
)
@pytest.mark.parametrize("embed", [False, True])
def test_any_name_makes_a_link_that_plays_and_no_error(tmp_path, name, embed):
    link = audio_source(str(tmp_path / name), tmp_path, embed)
    assert unquote(link, errors="surrogateescape") == name
    assert not set(link) & set('#?: "<>')
