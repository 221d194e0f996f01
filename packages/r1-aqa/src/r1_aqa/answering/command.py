"""`r1-aqa answer`: one question about one sound."""

from __future__ import annotations

import logging
from dataclasses import asdict

from audio_common import DecodeLimits

from r1_aqa.answering.answer import Answer
from r1_aqa.answering.answerer import Answerer
from r1_aqa.config.answer import AnswerConfig
from r1_aqa.data.options import take_letters_off
from r1_aqa.files import is_stream, write_json
from r1_aqa.lock import hold_outputs
from r1_aqa.models.run_folder import say_sound_changes
from r1_aqa.models.template import read_template
from r1_aqa.output import printable

logger = logging.getLogger(__name__)


def answer(config: AnswerConfig) -> Answer:
    """Answer the question of a command and print the answer.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: it cannot be read.
        BusyError: another process writes the same JSON file.
    """
    for path in (config.audio, *config.further_audio):
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
    with hold_outputs(config.json):
        return _answer(config)


def _answer(config: AnswerConfig) -> Answer:
    answerer = Answerer.from_pretrained(
        config.model,
        dtype=config.dtype,
        device=config.device,
        family=config.family,
        sound=config.sound,
        decode_limits=DecodeLimits(seconds=config.decode_seconds, megabytes=config.decode_megabytes),
    )
    say_sound_changes(config.model, asdict(config.sound), answerer.llm.max_seconds)
    if take_letters_off(config.choices)[0]:
        logger.info("the options have letters, as in (A) Man: the answer is compared without them")
    found = answerer.answer(
        config.audio,
        config.question,
        config.choices,
        further_audio=config.further_audio,
        prompt=config.prompt,
        template=read_template(config.template),
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
    )
    if config.json is not None:
        write_json(config.json, asdict(found))
    if not is_stream(config.json):
        print(printable(found.choice or found.text, lines=True))
    return found
