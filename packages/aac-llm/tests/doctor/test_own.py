"""What only aac-llm's doctor looks at: Java and its jars, captioners, manifests."""

import json
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from aac_llm.config.model import ModelConfig
from aac_llm.doctor import own
from aac_llm.doctor.doctor import _places
from aac_llm.doctor.own import EXTRAS, look_at, own_findings
from aac_llm.files import write_json
from aac_llm.metrics.java import JavaError
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.models.config_file import write_config
from safetensors.numpy import save_file


def missing(*_: object) -> None:
    raise MissingMetricError("x.jar was not found", "get it")


def test_java_and_each_metrics_jars_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "find_java", lambda: Path("/usr/bin/java"))
    monkeypatch.setattr(own, "java_version", lambda java: 17)
    monkeypatch.setattr(own, "find_meteor", lambda: None)
    monkeypatch.setattr(own, "find_spice", missing)
    assert [one.line() for one in own_findings()] == [
        "ok     Java         /usr/bin/java, version 17",
        "ok     METEOR       its jars are there",
        "note   SPICE        cannot be computed: x.jar was not found -> get it",
    ]


def test_a_java_that_is_missing_or_does_not_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "find_java", missing)
    assert [one.kind for one in own_findings()] == ["note"]

    def broken(java: Path) -> int:
        raise JavaError("expected the version of a Java")

    monkeypatch.setattr(own, "find_java", lambda: Path("/bin/true"))
    monkeypatch.setattr(own, "java_version", broken)
    assert [one.kind for one in own_findings()] == ["fault"]


def test_rows_captions_and_sounds_of_a_manifest_are_looked_at(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600) + 0.1, 16_000)
    manifest = tmp_path / "m.jsonl"
    row = {"id": "a", "audio": "a.wav", "captions": ["A dog."], "split": "test"}
    french = row | {"id": "c", "captions": {"fra": ["Un chien."]}}
    rows = [row, row, row | {"id": "b", "audio": "gone.wav"}, french]
    manifest.write_text("".join(json.dumps(one) + "\n" for one in rows))
    bad, uncaptioned, good, gone = look_at(manifest)
    assert "m.jsonl:2: id 'a' is already that of line 1" in bad.text
    assert "1 of 3 clips have no English captions" in uncaptioned.text
    assert good.text.endswith("3 clips can be read; splits: test")
    assert "1 of 3 sounds are missing" in gone.text
    assert gone.command == f"aac-llm prepare jsonl {manifest} --out {tmp_path}/m.checked.jsonl"


def test_a_captioner_is_whole_or_not(tmp_path: Path) -> None:
    assert "neither a captioner nor a run" in look_at(tmp_path)[0].text
    write_config(ModelConfig(decoder="owner/decoder"), {}, tmp_path)
    assert look_at(tmp_path)[0].text.endswith("whole, a captioner with the decoder owner/decoder")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "does not describe a captioner" in look_at(tmp_path)[0].text
    write_config(ModelConfig(decoder="/gone/decoder"), {}, tmp_path)
    assert "its decoder /gone/decoder is not there" in look_at(tmp_path)[0].text
    (tmp_path / "bridge.safetensors").write_bytes(b"x")
    assert "damaged or cut off" in look_at(tmp_path)[0].text
    assert look_at(tmp_path)[0].command == f"mv {tmp_path} {tmp_path}.broken"


def test_a_decoder_is_a_part_and_no_fault(tmp_path: Path) -> None:
    save_file({"weight": np.ones(4, np.float32)}, tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", {"model_type": "llama"})
    [finding] = look_at(tmp_path)
    assert finding.kind == "ok"
    assert "a 'llama' of transformers, a part of a captioner" in finding.text


def test_a_captioner_without_its_settings_is_named_and_not_its_decoder(tmp_path: Path) -> None:
    best = tmp_path / "best"
    (best / "decoder").mkdir(parents=True)
    save_file({"weight": np.ones(4, np.float32)}, best / "bridge.safetensors")
    write_json(best / "decoder" / "config.json", {"model_type": "llama"})
    [finding] = [one for place in _places(best) for one in look_at(place)]
    assert (finding.text, finding.command) == (f"config.json is missing in {best}", f"ls -l {best}")


def test_a_run_of_another_package_is_none_of_this(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"out": "x", "data": {}, "packing": False})
    [finding] = look_at(tmp_path)
    assert (finding.kind, finding.command) == ("fault", f"ls -l {tmp_path}")
    assert "is no run of aac-llm: `aac-llm train` has no setting packing" in finding.text


def test_every_extra_is_known() -> None:
    assert set(metadata("aac-llm").get_all("Provides-Extra") or ()) == set(EXTRAS)
