# SPDX-License-Identifier: Apache-2.0
"""A folder of annotation files that people correct: written again, it keeps their corrections."""

import hashlib
from collections import defaultdict
from pathlib import Path

from pipelines.errors import DataError
from pipelines.writing import write_bytes, write_text
from sst_tf.photos.inputs import WRITTEN


class Folder:
    """Files under `root`, each whole or not there, and a list of what was written (with hashes).

    A file that somebody changed since is left as it is. One that an earlier run wrote and this
    one does not is removed.

    Attributes:
        kept: files that were changed since, or that were there before the first run.
    """

    def __init__(self, root: Path):
        self.root, self.kept = root, []
        self._owner: dict[Path, str] = {}
        self._written: dict[str, str] = {}
        self._before = defaultdict(set)  # a run that was killed may have left either content
        root.mkdir(parents=True, exist_ok=True)
        self._list = root / WRITTEN
        if self._list.is_file():
            for line in self._list.read_text(encoding="utf-8").splitlines():
                sha256, _, name = line.partition(" ")
                self._before[name].add(sha256)

    def path(self, key: str, ending: str, under: str = "") -> Path:
        """Where the file of a photo goes: its path, the ending exchanged.

        Raises:
            DataError: two photos whose names differ in nothing but their endings.
        """
        path = (self.root / under / key).with_suffix(ending)
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

    def close(self) -> "Folder":
        """Remove what is no longer an answer, write the list."""
        kept = {path.relative_to(self.root).as_posix() for path in self.kept}
        for name, hashes in self._before.items():
            if name not in self._written and name not in kept and (
                    _sha256(self.root / name) in hashes):
                (self.root / name).unlink()
        write_text(self._list, "".join(f"{sha256} {name}\n"
                                       for name, sha256 in sorted(self._written.items())))
        return self


def is_written(file: Path, folder: Path) -> bool:
    """A file of a `Folder` somewhere below a folder, which is not that `Folder` itself."""
    return any((folder / part / WRITTEN).is_file()
               for part in file.relative_to(folder).parents if part != Path())


def _sha256(path):
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
