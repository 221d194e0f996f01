"""A model is asked by the page, by a program and by many at once; the page is used as people do."""

import asyncio
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio", reason="the extra serve is not installed")

from r1_aqa.answering.comparison import compare
from r1_aqa.config.serve import ServeConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.serving.asker import Asker, as_json
from r1_aqa.serving.serve import load_asker, make_server
from r1_aqa.serving.server import Server
from serving_kit import DESKTOP, PHONE, browser, overflow, running, tab

OPTIONS = ("a dog", "rain", "thunder")
NAME = "<b>dog's & 1.wav"


def wav(seconds: float, seed: int = 0) -> bytes:
    memory = io.BytesIO()
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(16_000 * seconds))
    soundfile.write(memory, samples, 16_000, format="WAV", subtype="FLOAT")
    return memory.getvalue()


@pytest.fixture(scope="module")
def served(tiny_model_folder: Path) -> Iterator[tuple[str, Server, Asker]]:
    config = ServeConfig(
        model=str(tiny_model_folder),
        port=0,
        device="cpu",
        max_new_tokens=8,
        max_seconds=6,
        max_upload_megabytes=1,
    )
    asker = load_asker(config)
    server, page, looks = make_server(asker, config)
    with running(server, page, **looks) as url:
        yield url, server, asker


def post(url: str, *sounds: tuple[str, bytes], **fields: Any) -> httpx.Response:
    return httpx.post(
        url + "api/answer", data=fields, files=[("audio", sound) for sound in sounds], timeout=60
    )


# -- by a program -----------------------------------------------------------------------------------------


def test_a_form_is_answered_with_what_the_model_says(served: tuple[str, Server, Asker]) -> None:
    url, server, asker = served
    found = post(url, ("a.wav", wav(2.0)), question="Which?", choices=list(OPTIONS), max_new_tokens="4")
    samples, _ = soundfile.read(io.BytesIO(wav(2.0)), dtype="float32")
    expected = as_json(compare(asker.llm, [samples], "Which?", OPTIONS, max_new_tokens=4), ["a.wav"])
    assert found.json() == expected
    assert sum(option["asked"] for option in expected["options"]) == pytest.approx(1)
    assert expected["orders"]["tried"] == 3
    assert not list(server.uploads.folder.rglob("*.wav"))


def test_letters_prompt_and_controls_are_used(served: tuple[str, Server, Asker]) -> None:
    url = served[0]

    def ask(**fields: Any) -> dict[str, Any]:
        return post(url, ("a.wav", wav(1.0)), question="Which?", **fields).json()

    words, letters = ask(choices=list(OPTIONS)), ask(choices=list(OPTIONS), letters="true")
    assert [option["letter"] for option in letters["options"]] == ["A", "B", "C"]
    assert ask(choices=["(A) a dog", "(B) rain", "(C) thunder"]) == letters
    assert words["options"] != letters["options"]
    thinking = ask(choices=list(OPTIONS), prompt="think")
    assert thinking["options"] != words["options"]
    bare = ask(controls="false")
    assert (bare["silence"], bare["gain_nats"], bare["options"], bare["orders"]) == (None, None, [], None)


def test_several_sounds_of_one_question(served: tuple[str, Server, Asker]) -> None:
    both = post(
        served[0], ("a.wav", wav(1.0)), ("b.wav", wav(2.0, 5)), question="Which?", choices=["1", "2"]
    ).json()
    assert both["sounds"] == [{"name": "a.wav", "seconds": 1.0}, {"name": "b.wav", "seconds": 2.0}]


@pytest.mark.parametrize(
    ("sounds", "fields", "words"),
    [
        ((), {"question": "Which?"}, "there is no sound"),
        ((("a.wav", b"no sound"),), {"question": "Which?"}, "a.wav cannot be read"),
        ((("a.wav", wav(7.0)),), {"question": "Which?"}, "a.wav has more than the 6 s"),
        ((("a.wav", wav(1.0)),) * 5, {"question": "Which?"}, "there are 5 sounds; 1 to 4"),
        ((("a.wav", wav(1.0)),), {}, "the question is empty"),
        ((("a.wav", wav(1.0)),), {"question": "Which?", "choices": ["rain"]}, "give at least two"),
        ((("a.wav", wav(1.0)),), {"question": "Which?", "max_new_tokens": "9"}, "must be 1 to 8"),
        ((("a.wav", wav(1.0)),), {"question": "Which?", "prompt": "thinks"}, "prompt must be one of"),
        ((("a.wav", wav(1.0)),), {"question": "<|AUDIO|>"}, "stands for a sound"),
        ((("a.wav", wav(1.0)),), {"question": "Which? " * 300}, "has 2099 characters, at most 2000"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    served: tuple[str, Server, Asker], sounds: Any, fields: dict[str, Any], words: str
) -> None:
    answer = post(served[0], *sounds, **fields)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"], answer.text


def test_of_200_questions_at_once_none_is_lost_or_mixed_up(served: tuple[str, Server, Asker]) -> None:
    url, server, _ = served
    sounds = {n: (f"{n}.wav", wav(0.5 + 0.005 * n, seed=n)) for n in range(200)}

    async def ask_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            fields = {"question": "Which?", "controls": "false"}
            posts = (client.post(url + "api/answer", data=fields, files={"audio": sounds[n]}) for n in sounds)
            return await asyncio.gather(*posts)

    answers = asyncio.run(ask_all())
    answered = {n: answer.json() for n, answer in enumerate(answers) if answer.status_code == 200}
    for n, found in answered.items():
        assert found["sounds"] == [{"name": f"{n}.wav", "seconds": round(0.5 + 0.005 * n, 3)}]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} <= {503}
    assert all(answer.headers["retry-after"] for answer in refused)
    assert len(answered) >= 33
    some = next(iter(answered))
    alone = post(url, sounds[some], question="Which?", controls="false").json()
    assert answered[some] == alone
    assert not list(server.uploads.folder.rglob("*.wav"))


def test_the_page_is_an_endpoint_of_gradio_client(served: tuple[str, Server, Asker], tmp_path: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(served[0], verbose=False, analytics_enabled=False)
    (tmp_path / "a.wav").write_bytes(wav(1.0))
    sound = gradio_client.handle_file(tmp_path / "a.wav")
    html, found = client.predict(
        "Which?", "a dog\nrain", True, "", 4, True, sound, None, None, None, api_name="/answer"
    )
    expected = post(
        served[0],
        ("a.wav", wav(1.0)),
        question="Which?",
        choices=["a dog", "rain"],
        letters="1",
        max_new_tokens="4",
    ).json()
    assert found == expected
    assert 'class="aqa-said"' in html
    with pytest.raises(Exception, match="there is no sound"):
        client.predict("Which?", "", False, "", 4, True, None, None, None, None, api_name="/answer")
    names = set(client.view_api(return_format="dict")["named_endpoints"])
    assert names == {"/answer"}


def test_channels_are_heard_as_the_settings_say(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server puts its folder there; the one of this module needs its own again.
    monkeypatch.setenv("GRADIO_TEMP_DIR", os.environ.get("GRADIO_TEMP_DIR", ""))
    config = ServeConfig(
        model=str(tiny_model_folder),
        port=0,
        device="cpu",
        sound=SoundConfig(max_seconds=None, channel="first"),
    )
    server, _, _ = make_server(load_asker(config), config)
    assert server.uploads.channel == "first"
    server.close()


# -- in a browser -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {NAME: wav(2.0), "bad.wav": b"no sound at all", "long.wav": wav(7.0)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


@contextmanager
def opened(chromium: Any, url: str, size: dict[str, int] = DESKTOP) -> Iterator[Any]:
    """Open the page, once its parts hear what is done to them."""
    with tab(chromium, url, size) as page:
        page.locator("html[data-ready=yes]").wait_for(state="attached")
        yield page


def fill(page: Any, question: str, options: str = "") -> None:
    page.locator("#question").get_by_role("textbox").fill(question)
    page.locator("#options").get_by_role("textbox").fill(options)


def upload(page: Any, path: Path, number: int = 1) -> None:
    page.locator(f"#sound-{number} input[type=file]").set_input_files(path)
    page.locator(f"#sound-{number}").get_by_label("Clear").wait_for()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["1280", "390"])
def test_a_sound_is_played_and_asked_about(
    served: tuple[str, Server, Asker], chromium: Any, files: dict[str, Path], size: dict[str, int]
) -> None:
    with opened(chromium, served[0], size) as page:
        page.evaluate(
            # Gradio's player is not in the page's tree: keep what it makes.
            """() => { const make = document.createElement.bind(document); window.players = [];
            document.createElement = (name, ...more) => { const made = make(name, ...more);
              if (name === "audio") window.players.push(made); return made; } }"""
        )
        upload(page, files[NAME])
        # Before it knows the length, the player does not play.
        page.wait_for_function("document.querySelector('#sound-1 #duration').textContent == '0:02'")
        page.locator("#sound-1").get_by_role("button", name="Play", exact=True).click()
        page.wait_for_function("window.players.some(player => player.currentTime > 0.2)")
        fill(page, "Welches Geräusch? 哪个声音？", "ein Hund\n雨\n<b>Donner</b>")
        page.locator("#ask").click()
        page.locator(".aqa-said").wait_for()
        rows = page.locator(".aqa-options > li")
        assert rows.count() == 3
        assert "<b>Donner</b>" in rows.nth(2).inner_text()
        shares = page.locator(".aqa-row[data-kind='as asked'] .aqa-number").all_inner_texts()
        assert sum(float(share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=0.2)
        assert page.locator(".aqa-row[data-kind=silence]").count() == 3
        assert page.locator(".aqa-row[data-kind=shuffled]").count() == 3
        page.wait_for_function(
            "document.querySelector('.aqa-said').getBoundingClientRect().top < window.innerHeight"
        )
        assert overflow(page) == 0


def test_a_bad_and_a_long_sound_are_told_in_words(
    served: tuple[str, Server, Asker], chromium: Any, files: dict[str, Path]
) -> None:
    with opened(chromium, served[0], PHONE) as page:
        fill(page, "Which?")
        page.locator("#ask").click()
        page.get_by_text("there is no sound: drop a file or record one").wait_for()
        for name, words in (
            ("bad.wav", "bad.wav cannot be read"),
            ("long.wav", "more than the 6 s that are allowed"),
        ):
            upload(page, files[name])
            page.locator("#ask").click()
            page.get_by_text(words).first.wait_for()
            page.locator("#result").get_by_text("There is no answer").wait_for()
            page.locator("#sound-1").get_by_label("Clear").click()
            page.locator("#sound-1 input[type=file]").wait_for(state="attached")
        assert overflow(page) == 0


def test_several_sounds_and_an_example(
    served: tuple[str, Server, Asker], chromium: Any, files: dict[str, Path]
) -> None:
    with opened(chromium, served[0]) as page:
        page.locator("#example").click()
        page.locator("#sound-1").get_by_label("Clear").wait_for()
        assert page.locator("#question").get_by_role("textbox").input_value()
        page.locator("#more").click()
        page.locator("#sound-2 input[type=file]").wait_for(state="attached")
        upload(page, files[NAME], 2)
        page.locator("#ask").click()
        page.locator(".aqa-options > li").nth(3).wait_for()
        page.get_by_text("The answer as JSON").click()
        page.locator("#json").get_by_text('"sounds"').wait_for()


def test_the_keyboard_is_enough(
    served: tuple[str, Server, Asker], chromium: Any, files: dict[str, Path]
) -> None:
    with opened(chromium, served[0]) as page:

        def tab_to(selector: str) -> None:
            for _ in range(40):
                page.keyboard.press("Tab")
                if page.evaluate(f"document.activeElement.matches({selector!r})"):
                    return
            raise AssertionError(f"Tab never comes to {selector}")

        tab_to("#sound-1 button")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(files[NAME])
        page.locator("#sound-1").get_by_label("Clear").wait_for()
        tab_to("#question textarea, #question input")
        page.keyboard.type("Which?")
        tab_to("#options textarea")
        page.keyboard.type("a dog\nrain")
        tab_to("#ask")
        page.keyboard.press("Enter")
        page.locator(".aqa-said").wait_for()
        assert page.locator(".aqa-options > li").count() == 2
