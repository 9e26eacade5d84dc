# SPDX-License-Identifier: Apache-2.0
"""Files are whole or not there, whoever else writes them."""

import errno
import os
import signal
import threading

import pytest

from pipelines import leftovers
from pipelines.commands import command
from pipelines.errors import system_error_from
from pipelines.leftovers import sweep
from pipelines.writing import making, replacing, write_bytes, write_json, write_text


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


def writer_at_work(folder):
    """Process number of a fork in the midst of a file and a folder."""
    ready, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        with making(folder) as part, replacing(folder / "model.keras") as partial:
            (part / "half").write_text("half")
            partial.write_text("half")
            os.write(say, b"!")
            signal.pause()
    assert os.read(ready, 1) == b"!"
    return pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_a_killed_writer_leaves_goes_with_the_next(tmp_path):
    writers = [writer_at_work(tmp_path) for _ in range(2)]
    alive = set(tmp_path.iterdir())
    assert len(alive) == 4
    kill(writers[0])
    sweep(tmp_path)
    left = set(tmp_path.iterdir())
    assert len(left) == 2 and left < alive  # those of the writer that lives
    kill(writers[1])
    leftovers._swept.discard(str(tmp_path))  # as of a process that has not written here yet
    write_text(tmp_path / "model.keras", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_a_folder_goes_with_its_block(tmp_path):
    with making(tmp_path / "new") as folder:
        (folder / "a").write_text("a")
        (folder / "a").rename(tmp_path / "a")
        (folder / "b").write_text("b")
    assert [path.name for path in (tmp_path / "new").iterdir()] == []
    assert (tmp_path / "a").read_text() == "a"


def test_a_name_as_long_as_a_disk_takes(tmp_path):
    path = tmp_path / ("n" * 250 + ".json")
    write_json(path, 1)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_disk_that_is_full_is_told_with_the_file_s_name(tmp_path):
    """As /dev/full does: an error that names no file."""
    def full(number=errno.ENOSPC):
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError) as caught, replacing(tmp_path / "model.keras"):
        full()
    assert caught.value.filename == str(tmp_path / "model.keras")
    line = str(system_error_from(caught.value))
    assert line == (f"{tmp_path / 'model.keras'}: No space left on device; make room and start "
                    "again: what is done is kept")
    with pytest.raises(OSError) as caught, replacing(tmp_path / "a"):
        (tmp_path / "no" / "b").read_text()
    assert caught.value.filename == str(tmp_path / "no" / "b")
    assert system_error_from(caught.value) is None  # a missing file may be a fault of ours
    tensorflow = ValueError("{{function_node x}} /disk/model/variables; No space left on device "
                            "[Op:SaveV2]\n\nwhere it happened")
    assert str(system_error_from(tensorflow)).startswith(
        "{{function_node x}} /disk/model/variables; No space left on device; make room")


def test_a_command_ends_in_one_line_where_the_disk_is_full(capsys):
    @command
    def main(argv=None):
        with open("/dev/full", "w") as file:
            file.write("x" * 10_000_000)

    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "No space left on device; make room" in capsys.readouterr().err


def test_a_pipe_stays_a_pipe(tmp_path):
    """As /dev/stdout and /dev/null must: a file in their place would stay for all programs."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_text(path, "größe\n")
    assert os.read(reader, 100) == "größe\n".encode() and path.is_fifo()
    with pytest.raises(KeyError), replacing(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert os.read(reader, 100) == b"" and list(tmp_path.iterdir()) == [path]
    os.close(reader)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far/list.txt")
    for text in ("new", "newer"):  # the first time it leads nowhere
        write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "far/list.txt").read_text() == text
    assert len(list(tmp_path.iterdir())) == 2 and len(list((tmp_path / "far").iterdir())) == 1
