"""The page of a search plays its hits, and the pictures show when they are like the query."""

import base64
import dataclasses
import json
import struct
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import soundfile
import torch
from audio_common.config import CEDConfig
from ml_clap.config.model import ModelConfig
from ml_clap.config.search import SearchConfig
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.explain import ExplainError, Heard, columns_of, explain
from ml_clap.search.page import link_to
from ml_clap.search.search import search, search_verb
from ml_clap.search.spectrogram import draw, spectrogram, to_png
from ml_clap.search.updating import update_index

RATE = 16_000
NAMES = ("rain #1?&x=2.wav", "été <b>&amp;.wav", "50%25 a:b.wav", "long.wav")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    encoder = create_small_text_encoder(folder / "text", ["a dog"], vocab_size=40, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    torch.manual_seed(0)
    model = MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).eval()
    model.save_pretrained(folder / "model")
    clips = []
    for number, name in enumerate(NAMES):
        path = folder / "sounds" / name
        path.parent.mkdir(exist_ok=True)
        seconds = 35 if name == "long.wav" else 2
        noise = np.random.default_rng(number).normal(size=seconds * RATE)
        soundfile.write(path, 0.1 * noise, RATE)
        captions: dict[str, tuple[str, ...]] = {"eng_Latn": (f"<script>alert({number})</script> 'a' \"b\"",)}
        clips.append(Clip(id=str(number), audio=path, captions=captions, licence="CC0", label="x<y"))
    write_manifest(folder / "clips.jsonl", clips)
    update_index(model, folder / "clips.jsonl", folder / "index", model_name=str(folder / "model"))
    return folder


class Page(HTMLParser):
    """Collects the tags of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, tag: str, name: str) -> list[str]:
        return [value for kind, attrs in self.tags if kind == tag and (value := attrs.get(name))]


@pytest.fixture(scope="module")
def config(folder: Path) -> SearchConfig:
    return SearchConfig(index=folder / "index", query=("a <i>dog</i> & \x1b[1m",), device="cpu")


def test_every_player_finds_its_file_from_where_the_hit_starts(folder: Path, config: SearchConfig) -> None:
    page = folder / "pages" / "results.html"
    (hits,) = search(dataclasses.replace(config, page=page, all_windows=True, top_k=20))
    parsed = Page(page.read_text(encoding="utf-8"))
    sources = parsed.values("audio", "src")
    assert len(sources) == len(hits) == 3 + 4
    for hit, source in zip(hits, sources, strict=True):
        parts = urlsplit(source)
        assert (page.parent / unquote(parts.path)).resolve() == hit.file.resolve()
        assert (parts.scheme, parts.query) == ("", "")
        assert parts.fragment == (f"t={hit.start:.2f}" if hit.start else "")
    assert {urlsplit(source).fragment for source in sources} >= {"t=10.00", "t=25.00"}


def test_nothing_from_outside_becomes_markup_and_nothing_comes_from_a_network(
    folder: Path, config: SearchConfig, tmp_path: Path
) -> None:
    search(dataclasses.replace(config, page=tmp_path / "page.html"))
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    parsed = Page(html)
    tags = [tag for tag, _ in parsed.tags]
    assert tags.count("script") == 1  # ours
    assert not {"i", "b"} & set(tags)
    assert "<script>alert(0)</script>" in parsed.text
    assert r"a <i>dog</i> & \x1b[1m" in parsed.text
    assert "4 clips in index, 0:41 of sound, 7 vectors (windows of 10 s)" in parsed.text
    assert "licence of its weights: audio unknown" in parsed.text
    assert "Licences of the sounds: CC0 (4)" in parsed.text
    assert str(folder) not in parsed.text
    assert "\x1b" not in html
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    attributes = {name for _, attrs in parsed.tags for name in attrs}
    assert not {name for name in attributes if name.startswith("on")}


def test_each_hit_has_a_picture_that_marks_it(folder: Path, config: SearchConfig, tmp_path: Path) -> None:
    search(dataclasses.replace(config, page=tmp_path / "page.html", where=("id=3",)))
    parsed = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    (url,) = parsed.values("img", "src")
    png = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    assert struct.unpack(">II", png[16:24]) == (600, 113)
    (alt,) = parsed.values("img", "alt")
    assert alt.startswith("Spectrogram from ")
    assert "most like the query at" in alt


def test_a_search_of_several_queries_or_without_a_hit_says_so(
    config: SearchConfig, tmp_path: Path, folder: Path
) -> None:
    page = tmp_path / "page.html"
    search(dataclasses.replace(config, query=("a dog", "rain"), page=page, threshold="1.0"))
    parsed = Page(page.read_text(encoding="utf-8"))
    assert parsed.values("nav", "aria-label") == ["Queries"]
    assert parsed.values("a", "href") == ["#query-1", "#query-2"]
    assert parsed.text.count("nothing found: the best score is ") == 2


def test_a_file_that_is_gone_leaves_the_page_whole(
    config: SearchConfig, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / "sounds" / NAMES[0]
    file.rename(folder / "elsewhere")
    try:
        settings = dataclasses.replace(config, page=tmp_path / "p.html", explain=tmp_path / "e")
        assert search_verb(settings) == 0
    finally:
        (folder / "elsewhere").rename(file)
    parsed = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert (len(parsed.values("audio", "src")), len(parsed.values("img", "src"))) == (4, 3)
    assert "the page shows no picture of it" in caplog.text
    assert len(json.loads((tmp_path / "e" / "explain.json").read_text())["hits"]) == 3


def test_names_of_no_valid_unicode_are_linked_by_their_bytes() -> None:
    assert link_to(Path("/a/caf\udce9.wav"), Path("/a")) == "caf%E9.wav"
    assert link_to(Path("/a/rain #1.wav"), Path("/a/pages")) == "../rain%20%231.wav"


def test_a_hit_is_explained_every_160_ms(config: SearchConfig, folder: Path, tmp_path: Path) -> None:
    search(dataclasses.replace(config, explain=tmp_path / "why", where=("id=3",), all_windows=True, top_k=2))
    record = json.loads((tmp_path / "why" / "explain.json").read_text())
    assert len(record["hits"]) == 2
    for hit in record["hits"]:
        assert (tmp_path / "why" / hit["picture"]).read_bytes().startswith(b"\x89PNG")
        times = np.array(hit["times"])
        assert len(times) == len(hit["similarity"]) == 63
        assert hit["start"] < times[0] < hit["start"] + 0.16
        np.testing.assert_allclose(np.diff(times)[:-1], 0.16, atol=2e-3)
        assert hit["best_time"] == pytest.approx(times[int(np.argmax(hit["similarity"]))], abs=1e-3)


def test_the_explanation_points_at_the_moment_that_is_meant(folder: Path) -> None:
    model = MLCLAP.from_pretrained(folder / "model")
    waveform, _ = soundfile.read(folder / "sounds" / "long.wav", dtype="float32")
    with torch.inference_mode():
        vectors, times = model.embed_columns(torch.from_numpy(waveform[10 * RATE : 20 * RATE]))
        whole = model.embed_audio(torch.from_numpy(waveform[None, : 10 * RATE]))
    assert vectors.shape == (63, whole.shape[1])
    hit = AudioIndex.open(folder / "index").search(model, text="a dog", top_k=1)[0]
    hit = dataclasses.replace(hit, start=10.0, end=20.0)
    heard = Heard(waveform[5 * RATE : 25 * RATE], RATE, 5.0)
    found = explain(model, vectors[17].numpy(), hit, heard)
    assert found.best_time == pytest.approx(10.0 + float(times[17]))
    assert found.similarity.max() == pytest.approx(1.0, abs=1e-4)


def test_a_model_without_moments_is_refused_in_words(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other:
        kind = "LAION CLAP"

    with pytest.raises(ExplainError, match=r"needs a model with CED .*LAION CLAP gives one vector"):
        columns_of(Other())  # type: ignore[arg-type]
    monkeypatch.delattr(MLCLAP, "embed_columns")
    with pytest.raises(ExplainError, match="needs a model with CED"):
        search(dataclasses.replace(config, explain=tmp_path / "e"))
    search(dataclasses.replace(config, page=tmp_path / "page.html"))  # with a spectrogram, without the strip
    parsed = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(parsed.values("img", "src")) == 4
    assert "most like the query" not in parsed.text


def test_a_tone_is_bright_at_its_pitch_and_what_is_around_the_hit_is_dim() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    loudness = spectrogram(tone, RATE, width=100, height=64)
    assert loudness.shape == (64, 100)
    rows = loudness[:, 50].argmax() / 64
    assert 0.55 < rows < 0.7  # 1 kHz lies at 0.36 of the mel scale up to 8 kHz, counted from below
    picture = draw(loudness, (0.0, 2.0), (1.0, 2.0), (np.array([1.1, 1.9]), np.array([0.0, 1.0])))
    assert picture.shape == (64 + 3 + 14, 100, 3)
    assert picture[:64, 60:].mean() > 2 * picture[:64, :40].mean()
    assert (picture[-1, 10] == 0).all()
    assert not (picture[-1, 95] == picture[-1, 55]).all()
    assert to_png(picture).startswith(b"\x89PNG\r\n\x1a\n")
