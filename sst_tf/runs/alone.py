# SPDX-License-Identifier: Apache-2.0
"""One process at a time works in a folder; the others say that they wait."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout


@contextlib.contextmanager
def held(lock: BaseFileLock, folder: str | Path, work: str) -> Iterator[None]:
    """Hold a lock, and say so where another process has it.

    Args:
        folder: what the lock is of, for the message.
        work: what the other process does, "trains this run".
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder}: another process {work}; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Wait until no other process trains the run in `folder`; the folder is made.

    A runner may be killed and started again while the training that it had started goes on.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with held(FileLock(folder / ".lock"), folder, "trains this run"):
        yield
