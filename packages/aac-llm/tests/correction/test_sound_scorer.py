"""Candidates instead of rewriting, and a program that hears the sound: what it says, and ways to fail."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from aac_llm.config.caption import CaptionConfig
from aac_llm.config.correct import CorrectConfig, CorrectionConfig
from aac_llm.correction.correct import correct, correct_file
from aac_llm.correction.corrector import Corrector
from aac_llm.correction.llm import LLMError
from aac_llm.correction.sound_scorer import ScorerError, SoundScorer, read_similarities
from aac_llm.data.predictions import Candidate, Prediction, read_predictions, write_predictions

LENGTH = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(json.dumps({"similarity": -len(row["text"]) if row["audio"] != "broken.wav" else None}))
"""
"""A scorer that likes short texts and cannot read one sound."""
BROKEN = "a dog dog barks and"


def program(tmp_path: Path, text: str, name: str = "scorer.py") -> str:
    path = tmp_path / name
    path.write_text(text)
    return shlex.join([sys.executable, "-S", str(path)])


def never(captions: Sequence[str]) -> list[str | LLMError]:
    raise AssertionError(f"asked about {captions}")


def prediction(*texts: str, caption: str = BROKEN, audio: str | None = "rain.wav") -> Prediction:
    candidates = tuple(Candidate(text, -0.1 * place) for place, text in enumerate(texts))
    return Prediction("clip", audio, caption, candidates)


# Candidates


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((BROKEN, "a dog barks loudly", "a dog barks"), "a dog barks loudly"),
        # The most probable one of those that hear the same, though another is more probable.
        ((BROKEN, "a cat meows", "a dog is barking"), "a dog is barking"),
        ((BROKEN, "a cat meows", "a cow moos"), "a cat meows"),
        ((BROKEN, "a dog barks and a", "a dog barks"), "a dog barks"),
    ],
)
def test_the_most_probable_fluent_candidate_is_chosen(texts: tuple[str, ...], expected: str) -> None:
    corrector = Corrector(CorrectionConfig(choose=True), llm=never)
    (found,) = corrector.correct_predictions([replace(prediction(*texts), unfinished=True)])
    assert (found.caption, found.original, found.unfinished) == (expected, BROKEN, False)
    assert found.correction is not None
    assert (found.correction["reason"], found.correction["accepted"]) == ("chosen", True)
    assert found.correction["score_after"] == 0.0


def test_a_candidate_that_was_cut_is_not_chosen() -> None:
    one = prediction(BROKEN)
    cut = replace(one, candidates=(*one.candidates, Candidate("a dog barks", 0.0, unfinished=True)))
    (found,) = Corrector(CorrectionConfig(choose=True)).correct_predictions([cut])
    assert found.caption == BROKEN
    assert found.correction is not None
    assert found.correction["reason"] == "kept: no candidate is fluent"


def test_the_score_is_the_chosen_candidates_and_its_confidence_is_not_known() -> None:
    one = replace(prediction(BROKEN, "a dog barks"), score=0.0, confidence=0.9)
    (found,) = Corrector(CorrectionConfig(choose=True)).correct_predictions([one])
    assert (found.caption, found.score, found.confidence) == ("a dog barks", -0.1, None)


def test_candidates_with_times_are_not_chosen() -> None:
    one = prediction(BROKEN, "[0.0-1.5] a dog barks")
    (found,) = Corrector(CorrectionConfig(choose=True)).correct_predictions([one])
    assert found.caption == BROKEN


def test_the_model_is_asked_only_where_no_candidate_is_fluent() -> None:
    asked: list[str] = []

    def llm(captions: Sequence[str]) -> list[str | LLMError]:
        asked.extend(captions)
        return ["rain falls"] * len(captions)

    corrector = Corrector(CorrectionConfig(llm="f", choose=True), llm=llm)
    other = replace(prediction("rain rain falls", caption="rain rain falls"), id="other")
    found = corrector.correct_predictions([prediction(BROKEN, "a dog barks"), other])
    assert [one.caption for one in found] == ["a dog barks", "rain falls"]
    assert asked == ["rain rain falls"]


def test_captions_are_chosen_from_the_command_line_without_a_model(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    write_predictions(path, [prediction(BROKEN, "a dog barks")])
    config = CorrectConfig(predictions=path, out=tmp_path / "out.jsonl", choose=True)
    assert correct(config) == 0
    assert [one.caption for one in read_predictions(config.out)] == ["a dog barks"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"correction": CorrectionConfig(choose=True), "correct": True}, "num_candidates 2 or more"),
        ({"correct": True}, "--correction.choose"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CaptionConfig(files=(Path("a.wav"),), model="m", **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sound_margin must not be negative"):
        CorrectionConfig(sound_margin=-1)


# A program that hears


def test_a_repair_that_fits_the_sound_worse_is_not_taken(tmp_path: Path) -> None:
    config = CorrectionConfig(llm="f", sound_scorer=program(tmp_path, LENGTH), sound_margin=0)
    table = {BROKEN: "a dog barks", "dog dog barks": "the dog is barking"}
    corrector = Corrector(config, llm=lambda captions: [table[caption] for caption in captions])
    shorter, longer = corrector.correct_predictions([prediction(), prediction(caption="dog dog barks")])
    assert shorter.caption == "a dog barks"
    assert shorter.correction is not None
    assert longer.correction is not None
    assert (shorter.correction["similarity_before"], shorter.correction["similarity_after"]) == (-19, -11)
    assert (longer.caption, longer.original) == ("dog dog barks", None)
    assert longer.correction["reason"] == "kept: fits the sound worse (-13.00 to -18.00)"
    wide = Corrector(replace(config, sound_margin=5), llm=corrector.llm)
    assert wide.correct_predictions([prediction(caption="dog dog barks")])[0].caption == "the dog is barking"


def test_the_sound_chooses_among_fluent_candidates(tmp_path: Path) -> None:
    config = CorrectionConfig(choose=True, sound_scorer=program(tmp_path, LENGTH))
    texts = (BROKEN, "a dog barks loudly", "dogs bark", "a dog barks")
    (found,) = Corrector(config).correct_predictions([prediction(*texts)])
    assert found.caption == "dogs bark"
    # A sound that cannot be read: the probabilities choose.
    (found,) = Corrector(config).correct_predictions([prediction(*texts, audio="broken.wav")])
    assert found.caption == "a dog barks loudly"


@pytest.mark.parametrize(
    "text", ["import sys; sys.exit(3)", "print('nonsense')", "import time; time.sleep(60)"]
)
def test_a_program_that_fails_chooses_nothing_and_is_asked_again(tmp_path: Path, text: str) -> None:
    config = CorrectionConfig(choose=True, sound_scorer=program(tmp_path, text), sound_timeout=1.0)
    (found,) = Corrector(config).correct_predictions([prediction(BROKEN, "a dog barks loudly")])
    assert found.caption == BROKEN
    assert found.correction is not None
    assert found.correction["reason"].startswith("kept: no answer of the sound scorer (")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import sys; sys.exit('no such model')", "exit code 1: no such model"),
        ("print('{\"similarity\": 1}')", "1 lines for 2 pairs"),
        ("import sys; [print('progress') for line in sys.stdin]", "not JSON"),
        ("import sys; [print('{\"similarity\": NaN}') for line in sys.stdin]", "NaN"),
        ("import sys; [print('{\"similarity\": true}') for line in sys.stdin]", "no number under"),
        ("import sys; [print('{\"score\": 1}') for line in sys.stdin]", "no number under"),
        ("import time; time.sleep(60)", "no end after 0.5 s"),
    ],
)
def test_a_program_that_fails_keeps_the_caption(tmp_path: Path, text: str, reason: str) -> None:
    timeout = 0.5 if "sleep" in text else 60.0
    config = CorrectionConfig(llm="f", sound_scorer=program(tmp_path, text), sound_timeout=timeout)
    (found,) = Corrector(config, llm=lambda captions: ["a dog barks"]).correct_predictions([prediction()])
    assert found.caption == BROKEN
    assert found.correction is not None
    assert found.correction["reason"].startswith("kept: no answer of the sound scorer (")
    assert reason in found.correction["reason"]


def test_what_a_wrapper_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    sleeper = f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    child = shlex.split(program(tmp_path, sleeper))
    wrapper = program(tmp_path, f"import subprocess\nsubprocess.run({child!r})", "wrapper.py")
    for timeout in (1, 5, 25):  # on a busy machine it takes seconds until the child runs
        (found,) = SoundScorer(wrapper, timeout=timeout)([("a.wav", "rain")])
        if note.exists():
            break
    assert isinstance(found, ScorerError)
    pid = int(note.read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        # Ended, and not yet fetched by its new parent.
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} still runs")


def test_a_caption_without_a_sound_is_not_judged_in_silence(tmp_path: Path) -> None:
    config = CorrectionConfig(llm="f", sound_scorer=program(tmp_path, LENGTH))
    corrector = Corrector(config, llm=lambda captions: ["a dog barks"])
    (found,) = corrector.correct_predictions([prediction(audio=None)])
    assert found.correction is not None
    assert found.correction["reason"].startswith("kept: no answer of the sound scorer (")
    assert "names no sound" in found.correction["reason"]


def test_captions_that_were_not_judged_are_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    write_predictions(path, [prediction()])
    command = program(tmp_path, "import sys; sys.exit(3)")
    config = CorrectConfig(predictions=path, out=tmp_path / "o.jsonl", llm="f", sound_scorer=command)
    corrector = Corrector(config, llm=lambda captions: ["a dog barks"])
    assert correct_file(config, corrector)[0].caption == BROKEN
    program(tmp_path, LENGTH)
    assert correct_file(config, corrector)[0].caption == "a dog barks"


def test_the_key_of_an_endpoint_is_not_given_to_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAC_LLM_API_KEY", "secret")
    text = "import os, json; print(json.dumps({'similarity': float('AAC_LLM_API_KEY' in os.environ)}))"
    config = CorrectionConfig(llm="f", sound_scorer=program(tmp_path, text))
    assert Corrector(config, llm=never).sound_scorer is not None
    assert Corrector(config, llm=never).sound_scorer([("a.wav", "rain")]) == [0.0]  # type: ignore[misc]


def test_a_program_that_is_not_there_is_an_error_before_the_job(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    write_predictions(path, [prediction()])
    config = CorrectConfig(
        predictions=path, out=tmp_path / "out.jsonl", choose=True, sound_scorer="no-such-program --model m"
    )
    with pytest.raises(ValueError, match="no program 'no-such-program'"):
        correct_file(config)
    assert not config.out.exists()


def test_a_command_with_an_open_quote_is_refused() -> None:
    with pytest.raises(ValueError, match="sound_scorer: "):
        SoundScorer("scorer 'model")


def test_lines_are_read_in_order() -> None:
    found = read_similarities(b'{"similarity": 1}\n\n{"similarity": null}\n{"similarity": -0.5}\n', 3)
    assert [found[0], found[2]] == [1.0, -0.5]
    assert isinstance(found[1], ScorerError)
