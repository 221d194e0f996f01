"""`launched.py`: a program that hangs is a failure which says where."""

import sys
from pathlib import Path

import pytest

psutil = pytest.importorskip("psutil", reason="packages that start several processes bring it")
run_launched = pytest.importorskip("launched").run_launched

HANGS = """
import subprocess, sys, time
def wait_for_nobody():
    time.sleep(600)
if not sys.argv[1:]:
    subprocess.Popen([sys.executable, __file__, "child"])
wait_for_nobody()
"""


def test_a_program_that_hangs_tells_where_and_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    with pytest.raises(AssertionError, match=r"(?s)hung for 3 s.*in wait_for_nobody"):
        run_launched([sys.executable, str(script)], seconds=3)
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(script) in (one.info["cmdline"] or [])]


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended with 3:.*no sound"):
        run_launched([sys.executable, "-c", "import sys; print('no sound', file=sys.stderr); sys.exit(3)"])
    assert run_launched([sys.executable, "-c", "print('a')"], A="b") == ""
