"""`aac-llm evaluate`: clips are matched, everything is scored or named, systems are compared."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from aac_llm.config.evaluate import METRICS, EvaluateConfig, MetricsConfig
from aac_llm.data.predictions import Prediction, read_predictions, write_predictions
from aac_llm.evaluators.evaluate import evaluate, evaluate_predictions, evaluate_verb
from aac_llm.evaluators.report import table_rows
from aac_llm.evaluators.score_table import score_systems, score_texts
from aac_llm.evaluators.scorer import DetectorUsed
from aac_llm.metrics.meteor import Meteor
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.score import score_captions
from aac_llm.metrics.statistics import bootstrap_interval
from aac_llm.models import inference
from aac_llm.models.card_parts import read_scores

PURE = ("bleu", "rouge", "cider", "diversity", "events")
REFERENCES = {
    "rain.wav": ("rain falls on a roof", "heavy rain is falling"),
    "dog.wav": ("a dog barks twice", "a dog is barking", "a small dog barks at someone"),
    "bell.wav": ("a bell rings",),
    "train.wav": ("a train passes by", "a train goes past while people talk"),
}
GOOD = {
    "rain.wav": "heavy rain falls on a roof",
    "dog.wav": "a dog is barking",
    "bell.wav": "a bell rings",
    "train.wav": "a train passes by",
}


def predict(captions, references=None, **changes):
    return [
        Prediction(id, f"/sounds/{id}", text, references=(references or {}).get(id, ()), **changes)
        for id, text in captions.items()
    ]


def nothing_installed(tmp_path, monkeypatch):
    """A machine without Java, jars and models."""
    for name in ("AAC_LLM_JARS", "AAC_LLM_JAVA", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AAC_LLM_CACHE", str(tmp_path / "cache"))
    return MetricsConfig(sentence_model=str(tmp_path / "no-encoder"), device="cpu")


def test_scores_are_those_of_the_metrics_alone():
    found = evaluate_predictions(predict(GOOD), REFERENCES, metrics=PURE, bootstrap=0)
    alone = score_captions(list(GOOD.values()), list(REFERENCES.values()))
    for name, value in alone.corpus.items():
        assert found.corpus[name] == pytest.approx(value), name
    for name, values in alone.clips.items():
        np.testing.assert_allclose([clip.scores[name] for clip in found.clips], values, err_msg=name)
    assert found.num_clips == 4
    assert found.intervals == {}
    assert found.corpus["event_recall"] > 0.5


def test_references_may_lie_in_the_predictions():
    inside = evaluate_predictions(predict(GOOD, REFERENCES), metrics=("cider",), bootstrap=0)
    assert (
        inside.corpus
        == evaluate_predictions(predict(GOOD), REFERENCES, metrics=("cider",), bootstrap=0).corpus
    )


def test_clips_of_one_side_only_are_named_and_not_scored():
    captions = dict(GOOD) | {"cat.wav": "a cat meows", "odd.wav": "something"}
    del captions["bell.wav"]
    found = evaluate_predictions(
        predict(captions), REFERENCES | {"odd.wav": ()}, metrics=("cider",), bootstrap=0
    )
    assert (found.num_clips, found.missing) == (3, ("bell.wav",))
    assert found.extra == ("cat.wav", "odd.wav")
    assert [clip.id for clip in found.clips] == ["rain.wav", "dog.wav", "train.wav"]


def test_the_order_of_the_predictions_does_not_matter():
    turned = dict(reversed(GOOD.items()))
    one, other = (
        evaluate_predictions(predict(captions), REFERENCES, metrics=PURE, bootstrap=20)
        for captions in (GOOD, turned)
    )
    assert (one.corpus, one.intervals, one.clips) == (other.corpus, other.intervals, other.clips)


def test_every_metric_that_cannot_run_is_named_with_what_to_do(tmp_path, monkeypatch):
    settings = nothing_installed(tmp_path, monkeypatch)
    found = evaluate_predictions(predict(GOOD), REFERENCES, metrics=("all",), settings=settings, bootstrap=0)
    named = {"meteor", "spice", "spider", "fer", "spider_fl", "sbert", "fense", "clair_a"}
    assert set(found.unavailable) == named
    assert not named & set(found.corpus), "SPIDEr without SPICE is not SPIDEr"
    assert all(missing.remedy for missing in found.unavailable.values())
    assert "install Java" in found.unavailable["spider"].remedy
    pure = {"bleu", "rouge", "cider", "spice_like", "spider_like", "events", "diversity", "timestamps"}
    assert set(METRICS) - named == pure


def test_metrics_of_local_models_are_computed(tmp_path, monkeypatch):
    class Encoder:
        num_cut, is_published, label = 2, True, "TinyBERT 01234567"

        def similarity(self, candidates, references):
            assert candidates[0] == "heavy rain falls on a roof", "texts are tokenised first"
            return np.array([0.5, 0.25, 1.0, 0.0])

    class Detector:
        num_cut, threshold = 0, 0.9

        def fault_score(self, candidates):
            return np.array([0.95, 0.1, 0.1, 0.1])

    settings = nothing_installed(tmp_path, monkeypatch)
    monkeypatch.setattr("aac_llm.metrics.sentence.SentenceEncoder.from_pretrained", lambda *a, **k: Encoder())
    monkeypatch.setattr("aac_llm.metrics.fluency.FluencyDetector.from_pretrained", lambda *a, **k: Detector())
    used = DetectorUsed("echecker 76543210", is_published=True, threshold=0.9)
    monkeypatch.setattr("aac_llm.evaluators.scorer.describe_detector", lambda *_: used)
    captions = dict(GOOD) | {"rain.wav": "Heavy rain falls on a roof."}
    found = evaluate_predictions(
        predict(captions),
        REFERENCES,
        metrics=("fer", "sbert", "fense", "spider_fl"),
        settings=settings,
        bootstrap=0,
    )
    assert found.corpus == pytest.approx({"fer": 0.25, "sbert_sim": 0.4375, "fense": (0.05 + 1.25) / 4})
    assert set(found.unavailable) == {"spider_fl"}
    assert found.made_by["fense"] == "TinyBERT 01234567; echecker 76543210"


def test_scores_of_other_models_have_names_of_their_own(tmp_path, monkeypatch):
    class Encoder:
        num_cut, is_published, label = 0, False, "e5-small 01234567"

        def similarity(self, candidates, references):
            return np.array([0.8, 0.9, 1.0, 0.8] * (len(candidates) // 4))

        def encode(self, texts):  # all have a cosine of 0.8 with each other
            return np.hstack([np.full((len(texts), 1), 0.8**0.5), 0.2**0.5 * np.eye(len(texts))])

    class Detector:
        num_cut, threshold = 0, 0.5

        def fault_score(self, candidates):
            return np.array([0.6, 0.4, 0.1, 0.1] * (len(candidates) // 4))

    settings = nothing_installed(tmp_path, monkeypatch)
    monkeypatch.setattr("aac_llm.metrics.sentence.SentenceEncoder.from_pretrained", lambda *a, **k: Encoder())
    monkeypatch.setattr("aac_llm.metrics.fluency.FluencyDetector.from_pretrained", lambda *a, **k: Detector())
    used = DetectorUsed("fluency 76543210", is_published=False, threshold=0.5)
    monkeypatch.setattr("aac_llm.evaluators.scorer.describe_detector", lambda *_: used)
    found = evaluate_predictions(
        predict(GOOD),
        REFERENCES,
        metrics=("fer", "sbert", "fense"),
        settings=settings,
        compare=predict(GOOD),
        bootstrap=0,
    )
    # Unrelated captions have 0.216 on the published scale, equal ones 1; one of four is not fluent.
    assert found.corpus == pytest.approx(
        {"fer_like": 0.25, "sentence_sim": 0.51, "fense_like": (0.0216 + 0.608 + 1 + 0.216) / 4}
    )
    assert found.made_by["fense_like"] == "e5-small 01234567; fluency 76543210"
    assert any("fer_like, sentence_sim, fense_like" in note for note in found.notes)
    assert found.comparison["fense_like"].difference == 0
    columns, rows = table_rows(found)
    assert columns[-1] == "made by"
    assert ["FENSE-like", "e5-small 01234567; fluency 76543210"] in [[row[0], row[-1]] for row in rows]


def test_a_detector_trained_here_stands_in_for_the_published_one(tmp_path, monkeypatch):
    class Detector:
        num_cut, threshold = 0, 0.5

        def fault_score(self, candidates):
            return np.array([0.6, 0.4, 0.1, 0.1])

    def load(source, **_):
        if source != str(tmp_path / "cache" / "fluency"):
            raise MissingMetricError(f"no {source}", "get it")
        return Detector()

    settings = nothing_installed(tmp_path, monkeypatch)
    monkeypatch.setattr("aac_llm.metrics.fluency.FluencyDetector.from_pretrained", load)
    missing = evaluate_predictions(
        predict(GOOD), REFERENCES, metrics=("fer",), settings=settings, bootstrap=0
    )
    assert missing.unavailable["fer"].reason == "no echecker_clotho_audiocaps_base"
    folder = tmp_path / "cache" / "fluency"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "fluency.json").write_text("{}")
    found = evaluate_predictions(predict(GOOD), REFERENCES, metrics=("fer",), settings=settings, bootstrap=0)
    assert found.corpus == {"fer_like": 0.25}
    assert found.made_by["fer_like"] == f"fluency {hashlib.sha256(b'weights').hexdigest()[:8]}"


def test_two_systems_start_a_program_once_and_score_as_each_alone(monkeypatch):
    runs = []

    def meteor(candidates, references, **_):
        runs.append(len(candidates))
        counts = [[len(text)] * 23 for text in candidates]
        return Meteor(np.array(counts, dtype=np.float64) + np.arange(23))

    monkeypatch.setattr("aac_llm.metrics.meteor.meteor", meteor)
    systems = [list(GOOD.values()), ["rain"] * 4]
    both = score_systems(systems, list(REFERENCES.values()), ("meteor", "cider"))
    assert runs == [8]
    for table, texts in zip(both, systems, strict=True):
        alone = score_texts(texts, list(REFERENCES.values()), ("meteor", "cider"))
        for name, column in alone.columns.items():
            assert table.columns[name].corpus == column.corpus
            np.testing.assert_array_equal(table.columns[name].clips, column.clips)


def test_tokenised_texts_are_taken_as_they_are():
    captions = {"1": "dogs bark -lrb- loudly -rrb- ( x )", "2": "一只 狗 在 叫"}
    references = {"1": ("dogs bark -lrb- loudly -rrb- x",), "2": ("狗 在 叫",)}
    settings = MetricsConfig(tokenised=True)
    found = evaluate_predictions(
        predict(captions), references, metrics=("bleu",), settings=settings, bootstrap=0
    )
    # Six of eight words, since brackets are words here; and words of Chinese, not characters: three of four.
    assert [clip.scores["bleu_1"] for clip in found.clips] == pytest.approx([0.75, 0.75], abs=1e-6)
    assert any("--tokenised" in note for note in found.notes)
    assert not any("script without spaces" in note for note in found.notes)


def test_corpus_bleu_has_the_interval_of_the_corpus_and_not_of_the_mean():
    texts = [GOOD[id] for id in REFERENCES] * 10, list(REFERENCES.values()) * 10
    column = score_texts(*texts, ("bleu",)).columns["bleu_4"]
    drawn = bootstrap_interval(column.table, statistic=column.statistic, draws=50)
    assert drawn.value == pytest.approx(column.corpus)
    assert drawn.low < column.corpus < drawn.high
    assert column.corpus != pytest.approx(column.clips.mean(), abs=1e-3)


def test_a_score_of_the_whole_only_has_no_interval():
    found = evaluate_predictions(predict(GOOD), REFERENCES, metrics=("diversity", "cider"), bootstrap=10)
    assert set(found.intervals) == {"cider_d"}
    assert "vocabulary" in found.corpus
    assert "vocabulary" not in found.clips[0].scores


def test_a_better_system_is_told_from_a_worse_one_and_not_from_itself():
    ids = [f"{place}.wav" for place in range(40)]
    references = {id: (f"a dog barks {place} times", "a dog is barking") for place, id in enumerate(ids)}
    good = predict(dict.fromkeys(ids, "a dog is barking"))
    bad = predict({id: "a dog is barking" if place % 3 else "rain" for place, id in enumerate(ids)})
    ahead = evaluate_predictions(good, references, metrics=("rouge",), compare=bad, bootstrap=400)
    change = ahead.comparison["rouge_l"]
    assert change.difference == pytest.approx(ahead.corpus["rouge_l"] - change.other)
    assert change.difference > 0
    assert change.interval[0] > 0
    assert change.p_value < 0.02
    assert ahead.clips[0].other_caption == "rain"
    same = evaluate_predictions(good, references, metrics=("rouge",), compare=good, bootstrap=100)
    assert (same.comparison["rouge_l"].difference, same.comparison["rouge_l"].p_value) == (0, 1)


def test_captions_of_parts_are_refused():
    with pytest.raises(ValueError, match=r"part of the sound.*--segments"):
        evaluate_predictions(predict(GOOD, start=0.0, end=1.0), REFERENCES)


def test_nothing_in_common_is_told_with_ids():
    with pytest.raises(ValueError, match=r"first ids are 'x' and 'rain\.wav'"):
        evaluate_predictions(predict({"x": "a"}), REFERENCES)
    with pytest.raises(ValueError, match=r"no clip has references.*--references"):
        evaluate_predictions(predict(GOOD))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ("bleu", "blue")}, "blue unknown; there are bleu"),
        ({"metrics": ()}, "at least one"),
        ({"bootstrap": -1}, "at least 0"),
        ({"model": "m", "references": Path("r")}, "leave --references out"),
        ({"json": Path("p.jsonl")}, "would be overwritten"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        EvaluateConfig(data=Path("p.jsonl"), **changes)


def test_the_verb_reads_scores_prints_and_writes(tmp_path, capsys):
    for name, captions in (("p", GOOD), ("q", dict.fromkeys(GOOD, "a dog"))):
        write_predictions(tmp_path / f"{name}.jsonl", predict(captions))
    rows = [{"id": id, "audio": id, "captions": list(texts)} for id, texts in REFERENCES.items()]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    config = EvaluateConfig(
        data=tmp_path / "p.jsonl",
        references=tmp_path / "test.jsonl",
        metrics=PURE,
        compare=tmp_path / "q.jsonl",
        bootstrap=50,
        json=tmp_path / "out" / "results.json",
        page=tmp_path / "out" / "page.html",
    )
    found = evaluate(config)
    shown = capsys.readouterr().out
    assert "4 clips, 1 to 3 references each" in shown
    assert f"{found.corpus['cider_d']:.4f}" in shown
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["results"]["num_clips"] == 4
    assert record["results"]["corpus"]["cider_d"] == found.corpus["cider_d"]
    assert record["settings"]["metrics"] == list(PURE)
    page = (tmp_path / "out" / "page.html").read_text()
    assert page.count("<article>") == 4


def test_a_manifest_without_a_model_is_told_what_is_missing(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"id": "a", "audio": "a.wav", "captions": ["x"]}\n')
    with pytest.raises(ValueError, match=r"m\.jsonl:1.*--model"):
        evaluate(EvaluateConfig(data=tmp_path / "m.jsonl"))


def test_several_splits_need_a_choice(tmp_path):
    rows = [
        {"id": f"{split}", "audio": f"{split}.wav", "captions": ["x"], "split": split}
        for split in ("train", "test")
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    write_predictions(tmp_path / "p.jsonl", predict({"test": "x"}))
    with pytest.raises(ValueError, match="splits test, train: choose one with --split"):
        evaluate(EvaluateConfig(data=tmp_path / "p.jsonl", references=tmp_path / "m.jsonl"))


def test_a_model_captions_the_manifest_first(tiny_model_folder, tmp_path):
    from audio_common.scenes.scene import random_scene, render

    rows = []
    for seed in range(3):
        import wave

        samples = torch.as_tensor(render(random_scene(seed, num_events=1, seconds=1.5)))
        with wave.open(str(tmp_path / f"{seed}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((samples.clamp(-1, 1) * 32767).short().numpy().tobytes())
        rows.append({"id": f"clip-{seed}", "audio": f"{seed}.wav", "captions": ["a bell rings"]})
    rows.append({"id": "gone", "audio": "gone.wav", "captions": ["a dog barks"]})
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    config = EvaluateConfig(
        data=tmp_path / "m.jsonl",
        model=str(tiny_model_folder),
        captions=tmp_path / "p.jsonl",
        metrics=("cider", "events"),
        num_beams=1,
        bootstrap=10,
        device="cpu",
    )
    found = evaluate(config)
    assert [clip.id for clip in found.clips] == ["clip-0", "clip-1", "clip-2"]
    assert found.missing == ("gone",)
    assert len(found.bad_files) == 1
    assert "gone.wav" in found.bad_files[0]
    again = evaluate(EvaluateConfig(data=tmp_path / "p.jsonl", metrics=("cider", "events"), bootstrap=10))
    assert again.corpus == found.corpus, "the file of captions holds the references too"


def test_captions_of_a_model_go_on_after_a_kill(tiny_model_folder, scene_manifest, tmp_path, monkeypatch):
    config = EvaluateConfig(
        data=scene_manifest,
        model=str(tiny_model_folder),
        captions=tmp_path / "p.jsonl",
        metrics=("cider",),
        num_beams=1,
        batch_size=1,
        bootstrap=0,
        device="cpu",
    )
    caption_batch, sizes = inference.caption_batch, []

    def dying(model, waveforms, settings):
        if len(sizes) == 2:
            raise KeyboardInterrupt
        sizes.append(len(waveforms))
        return caption_batch(model, waveforms, settings)

    monkeypatch.setattr(inference, "caption_batch", dying)
    with pytest.raises(KeyboardInterrupt):
        evaluate(config)
    held = (tmp_path / "p.jsonl").read_text().splitlines()
    assert len(held) == 2
    monkeypatch.setattr(inference, "caption_batch", caption_batch)
    found = evaluate(config)
    assert found.num_clips == 6
    assert set(held) < set((tmp_path / "p.jsonl").read_text().splitlines())


def test_clips_heard_in_windows_are_told_and_the_length_may_be_set(tiny_model, scene_manifest, tmp_path):
    tiny_model.trained_seconds = 4.5
    tiny_model.save_pretrained(tmp_path / "model")
    config = EvaluateConfig(
        data=scene_manifest,
        model=str(tmp_path / "model"),
        captions=tmp_path / "captions.jsonl",
        metrics=("cider",),
        bootstrap=0,
        device="cpu",
    )
    found = evaluate(config)
    assert found.num_clips == 6
    assert any(note.startswith("2 clips are longer than the model was trained on") for note in found.notes)
    parts = [len(one.parts) for one in read_predictions(tmp_path / "captions.jsonl")]
    assert parts == [0, 0, 0, 0, 2, 2]
    whole = evaluate(replace(config, captions=None, max_seconds=20.0))
    assert not any("longer than the model" in note for note in whole.notes)


def test_scores_are_added_to_the_card_of_the_model(tiny_model_folder, scene_manifest, capsys):
    # Beside it, as its decoder is named relative to its place.
    model = Path(shutil.copytree(tiny_model_folder, tiny_model_folder.parent / "with-card"))
    config = EvaluateConfig(
        data=scene_manifest,
        model=str(model),
        split="train",
        metrics=("cider", "events"),
        num_beams=1,
        bootstrap=10,
        device="cpu",
        card=True,
    )
    with pytest.raises(ValueError, match="card: scores go to the card of a model's folder"):
        replace(config, model=None)
    found = evaluate(config)
    scores = {score.metric: score for score in read_scores(model)}
    assert {name: score.value for name, score in scores.items()} == found.corpus
    assert (scores["cider_d"].low, scores["cider_d"].high) == found.intervals["cider_d"]
    assert (scores["cider_d"].data, scores["cider_d"].split) == (scene_manifest.name, "train")
    assert f"card: {model / 'README.md'}" in capsys.readouterr().out


def test_a_limit_takes_the_first_clips(tiny_model_folder, scene_manifest):
    found = evaluate(
        EvaluateConfig(
            data=scene_manifest,
            model=str(tiny_model_folder),
            limit=2,
            metrics=("cider",),
            bootstrap=0,
            device="cpu",
        )
    )
    assert [clip.id for clip in found.clips] == ["scene0", "scene1"]


def test_a_dash_prints_the_numbers_and_nothing_else(tmp_path, capsys):
    write_predictions(tmp_path / "p.jsonl", predict(GOOD, REFERENCES))
    config = EvaluateConfig(data=tmp_path / "p.jsonl", metrics=("rouge",), bootstrap=0, json=Path("-"))
    found = evaluate(config)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["results"]["corpus"] == found.corpus
    assert "ROUGE-L" in printed.err


def test_golden_corpus_values_come_out_of_the_whole(shared):
    folder = shared / "golden" / "captioning"
    rows = [json.loads(line) for line in (folder / "clotho_eval_0_499.jsonl").read_text().splitlines()]
    golden = json.loads((folder / "clotho_eval_0_499_corpus.json").read_text())
    captions = {row["fname"]: row["candidate"] for row in rows}
    references = {row["fname"]: row["references"] for row in rows}
    metrics = ("bleu", "rouge", "cider")
    found = evaluate_predictions(predict(captions), references, metrics=metrics, bootstrap=100)
    for name in ("bleu_1", "bleu_4", "rouge_l", "cider_d"):
        assert found.corpus[name] == pytest.approx(golden[name], abs=1e-6), name
        low, high = found.intervals[name]
        assert low < golden[name] < high


CHINESE = {"1": "一只狗在叫", "2": "外面下着雨"}
CHINESE_REFERENCES = {"1": ("一只狗在大声叫", "狗在叫"), "2": ("外面正在下雨", "外面下着大雨")}


def test_scores_of_chinese_are_by_character_and_say_so():
    found = evaluate_predictions(predict(CHINESE), CHINESE_REFERENCES, metrics=("available",), bootstrap=0)
    assert min(found.corpus[name] for name in ("bleu_1", "bleu_2", "rouge_l", "cider_d")) > 0.4
    assert any("script without spaces (Chinese)" in note for note in found.notes)
    assert "it knows English only" in found.unavailable["events"].reason
    assert "event_precision" not in found.corpus


def test_metrics_of_english_are_left_out_of_another_language_unless_the_models_are_ones_own():
    settings = MetricsConfig(language="fr", sentence_model="my/encoder", device="cpu")
    metrics = ("events", "spice", "sbert", "fense", "rouge")
    found = evaluate_predictions(predict(GOOD), REFERENCES, metrics=metrics, settings=settings, bootstrap=0)
    for name in ("events", "spice", "fense"):
        assert found.unavailable[name].reason == "it knows English only, and --language is fra_Latn"
    assert "my/encoder" in found.unavailable["sbert"].reason
    assert found.corpus["rouge_l"] > 0.5


def test_a_zero_is_never_printed_without_a_word():
    nothing = evaluate_predictions(
        predict({"bell.wav": "x"}), REFERENCES, metrics=("cider", "rouge"), bootstrap=0
    )
    assert any("no caption shares a word with its references" in note for note in nothing.notes)
    one = evaluate_predictions(
        predict({"bell.wav": GOOD["bell.wav"]}), REFERENCES, metrics=("cider", "rouge"), bootstrap=0
    )
    assert one.corpus["cider_d"] == 0
    assert any("CIDEr-D is 0 where every phrase is in the references of all 1 clips" in n for n in one.notes)


def test_what_was_cut_and_left_out_stands_in_the_output_and_in_the_json(tmp_path, capsys):
    stopped = [*predict(GOOD, REFERENCES, unfinished=True), *predict({"more.wav": "x"}, {"more.wav": ("x",)})]
    write_predictions(tmp_path / "p.jsonl", stopped)
    with (tmp_path / "p.jsonl").open("a") as file:
        file.write("{\n")
    other = {name: text for name, text in GOOD.items() if name != "dog.wav"}
    write_predictions(tmp_path / "other.jsonl", predict(other))
    config = EvaluateConfig(
        data=tmp_path / "p.jsonl",
        compare=tmp_path / "other.jsonl",
        metrics=("rouge",),
        bootstrap=0,
        limit=4,
        json=tmp_path / "scores.json",
    )
    assert evaluate_verb(config) == 1
    printed = " ".join(capsys.readouterr().out.split())
    results = json.loads((tmp_path / "scores.json").read_text())["results"]
    for line in (
        "only the first 4 of 5 clips (--limit)",
        "1 clips are not scored: the other system has no caption of them (--compare)",
        "3 of 3 captions were stopped before their end, at the most tokens of a caption; --max_new_tokens",
    ):
        assert line in printed
        assert any(line in note for note in results["notes"])
    assert "1 rows could not be read" in printed
    assert results["bad_rows"][0].startswith(f"{tmp_path / 'p.jsonl'}:6: not JSON: ")


def test_captions_of_dcase_are_scored_against_a_manifest_and_against_clothos_table(tmp_path):
    rows = [{"id": name[:-4], "audio": name, "captions": list(texts)} for name, texts in REFERENCES.items()]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    table = ["file_name,caption_predicted", *(f"{name},{text}" for name, text in GOOD.items())]
    (tmp_path / "p.csv").write_text("\n".join(table) + "\n")
    clotho = ["file_name,caption_1,caption_2,caption_3"]
    clotho += [",".join([name, *texts, *[""] * (3 - len(texts))]) for name, texts in REFERENCES.items()]
    (tmp_path / "clotho.csv").write_text("\n".join(clotho) + "\n")
    expected = evaluate_predictions(predict(GOOD), REFERENCES, metrics=("cider",), bootstrap=0).corpus
    for references in ("m.jsonl", "clotho.csv"):
        found = evaluate(
            EvaluateConfig(
                data=tmp_path / "p.csv", references=tmp_path / references, metrics=("cider",), bootstrap=0
            )
        )
        assert found.corpus == expected
        assert not found.bad_rows


def test_a_time_limit_of_java_names_its_flag(tmp_path, monkeypatch):
    from aac_llm.metrics.java import JavaError

    given = []

    def slow(*_, timeout, **__):
        given.append(timeout)
        raise JavaError(
            "meteor-1.5.jar did not finish within its limit of 2 s; --java_timeout SECONDS allows more"
        )

    monkeypatch.setattr("aac_llm.metrics.meteor.meteor", slow)
    settings = MetricsConfig(java_timeout=2.0)
    found = evaluate_predictions(
        predict(GOOD), REFERENCES, metrics=("meteor",), settings=settings, bootstrap=0
    )
    assert given == [2.0]
    assert "--java_timeout" in str(found.unavailable["meteor"])
    with pytest.raises(ValueError, match="java_timeout must be above 0, got 0"):
        MetricsConfig(java_timeout=0)


def test_a_bad_row_of_a_manifest_costs_itself_only(tiny_model_folder, scene_manifest):
    path = scene_manifest.parent / "one_bad_row.jsonl"
    path.write_text('{"id": "bad"}\n' + scene_manifest.read_text())
    config = EvaluateConfig(
        data=path,
        model=str(tiny_model_folder),
        limit=1,
        metrics=("cider",),
        max_new_tokens=1,
        num_beams=1,
        bootstrap=0,
        device="cpu",
    )
    found = evaluate(config)
    assert found.num_clips == 1
    assert found.bad_rows[0].startswith(f"{path}:1: ")
    assert any("--max_new_tokens" in note for note in found.notes)
