"""Where the authors' weights are published, under which names, and which of them a folder holds.

The addresses are those of the authors' pages and code (zyyan4/ml-clap, xiaomi-research/dasheng-glap,
facebookresearch/SONAR). Their sizes and hashes are not stated here, since no file was at hand to take them
of: write them behind the address to have them checked, see `ml_clap.models.download`.
"""

from __future__ import annotations

from pathlib import Path

from ml_clap.models.download import download, is_url

MLCLAP_FILES = ("pretrain.pt", "ac_finetune_le_mixture.pt", "clotho_finetune_le_mixture.pt")
"""ML-CLAP after pre-training, and fine-tuned on AudioCaps and on Clotho."""
GLAP_FILE = "glap_checkpoint.pt"
SONAR_FILE = "sonar_text_encoder.pt"
SONAR_TOKENIZER = "sentencepiece.source.256000.model"
SONAR_ADDRESS = "https://dl.fbaipublicfiles.com/SONAR/"
ADDRESSES = {
    **{name: f"https://zenodo.org/records/14229658/files/{name}" for name in MLCLAP_FILES},
    GLAP_FILE: f"https://zenodo.org/records/15493136/files/{GLAP_FILE}",
    SONAR_FILE: SONAR_ADDRESS + SONAR_FILE,
    SONAR_TOKENIZER: SONAR_ADDRESS + SONAR_TOKENIZER,
}
"""Names -> where they are published."""
HUB_FILES = (*MLCLAP_FILES, GLAP_FILE, SONAR_FILE, "sentencepiece*.model")
"""Patterns of published files in a repository of the hub."""


def find_published(folder: Path) -> Path | None:
    """Return the published checkpoint that a folder holds; None if it holds none.

    Raises:
        ValueError: it holds several, of which one must be named.
    """
    found = [folder / name for name in (*MLCLAP_FILES, GLAP_FILE) if (folder / name).is_file()]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} holds several models ({names}): name one of the files")
    return found[0] if found else None


def fetch_weights(source: str, text_tokenizer: str | Path | None) -> tuple[Path, Path | None]:
    """Fetch a checkpoint from its address, and SONAR's tokenizer where no other is given.

    Returns:
        The file, and the tokenizer.
    """
    tokenizer = fetch_file(ADDRESSES[SONAR_TOKENIZER] if text_tokenizer is None else text_tokenizer)
    return download(source), tokenizer


def fetch_file(source: str | Path) -> Path:
    """Return a file or folder as it is, or fetched from its address."""
    return download(str(source)) if is_url(source) else Path(source)


def say_where(path: Path) -> str:
    """Say where a file that is missing is published; nothing for names that are not the authors'."""
    address = ADDRESSES.get(path.name)
    return "" if address is None else f"; its authors publish it at {address}: give that instead, to fetch it"
