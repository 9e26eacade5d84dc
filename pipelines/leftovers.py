# SPDX-License-Identifier: Apache-2.0
"""Temporary names, and what killed processes left under them.

Whoever works under a temporary name holds a lock on it, which the kernel releases when the process
ends, however it ends. So a name that can be locked is of a process that is gone. No clock and no
process number is asked: both lie after a restart or on a folder that machines share.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # no POSIX: leftovers stay, hidden by their names
    fcntl = None  # type: ignore[assignment]

PREFIX = ".partial-"

_swept: set[str] = set()  # folders that this process has looked through


@contextlib.contextmanager
def claimed(folder: Path, ending: str, make: Callable[[Path], object]) -> Iterator[Path]:
    """A new name in `folder`, made by `make` and held until the block ends.

    The first claim of a process in a folder removes what killed ones left there.

    Args:
        ending: of the name, which starts with `PREFIX`.
        make: makes an empty file or folder at a path.
    """
    if (here := os.path.abspath(folder)) not in _swept:
        _swept.add(here)
        sweep(folder)
    while True:
        path = folder / f"{PREFIX}{uuid.uuid4().hex[:12]}-{ending}"
        make(path)
        with locked(path, wait=True):
            if path.exists():  # else another process took it for a leftover before it was locked
                yield path
                return


def sweep(folder: str | os.PathLike) -> None:
    """Remove files and folders under temporary names whose process is gone."""
    try:
        names = os.listdir(folder)
    except OSError:  # not there, or not readable
        return
    for path in (Path(folder, name) for name in names if name.startswith(PREFIX)):
        with locked(path, wait=False) as held:
            if held and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif held:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: str | os.PathLike, wait: bool) -> Iterator[bool]:
    """Whether the lock of a path is held in the block; a file system may know none."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        try:
            if fcntl is None:
                raise OSError
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
