"""The command that installs something into the environment that this program runs in.

`uv tool install` makes environments without pip, and forgets what was put into one by hand at the next
upgrade: there the tool is installed again with what it lacked.
"""

from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RECEIPT = "uv-receipt.toml"
"""What uv keeps in a tool's environment."""


def install_command(
    package: str, requirements: Sequence[str], extra: str = "", *, again: bool = False
) -> str:
    """Return the command that installs requirements.

    Args:
        package: the distribution whose environment it is: `ml-clap`.
        requirements: as `av>=17.1`.
        extra: the extra of the package that they belong to.
        again: what is there already is damaged, and replaced.
    """
    tool = _tool(package)
    if tool is not None:
        extras = ",".join(sorted({*tool.get("extras", ()), extra} - {""}))
        place = next((tool[key] for key in ("directory", "editable", "path", "url") if key in tool), package)
        options = "" if extra and not again else "--reinstall "
        return f"uv tool install {options}{shlex.quote(f'{place}[{extras}]' if extras else place)}"
    wanted = " ".join(shlex.quote(one) for one in requirements)
    if find_spec("pip") is not None:
        return f"{python()} -m pip install {'--force-reinstall ' * again}{wanted}"
    return f"uv pip install --python {python()} {'--reinstall ' * again}{wanted}"


def uninstall_command(name: str) -> str:
    """Return the command that removes a distribution."""
    if find_spec("pip") is not None:
        return f"{python()} -m pip uninstall --yes {name}"
    return f"uv pip uninstall --python {python()} {name}"


def python() -> str:
    """Return how this Python is called from any shell: `python` may be another one there."""
    return shlex.quote(sys.executable)


def _tool(package: str) -> dict[str, Any] | None:
    """Return what uv's receipt says of the package, if the environment is that of a tool."""
    receipt = Path(sys.prefix) / RECEIPT
    try:
        rows = tomllib.loads(receipt.read_text(encoding="utf-8"))["tool"]["requirements"]
        return next((row for row in rows if row["name"] == package), None)
    except (OSError, ValueError, KeyError, TypeError):  # of another uv
        return None
