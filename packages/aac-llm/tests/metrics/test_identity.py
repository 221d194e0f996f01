"""Names of models beside scores."""

import hashlib

from aac_llm.metrics.identity import describe_model, digest_weights


def test_a_copy_has_the_digest_of_its_original_and_other_weights_another(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder / "model.safetensors").write_bytes(b"weights")
        (tmp_path / folder / "config.json").write_text(folder)
    found = describe_model(tmp_path / "a", tmp_path / "a")
    assert found == f"a {hashlib.sha256(b'weights').hexdigest()[:8]}"
    assert digest_weights(tmp_path / "a") == digest_weights(tmp_path / "b")
    (tmp_path / "b" / "model-2.safetensors").write_bytes(b"more")
    assert digest_weights(tmp_path / "a") != digest_weights(tmp_path / "b")


def test_a_checkpoint_has_the_digest_that_its_publisher_names(tmp_path):
    path = tmp_path / "echecker.ckpt"
    path.write_bytes(b"x")
    assert describe_model(path, path) == f"echecker {hashlib.sha256(b'x').hexdigest()[:8]}"
    assert describe_model("owner/name@v1", path).startswith("name@v1 ")
