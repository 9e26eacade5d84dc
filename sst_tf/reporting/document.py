# SPDX-License-Identifier: Apache-2.0
"""A page as parts of plain text; what a name holds is shown, never read as markup."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 6."""

    kind: ClassVar[str] = "heading"
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Items:
    """A list, (term, text) an item; no term where it is empty."""

    kind: ClassVar[str] = "items"
    items: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Items":
        """Items without terms."""
        return cls([("", line) for line in lines])


@dataclass(frozen=True)
class Table:
    """Headings of the columns, and rows of as many cells."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A picture file, its path relative to the page, with what is to be seen in it."""

    kind: ClassVar[str] = "picture"
    path: str
    text: str


Part = Heading | Paragraph | Items | Table | Picture


def markdown(parts: Iterable[Part]) -> str:
    """The page as GitHub's Markdown, whose every text is escaped."""
    return "\n\n".join(_MARKDOWN[part.kind](part) for part in parts) + "\n"


def escape(text: str) -> str:
    r"""Markdown that shows `text` as it is, on one line.

    An underscore inside a word is left alone: it means nothing there.
    """
    text = html.escape(" ".join(str(text).split()), quote=False)
    text = re.sub(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
    # Signs that open a heading, a list or an underline at the start of a line.
    return re.sub(r"^(\d*)(#+|[-+=]+|[.)])(?=\s|$)", r"\1\\\2", text)


def _row(cells):
    return "| " + " | ".join(map(escape, cells)) + " |"


def _table(table):
    return "\n".join([_row(table.head), "|---" * len(table.head) + "|", *map(_row, table.rows)])


_MARKDOWN = {
    "heading": lambda part: f"{'#' * part.level} {escape(part.text)}",
    "paragraph": lambda part: escape(part.text),
    "items": lambda part: "\n".join(
        f"- **{escape(term)}**: {escape(text)}" if term else f"- {escape(text)}"
        for term, text in part.items),
    "table": _table,
    "picture": lambda part: f"![{escape(part.text)}]({quote(part.path)})\n\n{escape(part.text)}",
}
