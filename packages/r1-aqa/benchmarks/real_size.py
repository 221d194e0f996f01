"""A Qwen2-Audio of the published size (8.4 B) on one GPU: GRPO updates with adapters, then full fine-tuning.

    python packages/r1-aqa/benchmarks/real_size.py --json real_size.json
    python packages/r1-aqa/benchmarks/real_size.py --tiny    # the same steps of a small model, to try them

The architecture is the published one's, the weights are random and bfloat16: they change no time and no
memory, but answers never end, so that every rollout has all `--max_new_tokens`. GRPO: adapters on the
language model, a question and 8 rollouts an update, beta 0.04, each question read once for all its rollouts
(`shared`) or once for each of them. Fine-tuning: all weights, gradient checkpointing, AdamW with states in
bfloat16. Each number is a mean over `--updates` updates after one that is not timed; the peak is torch's.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from grpo import length, make_questions

CASES = ("grpo 10 s", "grpo 30 s", "sft 10 s")
AUDIO = {
    "model_type": "qwen2_audio_encoder",
    "num_mel_bins": 128,
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "max_source_positions": 1500,
}
TEXT = {
    "model_type": "qwen2",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 156_032,
    "max_position_embeddings": 8192,
    "bos_token_id": None,
}
SMALL_AUDIO = AUDIO | {
    "d_model": 64,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
}
SMALL_TEXT = TEXT | {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 1024,
}


def main() -> None:
    options = read_options()
    if options.case:
        for row in measure(options):
            print(json.dumps(row), flush=True)
        return
    rows = []
    for case in options.cases:
        # A process for each: memory and adapters of one would be in the next.
        words = [sys.executable, *sys.argv, "--case", case]
        found = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
        rows += [json.loads(line) for line in found.stdout.splitlines() if line.startswith('{"case"')]
        if found.returncode:
            rows.append({"case": case, "failed": found.returncode})
        if options.json:
            options.json.write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        print(row)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--updates", type=int, default=2, help="updates to time, after one that is not timed")
    parser.add_argument("--num_rollouts", type=int, default=8)
    parser.add_argument("--max_new_tokens", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=4, help="questions of a step of fine-tuning")
    parser.add_argument("--tiny", action="store_true", help="a small model, on whatever device there is")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> Any:
    """Yield a row for each way of a case."""
    import torch

    kind, seconds = options.case.split()[:2]
    options.seconds = float(seconds)
    if kind == "grpo":
        options.batch_size = 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions = make_questions(folder, options)
        started = time.perf_counter()
        llm = build(questions, options)
        base = {
            "case": options.case,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor(),
            "parameters": sum(p.numel() for p in llm.model.parameters()),
            "build_seconds": round(time.perf_counter() - started, 1),
        }
        if kind == "sft":
            yield base | {"batch_size": options.batch_size} | fine_tune(llm, questions, folder, options)
            return
        for share in (True, False):
            row = reinforce(llm, questions, folder, options, share=share)
            yield base | {"way": "shared" if share else "each rollout"} | row


def build(questions: list[Any], options: argparse.Namespace) -> Any:
    """Make the model on the device, from its configuration; the tokenizer is small."""
    import torch
    from r1_aqa.models.audio_llm import AudioLLM
    from r1_aqa.models.families import FAMILIES
    from r1_aqa.models.prompt import format_prompt
    from r1_aqa.models.tiny import train_tokenizer
    from transformers import (
        GenerationConfig,
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    texts = [format_prompt(question.question, question.choices) for question in questions]
    tokenizer = train_tokenizer(texts, 512)
    extractor = WhisperFeatureExtractor(feature_size=128, return_attention_mask=True)
    processor = Qwen2AudioProcessor(extractor, tokenizer)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = Qwen2AudioConfig(
        audio_config=SMALL_AUDIO if options.tiny else AUDIO,
        text_config=(SMALL_TEXT if options.tiny else TEXT) | ends,
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2AudioForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(**ends)
    return AudioLLM(model.eval(), processor, FAMILIES["qwen2_audio"])


class Clock:
    """Times the updates after the first."""

    def __init__(self, updates: int) -> None:
        from transformers import TrainerCallback

        clock = self

        class Callback(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                clock.tick(state.global_step)

        self.updates, self.callback, self.started, self.seconds = updates, Callback(), 0.0, 0.0

    def tick(self, step: int) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if step == 1:
            self.started = time.perf_counter()
        if step == 1 + self.updates:
            self.seconds = (time.perf_counter() - self.started) / self.updates


def reinforce(
    llm: Any, questions: list[Any], folder: Path, options: argparse.Namespace, *, share: bool
) -> dict[str, float]:
    """Time GRPO updates, and the sampling within them."""
    updates = options.updates
    from r1_aqa.config.model import LoRAConfig, ModelConfig
    from r1_aqa.config.train import DataConfig, GRPOTrainConfig
    from r1_aqa.models.prompt_cache import EncodedPrompts
    from r1_aqa.trainers.grpo import grpo_arguments
    from r1_aqa.trainers.grpo_trainer import AudioGRPOTrainer
    from r1_aqa.trainers.train import set_up, trainer_arguments

    config = GRPOTrainConfig(
        out=folder / f"out-{share}",
        init_from="random",
        data=DataConfig(train=(folder / "unused.jsonl",)),
        model=ModelConfig(dtype="bfloat16", lora=LoRAConfig(dropout=0.0)),
        num_rollouts=options.num_rollouts,
        max_new_tokens=options.max_new_tokens,
        max_steps=updates + 1,
        precision="bf16",
        gradient_checkpointing=True,
        share=share,
        device=device(),
    )
    is_new = not hasattr(llm.model, "peft_config")
    adapters = set_up(llm, config)[0] if is_new else None
    prompts = EncodedPrompts(
        llm, questions, sound=config.sound, style="answer", frozen=True, cache_bytes=2**30
    )
    clock, sampling = Clock(updates), [0.0]

    class Timed(AudioGRPOTrainer):
        def _roll_out(self, *args: Any) -> Any:
            began = time.perf_counter()
            found = super()._roll_out(*args)
            found.tolist()  # waits for the device
            sampling.append(time.perf_counter() - began)
            return found

    arguments = trainer_arguments(config, len(questions)) | {"save_strategy": "no"}
    reset_peak()
    Timed(
        llm,
        prompts,
        rewards=[length],
        config=config,
        args=grpo_arguments(config, **arguments),
        peft_config=adapters,
        callbacks=[clock.callback],
    ).train()
    rolled = sum(sampling[-updates:]) / updates
    return {
        "seconds": clock.seconds,
        "sampling_seconds": rolled,
        "tokens_per_second": options.num_rollouts * options.max_new_tokens / rolled,
        "peak_gigabytes": peak(),
    }


def fine_tune(llm: Any, questions: list[Any], folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Time updates of all weights."""
    from r1_aqa.config.model import ModelConfig
    from r1_aqa.config.train import DataConfig, SFTTrainConfig
    from r1_aqa.models.prompt_cache import EncodedPrompts
    from r1_aqa.trainers.sft import make_sft_trainer
    from r1_aqa.trainers.train import trainer_arguments
    from trl import SFTConfig

    config = SFTTrainConfig(
        out=folder / "out",
        init_from="random",
        data=DataConfig(train=(folder / "unused.jsonl",)),
        model=ModelConfig(dtype="bfloat16", strategy="full", freeze_encoder=False, freeze_projector=False),
        batch_size=options.batch_size,
        max_steps=options.updates + 1,
        precision="bf16",
        gradient_checkpointing=True,
        device=device(),
    )
    llm.model.requires_grad_(True)
    prompts = EncodedPrompts(
        llm, questions, sound=config.sound, style="answer", frozen=False, cache_bytes=2**30
    )
    clock = Clock(options.updates)
    arguments = trainer_arguments(config, len(questions)) | {"save_strategy": "no"}
    args = SFTConfig(**arguments, per_device_train_batch_size=config.batch_size)
    reset_peak()
    make_sft_trainer(llm, prompts, prompt="answer", args=args, callbacks=[clock.callback]).train()
    return {
        "seconds": clock.seconds,
        "questions_per_second": config.batch_size / clock.seconds,
        "peak_gigabytes": peak(),
    }


def device() -> str:
    import torch

    return "auto" if torch.cuda.is_available() else "cpu"


def reset_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> float:
    import torch

    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


if __name__ == "__main__":
    main()
