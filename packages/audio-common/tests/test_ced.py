"""The encoder: a clip's features depend on that clip alone, however it is batched, cut and computed."""

import inspect
from itertools import pairwise

import pytest
import torch
from audio_common.attention import AttentionKind, Packed, Padded, Varlen, has_varlen, make_layout
from audio_common.ced import CED, CEDOutput
from audio_common.config import CED_PRESETS, CEDConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 7}
LIMIT = {"rtol": 1e-5, "atol": 1e-5}
CPU = torch.device("cpu")


def make_ced(**settings) -> CED:
    """A small encoder whose weights and statistics are far from their initial ones, in evaluation mode."""
    torch.manual_seed(1)
    model = CED(CEDConfig(**{**SMALL, **settings}))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.init_bn.running_mean.normal_(-20.0, 5.0)
    model.init_bn.running_var.uniform_(100.0, 300.0)
    return model.eval()


CED_SMALL = make_ced()


def sounds(*lengths: int, seed: int = 0) -> list[Tensor]:
    """Noise of different loudness, with a silent stretch in the longer clips."""
    generator = torch.Generator().manual_seed(seed)
    clips = [torch.randn(n, generator=generator) * 10.0 ** -(i % 4) for i, n in enumerate(lengths)]
    for clip in clips:
        clip[len(clip) // 3 : len(clip) // 2] *= len(clip) < 30_000
    return clips


def pad(clips: list[Tensor], extra: int = 0) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(clip) for clip in clips])
    padded = nn.utils.rnn.pad_sequence(clips, batch_first=True)
    return nn.functional.pad(padded, (0, extra), value=0.7), lengths


def assert_same_clip(batch: CEDOutput, row: int, alone: CEDOutput, alone_row: int = 0) -> None:
    ours, theirs = batch.tokens[row][batch.mask[row]], alone.tokens[alone_row][alone.mask[alone_row]]
    torch.testing.assert_close(ours, theirs, **LIMIT)
    torch.testing.assert_close(batch.pooled[row], alone.pooled[alone_row], **LIMIT)
    torch.testing.assert_close(batch.probabilities[row], alone.probabilities[alone_row], **LIMIT)
    times = [
        output.column_times[i][output.column_mask[i]] for output, i in ((batch, row), (alone, alone_row))
    ]
    torch.testing.assert_close(*times)


seconds = st.one_of(st.floats(0.02, 0.5), st.floats(0.5, 12.0), st.floats(12.0, 60.0))


@given(st.lists(seconds, min_size=1, max_size=4), st.integers(0, 20_000), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
@torch.inference_mode()
def test_a_clip_depends_on_nothing_but_itself(durations: list[float], extra: int, random) -> None:
    clips = sounds(*(int(16_000 * duration) for duration in durations))
    alone = [CED_SMALL(clip[None], classify=True) for clip in clips]
    batch = CED_SMALL(*pad(clips, extra), classify=True)  # batch-mates and padding
    assert (batch.tokens[~batch.mask] == 0).all()
    order = random.sample(range(len(clips)), len(clips))
    shuffled = CED_SMALL(*pad([clips[i] for i in order]), classify=True)
    cut = random.randint(0, len(clips) - 1)
    parts = [CED_SMALL(*pad(part), classify=True) for part in (clips[:cut], clips[cut:]) if part]
    rows = [(part, row) for part in parts for row in range(len(part.mask))]
    for i in range(len(clips)):
        assert_same_clip(batch, i, alone[i])
        assert_same_clip(shuffled, order.index(i), alone[i])
        assert_same_clip(*rows[i], alone[i])


@pytest.mark.parametrize("samples", [1, 100, 2399, 2400, 2559])
def test_very_short_clips_are_one_patch(samples: int) -> None:
    output = CED_SMALL(sounds(samples)[0][None], classify=True)
    assert output.tokens.shape == (1, 4, 24)
    assert output.mask.all()
    assert output.probabilities.isfinite().all()


@pytest.mark.parametrize("samples", [2560, 40_000, 161_280, 161_440, 163_999, 500_123])
def test_every_sample_counts(samples: int) -> None:
    (clip,) = sounds(samples)
    before = CED_SMALL(clip[None])
    assert before.column_mask.sum() == -(-(samples // 160 + 1) // 16)
    for start in (0, samples // 2, samples - 300):
        changed = clip.clone()
        changed[start : start + 300] += 0.5
        assert (CED_SMALL(changed[None]).tokens - before.tokens).abs().max() > 1e-3


def test_tokens_run_through_time_and_pieces_follow_each_other() -> None:
    clip = sounds(160 * (1008 + 160 - 1))[0]  # a full piece and 10 columns
    output = CED_SMALL(clip[None])
    with_other_end = clip.clone()
    with_other_end[160 * 1020 :] = 0.0
    changed = (CED_SMALL(with_other_end[None]).tokens - output.tokens).abs().amax(2)[0] > 0
    assert output.tokens.shape[1] == 4 * 73
    assert not changed[: 4 * 63].any()
    assert changed[4 * 63 :].all()


def test_time_features_say_where_a_sound_is() -> None:
    quiet = torch.randn(1, 16_000 * 6) * 1e-3
    clicked = quiet.clone()
    clicked[0, 54_800:55_200] += 1.0  # at 3.44 s
    quiet_features, _ = CED_SMALL(quiet).time_features()
    output = CED_SMALL(clicked)
    features, mask = output.time_features()
    assert features.shape == (1, 38, 24)
    assert mask.all()
    column = (features - quiet_features).norm(dim=2)[0].argmax()
    assert abs(output.column_times[0, column] - 3.44) <= 0.08
    assert output.column_times[0, 0] == pytest.approx(0.075)
    assert output.column_times[0, -1] == pytest.approx(5.925)  # frames 585 to 600, the last of 601


def test_time_features_are_masked_means_over_bands() -> None:
    output = CED_SMALL(*pad(sounds(16_000, 48_000)))
    features, mask = output.time_features()
    assert mask.sum(1).tolist() == [7, 19]
    torch.testing.assert_close(features[1, 3], output.tokens[1, 12:16].mean(0))
    means = (features * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(means, output.pooled)


@pytest.mark.parametrize("pooling", ["mean", "max", "dm"])
def test_poolings_ignore_padding(pooling: str) -> None:
    clips = sounds(16_000, 250_000)
    batch = CED_SMALL.classify(CED_SMALL(*pad(clips)), pooling)[1]
    alone = [CED_SMALL.classify(CED_SMALL(clip[None]), pooling)[1] for clip in clips]
    torch.testing.assert_close(batch, torch.cat(alone), **LIMIT)


def test_max_pooling_takes_the_greatest_piece() -> None:
    clip = sounds(160 * (1008 + 320 - 1))[0]
    output = CED_SMALL(clip[None])
    pieces = [output.tokens[0, : 4 * 63].mean(0), output.tokens[0, 4 * 63 :].mean(0)]
    expected = torch.stack([CED_SMALL.outputlayer(piece).sigmoid() for piece in pieces]).amax(0)
    torch.testing.assert_close(CED_SMALL.classify(output, "max")[1][0], expected)


KINDS: list[AttentionKind] = ["packed", "padded"]
VARIED = (1_000, 40_000, 200_000, 40_000, 161_440)


def losses_and_gradients(kind: AttentionKind, group: int | None = None) -> tuple[Tensor, list[Tensor]]:
    model = make_ced().train()
    model.freeze_batch_norm()
    model.attention, model.tokens_per_group = kind, group
    output = model(*pad(sounds(*VARIED)), classify=True)
    loss = output.logits.square().sum() + output.tokens.sin().mean()
    loss.backward()
    return loss, [parameter.grad for parameter in model.parameters()]


def test_packed_and_padded_attention_and_their_gradients_are_equal() -> None:
    loss, gradients = losses_and_gradients("packed")
    for kind, group in (("padded", None), ("padded", 300), ("packed", 300)):
        other_loss, other_gradients = losses_and_gradients(kind, group)
        torch.testing.assert_close(other_loss, loss)
        for other, packed in zip(other_gradients, gradients, strict=True):
            torch.testing.assert_close(other, packed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_each_implementation_gives_the_clip_alone(kind: AttentionKind) -> None:
    clips = sounds(*VARIED)
    alone = [CED_SMALL(clip[None], classify=True) for clip in clips]
    model = make_ced()
    model.attention = kind
    batch = model(*pad(clips), classify=True)
    for row, one in enumerate(alone):
        assert_same_clip(batch, row, one)


@pytest.mark.skipif(not has_varlen(), reason="needs torch >= 2.10")
def test_varlen_attention_is_told_where_pieces_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention import varlen

    signature = inspect.signature(varlen.varlen_attn)

    def by_hand(*args, **settings) -> Tensor:  # the kernel's contract, on a CPU
        given = signature.bind(*args, **settings).arguments
        ends = given["cu_seq_q"].tolist()
        assert given["cu_seq_k"].tolist() == ends
        assert given["max_q"] == given["max_k"] == max(b - a for a, b in pairwise(ends))
        qkv = [given[name].transpose(0, 1) for name in ("query", "key", "value")]
        pieces = [[x[:, a:b] for x in qkv] for a, b in pairwise(ends)]
        return torch.cat(
            [nn.functional.scaled_dot_product_attention(*piece) for piece in pieces], 1
        ).transpose(0, 1)

    monkeypatch.setattr(varlen, "varlen_attn", by_hand)
    model, batch = make_ced(), pad(sounds(*VARIED))
    expected = model(*batch).tokens
    model.attention = "varlen"
    torch.testing.assert_close(model(*batch).tokens, expected, **LIMIT)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() or not has_varlen(), reason="needs CUDA and torch >= 2.10")
def test_varlen_attention_is_the_padded_one_in_half_precision() -> None:
    sizes = (252, 28, 4, 252, 100)
    q, k, v = torch.randn(3, sum(sizes), 3, 64, device="cuda", dtype=torch.bfloat16)
    varlen = make_layout("varlen", sizes, q.device, q.dtype)
    assert isinstance(make_layout("auto", sizes, q.device, q.dtype), Varlen)
    exact = make_layout("packed", sizes, q.device, q.dtype).attend(q.float(), k.float(), v.float())
    torch.testing.assert_close(varlen.attend(q, k, v).float(), exact, rtol=2e-2, atol=2e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@torch.inference_mode()
def test_the_gpu_gives_the_cpus_features() -> None:
    waveforms, lengths = pad(sounds(*VARIED))
    expected = CED_SMALL(waveforms, lengths, classify=True)
    model = make_ced().cuda()
    for kind in ("auto", "packed", "padded"):
        model.attention = kind
        output = model(waveforms.cuda(), lengths, classify=True)
        torch.testing.assert_close(output.tokens.cpu(), expected.tokens, rtol=1e-3, atol=1e-3)


def test_auto_pads_nothing_on_a_cpu() -> None:
    assert isinstance(make_layout("auto", [8, 4], CPU, torch.float32), Packed)
    assert isinstance(make_layout("padded", [8, 4], CPU, torch.float32), Padded)
    with pytest.raises(ValueError, match="got 'flash'"):
        make_layout("flash", [8, 4], CPU, torch.float32)


@torch.inference_mode()
def test_long_recordings_are_encoded_in_bounded_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = torch.randn(1, 16_000 * 600) * 0.1
    model, groups = make_ced(depth=1), []
    plain = model._encode_group

    def watched(tokens: Tensor, sizes: list[int]) -> Tensor:
        groups.append(len(tokens))
        return plain(tokens, sizes)

    monkeypatch.setattr(model, "_encode_group", watched)
    whole = model(recording)
    assert max(groups) <= 512
    assert sum(groups) == whole.mask.sum()
    groups.clear()
    model.tokens_per_group = 300
    grouped = model(recording)
    assert max(groups) <= 300
    torch.testing.assert_close(grouped.tokens, whole.tokens, **LIMIT)


def test_batch_norm_in_training_counts_sound_only() -> None:
    waveforms, lengths = pad(sounds(16_000, 64_000))
    statistics = []
    for extra in (0, 50_000):
        model = make_ced().train()
        model(nn.functional.pad(waveforms, (0, extra)), lengths)
        statistics.append((model.init_bn.running_mean, model.init_bn.running_var))
    torch.testing.assert_close(*statistics)
    frames, _ = model.front_end(waveforms, lengths.tolist())
    before = make_ced().init_bn.running_mean
    torch.testing.assert_close(statistics[0][0], 0.99 * before + 0.01 * frames.mean(0))


def test_a_frozen_batch_norm_stays_as_it_is() -> None:
    model = make_ced()
    expected = model(sounds(20_000)[0][None]).tokens
    model.freeze_batch_norm()
    model.train()
    assert model.training
    assert torch.equal(model(sounds(20_000)[0][None]).tokens, expected)
    assert torch.equal(model.init_bn.running_mean, make_ced().init_bn.running_mean)


def test_a_frozen_encoder_stays_in_evaluation_without_gradients() -> None:
    model = make_ced(drop_path=0.5, time_patch_out=0.5)
    expected = model(sounds(60_000)[0][None]).tokens
    model.train()
    model.freeze()
    assert not model.training
    nn.Sequential(model).train()
    output = model(sounds(60_000)[0][None])
    assert torch.equal(output.tokens, expected)
    assert not output.tokens.requires_grad
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("autocast", [False, True])
@torch.inference_mode()
def test_half_precision_keeps_front_end_and_batch_norm_exact(autocast: bool) -> None:
    waveforms, lengths = pad(sounds(30_000, 100_000))
    expected = CED_SMALL(waveforms, lengths, classify=True)
    model = make_ced() if autocast else make_ced().to(torch.bfloat16)
    assert model.init_bn.running_mean.dtype == model.init_bn.weight.dtype == torch.float32
    assert torch.equal(model.front_end.filterbank, CED_SMALL.front_end.filterbank)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = model(waveforms, lengths, classify=True)
    assert output.probabilities.dtype == torch.float32
    cosine = torch.cosine_similarity(output.pooled.float(), expected.pooled)
    assert (cosine > 0.999).all()
    torch.testing.assert_close(output.probabilities, expected.probabilities, rtol=0, atol=0.05)


def test_gradient_checkpointing_recomputes_blocks_and_changes_nothing() -> None:
    def gradients(enabled: bool) -> tuple[list[Tensor], int]:
        model, calls = make_ced().train(), []
        model.gradient_checkpointing_enable(enabled)
        model.blocks[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
        model(*pad(sounds(16_000, 40_000))).pooled.square().sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None], len(calls)

    plain, calls = gradients(False)
    recomputed, more_calls = gradients(True)
    assert (calls, more_calls) == (1, 2)
    for a, b in zip(plain, recomputed, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_compile_to_one_graph(kind: AttentionKind) -> None:
    block, sizes = make_ced().blocks[0], (28, 28, 12)
    layout = make_layout(kind, sizes, CPU, torch.float32)
    x = layout.enter(torch.randn(sum(sizes), 24))
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, layout), block(x, layout), **LIMIT)


def test_linear_layers_have_the_documented_names() -> None:
    names = {name for name, module in make_ced().named_modules() if isinstance(module, nn.Linear)}
    layers = ("attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert names == {f"blocks.{i}.{layer}" for i in (0, 1) for layer in layers} | {"outputlayer.1"}


@pytest.mark.parametrize("kind", KINDS)
def test_drop_path_keeps_or_loses_whole_pieces(kind: AttentionKind) -> None:
    sizes = (8, 4, 4, 12)
    layout = make_layout(kind, sizes, CPU, torch.float32)
    block = make_ced(depth=1).blocks[0].train()
    x = torch.randn(sum(sizes), 24)
    nn.init.zeros_(block.mlp.fc2.weight)
    nn.init.zeros_(block.mlp.fc2.bias)
    branch = layout.leave(block(layout.enter(x), layout)) - x
    block.drop_path = 0.25
    ratios = []
    for _ in range(300):
        dropped = layout.leave(block(layout.enter(x), layout)) - x
        per_piece = [(d / b).median() for d, b in zip(dropped.split(sizes), branch.split(sizes), strict=True)]
        ratios.append(torch.stack(per_piece))
    kept = torch.stack(ratios)
    torch.testing.assert_close(kept, (kept > 0.5) / 0.75, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(kept.mean(0), torch.ones(4), rtol=0, atol=0.15)


def test_stochastic_depth_grows_with_the_depth() -> None:
    assert [block.drop_path for block in make_ced(depth=3, drop_path=0.2).blocks] == [0.0, 0.1, 0.2]


def test_patch_out_drops_columns_and_rows_in_training_only() -> None:
    model = make_ced(time_patch_out=0.5, freq_patch_out=0.25)
    waveforms, lengths = pad(sounds(1_000, 40_000, 400_000))
    assert model(waveforms, lengths).mask.sum(1).tolist() == [4, 4 * 16, 4 * 157]
    output = model.train()(waveforms, lengths)
    assert output.num_rows == 3
    assert output.mask.sum(1).tolist() == [3, 3 * 8, 3 * 78]
    assert output.tokens[output.mask].isfinite().all()
    assert (output.column_times[2, :78].diff() > 0).all()
    assert not torch.equal(model(waveforms, lengths).tokens, output.tokens)


def test_patch_out_leaves_each_patch_its_own_position() -> None:
    model = make_ced(depth=1, time_patch_out=0.5, freq_patch_out=0.5).train()
    model.freeze_batch_norm()
    for layer in (model.blocks[0].attn.proj, model.blocks[0].mlp.fc2):  # tokens pass the block unchanged
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    (clip,) = sounds(200_000)
    dropped, whole = model(clip[None]), model.eval()(clip[None])
    distance = (dropped.tokens[0][:, None] - whole.tokens[0]).norm(dim=2)
    assert distance.amin(1).max() < 1e-4  # each token that stayed is one of the whole
    nearest = distance.argmin(1)
    columns = nearest.unflatten(0, (-1, 2)) // 4
    torch.testing.assert_close(whole.column_times[0][columns[:, 0]], dropped.column_times[0])
    assert (nearest.unflatten(0, (-1, 2)) % 4).unique(dim=0).shape == (
        1,
        2,
    )  # the same bands throughout a clip


def same_weights(model: CED, **settings) -> CED:
    other = make_ced(**settings)
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize("frames", [16, 160, 1008])
def test_modes_agree_where_the_authors_way_has_no_defect(frames: int) -> None:
    reference = same_weights(CED_SMALL, mode="reference")
    (clip,) = sounds(160 * (frames - 1))
    ours, theirs = CED_SMALL(clip[None], classify=True), reference(clip[None], classify=True)
    torch.testing.assert_close(ours.grid(), theirs.grid(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.pooled, theirs.pooled, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.column_times, theirs.column_times)


def test_reference_mode_loses_a_full_last_chunk() -> None:
    reference = make_ced(mode="reference")
    clip = torch.randn(160 * (2024 - 1)) * 0.1  # far above the dB floor, which is the whole recording's
    one_chunk = reference(clip[None, : 160 * (1012 - 1)], classify=True)
    both = reference(clip[None], classify=True)
    assert both.tokens.shape == one_chunk.tokens.shape == (1, 252, 24)
    torch.testing.assert_close(both.tokens, one_chunk.tokens, rtol=1e-4, atol=1e-4)


def test_reference_mode_counts_a_short_remainder_as_a_full_chunk() -> None:
    reference = make_ced(mode="reference")
    nn.init.normal_(reference.outputlayer[1].weight, std=2.0)
    (clip,) = sounds(160 * 1012)  # 1013 frames
    output = reference(clip[None], classify=True)
    assert output.tokens.shape == (1, 2 * 252, 24)
    assert output.mask.all()
    chunks, _ = output.chunk_features()
    torch.testing.assert_close(output.pooled, chunks.mean(1))
    expected = reference.outputlayer(chunks).sigmoid().mean(1)
    torch.testing.assert_close(output.probabilities, expected)
    assert not torch.allclose(output.probabilities, output.logits.sigmoid(), atol=1e-3)


def test_reference_mode_takes_padding_and_neighbours_for_sound() -> None:
    reference = make_ced(mode="reference")
    quiet, loud = 1e-4 * torch.randn(16_000), torch.sin(torch.arange(48_000) * 0.4)
    waveforms, lengths = pad([quiet, loud])
    batch = reference(waveforms, lengths)
    assert torch.equal(batch.tokens, reference(waveforms).tokens)
    assert batch.mask.all()
    assert (batch.pooled[0] - reference(waveforms[:1]).pooled[0]).abs().max() > 0.01
    assert (reference(waveforms[:1]).pooled[0] - reference(quiet[None]).pooled[0]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("waveforms", "lengths", "message"),
    [
        (torch.zeros(100), None, r"shape \(batch, samples\), got \(100,\); use waveform\[None\]"),
        (torch.zeros(1, 1, 100), None, r"got \(1, 1, 100\)"),
        (torch.zeros(1, 100, dtype=torch.int16), None, "torch.int16"),
        (torch.zeros(1, 0), None, "at least one clip and one sample"),
        (torch.zeros(2, 100), [100, 0], "clip 1 is empty"),
        (torch.zeros(2, 100), [101, 5], "clip 0 has length 101; expected 1 to 100"),
        (torch.zeros(2, 100), torch.tensor([100]), "each of the 2 clips, got 1"),
    ],
)
def test_wrong_input_is_explained(waveforms: Tensor, lengths: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CED_SMALL(waveforms, lengths)


def test_a_clip_that_is_not_a_number_spoils_only_itself() -> None:
    clips = sounds(16_000, 16_000)
    expected = CED_SMALL(clips[1][None]).tokens[0]
    clips[0][5_000] = torch.nan
    output = CED_SMALL(*pad(clips))
    assert output.pooled[0].isnan().any()
    torch.testing.assert_close(output.tokens[1], expected, **LIMIT)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("ced-tiny", 5_503_183), ("ced-mini", 9_696_655), ("ced-small", 21_622_543), ("ced-base", 85_711_759)],
)
def test_presets_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = CED.from_preset(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.config == CED_PRESETS[name]


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"ced-tiny, ced-mini, ced-small, ced-base, got 'ced-huge'"):
        CED.from_preset("ced-huge")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"embed_dim": 100, "num_heads": 3}, "multiple of num_heads"),
        ({"mode": "exact"}, "got 'exact'"),
        ({"target_length": 8}, "target_length"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"depth": 0}, "depth"),
        ({"labels": ("a",)}, "expected 527 labels"),
    ],
)
def test_impossible_configurations_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CEDConfig(**wrong)


def test_tagging_takes_a_few_lines() -> None:
    from audio_common.labels import AUDIOSET_LABELS

    ced = make_ced(num_classes=527)
    waveforms, lengths = pad(sounds(16_000, 48_000))
    output = ced(waveforms, lengths, classify=True)
    top = output.probabilities[1].topk(5)
    expected = [
        (AUDIOSET_LABELS[i], p) for i, p in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]
    assert ced.tag(waveforms, lengths)[1] == [(label, pytest.approx(p)) for label, p in expected]
