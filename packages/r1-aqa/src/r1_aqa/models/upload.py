"""Put a trained model on the Hugging Face hub, from its folder: nothing is loaded or converted."""

from __future__ import annotations

from pathlib import Path

from r1_aqa.models.card import CARD_FILE, has_card
from r1_aqa.models.push import push_folder
from r1_aqa.models.run_folder import MODEL_FILES, find_model


def push_to_hub(
    source: str | Path,
    repo_id: str,
    *,
    private: bool = True,
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str = "Upload an audio LLM",
) -> str:
    """Upload a model or adapters with their card to the hub, and return the commit's address.

    Args:
        source: folder of a model or of adapters, or a run, whose best model is taken.
        repo_id: see `push_folder`, as are the others.
        private: whether a repository that is made is private.
        token: of the hub.
        revision: branch.
        create_pr: whether to propose the upload only.
        commit_message: of the commit.

    Raises:
        FileNotFoundError: there is no model, or it has no card.
        OSError: the hub cannot be reached, or refuses.
    """
    folder = Path(find_model(source))
    if not any((folder / name).is_file() for name in MODEL_FILES):
        raise FileNotFoundError(f"{source} is no model (neither {' nor '.join(MODEL_FILES)})")
    if not has_card(folder):
        raise FileNotFoundError(
            f"{folder} has no {CARD_FILE}: train and merge write a model's card; make one before it is shown"
        )
    return push_folder(
        folder,
        repo_id,
        message=commit_message,
        private=private,
        token=token,
        revision=revision,
        create_pr=create_pr,
    )
