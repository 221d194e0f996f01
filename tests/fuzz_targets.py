"""What is fuzzed: each reader of files, and what reads models' answers, fed with any bytes.

    python tests/fuzz_targets.py ml-clap read_manifest -runs=100000 -seed=1

runs one target under atheris (libFuzzer), which is guided by the branches that an input takes. Without
atheris, `mutations` feeds the same targets with changed examples. Only the errors that a target's docstrings
promise may come out; anything else is a fault.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

EXAMPLES = (
    b'{"id": "a", "audio": "a.wav", "captions": ["a dog barks"], "split": "train", "duration": 1.5}\n',
    b'{"id": "a", "audio": "a.wav", "captions": {"eng_Latn": ["a dog"], "fr": "un chien"}, "label": "x"}\n',
    b'{"id": 1, "audio": "a.wav", "question": "What?", "choices": ["a", "b"], "answer": 1, "task": null}\n',
    b'{"messages": [{"role": "user", "content": "<audio>What? A. x B. y"}], "audios": ["a.wav"]}\n',
    b'{"id": "a", "audio": "a.wav", "caption": "a dog", "candidates": [{"text": "a", "score": -1.5}]}\n',
    b'{"row": 0, "id": "a", "run": "given", "choices": ["a", "b"], "output": "<answer>a</answer>"}\n',
    b'file_name,caption_1,caption_2\r\na.wav,A dog.,"A, dog"\r\nb.wav,x,y\r\n',
    b"file_name\tcaption_predicted\na.wav\tA dog.\n",
    b'[{"image_id": 1, "caption": "a dog"}, {"image_id": "b", "caption": "x"}]',
    b'{"dog": {"eng_Latn": ["a dog"]}, "cat": ["a cat"]}',
    b"dog\ncat\n",
    b"fra_Latn\tun chien aboie\na dog\n",
    b"<think>It barks.</think>\n<answer>(B) a dog</answer>",
    b"The answer is B. <answer> b) </answer>",
    b'Sure, here is the corrected caption:\n"A dog barks."',
    b'{"choices": [{"message": {"content": "a dog"}, "finish_reason": "length"}]}',
    b"\xef\xbb\xbf{}\n",
    "{}\n".encode("utf-16"),
)
PIECES = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"null",
    b"-1",
    b"1e999",
)
PIECES += (b"NaN", b"\\ud800", b"\xed\xa0\x80", b"<answer>", b"</answer>", b"<think>", b"(A)", b"9" * 500)
PIECES += (b"[" * 2000, b'{"a":' * 2000, b"\x1b[2J", "\u2028".encode(), b"\t", b";", b'""', b"true", b"{}")
OPTIONS = ("a dog", "(B) a cat", "the dog barks", "B", "none", "", "Ａ", "a dog")
"""Options of questions: alike, lettered, empty."""


@dataclass(frozen=True)
class Target:
    """Something that reads bytes."""

    name: str
    read: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    """Errors that it may raise."""


def targets_of(package: str) -> dict[str, Target]:
    """Return a package's targets by name."""
    found = [*MAKERS[package](), *_strict_json()]
    return {target.name: target for target in found}


def run(target: Target, data: bytes) -> None:
    """Feed a target; raises what it must not raise."""
    try:
        target.read(data)
    except target.allowed as error:
        if not str(error).strip():
            raise AssertionError(f"{type(error).__name__} says nothing") from error


def mutations(seed: int, count: int) -> Iterator[bytes]:
    """Yield changed examples, the same for the same seed; the examples themselves come first."""
    rng = Random(seed)
    yield from EXAMPLES
    for _ in range(count - len(EXAMPLES)):
        data = bytearray(rng.choice(EXAMPLES))
        for _ in range(rng.choice((1, 1, 2, 3, 8))):
            place, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
            match rng.randrange(5):
                case 0:
                    data[place:place] = rng.choice(PIECES)
                case 1:
                    data[place : min(stop, place + 9)] = rng.choice(PIECES)
                case 2:
                    data[place:place] = rng.choice(EXAMPLES)
                case 3:
                    data[place:stop] = b""
                case 4 if data:
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        yield bytes(data)


def _with_file(read: Callable[[Path], object], suffix: str) -> Callable[[bytes], object]:
    """Return a function of bytes for one of a file; the file is in memory where the system can."""
    path = _folder() / f"input{suffix}"

    def from_bytes(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return from_bytes


@cache
def _folder() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))


def _strict_json() -> Iterator[Target]:
    from audio_common.strict_json import JSONError, json_lines, parse_json, read_records

    yield Target("parse_json", lambda data: _write_again(parse_json(data, "file:1")), (JSONError,))
    yield Target("json_lines", lambda data: list(json_lines(data, "file")), (JSONError,))
    yield Target("read_records", _with_file(read_records, ".jsonl"), ())


def _write_again(value: Any) -> None:
    """Write what was accepted: it must be JSON for every other program."""
    json.dumps(value, allow_nan=False)


def _clap() -> Iterator[Target]:
    from ml_clap.config.search import SearchConfig
    from ml_clap.data.manifest import ManifestError, read_manifest
    from ml_clap.data.prompts import read_prompts
    from ml_clap.data.readers.labelled import read_label_captions
    from ml_clap.data.table import read_table
    from ml_clap.search.queries import read_queries

    rows = {"bad_rows": []}
    yield Target("read_manifest", _with_file(lambda p: read_manifest(p, **rows), ".jsonl"), (ManifestError,))
    yield Target("read_label_captions", _with_file(read_label_captions, ".json"), (ManifestError, ValueError))
    table = _with_file(lambda path: read_table(path, ("file_name",)), ".csv")
    yield Target("read_table", table, (ManifestError,))
    for suffix in (".json", ".txt"):
        yield Target(f"read_prompts{suffix}", _with_file(read_prompts, suffix), (ValueError,))
    queries = _with_file(lambda path: read_queries(SearchConfig(index=path, queries=path)), ".txt")
    yield Target("read_queries", queries, (ValueError,))


def _captioner() -> Iterator[Target]:
    from aac_llm.correction.acceptance import clean_answer
    from aac_llm.correction.endpoint import read_answer
    from aac_llm.correction.llm import LLMError
    from aac_llm.data.manifest import ManifestError, read_manifest
    from aac_llm.data.predictions import PredictionError
    from aac_llm.data.systems import read_references, read_system
    from aac_llm.data.table import read_table

    manifest = _with_file(lambda path: read_manifest(path, problems=[]), ".jsonl")
    yield Target("read_manifest", manifest, (ManifestError,))
    table = _with_file(lambda path: read_table(path, ("file_name",)), ".csv")
    yield Target("read_table", table, (ManifestError,))
    for suffix in (".jsonl", ".csv", ".json"):
        system = _with_file(lambda path: read_system(path, []), suffix)
        yield Target(f"read_system{suffix}", system, (PredictionError,))
        references = _with_file(lambda path: read_references(path, []), suffix)
        yield Target(f"read_references{suffix}", references, (ValueError,))
    yield Target("read_answer", read_answer, (LLMError,))
    yield Target("clean_answer", lambda data: _check_caption(clean_answer(_text(data), "a dog barks")), ())


def _check_caption(answer: object) -> None:
    """A caption that a model proposes is one line, and no longer than a caption."""
    if isinstance(answer, str) and (len(answer.splitlines()) != 1 or not answer.strip()):
        raise AssertionError(f"no caption: {answer!r}")


def _questions() -> Iterator[Target]:
    from r1_aqa.data.questions import QuestionError
    from r1_aqa.data.readers import parse_file, read_questions
    from r1_aqa.evaluators.predictions import read_predictions

    parse = _with_file(lambda path: list(parse_file(path)), ".jsonl")
    yield Target("parse_file", parse, (QuestionError,))
    keep = _with_file(lambda path: read_questions(path, keep_faults=True), ".jsonl")
    yield Target("read_questions", keep, (QuestionError,))
    yield Target("read_predictions", _with_file(read_predictions, ".jsonl"), (ValueError,))
    yield Target("rewards", _reward, ())
    yield Target("verdicts", _judge, ())


def _reward(data: bytes) -> None:
    """Every reward of any text is a number from 0 to 1, and right answers are right."""
    from r1_aqa.rewards import rewards

    text, options = _text(data[1:]), list(OPTIONS[: 2 + (data[:1] or b"\0")[0] % 6])
    asked = {"choices": [options], "answer": [options[0]]}
    values = rewards.accuracy_reward([text], **asked)
    values += rewards.format_reward([text], **asked) + rewards.think_format_reward([text], **asked)
    values += rewards.length_reward([text], **asked) + rewards.consistency_reward([text], **asked)
    if not all(isinstance(value, float) and 0.0 <= value <= 1.0 for value in values):
        raise AssertionError(f"rewards {values} of {text!r}")


def _judge(data: bytes) -> None:
    """Verdicts come of any text and any options."""
    from r1_aqa.rewards.matching import choose_window, match_choice, read_answer
    from r1_aqa.rewards.verdicts import judge

    text, *more = _text(data).split("\n")
    options = [option for option in more if option.strip()][:6] or list(OPTIONS[:3])
    judge(text, options, options[0])
    for needs_block in (True, False):
        found = match_choice(read_answer(text, needs_block=needs_block), options)
        if found is not None and not 0 <= found < len(options):
            raise AssertionError(f"option {found} of {options!r}")
    choose_window([text, *more], options)


def _text(data: bytes) -> str:
    """Return a text, with half characters where the bytes are those of some."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


MAKERS: dict[str, Callable[[], Iterator[Target]]] = {
    "audio-common": lambda: iter(()),
    "ml-clap": _clap,
    "aac-llm": _captioner,
    "r1-aqa": _questions,
}


def main(arguments: list[str]) -> None:
    """Fuzz one target under atheris; never returns."""
    import atheris

    package, name, *flags = arguments
    with atheris.instrument_imports(include=[package.replace("-", "_")]):
        target = targets_of(package)[name]
    corpus = _folder() / "corpus"
    corpus.mkdir()
    for number, example in enumerate(EXAMPLES):
        (corpus / str(number)).write_bytes(example)
    words = _folder() / "words"
    quoted = ("".join(f"{byte:02x}" for byte in piece[:60]) for piece in PIECES)
    lines = ('"' + "".join("\\x" + text[i : i + 2] for i in range(0, len(text), 2)) for text in quoted)
    words.write_text("".join(line + '"\n' for line in lines))
    atheris.Setup(
        [sys.argv[0], *flags, f"-dict={words}", "-timeout=20", "-rss_limit_mb=2500", str(corpus)],
        lambda data: run(target, data),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
