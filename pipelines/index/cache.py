# SPDX-License-Identifier: Apache-2.0
"""What was read of a data set's masks, on disk beside a fingerprint of its files."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipelines.sources import options_of
from pipelines.writing import write_text

FORMAT = 3
SETTLED_NS = 2 * 10**9  # a younger file may change again within the tick of its clock


class IndexCache:
    """Facts of photos whose files have not changed since.

    One file a data set: a line that says whose it is, and a line of {photo id: [fingerprint,
    facts]}. A file that is damaged or somebody else's is told of and written anew.

    Args:
        folder: where it lies; None keeps nothing.
        source: only one with `files(image_id)` is kept; `root` is the folder they lie in. Its
            other flags, numbers and texts count as options: one that changes is another data set.
        filters: names of the pair filters that the facts answer.
    """

    def __init__(self, folder: str | os.PathLike | None, source: object,
                 filters: Sequence[str]) -> None:
        self.files = getattr(source, "files", None) if folder is not None else None
        self.photos: dict[str, list] = {}
        self.changed = False
        if self.files is None or folder is None:
            return
        self.root = str(getattr(source, "root", ""))
        # Which class a number of a part stands for is not in the list of all.
        parts = getattr(source, "classes_of", {"": getattr(source, "classes", ())})
        classes = "\n".join(word for part in parts.items() for word in (part[0], *part[1]) if word)
        kind = type(source)
        self.owner = {"format": FORMAT, "source": f"{kind.__module__}.{kind.__qualname__}",
                      "root": os.path.abspath(self.root), "filters": list(filters),
                      "options": {key: value for key, value in options_of(source).items()
                                  if key != "root"},
                      "classes": hashlib.sha256(classes.encode()).hexdigest()}
        name = hashlib.sha256(json.dumps(self.owner).encode()).hexdigest()[:16]
        self.path = Path(folder) / f"{name}.json"
        self.settled = time.time_ns() - SETTLED_NS
        self.stats: dict[str, os.stat_result] = {}
        self.prints: dict[str, str | None] = {}
        self.photos = self._load()

    def known(self, image_id: str) -> list | None:
        """Facts [[class id, area, [filter, ...]], ...] of an unchanged photo, else None."""
        if self.files is None:
            return None
        # Taken before anything is read: what changes meanwhile is read again next time.
        now = self.prints[image_id] = self._fingerprint(image_id)
        kept = self.photos.get(image_id)
        return kept[1] if kept is not None and now is not None and kept[0] == now else None

    def add(self, image_id: str, facts: Sequence) -> None:
        """Keep what was read of a photo."""
        if self.files is not None and self.prints.get(image_id) is not None:
            self.photos[image_id] = [self.prints[image_id], facts]
            self.changed = True

    def save(self) -> None:
        """Write what was added; one line on the terminal where that is not possible."""
        if not self.changed:
            return
        body = json.dumps(self.photos, separators=(",", ":"))
        head = json.dumps(self.owner | {"sha256": hashlib.sha256(body.encode()).hexdigest()})
        try:
            write_text(self.path, f"{head}\n{body}\n")
        except OSError as error:
            _say(f"{self.path.parent}: not writable ({error.strerror}); masks are read again "
                 "each time")
        self.changed = False

    def _load(self) -> dict[str, list]:
        try:
            head, body, _ = self.path.read_text(encoding="utf-8").split("\n")
            owner = json.loads(head)
            digest = owner.pop("sha256")
            if owner != self.owner:
                _say(f"{self.path}: of another data set or version; masks are read again")
            elif digest != hashlib.sha256(body.encode()).hexdigest():
                _say(f"{self.path}: damaged; masks are read again")
            else:
                return json.loads(body)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            _say(f"{self.path}: damaged; masks are read again")
        return {}

    def _fingerprint(self, image_id: str) -> str | None:
        """Hash of names, sizes and times; None where a file is missing or was just written."""
        facts = []
        for path in self.files(image_id):  # type: ignore[misc]
            name = str(path)
            try:
                stat = self.stats.get(name) or os.stat(name)
            except OSError:
                return None
            self.stats[name] = stat
            if stat.st_mtime_ns > self.settled:
                return None
            facts.append((name.removeprefix(self.root), stat.st_size, stat.st_mtime_ns))
        return hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()


def _say(line: str) -> None:
    print(line, file=sys.stderr)
