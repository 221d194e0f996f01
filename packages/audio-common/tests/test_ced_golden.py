"""The reference mode gives the authors' numbers: golden/README.md says where they come from."""

import json
from pathlib import Path

import pytest
import torch
from audio_common.ced import CED, CEDOutput
from audio_common.mel import LogMel, ReferenceLogMel
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
MEL, TOKENS, LOGITS, PROBABILITIES = 2e-3, 5e-5, 1e-5, 2e-6  # limits of golden/README.md
BATCHES = {"batchA": ("1s", "5s"), "batchB": ("1s", "10.12s")}
SLICES = {
    "16frames": ("0.3s", 2400),
    "1012frames": ("10.12s", 161_760),
    "2024frames": ("23.7s", 323_680),
    "2025frames": ("23.7s", 323_840),
}
ALONE = ("0.3s", "1s", "5s", "10.0s", "10.12s", "23.7s", "30s", *SLICES)
SMALL_SET = ("0.3s", "1s", "5s", "16frames")


@pytest.fixture(scope="module")
def small_set() -> dict[str, Tensor]:
    return load_file(GOLDEN / "ced_cases.safetensors")


@pytest.fixture(scope="module")
def full_set(shared: Path) -> dict[str, Tensor]:
    folder = shared / "golden" / "ced"
    return {**load_file(folder / "inputs.safetensors"), **load_file(folder / "outputs.safetensors")}


def load_ced(mode: str) -> CED:
    return CED.from_pretrained(GOLDEN / "ced_weights.safetensors", mode=mode, num_heads=3)


@pytest.fixture(scope="module")
def reference() -> CED:
    return load_ced("reference")


def waveform(golden: dict[str, Tensor], case: str) -> Tensor:
    clip, length = SLICES.get(case, (case, None))
    return golden[f"pcm.{clip}"][:length].float() / 32768


def batch_waveforms(golden: dict[str, Tensor], case: str) -> Tensor:
    clips = [waveform(golden, name) for name in BATCHES[case]]
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)


def assert_close(ours: Tensor, theirs: Tensor, limit: float) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=limit)


@torch.inference_mode()
def check_case(reference: CED, golden: dict[str, Tensor], case: str, waveforms: Tensor) -> None:
    output = reference(waveforms, classify=True)
    assert_close(output.pooled, golden[f"{case}.embed"], LOGITS)
    assert_close(output.logits, golden[f"{case}.logits"], LOGITS)
    assert_close(output.probabilities, golden[f"{case}.probs"], PROBABILITIES)
    for pooling in ("max", "dm"):
        assert_close(reference.classify(output, pooling)[1], golden[f"{case}.probs_{pooling}"], PROBABILITIES)
    if f"{case}.tokens" in golden:
        theirs = golden[f"{case}.tokens"]  # (chunks * clips, tokens, dim), all clips' first chunks first
        assert_close(chunk_major(output, theirs.shape[1]), theirs, TOKENS)


def chunk_major(output: CEDOutput, chunk_tokens: int) -> Tensor:
    return output.tokens.unflatten(1, (-1, chunk_tokens)).transpose(0, 1).flatten(0, 1)


@pytest.mark.parametrize("case", SMALL_SET)
def test_reference_mode_gives_the_authors_numbers(reference: CED, small_set: dict, case: str) -> None:
    check_case(reference, small_set, case, waveform(small_set, case)[None])


def test_reference_mode_couples_a_batch_as_the_authors_do(reference: CED, small_set: dict) -> None:
    check_case(reference, small_set, "batchA", batch_waveforms(small_set, "batchA"))


@pytest.mark.parametrize("case", [case for case in ALONE if case not in SMALL_SET])
def test_long_clips_give_the_authors_numbers(reference: CED, full_set: dict, case: str) -> None:
    check_case(reference, full_set, case, waveform(full_set, case)[None])


@pytest.mark.parametrize("case", BATCHES)
def test_batches_give_the_authors_numbers(reference: CED, full_set: dict, case: str) -> None:
    check_case(reference, full_set, case, batch_waveforms(full_set, case))


@pytest.mark.parametrize("case", ["0.3s", "1s"])
@pytest.mark.parametrize("front_end", [LogMel, ReferenceLogMel])
def test_both_front_ends_give_the_authors_mel(small_set: dict, case: str, front_end: type) -> None:
    check_mel(front_end, small_set, case, small_set[f"{case}.mel_db"][0].T)


@pytest.mark.parametrize("case", ["5s", "10.0s", "10.12s", "23.7s", "30s"])
@pytest.mark.parametrize("front_end", [LogMel, ReferenceLogMel])
def test_both_front_ends_give_the_authors_mel_of_long_clips(
    full_set: dict, case: str, front_end: type
) -> None:
    check_mel(front_end, full_set, case, full_set[f"{case}.mel_db"][0].T)


def check_mel(front_end: type, golden: dict[str, Tensor], case: str, theirs: Tensor) -> None:
    clip = waveform(golden, case)[None]
    ours = LogMel()(clip, [clip.shape[1]])[0] if front_end is LogMel else ReferenceLogMel()(clip)[0]
    step = 3 if case == "30s" else 1  # every third frame of it was stored
    assert_close(ours[::step], theirs, MEL)


def test_masked_mode_gives_a_batch_the_numbers_of_each_clip_alone(small_set: dict) -> None:
    masked = load_ced("masked")
    clips = [waveform(small_set, name) for name in BATCHES["batchA"]]
    with torch.inference_mode():
        batch = masked(batch_waveforms(small_set, "batchA"), [len(clip) for clip in clips], classify=True)
        alone = [masked(clip[None], classify=True) for clip in clips]
    assert_close(batch.probabilities, torch.cat([one.probabilities for one in alone]), PROBABILITIES)
    coupled = (batch.probabilities[0] - small_set["batchA.probs"][0]).abs().max()
    assert coupled > 0.05  # what the authors' batching did to the quiet clip


def test_modes_agree_on_one_clip_of_whole_patches(reference: CED, small_set: dict) -> None:
    masked = load_ced("masked")
    clip = waveform(small_set, "5s")[None, : 160 * (496 - 1)]  # 31 columns of 16 frames
    with torch.inference_mode():
        ours, theirs = masked(clip, classify=True), reference(clip, classify=True)
    assert_close(ours.grid(), theirs.grid(), TOKENS)
    assert_close(ours.column_times, theirs.column_times, 1e-6)
    assert_close(ours.pooled, theirs.pooled, LOGITS)
    assert_close(ours.probabilities, theirs.probabilities, PROBABILITIES)


def test_golden_weights_are_those_of_the_shared_folder(shared: Path) -> None:
    theirs = load_file(shared / "golden" / "ced" / "weights.safetensors")
    ours = load_file(GOLDEN / "ced_weights.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    cases = json.loads((shared / "golden" / "ced" / "cases.json").read_text())["cases"]
    assert set(cases) == {*ALONE, *BATCHES}  # none left untested
