# SPDX-License-Identifier: Apache-2.0
"""Numbered versions under a model's folder, as servers watch them: whole, or not there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipelines.writing import making


class Version:
    """A version in the making: fill `folder`, which is its final place once the block ends."""

    def __init__(self, folder: Path):
        self.folder = folder


@contextlib.contextmanager
def writing(output: str | Path) -> Iterator[Version]:
    """`Version` to fill; it moves to the next free number under `output` in one step.

    An error inside the block leaves nothing behind.
    """
    output = Path(output)
    with making(output) as partial:
        version = Version(partial / "model")
        version.folder.mkdir()
        yield version
        version.folder = _publish(version.folder, output)


def folders(output: str | Path) -> dict[int, Path]:
    """{version number: its folder} under a model's folder, ascending.

    Zeros may lead a number, as servers allow; of two folders of one number the shorter name counts.
    """
    there = sorted((p for p in _numbered(output) if p.is_dir()),
                   key=lambda p: (int(p.name), -len(p.name)))
    return {int(p.name): p for p in there}


def numbers(output: str | Path) -> list[int]:
    """Version numbers under a model's folder, ascending."""
    return list(folders(output))


def _numbered(output):
    return [p for p in Path(output).iterdir() if p.name.isascii() and p.name.isdecimal()]


def _publish(folder, output):
    while True:
        # A file of that name is no version, but its number is taken.
        target = output / str(max((int(p.name) for p in _numbered(output)), default=0) + 1)
        try:
            os.rename(folder, target)
        except OSError:
            if not target.exists():  # else another export was faster: take the next number
                raise
            continue
        return target


def megabytes(folder: str | Path) -> float:
    """Size of all files in a folder, in millions of bytes."""
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / 1e6
