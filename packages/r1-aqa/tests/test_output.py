"""Progress in one look, and messages where they belong."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest
from r1_aqa import output
from r1_aqa.output import Progress, printable, progress, set_up


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "r1_aqa", "audio_common")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    set_up(has_model=False)
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("r1_aqa.output.time.monotonic", lambda: now[0])
    return now


def test_a_line_comes_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress(range(100), "Encoding sounds"):
        clock[0] += 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "Encoding sounds: 30/100, 1.0/s, 1 min 10 s left",
        "Encoding sounds: 60/100, 1.0/s, 0 min 40 s left",
        "Encoding sounds: 90/100, 1.0/s, 0 min 10 s left",
        "Encoding sounds: 100/100, 1.0/s",
    ]


def test_what_was_done_before_does_not_count_for_the_rate(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("Updates", 10_000, start=500) as shown:
        clock[0] += 60
        shown.advance(20, note="loss 1.5")
        clock[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Updates: 520/10000, 20.0/min, 7 h 54 min left, loss 1.5"


def test_quick_work_and_an_unknown_total(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter("abc"), "Letters")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
    for _ in progress(iter("ab"), "Letters"):
        clock[0] += 40
    assert capsys.readouterr().err.splitlines()[-1] == "Letters: 2, 1.5/min"


def test_quiet_shows_no_progress(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    set_up(quiet=True, has_model=False)
    for _ in progress(range(3), "Encoding"):
        clock[0] += 100
    logging.getLogger("r1_aqa.x").info("not said")
    logging.getLogger("r1_aqa.x").warning("said")
    assert capsys.readouterr().err == "said\n"


def test_other_processes_show_no_progress(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Encoding", 3, shown=False) as shown:
        clock[0] += 100
        shown.advance()
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("Encoding", 3) as shown:
        shown.advance(3, note="done")
        logging.getLogger("r1_aqa").info("a message in the midst")
    assert "Encoding" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "a message in the midst" in terminal.getvalue()


def test_messages_are_plain_and_verbose_says_more(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("r1_aqa.x").info("said")
    logging.getLogger("r1_aqa.x").debug("not said")
    logging.getLogger("other").info("not said")
    set_up(verbose=True, has_model=False)
    logging.getLogger("r1_aqa.x").debug("debugged")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "said\ndebugged\n")
    assert output.PACKAGE == "r1_aqa"


def test_nothing_from_outside_moves_a_terminals_cursor() -> None:
    assert printable("a\x1b[2J\r\n\u202eb\udce9\x9b") == r"a\x1b[2J\x0d\x0a\u202eb\udce9\x9b"
    assert printable("two\nlines\x07", lines=True) == "two\nlines\\x07"
    assert printable("שלום 狗叫声 🐕 café") == "שלום 狗叫声 🐕 café"


def test_messages_lose_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(has_model=False)
    logging.getLogger("r1_aqa").warning("cannot read %s", "a\x1b]0;x\x07.wav")
    assert capsys.readouterr().err == "cannot read a\\x1b]0;x\\x07.wav\n"
