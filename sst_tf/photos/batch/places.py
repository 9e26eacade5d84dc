# SPDX-License-Identifier: Apache-2.0
"""Files at paths and URIs alike: what pyarrow opens by itself, and the rest by fsspec."""

from pathlib import Path

from pyarrow import ArrowInvalid, fs

from pipelines.errors import UserError
from pipelines.writing import write_bytes


def opened(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path in it.

    Raises:
        UserError: nobody knows such a URI, or the library that does is not installed.
    """
    try:
        if "://" not in uri:
            return fs.LocalFileSystem(), uri
        return fs.FileSystem.from_uri(uri)
    except (ArrowInvalid, OSError):
        pass
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise UserError(f"{uri}: {error}") from None
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path


def write(filesystem: fs.FileSystem, path: str, data: bytes) -> None:
    """Write a file, whole or not at all; its folder is there.

    Object stores show a file once it is whole; on a disk it gets its name then.
    """
    if isinstance(filesystem, fs.LocalFileSystem):
        folder = Path(path).parent.resolve(strict=True)  # as elsewhere, a missing one is an error
        write_bytes(folder / Path(path).name, data)
        return
    with filesystem.open_output_stream(path) as file:
        file.write(data)
