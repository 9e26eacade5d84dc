# SPDX-License-Identifier: Apache-2.0
"""One process at a time trains a run."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Wait until no other process trains the run in `folder`; the folder is made.

    A runner may be killed and started again while the training that it had started goes on.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder}: another process trains this run; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
