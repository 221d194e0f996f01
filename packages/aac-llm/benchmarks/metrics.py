"""1,000 candidates of five references: ours against pycocoevalcap with its tokeniser (Java), in one run.

python packages/aac-llm/benchmarks/metrics.py
"""

import random
import time

from aac_llm.metrics import score_captions
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

TEXT = "a the dog man rain bird car engine door bell wind water barks speaks falls sings idles slams rings"
WORDS = TEXT.split()
REPEATS = 3


def sentence(generator: random.Random) -> str:
    return " ".join(generator.choices(WORDS, k=generator.randint(6, 16))) + "."


def seconds_of_coco(candidates: list[str], references: list[list[str]]) -> float:
    start = time.perf_counter()
    tokenizer = PTBTokenizer()
    ours = tokenizer.tokenize({i: [{"caption": text}] for i, text in enumerate(candidates)})
    theirs = tokenizer.tokenize({i: [{"caption": t} for t in texts] for i, texts in enumerate(references)})
    Bleu(4).compute_score(theirs, ours, verbose=0)
    Rouge().compute_score(theirs, ours)
    Cider().compute_score(theirs, ours)
    return time.perf_counter() - start


def seconds_of_ours(candidates: list[str], references: list[list[str]]) -> float:
    start = time.perf_counter()
    score_captions(candidates, references, metrics=("bleu", "rouge", "cider"))
    return time.perf_counter() - start


def main() -> None:
    generator = random.Random(0)
    candidates = [sentence(generator) for _ in range(1000)]
    references = [[sentence(generator) for _ in range(5)] for _ in range(1000)]
    ours = min(seconds_of_ours(candidates, references) for _ in range(REPEATS))
    theirs = min(seconds_of_coco(candidates, references) for _ in range(REPEATS))
    print(
        f"1,000 clips x 5: ours {ours:.2f} s, pycocoevalcap {theirs:.2f} s, {theirs / ours:.1f} times as fast"
    )


if __name__ == "__main__":
    main()
