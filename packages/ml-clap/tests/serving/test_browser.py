"""The page in a browser, at the width of a desk and of a phone: what a person does with it."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from serving_kit import DESKTOP, PHONE, overflow, tab

if TYPE_CHECKING:
    from playwright.sync_api import Page

playwright_api: Any = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: uv sync --group dev"
)
WAIT = 60_000
"""Milliseconds: CI's machine is slow at times."""


@pytest.fixture(scope="module", params=[DESKTOP, PHONE], ids=["1280", "390"])
def page(request: pytest.FixtureRequest, chromium: Any, served: SimpleNamespace) -> Iterator[Any]:
    """The page, loaded once for each width; the tests below use it one after another."""
    with tab(chromium, served.address, request.param) as page:
        page.locator("body[data-ready]").wait_for()
        yield page


def query_box(page: "Page") -> Any:
    return page.locator("#query input, #query textarea")


def wait_for_heading(page: "Page", text: str) -> None:
    heading = page.locator("#results h2")
    playwright_api.expect(heading).to_have_text(text, timeout=WAIT)


def test_it_loads_and_fits_its_width(page: "Page") -> None:
    assert page.title() == "Search 5 sounds"
    assert "5 clips in index, 0:50 of sound" in page.inner_text("#about")
    assert "licence of its weights" in page.inner_text("#about")
    assert overflow(page) == 0


def test_a_search_in_two_languages_by_the_keyboard_alone(page: "Page") -> None:
    query_box(page).focus()
    page.keyboard.type("a dog barks")
    page.keyboard.press("Enter")
    wait_for_heading(page, "a dog barks [eng_Latn]")
    assert page.locator("#results article").count() == 3
    page.keyboard.press("Control+A")
    page.keyboard.type("un chien aboie")
    page.keyboard.press("Tab")
    assert "Language" in page.evaluate("document.activeElement.getAttribute('aria-label') || ''")
    page.keyboard.press("Control+A")
    page.keyboard.type("frenc", delay=80)  # as a person does: Gradio looks for options after each letter
    playwright_api.expect(page.locator("[role=option]")).to_have_text(
        re.compile("French · français · fra_Latn"), timeout=WAIT
    )
    page.keyboard.press("Enter")
    # Gradio takes a moment to choose; leaving the box before would put the former language back.
    playwright_api.expect(page.get_by_label(re.compile("^Language"))).to_have_value(
        re.compile("^French"), timeout=WAIT
    )
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button
    wait_for_heading(page, "un chien aboie [fra_Latn]")
    assert overflow(page) == 0


def test_a_player_begins_at_the_hit_and_plays(page: "Page") -> None:
    player = page.locator("#results audio").first
    source = player.get_attribute("src") or ""
    begins = float(source.partition("#t=")[2] or 0)
    page.wait_for_function("document.querySelector('#results audio').readyState >= 1")
    player.evaluate("player => { player.muted = true; return player.play(); }")
    page.wait_for_function(f"document.querySelector('#results audio').currentTime > {begins + 0.1}")
    assert player.evaluate("player => player.currentTime") < begins + 5
    other = page.locator("#results audio").nth(1)
    other.evaluate("player => { player.muted = true; return player.play(); }")
    page.wait_for_function("document.querySelector('#results audio').paused")
    other.evaluate("player => player.pause()")


def test_each_hit_has_a_spectrogram_that_marks_it(page: "Page") -> None:
    alts = page.locator("#results img").evaluate_all("images => images.map(image => image.alt)")
    assert len(alts) == 3
    assert all(re.search(r"Spectrogram from .*; bright: .* to ", alt) for alt in alts)
    assert page.locator("#results img").first.evaluate("image => image.naturalWidth") == 600


def test_more_like_this_searches_by_the_hit_and_keeps_the_focus_there(page: "Page") -> None:
    button = page.locator("button.similar").first
    name = re.sub(r"^More like 1\. ", "", button.get_attribute("aria-label") or "")
    button.focus()
    page.keyboard.press("Enter")
    heading = page.locator("#results h2")
    playwright_api.expect(heading).to_have_text(re.compile("^sounds like " + re.escape(name)), timeout=WAIT)
    playwright_api.expect(heading).to_be_focused(timeout=WAIT)
    links = page.locator("#results h3 a").all_inner_texts()
    assert name not in links


def test_a_folder_narrows_the_hits_and_odd_names_stay_text(page: "Page", served: SimpleNamespace) -> None:
    box = page.get_by_label("Look in")
    box.click()
    box.fill("day")
    page.locator("[role=option]").filter(has_text=re.compile(r"^\W*day\s*$")).click()
    query_box(page).fill("rain falls")
    page.click("#search")
    wait_for_heading(page, "rain falls [fra_Latn]")
    names = page.locator("#results h3 a").all_inner_texts()
    assert sorted(names) == sorted(["day/0.wav", "day/1.flac", f"day/{served.odd_name}"])
    assert page.locator("#results b").count() == 0


def test_good_bad_and_long_files_are_answered_in_words(page: "Page", served: SimpleNamespace) -> None:
    page.get_by_role("tab", name="By a sound").click()
    for name, message in (
        ("bad.wav", re.compile(r"bad\.wav")),
        ("long.wav", re.compile(r"long\.wav.*20", re.DOTALL)),
    ):
        page.set_input_files("#sound input[type=file]", str(served.sounds / name))
        page.get_by_label(re.compile("Clear|Remove")).first.wait_for()
        page.click("#search-sound")
        toast = page.locator(".toast-body", has_text=message)
        toast.wait_for()
        assert str(served.uploads) not in toast.inner_text()
        toast.locator("button").first.click()
        page.get_by_label(re.compile("Clear|Remove")).first.click()
    page.set_input_files("#sound input[type=file]", str(served.sounds / "good.wav"))
    page.get_by_label(re.compile("Clear|Remove")).first.wait_for()
    page.click("#search-sound")
    wait_for_heading(page, "sounds like good.wav")
    page.get_by_role("tab", name="By words").click()
