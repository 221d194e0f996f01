"""Updates of a Qwen2-Audio of the published size (8.4 B), random weights, on a GPU: seconds and peak memory.

    python packages/r1-aqa/benchmarks/real_size.py --json real_size.json
    python packages/r1-aqa/benchmarks/real_size.py --tiny    # the same of a small model, to try it

What no CPU can tell, and what needs no weights: the model is made on the GPU from its configuration. GRPO
with adapters, 8 rollouts of one question, at 10 and 30 s of sound, each question read and encoded once
(`ours`) and once for each rollout, as the smallest subclass of TRL's trainer does; then supervised
fine-tuning of all weights with gradient checkpointing. The unit of GRPO is a token that was sampled.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from grpo import make_questions
from measurement import DEVICE, Measured, Sheet, add_flags, synchronize
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
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoProcessor,
    PrinterCallback,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    TrainerCallback,
    set_seed,
)
from trl import SFTConfig

VOCABULARY = 156_032


class Clock(TrainerCallback):
    """Counts the arithmetic of the first update, in which everything is new, and times the others."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.counter = FlopCounterMode(display=False)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Count."""
        if not self.times:
            self.counter.__enter__()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        if not self.times:
            self.counter.__exit__(None, None, None)
        synchronize()
        self.times.append(time.perf_counter())

    def measured(self, amount: float, unit: str) -> Measured:
        """Return the mean of the updates; `amount` is that of one."""
        seconds = (self.times[-1] - self.times[0]) / (len(self.times) - 1)
        flops = self.counter.get_total_flops() or None
        dtype = "bfloat16" if DEVICE == "cuda" else "float32"
        return Measured(seconds=seconds, amount=amount, unit=unit, flops=flops, dtype=dtype)


def make_model(folder: Path, options: argparse.Namespace) -> AudioLLM:
    """Return the model, its sizes those of Qwen/Qwen2-Audio-7B-Instruct's configuration."""
    create_tiny_audio_llm(folder, ["a dog barking <answer>"], num_mel_bins=128, max_seconds=30)
    config = Qwen2AudioConfig.from_pretrained(folder)
    audio, text = config.audio_config, config.text_config
    layers = 1 if options.tiny else 32
    audio.d_model, audio.encoder_ffn_dim = (64, 128) if options.tiny else (1280, 5120)
    audio.encoder_layers, audio.encoder_attention_heads = layers, 4 if options.tiny else 20
    text.hidden_size, text.intermediate_size = (64, 128) if options.tiny else (4096, 11_008)
    text.num_hidden_layers, text.vocab_size = layers, 2_048 if options.tiny else VOCABULARY
    text.num_attention_heads = text.num_key_value_heads = 4 if options.tiny else 32
    if getattr(text, "layer_types", None):
        text.layer_types = ["full_attention"] * layers
    text.max_position_embeddings = 8192
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(DEVICE):
        model = Qwen2AudioForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
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
        max_steps=options.updates + 1,
        precision="bf16" if DEVICE == "cuda" else "fp32",
        device="auto" if DEVICE == "cuda" else "cpu",
        **more,
    )


def time_grpo(
    llm: AudioLLM, folder: Path, options: argparse.Namespace, seconds: float, *, share: bool
) -> Measured:
    """Measure GRPO updates with adapters."""
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
    options.seconds, options.batch_size = seconds, 1
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
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train()
    finally:
        llm.model = trainer.accelerator.unwrap_model(trainer.model).unload()
    return clock.measured(sum(lengths[1:]) / len(lengths[1:]), "tokens")


def time_sft(llm: AudioLLM, folder: Path, options: argparse.Namespace, seconds: float) -> Measured:
    """Measure fine-tuning of all weights with gradient checkpointing."""
    config = settings(
        SFTTrainConfig,
        folder,
        options,
        model=ModelConfig(strategy="full", freeze_encoder=False, freeze_projector=False),
        batch_size=4,
        gradient_checkpointing=True,
    )
    options.seconds, options.batch_size = seconds, 4
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
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return clock.measured(4, "questions")


def main(words: list[str] | None = None) -> int:
    """Measure all; return the exit code."""
    options = read_options(words)
    sheet = Sheet("r1-aqa at real size", options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        llm = make_model(folder / "model", options)
        sheet.facts = {"parameters": sum(parameter.numel() for parameter in llm.model.parameters())}
        for seconds in options.seconds_of_sound:
            for way, share in (("ours", True), ("each rollout", False)):
                grpo = partial(time_grpo, llm, folder, options, seconds, share=share)
                sheet.add(f"GRPO, {seconds:g} s of sound", way, grpo)
        seconds = options.seconds_of_sound[0]
        sheet.add(f"SFT of all, {seconds:g} s", "ours", partial(time_sft, llm, folder, options, seconds))
    return sheet.finish()


def read_options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds_of_sound", type=float, nargs="+", default=[10.0, 30.0])
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--updates", type=int, default=3, help="to time, after one that is not timed")
    add_flags(parser)
    return parser.parse_args(words)


if __name__ == "__main__":
    raise SystemExit(main())
