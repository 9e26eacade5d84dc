# SPDX-License-Identifier: Apache-2.0
"""One process at a time works in a folder; the others say that they wait, or are refused."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from pipelines.errors import UserError


@contextlib.contextmanager
def held(lock: BaseFileLock, folder: str | Path, work: str, instead: str | None = None
         ) -> Iterator[None]:
    """Hold a lock, and say so where another process has it.

    Args:
        folder: what the lock is of, for the message.
        work: what the other process does, "trains this run".
        instead: what to do about it; without, this process waits.
    Raises:
        UserError: another process has it, with `instead`.
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if instead:
            raise UserError(f"{folder}: another process {work}; {instead}") from None
        print(f"{folder}: another process {work}; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def alone(folder: str | Path, wait: bool) -> Iterator[None]:
    """No other process trains the run in `folder`, which is made.

    A runner may be killed and started again while the training that it had started goes on, so
    whoever resumes waits for the other.

    Raises:
        UserError: another process trains it, and `wait` is false.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    instead = None if wait else ("--resume waits for it and goes on, --run_dir names another "
                                 "folder")
    with held(FileLock(folder / ".lock"), folder, "trains this run", instead):
        yield
