"""Published names load strictly, and what is wrong is listed."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from audio_common.ced import CED
from audio_common.checkpoint import (
    CheckpointError,
    convert_state_dict,
    load_checkpoint,
    resize_time_positions,
)
from audio_common.config import CED_PRESETS, CEDConfig
from audio_common.mel import mel_filterbank
from safetensors.torch import save_file
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
TINY = CEDConfig(embed_dim=64, depth=2, num_heads=1, num_classes=6)


def tiny_ced() -> CED:
    model = CED(TINY).eval()
    model.init_bn.running_mean.normal_()
    model.init_bn.running_var.uniform_(0.5, 2.0)
    return model


def authors_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors as the authors name and fuse them."""
    theirs = {
        "front_end.0.spectrogram.window": torch.hann_window(512),
        "front_end.0.mel_scale.fb": mel_filterbank(),
    }
    for name, tensor in state.items():
        if ".attn.q." in name:
            parts = [state[name.replace(".q.", f".{letter}.")] for letter in "qkv"]
            theirs[name.replace(".q.", ".qkv.")] = torch.cat(parts)
        elif ".attn.k." not in name and ".attn.v." not in name:
            theirs[name.replace("init_bn.", "init_bn.1.")] = tensor
    return theirs


def hub_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors as the Hugging Face port names them."""
    names = {name: name.replace("init_bn.1.", "init_bn.") for name in authors_names(state)}
    return {
        new if new.startswith("outputlayer.") else f"encoder.{new}": authors_names(state)[old]
        for old, new in names.items()
        if not old.startswith("front_end.")
    }


def hub_config(**changes) -> dict:
    labels = {str(i): name for i, name in enumerate(["Speech", "Dog", "Cat", "Rain", "Bell", "Wind"])}
    config = {
        "architectures": ["CedForAudioClassification"],
        "attn_drop_rate": 0.0,
        "center": True,
        "depth": 2,
        "drop_path_rate": 0.0,
        "embed_dim": 64,
        "eval_avg": "mean",
        "f_max": 8000,
        "f_min": 0,
        "hop_size": 160,
        "id2label": labels,
        "mlp_ratio": 4.0,
        "model_type": "ced",
        "n_fft": 512,
        "n_mels": 64,
        "num_heads": 1,
        "outputdim": 6,
        "patch_size": 16,
        "patch_stride": 16,
        "pooling": "mean",
        "target_length": 1012,
        "torch_dtype": "float32",
        "win_size": 512,
    }
    return {**config, **changes}


def write_hub_folder(folder: Path, model: CED, **changes) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(hub_names(model.state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(hub_config(**changes)))
    return folder


def assert_same(model: CED, other: CED) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    sound = torch.randn(2, 8_000)
    assert torch.equal(model(sound).tokens, other(sound).tokens)


def test_saving_and_loading_is_exact(tmp_path: Path) -> None:
    model = tiny_ced()
    model.save_pretrained(tmp_path / "new" / "folder")
    loaded = CED.from_pretrained(tmp_path / "new" / "folder")
    assert loaded.config == model.config
    assert not loaded.training
    assert_same(model, loaded)


@pytest.mark.parametrize("mode", ["masked", "reference"])
def test_loading_draws_no_random_numbers_and_makes_the_front_end(tmp_path: Path, mode: str) -> None:
    model = tiny_ced()
    model.save_pretrained(tmp_path)
    before = torch.get_rng_state()
    loaded = CED.from_pretrained(tmp_path, mode=mode)
    assert torch.equal(torch.get_rng_state(), before)
    buffers = dict(CED(loaded.config).front_end.named_buffers())
    assert len(buffers) == 2
    for name, buffer in loaded.front_end.named_buffers():
        assert torch.equal(buffer, buffers[name])


def test_saving_keeps_labels_mode_and_half_precision(tmp_path: Path) -> None:
    labels = tuple(f"été {i}" for i in range(6))
    config = CEDConfig(embed_dim=64, depth=1, num_heads=2, num_classes=6, labels=labels, mode="reference")
    model = CED(config).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = CED.from_pretrained(tmp_path)
    assert loaded.config == config
    assert loaded.norm.weight.dtype == torch.float32
    assert torch.equal(loaded.norm.weight, model.norm.weight.float())
    assert CED.from_pretrained(tmp_path, mode="masked").config.mode == "masked"


@pytest.mark.parametrize("nested", [False, True])
def test_the_authors_pt_file_loads(tmp_path: Path, nested: bool) -> None:
    model = tiny_ced()
    tensors = authors_names(model.state_dict())
    torch.save({"model": tensors} if nested else tensors, tmp_path / "audiotransformer.pt")
    assert_same(model, CED.from_pretrained(tmp_path / "audiotransformer.pt"))
    assert_same(model, CED.from_pretrained(tmp_path))  # the folder's only weights


def test_the_hub_folder_loads_with_its_labels(tmp_path: Path) -> None:
    model = tiny_ced()
    loaded = CED.from_pretrained(write_hub_folder(tmp_path, model))
    assert loaded.config.labels[:2] == ("Speech", "Dog")
    assert_same(model, loaded)
    tags = loaded.tag(torch.randn(2, 8_000), top_k=2)
    probabilities = loaded(torch.zeros(1, 8_000), classify=True).probabilities[0]
    assert [len(tag) for tag in tags] == [2, 2]
    assert loaded.tag(torch.zeros(1, 8_000))[0][0] == (
        loaded.config.labels[int(probabilities.argmax())],
        pytest.approx(probabilities.max().item()),
    )


def test_placeholder_labels_of_transformers_are_not_names(tmp_path: Path) -> None:
    labels = {str(i): f"LABEL_{i}" for i in range(6)}
    loaded = CED.from_pretrained(write_hub_folder(tmp_path, tiny_ced(), id2label=labels))
    assert loaded.config.labels == ()
    with pytest.raises(ValueError, match="no names for the 6 classes"):
        loaded.tag(torch.zeros(1, 8_000))


@pytest.mark.parametrize(
    ("source", "revision"), [("mispeech/ced-tiny", None), ("mispeech/ced-tiny@1a2b3c", "1a2b3c")]
)
def test_a_hub_id_is_read_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, revision: str | None
) -> None:
    model = tiny_ced()
    folder = write_hub_folder(tmp_path, model)
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **kw: asked.append((name, kw)) or str(folder)
    )
    assert_same(model, CED.from_pretrained(source))
    files = ["config.json", "model.safetensors"]
    assert asked == [("mispeech/ced-tiny", {"revision": revision, "allow_patterns": files})]


@pytest.mark.parametrize("source", ["mispeech/ced-tiny@", "a/b/c", "ced@main"])
def test_what_is_no_hub_id_is_not_asked_for(source: str) -> None:
    with pytest.raises(CheckpointError, match="expected a folder, a weights file or a hub id"):
        CED.from_pretrained(source)


def test_an_unreachable_hub_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no folder 'mispeech/ced-nothing' here.*Hugging Face"):
        CED.from_pretrained("mispeech/ced-nothing")


@pytest.mark.parametrize("size", CED_PRESETS)
def test_published_names_and_shapes_are_the_known_ones(size: str) -> None:
    with torch.device("meta"):
        state = CED(CED_PRESETS[size]).state_dict()
    digests = json.loads((GOLDEN / "ced_keys.json").read_text())[size.replace("-", "_")]
    assert digest(authors_names(state)) == digests["reference"]
    assert digest(hub_names(state)) == digests["hf"]
    shapes = {name: tensor.shape for name, tensor in state.items()}
    for names in (authors_names, hub_names):
        converted = convert_state_dict({k: v for k, v in names(state).items() if "front_end" not in k})
        assert {name: tensor.shape for name, tensor in converted.items()} == shapes


def digest(tensors: dict[str, Tensor]) -> str:
    lines = sorted(f"{n} {tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for n, t in tensors.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_the_shared_key_lists_are_those_of_the_digests(shared: Path) -> None:
    models = json.loads((shared / "golden" / "ced" / "keys.json").read_text())["models"]
    with torch.device("meta"):
        state = CED(CED_PRESETS["ced-tiny"]).state_dict()
    theirs = {name for name, _, _ in models["ced_tiny"]["reference_keys"]}
    assert set(authors_names(state)) == theirs
    renamed = models["ced_tiny"]["reference_to_hf"]
    assert set(hub_names(state)) == {new for new in renamed.values() if new is not None}


@pytest.mark.parametrize("size", CED_PRESETS)
def test_a_size_is_recognised_by_its_shapes(size: str, tmp_path: Path) -> None:
    preset = CED_PRESETS[size]
    small = {"depth": 1, "num_classes": 3, "mlp_ratio": 0.25}
    model = CED.from_preset(size, **small)
    save_file(authors_names(model.state_dict()), tmp_path / "weights.safetensors")
    config, _ = load_checkpoint(tmp_path / "weights.safetensors")
    assert (config.embed_dim, config.num_heads, config.target_length) == (
        preset.embed_dim,
        preset.num_heads,
        1012,
    )
    assert (config.depth, config.num_classes, config.mlp_ratio, config.mode) == (1, 3, 0.25, "masked")


def test_all_wrong_tensors_are_listed(tmp_path: Path) -> None:
    tensors = authors_names(tiny_ced().state_dict())
    del tensors["norm.bias"], tensors["blocks.1.mlp.fc2.weight"]
    tensors["blocks.1.extra"] = torch.zeros(1)
    tensors["norm.weight"] = torch.zeros(65)
    tensors["blocks.0.attn.qkv.bias"] = torch.zeros(100)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError) as error:
        CED.from_pretrained(tmp_path)
    message = str(error.value)
    assert "(7 tensors)" in message  # q, k and v bias each
    for line in (
        "missing: norm.bias",
        "missing: blocks.1.mlp.fc2.weight",
        "unexpected: blocks.1.extra",
        "shape of norm.weight: expected (64,), got (65,)",
        "shape of blocks.0.attn.q.bias: expected (64,), got (34,)",
    ):
        assert line in message


def test_another_front_end_is_refused(tmp_path: Path) -> None:
    tensors = authors_names(tiny_ced().state_dict())
    tensors["front_end.0.mel_scale.fb"] = tensors["front_end.0.mel_scale.fb"] * 0.9
    torch.save(tensors, tmp_path / "ced.pt")
    with pytest.raises(CheckpointError, match=r"mel_scale.fb is not that of CED's front end"):
        CED.from_pretrained(tmp_path / "ced.pt")


@pytest.mark.parametrize(
    "change", [{"n_mels": 128}, {"hop_size": 320}, {"patch_stride": 10}, {"center": False}]
)
def test_a_config_of_another_architecture_is_refused(tmp_path: Path, change: dict) -> None:
    folder = write_hub_folder(tmp_path, tiny_ced(), **change)
    with pytest.raises(CheckpointError, match=f"{next(iter(change))} is "):
        CED.from_pretrained(folder)


def test_unknown_settings_are_refused(tmp_path: Path) -> None:
    tiny_ced().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "windows": 3}))
    with pytest.raises(CheckpointError, match="unknown settings windows"):
        CED.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"depth": 1_000_000}, r"depth is 1000000, at most 1,000"),
        ({"depth": 200}, r"depth is 200, but its weights are \d+ tensors"),
        ({"depth": 3}, r"depth is 3, but that of .*model\.safetensors is 2"),
        ({"depth": "2"}, r"depth must be a whole number, got '2'"),
        ({"depth": 2.5}, r"depth must be a whole number, got '2\.5'"),
        ({"depth": True}, r"depth must be a whole number"),
        ({"depth": None}, r"depth must be a whole number"),
        ({"embed_dim": 128}, r"embed_dim is 128, but"),
        ({"embed_dim": 10**9}, r"embed_dim is 1000000000, at most"),
        ({"mlp_ratio": 1e9}, r"mlp_ratio is 1000000000\.0, at most"),
        ({"num_heads": 3}, r"embed_dim must be a multiple of num_heads"),
        ({"num_heads": 0}, r"num_heads must be at least 1"),
        ({"target_length": 10**7}, r"target_length must be at most 360,000"),
        ({"mode": "quick"}, r"mode must be 'masked'"),
        ({"mode": 1}, r"mode must be a text"),
        ({"labels": "abc"}, r"labels must be a list of texts"),
        ({"labels": [1]}, r"labels must be a list of texts"),
        ({"drop_path": float("nan")}, r"cannot be read as JSON: .*NaN"),
        ({"windows": 3}, r"unknown settings windows"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_file_and_key(
    tmp_path: Path, change: dict, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_ced().save_pretrained(tmp_path)
    monkeypatch.setattr(CED, "__init__", lambda *_: pytest.fail("it was built"))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=r"config\.json: " + problem + "|" + problem):
        CED.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["embed_dim", "depth", "num_heads", "mlp_ratio"])
def test_a_config_without_a_setting_is_refused(tmp_path: Path, name: str) -> None:
    tiny_ced().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"config\.json: {name} is missing"):
        CED.from_pretrained(tmp_path)


@pytest.mark.parametrize("names", [{"x": "Dog"}, {"0": "Dog", "7": "Cat"}, ["Dog"], {"0": 5}])
def test_names_of_classes_that_cannot_be_are_refused(tmp_path: Path, names: object) -> None:
    folder = write_hub_folder(tmp_path, tiny_ced(), id2label=names)
    with pytest.raises(CheckpointError, match=r"config\.json: .*id2label"):
        CED.from_pretrained(folder)


def test_blocks_that_are_not_numbered_in_a_row_are_refused(tmp_path: Path) -> None:
    state = tiny_ced().state_dict()
    state["blocks.1000000.norm1.weight"] = torch.zeros(64)
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: its 3 blocks are not numbered.*1000000"):
        CED.from_pretrained(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("shape", [(3,), (1, 0, 1, 4)])
def test_positions_of_a_wrong_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save_file({**tiny_ced().state_dict(), "time_pos_embed": torch.zeros(shape)}, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match="expected time_pos_embed of 4 dimensions"):
        CED.from_pretrained(tmp_path / "odd.safetensors")


def test_other_widths_must_say_how_many_heads() -> None:
    with pytest.raises(CheckpointError, match="give num_heads="):
        CED.from_pretrained(GOLDEN / "ced_weights.safetensors")


class Malicious:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("content", ["code", "not tensors", "other model", "damaged", "nothing"])
def test_files_that_are_not_ced_are_refused(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "model.pt"
    if content == "damaged":
        path.write_bytes(b"PK\x03\x04 not really")
    elif content != "nothing":
        stored = {
            "code": Malicious(),
            "not tensors": {"epoch": 3},
            "other model": {"conv.weight": torch.zeros(1)},
        }
        torch.save(stored[content], path)
    with pytest.raises(CheckpointError, match=r"model\.pt|tensors only"):
        CED.from_pretrained(path)
    assert "code ran" not in capsys.readouterr().out


def test_fewer_time_positions_are_the_first_ones(tmp_path: Path) -> None:
    model = tiny_ced()
    model.save_pretrained(tmp_path)
    shorter = CED.from_pretrained(tmp_path, target_length=160)
    assert torch.equal(shorter.time_pos_embed, model.time_pos_embed[..., :10])
    sound = torch.randn(1, 16_000)  # 101 frames: 7 columns
    assert torch.equal(shorter(sound).tokens, model(sound).tokens)


def test_more_time_positions_are_interpolated() -> None:
    positions = torch.arange(4.0).expand(1, 2, 1, 4)
    longer = resize_time_positions(positions, 8)
    expected = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]).expand(1, 2, 1, 8)
    torch.testing.assert_close(longer, expected)
