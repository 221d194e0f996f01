"""Time fine-tuning with several questions in a row, against one in each row (`packing`).

    python benchmarks/packing.py --model FOLDER --data FILE

prints, for the same random batches of questions: the share of positions that is padding, and the time of
forward and backward passes as the ratio of the two. Prompts are encoded before, adapters are trained, as in
`r1-aqa train sft`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import get_peft_model
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.readers import read_questions
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.models.log_probs import Prompts, completion_logits
from r1_aqa.models.lora import lora_config
from r1_aqa.models.packing import fill_rows, packed_logits
from r1_aqa.models.prompt import format_target
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.trainers.sft import answer_ids
from torch import Tensor


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of an audio LLM")
    parser.add_argument("--data", type=Path, required=True, help="file of questions")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--batches", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ModelConfig(dtype="float32", lora=LoRAConfig(rank=8))
    llm = load_audio_llm(given.model, config)
    llm.model = get_peft_model(llm.model, lora_config(llm, config))
    asked = read_questions(given.data)
    prompts = EncodedPrompts(llm, asked, sound=SoundConfig(), style="answer", frozen=True, cache_bytes=2**32)
    targets = answer_ids(llm.tokenizer, [format_target(question.answer or "") for question in asked])
    batches = [torch.randperm(len(asked))[: given.batch_size].tolist() for _ in range(given.batches)]
    prompts.embeddings([row for rows in batches for row in rows])
    lengths = [[len(prompts.input_ids(row)) + len(targets[row]) for row in rows] for rows in batches]
    tokens = sum(map(sum, lengths))
    in_rows = sum(len(one) * max(one) for one in lengths)
    packed = sum(len(fill_rows(one)) * max(one) for one in lengths)
    print(f"{tokens / given.batches:.0f} tokens a batch, the longest {max(map(max, lengths))}")
    print(f"padding: {1 - tokens / in_rows:.1%} in rows of their own, {1 - tokens / packed:.1%} packed")
    ways = {"rows": completion_logits, "packed": packed_logits}
    seconds = dict.fromkeys(ways, 0.0)
    for number, rows in enumerate(batches):
        distinct, index = prompts.distinct(rows, torch.device("cpu"))
        # Alternately, for the machine may be busy with something else for a while.
        for name in list(ways)[:: 1 if number % 2 else -1]:
            seconds[name] += timed(llm, distinct, index, [targets[row] for row in rows], ways[name])
    print(f"time of a packed batch: {seconds['packed'] / seconds['rows']:.2f} of one with rows of their own")


def timed(
    llm: AudioLLM, prompts: Prompts, index: Tensor, targets: list[list[int]], logits: Callable[..., Tensor]
) -> float:
    """Return the seconds of a forward and a backward pass."""
    longest = max(map(len, targets))
    ids = torch.tensor([target + [0] * (longest - len(target)) for target in targets])
    mask = torch.tensor([[1] * len(target) + [0] * (longest - len(target)) for target in targets])
    start = time.perf_counter()
    found = logits(llm, prompts, index, ids, mask)
    loss = torch.nn.functional.cross_entropy(found[mask.bool()].float(), ids[mask.bool()])
    loss.backward()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
