# SPDX-License-Identifier: Apache-2.0
"""Completion of `sst` in a shell: names of commands, then the options of the one that is typed."""

import argparse
import os
from collections.abc import Callable, Collection

import argcomplete
from argcomplete.lexers import split_line

from pipelines.commands import COMPLETING


def complete(names: Collection[str], run: Callable[[str], None]) -> None:
    """Answer a shell that asks what might come next; ends the process.

    Args:
        names: of the commands.
        run: calls a command, whose parser answers for its options.
    """
    *_, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    if len(words) > 1 and words[1] in names:
        os.environ[COMPLETING] = "2"  # words that are there already: the program, the command
        run(words[1])
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("command", choices=sorted(names))
    argcomplete.autocomplete(parser, always_complete_options=False)
