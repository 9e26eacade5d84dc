# SPDX-License-Identifier: Apache-2.0
"""What every command shares."""

import subprocess
import sys

import pytest

PRINT = """
import sys
from pipelines.commands import command

@command
def main(argv=None):
    sys.stdin.read()  # until the reader is gone
    print("line\\n" * int(sys.argv[1]))
    if sys.argv[2:]:
        raise BrokenPipeError(32, "the server's connection")

main([])
"""


@pytest.mark.parametrize("count", [1, 100_000])  # less and more than Python holds back
def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word(count):
    process = subprocess.Popen([sys.executable, "-c", PRINT, str(count)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == "" and process.wait() == 141


def test_another_broken_pipe_is_no_such_end():
    done = subprocess.run([sys.executable, "-c", PRINT, "1", "server"], capture_output=True,
                          input="", text=True)
    assert done.returncode == 1 and "the server's connection" in done.stderr


@pytest.mark.parametrize("category, told", [
    ("UserWarning", "warning: the photo is turned\n"),
    ("RuntimeWarning", "RuntimeWarning: the photo is turned\n")])
def test_a_warning_to_users_is_one_line(category, told):
    code = PRINT.replace('print("line\\n" * int(sys.argv[1]))', f'''import warnings
    warnings.warn("the photo is turned", {category}, stacklevel=2)''')
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, input="", text=True)
    assert done.returncode == 0
    assert done.stderr == told if category == "UserWarning" else told in done.stderr
