"""Updates of a Qwen2-Audio of the published size (8.4 B), random weights, on a GPU: seconds and peak memory.

    python packages/r1-aqa/benchmarks/real_size.py

What no CPU can tell, and what needs no weights: the model is made on the GPU from its configuration. GRPO
with adapters, 8 rollouts of one question, at 10 and 30 s of sound, each question read and encoded once
(`share`) and once for each rollout; then supervised fine-tuning of all weights with gradient checkpointing.
One line of JSON each. `--layers 1 --width 64` tries the script itself on a CPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from grpo import make_questions
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.families import find_family
from r1_aqa.models.lora import prompts_are_frozen
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.models.tiny import create_tiny_audio_llm
from r1_aqa.trainers.grpo import grpo_arguments
from r1_aqa.trainers.grpo_trainer import AudioGRPOTrainer
from r1_aqa.trainers.sft import make_sft_trainer
from r1_aqa.trainers.train import set_up, trainer_arguments
from transformers import (
    AutoProcessor,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    TrainerCallback,
    set_seed,
)
from trl import SFTConfig

VOCABULARY = 156_032
UPDATES = 3


class Clock(TrainerCallback):
    """Times all updates but the first, in which everything is new."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def seconds(self) -> float:
        """Return the mean seconds of an update."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


def make_model(folder: Path, options: argparse.Namespace) -> AudioLLM:
    """Return the model, its sizes those of Qwen/Qwen2-Audio-7B-Instruct's configuration."""
    create_tiny_audio_llm(folder, ["a dog barking <answer>"], num_mel_bins=128, max_seconds=30)
    config = Qwen2AudioConfig.from_pretrained(folder)
    audio, text = config.audio_config, config.text_config
    width, layers = options.width or 4096, options.layers or 32
    audio.d_model, audio.encoder_ffn_dim = (1280, 5120) if not options.width else (64, 128)
    audio.encoder_layers, audio.encoder_attention_heads = layers, 20 if not options.width else 4
    text.hidden_size, text.intermediate_size = width, 11_008 if not options.width else 128
    text.num_hidden_layers, text.vocab_size = layers, VOCABULARY
    text.num_attention_heads = text.num_key_value_heads = 32 if not options.width else 4
    if getattr(text, "layer_types", None):
        text.layer_types = ["full_attention"] * layers
    text.max_position_embeddings = 8192
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(options.device):
        model = Qwen2AudioForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters())}), flush=True)
    processor = AutoProcessor.from_pretrained(folder, revision=None, trust_remote_code=False)
    return AudioLLM(model.eval(), processor, find_family(str(folder)))


def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Differs between rollouts, so that every group is learned from."""
    return [float(sum(ids) % 97) for ids in completion_ids]


def settings(kind: Any, folder: Path, options: argparse.Namespace, **more: Any) -> Any:
    return kind(
        out=folder / "out",
        init_from="random",
        data=DataConfig(train=(folder / "unused.jsonl",)),
        max_steps=UPDATES + 1,
        precision="bf16" if options.device != "cpu" else "fp32",
        device="auto" if options.device != "cpu" else "cpu",
        **more,
    )


def time_grpo(
    llm: AudioLLM, folder: Path, options: argparse.Namespace, seconds: float, *, share: bool
) -> dict:
    """Return seconds, memory and tokens of GRPO updates with adapters."""
    config = settings(
        GRPOTrainConfig,
        folder,
        options,
        model=ModelConfig(lora=LoRAConfig(rank=32, alpha=64, dropout=0.0)),
        batch_size=1,
        num_rollouts=8,
        max_new_tokens=options.new_tokens,
        share=share,
    )
    options.seconds, options.updates, options.batch_size = seconds, UPDATES, 1
    questions = make_questions(folder, options)
    set_seed(0)
    adapters, frozen = set_up(llm, config)
    prompts = EncodedPrompts(
        llm, questions, sound=config.sound, style="answer", frozen=frozen, cache_bytes=2**32
    )
    clock, lengths = Clock(), []
    trainer = AudioGRPOTrainer(
        llm,
        prompts,
        rewards=[reward],
        config=config,
        args=grpo_arguments(config, **trainer_arguments(config, len(questions)) | {"save_strategy": "no"}),
        on_rollouts=lambda _step, rows: lengths.append(sum(row["completion_length"] for row in rows)),
        peft_config=adapters,
        callbacks=[clock],
    )
    found = measured(trainer, clock)
    llm.model = llm.model.unload()
    return (
        {"what": "GRPO, adapters", "seconds_of_sound": seconds, "share": share}
        | found
        | {
            "tokens_per_second": sum(lengths[1:]) / len(lengths[1:]) / found["seconds_per_update"],
        }
    )


def time_sft(llm: AudioLLM, folder: Path, options: argparse.Namespace, seconds: float) -> dict:
    """Return seconds and memory of fine-tuning all weights with gradient checkpointing."""
    config = settings(
        SFTTrainConfig,
        folder,
        options,
        model=ModelConfig(strategy="full", freeze_encoder=False, freeze_projector=False),
        batch_size=4,
        gradient_checkpointing=True,
    )
    options.seconds, options.updates, options.batch_size = seconds, UPDATES, 4
    questions = make_questions(folder, options)
    set_up(llm, config)
    llm.model = llm.model.to(torch.bfloat16)  # the size in question; training in float32 needs two GPUs
    prompts = EncodedPrompts(
        llm, questions, sound=config.sound, style="answer", frozen=prompts_are_frozen(llm), cache_bytes=2**30
    )
    arguments = trainer_arguments(config, len(questions)) | {"save_strategy": "no"}
    args = SFTConfig(**arguments, per_device_train_batch_size=4)
    clock = Clock()
    trainer = make_sft_trainer(llm, prompts, prompt="answer", args=args, callbacks=[clock])
    return {"what": "SFT, all weights", "seconds_of_sound": seconds, "batch": 4} | measured(trainer, clock)


def measured(trainer: Any, clock: Clock) -> dict[str, float]:
    """Train, and return seconds of an update and the peak of memory on the GPU."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    return {"seconds_per_update": round(clock.seconds(), 3), "peak_gib": round(peak, 1)}


def main() -> None:
    """Time everything."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, help="fewer layers, to try the script")
    parser.add_argument("--width", type=int, help="a narrow model, to try the script")
    parser.add_argument("--new_tokens", type=int, default=64)
    options = parser.parse_args()
    options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        llm = make_model(folder / "model", options)
        for seconds in (10.0, 30.0):
            for share in (True, False):
                try:
                    found = time_grpo(llm, folder, options, seconds, share=share)
                except torch.OutOfMemoryError as e:
                    found = {"seconds_of_sound": seconds, "share": share, "error": str(e)[:200]}
                    llm.model = llm.model.unload() if hasattr(llm.model, "unload") else llm.model
                print(json.dumps(found), flush=True)
        print(json.dumps(time_sft(llm, folder, options, 10.0)), flush=True)


if __name__ == "__main__":
    main()
