# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are whole or not there: made under a temporary name, then renamed."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.leftovers import PREFIX, claimed

NAME_END = 60  # characters of a file's name that its temporary one keeps: both must fit a disk


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path in the folder of `path`; it becomes `path` when the block ends well.

    Missing folders are made. The temporary name is this writer's own, ends as `path` does and
    starts with a dot. After an error what was at `path` is untouched and nothing stays behind;
    what a killed process leaves is removed by the next that writes in the folder. A link stays one,
    and what is no file (a pipe, /dev/stdout) is written to when the block ends well.

    Raises:
        OSError: the folder cannot be written, or the disk is full; it names `path`.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        # A file under its name would take the place of the device, for all programs.
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder, path.name)
            partial.touch()
            yield partial
            with open(partial, "rb") as whole, open(path, "wb") as device:
                shutil.copyfileobj(whole, device)
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), claimed(path.parent, path.name[-NAME_END:], Path.touch) as partial:
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Errors of the system in the block name `path` where they name no file, as of a full disk."""
    try:
        yield
    except OSError as error:
        name = os.path.basename(error.filename or PREFIX)
        if error.errno is None or not name.startswith(PREFIX):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def making(parent: str | os.PathLike) -> Iterator[Path]:
    """A temporary folder in `parent` to fill and to rename what is in it; it goes with the block.

    One that a killed process leaves is removed by the next that works in `parent`.
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    with claimed(parent, "folder", Path.mkdir) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write a value as indented JSON with a line end; never half a file."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 text; never half a file."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write bytes; never half a file."""
    with replacing(path) as partial:
        partial.write_bytes(data)
