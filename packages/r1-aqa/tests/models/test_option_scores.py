"""Scores of options by models that do not hear: the same as reading each prompt with each option alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from r1_aqa.data.questions import Question, QuestionError
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.log_probs import completion_log_probs
from r1_aqa.models.option_scores import SilentProbe, TextProbe, load_probe, score_options
from r1_aqa.models.prompt import format_prompt, format_target
from r1_aqa.models.silence import SECONDS, silent_prompts
from r1_aqa.models.tiny import train_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

QUESTION = Question(
    id="q",
    audio=Path("no-such-file.wav"),
    question="Which sound comes first?",
    choices=("(A) rain", "(B) a dog that barks", "(C) rain"),
    answer="(A) rain",
)
OPTIONS = [["rain", "a dog that barks"], ["a dog that barks", "rain"]]
CHAT = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    tokenizer = train_tokenizer([QUESTION.question, *QUESTION.choices] * 3, 300)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("template", [None, CHAT])
def test_a_text_probe_gives_what_reading_every_option_alone_gives(
    text_folder: Path, template: str | None
) -> None:
    probe = load_probe(str(text_folder), device="cpu")
    assert isinstance(probe, TextProbe)
    probe.tokenizer.chat_template = template
    found = score_options(probe, QUESTION)
    for row, order in zip(found, OPTIONS, strict=True):
        text = format_prompt(QUESTION.question, order, "choices")
        head = f"<|im_start|>{text}<|im_end|>" if template else f"{text}\nAnswer:"
        for score, option in zip(row, OPTIONS[0], strict=True):
            tail = f"{option}<|im_end|>" if template else f" {option}\n"
            ids = torch.tensor([probe.tokenizer(head)["input_ids"] + probe.tokenizer(tail)["input_ids"]])
            count = len(probe.tokenizer(tail)["input_ids"])
            logits = probe.model(input_ids=ids).logits[:, -count - 1 : -1]
            assert score == pytest.approx(
                completion_log_probs(logits, ids[:, -count:]).sum().item(), abs=1e-4
            )


def test_a_silent_probe_gives_what_reading_every_option_alone_gives(tiny_audio_llm: AudioLLM) -> None:
    llm, silence = tiny_audio_llm, np.zeros(int(SECONDS * 16_000), dtype=np.float32)
    found = score_options(SilentProbe(llm), QUESTION)
    for row, order in zip(found, OPTIONS, strict=True):
        for score, option in zip(row, OPTIONS[0], strict=True):
            text, target = llm.format_chat(format_prompt(QUESTION.question, order)), format_target(option)
            inputs = llm.encode([text + target], [silence])
            count = len(llm.tokenizer(target)["input_ids"])
            with torch.no_grad():
                logits = llm.model(**inputs).logits[:, -count - 1 : -1]
            expected = completion_log_probs(logits, inputs["input_ids"][:, -count:]).sum().item()
            assert score == pytest.approx(expected, abs=1e-3)


def test_the_kind_of_a_probe_is_that_of_its_model(tiny_model_folder: Path, text_folder: Path) -> None:
    assert isinstance(load_probe(str(tiny_model_folder), device="cpu"), SilentProbe)
    assert isinstance(load_probe(str(text_folder), device="cpu"), TextProbe)


def test_a_question_beyond_the_context_is_refused_alone(text_folder: Path, tiny_audio_llm: AudioLLM) -> None:
    long = replace(QUESTION, question="dog " * 2100)
    for probe in (load_probe(str(text_folder), device="cpu"), SilentProbe(tiny_audio_llm)):
        with pytest.raises(QuestionError, match=r"tokens.*was made for"):
            score_options(probe, long)
        assert len(score_options(probe, QUESTION)) == 2


def test_a_question_about_two_sounds_hears_two_silences(tiny_audio_llm: AudioLLM) -> None:
    two = replace(QUESTION, further_audio=(Path("no-other-file.wav"),))
    prompts = [silent_prompts(tiny_audio_llm, [q], style="answer") for q in (QUESTION, two)]
    silences = [p.input_ids(0).count(tiny_audio_llm.audio_token_id) for p in prompts]
    assert silences[1] == 2 * silences[0] > 0
    assert np.isfinite(score_options(SilentProbe(tiny_audio_llm), two)).all()
