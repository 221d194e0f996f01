"""Correction: what is accepted and why not, predictions that say so, and jobs that are killed and go on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aac_llm.cli import main
from aac_llm.config.correct import CorrectConfig, CorrectionConfig
from aac_llm.correction.acceptance import Correction, clean_answer, judge, people
from aac_llm.correction.correct import correct, correct_file, difference
from aac_llm.correction.corrector import Corrector
from aac_llm.correction.endpoint import read_answer
from aac_llm.correction.gate import Gate
from aac_llm.correction.llm import LLM, CutAnswerError, LLMError
from aac_llm.data.journal import JournalError
from aac_llm.data.predictions import Prediction, read_predictions, write_predictions

SETTINGS = CorrectionConfig(llm="a function")
REPAIRS = {
    "a dog dog barks and": "a dog barks",
    "rain is falling on a": "rain is falling on a roof while a cat meows",
    "a man speaks and a bell rings and": "a man speaks",
    "a woman is talking while a": "a man is talking",
    "a bird bird chirps": "a bird bird bird chirps and and",
    "and thunder rumbles": "And thunder rumbles",
}
REASONS = ["accepted", "kept: adds cat", "kept: drops bell", "kept: changes who is heard"]


class Scripted:
    """Answers from a table, and remembers what it was asked."""

    def __init__(self, answers: dict[str, str | LLMError], otherwise: str = "") -> None:
        self.answers = answers
        self.otherwise = otherwise
        self.asked: list[str] = []

    def __call__(self, captions: Sequence[str]) -> list[str | LLMError]:
        self.asked += captions
        return [self.answers.get(caption, self.otherwise) for caption in captions]


def one(caption: str, llm: LLM) -> Correction:
    (result,) = Corrector(SETTINGS, llm=llm).correct([caption])
    return result


def test_only_repairs_that_are_sound_are_accepted() -> None:
    results = Corrector(SETTINGS, llm=Scripted(dict(REPAIRS))).correct(list(REPAIRS))
    assert [result.reason for result in results[:4]] == REASONS
    assert results[4].reason == "kept: ends nowhere"
    assert results[5].reason == "kept: the model changed nothing"
    assert [result.after for result in results] == ["a dog barks", *list(REPAIRS)[1:]]
    assert [result.accepted for result in results] == [True] + [False] * 5
    assert [result.answer for result in results[:3]] == list(REPAIRS.values())[:3]


def test_captions_that_the_gate_passes_are_not_shown_to_the_model() -> None:
    llm = Scripted({"a dog dog barks": "a dog barks"})
    results = Corrector(SETTINGS, llm=llm).correct(["a cat meows", "a dog dog barks", "rain falls"])
    assert llm.asked == ["a dog dog barks"]
    assert [result.considered for result in results] == [False, True, False]
    assert [result.after for result in results] == ["a cat meows", "a dog barks", "rain falls"]
    assert results[0].score_after is None


def test_captions_without_faults_need_no_model() -> None:
    config = CorrectionConfig(llm="m", endpoint="http://127.0.0.1:9/v1")
    assert Corrector(config).correct([]) == []
    assert Corrector(config).correct(["a dog barks"])[0].reason == "fluent"


def test_a_wrong_name_is_told_at_once(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ValueError, match="expected a folder or a hub id of a language model"):
        Corrector(CorrectionConfig(llm=str(tmp_path))).check()
    config = config_of(source, llm=str(tmp_path))
    with pytest.raises(ValueError, match="language model"):
        correct_file(config)
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A dog barks.", "a dog barks"),
        ('"A dog barks."', "a dog barks"),
        ('Here is the corrected caption: "a dog barks"', "a dog barks"),
        ("Here's the corrected version of the caption:\n\na dog barks", "a dog barks"),
        ("Sure! Here you go:\n\n**a dog barks**\n\nI removed a word.", "a dog barks"),
        ("Corrected caption: a dog barks", "a dog barks"),
        ("Fixed: a dog barks\n\nCaption: rain", "a dog barks"),
        ("<think>The word dog\nis doubled.</think>\n\na dog barks", "a dog barks"),
        ("\u201cA dog  barks\u201d", "a dog barks"),
        ("`a dog barks`", "a dog barks"),
    ],
)
def test_wrappers_of_answers_are_taken_off(answer: str, expected: str) -> None:
    assert clean_answer(answer, "a dog dog barks") == expected
    assert one("a dog dog barks", Scripted({}, answer)).after == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "kept: empty answer"),
        (" \n\n ", "kept: empty answer"),
        ('""', "kept: empty answer"),
        ("...", "kept: empty answer"),
        ("42", "kept: empty answer"),
        ("<think>never comes to an end", "kept: empty answer"),
        ("I'm sorry, but I cannot help with that.", "kept: the model declined"),
        ("As an AI language model, I hear nothing.", "kept: the model declined"),
        ("No correction is needed.", "kept: the model declined"),
        ("a dog barks " * 10, "kept: the answer is too long"),
        ("xqzt flurb", "kept: adds flurb, xqzt"),
    ],
)
def test_nonsense_keeps_the_original(answer: str, reason: str) -> None:
    result = one("a dog dog barks", Scripted({}, answer))
    assert (result.after, result.accepted, result.reason) == ("a dog dog barks", False, reason)


def test_the_repair_is_written_as_the_original() -> None:
    assert clean_answer("A dog barks.", "A dog dog barks.") == "A dog barks."
    assert clean_answer("A dog barks.", "A dog dog barks") == "A dog barks"
    assert clean_answer("A Dog barks.", "a dog dog barks") == "a dog barks"


def test_a_model_that_fails_keeps_all() -> None:
    def broken(captions: Sequence[str]) -> list[str | LLMError]:
        raise LLMError("out of order")

    assert one("a dog dog barks", broken).reason == "kept: no answer (out of order)"
    mixed = Scripted({"a dog dog barks": LLMError("HTTP 500"), "rain rain falls": "rain falls"})
    results = Corrector(SETTINGS, llm=mixed).correct(["a dog dog barks", "rain rain falls"])
    assert [result.reason for result in results] == ["kept: no answer (HTTP 500)", "accepted"]


@pytest.mark.parametrize("text", ["  ", "word " * 201])
def test_what_is_no_caption_is_not_asked_about(text: str) -> None:
    llm = Scripted({}, "a dog barks")
    assert one(text, llm).reason == "kept: no answer (a caption has 1 to 200 words)"
    assert llm.asked == []


def test_another_gate_decides_both_times() -> None:
    gate = Gate(
        "length", 4.0, lambda captions: np.array([float(len(caption.split())) for caption in captions])
    )
    repairs = {
        "there is a dog barking": "a dog barking",
        "a cat meows there": "there is a cat that meows",
        "the rain fell there": "the rain falls there",
    }
    results = Corrector(SETTINGS, llm=Scripted(repairs), gate=gate).correct([*repairs, "rain falls"])
    assert [result.reason for result in results][0::3] == ["accepted", "fluent"]
    assert (results[0].score_before, results[0].score_after) == (5.0, 3.0)
    assert results[1].reason == "kept: no better by the gate (4.00 to 6.00)"
    # Strictly better: what the gate cannot tell from the caption mends nothing.
    assert results[2].reason == "kept: no better by the gate (4.00 to 4.00)"


def test_a_score_that_is_no_number_accepts_nothing() -> None:
    held_back = Correction("a dog dog barks", "a dog dog barks", False, "", 0.9)
    assert not judge(held_back, "a dog barks", math.nan).accepted


def test_people_are_compared_by_kind() -> None:
    assert people("a gentleman speaks") == people("A man talks")
    assert people("a boy laughs") == {"male", "young"}
    assert people("someone speaks") == frozenset()


def test_a_random_model_changes_nothing(tiny_decoder: Path) -> None:
    config = CorrectionConfig(llm=str(tiny_decoder), device="cpu", max_new_tokens=6)
    captions = ["a dog dog barks and", "a bell rings", "rain is falling on a"]
    results = Corrector(config).correct(captions)
    assert [result.after for result in results] == captions
    assert all(result.reason.startswith(("kept: ", "fluent")) for result in results)


def test_surprise_of_the_local_model_can_be_the_gate(tiny_decoder: Path) -> None:
    config = CorrectionConfig(llm=str(tiny_decoder), gate="lm", threshold=0.0, device="cpu", max_new_tokens=4)
    corrector = Corrector(config)
    (result,) = corrector.correct(["a dog barks"])
    assert corrector.gate.name == "lm"
    assert result.considered
    assert result.score_before > 0


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A folder as FENSE's: a random BERT of a few words, whose outputs depend on the text."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *["a", "dog", "barks", "and", "rain", "falls", "loudly"]]
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    bert = BertModel(BertConfig(vocab_size=len(words), initializer_range=0.5, **sizes))
    bert.config.save_pretrained(tmp_path)
    weights = {f"encoder.{name}": value for name, value in bert.state_dict().items()}
    weights |= {"clf.weight": torch.randn(6, 16), "clf.bias": torch.zeros(6)}
    record = {"model_type": "bert-base-uncased", "num_classes": 6, "state_dict": weights}
    torch.save(record, tmp_path / "echecker.ckpt")
    return tmp_path


def test_the_fluency_detector_can_be_the_gate(detector: Path) -> None:
    from aac_llm.metrics.fluency import FluencyDetector

    texts = ["dog barks loudly", "a dog barks loudly"]
    better, worse = sorted(
        texts, key=lambda text: FluencyDetector.from_pretrained(detector).error_probability([text])[0]
    )
    config = CorrectionConfig(llm="f", fluency_model=str(detector), threshold=0.0)
    corrector = Corrector(config, llm=Scripted({worse: better, better: worse}))
    repaired, kept = corrector.correct([worse, better])
    assert corrector.gate.name == "fluency"
    assert (repaired.after, repaired.accepted) == (better, True)
    assert (kept.after, kept.accepted) == (better, False)
    assert kept.reason.startswith("kept: no better by the gate")


def test_differences_are_shown_by_words() -> None:
    assert difference("a dog dog barks", "a dog barks loudly") == "a dog [-dog-] barks {+loudly+}"
    assert difference("rain", "rain") == "rain"


def test_a_caption_of_thousands_of_words_neither_holds_up_nor_fills_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "long.jsonl"
    write_predictions(path, [Prediction(id="a", audio=None, caption="dog barks " * 10_000)])
    began = time.process_time()
    config = CorrectConfig(
        predictions=path, out=tmp_path / "out.jsonl", llm="x", endpoint="http://localhost:1"
    )
    assert correct(config) == 1
    assert time.process_time() - began < 20
    assert len(capsys.readouterr().out) < 5000


# ---------------------------------------------------------------------------------------------------- files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "captions.jsonl"
    texts = [*REPAIRS, "a car passes by", "water water drips"]
    write_predictions(path, [Prediction(f"clip{number}", None, text) for number, text in enumerate(texts)])
    return path


def config_of(source: Path, out: str = "out.jsonl", **settings: object) -> CorrectConfig:
    values = {"predictions": source, "out": source.with_name(out), "llm": "a function"} | settings
    return CorrectConfig(**values)  # type: ignore[arg-type]


def test_a_file_says_what_was_decided_and_why(source: Path) -> None:
    config = config_of(source)
    correct_file(config, Corrector(config, llm=Scripted(dict(REPAIRS))))
    found = read_predictions(config.out)
    assert [prediction.id for prediction in found] == [
        prediction.id for prediction in read_predictions(source)
    ]
    assert (found[0].caption, found[0].original) == ("a dog barks", "a dog dog barks and")
    assert found[0].correction == {
        "before": "a dog dog barks and",
        "after": "a dog barks",
        "answer": "a dog barks",
        "accepted": True,
        "reason": "accepted",
        "gate": "rules",
        "llm": "a function",
        "score_before": pytest.approx(0.99),
        "score_after": 0.0,
    }
    assert (found[1].caption, found[1].original) == ("rain is falling on a", None)
    assert found[1].correction is not None
    assert found[1].correction["reason"] == "kept: adds cat"
    assert found[6].correction is None


def test_the_first_original_stays_when_a_file_is_corrected_twice() -> None:
    first = Prediction("x", None, "a dog dog barks", original="a dog dog dog barks")
    (found,) = Corrector(SETTINGS, llm=Scripted({}, "a dog barks")).correct_predictions([first])
    assert (found.caption, found.original) == ("a dog barks", "a dog dog dog barks")


def test_a_killed_job_goes_on_and_ends_as_if_it_had_not_been(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aac_llm.correction.correct.CHUNK", 2)
    whole = config_of(source, "whole.jsonl")
    correct_file(whole, Corrector(whole, llm=Scripted(dict(REPAIRS))))

    def killed_at_a_woman(captions: Sequence[str]) -> list[str | LLMError]:
        if "a woman is talking while a" in captions:
            raise KeyboardInterrupt
        return Scripted(dict(REPAIRS))(captions)

    config = config_of(source)
    with pytest.raises(KeyboardInterrupt):
        correct_file(config, Corrector(config, llm=killed_at_a_woman))
    with config.out.open("ab") as file:
        file.write(b'{"id": "clip2", "capt')  # a line that the kill cut
    llm = Scripted(dict(REPAIRS))
    correct_file(config, Corrector(config, llm=llm))
    assert "a dog dog barks and" not in llm.asked
    assert config.out.read_bytes() == whole.out.read_bytes()


def test_captions_without_an_answer_are_asked_again(source: Path) -> None:
    config = config_of(source)
    correct_file(config, Corrector(config, llm=lambda captions: [LLMError("HTTP 503")] * len(captions)))
    assert all(not prediction.original for prediction in read_predictions(config.out))
    llm = Scripted(dict(REPAIRS))
    correct_file(config, Corrector(config, llm=llm))
    assert sorted(llm.asked) == sorted([*REPAIRS, "water water drips"])
    assert [prediction.id for prediction in read_predictions(config.out)] == [
        f"clip{number}" for number in range(8)
    ]
    again = Scripted(dict(REPAIRS))
    correct_file(config, Corrector(config, llm=again))
    assert again.asked == []


def test_other_settings_or_other_captions_are_not_mixed(source: Path) -> None:
    config = config_of(source)
    correct_file(config, Corrector(config, llm=Scripted(dict(REPAIRS))))
    for changed in (config_of(source, threshold=0.7), config_of(source, llm="another")):
        with pytest.raises(JournalError, match="other settings"):
            correct_file(changed, Corrector(changed, llm=Scripted({})))
    write_predictions(source, [Prediction("clip0", None, "a cow moos")])
    with pytest.raises(JournalError, match="predictions_sha256"):
        correct_file(config, Corrector(config, llm=Scripted({})))
    anew = config_of(source, overwrite=True)
    assert [prediction.caption for prediction in correct_file(anew, Corrector(anew, llm=Scripted({})))] == [
        "a cow moos"
    ]


def test_the_verb_prints_a_summary_and_the_changes(
    source: Path,
    tiny_decoder: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "aac_llm")
    config = config_of(source, llm=str(tiny_decoder), device="cpu", max_new_tokens=4)
    assert correct(config) == 0
    assert "8 captions, 7 held back by gate rules" in caplog.text
    assert "kept" in capsys.readouterr().out
    report = json.loads(Path(f"{config.out}.report.json").read_text())
    assert report["complete"]
    assert report["settings"]["gate"] == "rules"
    assert "api_key_variable" not in report["settings"]


# ------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Corrector(CorrectionConfig(gate="fluency", llm="m")), "gate fluency needs a detector"),
        (lambda: CorrectionConfig(gate="rules", fluency_model="x"), "fluency_model goes with gate fluency"),
        (lambda: CorrectionConfig(gate="lm", endpoint="http://x/v1"), "gate lm needs a local"),
        (lambda: CorrectionConfig(endpoint="localhost:8000"), "must begin with http"),
        (lambda: CorrectionConfig(concurrency=0), "concurrency must be at least 1, got 0"),
        (lambda: CorrectionConfig(request_timeout=0), "request_timeout must be above 0"),
        (lambda: CorrectionConfig(max_retries=-1), "max_retries must not be negative"),
        (lambda: CorrectConfig(predictions=Path("a"), out=Path("b")), "give --llm"),
        (lambda: CorrectConfig(predictions=Path("a"), out=Path("a"), llm="m"), "out must be another file"),
        (lambda: Corrector(CorrectionConfig()), "no language model"),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_gate_follows_the_model_that_is_given() -> None:
    assert CorrectionConfig().gate_used == "rules"
    assert CorrectionConfig(fluency_model="x").gate_used == "both"


def test_captions_of_dcase_are_corrected_and_bad_rows_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "p.csv"
    path.write_text("file_name,caption_predicted\na.wav,a dog dog barks\nb.wav,rain, wind\n")
    problems: list[str] = []
    config = CorrectConfig(predictions=path, out=tmp_path / "out.jsonl", llm="a function")
    corrector = Corrector(config, llm=Scripted({"a dog dog barks": "a dog barks"}))
    (found,) = correct_file(config, corrector, problems=problems)
    assert (found.id, found.caption) == ("a.wav", "a dog barks")
    assert [problem.split(": ")[0] for problem in problems] == [f"{path}:3"]
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert report["bad_rows"] == problems


def test_a_bare_text_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a list of captions, got one text 'a dog'"):
        Corrector(SETTINGS, llm=Scripted({})).correct("a dog")


def test_an_answer_that_was_cut_is_not_taken_and_says_so() -> None:
    content = {"choices": [{"message": {"content": "a dog barks while"}, "finish_reason": "length"}]}
    with pytest.raises(CutAnswerError):
        read_answer(json.dumps(content).encode())
    content["choices"][0]["message"]["content"] = "a dog barks\nI removed"
    with pytest.raises(CutAnswerError) as cut:
        read_answer(json.dumps(content).encode())
    assert clean_answer(cut.value, "a dog dog barks") == "a dog barks"
    result = one("a dog dog barks", Scripted({"a dog dog barks": CutAnswerError("a dog")}))
    assert result.reason == "kept: the answer was cut (max_new_tokens allows more)"
    assert result.after == "a dog dog barks"


def test_a_detector_that_is_not_there_is_a_mistake_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(tmp_path / "p.jsonl", [Prediction("a", None, "a dog dog barks")])
    words = ["correct", str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "o.jsonl"), "--choose"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--fluency_model", str(tmp_path / "nothere")])
    assert ended.value.code == 2
    assert "no fluency detector at" in capsys.readouterr().err
