"""`ml-clap search`: the right window of the right file, in any language, by either engine."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from audio_common.config import CEDConfig
from audio_common.reader import AudioError
from ml_clap import Retriever
from ml_clap.config.index import IndexConfig
from ml_clap.config.model import ModelConfig
from ml_clap.config.search import SearchConfig
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search.answers import clock
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.index import index
from ml_clap.search.queries import BadQueries, Query, embed_queries, read_queries
from ml_clap.search.search import search, search_verb
from ml_clap.search.store import AudioIndexError, Entry, IndexSettings, IndexWriter
from ml_clap.search.updating import update_index

RATE = 16000
NAMES = ("dog [x]", "rain", "été", "long")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in `model`, sounds in `sounds`, their index in `index`."""
    folder = tmp_path_factory.mktemp("search")
    texts = ["a dog barks", "un chien aboie", "rain on a roof", "la pluie sur un toit"]
    encoder = create_small_text_encoder(folder / "text", texts, vocab_size=60, dim=16, layers=1, heads=2)
    torch.manual_seed(0)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    config = ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)
    MLCLAP(config).save_pretrained(folder / "model")
    (folder / "sounds").mkdir()
    clips = []
    for number, name in enumerate(NAMES):
        soundfile.write(
            folder / "sounds" / f"{name}.wav", noise(3.0 if name != "long" else 60.0, number), RATE
        )
        captions: dict[str, tuple[str, ...]] = {
            "eng_Latn": (f"{name} in English",),
            "fra_Latn": (f"{name} en français",),
        }
        clips.append(Clip(id=name, audio=folder / "sounds" / f"{name}.wav", captions=captions))
    write_manifest(folder / "clips.jsonl", clips)
    model = MLCLAP.from_pretrained(folder / "model")
    update_index(model, folder / "clips.jsonl", folder / "index", model_name=str(folder / "model"))
    return folder


def noise(seconds: float, seed: int) -> np.ndarray:
    """Noise under a tone of which the pitch changes every ten seconds; loud clicks from 33 s to 36 s."""
    generator = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    pitch = generator.uniform(200, 3000, 10)[(times // 10).astype(int)]
    sound = 0.02 * generator.normal(size=len(times)) + 0.1 * np.sin(2 * np.pi * pitch * times)
    clicks = (times > 33) & (times < 36) & (times % 0.2 < 0.01)
    return sound + 0.8 * clicks


@pytest.fixture(scope="module")
def model(folder: Path) -> MLCLAP:
    return MLCLAP.from_pretrained(folder / "model")


@pytest.fixture
def opened(folder: Path) -> AudioIndex:
    return AudioIndex.open(folder / "index")


def test_a_hit_says_where_in_a_long_file(
    folder: Path, model: MLCLAP, opened: AudioIndex, tmp_path: Path
) -> None:
    excerpt, _ = soundfile.read(
        folder / "sounds" / "long.wav", start=30 * RATE, stop=40 * RATE, dtype="int16"
    )
    soundfile.write(tmp_path / "query.wav", excerpt, RATE)
    hits = opened.search(model, audio=tmp_path / "query.wav", top_k=2)
    assert (hits[0].file, hits[0].start, hits[0].end) == (folder / "sounds" / "long.wav", 30.0, 40.0)
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    waveform = torch.from_numpy(excerpt / np.float32(32768))
    assert opened.search(model, audio=waveform, top_k=2)[0].start == 30.0


def test_only_the_best_window_of_a_file_is_a_hit_unless_all_are_asked_for(
    model: MLCLAP, opened: AudioIndex
) -> None:
    best = opened.search(model, text="a dog barks", top_k=20)
    every = opened.search(model, text="a dog barks", top_k=20, all_windows=True)
    assert sorted(hit.id for hit in best) == sorted(NAMES)
    assert len(every) == 3 + 6
    assert [hit.score for hit in every] == sorted((hit.score for hit in every), reverse=True)
    assert best == [
        next(hit for hit in every if hit.id == name) for name in dict.fromkeys(h.id for h in every)
    ]


def test_scores_are_cosines_of_the_models_embeddings(folder: Path, model: MLCLAP, opened: AudioIndex) -> None:
    (text,) = model.embed_text(["un chien aboie"], "fra_Latn").detach()
    for hit in opened.search(model, text="un chien aboie", language="fra_Latn", all_windows=True):
        sound, _ = soundfile.read(hit.file, dtype="float32")
        window = torch.from_numpy(sound[round(hit.start * RATE) : round(hit.end * RATE)])
        assert hit.score == pytest.approx(float(text @ model.embed_audio(window[None])[0].detach()), abs=1e-5)


def test_a_language_may_be_given_by_alias(model: MLCLAP, opened: AudioIndex) -> None:
    hits = opened.search(model, text="un chien aboie", language="fr")
    assert hits == opened.search(model, text="un chien aboie", language="fra_Latn")
    assert hits != opened.search(model, text="un chien aboie", language="eng_Latn")
    with pytest.raises(ValueError, match="klingon"):
        opened.search(model, text="un chien aboie", language="klingon")


def test_faiss_finds_what_numpy_finds(model: MLCLAP, opened: AudioIndex) -> None:
    pytest.importorskip("faiss")
    ours = opened.search(model, text="rain", top_k=3)
    theirs = opened.search(model, text="rain", top_k=3, engine="faiss")
    assert [hit.id for hit in ours] == [hit.id for hit in theirs]
    np.testing.assert_allclose([h.score for h in ours], [h.score for h in theirs], atol=1e-6)


def test_another_model_is_refused(model: MLCLAP, opened: AudioIndex) -> None:
    other = copy.deepcopy(model)
    torch.nn.init.zeros_(next(other.audio_proj.parameters()))
    with pytest.raises(AudioIndexError, match=r"was made with the model .* use that model"):
        opened.search(other, text="rain")


def test_a_query_is_a_text_or_a_sound(model: MLCLAP, opened: AudioIndex) -> None:
    with pytest.raises(ValueError, match="a text or an audio"):
        opened.search(model)
    with pytest.raises(ValueError, match="a text or an audio"):
        opened.search(model, text="rain", audio=torch.zeros(RATE))


def test_a_folder_that_is_no_index_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AudioIndexError, match="make one with `ml-clap index`"):
        AudioIndex.open(tmp_path)


def made_index(folder: Path, clip_of_vector: list[int], vectors: np.ndarray) -> AudioIndex:
    settings = IndexSettings(
        model="m",
        fingerprint="f",
        dim=vectors.shape[1],
        dtype="float32",
        window_seconds=1,
        hop_seconds=1,
        source="/",
        root="/",
    )
    writer = IndexWriter.create(folder, settings)
    writer.add_entries(
        [Entry(str(n), str(n), 0, 0, "", 1.0) for n in range(max(clip_of_vector, default=-1) + 1)]
    )
    spans = [(clip, float(row), row + 1.0) for row, clip in enumerate(clip_of_vector)]
    writer.add_windows(spans, vectors.astype(np.float32))
    writer.close()
    return AudioIndex.open(folder)


@pytest.mark.parametrize("engine", ["numpy", "faiss"])
def test_files_of_many_good_windows_do_not_crowd_out_others(tmp_path: Path, engine: str) -> None:
    if engine == "faiss":
        pytest.importorskip("faiss")
    vectors = np.linspace(1, 0, 400)[:, None] * np.eye(1, 8)
    index = made_index(tmp_path, [0] * 390 + list(range(1, 11)), vectors)
    (hits,) = index.nearest(np.eye(1, 8, dtype=np.float32), top_k=5, engine=engine)  # type: ignore[arg-type]
    assert [hit.id for hit in hits] == ["0", "1", "2", "3", "4"]
    assert hits[0].start == 0.0


def test_an_index_without_sound_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AudioIndexError, match="holds no sound"):
        made_index(tmp_path, [], np.zeros((0, 4))).nearest(np.zeros((1, 4), np.float32))


def test_queries_come_from_the_command_a_file_and_sounds(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("fra_Latn\tun chien aboie\n\nrain\n", encoding="utf-8")
    config = SearchConfig(
        index=tmp_path,
        query=("ein Hund",),
        lang="deu_Latn",
        queries=tmp_path / "q.txt",
        audio=(Path("a.wav"),),
    )
    assert read_queries(config) == [
        Query("ein Hund", "deu_Latn"),
        Query("un chien aboie", "fra_Latn"),
        Query("rain", "deu_Latn"),
        Query(audio=Path("a.wav")),
    ]


def test_the_command_answers_all_queries_and_writes_json(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = SearchConfig(
        index=folder / "index",
        query=("un chien aboie", "la pluie"),
        lang="fr",
        top_k=4,
        device="cpu",
        audio=(folder / "sounds" / "rain.wav",),
        json=tmp_path / "hits.json",
    )
    answers = search(config)
    printed = capsys.readouterr().out
    assert "un chien aboie [fra_Latn]" in printed
    assert "dog [x].wav" in printed
    assert "rain en français" in printed
    assert "3 queries in 4 clips, 9 windows (numpy, exact)" in printed
    assert answers[2][0].id == "rain"
    record = json.loads((tmp_path / "hits.json").read_text(encoding="utf-8"))
    assert [len(query["hits"]) for query in record["queries"]] == [4, 4, 4]
    assert record["queries"][2]["hits"][0]["file"] == str(folder / "sounds" / "rain.wav")
    assert record["queries"][0]["hits"][0]["score"] == answers[0][0].score


def test_a_sound_that_cannot_be_read_ends_no_search(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "page.wav"
    bad.write_text("<!DOCTYPE html><html></html>")
    sounds = (bad, folder / "sounds" / "rain.wav")
    path = tmp_path / "hits.json"
    config = SearchConfig(index=folder / "index", audio=sounds, device="cpu", json=path, top_k=1)
    assert search_verb(config) == 1
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [query["hits"][0]["id"] for query in record["queries"]] == ["rain"]
    assert [(bad["path"], "HTML" in bad["reason"]) for bad in record["bad_files"]] == [(str(bad), True)]
    assert "an HTML page" in caplog.text
    assert "1 query in" in capsys.readouterr().out
    with pytest.raises(AudioError, match="an HTML page"):
        search_verb(SearchConfig(index=folder / "index", audio=(bad,), device="cpu"))


def test_a_bad_query_is_listed_and_the_others_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lines = [b"\xef\xbb\xbfrain", b"xxx_Klin\tbortaS", b"caf\xe9", b"fra_Latn\t", b"a\0b", b"fr\tla pluie"]
    (tmp_path / "q.txt").write_bytes(b"\r\n".join(lines))
    path = tmp_path / "hits.json"
    texts = ("a dog barks", "half \udce9")
    config = SearchConfig(
        index=folder / "index", query=texts, queries=tmp_path / "q.txt", device="cpu", json=path, top_k=1
    )
    assert search_verb(config) == 1
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [query["text"] for query in record["queries"]] == ["a dog barks", "rain", "la pluie"]
    bad = {row["where"].rpartition("/")[2]: row["message"] for row in record["bad_rows"]}
    assert list(bad) == ["query 2", "q.txt:2", "q.txt:3", "q.txt:4", "q.txt:5"]
    for where, message in zip(
        bad, ("Unicode", "unknown language", "UTF-8", "no text", "not text"), strict=True
    ):
        assert message in bad[where], where
        assert where in caplog.text
    assert "3 queries in" in capsys.readouterr().out
    (tmp_path / "q.txt").write_bytes(b"RIFF\xff\0\0")
    with pytest.raises(ValueError, match=r"q\.txt:1: not UTF-8 text"):
        search_verb(SearchConfig(index=folder / "index", queries=tmp_path / "q.txt", device="cpu"))


def test_captions_and_names_move_no_cursor(
    folder: Path, model: MLCLAP, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "dog\x1b[2J\u202e.wav"
    soundfile.write(tmp_path / name, noise(1.0, 1), RATE)
    captions: dict[str, tuple[str, ...]] = {"eng_Latn": ("a dog\x1b]0;title\x07 barks",)}
    write_manifest(tmp_path / "m.jsonl", [Clip(id="a", audio=tmp_path / name, captions=captions)])
    update_index(model, tmp_path / "m.jsonl", tmp_path / "index", model_name=str(folder / "model"))
    search(SearchConfig(index=tmp_path / "index", query=("rain\x1b[1m",), device="cpu"))
    printed = capsys.readouterr().out
    assert not set(printed) & set("\x1b\x07\u202e")
    assert r"dog\x1b[2J\u202e.wav" in printed


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("index.json", b"[1]", r"index\.json: expected a JSON object"),
        ("index.json", b'{"format": 1}', r"index\.json: .*missing"),
        ("index.json", b'{"format": 1, "format": 1}', "stands twice"),
        ("entries-000000.jsonl", b'{"id": 3}\n' * 4, r"entries-000000\.jsonl:\d: "),
        ("entries-000000.jsonl", b"", "is damaged"),
        ("spans-000000.npy", b"no numpy", "."),
    ],
)
def test_a_damaged_index_names_its_file(
    folder: Path, model: MLCLAP, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    shutil.copytree(folder / "index", tmp_path / "index")
    (tmp_path / "index" / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        AudioIndex.open(tmp_path / "index").search(model, text="rain")


def test_a_moved_model_can_be_named(folder: Path, tmp_path: Path) -> None:
    (folder / "model").rename(folder / "renamed")
    try:
        search(
            SearchConfig(index=folder / "index", query=("rain",), model=str(folder / "renamed"), device="cpu")
        )
        with pytest.raises(ValueError, match="model"):
            search(SearchConfig(index=folder / "index", query=("rain",), device="cpu"))
    finally:
        (folder / "renamed").rename(folder / "model")


def test_a_search_for_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to search for"):
        SearchConfig(index=tmp_path)
    (tmp_path / "q.txt").write_text("\n")
    with pytest.raises(ValueError, match="holds no query"):
        read_queries(SearchConfig(index=tmp_path, queries=tmp_path / "q.txt"))


def test_times_are_written_as_a_player_shows_them() -> None:
    assert [clock(seconds) for seconds in (0, 9.96, 59.99, 3725.26)] == [
        "0:00.0",
        "0:10.0",
        "1:00.0",
        "1:02:05.3",
    ]


def test_a_query_that_is_cut_is_told_in_output_and_json(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "hits.json"
    queries = ("a dog barks " * 100, "a dog")
    search(SearchConfig(index=folder / "index", query=queries, device="cpu", json=out))
    (notice,) = json.loads(out.read_text())["notices"]
    assert notice.startswith("1 text is cut to the model's 128 tokens: ")
    assert notice in caplog.text


@pytest.fixture(scope="module")
def tower(folder: Path, model: MLCLAP) -> Path:
    """The folder of a text tower that was made for the index's model: its own."""
    from ml_clap.models.text_tower import TextTower

    TextTower.of_model(model, str(folder / "model")).save_pretrained(folder / "tower")
    return folder / "tower"


def test_a_text_tower_answers_texts_without_the_model(
    folder: Path, tower: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = SearchConfig(index=folder / "index", query=("a dog barks", "la pluie"), lang="fra_Latn")
    expected = search(config)
    monkeypatch.setattr("ml_clap.models.loading.load_model", None)
    found = search(dataclasses.replace(config, text_tower=tower))
    assert [[hit.id for hit in hits] for hits in found] == [[hit.id for hit in hits] for hits in expected]
    assert [hit.score for hit in found[0]] == pytest.approx([hit.score for hit in expected[0]], abs=1e-5)
    assert f"texts are embedded without torch: {tower} (NumPy's" in caplog.text


def test_beside_a_text_tower_the_model_hears_sounds(folder: Path, tower: Path) -> None:
    audio = folder / "sounds" / "rain.wav"
    config = SearchConfig(index=folder / "index", query=("a dog barks",), audio=(audio,), text_tower=tower)
    found = search(config)
    assert found[1][0].file == audio
    assert [hit.id for hit in found[0]] == [
        hit.id for hit in search(SearchConfig(index=folder / "index", query=("a dog barks",)))[0]
    ]


def test_a_text_tower_of_another_model_is_refused(folder: Path, tower: Path, tmp_path: Path) -> None:
    shutil.copytree(tower, tmp_path / "tower")
    path = tmp_path / "tower" / "text_tower.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0123"}))
    config = SearchConfig(index=folder / "index", query=("a dog",), text_tower=tmp_path / "tower")
    with pytest.raises(ValueError, match=r"text tower was made for the model .* \(fingerprint 0123\)"):
        search(config)


def test_what_a_text_tower_cuts_is_said(folder: Path, tower: Path, caplog: pytest.LogCaptureFixture) -> None:
    search(SearchConfig(index=folder / "index", query=("dog " * 300,), text_tower=tower))
    assert "1 text is cut to the model's 128 tokens" in caplog.text


def test_a_composed_query_is_the_normalized_sum_of_unit_vectors(
    folder: Path, model: MLCLAP, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rain = str(folder / "sounds" / "rain.wav")
    config = SearchConfig(
        index=folder / "index",
        query=("a dog barks",),
        add=(rain,),
        subtract=("la pluie",),
        lang="fr",
        device="cpu",
        json=tmp_path / "hits.json",
    )
    (hits,) = search(config)
    dog, wet = model.encode_text(["a dog barks", "la pluie"], "fra_Latn").numpy()
    whole = dog + model.encode_audio(rain).numpy() - wet
    opened = AudioIndex.open(folder / "index")
    (expected,) = opened.nearest((whole / np.linalg.norm(whole))[None])
    assert [hit.id for hit in hits] == [hit.id for hit in expected]
    np.testing.assert_allclose([h.score for h in hits], [h.score for h in expected], atol=1e-5)
    assert f"a dog barks [fra_Latn] + sounds like {rain} - la pluie [fra_Latn]" in (
        capsys.readouterr().out.replace("\n", "")
    )
    (query,) = json.loads((tmp_path / "hits.json").read_text(encoding="utf-8"))["queries"]
    assert (query["plus"][0]["audio"], query["minus"][0]["text"]) == (rain, "la pluie")
    retriever = Retriever(model, str(folder / "model"))
    (found,) = retriever.search(opened, "a dog barks", add=[rain], subtract="la pluie", lang="fr")
    assert [hit.id for hit in found.hits] == [hit.id for hit in hits]


def test_a_part_of_several_queries_is_read_once(
    folder: Path, model: MLCLAP, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audio_common import waveform

    rain = folder / "sounds" / "rain.wav"
    read: list[object] = []

    def reading(sound: object, **settings: Any) -> torch.Tensor:
        read.append(sound)
        return as_waveform(sound, **settings)

    as_waveform = waveform.as_waveform
    monkeypatch.setattr(waveform, "as_waveform", reading)
    plus = (Query(audio=rain),)
    vectors = embed_queries(model, [Query(text=text, plus=plus) for text in ("a dog", "a cat", "wind")])
    assert read == [rain]
    alone = [embed_queries(model, [Query(text=text, plus=plus)])[0] for text in ("a dog", "a cat", "wind")]
    np.testing.assert_allclose(vectors, alone, atol=1e-6)


def test_parts_that_cancel_out_or_cannot_be_read_end_no_search(folder: Path, model: MLCLAP) -> None:
    config = SearchConfig(index=folder / "index", query=("rain", "dog"), subtract=("rain",), device="cpu")
    bad = BadQueries()
    assert len(search(config, bad)) == 1
    assert [row.message for row in bad.rows] == [
        "rain [eng_Latn] - rain [eng_Latn]: its parts cancel each other out"
    ]
    with pytest.raises(ValueError, match="cancel each other out"):
        Retriever(model).search(folder / "index", "rain", subtract="rain")
    with pytest.raises(FileNotFoundError, match=r"there is no file nowhere\.wav"):
        search(SearchConfig(index=folder / "index", query=("rain",), add=("nowhere.wav",), device="cpu"))
    with pytest.raises(ValueError, match="an empty text"):
        SearchConfig(index=folder / "index", query=("rain",), add=(" ",))


def test_the_command_filters_and_collapses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = SearchConfig(index=folder / "index", query=("rain",), device="cpu")
    (hits,) = search(dataclasses.replace(config, where=("id!=rain", "duration<10"), folder=(Path("sounds"),)))
    assert sorted(hit.id for hit in hits) == ["dog [x]", "été"]
    assert "1 query in 2 of 9 windows (numpy, exact)" in capsys.readouterr().out
    (none,) = search(dataclasses.replace(config, folder=(Path("elsewhere"),)))
    assert none == []
    assert "nothing found: no clip passes the filter" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no clip of the index has the key 'colour'"):
        search(dataclasses.replace(config, where=("colour=red",)))
    search(dataclasses.replace(config, duplicates=0.01, threshold="none"))
    assert " (and " in capsys.readouterr().out
    (few,) = Retriever(MLCLAP.from_pretrained(folder / "model")).search(
        folder / "index", "rain", where="id=rain", folder="sounds", duplicates=0.5
    )
    assert [hit.id for hit in few.hits] == ["rain"]
    with pytest.raises(ValueError, match="duplicates: a cosine between 0 and 1, got 2"):
        dataclasses.replace(config, duplicates=2.0)


def test_index_and_search_by_lancedb(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lancedb")
    settings = {"out": tmp_path / "index", "model": str(folder / "model"), "device": "cpu"}
    index(
        IndexConfig(source=folder / "clips.jsonl", engine="lancedb", lance=str(tmp_path / "copy"), **settings)
    )  # type: ignore[arg-type]
    assert "searched by lancedb, exact, version 1" in capsys.readouterr().out
    assert (tmp_path / "copy").is_dir()
    config = SearchConfig(index=tmp_path / "index", query=("rain",), device="cpu", where=("duration<10",))
    theirs = search(dataclasses.replace(config, engine="lancedb"))
    assert "(lancedb, exact, version 1)" in capsys.readouterr().out
    ours = search(config)
    # LanceDB's hits are ranked again as a matrix of other rows: the last bit of a score may differ.
    assert [hit.score for hit in theirs[0]] == pytest.approx([hit.score for hit in ours[0]], abs=1e-6)
    assert [dataclasses.replace(a, score=b.score) for a, b in zip(theirs[0], ours[0], strict=True)] == ours[0]
    (found,) = Retriever.from_pretrained(folder / "model").search(
        tmp_path / "index", "rain", where="duration<10", engine="lancedb"
    )
    assert [hit.id for hit in found.hits] == [hit.id for hit in theirs[0]]
