"""The tour of `docs/tour.md` works as it is written: its commands, then its steps on the page in a browser.

A numbered line of the page is a step, and each step is a sentence that `STEPS` knows; one that it does not
know fails.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ml_clap.cli import main
from serving_kit import DESKTOP, overflow, tab

TOUR = Path(__file__).resolve().parents[4] / "docs" / "tour.md"
if not TOUR.is_file():
    pytest.skip("the tour is in a clone of the repository alone", allow_module_level=True)
pytest.importorskip("gradio", reason="the extra serve is not installed")
from test_readme import commands_with_notes, with_additions  # noqa: E402  (in the root's tests)


def field(page: Any, name: str) -> Any:
    return page.get_by_label(name).locator("visible=true").first


def type_into(page: Any, text: str, name: str) -> None:
    field(page, name).fill(text)


def press(page: Any, key: str) -> None:
    page.keyboard.press(key)


def choose(page: Any, typed: str, name: str) -> None:
    field(page, name).click()
    field(page, name).fill(typed)
    page.locator("[role=option]").filter(has_text=typed).first.click()


def click(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).locator("visible=true").click()


def click_at_hit(page: Any, name: str, place: str) -> None:
    page.locator("#results article").nth(int(place) - 1).get_by_text(name, exact=True).click()


def click_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def drop(page: Any, file: str) -> None:
    page.set_input_files("#sound input[type=file]", file)
    page.get_by_label(re.compile("Clear|Remove")).first.wait_for()


def see(page: Any, heading: str, hits: str) -> None:
    see_beginning(page, heading, hits)
    assert page.inner_text("#results h2") == heading


def see_beginning(page: Any, heading: str, hits: str) -> None:
    page.locator("#results h2").filter(has_text=heading).wait_for()
    scores = [float(score) for score in page.locator("#results .score").all_inner_texts()]
    assert len(scores) == int(hits)
    assert scores == sorted(scores, reverse=True)


def play(page: Any, place: str) -> None:
    player = page.locator("#results audio").nth(int(place) - 1)
    player.scroll_into_view_if_needed()
    began = player.evaluate(
        """async player => {
          player.muted = true;
          await player.play();
          const began = player.currentTime;
          while (player.currentTime <= began) await new Promise(done => setTimeout(done, 20));
          return began;
        }"""
    )
    begins = float((player.get_attribute("src") or "").partition("#t=")[2] or 0)
    assert begins <= began < begins + 1


STEPS: dict[str, Callable[..., None]] = {
    r"Type `(.+)` into \*\*(.+)\*\*\.": type_into,
    r"Press `(.+)`\.": press,
    r"Choose `(.+)` under \*\*(.+)\*\*; .*": choose,
    r"Click \*\*(.+)\*\*\.": click,
    r"Click \*\*(.+)\*\* at hit `(\d+)`: .*": click_at_hit,
    r"Click the tab \*\*(.+)\*\*\.": click_tab,
    r"Drop the file `(.+)`, or record a sound\.": drop,
    r"See the heading `(.+)` and (\d+) hits, the best one first\.": see,
    r"See a heading that begins with `(.+)` and (\d+) hits, the best one first\.": see_beginning,
    r"Play hit `(\d+)`: .*": play,
}


def read_steps() -> list[str]:
    return re.findall(r"^\d+\. (.*)$", TOUR.read_text(encoding="utf-8"), re.M)


def do(page: Any, step: str) -> None:
    for pattern, action in STEPS.items():
        if match := re.fullmatch(pattern, step):
            action(page, *match.groups())
            return
    raise AssertionError(f"a step that no browser can be told: {step}")


def run(words: list[str]) -> None:
    code = 0
    try:
        main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 0, f"{words} ended with {code}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tour's folder, once its commands have been run; the page's server is not among them."""
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for note, words in commands_with_notes(Path("docs/tour.md")):
            if words[0] == "ml-clap" and "no-run" not in note:
                run(with_additions(words[1:], note))
        yield folder


def test_the_tour_takes_a_reader_to_a_hit_that_plays(
    archive: Path, chromium: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (served,) = [
        words[1:]
        for _, words in commands_with_notes(Path("docs/tour.md"))
        if words[:2] == ["ml-clap", "serve"]
    ]
    monkeypatch.chdir(archive)
    steps = read_steps()
    assert len(steps) == 15
    command = [sys.executable, "-m", "ml_clap", *served, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            lines = iter(server.stdout.readline, "")
            address = next(found[1] for line in lines if (found := re.match(r"Serving at (\S+) ", line)))
            with tab(chromium, address, DESKTOP) as page:
                page.locator("body[data-ready]").wait_for()
                for step in steps:
                    do(page, step)
                    assert overflow(page) == 0, step
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(60) in (0, 130)
    assert (archive / "hits.html").read_text(encoding="utf-8").count("<audio") > 0
