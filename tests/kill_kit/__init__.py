"""The kill kit: run a command, disturb it at a chosen file operation, run it again, compare.

What "loses nothing" means here, for a training or a bulk job:

1. A command is run undisturbed. All file operations below its folder are listed and numbered, from 1.
2. In another folder it is run again, and disturbed just before operation N (`operations.MODES`):
   `kill` (SIGKILL), `torn` (SIGKILL, and the file written last lacks half of what is new in it),
   `full` (this and every later operation that needs space fails: the disk is full) or `interrupt` (Ctrl-C).
3. The same command is run once more and left alone. It must end with the undisturbed run's exit code.
4. Both folders must then be equal (`compare.py`): the same files, the same tensors bit for bit, the same
   rows; only times and rates may differ. Nothing half written may be left.

A full disk must be told in one line, with exit code 2; Ctrl-C ends with 130.

    operations.py  numbers a command's file operations and disturbs one
    stage.py       runs each command in a forked child of a process that has torch imported: seconds, not tens
    compare.py     says in what two folders differ
    trial.py       steps 1 to 4
    jobs.py        what is run: each package's jobs, in *_jobs.py

`tests/test_kills.py` tries about a dozen points of each package. All of them, and one to find a fault:

    export PYTHONPATH=tests
    PYTHON -m kill_kit all                      every operation of every job of the package installed there
    PYTHON -m kill_kit all train --mode kill    of one job, in one way
    PYTHON -m kill_kit list train               the numbered operations
    PYTHON -m kill_kit try train 17 torn        one trial, whose folders are kept

What is not covered: files opened by C or Rust (safetensors, torch.save, faiss) are no operation of their own,
for Python's audit does not see them; `torn` does cut them, and the renaming after them is seen. A write that
fails half way is not simulated (a full disk fails at opening, making, renaming), nor a loss of power: what
the system was given counts as kept.
"""
