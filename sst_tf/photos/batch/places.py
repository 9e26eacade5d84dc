# SPDX-License-Identifier: Apache-2.0
"""Files at paths and URIs alike: what pyarrow opens by itself, and the rest by fsspec."""

import uuid

from pyarrow import ArrowInvalid, fs

from pipelines.errors import UserError


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
    local = isinstance(filesystem, fs.LocalFileSystem)
    folder, _, name = path.rpartition("/")
    target = f"{folder}/.partial-{uuid.uuid4().hex[:12]}-{name}" if local else path
    try:
        with filesystem.open_output_stream(target) as file:
            file.write(data)
        if local:
            filesystem.move(target, path)
    except BaseException:
        if local and filesystem.get_file_info(target).type == fs.FileType.File:
            filesystem.delete_file(target)
        raise
