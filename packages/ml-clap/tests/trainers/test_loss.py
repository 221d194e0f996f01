import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.trainers.loss import contrastive_loss, embedding_regularizer, gather_with_gradients

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = [
    f"{rows}.idx{idx}.reg{reg}.temp{temp}"
    for rows in ("plain", "dup")
    for idx in (0, 1)
    for reg in (0, 1)
    for temp in ("0.07", "0.5")
]


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / "loss.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def golden_case(
    golden: dict[str, torch.Tensor], case: str
) -> tuple[torch.Tensor, torch.Tensor, float, torch.Tensor | None, bool]:
    """Audio, text, temperature, clip ids and whether regularised, as the golden README describes the case."""
    audio, text, clip_ids = golden["audio_embed"], golden["text_embed"], golden["idx"]
    if case == "one":
        return audio[:1], text[:1], 0.07, None, True
    if case == "allsame":
        return audio[:1].repeat(4, 1), text[:4], 0.07, torch.zeros(4, dtype=torch.int64), True
    rows, idx, reg, temp = case.split(".", 3)
    audio = golden["audio_embed_dup"] if rows == "dup" else audio
    return audio, text, float(temp[4:]), clip_ids if idx == "idx1" else None, reg == "reg1"


@pytest.mark.parametrize("case", [*CASES, "one", "allsame"])
def test_loss_and_gradients_equal_the_references(golden: dict[str, torch.Tensor], case: str) -> None:
    audio, text, temp, clip_ids, regularised = golden_case(golden, case)
    audio, text = audio.clone().requires_grad_(), text.clone().requires_grad_()
    temperature = torch.tensor(temp, requires_grad=True)

    loss = contrastive_loss(audio, text, temperature, clip_ids)
    if regularised:
        loss = loss + embedding_regularizer(audio, text)
    loss.backward()

    torch.testing.assert_close(loss, golden[f"{case}.loss"], atol=1e-5, rtol=0)
    torch.testing.assert_close(audio.grad, golden[f"{case}.grad_audio"], atol=1e-5, rtol=0)
    torch.testing.assert_close(text.grad, golden[f"{case}.grad_text"], atol=1e-5, rtol=0)
    torch.testing.assert_close(temperature.grad, golden[f"{case}.grad_temperature"], atol=1e-4, rtol=0)


def naive_loss(audio: torch.Tensor, text: torch.Tensor, temperature: float, clip_ids: list[int]) -> float:
    """The loss written out row by row."""
    scores = [[float(a @ t) / temperature for t in text] for a in audio]
    total = 0.0
    for rows in (scores, [list(column) for column in zip(*scores, strict=True)]):
        for row, clip in zip(rows, clip_ids, strict=True):
            log_sum = math.log(sum(math.exp(score) for score in row))
            positives = [score for score, other in zip(row, clip_ids, strict=True) if other == clip]
            total -= sum(score - log_sum for score in positives) / len(positives)
    return total / (2 * len(clip_ids))


@settings(max_examples=30, deadline=None)
@given(clip_ids=st.lists(st.integers(0, 4), min_size=1, max_size=8), temperature=st.floats(0.05, 1.0))
def test_loss_equals_the_one_written_out_by_hand(clip_ids: list[int], temperature: float) -> None:
    torch.manual_seed(len(clip_ids))
    audio, text = F.normalize(torch.randn(2, len(clip_ids), 16), dim=-1)
    loss = contrastive_loss(audio, text, temperature, torch.tensor(clip_ids))
    assert float(loss) == pytest.approx(naive_loss(audio, text, temperature, clip_ids), abs=1e-5)


def test_half_precision_embeddings_give_a_float32_loss() -> None:
    audio, text = F.normalize(torch.randn(2, 8, 16), dim=-1)
    half = contrastive_loss(audio.bfloat16(), text.bfloat16(), torch.tensor(0.01))
    assert half.dtype == torch.float32
    exact = contrastive_loss(audio.bfloat16().float(), text.bfloat16().float(), 0.01)
    torch.testing.assert_close(half, exact)


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((0, 4), (0, 4)), ((4,), (4,))])
def test_embeddings_that_do_not_pair_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    audio, text = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match="expected audio and text embeddings of one shape"):
        contrastive_loss(audio, text, 0.07)
    with pytest.raises(ValueError, match="expected audio and text embeddings of one shape"):
        embedding_regularizer(audio, text)


def test_clip_ids_of_another_length_are_refused() -> None:
    embeddings = torch.eye(3)
    with pytest.raises(ValueError, match=r"clip_ids of shape \(3,\), got \(2,\)"):
        contrastive_loss(embeddings, embeddings, 0.07, torch.tensor([0, 1]))


def test_gathering_in_one_process_changes_nothing() -> None:
    tensor = torch.randn(3, 4, requires_grad=True)
    assert gather_with_gradients(tensor) is tensor


WORKER = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from ml_clap.trainers.loss import contrastive_loss, embedding_regularizer, gather_with_gradients

class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.audio, self.text = nn.Linear(6, 5), nn.Linear(7, 5)
        self.temperature = nn.Parameter(torch.tensor(0.2))
    def forward(self, audio, text):
        normalize = nn.functional.normalize
        return normalize(self.audio(audio), dim=-1), normalize(self.text(text), dim=-1)

rank, first, last, folder = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(1)
torch.manual_seed(0)
towers = Towers()
audio, text, clip_ids = torch.randn(7, 6), torch.randn(7, 7), torch.tensor([0, 1, 2, 0, 3, 1, 4])
world = 1 if rank < 0 else 2
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
model = DistributedDataParallel(towers) if world > 1 else towers
a, t = model(audio[first:last], text[first:last])
a, t, ids = (gather_with_gradients(each) for each in (a, t, clip_ids[first:last]))
loss = contrastive_loss(a, t, towers.temperature, ids) + embedding_regularizer(a, t)
loss.backward()
gradients = {name: each.grad for name, each in towers.named_parameters()}
torch.save({"loss": loss.detach(), "ids": ids, **gradients}, f"{folder}/rank{rank}.pt")
if world > 1:
    dist.destroy_process_group()  # without, gloo's threads now and then abort a process that ends
"""


@pytest.mark.slow
def test_two_processes_with_unequal_batches_give_the_loss_and_gradients_of_one(tmp_path: Path) -> None:
    jobs = [("-1", "0", "7"), ("0", "0", "3"), ("1", "3", "7")]  # rank, first row, last row
    (tmp_path / "worker.py").write_text(WORKER)
    running = [subprocess.Popen([sys.executable, tmp_path / "worker.py", *job, tmp_path]) for job in jobs]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]

    expected, *ranks = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (-1, 0, 1))
    for found in ranks:
        assert found["ids"].tolist() == [0, 1, 2, 0, 3, 1, 4]
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-5)
