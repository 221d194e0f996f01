"""A folder that stands in for the Hugging Face hub, and what a model's page there must have.

hub = folder_hub(monkeypatch, tmp_path)
model.push_to_hub("me/model")
assert page_faults(hub.root / "me" / "model") == []
"""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import huggingface_hub.hf_api
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

PIPELINES = {"audio-text-to-text", "feature-extraction", "text-classification"}
"""Those of the hub's pipeline tags that the packages use."""
LICENCES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "llama2", "other"}
"""Those of the hub's licence identifiers that can come up."""
SECTIONS = ("## Parts", "## Scores", "## Training")


def check_call(name: str, **given: Any) -> None:
    """Raise TypeError if the real client does not take such a call."""
    inspect.signature(getattr(huggingface_hub.hf_api.HfApi, name)).bind(None, **given)


class FolderHub:
    """What `huggingface_hub.HfApi` is asked for in an upload, done in a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.made, self.commits = root, [], []  # type: ignore[var-annotated]

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> SimpleNamespace:
        """Note a repository; one without an owner is of `me`."""
        check_call("create_repo", repo_id=repo_id, private=private, exist_ok=exist_ok)
        name = repo_id if "/" in repo_id else f"me/{repo_id}"
        self.made.append((name, private, exist_ok))
        return SimpleNamespace(repo_id=name)

    def create_branch(self, repo_id: str, *, branch: str, exist_ok: bool) -> None:
        """Note a branch."""
        check_call("create_branch", repo_id=repo_id, branch=branch, exist_ok=exist_ok)
        self.made.append((f"{repo_id}@{branch}", None, exist_ok))

    def upload_folder(self, *, repo_id: str, folder_path: str, **about: Any) -> str:
        """Copy the files; the address of the commit comes back."""
        check_call("upload_folder", repo_id=repo_id, folder_path=folder_path, **about)
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        self.commits.append(about)
        return f"https://hub/{repo_id}/commit/{len(self.commits)}"


def folder_hub(monkeypatch: pytest.MonkeyPatch, root: Path) -> FolderHub:
    """Put a folder in the place of the hub, for uploads and downloads of this test."""
    hub = FolderHub(root)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo_id, **_: str(root / repo_id))
    return hub


def page_faults(folder: Path) -> list[str]:
    """Return what a model's page lacks that the hub shows or searches by."""
    path = folder / "README.md"
    if not path.is_file():
        return ["there is no README.md"]
    card = ModelCard(path.read_text(encoding="utf-8"))
    head, text = card.data.to_dict(), card.text.split("```json")[0]
    licence = head.get("license")
    bases = [name for name in head.get("base_model", []) if not re.fullmatch(r"[\w.-]+/[\w.-]+", name)]
    faults = [f"{key} is missing" for key in ("library_name", "pipeline_tag", "tags") if not head.get(key)]
    faults += [f"base_model {name} is no name of the hub" for name in bases]
    faults += [
        f"language {code}" for code in head.get("language", []) if not re.fullmatch("[a-z]{2,3}", code)
    ]
    faults += [f"{section} is missing" for section in SECTIONS if section not in text]
    faults += [f"not filled in: {word}" for word in ("More Information Needed", "{") if word in text]
    if head.get("pipeline_tag") not in PIPELINES:
        faults.append(f"pipeline_tag {head.get('pipeline_tag')}")
    if licence is None and "No licence is stated" not in text:
        faults.append("no licence, and no word about it")
    if licence is not None and licence not in LICENCES:
        faults.append(f"license {licence} is no identifier of the hub")
    if "model-index" in head:
        name, results = model_index_to_eval_results(head["model-index"])
        if eval_results_to_model_index(name, results) != head["model-index"]:
            faults.append("model-index does not come back as it was")
    return faults
