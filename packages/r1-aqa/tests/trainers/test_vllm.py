"""The input of vLLM and its output are right; vLLM itself needs a GPU."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.trainers.vllm import read_outputs, vllm_prompts


@dataclass
class LogProb:
    logprob: float


@dataclass
class Rollout:
    token_ids: tuple[int, ...]
    logprobs: list[dict[int, LogProb]]


@dataclass
class RequestOutput:
    outputs: list[Rollout]


def test_each_prompt_goes_with_its_own_sound_and_one_audio_token(
    tiny_audio_llm: AudioLLM, tmp_path: Path
) -> None:
    sounds = [np.full(1600 * (1 + i), 0.1 * (1 + i), np.float32) for i in range(2)]
    questions = []
    for number, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{number}.wav", sound, 16_000, subtype="FLOAT")
        questions.append(Question(id=str(number), audio=tmp_path / f"{number}.wav", question="What is it?"))
    prompts = EncodedPrompts(
        tiny_audio_llm, questions, sound=SoundConfig(), style="answer", frozen=True, cache_bytes=2**20
    )
    given = vllm_prompts(prompts, [1, 1, 0])
    for prompt, row in zip(given, [1, 1, 0], strict=True):
        ((sound, rate),) = prompt["multi_modal_data"]["audio"]
        np.testing.assert_allclose(sound, sounds[row], atol=1e-6)
        assert rate == 16_000
        assert prompt["prompt_token_ids"].count(tiny_audio_llm.audio_token_id) == 1
    assert given[0]["multi_modal_data"]["audio"][0][0] is given[1]["multi_modal_data"]["audio"][0][0]


def test_the_sampled_tokens_log_probabilities_are_read() -> None:
    rollout = Rollout((5, 7), [{5: LogProb(-0.5), 9: LogProb(-0.1)}, {7: LogProb(-1.5)}])
    assert read_outputs([RequestOutput([rollout])]) == ([[5, 7]], [[-0.5, -1.5]])
