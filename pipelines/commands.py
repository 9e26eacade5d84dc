# SPDX-License-Identifier: Apache-2.0
"""What every command shares: an error of the user's ends in one line and exit code 2."""

import argparse
import contextlib
import functools
import os
import select
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

from pipelines.errors import UserError, data_error_from, system_error_from
from pipelines.extras import missing_extra

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

COMPLETING = "_ARGCOMPLETE"  # set by a shell that asks how a line might go on

PIPE_CLOSED = 141  # exit code of a shell's tools, 128 + SIGPIPE

R = TypeVar("R")


def command(main: Callable[[list[str] | None], R]) -> Callable[..., R]:
    """Decorate a command's `main(argv=None)`: errors and warnings are a line each."""

    @functools.wraps(main)
    def wrapped(argv=None):
        try:
            with _short_warnings():
                result = main(argv)
            sys.stdout.flush()  # a reader that is gone is noticed here, not at Python's end
            return result
        except UserError as error:
            reason: UserError | None = error
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            if not _reader_gone():
                raise
            sys.exit(PIPE_CLOSED)
        except ModuleNotFoundError as error:
            reason = missing_extra(error)
            if reason is None:
                raise
        except Exception as error:
            # tf.data wraps what a reader raised into an error of its own.
            reason = data_error_from(error) or system_error_from(error)
            if reason is None:
                raise
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(2)

    return wrapped


@contextlib.contextmanager
def _short_warnings():
    """`warning: TEXT`, without the line of code, which says nothing to who types commands."""
    whole = warnings.formatwarning

    def one_line(message, category, filename, lineno, line=None):
        if category is not UserWarning:  # a library's to its programmers
            return whole(message, category, filename, lineno, line)
        return f"warning: {message}\n"

    warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = whole


def _reader_gone():
    """Whether nobody reads what is printed, as after `| head`; from here on it goes nowhere.

    A connection to a server breaks with the same error.
    """
    try:
        poll, printed = select.poll(), sys.stdout.fileno()
        poll.register(printed, select.POLLOUT)
        gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
        if gone:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, printed)
            os.close(nowhere)
    except (AttributeError, OSError, ValueError):  # no such call, or no file behind the name
        return False
    return gone


def positive(text: str) -> int:
    """A whole number of 1 or more, as argparse's `type=`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 1 or more")
    return int(text)


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """A command line's options; where a shell asks how the line might go on, the answer to that.

    jsonargparse's parsers answer shells by themselves, argparse's by this.
    """
    if COMPLETING in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    return parser.parse_args(argv)
