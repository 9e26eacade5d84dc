# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there: written under a temporary name, then renamed."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path in the folder of `path`; it becomes `path` when the block ends well.

    Missing folders are made. The temporary name is this writer's own, ends as `path` does and
    starts with a dot. After an error what was at `path` is untouched and nothing stays behind.

    Raises:
        OSError: the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
