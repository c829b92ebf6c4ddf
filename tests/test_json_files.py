"""files.json_files: what is read and written, and one line for everything else."""

import json
import os

import pytest

from libra_tf.errors import UserError
from libra_tf.files.json_files import parse_json, read_json, write_file, write_json


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": [1, None, "ü"]}, indent=1)
    assert read_json(path) == {"a": [1, None, "ü"]}
    write_json(str(path), 2.5)
    assert read_json(str(path)) == 2.5
    assert os.listdir(path.parent) == ["a.json"]


def test_windows_puts_a_mark_before_the_text(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode())
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_powershell_writes_two_bytes_a_letter(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({"a": "ü"}, ensure_ascii=False).encode(encoding))
    assert read_json(path) == {"a": "ü"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; write it again"),
        (b" \n", "is empty; write it again"),
        (b"\xef\xbb\xbf", "is empty; write it again"),
        (b"{", "is not valid JSON: "),
        (b"\xff\xfe{", r"is not a JSON text file \("),
        (b"[" * 100_000, "is nested too deep to be read"),
    ],
)
def test_a_file_that_is_no_json_is_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json: {message}"):
        read_json(path)


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no\.json: cannot be read: No such file"):
        read_json(tmp_path / "no.json")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_json(tmp_path)
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="taken: cannot be written"):
        write_file(tmp_path / "taken", b"x")
    assert sorted(os.listdir(tmp_path)) == ["taken"]


def test_text_is_parsed_under_the_name_of_its_file():
    assert parse_json("[1]", "gs://b/a.json") == [1]
    with pytest.raises(UserError, match=r"gs://b/a\.json: is not valid JSON"):
        parse_json("[1", "gs://b/a.json")
