# SPDX-License-Identifier: Apache-2.0
"""Files are whole or not there, whoever else writes them."""

import threading

import pytest

from pipelines.writing import replacing, write_bytes, write_json, write_text


def test_it_is_there_whole_and_alone(tmp_path):
    path = tmp_path / "new" / "facts.json"
    write_json(path, {"a": 1})
    assert path.read_text() == '{\n "a": 1\n}\n'
    write_text(path, "größe\n")
    assert path.read_bytes() == "größe\n".encode()
    write_bytes(path, b"\x00")
    assert [p.name for p in path.parent.iterdir()] == ["facts.json"]
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as partial:
        assert partial.suffix == ".keras" and partial.parent == tmp_path
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_share_a_temporary_name(tmp_path):
    path, both = tmp_path / "list.txt", threading.Barrier(2)

    def write(text):
        with replacing(path) as partial:
            both.wait(10)
            partial.write_text(text)
            both.wait(10)

    writers = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in ("a" * 1000, "b" * 1000) and list(tmp_path.iterdir()) == [path]
