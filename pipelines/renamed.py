# SPDX-License-Identifier: Apache-2.0
"""Old names that are still taken, with a warning that says the new one."""

import argparse
import functools
import sys
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that still takes old keywords, `old="new"`.

    Raises:
        TypeError: by the function, for a call that gives both names.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            for old, new in names.items():
                if old in kwargs and new not in kwargs:
                    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=2)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapped

    return decorate


class OldOption(argparse.Action):
    """An option's old name: `dest` is the new one; a printed line says so."""

    def __call__(self, parser, namespace, values, option_string=None):
        print(f"warning: {option_string} is now --{self.dest}", file=sys.stderr)
        setattr(namespace, self.dest, values)
