"""The whole of `serve`: the page in a browser, by keyboard and on a phone, and the API with many at once.

The captioner of the page tests says how high the tone of a sound is: whoever gets another one's caption sees
it. The verb is tested with a model from disk.
"""

import asyncio
import functools
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import torch

gradio = pytest.importorskip("gradio", reason="the extra serve is not installed")
gradio_client = pytest.importorskip("gradio_client", reason="the extra serve is not installed")

from aac_llm.config.correct import CorrectionConfig  # noqa: E402
from aac_llm.config.serve import ServeConfig  # noqa: E402
from aac_llm.correction.corrector import Corrector  # noqa: E402
from aac_llm.data.predictions import NO_SOUND, Candidate, CaptionPart, Prediction, from_json  # noqa: E402
from aac_llm.data.timestamps import TimedEvent  # noqa: E402
from aac_llm.models.captioner_model import CaptionModel  # noqa: E402
from aac_llm.serving.api import add_routes  # noqa: E402
from aac_llm.serving.page import make_page  # noqa: E402
from aac_llm.serving.results import is_corrected, style  # noqa: E402
from aac_llm.serving.serve import serve  # noqa: E402
from aac_llm.serving.server import Server  # noqa: E402
from aac_llm.serving.service import CaptionService, Wanted  # noqa: E402
from aac_llm.serving.uploads import Sound  # noqa: E402
from audio_common.prefetch import BadFile  # noqa: E402
from audio_common.strict_json import parse_object  # noqa: E402
from serving_kit import DESKTOP, PHONE, browser, overflow, running, tab  # noqa: E402

DOCS = Path(__file__).parents[4] / "docs" / "captioning-page.md"
PATIENT = {"timeout": 120}
"""Seconds: a machine may be busy."""
BROKEN = "a tone of 440 Hz and"
EVIL = "a ${1+1} {{2+2}} <b>tone<b>"


class ToneCaptioner:
    """Says how high a sound's tone is; what it says of 440 Hz is a broken sentence first."""

    model = SimpleNamespace(
        config=SimpleNamespace(timestamps=True),
        trained_seconds=3.0,
        licence="decoder MIT <b>",
        parameters=lambda: [torch.zeros(7)],
    )

    def caption(
        self,
        waveforms: Sequence[torch.Tensor],
        *,
        bad_files: list[BadFile],
        timestamps: bool = False,
        num_candidates: int = 1,
        **_: Any,
    ) -> list[Prediction]:
        """Caption as `Captioner.caption` does."""
        found = []
        for place, waveform in enumerate(waveforms):
            if len(waveform) < 800:
                bad_files.append(BadFile(Path(str(place)), "too short for a tone", place))
                continue
            hertz = tone_of(waveform)
            text = f"a tone of {hertz} Hz" if hertz else NO_SOUND
            several = [text, f"{text} sounds", f"there is {text}"]
            if hertz == 440:
                several[0] = BROKEN
            one = Prediction(str(place), None, several[0], score=-0.1, confidence=0.8)
            if timestamps:
                seconds = len(waveform) / 16_000
                events = (TimedEvent(text, 0.1, 0.4), TimedEvent(EVIL, seconds / 2, seconds))
                one = replace(one, timestamps=events if hertz and hertz != 333 else ())
            else:
                candidates = [Candidate(text, -0.1 * number) for number, text in enumerate(several, 1)]
                one = replace(one, candidates=tuple(candidates[:num_candidates]))
            found.append(one)
        return found


def tone_of(waveform: torch.Tensor) -> int:
    """Return the frequency of a sound's loudest tone, Hz; 0 for silence."""
    spectrum = torch.fft.rfft(waveform).abs()
    return round(float(spectrum.argmax()) * 16_000 / len(waveform)) if spectrum.max() > 0.01 else 0


def write_tone(path: Path, hertz: int, seconds: float = 1.0) -> Path:
    """Write a tone; a whole number of periods, so that its frequency is exact."""
    times = np.arange(int(16_000 * seconds)) / 16_000
    soundfile.write(path, np.sin(2 * np.pi * hertz * times) / 2, 16_000)
    return path


def make_service(config: ServeConfig) -> CaptionService:
    """Return a service of the test's captioner."""
    return CaptionService(config, ToneCaptioner(), Corrector(config.correction))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, Server]]:
    config = ServeConfig(model="runs/a-very-long-name-of-a-model/" + "tones" * 12, port=0, max_seconds=4)
    server = Server(config)
    service = make_service(config)
    add_routes(server, service)
    with running(server, make_page(server, service), css=style()) as url:
        yield url, server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


# The service


def sound(hertz: int, name: str = "tone.wav", seconds: float = 1.0) -> Sound:
    wave = torch.sin(2 * torch.pi * hertz * torch.arange(int(16_000 * seconds)) / 16_000) / 2
    return Sound(name, wave, Path("/uploads/1.wav"), ("odd",))


def test_each_sound_gets_its_own_caption_and_what_cannot_be_captioned_is_named():
    service = make_service(ServeConfig(model="m"))
    sounds = [sound(500), sound(9, "short.wav", 0.01), sound(440), sound(0, "silence.wav"), sound(333)]
    answer = service.answer(sounds, Wanted(num_candidates=2))
    assert [(one.prediction.id, one.prediction.caption) for one in answer.heard] == [
        ("tone.wav", "a tone of 500 Hz"),
        ("tone.wav (2)", "a tone of 440 Hz sounds"),
        ("silence.wav", NO_SOUND),
        ("tone.wav (3)", "a tone of 333 Hz"),
    ]
    assert [(one.name, one.reason) for one in answer.refused] == [("short.wav", "too short for a tone")]
    first, corrected, silence, timeless = answer.heard
    assert [one.text for one in first.prediction.candidates] == [
        "a tone of 500 Hz",
        "a tone of 500 Hz sounds",
    ]
    assert first.prediction.timestamps[0] == TimedEvent("a tone of 500 Hz", 0.1, 0.4)
    assert (corrected.prediction.original, corrected.prediction.correction["reason"]) == (BROKEN, "chosen")
    assert silence.prediction.correction is None
    assert timeless.complaints == ("odd", "the captioner wrote no event whose times make sense")
    assert all(one.prediction.audio is None for one in answer.heard), "a path of this machine"


def test_what_is_not_asked_for_is_left_out():
    service = make_service(ServeConfig(model="m"))
    (one,) = service.answer([sound(440)], Wanted(timestamps=False, correct=False)).heard
    assert one.prediction == Prediction("tone.wav", None, BROKEN, score=-0.1, confidence=0.8)
    with pytest.raises(ValueError, match=r"num_candidates must be from 1 to 3 \(the server's --num_beams\)"):
        service.answer([sound(440)], Wanted(num_candidates=4))


def test_joined_captions_of_windows_are_corrected_by_a_language_model_alone():
    parts = (CaptionPart(0.0, 2.0, "a dog"), CaptionPart(1.0, 3.0, "a dog and"))
    one = Prediction("0", None, "a dog; a dog and", parts=parts)
    config = ServeConfig(model="m", correction=CorrectionConfig(llm="smol"))
    asked: list[str] = []
    corrector = Corrector(config.correction, llm=lambda texts: asked.extend(texts) or ["a dog"] * len(texts))
    for settings, expected in ((ServeConfig(model="m"), []), (config, ["a dog; a dog and"])):
        captioner = SimpleNamespace(model=ToneCaptioner.model, caption=lambda *_, **__: [one])
        service = CaptionService(settings, captioner, corrector)  # type: ignore[arg-type]
        (heard,) = service.answer([sound(500)], Wanted(timestamps=False)).heard
        assert asked == expected
        assert is_corrected(heard.prediction) == bool(expected)


def test_a_language_model_repairs_what_no_candidate_does():
    config = ServeConfig(model="m", correction=CorrectionConfig(llm="smol"))
    corrector = Corrector(config.correction, llm=lambda captions: ["A tone of 440 Hz."] * len(captions))
    service = CaptionService(config, ToneCaptioner(), corrector)  # type: ignore[arg-type]
    (one,) = service.answer([sound(440)], Wanted()).heard
    assert (one.prediction.caption, one.prediction.original) == ("A tone of 440 Hz", BROKEN)


@pytest.mark.parametrize("field", ["num_beams", "max_new_tokens"])
def test_impossible_settings_are_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
        ServeConfig(model="m", **{field: 0})


# The API


def post(url: str, *paths: Path, **texts: str) -> httpx.Response:
    files = [("audio", (path.name, path.read_bytes())) for path in paths]
    return httpx.post(f"{url}api/caption", data=texts, files=files, **PATIENT)


def test_the_api_captions_several_sounds(served, tmp_path):
    paths = [write_tone(tmp_path / f"{hertz}.wav", hertz) for hertz in (500, 440)]
    answer = post(served[0], *paths, num_candidates="2", subtitles="vtt").json()
    assert [(row["id"], row["caption"]) for row in answer["captions"]] == [
        ("500.wav", "a tone of 500 Hz"),
        ("440.wav", "a tone of 440 Hz sounds"),
    ]
    assert len(answer["captions"][0]["candidates"]) == 2
    assert "00:00:00.100 --> 00:00:00.400\na tone of 500 Hz" in answer["captions"][0]["subtitles"]
    facts = httpx.get(f"{served[0]}api/model", **PATIENT).json()
    assert (facts["max_candidates"], facts["licence"]) == (3, "decoder MIT <b>")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"num_candidates": "9"}, "num_candidates must be 1 to 3, got 9"),
        ({"num_candidates": "1.5"}, "num_candidates must be a whole number, got 1.5"),
        ({"timestamps": "maybe"}, "timestamps must be true or false"),
        ({"subtitles": "pdf"}, "subtitles must be one of srt, vtt, audacity, got 'pdf'"),
        ({"candidates": "2"}, "unknown text field 'candidates'"),
    ],
)
def test_a_wrong_field_is_refused_in_words(served, tmp_path, texts, words):
    answer = post(served[0], write_tone(tmp_path / "a.wav", 500, 0.1), **texts)
    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text


def test_a_request_without_a_sound_says_how_to_send_one(served):
    answer = httpx.post(f"{served[0]}api/caption", data={"correct": "true"}, **PATIENT)
    assert (answer.status_code, "curl -F audio=@rain.wav" in answer.json()["error"]) == (400, True)


def test_gradio_client_gets_the_same_rows(served, tmp_path):
    from gradio_client import Client, handle_file

    (tmp_path / "notes.txt").write_text("no sound")
    client = Client(served[0], verbose=False, download_files=False, httpx_kwargs=PATIENT)
    files = [handle_file(write_tone(tmp_path / "500.wav", 500)), handle_file(tmp_path / "notes.txt")]
    answer = client.predict(files, num_candidates=2, api_name="/caption")
    assert from_json(answer["captions"][0]).caption == "a tone of 500 Hz"
    assert answer["refused"][0]["id"] == "notes.txt"
    assert "cannot be read" in answer["refused"][0]["reason"]
    with pytest.raises(Exception, match="no sound yet"):
        client.predict([], api_name="/caption")
    (refused,) = client.predict([{"path": "/etc/hostname"}], api_name="/caption")["refused"]
    assert refused["reason"] == "hostname is no upload"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_line_that_the_docs_show_is_answered(served, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tone(tmp_path / "rain.wav", 500)
    page = DOCS.read_text(encoding="utf-8").replace("http://127.0.0.1:7860/", served[0])
    lines = re.findall(r"^curl (.*)$", page, re.M)
    assert len(lines) == 5
    for line in lines:
        found = subprocess.run(["curl", "-sf", *shlex.split(line)], capture_output=True, **PATIENT)
        assert found.returncode == 0, line
        assert parse_object(found.stdout, line), line
    (block,) = re.findall(r"```python\n(.*?)```", page, re.S)
    patient = functools.partial(gradio_client.Client, httpx_kwargs=PATIENT)
    monkeypatch.setattr(gradio_client, "Client", patient)
    exec(block, {})
    assert capsys.readouterr().out.endswith("a tone of 500 Hz\n")


def test_of_200_sounds_at_once_none_is_lost_or_mixed_up(served, tmp_path):
    from gradio_client import Client, handle_file

    url = served[0]
    tones = {hertz: write_tone(tmp_path / f"{hertz}.wav", hertz, 0.1) for hertz in range(1000, 3000, 10)}
    by_page, by_api = list(tones)[:10], list(tones)[10:]
    client = Client(url, verbose=False, download_files=False, httpx_kwargs=PATIENT)

    def ask_page(hertz: int) -> dict[str, Any] | str:
        try:
            return client.predict([handle_file(tones[hertz])], api_name="/caption")
        except Exception as error:
            return str(error)

    async def ask_api() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as session:
            return await asyncio.gather(
                *(
                    session.post(f"{url}api/caption", files={"audio": ("a.wav", tones[hertz].read_bytes())})
                    for hertz in by_api
                )
            )

    with ThreadPoolExecutor(len(by_page)) as threads:
        pages = threads.map(ask_page, by_page)
        responses = asyncio.run(ask_api())
        answers: dict[int, Any] = dict(zip(by_page, pages, strict=True))
    for hertz, response in zip(by_api, responses, strict=True):
        assert response.status_code in (200, 503), response.text
        answers[hertz] = response.json() if response.status_code == 200 else response.json()["error"]
    refused = [answer for answer in answers.values() if isinstance(answer, str)]
    assert all("requests are waiting already" in words for words in refused), refused[:3]
    answered = {hertz: one for hertz, one in answers.items() if not isinstance(one, str)}
    said = {hertz: one["captions"][0]["caption"] for hertz, one in answered.items()}
    assert said == {hertz: f"a tone of {hertz} Hz" for hertz in said}
    assert len(said) >= 33  # one is answered while 32 wait
    assert len(said) + len(refused) == 200


# The page


def give(page: Any, *paths: Path) -> None:
    """Choose files on the page, and wait until it has them: each then has a link to itself, with its size."""
    page.locator("input[type=file]").first.set_input_files(list(paths))
    page.wait_for_function(
        "count => document.body.innerText.split('\\u21e3').length - 1 === count", arg=len(paths)
    )


def ask(page: Any) -> None:
    page.get_by_role("button", name="Caption", exact=True).click()


def now(page: Any) -> float:
    return page.evaluate("document.querySelector('#captions audio').currentTime")


def test_files_are_captioned_on_the_page_and_a_bad_and_a_long_one_are_named(served, chromium, tmp_path):
    (tmp_path / "notes.txt").write_text("no sound")
    evil = tmp_path / "a <b> ${3+4}.wav"
    good = write_tone(evil, 440)
    long = write_tone(tmp_path / "long.wav", 500, 5.0)
    with tab(chromium, served[0], DESKTOP) as page:
        page.get_by_role("button", name="Caption", exact=True).wait_for()
        ask(page)
        page.get_by_text("no sound yet: choose files").first.wait_for()
        give(page, good, tmp_path / "notes.txt", long)
        ask(page)
        page.locator("#captions .heard").wait_for()
        refused = page.locator("#captions .refused").inner_text()
        assert "Not captioned: notes.txt cannot be read" in refused
        assert re.search(r"Not captioned: long.wav .*4(\.0)? s", refused)
        assert "licence of its weights: decoder MIT <b>" in page.locator("#foot").inner_text()
        card = page.locator("#captions .heard")
        assert "a tone of 440 Hz sounds" in card.locator(".caption").inner_text()
        assert "another of its captions is whole (dangling end)" in card.inner_text()
        assert (card.locator("del").inner_text(), card.locator("ins").inner_text()) == ("and", "sounds")
        assert EVIL in card.inner_text(), "a caption is text, not a template or markup"
        assert card.locator("b, img").count() == 0
        assert overflow(page) == 0
        with page.expect_download() as download:
            card.get_by_role("link", name="SRT").click()
        assert "00:00:00,100 --> 00:00:00,400\na tone of 440 Hz" in download.value.path().read_text()


def test_an_event_is_played_from_its_beginning_to_its_end_by_mouse_and_by_keyboard(
    served, chromium, tmp_path
):
    with tab(chromium, served[0], DESKTOP) as page:
        page.get_by_role("button", name="Caption", exact=True).wait_for()
        give(page, write_tone(tmp_path / "tone.wav", 500, 3.0))
        button = page.get_by_role("button", name="Caption", exact=True)
        for _ in range(40):  # by keyboard alone from the top of the page to the button
            page.keyboard.press("Tab")
            if button.evaluate("one => one === document.activeElement"):
                break
        page.keyboard.press("Enter")
        first, second = (page.locator("#captions .event").nth(number) for number in (0, 1))
        second.wait_for()
        assert second.inner_text().endswith("1.5 to 3.0 s")
        for _ in range(20):
            page.keyboard.press("Tab")
            if first.evaluate("one => one === document.activeElement"):
                break
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('#captions audio').currentTime > 1.6")
        page.keyboard.press("Escape")
        page.wait_for_function("document.querySelector('#captions audio').paused")
        first.click()
        page.wait_for_function("document.querySelector('#captions audio').paused")
        page.wait_for_function("document.querySelector('#captions audio').currentTime > 0.39")
        assert now(page) < 2.9, "it plays on after the event's end, to that of the sound"


def test_nothing_is_cut_off_on_a_phone(served, chromium, tmp_path):
    name = "a_very_long_name_of_a_recording_without_a_space_" * 2 + ".wav"
    with tab(chromium, served[0], PHONE) as page:
        page.get_by_role("button", name="Caption", exact=True).wait_for()
        give(page, write_tone(tmp_path / name, 440))
        ask(page)
        page.locator("#captions .heard").wait_for()
        assert overflow(page) == 0
        cut = page.evaluate(
            """() => [...document.querySelectorAll("label, button, a, h1, h3, p, li")].filter(one => {
                const box = one.getBoundingClientRect();
                return box.width && (box.left < 0 || box.right > innerWidth + 1);
            }).map(one => one.outerHTML.slice(0, 200))"""
        )
        assert cut == []
        narrow = [
            one
            for one in page.get_by_role("checkbox").locator("xpath=..").all()
            if one.bounding_box()["width"] < 150
        ]
        assert narrow == [], "options have a line of their own"


# The verb


def test_the_verb_serves_a_model_from_disk(tiny_model_folder, scene_files, monkeypatch):
    seen: dict[str, Any] = {}

    def run(self: Server, page: gradio.Blocks, **looks: Any) -> None:
        seen["channel"] = self.uploads.channel
        with running(self, page, **looks) as url:
            seen["page"] = httpx.get(url, **PATIENT).text
            seen["answer"] = post(url, scene_files[0].audio, scene_files[1].audio).json()

    monkeypatch.setattr(Server, "run", run)
    config = ServeConfig(
        model=str(tiny_model_folder), port=0, device="cpu", max_new_tokens=4, channel="loudest"
    )
    assert serve(config) == 0
    assert "#captions" in seen["page"]
    assert seen["channel"] == "loudest"
    assert [row["id"] for row in seen["answer"]["captions"]] == ["scene0.wav", "scene1.wav"]
    assert all("timestamps" not in row for row in seen["answer"]["captions"]), "this model knows no times"


def test_a_model_that_is_not_there_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="no-such-model"):
        serve(ServeConfig(model=str(tmp_path / "no-such-model")))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_captions_of_the_service_are_those_of_the_captioner(tiny_model_folder, scene_files):
    from aac_llm.captioning.captioner import Captioner

    config = ServeConfig(model=str(tiny_model_folder), device="cpu", max_new_tokens=6)
    service = CaptionService.load(config)
    assert isinstance(service.captioner.model, CaptionModel)
    paths = [file.audio for file in scene_files[:2]]
    expected = Captioner.from_pretrained(tiny_model_folder, device="cpu").caption(paths, max_new_tokens=6)
    waves = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in paths]
    sounds = [Sound(path.name, wave, path) for path, wave in zip(paths, waves, strict=True)]
    answer = service.answer(sounds, Wanted(correct=False))
    assert [one.prediction.caption for one in answer.heard] == [one.caption for one in expected]
