"""Several questions in a row give the logits and gradients of one in each row."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.log_probs import completion_logits
from r1_aqa.models.packing import fill_rows, pack, packed_attention, packed_logits
from r1_aqa.models.prompt_cache import EncodedPrompts


def test_rows_are_filled_but_never_longer_than_the_longest() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 40).tolist()
    rows = fill_rows(lengths)
    assert sorted(example for row in rows for example in row) == list(range(40))
    assert max(sum(lengths[example] for example in row) for row in rows) == max(lengths)
    assert len(rows) <= 1.3 * sum(lengths) / max(lengths) + 1
    assert fill_rows([5, 5]) == [[0], [1]]


def test_each_example_stands_whole_and_alone_in_its_row() -> None:
    prompt_mask = torch.tensor([[0, 1, 1], [1, 1, 1]])  # padded on the left
    answers = torch.tensor([[1, 1], [1, 0], [1, 0]])
    packed = pack(prompt_mask, torch.tensor([1, 0, 0]), answers)
    # The first example fills a row of 5, the others, of 3 tokens each, do not fit into one.
    assert packed.owner.tolist() == [[0] * 5, [1, 1, 1, -1, -1], [2, 2, 2, -1, -1]]
    assert packed.source.tolist() == [[3, 4, 5, 6, 7], [1, 2, 8, 12, 12], [1, 2, 10, 12, 12]]
    assert packed.positions[0].tolist() == [0, 1, 2, 3, 4]
    assert packed.predicts[:, 0].tolist() == [[0, 2], [1, 1], [2, 1]]
    seen = packed_attention(torch.tensor([[0, 0, 1, 1, -1]]))[0]
    assert seen.long().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("frozen", [True, False])
def test_packed_rows_give_the_same_logits_and_gradients(
    tiny_audio_llm: AudioLLM, tmp_path: Path, frozen: bool
) -> None:
    rng = np.random.default_rng(0)
    asked = []
    for number, seconds in enumerate((0.2, 1.9, 0.4, 0.3)):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, rng.normal(0, 0.1, int(16_000 * seconds)), 16_000)
        text = "What is it?" if number else "Which of all these sounds is heard first?" * 24
        asked.append(Question(id=str(number), audio=path, question=text))
    prompts = EncodedPrompts(
        tiny_audio_llm, asked, sound=SoundConfig(), style="choices", frozen=frozen, cache_bytes=2**24
    )
    rows, index = prompts.distinct([3, 0, 1, 2, 1], torch.device("cpu"))
    ids = torch.from_numpy(rng.integers(5, 60, (5, 6)))
    mask = (torch.arange(6) < torch.tensor([6, 2, 1, 3, 4])[:, None]).long()
    found = []
    for logits in (completion_logits, packed_logits):
        tiny_audio_llm.model.zero_grad()
        given = logits(tiny_audio_llm, rows, index, ids, mask)[mask.bool()]
        given.square().mean().backward()
        gradients = {
            n: p.grad.clone() for n, p in tiny_audio_llm.model.named_parameters() if p.grad is not None
        }
        found.append((given.detach(), gradients))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-4)
    assert found[0][1].keys() == found[1][1].keys()
    assert any("audio_tower" in name for name in found[0][1]) != frozen
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], atol=1e-5, rtol=1e-3)
    lengths = [
        len(prompts.input_ids(row)) + int(n) for row, n in zip((3, 0, 1, 2, 1), mask.sum(1), strict=True)
    ]
    assert len(fill_rows(lengths)) < 5
