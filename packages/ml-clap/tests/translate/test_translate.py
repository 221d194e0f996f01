"""`ml-clap translate` from a manifest to one that can be trained on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ml_clap.cli import main, read
from ml_clap.config.translate import TranslateConfig
from ml_clap.data.enhancement import epoch_captions
from ml_clap.data.manifest import read_manifest
from ml_clap.translate import translate as module
from ml_clap.translate.translate import translate_manifest, translate_verb
from ml_clap.translate.translator import Translation

WORDS = {
    "A dog barks twice.": "Un chien aboie deux fois.",
    "Rain falls on a roof.": "La pluie tombe sur un toit.",
    "A man speaks, then a car passes by.": "Il fait beau.",  # wrong, and it shows when translated back
    "Birds sing.": "...",
    "A very long caption.": "",
}
BACK = {"Il fait beau.": "The weather is fine.", **{french: english for english, french in WORDS.items()}} | {
    "Il fait beau.": "The weather is fine."
}


class Dictionary:
    """Translates what it knows; counts its calls."""

    name, revision, licence = "dictionary", "1", "CC0-1.0"
    languages = frozenset({"eng_Latn", "fra_Latn", "deu_Latn"})
    max_source_tokens = 8

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, list[str]]] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translation]:
        self.asked.append((source, target, list(texts)))
        words = BACK if target == "eng_Latn" else WORDS
        return [Translation(words[text], is_finished=True) for text in texts]


@pytest.fixture
def dictionary(monkeypatch: pytest.MonkeyPatch) -> Dictionary:
    made = Dictionary()
    monkeypatch.setattr(module, "load_translator", lambda *_, **__: made)
    return made


def config(manifest: Path, out: Path, **settings: Any) -> TranslateConfig:
    chosen: dict[str, Any] = {"languages": ("fr",), "translator": "dictionary", "device": "cpu"} | settings
    return TranslateConfig(data=manifest, out=out, **chosen)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_accepted_captions_join_the_manifest_and_rejected_ones_are_listed(
    manifest: Path, tmp_path: Path, dictionary: Dictionary, capsys: pytest.CaptureFixture[str]
) -> None:
    assert translate_verb(config(manifest, tmp_path / "out", licence=None)) == 0
    rows = rows_of(tmp_path / "out/manifest.jsonl")
    assert [row["captions"].get("fra_Latn") for row in rows] == [
        ["Un chien aboie deux fois."],
        ["La pluie tombe sur un toit."],
        ["Un chien aboie deux fois."],
        None,
        ["Des oiseaux chantent."],  # a person's stays, and is not joined by a machine's
    ]
    assert rows[0]["translations"] == {
        "fra_Latn": [
            {
                "source": "A dog barks twice.",
                "source_language": "eng_Latn",
                "translator": "dictionary",
                "revision": "1",
                "licence": "CC0-1.0",
                "agreement": 100.0,
            }
        ]
    }
    assert "translations" not in rows[3]
    assert "translations" not in rows[4]
    assert [(row["recordist"], row["licence"]) for row in rows] == [("somebody", "CC-BY-4.0")] * 5
    (rejected,) = rows_of(tmp_path / "out/rejected.jsonl")
    assert rejected["clip"] == "clip-3"
    assert rejected["translation"] == "Il fait beau."
    assert rejected["back_translation"] == "The weather is fine."
    assert rejected["reasons"] == ["agreement"]
    assert rejected["agreement"] < 20
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["languages"]["fra_Latn"]["captions"] == 3
    assert report["languages"]["fra_Latn"]["clips_with_own"] == 1
    assert report["languages"]["fra_Latn"]["reasons"] == {"agreement": 1}
    assert "fra_Latn" in capsys.readouterr().out


def test_equal_captions_are_translated_once_in_batches_of_like_length(
    manifest: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    translate_manifest(config(manifest, tmp_path / "out", batch_size=2))
    forth = [texts for source, _, texts in dictionary.asked if source == "eng_Latn"]
    assert forth == [
        ["A dog barks twice.", "Rain falls on a roof."],
        ["A man speaks, then a car passes by."],
    ]


def test_the_manifest_can_be_trained_on_in_the_new_language(
    manifest: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    translate_manifest(config(manifest, tmp_path / "out"))
    clips = read_manifest(tmp_path / "out/manifest.jsonl")
    assert clips[0].audio == manifest.parent / "0.wav"
    samples = epoch_captions(clips, languages=["fra_Latn"], rate=1.0)
    assert sum(sample.language == "fra_Latn" for sample in samples) == 4


def test_a_second_language_goes_on_from_the_first_ones_manifest(
    manifest: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    translate_manifest(config(manifest, tmp_path / "one"))
    translate_manifest(config(tmp_path / "one/manifest.jsonl", tmp_path / "two", languages=("de",)))
    row = rows_of(tmp_path / "two/manifest.jsonl")[0]
    assert set(row["captions"]) == {"eng_Latn", "fra_Latn", "deu_Latn"}
    assert set(row["translations"]) == {"fra_Latn", "deu_Latn"}


def test_only_the_splits_that_are_named_are_translated(
    manifest: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    translate_manifest(config(manifest, tmp_path / "out", languages=("de",), splits=("test",)))
    rows = rows_of(tmp_path / "out/manifest.jsonl")
    assert len(rows) == 5
    assert not any("deu_Latn" in row["captions"] for row in rows[:4])
    (rejected,) = rows_of(tmp_path / "out/rejected.jsonl")
    assert (rejected["clip"], rejected["reasons"]) == ("clip-4", ["no words"])
    with pytest.raises(ValueError, match=r"is of the splits none; there are test, train"):
        translate_manifest(config(manifest, tmp_path / "out2", splits=("none",)))


def test_what_the_translator_cannot_read_whole_is_listed_and_not_cut(
    tmp_path: Path, dictionary: Dictionary
) -> None:
    manifest = tmp_path / "long.jsonl"
    texts = ["A dog barks twice.", "a b c d e f g h i"]
    rows = [{"id": str(n), "audio": "a.wav", "captions": text} for n, text in enumerate(texts)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"id": "x"}]))
    settings = config(manifest, tmp_path / "out", json=tmp_path / "report.json")
    assert translate_verb(settings) == 1  # a line of the manifest is left out
    (rejected,) = rows_of(tmp_path / "out/rejected.jsonl")
    assert rejected["translation"] is None
    assert rejected["reasons"] == ["longer than the translator reads: 9 tokens of 8"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert "long.jsonl:3: the key 'audio' is missing" in report["bad_rows"][0]


def test_similarity_limits_by_language_reject(
    manifest: Path, judge: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    settings = {"judge": str(judge), "back_translate": False}
    translate_manifest(config(manifest, tmp_path / "all", min_similarity=("1.1", "fra=-1"), **settings))
    assert not rows_of(tmp_path / "all/rejected.jsonl")
    entry = rows_of(tmp_path / "all/manifest.jsonl")[0]["translations"]["fra_Latn"][0]
    assert -1 <= entry["similarity"] <= 1
    assert "agreement" not in entry
    translate_manifest(config(manifest, tmp_path / "none", min_similarity=("1.1",), **settings))
    assert {tuple(row["reasons"]) for row in rows_of(tmp_path / "none/rejected.jsonl")} == {("similarity",)}


def test_a_gate_of_human_pairs_sets_the_threshold_and_fits_its_judge_alone(
    manifest: Path, judge: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    human, gate = tmp_path / "human.jsonl", tmp_path / "gate.json"
    captions = [{"en": f"A dog barks {n} times.", "fr": f"Un chien aboie {n} fois."} for n in range(12)]
    rows = [{"id": str(n), "audio": "a.wav", "captions": each} for n, each in enumerate(captions)]
    human.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(["gate", str(human), "--judge", str(judge), "--out", str(gate), "--min_pairs", "10", "-q"])
    threshold = json.loads(gate.read_text())["languages"]["fra_Latn"]["similarity"]
    settings = {"judge": str(judge), "gate": gate, "languages": ("fr", "de")}
    translate_manifest(config(manifest, tmp_path / "out", **settings))
    report = json.loads((tmp_path / "out/report.json").read_text())["languages"]
    # German was not measured: the median of all, and the page says so
    assert report["fra_Latn"]["least_similarity"] == report["deu_Latn"]["least_similarity"] == threshold
    for row in rows_of(tmp_path / "out/rejected.jsonl"):
        if "similarity" in row["reasons"]:
            assert row["similarity"] < threshold
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("No human pairs of this language") == 1
    with pytest.raises(ValueError, match="measured with another judge or prefix"):
        translate_manifest(config(manifest, tmp_path / "other", judge_prefix="query: ", **settings))


def test_the_page_shows_samples_and_histograms_and_escapes_what_it_shows(
    tmp_path: Path, dictionary: Dictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WORDS, "A <b>dog</b>.", "Un <script>chien</script>.")
    monkeypatch.setitem(BACK, "Un <script>chien</script>.", "A dog.")
    manifest = tmp_path / "manifest.jsonl"
    rows = [
        {"id": str(n), "audio": "a.wav", "captions": text}
        for n, text in enumerate(["A <b>dog</b>.", "A dog barks twice.", "Rain falls on a roof."])
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pages = []
    for name, number in (("a", 1), ("b", 1), ("c", 3)):
        translate_manifest(config(manifest, tmp_path / name, num_samples=number, languages=("fr", "de")))
        pages.append((tmp_path / name / "report.html").read_text())
    assert pages[0] == pages[1]  # drawn by seed
    assert "3 of 3 accepted" in pages[2]
    assert "1 of 3 accepted" in pages[0]
    assert "Un &lt;script&gt;chien&lt;/script&gt;." in pages[2]
    assert "<script>" not in pages[2]
    for language in ("fra_Latn", "deu_Latn"):
        picture = (tmp_path / f"a/scores-{language}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert picture == (tmp_path / f"b/scores-{language}.png").read_bytes()
        assert f'src="scores-{language}.png"' in pages[0]


def test_a_stopped_command_goes_on_and_gives_the_same(
    manifest: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    translate_manifest(config(manifest, tmp_path / "whole", batch_size=1))
    whole = dictionary.asked.copy()
    dictionary.asked.clear()
    translate_manifest(config(manifest, tmp_path / "whole", batch_size=1))
    assert dictionary.asked == []  # nothing is done twice
    for kept in (1, 2, 4):
        out = tmp_path / f"stopped-{kept}"
        out.mkdir()
        lines = (tmp_path / "whole/journal.jsonl").read_bytes().splitlines(keepends=True)
        (out / "journal.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][:20])  # a kill cut a line
        translate_manifest(config(manifest, out, batch_size=1))
        assert dictionary.asked == whole[kept - 1 :]
        dictionary.asked.clear()
        for name in ("manifest.jsonl", "rejected.jsonl", "report.html", "journal.jsonl"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_another_translator_does_not_go_on_from_the_journal(
    manifest: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    translate_manifest(config(manifest, tmp_path / "out"))
    with pytest.raises(ValueError, match=r"begun with other settings \(num_beams was 4 and is 1\)"):
        translate_manifest(config(manifest, tmp_path / "out", num_beams=1))


def test_limits_can_change_without_translating_again(
    manifest: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    translate_manifest(config(manifest, tmp_path / "out"))
    dictionary.asked.clear()
    translate_manifest(config(manifest, tmp_path / "out", min_agreement=("0",)))
    assert dictionary.asked == []
    assert rows_of(tmp_path / "out/rejected.jsonl") == []


@pytest.mark.parametrize("family", ["nllb", "m2m100", "madlad"])
def test_a_model_of_each_family_from_the_command_line(
    family: str, request: pytest.FixtureRequest, manifest: Path, judge: Path, tmp_path: Path
) -> None:
    words = [
        "translate",
        str(manifest),
        "--languages",
        "fra",
        "deu_Latn",
        "ja",
        "--out",
        str(tmp_path / "out"),
    ]
    words += ["--translator", str(request.getfixturevalue(family)), "--judge", str(judge), "--device", "cpu"]
    main([*words, "--min_agreement", "0", "--num_beams", "2", "--max_tokens", "6", "-q"])
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert {code: each["captions"] for code, each in report["languages"].items()} == {
        "fra_Latn": 3,
        "deu_Latn": 4,
        "jpn_Jpan": 4,
    }
    accepted = [row.get("translations", {}) for row in rows_of(tmp_path / "out/manifest.jsonl")]
    rejected = rows_of(tmp_path / "out/rejected.jsonl")
    # every caption of every clip and language is in one of the two: nothing is dropped
    assert sum(len(each) for row in accepted for each in row.values()) + len(rejected) == 4 + 5 + 5


def test_a_kill_in_the_midst_loses_one_batch_at_most(nllb: Path, manifest: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ml_clap", "translate", str(manifest), "--languages", "fra", "deu"]
    words += ["--translator", str(nllb), "--batch_size", "1", "--max_tokens", "6", "--device", "cpu", "-q"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*words, "--out", str(killed)])
    journal = killed / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
        time.sleep(0.02)  # a core is left to it
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = journal.read_bytes()
    main([*words[3:], "--out", str(killed)])
    main([*words[3:], "--out", str(whole)])
    assert journal.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    for name in ("manifest.jsonl", "rejected.jsonl", "journal.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(os.listdir(killed)) == sorted(os.listdir(whole))


def test_settings_that_cannot_work_are_refused(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("translate", str(manifest), "--out", str(tmp_path), "--translator", "a/b")
    for further, message in (
        ((), "languages: into which?"),
        (("--languages", "fr", "--min_similarity", "0.8"), "similarity needs a judge"),
        (
            ("--languages", "fr", "--min_agreement", "much"),
            "expected a number or LANGUAGE=NUMBER, got 'much'",
        ),
        (("--languages", "fr", "--min_agreement", "1", "2"), "is given twice"),
    ):
        with pytest.raises(ValueError, match=message.replace("?", r"\?")):
            read([*words, *further])
    with pytest.raises(SystemExit):
        main([*words[:4], "--languages", "klingon", "--translator", str(tmp_path)])
    assert "unknown language 'klingon'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words[:4], "--languages", "fr", "--translator", str(tmp_path / "none")])
    assert "there is no model folder" in capsys.readouterr().err
    with pytest.raises(ValueError, match="each once, and not the source language eng_Latn"):
        module.read_languages(["fr", "fra"], "eng_Latn")


def test_clips_without_a_caption_to_translate_from_are_counted(
    tmp_path: Path, dictionary: Dictionary, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = tmp_path / "mixed.jsonl"
    captions = [{"en": "Rain falls on a roof."}, {"de": "Regen."}]
    rows = [{"id": str(n), "audio": "a.wav", "captions": each} for n, each in enumerate(captions)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = translate_manifest(config(manifest, tmp_path / "out"))
    assert report.num_without_source == 1
    assert "1 clip without a caption to translate from" in caplog.text
    with pytest.raises(ValueError, match="has no caption in spa_Latn: nothing to translate"):
        translate_manifest(config(manifest, tmp_path / "none", source_language="es"))
