"""JSON that another program could read otherwise, or none could use, is refused, and the place is told."""

import json
from pathlib import Path

import pytest
from audio_common.strict_json import (
    JSONError,
    is_writable_text,
    json_lines,
    parse_json,
    parse_object,
    read_records,
)
from hypothesis import given, settings
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**99), 10**99)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": NaN}', "NaN is no number of JSON; write null"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "beyond what a float holds"),
        ("9" * 401, "a number of 401 digits; at most 100"),
        ('{"id": 1, "b": {"id": 1, "id": 2}}', "the key 'id' stands twice"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper than 100"),
        ("[" * 101 + "]" * 101, "nested deeper than 100"),
        (b'{"a": "\xff"}', "not UTF-8 text"),
        (b"\x00\x01", "not text: byte 0 is 0"),
        (b"\xff\xfe\x00", "not text in UTF-16"),
        (r'["\ud800"]', r"half a character, \ud800,"),
        (r'{"\udfff x": 1}', r"half a character, \udfff,"),
        ('{"a": 1', "not JSON: Expecting ',' delimiter at column 8"),
        ('{\n"a": 1,\n}', "not JSON: .* at line "),
        ("", "not JSON: Expecting value at column 1"),
    ],
)
def test_what_is_refused_is_told_with_its_place(content: bytes | str, reason: str) -> None:
    with pytest.raises(JSONError, match=rf"^a\.jsonl:3: .*{reason.replace(chr(92), chr(92) * 2)}"):
        parse_json(content, "a.jsonl:3")


@settings(deadline=None)
@given(VALUES)
def test_what_other_programs_write_is_read_as_they_would(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text, "a.json") == value
    assert parse_json(text.encode(), "a.json") == value


def test_marks_of_editors_and_bytes_of_file_names_pass() -> None:
    assert parse_json(b"\xef\xbb\xbf[1]", "a") == parse_json("[1]".encode("utf-16"), "a") == [1]
    name = b"c\xe9.wav".decode("utf-8", "surrogateescape")
    assert parse_json(json.dumps([name]), "a") == [name]
    assert not is_writable_text(name)
    assert is_writable_text("cé.wav")


def test_an_object_is_an_object() -> None:
    with pytest.raises(JSONError, match=r"^a: expected a JSON object, got list"):
        parse_object("[]", "a")


def test_a_bad_line_stands_in_its_place_among_the_others() -> None:
    found = list(json_lines(b'{"a": 1}\n\n{"a": NaN}\n{"a": "x\xe2\x80\xa8y"}\n7', "m.jsonl"))
    assert [number for number, _ in found] == [1, 3, 4, 5]
    assert found[0][1] == {"a": 1}
    assert found[2][1] == {"a": "x\u2028y"}
    assert str(found[1][1]).startswith("m.jsonl:3: ")
    assert str(found[3][1]) == "m.jsonl:5: expected a JSON object, got int"


def test_bytes_that_are_no_text_are_the_fault_of_their_line() -> None:
    found = [row for _, row in json_lines(b'{"a": "x\x00y"}\n\xff\xfe{"a": 1}\n{"a": 2}\n', "m.jsonl")]
    assert "Invalid control character" in str(found[0])
    assert str(found[1]).startswith("m.jsonl:2: not UTF-8 text")
    assert found[2] == {"a": 2}


def test_of_a_log_the_line_that_a_kill_cut_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log.jsonl"
    assert read_records(log) == []
    log.write_bytes(b'{"step": 1}\n\x00\x00\x00\n{"step": 2}\n{"step": 3}')
    assert read_records(log) == [{"step": 1}, {"step": 2}]
    assert "log.jsonl:2" in caplog.text
