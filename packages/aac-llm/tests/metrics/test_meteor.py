"""METEOR through its jar: equal to pycocoevalcap, whatever the captions hold."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from aac_llm.metrics import meteor as module
from aac_llm.metrics.java import JARS_VARIABLE, JavaError
from aac_llm.metrics.meteor import Meteor, find_meteor, meteor, read_counts, score_counts, score_line
from aac_llm.metrics.missing import MissingMetricError
from hypothesis import given, settings
from hypothesis import strategies as st

needs_java = pytest.mark.skipif(
    not (shutil.which("java") and find_spec("pycocoevalcap")), reason="needs Java and the extra `java`"
)

CLIPS = [
    ("a dog is barking while rain falls", ["a dog barks in the rain", "rain falls and a dog barks loudly"]),
    ("birds sing", ["birds are singing in a forest", "several birds chirp", "a bird sings in the trees"]),
    ("an engine runs and then stops", ["a motor runs then shuts off"]),
    ("water water water", ["a bell rings twice"]),
    ("someone claps", ["someone claps"]),
]
SCORES = [0.28098215413077976, 0.14035087719298242, 0.25556848159156276, 0.0, 1.0]
CORPUS = 0.2339470756594324
"""Of `Meteor().compute_score` in pycocoevalcap 1.2 on CLIPS (Java 17)."""
ODD_CLIPS = [
    ("", ["a dog"]),
    ("a ||| dog\nbarks\r\n", ["a dog barks"]),
    ("größere Hunde", ["größere Hunde"]),
    ("a dog barks", ["", "a dog barks", "x"]),
    (" \u2028 ", ["a dog"]),
]


@pytest.fixture(scope="module")
def found():
    """One run of the jar, which takes seconds to start."""
    if not (shutil.which("java") and find_spec("pycocoevalcap")):
        pytest.skip("needs Java and the extra `java`")
    return meteor(*zip(*CLIPS, *ODD_CLIPS, strict=True))


def test_hand_made_captions_score_as_in_pycocoevalcap(found):
    ours = Meteor(found.counts[: len(CLIPS)])
    np.testing.assert_allclose(ours.clips, SCORES, rtol=0, atol=1e-12)
    assert ours.corpus == pytest.approx(CORPUS, abs=1e-12)


def test_odd_captions_keep_every_clip_in_its_place(found):
    np.testing.assert_allclose(found.clips[len(CLIPS) :], [0, 1, 1, 1, 0])


@needs_java
def test_golden_captions_score_as_published(shared):
    folder = shared / "golden" / "captioning"
    rows = [json.loads(line) for line in (folder / "clotho_eval_0_499.jsonl").read_text().splitlines()]
    found = meteor([row["candidate"] for row in rows], [row["references"] for row in rows])
    np.testing.assert_allclose(found.clips, [row["meteor"] for row in rows], rtol=0, atol=1e-6)
    corpus = json.loads((folder / "clotho_eval_0_499_corpus.json").read_text())
    assert found.corpus == pytest.approx(corpus["meteor"], abs=1e-6)


def test_corpus_value_is_of_the_summed_counts_and_not_the_mean():
    rows = np.zeros((2, 23))
    rows[0, [0, 1, 4, 5, 20, 21, 22]] = 1  # one content word, matched
    rows[1, [0, 1]] = 9  # nine words, none matched
    found = Meteor(rows)
    np.testing.assert_allclose(found.clips, [1.0, 0.0])
    # P = R = F = 1/10; the first caption matches as a whole, so there is no chunk and no penalty.
    assert found.corpus == pytest.approx(0.1)
    rows[0, 0] += 1  # one word more, not matched: now its chunk counts, and the penalty is 0.6
    assert Meteor(rows).corpus == pytest.approx(0.4 * (1 / 11) * (1 / 10) / (0.85 / 11 + 0.15 / 10))


@given(st.lists(st.lists(st.integers(0, 30), min_size=23, max_size=23), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_scores_of_any_counts_are_numbers(rows):
    assert np.isfinite(score_counts(np.array(rows, dtype=float).reshape(-1, 23))).all()


@given(st.text(), st.lists(st.text(), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_line_of_the_protocol_has_as_many_fields_as_texts(candidate, references):
    line = score_line(candidate, references)
    assert len(line.splitlines()) == 1
    assert len(line.split(" ||| ")) == 2 + len(references)


def test_a_clip_without_references_is_refused():
    with pytest.raises(ValueError, match=r"at least one reference.*'a dog'"):
        meteor(["a dog"], [[]])


def test_as_many_references_as_captions_are_asked_for():
    with pytest.raises(ValueError, match="references for 2 captions, got them for 1"):
        meteor(["a", "b"], [["a"]])


def test_an_answer_of_the_jar_that_is_cut_is_an_error():
    with pytest.raises(JavaError, match="expected 2 lines of 23 numbers"):
        read_counts("1.0 " * 23 + "\n", 2)
    with pytest.raises(JavaError, match="expected 23 numbers"):
        read_counts("Error: out of memory\n", 1)


@needs_java
def test_a_missing_paraphrase_table_is_named(tmp_path):
    (tmp_path / "meteor").mkdir()
    (tmp_path / "meteor" / "meteor-1.5.jar").write_bytes(b"jar")
    with pytest.raises(MissingMetricError, match=r"paraphrase-en\.gz; pip install"):
        find_meteor(tmp_path)


def test_without_any_jar_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv(JARS_VARIABLE, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(module, "find_java", lambda java: tmp_path)
    with pytest.raises(MissingMetricError, match=r"meteor-1\.5\.jar.*not installed.*aac-llm\[java\]"):
        meteor(["a"], [["a"]])
