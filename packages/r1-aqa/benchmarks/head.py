"""Peak memory of log-probabilities at the head: all logits at once, against some positions at a time.

    python packages/r1-aqa/benchmarks/head.py --rollouts 8 --tokens 256

Both ways give log-probabilities, entropies and the gradients of hidden states and head; the largest
difference of their means is printed. The vocabulary is Qwen2-Audio's, the width is not, for the logits do
not depend on it (`--width 4096` for the 7B model's time). Every way runs in a process of its own; what the
process has before, weights included, is not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

WAYS = ("all logits", "chunks")


def main() -> None:
    options = read_options()
    if options.way:
        print(json.dumps(measure(options)))
        return
    rows = {way: run([*sys.argv, "--way", way]) for way in WAYS}
    for way, row in rows.items():
        print(f"{way:10} peak {row['megabytes']:6.0f} MB, {row['seconds']:6.2f} s")
    whole, chunks = (rows[way] for way in WAYS)
    gap = max(abs(a - b) for a, b in zip(whole["values"], chunks["values"], strict=True))
    memory, seconds = (chunks[name] / whole[name] for name in ("megabytes", "seconds"))
    print(f"{options.rollouts * options.tokens} tokens, {options.vocabulary} words; largest gap {gap:.1e}")
    print(f"chunks take {memory:.2f} of the memory, {seconds:.2f} times the time")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256, help="length of each")
    parser.add_argument("--vocabulary", type=int, default=156_032)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def run(words: list[str]) -> dict[str, Any]:
    finished = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from r1_aqa.models.log_probs import CHUNK_LOGITS, completion_log_probs, entropies, head_log_probs

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dtype = getattr(torch, options.dtype)
    head = torch.nn.Linear(options.width, options.vocabulary, bias=False, dtype=dtype, device=device)
    shape = options.rollouts, options.tokens
    hidden = torch.randn(*shape, options.width, dtype=dtype, device=device, requires_grad=True)
    ids = torch.randint(options.vocabulary, shape, device=device)
    head(hidden[0, :1]).sum().backward()  # the gradients are there before, and the first call's memory
    before, started = peak_megabytes(), time.perf_counter()
    if options.way == "chunks":
        chunk = CHUNK_LOGITS // options.vocabulary
        found, bits = head_log_probs(head, hidden, ids, chunk=chunk, with_entropies=True)
    else:
        logits = head(hidden)
        found, bits = completion_log_probs(logits, ids), entropies(logits)
    found.mean().backward()
    assert bits is not None
    assert hidden.grad is not None
    values = [
        found.mean(),
        bits.mean(),
        hidden.grad.float().abs().mean(),
        head.weight.grad.float().abs().mean(),
    ]
    numbers = [float(value.detach()) for value in values]
    return {
        "megabytes": peak_megabytes() - before,
        "seconds": time.perf_counter() - started,
        "values": numbers,
    }


def peak_megabytes() -> float:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
