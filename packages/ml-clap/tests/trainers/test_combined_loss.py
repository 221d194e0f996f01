"""The sigmoid loss, 1-to-K, co-anchor and nested losses against their definitions, written out."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from ml_clap.models.shared_space import shorten
from ml_clap.trainers.combined_loss import co_anchor_loss, nested, one_to_k_loss
from ml_clap.trainers.loss import contrastive_loss, sigmoid_loss
from torch import Tensor

TEMPERATURE = 0.2
IDS = torch.tensor([0, 1, 0, 2])
"""Rows 0 and 2 are of one clip."""


def unit(*shape: int) -> Tensor:
    torch.manual_seed(sum(shape))
    return F.normalize(torch.randn(shape), dim=-1)


def compare(one: Tensor, other: Tensor, ids: Tensor, other_ids: Tensor) -> Tensor:
    return contrastive_loss(one, other, TEMPERATURE, ids, other_ids)


def naive_sigmoid(audio: Tensor, text: Tensor, bias: float, ids: list[int]) -> float:
    total = 0.0
    for i, a in enumerate(audio):
        for j, t in enumerate(text):
            sign = 1.0 if ids[i] == ids[j] else -1.0
            total -= math.log(1 / (1 + math.exp(-sign * (float(a @ t) / TEMPERATURE + bias))))
    return total / len(audio)


def test_the_sigmoid_loss_is_the_one_written_out_pair_by_pair() -> None:
    audio, text = unit(4, 8), unit(4, 9)[:, :8]
    found = sigmoid_loss(audio, text, TEMPERATURE, -3.0, IDS)
    assert float(found) == pytest.approx(naive_sigmoid(audio, text, -3.0, IDS.tolist()), rel=1e-5)
    alone = sigmoid_loss(audio, text, TEMPERATURE, -3.0)
    assert float(alone) == pytest.approx(naive_sigmoid(audio, text, -3.0, [0, 1, 2, 3]), rel=1e-5)


def test_at_bias_minus_ten_the_sigmoid_loss_of_equal_vectors_is_known() -> None:
    same = torch.ones(
        2, 1
    )  # every similarity is 1: logits 1 / 0.1 - 10 = 0, and each of four pairs costs log 2
    assert float(sigmoid_loss(same, same, 0.1, -10.0)) == pytest.approx(4 * math.log(2) / 2)


def test_the_bias_has_a_gradient_in_the_sigmoid_loss_alone() -> None:
    audio, text, bias = unit(4, 8), unit(4, 8), torch.tensor(-10.0, requires_grad=True)
    sigmoid_loss(audio, text, TEMPERATURE, bias).backward()
    assert bias.grad is not None
    assert float(bias.grad) < 0  # at first it is too low for the right pairs


def naive_one_to_k(audio: Tensor, texts: Tensor, ids: list[int]) -> float:
    """Each sound against all texts in all languages, each text against all sounds."""
    num_clips, num_languages, _ = texts.shape
    scores = (audio @ texts.flatten(0, 1).T / TEMPERATURE).tolist()
    of_texts = [ids[row // num_languages] for row in range(num_clips * num_languages)]
    of_sounds = of_texts_loss = 0.0
    for i, row in enumerate(scores):
        log_sum = math.log(sum(map(math.exp, row)))
        right = [score - log_sum for score, clip in zip(row, of_texts, strict=True) if clip == ids[i]]
        of_sounds -= sum(right) / len(right)
    for j, clip in enumerate(of_texts):
        column = [row[j] for row in scores]
        log_sum = math.log(sum(map(math.exp, column)))
        right = [score - log_sum for score, other in zip(column, ids, strict=True) if other == clip]
        of_texts_loss -= sum(right) / len(right)
    return (of_sounds / num_clips + of_texts_loss / len(of_texts)) / 2


@pytest.mark.parametrize("ids", [IDS, torch.arange(4)])
def test_one_to_k_is_the_loss_written_out_row_by_row(ids: Tensor) -> None:
    audio, texts = unit(4, 8), unit(4, 3, 8)
    found = one_to_k_loss(compare, audio, texts, ids)
    assert float(found) == pytest.approx(naive_one_to_k(audio, texts, ids.tolist()), rel=1e-5)


def test_one_to_k_of_one_language_is_the_pair_loss() -> None:
    audio, texts = unit(4, 8), unit(4, 1, 8)
    expected = contrastive_loss(audio, texts[:, 0], TEMPERATURE, IDS)
    torch.testing.assert_close(one_to_k_loss(compare, audio, texts, IDS), expected)


def test_one_to_k_does_not_depend_on_the_order_of_languages() -> None:
    audio, texts = unit(4, 8), unit(4, 3, 8)
    one, other = (one_to_k_loss(compare, audio, each, IDS) for each in (texts, texts[:, [2, 0, 1]]))
    torch.testing.assert_close(one, other)


def test_co_anchor_is_the_mean_of_its_three_pairs_and_pulls_texts_together() -> None:
    audio, texts = unit(4, 8), unit(4, 2, 8).requires_grad_()
    found = co_anchor_loss(compare, audio, texts, IDS)
    english, drawn = texts[:, 0], texts[:, 1]
    pairs = [(audio, english), (audio, drawn), (english, drawn)]
    expected = sum(contrastive_loss(a, b, TEMPERATURE, IDS).item() for a, b in pairs) / 3
    assert found.item() == pytest.approx(expected, rel=1e-6)
    found.backward()
    # A small step down brings each English caption nearer to its translation than without the third pair.
    with torch.no_grad():
        moved = F.normalize(texts - 0.5 * texts.grad, dim=-1)
    near = (moved[:, 0] * moved[:, 1]).sum(dim=1).mean()
    assert near > (english * drawn).sum(dim=1).mean()


def test_nested_is_the_mean_over_widths_of_prefixes_normalized_again() -> None:
    audio, text = unit(4, 8), unit(4, 8).flip(0)
    found = nested(compare, (2, 5))(audio, text, IDS, IDS)
    each = [
        compare(F.normalize(audio[:, :w], dim=-1), F.normalize(text[:, :w], dim=-1), IDS, IDS) for w in (2, 5)
    ]
    expected = (compare(audio, text, IDS, IDS) + sum(each)) / 3
    torch.testing.assert_close(found, expected)


def test_losses_compose() -> None:
    audio, texts = unit(4, 8), unit(4, 3, 8)

    def sigmoid(one: Tensor, other: Tensor, ids: Tensor, other_ids: Tensor) -> Tensor:
        return sigmoid_loss(one, other, TEMPERATURE, -10.0, ids, other_ids)

    found = one_to_k_loss(nested(sigmoid, (4,)), audio, texts, IDS)
    flat, ids = texts.flatten(0, 1), IDS.repeat_interleave(3)
    whole = partial(sigmoid_loss, temperature=TEMPERATURE, bias=-10.0, clip_ids=IDS, text_ids=ids)
    torch.testing.assert_close(found, (whole(audio, flat) + whole(shorten(audio, 4), shorten(flat, 4))) / 2)


def test_texts_without_a_number_each_are_refused() -> None:
    audio, text = unit(4, 8), unit(8, 8)
    with pytest.raises(ValueError, match=r"text_ids of shape \(8,\), got \(4,\)"):
        contrastive_loss(audio, text, TEMPERATURE, IDS, IDS)
    with pytest.raises(ValueError, match="expected audio and text embeddings of one shape"):
        sigmoid_loss(audio, text, TEMPERATURE, -10.0)
    with pytest.raises(ValueError, match="expected 1 to 8 dimensions, got 9"):
        shorten(audio, 9)
