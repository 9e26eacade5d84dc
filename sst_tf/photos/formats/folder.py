# SPDX-License-Identifier: Apache-2.0
"""A folder of annotation files that people correct: written again, it keeps their corrections."""

import hashlib
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from pipelines.errors import DataError
from pipelines.writing import write_bytes, write_text
from sst_tf.photos.inputs import WRITTEN


class Folder:
    """Files under `root`, each whole or not there, and a list of what was written (with hashes).

    A file that somebody changed since is left as it is. One that an earlier run wrote and that is
    no answer now is removed.

    Args:
        root: of the folder, made where it is missing.
        under: folder in it of the photos' files.
        videos: keys of the videos that were answered: files of their frames that were not asked for
            this time are no answers now, all others are. Without it the answers of this run are
            all that there are.

    Attributes:
        kept: files that were changed since, or that were there before the first run.
    """

    def __init__(self, root: Path, under: str = "", videos: Collection[str] | None = None):
        self.root, self.kept = root, []
        self._under, self._videos = under, videos
        self._owner: dict[Path, str] = {}
        self._written: dict[str, str] = {}
        self._before = defaultdict(set)  # a run that was killed may have left either content
        root.mkdir(parents=True, exist_ok=True)
        self._list = root / WRITTEN
        if self._list.is_file():
            for line in self._list.read_text(encoding="utf-8").splitlines():
                sha256, _, name = line.partition(" ")
                self._before[name].add(sha256)

    def path(self, key: str, ending: str) -> Path:
        """Where the file of a photo goes: its path, the ending exchanged.

        Raises:
            DataError: two photos whose names differ in nothing but their endings.
        """
        path = (self.root / self._under / key).with_suffix(ending)
        other = self._owner.setdefault(path, key)
        if other != key:
            raise DataError(f"{other} and {key} would both be {path}; rename one of the photos")
        return path

    def changed(self, path: Path) -> bool:
        """Whether somebody else wrote the file that is there."""
        there = _sha256(path)
        return there is not None and there not in self._before[
            path.relative_to(self.root).as_posix()]

    def numbered(self, path: Path, names: list[str], classes: list[str]) -> list[str]:
        """Class names in the order of their numbers, new ones last.

        Numbers of an earlier run stay, as corrected files have them.

        Args:
            path: of the list of names.
            names: what it holds.
            classes: those that are answered now.
        Raises:
            DataError: somebody changed the list, and it lacks a class.
        """
        new = [name for name in classes if name not in names]
        if new and self.changed(path):
            raise DataError(f"{path}: somebody changed it, and {new[0]!r} is not in it; put it at "
                            "the end, or move the folder away")
        return [*names, *new]

    def add(self, path: Path, data: bytes) -> None:
        """Write a file, or leave one that was corrected."""
        name = path.relative_to(self.root).as_posix()
        now, there = hashlib.sha256(data).hexdigest(), _sha256(path)
        if there != now and self.changed(path):
            self.kept.append(path)
            return
        with open(self._list, "a", encoding="utf-8") as file:  # before the file itself
            file.write(f"{now} {name}\n")
        if there != now:
            write_bytes(path, data)
        self._written[name] = now

    def stays(self, path: Path) -> bool:
        """Whether the file of a photo that has no answer in this run is there, and stays."""
        return path.is_file() and not (
            self._is_past(name := path.relative_to(self.root).as_posix())
            and _sha256(path) in self._before[name])

    def close(self) -> "Folder":
        """Remove what is no longer an answer, write the list."""
        listed = dict(self._written)
        kept = {path.relative_to(self.root).as_posix() for path in self.kept}
        for name in self._before.keys() - listed.keys() - kept:
            if (sha256 := _sha256(self.root / name)) not in self._before[name]:
                continue
            if self._is_past(name):
                (self.root / name).unlink()
            else:
                listed[name] = sha256
        write_text(self._list, "".join(f"{sha256} {name}\n"
                                       for name, sha256 in sorted(listed.items())))
        return self

    def _is_past(self, name):
        """Whether a file that this run does not write was an answer, and is none now.

        A photo that another run asked for, or that could not be read this time, keeps its file.
        """
        path = PurePosixPath(name)
        return self._videos is None or path.is_relative_to(self._under) and any(
            str(folder) in self._videos for folder in path.relative_to(self._under).parents)


def is_written(file: Path, folder: Path) -> bool:
    """A file of a `Folder` somewhere below a folder, which is not that `Folder` itself."""
    return any((folder / part / WRITTEN).is_file()
               for part in file.relative_to(folder).parents if part != Path())


def _sha256(path):
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
