# SPDX-License-Identifier: Apache-2.0
"""A folder of annotation files that people correct: written again, it keeps their corrections."""

import hashlib
import json
from pathlib import Path

from pipelines.errors import DataError
from pipelines.writing import write_bytes, write_json
from sst_tf.photos.inputs import WRITTEN


class Folder:
    """Files under `root`, each whole or not there, and a list of what was written (with hashes).

    A file that somebody changed since is left as it is. One that an earlier run wrote and this
    one does not is removed, as the numbers of its classes may have changed.

    Attributes:
        kept: files that were changed since, or that were there before the first run.
    """

    def __init__(self, root: Path):
        self.root, self.kept = root, []
        self._owner: dict[Path, str] = {}
        self._written: dict[str, str] = {}
        try:
            self._before = json.loads((root / WRITTEN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._before = {}

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

    def add(self, path: Path, data: bytes) -> None:
        """Write a file, or leave one that was corrected."""
        name = path.relative_to(self.root).as_posix()
        now = hashlib.sha256(data).hexdigest()
        there = _sha256(path)
        if there not in (None, now, self._before.get(name)):
            self.kept.append(path)
            if name in self._before:
                self._written[name] = self._before[name]
            return
        if there != now:
            write_bytes(path, data)
        self._written[name] = now

    def close(self) -> "Folder":
        """Remove what is no longer an answer, write the list."""
        for name, sha256 in self._before.items():
            if name not in self._written and _sha256(self.root / name) == sha256:
                (self.root / name).unlink()
        write_json(self.root / WRITTEN, self._written)
        return self


def _sha256(path):
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
