"""Upload a model's folder to the Hugging Face hub; fetching is in `audio_common.hub`.

The same file is in ml-clap, aac-llm and r1-aqa; a test compares them.
"""

from __future__ import annotations

from pathlib import Path


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    message: str,
    private: bool = True,
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload the files of a folder, and return the address of the commit.

    Args:
        folder: of the model, with its card.
        repo_id: `owner/name`, or `name` of the owner of the token; made if it is not there.
        message: of the commit.
        private: whether a repository that is made is private; one that is there stays as it is.
        token: of the hub; None: the one of `hf auth login`.
        revision: branch, made if it is not there; None: the main one.
        create_pr: whether to propose the upload instead, for repositories of others.

    Raises:
        OSError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi  # slow to import, and only needed here

    api = HfApi(token=token)
    # The hub gives the whole name to one without an owner.
    repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if revision is not None and not create_pr:
        api.create_branch(repo, branch=revision, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo,
        folder_path=str(folder),
        commit_message=message,
        revision=revision,
        create_pr=create_pr,
    )
    return str(commit)
