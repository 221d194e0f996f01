"""`ml-clap classify`: accuracies by hand, prompts averaged, ties, bad files, sounds without a label."""

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
from ml_clap.config.classify import ClassifyConfig
from ml_clap.config.model import ModelConfig
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.data.prompts import choose_prompts, read_prompts, read_templates
from ml_clap.evaluators.report import print_zero_shot
from ml_clap.evaluators.zero_shot import (
    classify,
    classify_clips,
    embed_labels,
    find_clips,
    is_correct,
    measure_accuracy,
)
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder

RATE = 16_000
PROMPTS = {
    "dog": {"eng_Latn": ("A dog barks.", "Barking."), "fra_Latn": ("Un chien aboie.", "Aboiements.")},
    "rain": {"eng_Latn": ("Rain falls.", "Raindrops."), "fra_Latn": ("La pluie tombe.", "De la pluie.")},
    "bell": {"eng_Latn": ("A bell rings.", "Ringing."), "fra_Latn": ("Une cloche sonne.", "Sonnerie.")},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Nine tones and noises, three to a label."""
    folder = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    made = []
    for number in range(9):
        path = folder / f"{number}.wav"
        times = np.arange(int(generator.uniform(0.3, 1.5) * RATE)) / RATE
        tone = np.sin(2 * np.pi * (200 + 900 * number) * times)
        soundfile.write(path, 0.3 * tone + 0.02 * generator.normal(size=len(times)), RATE)
        made.append(Clip(f"{number}", path, {"eng_Latn": ("a sound",)}, label=list(PROMPTS)[number % 3]))
    return made


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    texts = [text for each in PROMPTS.values() for these in each.values() for text in these]
    encoder = create_small_text_encoder(folder / "text", texts, vocab_size=90, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2, num_classes=2)
    config = ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)
    MLCLAP(config).save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture
def model(model_folder: Path) -> MLCLAP:
    return MLCLAP.from_pretrained(model_folder)


@torch.inference_mode()
def scores_by_hand(model: MLCLAP, clips: Sequence[Clip], language: str, indices: Sequence[int]) -> np.ndarray:
    audio = [model.embed_audio(load_audio(clip.audio)[None])[0].numpy() for clip in clips]
    classes = []
    for texts in PROMPTS.values():
        vectors = [model.embed_text([texts[language][index]], language)[0].numpy() for index in indices]
        mean = np.mean(vectors, axis=0)
        classes.append(mean / np.linalg.norm(mean))
    return np.stack(audio) @ np.stack(classes).T


@pytest.mark.parametrize("indices", [(), (0,), (1,)])
def test_accuracies_are_those_of_sounds_and_prompts_one_by_one(
    model: MLCLAP, clips: list[Clip], indices: tuple[int, ...]
) -> None:
    report = classify_clips(model, clips, PROMPTS, prompt_indices=indices)
    assert (list(report.languages), report.num_clips) == (["eng_Latn", "fra_Latn"], 9)
    for language, result in report.languages.items():
        scores = scores_by_hand(model, clips, language, indices or (0, 1))
        picked = [list(PROMPTS)[place] for place in scores.argmax(axis=1)]
        right = [label == clip.label for label, clip in zip(picked, clips, strict=True)]
        assert result.accuracy == pytest.approx(100 * np.mean(right))
        for place, label in enumerate(PROMPTS):
            assert result.recall[label] == pytest.approx(100 * np.mean(right[place::3]))
        assert np.sum(result.confusion) == 9
        assert np.trace(result.confusion) == sum(right)
    mean = np.mean([each.accuracy for each in report.languages.values()])
    assert report.average == pytest.approx(mean)


def test_accuracy_recall_and_confusion_by_hand() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.1], [0.0, 0.6, 0.4], [0.3, 0.2, 0.1]])
    found = measure_accuracy(scores, np.array([0, 1, 2, 2]), ["a", "b", "c"])
    assert found.accuracy == 50.0
    assert found.recall == {"a": 100.0, "b": 100.0, "c": 0.0}
    assert found.confusion == [[1, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert found.interval == pytest.approx((15.0, 85.0), abs=0.1)  # Wilson's of 2 of 4


def test_classes_without_a_sound_have_no_recall() -> None:
    found = measure_accuracy(np.eye(3)[:2], np.array([0, 1]), ["a", "b", "c"])
    assert found.recall == {"a": 100.0, "b": 100.0}


@pytest.mark.parametrize("jitter", [0.0, 1e-8])
def test_embeddings_that_tell_nothing_apart_recognize_nothing(jitter: float) -> None:
    scores = 0.5 + jitter * np.random.default_rng(0).normal(size=(50, 10))
    truth = np.arange(50) % 10
    assert not is_correct(scores, truth).any()
    scores[np.arange(50), truth] += 1e-3
    assert is_correct(scores, truth).all()


def test_one_language_does_not_change_another(model: MLCLAP, clips: list[Clip]) -> None:
    both = classify_clips(model, clips, PROMPTS)
    french = classify_clips(model, clips, PROMPTS, ["fr"])
    assert french.languages == {"fra_Latn": both.languages["fra_Latn"]}


def test_a_class_is_the_normalized_mean_of_its_prompts(model: MLCLAP) -> None:
    found = embed_labels(model, [["A dog barks.", "Barking."], ["Rain falls."]], "eng_Latn")
    with torch.inference_mode():
        vectors = model.embed_text(["A dog barks.", "Barking.", "Rain falls."])
    mean = vectors[:2].mean(dim=0)
    torch.testing.assert_close(found[0], mean / mean.norm(), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1], vectors[2], rtol=0, atol=1e-5)


def test_bad_files_are_skipped(model: MLCLAP, clips: list[Clip], tmp_path: Path) -> None:
    broken = dataclasses.replace(clips[0], audio=tmp_path / "broken.wav")
    broken.audio.write_text("no sound")
    report = classify_clips(model, [clips[0], broken, *clips[1:]], PROMPTS)
    assert [file.path for file in report.bad_files] == [broken.audio]
    assert report.num_clips == 9
    assert report.languages == classify_clips(model, clips, PROMPTS).languages
    with pytest.raises(ValueError, match=r"none of the 1 sounds could be read.*broken\.wav"):
        classify_clips(model, [broken], PROMPTS)


def test_sounds_without_a_label_get_their_best_ones(model: MLCLAP, clips: list[Clip]) -> None:
    unlabelled = dataclasses.replace(clips[1], label=None)
    report = classify_clips(model, [clips[0].audio, unlabelled], PROMPTS, ["eng_Latn"], top_k=2)
    assert (report.languages, report.average, report.num_clips) == ({}, None, 0)
    scores = scores_by_hand(model, clips[:2], "eng_Latn", (0, 1))
    for row, prediction in zip(scores, report.predictions, strict=True):
        best = sorted(zip(PROMPTS, row, strict=True), key=lambda pair: -pair[1])[:2]
        assert [label for label, _ in prediction.labels] == [label for label, _ in best]
        assert [score for _, score in prediction.labels] == pytest.approx(
            [score for _, score in best], abs=1e-5
        )
    assert report.predictions[0].path == clips[0].audio


def test_labelled_and_unlabelled_sounds_are_told_apart(model: MLCLAP, clips: list[Clip]) -> None:
    mixed = [*clips[:5], dataclasses.replace(clips[5], label=None), *clips[6:]]
    report = classify_clips(model, mixed, PROMPTS)
    assert report.num_clips == 8
    assert report.languages == classify_clips(model, [*clips[:5], *clips[6:]], PROMPTS).languages
    assert [each.path for each in report.predictions] == [clips[5].audio] * 2


def test_a_label_without_prompts_is_refused(model: MLCLAP, clips: list[Clip]) -> None:
    stranger = dataclasses.replace(clips[0], label="chainsaw")
    with pytest.raises(ValueError, match=r"'chainsaw' is none of the prompts' \(dog, rain, bell\)"):
        classify_clips(model, [stranger], PROMPTS)
    with pytest.raises(ValueError, match="no sound"):
        classify_clips(model, [], PROMPTS)


def test_prompts_are_chosen_by_number() -> None:
    chosen = choose_prompts(PROMPTS, ["fr"], (1,))
    assert chosen == {"fra_Latn": [["Aboiements."], ["De la pluie."], ["Sonnerie."]]}
    assert list(choose_prompts(PROMPTS)) == ["eng_Latn", "fra_Latn"]
    with pytest.raises(
        ValueError, match="'dog' has 2 descriptions in eng_Latn, numbered from 0: there is no number 2"
    ):
        choose_prompts(PROMPTS, None, (0, 2))
    with pytest.raises(ValueError, match="'dog' has no description in deu_Latn, only in eng_Latn, fra_Latn"):
        choose_prompts(PROMPTS, ["de"])
    uneven = {"dog": {"eng_Latn": ["A dog."]}, "rain": {"fra_Latn": ["La pluie."]}}
    with pytest.raises(ValueError, match="no language that every label has"):
        choose_prompts(uneven)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "there is no label"),
        ("{}", "expected an object"),
        ('["dog", "dog"]', "'dog' is there twice"),
        ("{", "not JSON"),
        ('{"dog": 7}', "'dog': expected a list of descriptions"),
        ('{"dog": []}', "'dog': expected a list of descriptions"),
        ('{"dog": {"en": "A dog."}}', "'dog' in en: expected a list"),
        ('{"dog": {"en": []}}', "'dog' in en: expected a list"),
        ('{"dog": {"en": ["A dog."], "eng_Latn": ["Dog."]}}', "language eng_Latn twice"),
        ('{"dog": {"xx": ["A dog."]}}', "xx"),
    ],
)
def test_wrong_prompt_files_are_told(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "prompts.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_prompts(tmp_path / "prompts.json")


def test_the_esc10_captions_are_prompts(shared: Path) -> None:
    prompts = read_prompts(shared / "data" / "esc10" / "captions.json")
    chosen = choose_prompts(prompts, None, (3,))
    assert (len(prompts), len(chosen)) == (10, 8)
    assert chosen["eng_Latn"][0] == ["A hound is woofing."]


def test_sounds_are_found_in_manifests_folders_and_files(clips: list[Clip], tmp_path: Path) -> None:
    write_manifest(tmp_path / "clips.jsonl", clips)
    folder = clips[0].audio.parent
    found = find_clips([tmp_path / "clips.jsonl", folder, clips[3].audio])
    assert found[:9] == clips
    assert found[9:] == [*(clip.audio for clip in clips), clips[3].audio]
    with pytest.raises(FileNotFoundError, match="nothing"):
        find_clips([tmp_path / "nothing.wav"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no sound in"):
        find_clips([tmp_path / "empty"])


@pytest.fixture
def prompts_file(tmp_path: Path) -> Path:
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS), "utf-8")
    return tmp_path / "prompts.json"


def test_the_command_prints_writes_and_draws(
    model_folder: Path,
    clips: list[Clip],
    prompts_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_manifest(tmp_path / "clips.jsonl", clips)
    out, plot = tmp_path / "new" / "report.json", tmp_path / "new" / "map.svg"
    config = ClassifyConfig(
        model=str(model_folder),
        data=(tmp_path / "clips.jsonl", clips[0].audio),
        prompts=prompts_file,
        prompt_indices=(1,),
        json=out,
        plot=plot,
        confusion=plot.with_name("confusion.png"),
    )
    report = classify(config)
    record = json.loads(out.read_text("utf-8"))
    assert record["fingerprint"] == MLCLAP.from_pretrained(model_folder).fingerprint()
    assert record["settings"]["prompt_indices"] == [1]
    found = record["results"]["languages"]["fra_Latn"]
    assert found["accuracy"] == report.languages["fra_Latn"].accuracy
    assert found["confusion"] == report.languages["fra_Latn"].confusion
    assert found["interval"][0] <= found["accuracy"] <= found["interval"][1]
    assert record["results"]["predictions"][0]["path"] == str(clips[0].audio)
    assert "<svg" in plot.read_text("utf-8")
    assert plot.with_name("confusion.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    row = next(line.split() for line in printed.splitlines() if line.startswith("fra_Latn"))
    assert row[1] == f"{found['accuracy']:.1f}"
    assert "9 sounds, 3 classes; guessing has 33.3 %" in printed
    assert "0.wav" in printed


def test_files_of_a_folder_that_are_passed_over_are_told(
    model_folder: Path, clips: list[Clip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = tmp_path / "sounds", tmp_path / "report.json"
    folder.mkdir()
    (folder / "a.wav").write_bytes(clips[0].audio.read_bytes())
    (folder / "notes.txt").write_text("hello")
    classify(ClassifyConfig(model=str(model_folder), data=(folder,), labels=("dog", "rain"), json=out))
    told = "1 file is not taken for sound by its name (.txt 1)"
    assert told in " ".join(json.loads(out.read_text("utf-8"))["results"]["notices"])
    assert told in caplog.text


def test_a_mistake_shows_before_the_model_is_loaded(
    clips: list[Clip], prompts_file: Path, tmp_path: Path
) -> None:
    write_manifest(tmp_path / "clips.jsonl", [dataclasses.replace(clips[0], label="saw")])
    config = ClassifyConfig(model=str(tmp_path / "none"), data=(clips[0].audio,), prompts=prompts_file)
    for changes, message in (
        ({"languages": ("de",)}, "no description in deu_Latn"),
        ({"data": (tmp_path / "clips.jsonl",)}, "'saw' is none of"),
        ({"plot": tmp_path / "map.png"}, "plot: no clip has a label"),
        ({"confusion": tmp_path / "map.png"}, "confusion: no clip has a label"),
        ({"confusion": tmp_path / "map.doc"}, r"confusion: .*map.doc should end in one of"),
    ):
        with pytest.raises(ValueError, match=message):
            classify(dataclasses.replace(config, **changes))  # type: ignore[arg-type]


def test_a_label_in_brackets_is_printed_as_it_is(
    model: MLCLAP, clips: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = {"[red]": PROMPTS["dog"], "b": PROMPTS["rain"]}
    print_zero_shot(classify_clips(model, [clips[0].audio], prompts, ["eng_Latn"]))
    assert "[red]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": None}, "--prompts FILE"),
        ({"data": ()}, "nothing to classify"),
        ({"prompt_indices": (-1,)}, "count from 0"),
        ({"top_k": 0}, "top_k"),
    ],
)
def test_impossible_settings_are_refused_by_their_flags_name(
    options: dict[str, object], message: str
) -> None:
    given: dict[str, object] = {"model": "m", "data": (Path("a.wav"),), "prompts": Path("p.json")} | options
    with pytest.raises(ValueError, match=message):
        ClassifyConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "dog\nrain_drops\n\n"),
        ("labels.json", '["dog", "rain_drops"]'),
        ("labels.json", '{"dog": ["The sound of dog."], "rain_drops": "The sound of rain drops."}'),
    ],
)
def test_labels_are_read_from_text_lists_and_lists_of_descriptions(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    assert read_prompts(tmp_path / name) == {
        "dog": {"eng_Latn": ("The sound of dog.",)},
        "rain_drops": {"eng_Latn": ("The sound of rain drops.",)},
    }


def test_plain_labels_classify_in_every_language_that_is_named(
    model_folder: Path, clips: list[Clip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "report.json"
    config = ClassifyConfig(
        model=str(model_folder), data=(clips[0].audio, clips[1].audio), labels=("dog", "rain" * 400),
        languages=("en", "fr"), limit=1, device="cpu", json=out,
    )  # fmt: skip
    report = classify(config)
    assert report.labels == ["dog", "rain" * 400]
    assert [found.language for found in report.predictions] == ["eng_Latn", "fra_Latn"]
    notices = json.loads(out.read_text())["results"]["notices"]
    assert notices[0] == "1 of 2 clips are left out (--limit 1)"
    assert "texts are cut to the model's 128 tokens" in notices[1]
    assert notices[1] in caplog.text
    (tmp_path / "labels.txt").write_text("dog\nrain\n")
    named = dataclasses.replace(config, labels=(str(tmp_path / "labels.txt"),))
    assert classify(named).labels == ["dog", "rain"]
    with pytest.raises(ValueError, match="give one of them"):
        dataclasses.replace(config, prompts=tmp_path / "labels.txt")


def test_languages_that_not_every_class_has_are_told(model: MLCLAP, clips: list[Clip]) -> None:
    prompts = {"dog": {"eng_Latn": ["A dog."], "fra_Latn": ["Un chien."]}, "rain": {"eng_Latn": ["Rain."]}}
    report = classify_clips(model, [clips[0].audio], prompts)
    assert report.notices == ("not every class has a description in fra_Latn: not used",)


def test_labels_are_put_into_the_sentences_that_are_given(
    model_folder: Path, clips: list[Clip], tmp_path: Path
) -> None:
    sounds = [clip.audio for clip in clips[:3]]
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\nrain\n")
    config = ClassifyConfig(
        data=tuple(sounds), model=str(model_folder), labels=(str(labels),), languages=("en", "fr"),
        prompt=("eng_Latn=Somebody hears {}.",), device="cpu",
    )  # fmt: skip
    sentences = {
        label: {"eng_Latn": [f"Somebody hears {label}."], "fra_Latn": [f"Le son de {label}."]}
        for label in ("dog", "rain")
    }
    expected = classify_clips(MLCLAP.from_pretrained(model_folder), sounds, sentences)
    assert classify(config).predictions == expected.predictions
    one = dataclasses.replace(
        config, labels=("dog", "rain"), languages=("en",), prompt=("Somebody hears {}.",)
    )
    assert classify(one).predictions == [each for each in expected.predictions if each.language == "eng_Latn"]


@pytest.mark.parametrize(
    ("prompt", "languages", "message"),
    [
        (("Hear {}.",), ("en", "fr"), "say which language it is in"),
        (("eng_Latn=Hear this.",), ("en",), "needs {} once"),
        (("en=A {}.", "eng_Latn=The {}."), ("en",), "eng_Latn is there twice"),
        (("xx=A {}.",), ("en",), "xx"),
    ],
)
def test_sentences_that_cannot_be_used_are_refused(
    prompt: tuple[str, ...], languages: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_templates(prompt, languages)


def test_a_sentence_for_classes_with_descriptions_of_their_own_is_refused(
    model_folder: Path, clips: list[Clip], tmp_path: Path
) -> None:
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    config = ClassifyConfig(
        data=(clips[0].audio,), model=str(model_folder), prompts=tmp_path / "prompts.json", prompt=("A {}.",),
    )  # fmt: skip
    with pytest.raises(ValueError, match="have descriptions of their own"):
        classify(config)


def test_intervals_are_of_recordings_where_they_are_named(
    model_folder: Path, clips: list[Clip], tmp_path: Path
) -> None:
    rows = [dataclasses.replace(clip, extra={"tape": place % 2}) for place, clip in enumerate(clips)]
    write_manifest(tmp_path / "m.jsonl", rows)
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    config = ClassifyConfig(
        data=(tmp_path / "m.jsonl",), model=str(model_folder), prompts=tmp_path / "prompts.json",
        bootstrap=100,
        device="cpu",
    )  # fmt: skip
    plain, taped = classify(config), classify(dataclasses.replace(config, recording="tape"))
    assert plain.average_interval is not None
    assert plain.average_interval[0] <= (plain.average or 0.0) <= plain.average_interval[1]
    for code, found in plain.languages.items():
        assert found.accuracy == taped.languages[code].accuracy
        assert found.interval != taped.languages[code].interval
    assert classify(dataclasses.replace(config, bootstrap=0)).average_interval is None
