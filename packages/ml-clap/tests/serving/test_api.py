"""The HTTP API answers curl and gradio_client, however many ask, and gives out nothing but its sounds."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import pytest
import soundfile
from ml_clap.serving.archive import Archive, Wanted


def ask(served: SimpleNamespace, **fields: str) -> httpx.Response:
    return httpx.post(f"{served.address}/api/search", data=fields, timeout=60)


def ask_by(served: SimpleNamespace, name: str, **fields: str) -> httpx.Response:
    files = {"sound": (name, (served.sounds / name).read_bytes())}
    return httpx.post(f"{served.address}/api/search", data=fields, files=files, timeout=60)


def test_a_text_a_sound_and_a_window_are_answered(served: SimpleNamespace) -> None:
    answer = ask(served, text="un chien aboie", lang="French", top_k="2").json()
    assert answer["query"] == "un chien aboie"
    assert answer["language"] == "fra_Latn"
    assert len(answer["hits"]) == 2
    hit = answer["hits"][0]
    assert set(hit) >= {"file", "start", "end", "score", "window", "sound", "label", "licence", "captions"}
    similar = ask(served, window=str(hit["window"])).json()
    assert hit["file"] not in {one["file"] for one in similar["hits"]}
    before = set(served.uploads.rglob("*"))
    by_sound = ask_by(served, "good.wav", folder="night").json()
    assert by_sound["query"] == "good.wav"
    assert {one["file"] for one in by_sound["hits"]} == {"night/late/2.ogg", "night/old.aiff"}
    assert set(served.uploads.rglob("*")) == before, "an upload outlived its request"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "send one of text, sound and window, got none"),
        ({"text": "a", "window": "1"}, "send one of text, sound and window, got text and window"),
        ({"text": "a dog", "lang": "Klingon"}, "unknown language"),
        ({"text": "  "}, "nothing to search for"),
        ({"window": "15"}, "window must be 0 to 14"),
        ({"text": "a", "top_k": "1000"}, "top_k must be 1 to 50"),
        ({"text": "a", "folder": "/etc"}, "no folder '/etc'"),
        ({"txt": "a"}, "unknown text field 'txt'"),
    ],
)
def test_mistakes_are_told(served: SimpleNamespace, fields: dict[str, str], message: str) -> None:
    answer = ask(served, **fields)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_a_sound_that_is_none_or_too_long_is_refused_by_its_name(served: SimpleNamespace) -> None:
    bad, long = ask_by(served, "bad.wav"), ask_by(served, "long.wav")
    assert bad.status_code == long.status_code == 400
    assert "bad.wav" in bad.json()["error"]
    assert "long.wav" in long.json()["error"]
    assert "20" in long.json()["error"]
    assert str(served.uploads) not in bad.text + long.text


def test_the_archive_says_what_it_is(served: SimpleNamespace) -> None:
    about = httpx.get(f"{served.address}/api/archive").json()
    assert (about["num_clips"], about["num_windows"], len(about["languages"])) == (5, 15, 202)
    assert about["folders"] == ["day", "night", "night/late"]


def test_sounds_are_sent_whole_in_parts_or_as_an_excerpt(served: SimpleNamespace, index_folder: Path) -> None:
    hits = {hit["file"]: hit for hit in ask(served, text="rain", top_k="5").json()["hits"]}
    flac = served.address + hits["day/1.flac"]["sound"]
    content = (index_folder / "recordings/day/1.flac").read_bytes()
    whole = httpx.get(flac)
    assert whole.content == content
    assert whole.headers["content-type"] == "audio/flac"
    part = httpx.get(flac, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, content[100:200])
    odd = hits[f"day/{served.odd_name}"]["sound"]
    assert odd.endswith(quote(served.odd_name, safe=""))
    assert httpx.get(served.address + odd).status_code == 200
    old = hits["night/old.aiff"]
    excerpt = httpx.get(served.address + old["sound"])
    samples, rate = soundfile.read(io.BytesIO(excerpt.content))
    first = max(0.0, old["start"] - 5)
    assert len(samples) / rate == pytest.approx(min(10.0, old["end"] + 5) - first, abs=0.01)
    assert old["begins"] == pytest.approx(old["start"] - first)


@pytest.mark.parametrize(
    "path",
    ["/api/sound/15/x.wav", "/api/sound/-1/x.wav", "/api/sound/x/x.wav", "/api/sound/0/..%2F..%2Findex.json"],
)
def test_nothing_but_the_sounds_of_the_index_is_sent(
    served: SimpleNamespace, path: str, index_folder: Path
) -> None:
    answer = httpx.get(served.address + path)
    allowed = {file.read_bytes() for file in (index_folder / "recordings").rglob("*.*")}
    assert answer.status_code in (404, 422) or answer.content in allowed


def test_a_file_that_is_gone_is_said_to_be(served: SimpleNamespace, index_folder: Path) -> None:
    file = index_folder / "recordings/day/0.wav"
    file.rename(index_folder / "elsewhere")
    try:
        hits = ask(served, text="rain", top_k="5", folder="day").json()["hits"]
        (address,) = [hit["sound"] for hit in hits if hit["file"] == "day/0.wav"]
        answer = httpx.get(served.address + address)
    finally:
        (index_folder / "elsewhere").rename(file)
    assert answer.status_code == 410
    assert str(index_folder) not in answer.text


def test_of_200_requests_at_once_none_is_lost_and_none_is_mixed_up(served: SimpleNamespace) -> None:
    archive = served.archive
    assert isinstance(archive, Archive)
    expected = {text: archive.by_text(text, "en", Wanted(top_k=1)).result.hits[0] for text in served.queries}
    texts = [served.queries[number % len(served.queries)] for number in range(200)]
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda text: ask(served, text=text, top_k="1"), texts))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 33  # one that is answered, and those that may wait
    for text, answer in zip(texts, answers, strict=True):
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
            assert "requests are waiting" in answer.json()["error"]
        else:
            record = answer.json()
            assert record["query"] == text
            assert record["hits"][0]["file"] == expected[text].id
            assert record["hits"][0]["score"] == pytest.approx(expected[text].score, abs=1e-5)


def test_gradio_client_gets_the_page_of_hits(served: SimpleNamespace) -> None:
    client_of = pytest.importorskip("gradio_client")
    client = client_of.Client(served.address, verbose=False)
    html = client.predict("a dog barks", "eng_Latn", "day", 2, True, api_name="/search")
    assert html.count("<audio") == 2
    sound = client_of.handle_file(str(served.sounds / "good.wav"))
    html = client.predict(sound, "all folders", 4, True, api_name="/search_sound")
    assert "sounds like good.wav" in html
    assert html.count("<audio") == 4
    with pytest.raises(Exception, match=r"bad\.wav"):
        client.predict(
            client_of.handle_file(str(served.sounds / "bad.wav")),
            "all folders",
            4,
            True,
            api_name="/search_sound",
        )


def test_the_routes_of_the_docs_are_those_that_are_there(served: SimpleNamespace) -> None:
    import ml_clap.serving.api

    lines = [line.strip() for line in (ml_clap.serving.api.__doc__ or "").splitlines() if "curl" in line]
    assert len(lines) == 4
    for line in lines:
        path = line.rsplit("localhost:7860", 1)[1]
        fields = dict(
            part.split(" ")[0].strip('"').split("=", 1) for part in line.replace('"', "").split("-F ")[1:]
        )
        assert path in ("/api/search", "/api/archive"), json.dumps(fields)
