# SPDX-License-Identifier: Apache-2.0
"""NumPy's archives from strangers: no objects in them, and no larger than they should be."""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.lib.npyio import NpzFile

from pipelines.errors import DataError

LIMIT = 256_000_000  # bytes of all arrays


def open_arrays(source: str | os.PathLike | BinaryIO, limit: int = LIMIT) -> NpzFile:
    """The arrays of an .npz file, to be used with `with`.

    Args:
        source: path, or a file opened for bytes.
        limit: of all arrays together, in bytes: a small file may unpack to more than memory holds.
    Raises:
        DataError: more than that.
        OSError, ValueError, zipfile.BadZipFile: no such archive.
    """
    with zipfile.ZipFile(source) as archive:
        size = sum(one.file_size for one in archive.infolist())
    if size > limit:
        raise DataError(f"unpacks to {size / 1e6:.0f} MB; at most {limit / 1e6:.0f} are taken")
    if not isinstance(source, (str, os.PathLike)):
        source.seek(0)
    return np.load(source, allow_pickle=False)


@contextlib.contextmanager
def expected(path: str | os.PathLike, what: str) -> Iterator[None]:
    """All that reading an archive raises becomes a DataError that names the file.

    Args:
        what: the file should be, such as "class card".
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or f'no {what}'}") from None
    except Exception as error:  # zip, JSON and NumPy each raise their own
        raise DataError(f"{path}: no {what} ({type(error).__name__}: {error})") from None
