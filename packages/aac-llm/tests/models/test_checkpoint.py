"""Saving and loading captioners."""

import json
import logging
from dataclasses import asdict

import pytest
import torch
from aac_llm.correction.llm import LocalLLM, check_source
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.checkpoint import find_model
from aac_llm.models.confidence import Calibration
from aac_llm.models.decoder import load_decoder
from aac_llm.models.tensors import CheckpointError


def test_a_saved_model_gives_the_same_logits_bit_for_bit(tiny_model, tmp_path):
    _disturb(tiny_model)
    tiny_model.save_pretrained(tmp_path)
    waveforms = torch.randn(2, 30_000) * 0.1
    labels = tiny_model.tokenize_captions(["a dog barks", "rain"])
    loaded = CaptionModel.from_pretrained(tmp_path)
    expected = tiny_model(waveforms, [30_000, 9000], labels).logits
    torch.testing.assert_close(loaded(waveforms, [30_000, 9000], labels).logits, expected, rtol=0, atol=0)


def test_trained_length_and_calibration_are_saved_and_nonsense_is_refused(tiny_model, tmp_path):
    tiny_model.trained_seconds = 10.0
    known = Calibration(slope=2.0, intercept=1.0, criterion="event F1", num_clips=40, share_right=0.5)
    tiny_model.calibrations = {"captions": known}
    tiny_model.save_pretrained(tmp_path)
    loaded = CaptionModel.from_pretrained(tmp_path)
    assert (loaded.trained_seconds, loaded.calibrations) == (10.0, {"captions": known})
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    for key, value, message in (
        ("trained_seconds", -1, "trained_seconds must be seconds above 0"),
        ("trained_seconds", True, "trained_seconds must be seconds above 0"),
        ("confidence", {"slope": 1.0}, "confidence must have captions and timestamps"),
        ("confidence", {"captions": {"slope": 1.0}}, r"confidence\.captions must have slope"),
        ("confidence", {"captions": asdict(known) | {"slope": "steep"}}, r"captions\.slope must be float"),
    ):
        path.write_text(json.dumps(settings | {key: value}))
        with pytest.raises(CheckpointError, match=message):
            CaptionModel.from_pretrained(tmp_path)


def test_a_run_folder_means_its_best_model_else_its_last_and_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO, "aac_llm")
    for name in ("last", "best"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        assert find_model(tmp_path) == tmp_path / name
        assert f"using {tmp_path / name}" in caplog.text
    assert find_model(tmp_path / "last") == tmp_path / "last"


def test_what_is_no_captioner_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        find_model(tmp_path)
    with pytest.raises(CheckpointError, match="expected the folder of a captioner or a hub id"):
        find_model(tmp_path / "nowhere")


def test_a_hub_id_may_name_its_revision_and_only_what_is_needed_is_fetched(tmp_path, monkeypatch):
    asked = []

    def download(name, **options):
        asked.append((name, options["revision"], options["allow_patterns"]))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_model("owner/captioner@v1") == tmp_path
    find_model("owner/captioner")
    assert [one[:2] for one in asked] == [("owner/captioner", "v1"), ("owner/captioner", None)]
    assert not [pattern for pattern in asked[0][2] if pattern.endswith((".bin", ".pt", ".py", ".ckpt"))]


def test_every_language_model_may_name_its_revision(monkeypatch):
    asked = []

    def load(name, **options):
        asked.append((name, options["revision"], options["trust_remote_code"]))
        raise OSError("not here")

    for kind in ("AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"):
        monkeypatch.setattr(f"transformers.{kind}.from_pretrained", load)
    for function in (load_decoder, LocalLLM.from_pretrained, check_source):
        with pytest.raises(ValueError, match="owner/model@v1"):
            function("owner/model@v1")
    assert asked == [("owner/model", "v1", False)] * 3


def _disturb(model):
    for parameter in model.trainable_parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
