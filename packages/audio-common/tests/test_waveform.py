"""An array gives the samples of the file that holds it; what is no sound is refused in words."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import AudioError, load_audio
from audio_common.waveform import as_waveform, one_or_many
from hypothesis import given, settings
from hypothesis import strategies as st


def noise(num_samples: int, channels: int | None = None) -> np.ndarray:
    shape = (num_samples,) if channels is None else (channels, num_samples)
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def wav(array: np.ndarray, rate: int, subtype: str) -> bytes:
    """A file that holds (channels, samples)."""
    file = io.BytesIO()
    soundfile.write(file, array.T, rate, format="WAV", subtype=subtype)
    return file.getvalue()


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100]),
    sample_rate=st.sampled_from([8_000, 16_000, 32_000]),
    channels=st.integers(1, 3),
    channel=st.sampled_from(["mean", "first", "loudest"]),
    stored_as=st.sampled_from(["int16", "int32", "float32", "float64"]),
    gain=st.sampled_from([1.0, -1.0, 0.3]),
)
def test_an_array_gives_what_a_file_of_it_gives(
    rate: int, sample_rate: int, channels: int, channel: Any, stored_as: str, gain: float
) -> None:
    array = noise(5_000, channels)
    array[1:] = gain * array[:1]  # cancelling ones among them
    kinds = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}
    content = wav(array, rate, kinds[stored_as])
    stored = soundfile.read(io.BytesIO(content), dtype=stored_as, always_2d=True)[0].T
    options: dict[str, Any] = {"sample_rate": sample_rate, "channel": channel}
    found = as_waveform(stored, array_rate=rate, **options)
    assert torch.equal(found, load_audio(content, **options))
    assert torch.equal(as_waveform(torch.from_numpy(stored.copy()), array_rate=rate, **options), found)


def test_paths_bytes_and_files_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(noise(4_000, 2), 8_000, "PCM_16"))
    expected = load_audio(path, sample_rate=32_000, channel="first")
    with path.open("rb") as file:
        for sound in (path, str(path), path.read_bytes(), memoryview(path.read_bytes()), file):
            found = as_waveform(sound, sample_rate=32_000, array_rate=5_000, channel="first")
            assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_any_float_are_taken_without_their_gradient(dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(noise(100)).to(dtype).requires_grad_()
    found = as_waveform(tensor)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert torch.equal(found, tensor.detach().float())


def test_integers_are_scaled_by_their_full_scale() -> None:
    for dtype, least in (("int8", -(2**7)), ("int16", -(2**15)), ("int32", -(2**31)), ("uint8", 0)):
        assert as_waveform(np.array([least], dtype)).tolist() == [-1.0]
    assert as_waveform(np.array([128, 192], np.uint8)).tolist() == [0.0, 0.5]


def test_the_result_is_a_copy() -> None:
    array = noise(100)
    array.flags.writeable = False
    found = as_waveform(array)
    found[0] = 9.0
    assert array[0] != 9.0


def test_values_beyond_one_are_passed_through() -> None:
    assert as_waveform(np.array([3.0, -4e4])).tolist() == [3.0, -4e4]


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.array([0.0, np.nan]), r"an array holds nan at sample 1 .* expected finite values"),
        (np.array([np.inf]), "holds inf at sample 0"),
        (torch.tensor([0.0, 1e12], dtype=torch.float64), "a tensor holds 1000000000000.0 at sample 1"),
        (np.array([1e300]), r"holds 1e\+300"),
        (np.zeros(0), r"at least one sample, got shape \(0,\)"),
        (np.zeros((2, 0)), r"at least one sample, got shape \(2, 0\)"),
        (np.zeros((1, 2, 300)), r"got \(1, 2, 300\); pass the sounds of a batch one by one"),
        (np.zeros(()), r"\(samples,\) or \(channels, samples\), got \(\)"),
        (np.zeros((300, 2)), r"got \(300, 2\); transpose \(samples, channels\)"),
        (np.zeros((100, 16_000)), "at most 64 channels"),
        (np.zeros(10, bool), "expected an array of floats within ±1 or of .*int16.*, got bool"),
        (np.zeros(10, complex), "got complex128"),
        (np.zeros(10, object), "got object"),
        (np.zeros(10, np.int64), "got int64; convert it"),
        (torch.zeros(10, dtype=torch.int64), "expected a tensor of .* got int64"),
        (np.array(["a.wav", "b.wav"]), "pass several sounds as a list"),
        ([0.1, 0.2], r"got list of numbers; pass numpy\.array\(samples\)"),
        (["a.wav"], "got list; pass its items one by one"),
        ({"array": noise(10), "sampling_rate": 8_000}, "pass its 'array', and its 'sampling_rate'"),
        (None, "expected a path, bytes, a binary file object, or an array or tensor .* got NoneType"),
        (3.5, "got float"),
        ("[0.1, 0.2]", "looks like JSON"),
        ('{"audio": "a.wav"}', "looks like JSON"),
        ("https://example.org/a.wav", "got an address; download it"),
        ("data:audio/wav;base64,UklGRg==", "a data URL; decode it"),
        (" ", "got an empty text"),
        ("UklGRg" * 1000, "cannot be opened"),
        ("a\0b", "cannot be opened"),
        ("no/such/file.wav", "No such file"),
        (b"", "is empty"),
        (io.StringIO("text"), "open as text"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(sound: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        as_waveform(sound)


@pytest.mark.parametrize("rate", [0, 999, 1e6, -16_000, float("nan"), "16000", None, True])
@pytest.mark.parametrize("name", ["sample_rate", "array_rate"])
def test_impossible_rates_are_refused_by_name(name: str, rate: Any) -> None:
    with pytest.raises(AudioError, match=f"{name} must be"):
        as_waveform(noise(100), **{name: rate})


def test_an_array_too_short_for_a_sample_is_refused() -> None:
    with pytest.raises(AudioError, match="has none at 1000 Hz; pass more"):
        as_waveform(noise(1), sample_rate=1_000, array_rate=768_000)


def test_a_single_item_is_one_whatever_it_is(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        arrays = (noise(5), noise(5, 2), torch.zeros(3))
        for item in ("a.wav", Path("a.wav"), b"ab", bytearray(b"ab"), file, *arrays):
            items, are_many = one_or_many(item)
            assert not are_many
            assert len(items) == 1
            assert items[0] is item


def test_lists_and_other_iterables_are_many() -> None:
    for many in (["a", "b"], ("a", "b"), iter(["a", "b"]), {"a": 1, "b": 2}.keys()):
        assert one_or_many(many) == (["a", "b"], True)
    assert one_or_many([]) == ([], True)
    assert one_or_many(["a"]) == (["a"], True)


@pytest.mark.parametrize("nothing", [None, 3, {"audio": "a.wav"}])
def test_neither_one_nor_many_is_refused(nothing: Any) -> None:
    with pytest.raises(AudioError, match="expected one item or a list of them, got"):
        one_or_many(nothing)
