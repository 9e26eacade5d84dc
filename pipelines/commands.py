# SPDX-License-Identifier: Apache-2.0
"""What every command shares: an error of the user's ends in one line and exit code 2."""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from pipelines.errors import UserError, data_error_from, system_error_from
from pipelines.extras import missing_extra

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

COMPLETING = "_ARGCOMPLETE"  # set by a shell that asks how a line might go on

R = TypeVar("R")


def command(main: Callable[[list[str] | None], R]) -> Callable[..., R]:
    """Decorate a command's `main(argv=None)`."""

    @functools.wraps(main)
    def wrapped(argv=None):
        try:
            return main(argv)
        except UserError as error:
            reason: UserError | None = error
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
            sys.exit(130)
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


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """A command line's options; where a shell asks how the line might go on, the answer to that.

    jsonargparse's parsers answer shells by themselves, argparse's by this.
    """
    if COMPLETING in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    return parser.parse_args(argv)
