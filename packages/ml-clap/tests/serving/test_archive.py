"""An archive answers texts, sounds and its own windows, and says what it does not show."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_common.reader import AudioError
from ml_clap.cli import main
from ml_clap.config.serve import ServeConfig
from ml_clap.data.languages import SONAR_LANGUAGES
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.calibration import Calibration, LanguageCalibration, Point, write_calibration
from ml_clap.serving.archive import Archive, Wanted
from ml_clap.serving.render import record_found, render_found


@pytest.fixture(scope="module")
def archive(index_folder: Path) -> Iterator[Archive]:
    archive = Archive.open(ServeConfig(index=index_folder / "index", device="cpu"))
    yield archive
    archive.close()


def test_a_text_is_answered_as_the_command_does(archive: Archive, index_folder: Path) -> None:
    found = archive.by_text("a dog barks", "English", Wanted(top_k=3))
    hits = archive.index.search(archive.model, text="a dog barks", top_k=3)
    assert found.result.hits == hits
    assert found.result.threshold is None


def test_an_approximate_index_is_used_where_there_is_one(
    archive: Archive, index_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    assert archive.engine == "numpy"
    shutil.copytree(index_folder / "index", tmp_path / "index")
    (tmp_path / "index" / "faiss-ivf").mkdir()
    monkeypatch.setattr("ml_clap.search.engines.FLAT_ROWS", 3)
    other = Archive(AudioIndex.open(tmp_path / "index"), archive.model)
    try:
        wanted = Wanted(top_k=2)
        hits = [one.by_text("a dog barks", "English", wanted).result.hits for one in (archive, other)]
        assert [hit.id for hit in hits[0]] == [hit.id for hit in hits[1]]
        assert "approximate" in other.index.engine(other.engine).description
    finally:
        other.close()


def test_languages_are_those_of_the_model_and_found_by_name(archive: Archive) -> None:
    assert archive.languages == SONAR_LANGUAGES
    french, english = (archive.by_text("un chien aboie", name, Wanted()) for name in ("français", "en"))
    assert french.result.query.language == "fra_Latn"
    assert not np.allclose(french.vector, english.vector)
    with pytest.raises(ValueError, match="unknown language"):
        archive.by_text("a dog", "Klingon", Wanted())
    archive.languages = ("eng_Latn",)
    try:
        with pytest.raises(ValueError, match="does not read French: it reads eng_Latn"):
            archive.by_text("un chien aboie", "French", Wanted())
    finally:
        archive.languages = SONAR_LANGUAGES


@pytest.mark.parametrize(("folder", "num_files"), [("", 5), ("day", 3), ("night", 2), ("night/late", 1)])
def test_a_folder_narrows_the_search(archive: Archive, folder: str, num_files: int) -> None:
    assert archive.folders == ["day", "night", "night/late"]
    hits = archive.by_text("rain falls", "eng_Latn", Wanted(top_k=20, folder=folder)).result.hits
    assert len(hits) == num_files
    assert all(hit.id.startswith(folder) for hit in hits)


@pytest.mark.parametrize(
    "wanted", [Wanted(folder="elsewhere"), Wanted(folder="../x"), Wanted(top_k=0), Wanted(top_k=51)]
)
def test_what_cannot_be_wanted_is_refused(archive: Archive, wanted: Wanted) -> None:
    with pytest.raises(ValueError, match=r"has no folder|top_k must be 1 to 50"):
        archive.by_text("rain falls", "eng_Latn", wanted)


def test_more_like_this_leaves_out_the_clip_itself(archive: Archive) -> None:
    hit = archive.by_text("rain falls", "eng_Latn", Wanted(top_k=1)).result.hits[0]
    row = archive.row_of(hit)
    assert archive.span_of(row) == (hit.file, hit.start, hit.end)
    found = archive.like(row, Wanted(top_k=10))
    assert len(found.result.hits) == 4
    assert hit.file not in {one.file for one in found.result.hits}
    assert str(found.result.query) == f"sounds like {hit.id}, 0:{hit.start:04.1f} to 0:{hit.end:04.1f}"
    with pytest.raises(ValueError, match="and no 99"):
        archive.like(99, Wanted())


def test_a_sound_finds_itself(archive: Archive, tmp_path: Path) -> None:
    file, start, end = archive.span_of(0)
    samples, rate = soundfile.read(file)
    soundfile.write(
        tmp_path / "part.wav", samples[round(start * rate) : round(end * rate)], rate, subtype="FLOAT"
    )
    found = archive.by_sound(tmp_path / "part.wav", "my sound.wav", Wanted(top_k=1))
    assert found.result.hits[0].file == file
    assert found.result.hits[0].score > 0.999
    assert str(found.result.query) == "sounds like my sound.wav"
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError):
        archive.by_sound(tmp_path / "bad.wav", "bad.wav", Wanted())


def test_what_scores_below_the_calibrated_threshold_is_shown_only_when_asked_for(
    archive: Archive, index_folder: Path, tmp_path: Path
) -> None:
    everything = archive.by_text("rain falls", "eng_Latn", Wanted()).result.hits
    between = (everything[1].score + everything[2].score) / 2
    points = tuple(
        Point(num_windows=size, threshold=between, low=0.0, high=1.0, found=0.5) for size in (1, 1000)
    )
    language = LanguageCalibration(
        num_texts=9, num_clips=9, num_right_pairs=9, num_wrong_pairs=9, points=points
    )
    fingerprint = archive.index.settings.fingerprint
    calibration = Calibration(
        model="m", fingerprint=fingerprint, data="d", false_positives=0.2, languages={"eng_Latn": language}
    )
    write_calibration(tmp_path / "c.json", calibration)
    config = ServeConfig(index=index_folder / "index", calibration=tmp_path / "c.json", device="cpu")
    calibrated = Archive.open(config)
    try:
        found = calibrated.by_text("rain falls", "eng_Latn", Wanted())
        assert found.result.hits == everything[:2]
        html = render_found(calibrated, found)
        assert html.count("<article>") == 2
        assert f"(threshold {between:.3f})" in html
        assert "3 more clips not shown: the best scores" in html
        shown = calibrated.by_text("rain falls", "eng_Latn", Wanted(show_all=True))
        assert [hit.file for hit in shown.result.hits] == [hit.file for hit in everything]
        assert render_found(calibrated, shown).count(f"(below {between:.3f})") == 3
        record = record_found(calibrated, found)
        assert record["threshold"] == pytest.approx(between)
        assert "not shown" in record["said"]
        other = calibrated.by_text("un chien aboie", "fra_Latn", Wanted())
        assert other.notices == ("not calibrated, so every score is a hit: fra_Latn",)
    finally:
        calibrated.close()


def test_a_page_has_players_from_the_hit_on_and_pictures_that_mark_it(archive: Archive) -> None:
    found = archive.by_text("rain falls", "eng_Latn", Wanted(top_k=5))
    html = render_found(archive, found)
    assert html.count("<audio controls") == html.count('src="data:image/png') == 5
    for hit in found.result.hits:
        address = f"/api/sound/{archive.row_of(hit)}/"
        begins = hit.start if hit.file.suffix != ".aiff" else min(hit.start, 5.0)
        assert address in html
        assert begins == 0.0 or f"#t={begins:.2f}" in html
    assert "<b>" not in html
    assert "most like the query at" in html
    assert str(archive.index.settings.root) not in html


def test_an_archive_tells_its_size_its_model_and_the_licences(archive: Archive) -> None:
    first, second, third = archive.about.lines()
    assert first == "5 clips in index, 0:50 of sound, 15 vectors (windows of 4 s)"
    assert "served" in second
    assert "licence of its weights: audio unknown" in second
    assert third == "Licences of the sounds: not named by the index"
    licences = (("CC0", 3), ("CC-BY-4.0", 2), ("a", 1), ("b", 1), ("c", 1))
    named = replace(archive.about, sound_licences=licences).lines()[2]
    assert named == "Licences of the sounds: CC0 (3), CC-BY-4.0 (2), a (1), b (1), 1 more"


def test_what_cannot_be_served_is_refused_before_the_model_is_loaded(
    tmp_path: Path, index_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        ([str(tmp_path)], "is no index: `ml-clap index` makes one"),
        ([str(index_folder / "index"), "--calibration", str(tmp_path / "c.json")], "c.json"),
        ([str(index_folder / "index"), "--top_k", "51"], "top_k must be 1 to 50, got 51"),
        ([str(index_folder / "index"), "--lang", "Klingon"], "unknown language"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["serve", *words])
        assert end.value.code == 2
        assert message in capsys.readouterr().err
