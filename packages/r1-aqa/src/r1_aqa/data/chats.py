"""Questions in the chats of other trainers: ms-swift, LLaMA-Factory (ShareGPT, Alpaca), OpenAI's content.

    {"messages": [{"role": "user", "content": "<audio>What is heard?"},
                  {"role": "assistant", "content": "a tone"}], "audios": ["a.wav"], "solution": "a tone"}
    {"conversations": [{"from": "human", "value": "<audio>What is heard?"},
                       {"from": "gpt", "value": "a tone"}], "audios": ["a.wav"]}
    {"query": "<audio>What is heard?", "response": "a tone", "audios": ["a.wav"]}

One question about one sound or several is taken. The answer is `solution`, else the assistant's turn; tags of
thinking and answer are taken off. Options that a question lists at its end become `choices`.
"""

from __future__ import annotations

import ast
import itertools
import re
from typing import Any

from r1_aqa.data.options import is_lettered, take_letters_off

CHAT_KEYS = ("messages", "conversations")
PAIR_KEYS = (("query", "response"), ("instruction", "output"))
ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}

_INLINE = re.compile(r"<audio>([^<>\n]+)</audio>")
_TAG = re.compile(
    r"\s*(?:<(?:audio|sound)>|(?:Audio \d+: ?)?<\|audio_bos\|><\|AUDIO\|><\|audio_eos\|>|<\|audio\|>)\s*"
)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.S)
_THINKING = re.compile(r"<think>.*?</think>", re.S)
_LISTED = re.compile(r"\s*Please choose the answer from the following options: (\[.*?\])\.?\s*", re.S)
_INSTRUCTION = re.compile(r"\s*Output the .{0,80}?final answer in <answer> </answer>\.\s*$", re.S)
_LETTER = re.compile(r"[(\[]?[A-H][)\].:]?")
_HAS_OPTIONS = re.compile(r"\bB[.):]|\b(?:options?|choices?|letter)\b", re.I)
"""Words of a question by which the answer `A` is an option's letter, and not a note."""

Row = dict[str, Any]


def is_chat(row: Row) -> bool:
    """Tell by its keys whether a row is a chat."""
    pairs = any(question in row and "audios" in row for question, _ in PAIR_KEYS)
    return any(key in row for key in CHAT_KEYS) or pairs


def chat_to_plain(row: Row) -> Row:
    """Return a chat as plain JSONL: `audio`, `question`, `choices`, `answer`, other keys as they are.

    Raises:
        ValueError: it has several turns, no question or no sound.
    """
    turns, rest = _turns(row)
    system = [text for role, text, _ in turns if role == "system"]
    asked = [turn for turn in turns if turn[0] == "user"]
    answers = [text for role, text, _ in turns if role == "assistant"]
    if len(asked) != 1 or len(answers) > 1:
        raise ValueError(
            f"a chat of {len(asked)} questions and {len(answers)} answers; expected one question and at most "
            "one answer"
        )
    _, text, inside = asked[0]
    inside += _INLINE.findall(text)
    sounds = rest.pop("audios", None) or rest.pop("audio", None) or []
    sounds = [*(sounds if isinstance(sounds, list) else [sounds]), *inside]
    if not sounds:
        raise ValueError(
            f"a chat without sound: it has neither audios nor an audio part; it has the keys {', '.join(row)}"
        )
    if (count := len(_TAG.findall(_INLINE.sub(" ", text)))) > max(1, len(sounds)):
        raise ValueError(f"its text has {count} places of sounds, and {len(sounds)} sounds are named")
    for key in ("images", "videos"):
        if rest.get(key):
            raise ValueError(f"a question about {key}, too; one about sounds alone is supported")
    question, choices = split_options(_without_tags(_INLINE.sub("<audio>", text), len(sounds)))
    response = answers[0] if answers else None
    solution = rest.pop("solution", None)
    if solution is None and response is None:
        solution = rest.get("answer")
    found: Row = {"audio": sounds, "question": question}
    found |= {"choices": rest.pop("choices", None) or rest.pop("options", None) or choices}
    found["answer"] = bare_answer(solution if solution is not None else response)
    if not found["choices"] and _LETTER.fullmatch(str(found["answer"])) and _HAS_OPTIONS.search(text):
        raise ValueError(
            f"the answer is the letter {found['answer']}, and no options stand at the end of the text, a "
            "line each; put them into choices"
        )
    # What is not the answer is kept: the assistant's own words, a system prompt.
    if response is not None and bare_answer(response) != found["answer"]:
        rest.setdefault("response", response)
    if system:
        rest.setdefault("system", system[0])
    return rest | found


def _without_tags(text: str, num_sounds: int) -> str:
    """Return a text without its places of sounds.

    Those in its midst, as in `Is <audio> louder than <audio>?`, become the names of the sounds.
    """
    bare = _TAG.sub(" ", text).strip()
    if num_sounds < 2 or bare in text:
        return bare
    numbers = itertools.count(1)
    named = _TAG.sub(lambda _: f" Audio {next(numbers)} ", text).strip()
    return re.sub(r" (?=[?.!,;:])", "", named)


def bare_answer(value: Any) -> Any:
    """Return an answer without thinking and tags; what is no text as it is."""
    if not isinstance(value, str):
        return value
    text = _THINKING.sub("", value)
    tagged = _ANSWER.search(text)
    return (tagged[1] if tagged else text).strip()


def split_options(text: str) -> tuple[str, list[str]]:
    r"""Return a question without the options that stand at its end, and these.

    >>> split_options("What is heard?\nA. a dog\nB. rain")
    ('What is heard?', ['a dog', 'rain'])
    """
    text = _INSTRUCTION.sub("", text)
    listed = _LISTED.search(text)
    if listed and not text[listed.end() :].strip():
        try:
            return text[: listed.start()].strip(), [str(option) for option in ast.literal_eval(listed[1])]
        except (ValueError, SyntaxError):
            return text, []
    lines = text.rstrip().split("\n")
    count = 0
    while count < len(lines) - 1 and is_lettered(lines[-1 - count].strip()):
        count += 1
    letters, options = take_letters_off([line.strip() for line in lines[len(lines) - count :]])
    question = "\n".join(lines[: len(lines) - count]).strip()
    question = re.sub(r"\s*\b(?:Options|Choices):$", "", question)
    in_order = letters and list(letters) == sorted(letters, key=lambda letter: (len(letter), letter))
    if not in_order:
        return text, []
    # Numbers stay, for an answer may be one: without them it would be no option's letter.
    is_numbered = letters[0].isdigit()
    return question, [line.strip() for line in lines[-count:]] if is_numbered else list(options)


def _turns(row: Row) -> tuple[list[tuple[str, str, list[str]]], Row]:
    """Return role, text and sounds of each turn, and the keys that are not turns."""
    key = next((key for key in CHAT_KEYS if key in row), None)
    if key is not None:
        rest = {name: value for name, value in row.items() if name != key}
        if not isinstance(row[key], list):
            raise ValueError(f"{key}: expected a list of turns, got {type(row[key]).__name__}")
        return [_turn(turn, key) for turn in row[key]], rest
    asked, answered = next(pair for pair in PAIR_KEYS if pair[0] in row)
    rest = {name: value for name, value in row.items() if name not in (asked, answered, "input")}
    if row.get("history"):
        raise ValueError("a chat with turns before its question (history); expected one question")
    texts = [str(row[name]).strip() for name in (asked, "input") if row.get(name)]
    turns = [("user", "\n".join(texts), list[str]())]
    return turns + ([("assistant", str(row[answered]), [])] if row.get(answered) else []), rest


def _turn(turn: Any, key: str) -> tuple[str, str, list[str]]:
    if not isinstance(turn, dict):
        raise ValueError(f"{key}: expected turns with role and content, got {turn!r}")
    role = str(turn.get("role") or turn.get("from"))
    content = turn.get("content", turn.get("value"))
    sounds: list[str] = []
    if isinstance(content, list):
        # OpenAI's parts, as Qwen's processors take them.
        parts = [part if isinstance(part, dict) else {"text": part} for part in content]
        names = [part.get("audio") or part.get("audio_url") for part in parts]
        names = [name.get("url") or name.get("path") if isinstance(name, dict) else name for name in names]
        sounds = [name for name in names if isinstance(name, str)]
        content = " ".join(str(part["text"]) for part in parts if part.get("text"))
    if not isinstance(content, str):
        raise ValueError(f"{key}: expected text, got {content!r}")
    return ROLES.get(role, role), content, sounds
