"""Descriptions of classes for zero-shot classification.

A file of prompts is JSON, by label and language, in one language, or the labels alone:

    {"dog_bark": {"eng_Latn": ["A dog barks."], "fra_Latn": ["Un chien aboie."]}, ...}
    {"dog_bark": ["A dog barks.", "Barking."], ...}
    ["dog", "rain"]

or a text file with a label a line. A label without a description is put into its language's `TEMPLATES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_common.strict_json import as_utf8, is_writable_text, parse_json

from ml_clap.data.languages import LANGUAGES, resolve

Prompts = Mapping[str, Mapping[str, Sequence[str]]]
"""Label -> language code -> descriptions."""

TEMPLATES = {
    "eng_Latn": "The sound of {}.",
    "fra_Latn": "Le son de {}.",
    "deu_Latn": "Das Geräusch von {}.",
    "spa_Latn": "El sonido de {}.",
    "nld_Latn": "Het geluid van {}.",
    "cat_Latn": "El so de {}.",
    "jpn_Jpan": "{}の音。",
    "zho_Hans": "{}的声音。",
}
"""Language -> the description made of a label; in other languages it is the label itself."""


def read_prompts(
    path: Path,
    languages: Sequence[str] = ("eng_Latn",),
    templates: Mapping[str, str] = TEMPLATES,
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read a file of prompts.

    Args:
        path: JSON, or a text file with a label a line.
        languages: those of descriptions and labels that are not by language; any codes that `resolve` knows.
        templates: see `prompts_of_labels`.

    Raises:
        ValueError: other content, with the label and what is wrong.
    """
    try:
        text = as_utf8(path.read_bytes(), str(path)).decode()
    except UnicodeDecodeError as e:
        raise ValueError(f"{path}: not UTF-8 text ({e})") from e
    if path.suffix.lower() != ".json" and text.lstrip()[:1] not in ("{", "["):
        return _labels_of_file(path, _lines(text, path), languages, templates)
    content = parse_json(text, str(path))
    if isinstance(content, list):
        return _labels_of_file(path, content, languages, templates)
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path}: expected an object label -> language -> list of descriptions, or label -> list, "
            f"or a list of labels; got {type(content).__name__}"
        )
    return {label: _read_descriptions(path, label, texts, languages) for label, texts in content.items()}


def prompts_of_labels(
    labels: Iterable[Any],
    languages: Sequence[str] = ("eng_Latn",),
    templates: Mapping[str, str] = TEMPLATES,
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the prompts of plain labels, by the template of each of the languages that they are written in.

    >>> prompts_of_labels(["dog_bark"])
    {'dog_bark': {'eng_Latn': ('The sound of dog bark.',)}}

    Args:
        labels: texts, each once.
        languages: any codes that `resolve` knows.
        templates: language -> a sentence with {} for the label; in other languages it is the label itself.

    Raises:
        ValueError: there is no label, one is twice or empty, or a language is not known.
    """
    names = list(labels)
    for place, label in enumerate(names):
        if not isinstance(label, str) or not label.strip() or not is_writable_text(label):
            raise ValueError(f"label number {place + 1} must be a text, got {label!r}")
    doubled = sorted({label for label in names if names.count(label) > 1})
    if not names or doubled:
        raise ValueError(f"the label {doubled[0]!r} is there twice" if doubled else "there is no label")
    codes = [resolve(tag) for tag in languages]
    return {
        label: {code: (templates.get(code, "{}").replace("{}", label.replace("_", " ")),) for code in codes}
        for label in names
    }


def read_templates(given: Sequence[str], languages: Sequence[str]) -> dict[str, str]:
    """Return `TEMPLATES` with those given in their place, each as LANGUAGE=SENTENCE, with {} for the label.

    A sentence without a language is that of all `languages`, for which there is one then.

    >>> read_templates(["de=Man hört {}."], ["de", "en"])["deu_Latn"]
    'Man hört {}.'

    Raises:
        ValueError: a language is not known or given twice, or a sentence has no place for the label.
    """
    found: dict[str, str] = {}
    for text in given:
        tag, equals, sentence = text.partition("=")
        if not equals or "{}" in tag:
            if len({resolve(each) for each in languages}) > 1:
                raise ValueError(f"prompt: say which language it is in, as deu_Latn=..., got {text!r}")
            tag, sentence = languages[0], text
        code = resolve(tag.strip())
        if sentence.count("{}") != 1:
            raise ValueError(
                f"prompt: a sentence needs {{}} once, in the place of the label, got {sentence!r}"
            )
        if code in found:
            raise ValueError(f"prompt: the language {code} is there twice")
        found[code] = sentence
    return {**TEMPLATES, **found}


def _labels_of_file(
    path: Path, labels: Sequence[Any], languages: Sequence[str], templates: Mapping[str, str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    try:
        return prompts_of_labels(labels, languages, templates)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from e


def _lines(text: str, path: Path) -> list[str]:
    if "\0" in text:
        raise ValueError(f"{path}: not text; sounds are given before the flags")
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_labels(labels: Any, language: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the prompts of labels as Python has them: a sequence, or what a JSON file of prompts holds.

    Raises:
        ValueError: it is something else, with the label and what is wrong.
    """
    if isinstance(labels, Mapping):
        return {
            label: _read_descriptions("labels", label, texts, [language]) for label, texts in labels.items()
        }
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise ValueError(f"labels must be a list of texts or a mapping, got {labels!r}")
    return prompts_of_labels(labels, [language])


def choose_prompts(
    prompts: Prompts, languages: Sequence[str] | None = None, indices: Sequence[int] = ()
) -> dict[str, list[list[str]]]:
    """Return language -> for each label, in order, its chosen descriptions.

    Args:
        prompts: all descriptions.
        languages: any codes that `resolve` knows; default: all that every label has.
        indices: which descriptions of each label, from 0; default: all.

    Raises:
        ValueError: a label lacks a language or a description that was asked for.
    """
    everywhere = set.intersection(*(set(texts) for texts in prompts.values()))
    known = [*(code for code in LANGUAGES if code in everywhere), *sorted(everywhere - set(LANGUAGES))]
    wanted = list(dict.fromkeys(resolve(tag) for tag in languages or known))
    if not wanted:
        raise ValueError(
            "the prompts have no language that every label has; name --languages and complete them"
        )
    return {
        code: [_choose(label, texts, code, indices) for label, texts in prompts.items()] for code in wanted
    }


def _read_descriptions(
    path: Path | str, label: str, content: Any, languages: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    if isinstance(content, str | list | tuple):
        texts = _checked_texts(f"{path}: {label!r}", [content] if isinstance(content, str) else content)
        return {resolve(tag): texts for tag in languages}
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path}: {label!r}: expected a list of descriptions, or language -> list, got {content!r}"
        )
    found: dict[str, tuple[str, ...]] = {}
    for tag, texts in content.items():
        code = resolve(tag)
        if code in found:
            raise ValueError(f"{path}: {label!r} has the language {code} twice: {sorted(content)}")
        found[code] = _checked_texts(f"{path}: {label!r} in {tag}", texts)
    return found


def _checked_texts(where: str, texts: Any) -> tuple[str, ...]:
    is_list = isinstance(texts, list | tuple) and bool(texts)
    if not is_list or not all(
        isinstance(text, str) and text.strip() and is_writable_text(text) for text in texts
    ):
        raise ValueError(f"{where}: expected a list of descriptions, got {texts!r}")
    return tuple(texts)


def _choose(label: str, texts: Mapping[str, Sequence[str]], code: str, indices: Sequence[int]) -> list[str]:
    if code not in texts:
        raise ValueError(f"the class {label!r} has no description in {code}, only in {', '.join(texts)}")
    beyond = [index for index in indices if index >= len(texts[code])]
    if beyond:
        raise ValueError(
            f"the class {label!r} has {len(texts[code])} descriptions in {code}, numbered from 0: "
            f"there is no number {beyond[0]}"
        )
    return [texts[code][index] for index in indices] if indices else list(texts[code])
