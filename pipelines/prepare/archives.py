# SPDX-License-Identifier: Apache-2.0
"""Archives: found or downloaded, checked, and extracted whole or not at all."""

import contextlib
import hashlib
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from pipelines.errors import DataError
from pipelines.writing import making, write_text

CHUNK = 1 << 20


class Archive(NamedTuple):
    """One file of a data set's publisher.

    Attributes:
        url: where it is.
        digest: SHA-256 of its bytes, or MD5 where the publisher gives no more.
    """

    url: str
    digest: str

    @property
    def name(self) -> str:
        """File name, the last part of the address."""
        return self.url.rpartition("/")[2]


def fetch(archive: Archive, root: str | os.PathLike,
          folder: str | os.PathLike | None = None) -> Path:
    """Path of a checked archive: from `folder`, from `root`/downloads, or downloaded to there.

    Raises:
        DataError: a file that is not the publisher's, a download that fails, or no such `folder`.
    """
    if folder is not None and not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder (--archives)")
    for place in (folder, Path(root) / "downloads"):
        path = place and Path(place) / archive.name
        if path and path.is_file():
            break
    else:
        path = _download(archive, Path(root) / "downloads")
    _check(path, archive)
    return path


def _download(archive, folder):
    # TensorFlow Datasets is slow to import, and needed for this alone.
    import tensorflow_datasets as tfds

    folder.mkdir(parents=True, exist_ok=True)
    try:
        manager = tfds.download.DownloadManager(download_dir=folder / "tfds")
        fetched = Path(manager.download(archive.url))
    except Exception as error:  # of many kinds: sockets, certificates, HTTP
        raise DataError(f"{archive.url}: cannot be downloaded ({error}); fetch it by hand and give "
                        "its folder with --archives") from None
    path = folder / archive.name
    fetched.replace(path)
    return path


def _check(path, archive):
    """DataError where a file's hash is not the publisher's; a good one is remembered beside it."""
    good = path.with_name(f"{path.name}.checked")
    stamp = f"{archive.digest} {path.stat().st_size} {path.stat().st_mtime_ns}"
    if good.is_file() and good.read_bytes() == stamp.encode():
        return
    digest = hashlib.md5(usedforsecurity=False) if len(archive.digest) == 32 else hashlib.sha256()
    with open(path, "rb") as file, tqdm(total=path.stat().st_size, desc=f"checking {path.name}",
                                        unit="B", unit_scale=True) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != archive.digest:
        raise DataError(f"{path}: hash {digest.hexdigest()}, the publisher's file has "
                        f"{archive.digest}; remove it and start again")
    try:
        write_text(good, stamp)
    except OSError:
        pass  # archives on a read-only disk are hashed each time


def extract(path: Path, target: str | os.PathLike,
            members: Callable[[str], bool] = lambda name: True) -> None:
    """Extract an archive into the folder `target`, which then is there whole; skip it if it is.

    Args, Raises: as of `extracted`.
    """
    target = Path(target)
    if target.is_dir():
        return
    with extracted(path, target.parent, members) as partial:
        put(partial, target)


@contextlib.contextmanager
def extracted(path: Path, parent: str | os.PathLike,
              members: Callable[[str], bool] = lambda name: True) -> Iterator[Path]:
    """What an archive holds in a folder in `parent`, from which to move what is wanted.

    The folder goes with the block; one that a killed process leaves, with the next.

    Args:
        members: which names to take.
    Raises:
        DataError: a damaged archive, or a member that would leave the folder.
    """
    with making(parent) as partial:
        _extract(path, partial, members)
        yield partial


def put(folder: Path, target: Path) -> None:
    """Move an extracted folder to its place, unless another process was faster."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _extract(path, partial, members):
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                chosen = [i for i in archive.infolist() if members(_inside(path, i.filename))]
                for info in tqdm(chosen, desc=f"extracting {path.name}", unit="file"):
                    archive.extract(info, partial)
        else:
            with tarfile.open(path) as archive:
                for member in tqdm(archive, desc=f"extracting {path.name}", unit="file"):
                    if members(_inside(path, member.name)):
                        archive.extract(member, partial, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{path}: cannot be extracted ({error}); fetch it again, and see that the "
                        "disk has room") from None


def _inside(path, name):
    """The name itself; DataError for one that leads out of the folder."""
    if name.startswith(("/", "\\")) or ".." in Path(name).parts:
        raise DataError(f"{path}: holds {name!r}, which would leave the folder; this is not the "
                        "publisher's file")
    return name


def counted(folder: str | os.PathLike, pattern: str, expected: int) -> None:
    """DataError where a folder does not hold as many files as the publisher's."""
    found = sum(1 for path in Path(folder).glob(pattern) if not path.name.startswith("."))
    if found != expected:
        raise DataError(f"{folder}: {found} files {pattern}, {expected} are expected; "
                        "remove the folder and start again")
    print(f"{folder}: {found} files {pattern}")
