"""`ml-clap evaluate`: the metrics of one-by-one embeddings, each thing encoded once, the authors' batches."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import load_audio
from audio_common.config import CEDConfig
from audio_common.prefetch import AudioSpan
from audio_common.scenes.scene import random_scene, render
from audio_common.scenes.text import caption
from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.model import ModelConfig
from ml_clap.data.manifest import Clip, ManifestError, read_split, write_manifest
from ml_clap.evaluators.captions import choose_languages, reference_batches
from ml_clap.evaluators.evaluate import evaluate, evaluate_verb
from ml_clap.evaluators.results import METRICS, RetrievalMetrics
from ml_clap.evaluators.retrieval import rank_audio_to_text, rank_text_to_audio
from ml_clap.evaluators.retrieval_evaluation import evaluate_retrieval
from ml_clap.evaluators.statistics import summarize
from ml_clap.models.encoding import encode_files
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder

LANGUAGES = ("eng_Latn", "fra_Latn", "jpn_Jpan")
RATE = 16_000


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Twelve scenes of 1.2 to 2.3 s with two captions in each of three languages."""
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for number in range(12):
        scene = random_scene(number, num_events=1, seconds=1.2 + 0.1 * (number * 5 % 12))
        path = folder / f"{number}.wav"
        # Loud and quiet ones by turns, so that the authors' dB floor over a batch does something.
        soundfile.write(path, render(scene) * (1.0 if number % 2 else 0.002), RATE, subtype="FLOAT")
        captions = {
            code: tuple(f"{caption(scene, code, variant=v)} {number}" for v in (0, 1)) for code in LANGUAGES
        }
        made.append(Clip(f"clip-{number}", path, captions, split="test"))
    return made


@pytest.fixture(scope="module")
def model_folder(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    texts = [text for clip in clips for each in clip.captions.values() for text in each]
    encoder = create_small_text_encoder(
        folder / "text", texts, vocab_size=200, dim=16, layers=1, heads=2, languages=LANGUAGES
    )
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2, num_classes=2)
    config = ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)
    MLCLAP(config).save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture
def model(model_folder: Path) -> MLCLAP:
    return MLCLAP.from_pretrained(model_folder)


@torch.inference_mode()
def one_by_one(
    model: MLCLAP, clips: Sequence[Clip], language: str
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    audio = torch.cat([model.embed_audio(load_audio(clip.audio)[None]) for clip in clips])
    texts = [(text, place) for place, clip in enumerate(clips) for text in clip.captions.get(language, ())]
    captions = torch.cat([model.embed_text([text], language) for text, _ in texts])
    return audio, captions, [place for _, place in texts]


def numbers(metrics: RetrievalMetrics) -> list[float]:
    return [getattr(metrics, name) for name in METRICS]


def test_metrics_are_those_of_clips_and_captions_one_by_one(model: MLCLAP, clips: list[Clip]) -> None:
    report = evaluate_retrieval(model, clips)
    assert list(report.languages) == list(LANGUAGES)
    for language, result in report.languages.items():
        alone = one_by_one(model, clips, language)
        assert result.text_to_audio == summarize(rank_text_to_audio(*alone))
        assert result.audio_to_text == summarize(rank_audio_to_text(*alone))
        assert (result.text_to_audio.num_queries, result.text_to_audio.num_candidates) == (24, 12)
        assert (result.audio_to_text.num_queries, result.audio_to_text.num_candidates) == (12, 24)
    mean = np.mean([each.text_to_audio.meanr for each in report.languages.values()])
    assert report.average.text_to_audio.meanr == pytest.approx(mean)


def test_each_clip_is_encoded_once_for_all_languages_and_each_caption_once(
    model: MLCLAP, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_audio, encode_text = model.embed_audio, model.embed_text
    counts = {"audio": 0, "text": 0}

    def audio(waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        counts["audio"] += len(waveforms)
        return encode_audio(waveforms, lengths)

    def text(texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
        counts["text"] += len(texts)
        return encode_text(texts, languages)

    monkeypatch.setattr(model, "embed_audio", audio)
    monkeypatch.setattr(model, "embed_text", text)
    evaluate_retrieval(model, clips)
    assert counts == {"audio": 12, "text": 12 * 2 * 3}


def test_a_language_is_evaluated_on_the_clips_that_have_it(model: MLCLAP, clips: list[Clip]) -> None:
    ragged = [
        dataclasses.replace(
            clip,
            captions={"eng_Latn": clip.captions["eng_Latn"][: 1 + place % 2]}
            | ({"fra_Latn": clip.captions["fra_Latn"]} if place % 3 == 0 else {}),
        )
        for place, clip in enumerate(clips)
    ]
    report = evaluate_retrieval(model, ragged, num_samples=20)
    english, french = report.languages["eng_Latn"], report.languages["fra_Latn"]
    assert (english.text_to_audio.num_queries, english.text_to_audio.num_candidates) == (18, 12)
    assert (french.text_to_audio.num_queries, french.text_to_audio.num_candidates) == (8, 4)
    only_french = evaluate_retrieval(model, ragged[::3], ["fr"]).languages["fra_Latn"]
    assert dataclasses.replace(french.text_to_audio, intervals={}) == only_french.text_to_audio
    assert report.consistency is None


def test_bad_files_are_skipped_and_reported(model: MLCLAP, clips: list[Clip], tmp_path: Path) -> None:
    broken = dataclasses.replace(clips[0], id="broken", audio=tmp_path / "broken.wav")
    broken.audio.write_bytes(b"RIFF")
    report = evaluate_retrieval(model, [*clips[:4], broken, *clips[4:]])
    assert [file.path for file in report.bad_files] == [broken.audio]
    assert report.num_clips == 12
    assert report.languages == evaluate_retrieval(model, clips).languages
    with pytest.raises(
        ValueError, match=r"none of the clips with captions in eng_Latn could be read.*broken"
    ):
        evaluate_retrieval(model, [broken])


def test_the_order_of_clips_does_not_matter(model: MLCLAP, clips: list[Clip]) -> None:
    order = np.random.default_rng(0).permutation(len(clips))
    shuffled = evaluate_retrieval(
        model, [clips[place] for place in order], seconds_per_batch=2.0, num_workers=2
    )
    expected = evaluate_retrieval(model, clips)
    for language, result in expected.languages.items():
        other = shuffled.languages[language]
        assert numbers(other.text_to_audio) == pytest.approx(numbers(result.text_to_audio))
        assert numbers(other.audio_to_text) == pytest.approx(numbers(result.audio_to_text))


def test_evaluating_leaves_the_model_as_it_was(model: MLCLAP, clips: list[Clip]) -> None:
    expected = evaluate_retrieval(model, clips[:4]).languages
    model.train()
    assert evaluate_retrieval(model, clips[:4]).languages == expected
    assert model.training
    assert model.audio_encoder.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_captions_of_another_clip_are_told(model: MLCLAP, clips: list[Clip]) -> None:
    twin = dataclasses.replace(clips[1], captions={"eng_Latn": (*clips[0].captions["eng_Latn"], "a dog")})
    report = evaluate_retrieval(model, [clips[0], twin, clips[2]], ["eng_Latn"])
    assert report.languages["eng_Latn"].num_shared == 4
    assert evaluate_retrieval(model, clips).average.num_shared == 0
    # One's captions tie with the other's, and a tie is no hit: only clip 2 can be.
    assert report.languages["eng_Latn"].audio_to_text.r1 <= 100 * 2 / 3


def test_languages_are_compared_caption_by_caption(model: MLCLAP, clips: list[Clip]) -> None:
    rankings = [rank_text_to_audio(*one_by_one(model, clips, language)) for language in LANGUAGES]
    found = evaluate_retrieval(model, clips).consistency
    assert found is not None
    assert (found.num_queries, found.num_languages) == (24, 3)
    assert found.rank_std.value == pytest.approx(np.std([each.ranks for each in rankings], axis=0).mean())
    first, *others = (each.top1 for each in rankings)
    same = [all(other[query] == first[query] for other in others) for query in range(24)]
    assert found.same_top1.value == pytest.approx(100 * np.mean(same))
    assert evaluate_retrieval(model, clips, ["eng_Latn"]).consistency is None


def test_the_authors_batches_hold_a_row_for_each_caption() -> None:
    assert reference_batches([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], range(2), 5) == [[0], [1]]
    rows = [clip for clip in range(1045) for _ in range(5)]
    batches = reference_batches(rows, range(1045), 128)
    assert len(batches) == 41
    assert batches[0] == list(range(26))
    assert batches[1][0] == 25


def test_reference_embeddings_are_those_of_the_authors_way(model_folder: Path, clips: list[Clip]) -> None:
    """Every clip five times over in batches of 7 rows, zeros up to the longest, the first row counts."""
    reference = MLCLAP.from_pretrained(model_folder, mode="reference")
    waveforms = [load_audio(clip.audio) for clip in clips]
    rows = [clip for clip in range(len(clips)) for _ in range(5)]
    every = []
    with torch.inference_mode():
        for first in range(0, len(rows), 7):
            batch = torch.nn.utils.rnn.pad_sequence(
                [waveforms[row] for row in rows[first : first + 7]], batch_first=True
            )
            every.append(reference.embed_audio(batch))
    expected = torch.cat(every)[::5]
    spans = [AudioSpan(clip.audio) for clip in clips]
    found, _ = encode_files(reference, spans, batches=reference_batches(rows, range(len(clips)), 7))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_authors_way_depends_on_the_batch_and_ours_does_not(
    model_folder: Path, clips: list[Clip]
) -> None:
    reference = MLCLAP.from_pretrained(model_folder, mode="reference")
    ranks = [
        evaluate_retrieval(reference, clips, reference_batch_size=size).average.text_to_audio.meanr
        for size in (2, 24)
    ]
    assert ranks[0] != ranks[1]


def run(model: Path, manifest: Path, out: Path, **options: object) -> dict[str, object]:
    config = EvaluateConfig(data=manifest, model=str(model), json=out / "new" / "report.json", **options)  # type: ignore[arg-type]
    evaluate(config)
    return json.loads((out / "new" / "report.json").read_text("utf-8"))


@pytest.fixture
def manifest(clips: list[Clip], tmp_path: Path) -> Path:
    write_manifest(tmp_path / "clips.jsonl", clips)
    return tmp_path / "clips.jsonl"


def test_the_command_prints_writes_and_draws(
    model_folder: Path,
    model: MLCLAP,
    clips: list[Clip],
    manifest: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plot = tmp_path / "plots" / "recall.png"
    record = run(model_folder, manifest, tmp_path, plot=plot, bootstrap=50, languages=("fr", "English"))
    report = evaluate_retrieval(model, clips, ["fra_Latn", "eng_Latn"], num_samples=50)
    results = record["results"]
    assert isinstance(results, dict)
    assert list(results["languages"]) == ["fra_Latn", "eng_Latn"]
    written = results["languages"]["fra_Latn"]["text_to_audio"]
    expected = dataclasses.asdict(report.languages["fra_Latn"].text_to_audio)
    expected["intervals"] = {name: list(each) for name, each in expected["intervals"].items()}
    assert written == expected
    assert (record["fingerprint"], record["kind"]) == (model.fingerprint(), "ML-CLAP, masked")
    assert record["settings"]["data"] == str(manifest)  # type: ignore[index]
    assert plot.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    metrics = report.languages["fra_Latn"].text_to_audio
    row = next(line.split() for line in printed.splitlines() if line.startswith("fra_Latn"))
    assert row[1] == f"{metrics.r1:.1f}"
    assert row[-2:] == ["24", "12"]
    assert "12 clips" in printed


def test_json_goes_to_standard_output_alone(
    model_folder: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(EvaluateConfig(data=manifest, model=str(model_folder), bootstrap=0, json=Path("-")))
    captured = capsys.readouterr()
    assert json.loads(captured.out)["results"]["num_clips"] == 12
    assert "Text to audio" in captured.err


def test_half_precision_finds_nearly_the_same(model_folder: Path, manifest: Path, tmp_path: Path) -> None:
    exact = run(model_folder, manifest, tmp_path, bootstrap=0)
    half = run(model_folder, manifest, tmp_path, bootstrap=0, dtype="bfloat16")
    meanr = [
        record["results"]["average"]["text_to_audio"]["meanr"]  # type: ignore[index]
        for record in (exact, half)
    ]
    assert meanr[0] == pytest.approx(meanr[1], rel=0.1)
    assert exact["fingerprint"] != half["fingerprint"]


def test_the_same_command_finds_the_same(model_folder: Path, manifest: Path, tmp_path: Path) -> None:
    first = run(model_folder, manifest, tmp_path, bootstrap=30)
    second = run(model_folder, manifest, tmp_path, bootstrap=30)
    for record in (first, second):
        record["results"].pop("seconds")  # type: ignore[attr-defined]
    assert first == second


def test_limits_take_the_first_clips_and_captions(model_folder: Path, manifest: Path, tmp_path: Path) -> None:
    record = run(model_folder, manifest, tmp_path, limit=7, num_captions=1, bootstrap=0)
    metrics = record["results"]["languages"]["eng_Latn"]["text_to_audio"]  # type: ignore[index]
    assert (metrics["num_queries"], metrics["num_candidates"], metrics["intervals"]) == (7, 7, {})


def test_the_reference_flag_runs_the_authors_way(
    model_folder: Path, clips: list[Clip], manifest: Path, tmp_path: Path
) -> None:
    record = run(model_folder, manifest, tmp_path, reference=True, batch_size=7)
    reference = MLCLAP.from_pretrained(model_folder, mode="reference")
    expected = evaluate_retrieval(reference, clips, reference_batch_size=7)
    assert record["kind"] == "ML-CLAP, reference"
    found = record["results"]["languages"]["eng_Latn"]["text_to_audio"]["meanr"]  # type: ignore[index]
    assert found == expected.languages["eng_Latn"].text_to_audio.meanr


def test_several_splits_ask_for_a_choice(clips: list[Clip], tmp_path: Path) -> None:
    path = tmp_path / "clips.jsonl"
    write_manifest(path, [dataclasses.replace(clips[0], split="train"), *clips[1:]])
    with pytest.raises(ValueError, match="splits test, train: choose one with --split"):
        read_split(path, None)
    assert len(read_split(path, "all")) == 12
    assert len(read_split(path, "test")) == 11
    with pytest.raises(ManifestError, match="'dev'"):
        read_split(path, "dev")


def test_a_mistake_shows_before_the_model_is_loaded(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no clip has captions in deu_Latn; there are .*eng_Latn, fra_Latn"):
        run(tmp_path / "no model", manifest, tmp_path, languages=("de",))
    with pytest.raises(ValueError, match=r"plot: .*recall.doc should end in one of .*\.png"):
        run(tmp_path / "no model", manifest, tmp_path, plot=tmp_path / "recall.doc")


def test_languages_come_in_the_papers_order_and_once(clips: list[Clip]) -> None:
    more = dataclasses.replace(clips[0], captions={"ita_Latn": ("un cane abbaia",)})
    assert choose_languages([more, clips[0]], None) == [*LANGUAGES, "ita_Latn"]
    assert choose_languages(clips, ["ja", "jpn_Jpan", "en"]) == ["jpn_Jpan", "eng_Latn"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("batch_size", 0), ("limit", 0), ("bootstrap", -1), ("num_captions", 0), ("seconds_per_batch", 0.0)],
)
def test_impossible_settings_are_refused_by_their_flags_name(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        EvaluateConfig(data=Path("clips.jsonl"), model="m", **{option: value})  # type: ignore[arg-type]


def test_what_is_cut_or_skipped_stands_in_output_and_json(
    model_folder: Path, clips: list[Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path, out = tmp_path / "m.jsonl", tmp_path / "report.json"
    long = dataclasses.replace(clips[0], captions={"eng_Latn": ("a dog barks " * 200, "a dog")})
    write_manifest(path, [long, *clips[1:4]])
    with path.open("a") as file:
        file.write('{"id": "x"}\n')
    config = EvaluateConfig(
        model=str(model_folder), data=path, languages=("en",), num_captions=1, limit=3, bootstrap=0,
        device="cpu", json=out,
    )  # fmt: skip
    assert evaluate_verb(config) == 1
    results = json.loads(out.read_text())["results"]
    for start in (
        "1 of 4 clips are left out (--limit 3)",
        "3 of 6 captions are left out (--num_captions 1)",
        "1 text is cut to the model's 128 tokens: ",
    ):
        assert start in caplog.text
        assert any(notice.startswith(start) for notice in results["notices"])
    assert results["bad_rows"][0]["where"] == f"{path}:5"
    printed = capsys.readouterr().out
    assert "1 line skipped:" in printed
    assert "m.jsonl:5: the key 'audio' is missing" in printed


def test_captions_in_a_list_are_in_the_language_that_is_named(
    model_folder: Path, clips: list[Clip], tmp_path: Path
) -> None:
    path = tmp_path / "m.jsonl"
    rows = [{"id": clip.id, "audio": str(clip.audio), "captions": ["un chien"]} for clip in clips[:3]]
    path.write_text("\n".join(map(json.dumps, rows)))
    config = EvaluateConfig(model=str(model_folder), data=path, language="fr", bootstrap=0, device="cpu")
    assert list(evaluate(config).languages) == ["fra_Latn"]


def test_the_folder_of_the_model_is_looked_at_before_the_split(clips: list[Clip], tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", clips)
    config = EvaluateConfig(model=str(tmp_path), data=tmp_path / "m.jsonl", split="nowhere")
    with pytest.raises(ValueError, match="is not a model folder"):
        evaluate(config)


def test_equal_captions_are_right_by_option(model: MLCLAP, clips: list[Clip]) -> None:
    """Each clip twice, under two names, as clips of a class are: neither comes first in a tie."""
    twins = [*clips, *(dataclasses.replace(clip, id=f"{clip.id}-twin") for clip in clips)]
    plain = evaluate_retrieval(model, twins, ["eng_Latn"])
    equal = evaluate_retrieval(model, twins, ["eng_Latn"], equal_captions=True)
    single = evaluate_retrieval(model, clips, ["eng_Latn"]).languages["eng_Latn"]
    assert (plain.equal_captions, equal.equal_captions) == (False, True)
    assert plain.languages["eng_Latn"].text_to_audio.r1 == 0.0
    for direction in ("text_to_audio", "audio_to_text"):
        found = getattr(equal.languages["eng_Latn"], direction)
        assert found.r1 == pytest.approx(getattr(single, direction).r1)
        assert found.num_candidates == 2 * getattr(single, direction).num_candidates


def test_recordings_widen_the_intervals(model_folder: Path, clips: list[Clip], tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    rows = [dataclasses.replace(clip, extra={"tape": place // 6}) for place, clip in enumerate(clips)]
    write_manifest(path, rows)
    (tmp_path / "a").mkdir()
    wide, plain = (
        run(model_folder, path, tmp_path / "a", bootstrap=200, recording=key, languages=("en",))["results"]
        for key in ("tape", None)
    )
    intervals = [
        np.diff(each["languages"]["eng_Latn"]["text_to_audio"]["intervals"]["meanr"])  # type: ignore[index]
        for each in (wide, plain)
    ]
    assert intervals[0] != intervals[1]
    with pytest.raises(ValueError, match=r"recording: the clip 'clip-0' has no key 'reel'.*it has tape"):
        run(tmp_path / "no model", path, tmp_path, recording="reel")


def test_other_wordings_and_a_heat_map_stand_in_output_and_json(
    model_folder: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    heat_map = tmp_path / "overlap.png"
    record = run(
        model_folder, manifest, tmp_path, bootstrap=20, heat_map=heat_map, rewordings=("keywords", "negation")
    )
    assert heat_map.read_bytes().startswith(b"\x89PNG")
    results = record["results"]
    assert isinstance(results, dict)
    assert list(results["robustness"]) == ["keywords", "negation"]
    assert list(results["robustness"]["keywords"]) == ["eng_Latn", "fra_Latn"]
    assert list(results["robustness"]["negation"]) == list(LANGUAGES)
    negated = results["robustness"]["negation"]["eng_Latn"]
    assert negated["num_queries"] == 24
    assert negated["lower"]["interval"][0] <= negated["lower"]["value"] <= negated["lower"]["interval"][1]
    assert len(results["consistency"]["overlap_by_pair"]) == 3
    printed = capsys.readouterr().out
    table = printed[printed.index("captions as negation") :].splitlines()
    row = table[2].split()
    assert (row[0], row[1]) == ("eng_Latn", f"{negated['r1']['value']:.1f}")
    assert row[-1] == f"{negated['below']['value']:.1f}"
    assert "A caption's translation is at rank" in printed
    assert "no rules for keywords in jpn_Jpan" in caplog.text
