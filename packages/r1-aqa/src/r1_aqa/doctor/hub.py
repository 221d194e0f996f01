"""The Hugging Face hub: whether it can be reached, knows who asks, and what of it is here already."""

from __future__ import annotations

from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from r1_aqa.doctor.finding import Finding

SECONDS = 5.0
"""To wait for an answer."""


def hub_findings(*, offline: bool = False) -> list[Finding]:
    """Look at the way to the hub.

    Args:
        offline: do not try to reach it.
    """
    from huggingface_hub import constants, get_token

    found = [cache_finding(Path(constants.HF_HUB_CACHE))]
    if constants.HF_HUB_OFFLINE:
        text = "HF_HUB_OFFLINE is set: what is not here already is not fetched"
        return [*found, Finding("note", "hub", text, "unset HF_HUB_OFFLINE")]
    if offline:
        return [*found, Finding("ok", "hub", f"{constants.ENDPOINT} was not asked (--offline)")]
    if problem := reach(constants.ENDPOINT):
        text = f"{constants.ENDPOINT} cannot be reached ({problem}); with this variable nothing waits for it:"
        return [*found, Finding("note", "hub", text, "export HF_HUB_OFFLINE=1")]
    found.append(Finding("ok", "hub", f"{constants.ENDPOINT} answers"))
    return [*found, token_finding(get_token())]


def reach(address: str) -> str:
    """Return why an address does not answer, or nothing if it does."""
    try:
        with urlopen(Request(address, method="HEAD"), timeout=SECONDS):
            return ""
    except HTTPError as error:
        return f"HTTP {error.code}" if error.code >= 500 else ""
    except (URLError, OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def token_finding(token: str | None) -> Finding:
    """Say whether the hub accepts the token that is kept here; the token itself is never shown."""
    if token is None:
        text = "no token: gated models, such as Llama 2, will be refused"
        return Finding("note", "hub token", text, "hf auth login")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        name = HfApi(token=token).whoami().get("name")
    except HfHubHTTPError:
        return Finding("fault", "hub token", "the hub refuses it: expired or mistyped", "hf auth login")
    except OSError as error:
        return Finding("note", "hub token", f"could not be tried: {error}", "hf auth whoami")
    return Finding("ok", "hub token", f"accepted, of {name}")


def cache_finding(folder: Path) -> Finding:
    """Say how many models are in the cache, and which downloads were interrupted."""
    models = sorted(folder.glob("models--*"))
    halves = sorted(folder.glob("*/blobs/*.incomplete"))
    if halves:
        text = f"{len(halves)} interrupted downloads in {folder}; the next fetch goes on from them, or:"
        return Finding("note", "hub cache", text, f"find {folder} -name '*.incomplete' -delete")
    return Finding("ok", "hub cache", f"{len(models)} models in {folder}")
