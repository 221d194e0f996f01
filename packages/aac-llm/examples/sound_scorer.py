"""Tell how well texts fit sounds, by an ml-clap model: the program of `aac-llm correct --sound_scorer`.

Run it by the Python that ml-clap is installed in:

    aac-llm correct captions.jsonl --out corrected.jsonl --llm MODEL \\
        --sound_scorer "PYTHON packages/aac-llm/examples/sound_scorer.py MODEL_OF_ML_CLAP"

Lines {"audio": path, "text": text} come in on the standard input, {"similarity": cosine} go out in the same
order; a sound that cannot be read has null, and the reason stands in the standard error. Any other
text-audio model will do that is put behind the same lines.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np


def main() -> None:
    """Read all pairs, embed each sound and each text once, and print a cosine for each pair."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="folder or hub id of an ml-clap model")
    parser.add_argument("--lang", default="eng_Latn", help="language of the texts")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    from ml_clap import Retriever

    retriever = Retriever.from_pretrained(arguments.model, device=arguments.device)
    pairs = [json.loads(line) for line in sys.stdin if line.strip()]
    sounds = {path: embed(retriever, path) for path in dict.fromkeys(pair["audio"] for pair in pairs)}
    texts = list(dict.fromkeys(pair["text"] for pair in pairs))
    vectors = dict(zip(texts, np.atleast_2d(retriever.encode_text(texts, arguments.lang)), strict=True))
    for pair in pairs:
        sound = sounds[pair["audio"]]
        similarity = None if sound is None else float(sound @ vectors[pair["text"]])
        print(json.dumps({"similarity": similarity}))


def embed(retriever: Any, path: str) -> np.ndarray | None:
    """Return a sound's vector, or None if it cannot be read."""
    from ml_clap import AudioError

    try:
        return np.asarray(retriever.encode_audio(path)).reshape(-1)
    except (AudioError, OSError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    main()
