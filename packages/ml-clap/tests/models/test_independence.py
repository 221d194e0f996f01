"""The measure itself: models that depend on their neighbours, or on chance, are found out."""

import torch
from ml_clap.models.independence import LARGEST, describe_independence, measure_independence
from torch import Tensor
from torch.nn.functional import normalize


class Fake:
    """Embeds a sound by a few sums over its samples, of which `fault` says what else decides."""

    sample_rate = 16_000
    device = torch.device("cpu")

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def embed_audio(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        sizes = [waveforms.shape[1]] * len(waveforms) if lengths is None else lengths.tolist()
        rows = [waveform[:size] for waveform, size in zip(waveforms, sizes, strict=True)]
        if self.fault == "padding":
            rows = list(waveforms)
        if self.fault == "loudness":
            rows = [row / waveforms.abs().max() for row in rows]
        if self.fault == "chance":
            rows = [row[torch.randint(0, 1_000, ()) :] for row in rows]
        vectors = [torch.stack([row.mean(), row.abs().mean(), row.square().mean() + 0.1]) for row in rows]
        if self.fault == "nan":
            vectors = [vector * torch.nan for vector in vectors]
        return normalize(torch.stack(vectors), dim=1)


def sounds() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [0.2 * torch.randn(samples, generator=generator) for samples in (8_000, 16_000)]


def test_an_independent_model_is_told_so() -> None:
    measured = measure_independence(Fake(), sounds())  # type: ignore[arg-type]
    assert measured < 1e-6
    assert "depend on" not in describe_independence(measured)


def test_faults_are_found() -> None:
    for fault in ("padding", "loudness", "chance", "nan"):
        measured = measure_independence(Fake(fault), sounds())  # type: ignore[arg-type]
        assert measured > LARGEST, fault
        assert "over 1e-03: this model's embeddings depend on" in describe_independence(measured)
