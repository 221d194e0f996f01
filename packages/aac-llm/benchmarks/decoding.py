"""Ways to decode faster on a CPU: 8 bits, n-gram drafts (speculative decoding), sounds that take turns.

    python benchmarks/decoding.py --decoder runs/models/smollm2

One process, one decoder, the ways in turn; each number is the smallest of several. Three questions:

- **8 bits.** Captions a second with `--quantization 8bit` against float32, bfloat16 and PyTorch's dynamic
  quantization (one scale for all tokens of a batch), with the cosine of the logits over captions.
- **Drafts.** A pass over 1 + k tokens against a pass over one: what it costs to check k drafted tokens. A
  table of n-grams of other captions drafts; how many drafted tokens are those of the caption says what is
  gained at most (the captioner is taken to write the captions of `--captions` word by word).
- **A second model** that drafts (transformers' assisted generation, one greedy caption): the decoder's own
  first layers with its head, which share its vocabulary, after some updates on what the decoder writes.
- **Turns.** A pass at so many rows, measured, with the lengths of the captions: sounds that are done leave
  the batch (as in `beam_search.py`), against others taking their places at once (continuous batching, without
  its own cost), and against a batch that goes on until its last caption ends (transformers).
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from aac_llm.models.beam_search import beam_search
from aac_llm.models.decoder import load_decoder
from aac_llm.models.int8 import to_int8
from captioning import make_decoder
from torch import Tensor

PROMPT = 40
"""Embeddings of a prompt with a sound of some 20 s."""
DRAFTED = 4
"""Tokens of a draft."""
ORDER = 3
"""Longest context of the n-grams."""
FEWEST_ROWS = 3
"""Beams of a sound."""
ASKED = 6
"""Captions that a second model drafts."""


def main() -> None:
    options = read_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        source = options.decoder or make_decoder(Path(folder))
        decoder, tokenizer = load_decoder(source)
    captions = [ids for text in read_captions(options) if (ids := tokenizer(text)["input_ids"])]
    result = {
        "8 bits": measure_formats(decoder, captions, options),
        "drafts": measure_drafts(decoder, captions, options),
        "second model": measure_second_model(decoder, captions, options),
        "turns": measure_turns(decoder, captions, options),
    }
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--decoder", type=Path, help="folder of the language model (none: random, SmolLM2's size)"
    )
    parser.add_argument("--captions", type=Path, help="manifest with captions (none: of synthesised scenes)")
    parser.add_argument("--sounds", type=int, nargs="+", default=[1, 8], help="sounds captioned at once")
    parser.add_argument("--new_tokens", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draft_layers", type=int, default=4, help="layers of the model that drafts")
    parser.add_argument("--draft_steps", type=int, default=60, help="updates that it is taught in")
    parser.add_argument("--batch", type=int, default=32, help="sounds of a batch that take turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the numbers there")
    return parser.parse_args()


def read_captions(options: argparse.Namespace) -> list[str]:
    if options.captions is None:
        from audio_common.scenes.scene import random_scene
        from audio_common.scenes.text import caption

        return [caption(random_scene(seed, num_events=1 + seed % 3), "eng_Latn") for seed in range(400)]
    rows = [json.loads(line) for line in options.captions.read_text(encoding="utf-8").splitlines()]
    return [row["captions"][0] for row in rows]


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Return the least processor seconds of some work; the first time is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


# -- 8 bits ---------------------------------------------------------------------------------------------


def measure_formats(
    decoder: Any, captions: Sequence[list[int]], options: argparse.Namespace
) -> dict[str, Any]:
    """Return captions a second in each format, and how near its logits are to those of float32."""
    formats = {
        "float32": decoder,
        "bfloat16": copy.deepcopy(decoder).bfloat16(),
        "8bit": copy.deepcopy(decoder),
    }
    to_int8(formats["8bit"])
    formats["dynamic"] = quantize_dynamically(decoder)
    expected = next_logits(decoder, captions[:16])
    rows: dict[str, Any] = {}
    for name, model in formats.items():
        found = next_logits(model, captions[:16])
        rows[name] = {
            "cosine": torch.nn.functional.cosine_similarity(found, expected, dim=1).min().item(),
            "same_token": (found.argmax(1) == expected.argmax(1)).float().mean().item(),
        }
    for count in options.sounds:
        for name, model in formats.items():
            seconds = fastest(lambda model=model, count=count: search(model, count, options), options.repeats)
            rows[name][f"seconds_{count}"] = seconds
    return rows


def quantize_dynamically(decoder: Any) -> Any:
    """PyTorch's way: one scale for all that goes into a layer at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(
            copy.deepcopy(decoder), {torch.nn.Linear}, dtype=torch.qint8
        )


@torch.inference_mode()
def next_logits(model: Any, captions: Sequence[list[int]]) -> Tensor:
    """Return the logits after each token of some captions `(tokens, vocabulary)`, all in one batch."""
    longest = max(map(len, captions))
    ids = torch.tensor([[0] * (longest - len(one)) + one for one in captions])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in captions])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    return logits[mask.bool()].float()


@torch.inference_mode()
def search(model: Any, count: int, options: argparse.Namespace) -> None:
    """Find a caption of so many sounds: three beams, all of the same length."""
    embed = model.get_input_embeddings()
    ids = torch.randint(5, embed.weight.shape[0], (count, PROMPT), generator=torch.Generator().manual_seed(0))
    tokens = options.new_tokens
    beam_search(model, embed(ids), torch.ones(count, PROMPT), max_new_tokens=tokens, min_new_tokens=tokens)


# -- drafts ---------------------------------------------------------------------------------------------


def measure_drafts(
    decoder: Any, captions: Sequence[list[int]], options: argparse.Namespace
) -> dict[str, Any]:
    """Return what checking a draft costs, how much of it is right, and the most that it gains."""
    order = random.Random(0).sample(range(len(captions)), len(captions))
    known, asked = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    table = count_ngrams([captions[index] for index in known])
    passes = sum(num_passes(captions[index], table) for index in asked)
    tokens = sum(len(captions[index]) for index in asked)
    found: dict[str, Any] = {"tokens_a_pass": tokens / passes}
    for rows in (1, FEWEST_ROWS * max(options.sounds)):
        one = fastest(make_step(decoder, rows, 1), options.repeats)
        more = fastest(make_step(decoder, rows, 1 + DRAFTED), options.repeats)
        found[f"cost_{rows}"] = more / one
        found[f"gain_{rows}"] = tokens / passes / (more / one)
    return found


def count_ngrams(captions: Sequence[list[int]]) -> dict[tuple[int, ...], Counter[int]]:
    table: dict[tuple[int, ...], Counter[int]] = {}
    for ids in captions:
        for place, token in enumerate(ids):
            for size in range(min(ORDER, place) + 1):
                table.setdefault(tuple(ids[place - size : place]), Counter())[token] += 1
    return table


def draft(ids: Sequence[int], table: dict[tuple[int, ...], Counter[int]]) -> list[int]:
    """Return the most frequent next tokens, each after the longest context that is known."""
    made = list(ids)
    for _ in range(DRAFTED):
        contexts = (tuple(made[len(made) - size :]) for size in range(min(ORDER, len(made)), -1, -1))
        made.append(next(table[context] for context in contexts if context in table).most_common(1)[0][0])
    return made[len(ids) :]


def num_passes(ids: Sequence[int], table: dict[tuple[int, ...], Counter[int]]) -> int:
    """Return the passes that write a caption: each gives the drafted tokens that are right, and one more."""
    place = passes = 0
    while place < len(ids):
        drafted = draft(ids[:place], table)
        right = next((n for n, t in enumerate(drafted) if ids[place + n : place + n + 1] != [t]), DRAFTED)
        place += right + 1
        passes += 1
    return passes


@torch.inference_mode()
def make_step(decoder: Any, rows: int, new_tokens: int) -> Callable[[], None]:
    """Return a pass over some new tokens of each row, behind a prompt."""
    chance = torch.Generator().manual_seed(0)
    size = decoder.get_input_embeddings().weight.shape[0]
    prompt, new = (torch.randint(5, size, (rows, n), generator=chance) for n in (PROMPT, new_tokens))
    with torch.inference_mode():
        cache = decoder(input_ids=prompt, use_cache=True, logits_to_keep=1).past_key_values

    @torch.inference_mode()
    def step() -> None:
        decoder(input_ids=new, past_key_values=cache, use_cache=True)
        cache.crop(-new_tokens)

    return step


# -- a second model ----------------------------------------------------------------------------------------


def measure_second_model(
    decoder: Any, captions: Sequence[list[int]], options: argparse.Namespace
) -> dict[str, Any]:
    """Return how many drafted tokens are accepted, and processor seconds with and without the drafts."""
    starts = [torch.tensor([ids[:3]]) for ids in captions if len(ids) > 3]
    random.Random(2).shuffle(starts)
    settings = {"do_sample": False, "max_new_tokens": 2 * options.new_tokens, "pad_token_id": 0}
    asked, taught = starts[:ASKED], starts[ASKED : ASKED + options.batch]
    written = [decoder.generate(ids, **settings) for ids in taught]
    drafter = teach(first_layers(decoder, options.draft_layers), written, options.draft_steps)
    passes = count_passes(decoder)
    seconds, drafted, tokens, num_passes, equal = 0.0, 0.0, 0, 0, 0
    for ids in asked:  # in turns
        began = time.process_time()
        plain = decoder.generate(ids, **settings)
        between, before = time.process_time(), len(passes)
        found = decoder.generate(ids, assistant_model=drafter, **settings)
        seconds, drafted = seconds + between - began, drafted + time.process_time() - between
        tokens, num_passes = tokens + found.shape[1] - ids.shape[1], num_passes + len(passes) - before
        equal += int(torch.equal(plain, found))
    return {
        "tokens_a_pass": tokens / num_passes,
        "gain": seconds / drafted,
        "equal": equal / len(asked),
        "size": options.draft_layers / decoder.config.num_hidden_layers,
    }


def first_layers(decoder: Any, count: int) -> Any:
    """Return a copy of a decoder without its later layers: embeddings, head and vocabulary are the same."""
    drafter = copy.deepcopy(decoder)
    drafter.model.layers = drafter.model.layers[:count]
    drafter.config.num_hidden_layers = count
    return drafter


def teach(drafter: Any, written: Sequence[Tensor], steps: int) -> Any:
    """Let the layers, not the embeddings and the head, learn what the decoder writes."""
    drafter.requires_grad_(False)
    drafter.model.layers.requires_grad_(True)
    drafter.model.norm.requires_grad_(True)
    optimizer = torch.optim.AdamW([p for p in drafter.parameters() if p.requires_grad], lr=5e-4)
    with torch.enable_grad():
        for step in range(steps):
            ids = written[step % len(written)]
            drafter(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return drafter.eval()


def count_passes(decoder: Any) -> list[int]:
    """Return a list that grows by one with every pass of a decoder."""
    passes: list[int] = []
    decoder.register_forward_hook(lambda *_: passes.append(1))
    return passes


# -- turns ----------------------------------------------------------------------------------------------


def measure_turns(decoder: Any, captions: Sequence[list[int]], options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds of one sound's passes, in three ways to fill a batch."""
    sizes = sorted({1, 2, 4, 8, 16, options.batch} & set(range(1, options.batch + 1)))
    measured = {n: fastest(make_step(decoder, FEWEST_ROWS * n, 1), options.repeats) for n in sizes}
    lengths = [len(ids) + 1 for ids in captions]
    random.Random(1).shuffle(lengths)
    batches = [lengths[i : i + options.batch] for i in range(0, len(lengths), options.batch)]
    whole = sum(cost(len(batch), measured) * max(batch) for batch in batches)
    leaving = sum(
        cost(sum(length > step for length in batch), measured)
        for batch in batches
        for step in range(max(batch))
    )
    turns = cost(options.batch, measured) * sum(lengths) / options.batch
    return {
        "mean_tokens": sum(lengths) / len(lengths),
        "longest": max(lengths),
        "seconds_of_a_pass": measured,
        "until_the_last": whole / len(lengths),
        "done_ones_leave": leaving / len(lengths),
        "others_take_turns": turns / len(lengths),
    }


def cost(count: int, measured: dict[int, float]) -> float:
    """Return the seconds of a pass of so many sounds, between two that were measured."""
    above = min(size for size in measured if size >= count)
    below = max((size for size in measured if size <= count), default=above)
    if above == below:
        return measured[above]
    share = (count - below) / (above - below)
    return measured[below] + share * (measured[above] - measured[below])


# -- table ----------------------------------------------------------------------------------------------


def show(result: dict[str, Any]) -> None:
    formats = result["8 bits"]
    counts = [name.partition("_")[2] for name in formats["float32"] if name.startswith("seconds_")]
    for name, row in formats.items():
        times = ", ".join(
            f"{formats['float32'][f'seconds_{n}'] / row[f'seconds_{n}']:.2f}x with {n} sounds at once"
            for n in counts
        )
        print(
            f"{name:9} {times}; cosine of logits {row['cosine']:.5f}, same next token {row['same_token']:.1%}"
        )
    drafts = result["drafts"]
    print(f"drafts    {drafts['tokens_a_pass']:.2f} tokens a pass of 1 + {DRAFTED}")
    for name in drafts:
        if name.startswith("cost_"):
            rows = name.partition("_")[2]
            gain = drafts[f"gain_{rows}"]
            print(f"          {rows} rows: a pass costs {drafts[name]:.2f}, gain {gain:.2f}x at most")
    second = result["second model"]
    print(
        f"second    {second['size']:.0%} of the layers draft: {second['tokens_a_pass']:.2f} tokens a pass, "
        f"{second['gain']:.2f}x; captions equal {second['equal']:.0%}"
    )
    turns = result["turns"]
    base = turns["done_ones_leave"]
    print(f"turns     captions of {turns['mean_tokens']:.1f} tokens, longest {turns['longest']}")
    print(f"          others take turns {base / turns['others_take_turns']:.2f}x at most, ", end="")
    print(f"until the last one ends {base / turns['until_the_last']:.2f}x of sounds that leave when done")


if __name__ == "__main__":
    main()
