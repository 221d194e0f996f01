"""What is installed: Python, the packages that others need in some version, extras, torch's companion.

Requirements are those that the installed packages declare, so that this file names no version.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement

from r1_aqa.doctor.finding import Finding
from r1_aqa.doctor.installing import install_command, uninstall_command

UNUSED = ("torchaudio",)
"""Declared for the tests alone: without it everything works."""


@dataclass(frozen=True)
class Misfit:
    """A package that is not there, or in a version that another one does not take."""

    requirement: Requirement
    wanted_by: str
    installed: str | None

    def __str__(self) -> str:
        wanted = f"{self.requirement.name}{self.requirement.specifier}"
        has = f"{self.installed} is installed" if self.installed else "it is not installed"
        return f"{self.wanted_by} needs {wanted}, and {has}"


def installation_findings(package: str, extras: Mapping[str, str]) -> list[Finding]:
    """Look at the packages of this environment.

    Args:
        package: the distribution, as `ml-clap`.
        extras: each of its extras -> what it is for.
    """
    here = f"{version(package)}, Python {platform.python_version()} ({sys.prefix}), {platform.platform()}"
    found = [Finding("ok", package, here)]
    misfits = list(find_misfits(package))
    for one in misfits:
        command = install_command(package, [_wanted(one.requirement)])
        found.append(Finding("fault", "package", str(one), command))
    if not misfits:
        fit = f"torch {_version('torch')}, transformers {_version('transformers')}"
        found.append(Finding("ok", "packages", f"{fit}; all fit each other"))
    found += torchaudio_findings(package)
    return found + [extra_finding(package, name, purpose) for name, purpose in extras.items()]


def find_misfits(package: str, extra: str = "") -> Iterator[Misfit]:
    """Yield what does not fit of all that a distribution, or one of its extras, needs, and these need."""
    queue, seen = [(package, extra)], {(package, extra)}
    while queue:
        owner, wanted_extra = queue.pop()
        for requirement in _requirements(owner, wanted_extra):
            if requirement.name in UNUSED:
                continue
            installed = _version(requirement.name)
            if installed is None or not requirement.specifier.contains(installed, prereleases=True):
                yield Misfit(requirement, owner, installed)
                continue
            for next_extra in ("", *requirement.extras):
                if (key := (requirement.name, next_extra)) not in seen:
                    seen.add(key)
                    queue.append(key)


def extra_finding(package: str, name: str, purpose: str) -> Finding:
    """Say whether an extra is installed."""
    misfits = list(find_misfits(package, name))
    if not misfits:
        return Finding("ok", "extra", f"{name} ({purpose}) is installed")
    own = [_wanted(requirement) for requirement in _requirements(package, name)]
    command = install_command(package, own, name)
    missing = [one for one in misfits if one.installed is None]
    if not missing:
        return Finding("fault", "extra", f"{name} ({purpose}): {misfits[0]}", command)
    names = ", ".join(dict.fromkeys(one.requirement.name for one in missing))
    return Finding("note", "extra", f"{name} ({purpose}) is not installed: {names}", command)


def torchaudio_findings(package: str) -> list[Finding]:
    """Say whether torchaudio, where there is one, can be imported beside this torch."""
    if find_spec("torchaudio") is None:
        return []
    pair = f"{_version('torchaudio')} beside torch {_version('torch')}"
    try:
        import_module("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        why = " ".join(str(error).split())[:120]
        text = f"{pair} cannot be imported ({why}); nothing here needs it"
        return [Finding("note", "torchaudio", text, uninstall_command("torchaudio"))]
    return [Finding("ok", "torchaudio", pair)]


def _requirements(owner: str, extra: str) -> Iterator[Requirement]:
    """Yield what a distribution needs on this system: of itself, or of one of its extras alone."""
    try:
        declared = requires(owner) or []
    except PackageNotFoundError:
        return
    for text in declared:
        requirement = Requirement(text)
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if (not extra and always) or (extra and not always and marker and marker.evaluate({"extra": extra})):
            if requirement.name == owner:  # an extra made of another
                for inner in requirement.extras:
                    yield from _requirements(owner, inner)
            else:
                yield requirement


def _wanted(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def _version(name: str) -> str | None:
    try:
        # A folder that an interrupted installation left has no version.
        return metadata(name)["Version"]
    except (PackageNotFoundError, KeyError):
        return None
