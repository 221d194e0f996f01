"""What a clip of 10 s costs on a CPU, from samples to embedding: LAION's CLAP, GLAP and CED, in one run.

    python packages/ml-clap/benchmarks/models.py --rounds 7 --threads 1 --json models.json

Weights are random: they cost what trained ones cost. LAION's CLAP has the sizes of transformers' default
`ClapConfig` (those of laion/clap-htsat-unfused); GLAP's audio encoder is Dasheng-base. Clips are noise at
each model's own rate, decoded already. Times are those of the CPU (all threads together), which other
processes lengthen less than those on a clock; the rounds go through all models in turn, so that what else
the machine does hits all alike; the fastest round is nearest to what a clip takes on an idle machine.

`CLAP, its own extractor` is transformers' ClapFeatureExtractor and ClapModel as they come; `CLAP` is the same
model behind ml-clap's front end, which gives the same numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from audio_common.ced import CED
from audio_common.config import CED_PRESETS
from ml_clap.models.clap import CLAP
from ml_clap.models.dasheng import Dasheng, DashengConfig
from ml_clap.models.independence import measure_independence
from torch import Tensor, nn

SECONDS = 10
RATE, CLAP_RATE = 16_000, 48_000


@dataclass(frozen=True)
class Row:
    """One model's cost."""

    model: str
    million_weights: float
    """Of the audio side."""
    milliseconds: float
    """CPU time of a clip, the fastest round."""
    median_milliseconds: float


@dataclass(frozen=True)
class AudioSide:
    """Enough of a model to measure whether an embedding depends on its sound alone."""

    sample_rate: int
    embed: Callable[[Tensor, Tensor | None], Tensor]
    device = torch.device("cpu")

    def embed_audio(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed `(batch, samples)`, L2-normalized."""
        return F.normalize(self.embed(waveforms, lengths).float(), dim=-1)


def audio_models() -> dict[str, tuple[float, Callable[[], Tensor]]]:
    """Return name -> millions of weights, and what embeds one clip."""
    short, long = torch.randn(1, RATE * SECONDS) * 0.1, torch.randn(1, CLAP_RATE * SECONDS) * 0.1
    clap, real = make_clap()
    side = clap.model.audio_model, clap.model.audio_projection
    found: dict[str, tuple[float, Callable[[], Tensor]]] = {
        "CLAP": (count(*side), lambda: clap.embed_audio(long)),
        "CLAP, its own extractor": (count(*side), lambda: real(long)),
    }
    dasheng = Dasheng(DashengConfig()).eval()
    found["GLAP (Dasheng-base)"] = (count(dasheng), lambda: dasheng(short))
    for name in CED_PRESETS:
        ced = CED.from_preset(name).eval()
        found[f"ML-CLAP ({name})"] = (count(ced), lambda ced=ced: ced(short).pooled)  # type: ignore[misc]
    return found


def make_clap() -> tuple[CLAP, Callable[[Tensor], Tensor]]:
    """Return a CLAP of default sizes as ml-clap runs it, and what runs it as transformers does."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    model: Any = ClapModel(ClapConfig()).eval()
    features: Any = ClapFeatureExtractor(truncation="rand_trunc")

    def run(waveforms: Tensor) -> Tensor:
        inputs = features(waveforms[0].numpy(), sampling_rate=CLAP_RATE, return_tensors="pt")
        output = model.audio_model(input_features=inputs["input_features"].float())
        return model.audio_projection(output.pooler_output)

    return CLAP(model, features, tokenizer=None), run  # type: ignore[arg-type] - no text is embedded


@torch.inference_mode()
def measure_dependence() -> dict[str, float]:
    """Return the largest difference between embeddings of sounds of 3 to 13 s alone and beside others."""
    clap, real = make_clap()
    dasheng = Dasheng(DashengConfig(embed_dim=192, num_heads=3)).eval()
    own, theirs = (CED.from_preset("ced-tiny", mode=mode).eval() for mode in ("masked", "reference"))
    theirs.load_state_dict(own.state_dict())

    def one_by_one(waveforms: Tensor, lengths: Tensor | None) -> Tensor:
        sizes = [waveforms.shape[1]] * len(waveforms) if lengths is None else lengths.tolist()
        return torch.cat([real(row[None, :size]) for row, size in zip(waveforms, sizes, strict=True)])

    sides = {
        "CLAP": AudioSide(CLAP_RATE, clap.embed_audio),
        "CLAP, its own extractor": AudioSide(CLAP_RATE, one_by_one),
        "GLAP (Dasheng, 192 wide)": AudioSide(RATE, dasheng),
        "ML-CLAP (ced-tiny)": AudioSide(RATE, lambda rows, sizes: own(rows, sizes).pooled),
        "the same, mode reference": AudioSide(RATE, lambda rows, sizes: theirs(rows, sizes).pooled),
    }
    found = {}
    for name, side in sides.items():
        sounds = [sweep(seconds, side.sample_rate) for seconds in (3.0, 7.5, 13.0)]
        found[name] = measure_independence(side, sounds)  # type: ignore[arg-type] - no text is embedded
    return found


def sweep(seconds: float, rate: int) -> Tensor:
    """Return a quiet tone that rises, in a little noise: another sound at each place."""
    time = torch.arange(int(seconds * rate)) / rate
    return 0.05 * torch.sin(2 * torch.pi * (200 + 150 * time) * time) + 0.001 * torch.randn(len(time))


def count(*modules: nn.Module) -> float:
    """Return the weights of modules, in millions."""
    return sum(weight.numel() for module in modules for weight in module.parameters()) / 1e6


@torch.inference_mode()
def measure(rounds: int) -> list[Row]:
    """Time every model once a round, after one round that does not count."""
    models = audio_models()
    times: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 1):
        for name, (_, embed) in models.items():
            began = time.process_time()
            embed()
            if number:
                times[name].append((time.process_time() - began) * 1e3)
    return [
        Row(name, round(size, 1), round(min(times[name]), 1), round(statistics.median(times[name]), 1))
        for name, (size, _) in models.items()
    ]


def main() -> None:
    """Measure, print a table, and write it where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="times each model is run")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = measure(options.rounds)
    load = os.getloadavg()[0]
    print(f"CPU ms per clip of {SECONDS} s, {options.threads} thread(s), load of the machine {load:.1f}")
    for row in rows:
        print(
            f"{row.model:26} {row.million_weights:6.1f} M weights {row.milliseconds:8.1f} fastest "
            f"{row.median_milliseconds:8.1f} median"
        )
    dependence = measure_dependence()
    print("\nlargest difference of an embedding's values, a sound alone and beside others (random weights):")
    for name, difference in dependence.items():
        print(f"{name:26} {difference:.0e}")
    if options.json:
        described = {
            "threads": options.threads,
            "rounds": options.rounds,
            "load": round(load, 1),
            "dependence": dependence,
        }
        options.json.write_text(
            json.dumps({**described, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
