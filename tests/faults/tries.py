# SPDX-License-Identifier: Apache-2.0
"""Tries of a command under a fault, judged by what is left in its folder."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.faults import contents
from tests.faults.commands import Command
from tests.faults.nursery import Ended, Nursery

SLOW = 5.0  # seconds; of such a command one undisturbed run has to do
VERSIONS = "models"  # its numbered folders are whole or not there


@dataclasses.dataclass
class Tally:
    """A row of the table.

    Attributes:
        name: of the fault, or of the command that was killed.
        tries: kills, or other faults.
        changes: kills at a change of a file.
        untold: faults that did not end in one line; of kills, starts afterwards that failed.
        lost, half, wrong: files that were missing in the end, not whole, with another content.
        stale: files in the end that no undisturbed run leaves.
        notes: what happened, a line each.
    """

    name: str
    tries: int = 0
    changes: int = 0
    untold: int = 0
    lost: int = 0
    half: int = 0
    wrong: int = 0
    stale: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: "Tally") -> None:
        for one in dataclasses.fields(self)[1:]:
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def bad(self) -> int:
        return self.untold + self.lost + self.half + self.wrong + self.stale

    def note(self, column: str, text: str, count: int = 1) -> None:
        if count:
            setattr(self, column, getattr(self, column) + count)
            self.notes.append(f"{self.name}: {column}: {text}")


class Tries:
    """Folders of inputs and tries, and of each command what an undisturbed run leaves."""

    def __init__(self, nursery: Nursery, folder: Path):
        self.nursery, self.folder = nursery, folder
        self.inputs = folder / "inputs"
        self._references: dict[str, tuple[Ended, dict[str, object]]] = {}
        self._number = 0
        self.inputs.mkdir()
        made = nursery.run(Command("", "tests.faults.commands:make_inputs",
                                   lambda inputs, _: [inputs]).job(self.inputs, self.inputs))[0]
        if made.status:
            raise RuntimeError(made.err)

    def fresh(self, name: str = "try") -> Path:
        """A new, empty folder."""
        self._number += 1
        folder = self.folder / f"{name}{self._number}"
        folder.mkdir(parents=True)
        return folder

    def reference(self, command: Command) -> tuple[Ended, dict[str, object]]:
        """How an undisturbed run ends, and {file: content} that it leaves."""
        if command.name not in self._references:
            for _ in range(2):  # the first takes longer than those after it
                folder = self.fresh()
                ended = self.nursery.run(command.job(self.inputs, folder))[0]
                if ended.status:
                    raise RuntimeError(f"{command.name}: {ended.status} {ended.err}")
                if ended.seconds > SLOW:
                    break
            self._references[command.name] = ended, {
                name: contents.content(path, folder, self.inputs)
                for name, path in contents.files(folder).items()}
            shutil.rmtree(folder)
        return self._references[command.name]

    def look(self, command: Command, folder: Path, tally: Tally) -> None:
        """Right after a fault: is everything that has its name whole?"""
        for path in contents.files(folder).values():
            try:
                contents.content(path, folder)
            except contents.Half as half:
                tally.note("half", str(half))
        expected = {name.removeprefix(f"{VERSIONS}/1/") for name in self.reference(command)[1]
                    if name.startswith(f"{VERSIONS}/1/")}
        for version in (folder / VERSIONS).glob("[0-9]*"):
            if missing := expected - contents.files(version).keys():
                tally.note("half", f"version {version.name} lacks {sorted(missing)[:3]}")

    def finish(self, command: Command, folder: Path, tally: Tally, **how) -> None:
        """Start again, undisturbed; compare with the reference; remove the folder."""
        ended = self.nursery.run(command.job(self.inputs, folder, **how))[0]
        self.told(ended, tally, 0)
        self.compare(command, folder, tally)
        shutil.rmtree(folder)

    def told(self, ended: Ended, tally: Tally, *statuses: int) -> None:
        """A status that was expected, and no trace of a program's own error."""
        if ended.status not in statuses or "Traceback (most" in ended.err:
            tally.note("untold", f"status {ended.status}: {ended.err.strip()[-600:]}")

    def compare(self, command: Command, folder: Path, tally: Tally, but: str = "//",
                inputs: Path | None = None) -> None:
        """Hold a folder against what an undisturbed run leaves.

        Args:
            but: names with this start are left out.
            inputs: what the command read, if not this object's.
        """
        _, expected = self.reference(command)
        # A kill after a version's last step: the next start makes another, equal one.
        found = {name: path for name, path in contents.files(folder).items()
                 if _counts(name, but) and not _is_further(name)}
        known = {name for name in expected if _counts(name, but)}
        for name in sorted(known - found.keys()):
            tally.note("lost", name)
        for name in [*sorted(found.keys() - known), *contents.temporary(folder)]:
            tally.note("stale", name)
        for name in sorted(known & found.keys()):
            try:
                if not contents.same(contents.content(found[name], folder, inputs or self.inputs),
                                     expected[name]):
                    tally.note("wrong", name)
            except contents.Half as half:
                tally.note("half", str(half))


def _counts(name, but):
    return contents.UNREAD.search(name) is None and not name.startswith(but)


def _is_further(name):
    parts = name.split("/")
    return len(parts) > 1 and parts[0] == VERSIONS and parts[1].isdigit() and parts[1] != "1"


def rows(tallies: list[Tally]) -> Iterator[str]:
    """The table in Markdown."""
    yield ("| fault | tries | of them at a change of a file | not told, or next start failed | "
           "lost | half-written | wrong | left behind |")
    yield "|---|---|---|---|---|---|---|---|"
    for one in tallies:
        yield (f"| {one.name} | {one.tries} | {one.changes or ''} | {one.untold} | {one.lost} | "
               f"{one.half} | {one.wrong} | {one.stale} |")
