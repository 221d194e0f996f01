"""Misfits of packages, by distributions made for the test; and the commands that mend them."""

import shlex
import sys
from pathlib import Path

import pytest
from r1_aqa.doctor import installing
from r1_aqa.doctor.installation import (
    extra_finding,
    find_misfits,
    installation_findings,
    torchaudio_findings,
)
from r1_aqa.doctor.installing import install_command, uninstall_command


def install(site: Path, name: str, version: str, *requires: str) -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(
        tmp_path,
        "toyroot",
        "1",
        "toydeep>=2",
        'toyextra>=1; extra == "more"',
        'toyfar[deep]; extra == "nested"',
        'toywindows; sys_platform == "win32"',
    )
    install(tmp_path, "toydeep", "2.1", "toybase<3")
    install(tmp_path, "toyfar", "1", 'toyleaf>=5; extra == "deep"')
    return tmp_path


def test_what_is_missing_or_of_another_version_is_found_however_deep(site: Path) -> None:
    assert [str(one) for one in find_misfits("toyroot")] == [
        "toydeep needs toybase<3, and it is not installed"
    ]
    install(site, "toybase", "3.0")
    assert [str(one) for one in find_misfits("toyroot")] == ["toydeep needs toybase<3, and 3.0 is installed"]


@pytest.mark.parametrize("name", ["more", "nested"])
def test_an_extra_is_missing_installed_or_wrong(site: Path, name: str) -> None:
    own = "toyextra" if name == "more" else "toyleaf"
    finding = extra_finding("toyroot", name, "purpose")
    assert (finding.kind, finding.text) == ("note", f"{name} (purpose) is not installed: {own}")
    assert "install" in finding.command
    install(site, own, "0.5")
    assert extra_finding("toyroot", name, "purpose").kind == "fault"
    (site / f"{own}-0.5.dist-info" / "METADATA").unlink()
    (site / f"{own}-0.5.dist-info").rmdir()
    install(site, own, "7")
    assert extra_finding("toyroot", name, "purpose").kind == "ok"


def test_this_environment_fits_and_its_extras_are_known() -> None:
    found = installation_findings("r1-aqa", {"av": "m4a"})
    assert [finding.text for finding in found if finding.kind == "fault"] == []
    assert found[0].text.startswith("0.1.0, Python 3.")
    assert {finding.subject for finding in found} >= {"r1-aqa", "packages", "extra"}


def test_a_torchaudio_that_cannot_be_imported_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchaudio.py").write_text("raise OSError('libtorch_cuda.so: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    [finding] = torchaudio_findings("r1-aqa")
    assert finding.kind == "note"
    assert "cannot be imported (libtorch_cuda.so: cannot open)" in finding.text
    assert finding.command == uninstall_command("torchaudio")


def test_the_command_fits_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "find_spec", lambda name: None)
    command = install_command("r1-aqa", ["av>=17.1"])
    assert command == f"uv pip install --python {shlex.quote(sys.executable)} 'av>=17.1'"
    monkeypatch.setattr(installing, "find_spec", lambda name: name)
    assert install_command("r1-aqa", ["av>=17.1"]).endswith("-m pip install 'av>=17.1'")
    assert "--force-reinstall" in install_command("r1-aqa", ["av"], again=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    tool = 'name = "r1-aqa", extras = ["serve"], directory = "/clone/packages/r1-aqa"'
    (tmp_path / installing.RECEIPT).write_text(f"[tool]\nrequirements = [{{ {tool} }}]\n")
    assert install_command("r1-aqa", ["av>=17.1"], "av") == (
        "uv tool install '/clone/packages/r1-aqa[av,serve]'"
    )
    (tmp_path / installing.RECEIPT).write_text("[tool]\nrequirements = 3\n")  # of another uv
    assert "pip install" in install_command("r1-aqa", ["av>=17.1"], "av")
