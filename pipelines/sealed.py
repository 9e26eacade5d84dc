# SPDX-License-Identifier: Apache-2.0
"""Files of numbers that tell when they are damaged: JSON with a hash of itself, and zips."""

import contextlib
import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.errors import DataError, UserError
from pipelines.writing import write_json

SEAL = "sha256_of_the_rest"


def write_sealed(path: str | os.PathLike, values: dict[str, Any]) -> None:
    """`write_json` with a last entry that tells whether the others are as they were written."""
    plain = json.loads(json.dumps(values))  # as it is read back: tuples as lists, keys as text
    write_json(path, {**plain, SEAL: _hash(plain)})


def read_sealed(path: str | os.PathLike, remedy: str) -> dict[str, Any]:
    """What `write_sealed` wrote, without the seal; a file that never had one is taken as it is.

    Args:
        remedy: what to do about a damaged file, for the message.
    Raises:
        DataError: the file is not as it was written.
    """
    with told(path, remedy):
        values = dict(json.loads(Path(path).read_text(encoding="utf-8")))
        seal = values.pop(SEAL, None)
        if seal is not None and seal != _hash(values):
            raise ValueError("its content is not what its hash is of")
    return values


@contextlib.contextmanager
def told(path: str | os.PathLike, remedy: str) -> Iterator[None]:
    """What reading a damaged file raises becomes one line. Zips (.npz, .keras) check themselves."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, MemoryError,
            NotImplementedError, struct.error, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: damaged ({str(error).splitlines()[0] if str(error) else 'empty'})"
                        f"; {remedy}") from None


def _hash(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
