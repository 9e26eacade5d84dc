# SPDX-License-Identifier: Apache-2.0
"""Small tar archives, as publishers pack theirs."""

import io
import tarfile


def tar(path, files):
    """Write {name: bytes} as a tar, packed where it ends in .tgz; returns its path."""
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
