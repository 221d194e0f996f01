"""Tab completion, in a real bash."""

import subprocess
import sys
from pathlib import Path

import pytest

COMPLETE = """
source {script}
complete -p r1-aqa
try() {{ COMP_WORDS=(r1-aqa "$@"); COMP_CWORD=$#; COMPREPLY=(); _shtab_r1_aqa; echo "${{COMPREPLY[@]}}"; }}
try do
try prepare ''
try train grpo --num_r
try train grpo --precision ''
try train grpo --config recom
try evaluate q.j
try train grpo --precision bf16 --data.tr
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "r1-aqa.bash"
    made = subprocess.run(
        [sys.executable, "-m", "r1_aqa", "--print_completion", "bash"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    file.write_text(made.stdout)
    return file


def test_bash_completes_verbs_flags_choices_recipes_and_files(script: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("")
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE.format(script=script)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr == ""
    first, *answers = done.stdout.splitlines()
    assert first.endswith("r1-aqa")
    assert answers == [
        "doctor",
        "avqa questions clips generate",
        "--num_rollouts",
        "fp32 bf16 fp16",
        "recommended",
        "q.jsonl",
        "--data.train",
    ]


@pytest.mark.parametrize("shell", ["zsh", "tcsh", "dash"])
def test_other_shells_have_a_script_or_are_refused(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    from r1_aqa.cli import main

    if shell == "dash":
        with pytest.raises(SystemExit) as stop:
            main(["--print_completion", shell])
        assert stop.value.code == 2
        assert "expected one of bash, zsh, tcsh" in capsys.readouterr().err
    else:
        main([f"--print_completion={shell}"])
        assert "r1-aqa" in capsys.readouterr().out
