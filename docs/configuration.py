# SPDX-License-Identifier: Apache-2.0
"""Write docs/configuration.md: python docs/configuration.py

Every key, its type, default and meaning come from the dataclasses of `sst_tf.config.sections` and
their docstrings, so the page cannot say anything else than the code.
"""

import dataclasses
import inspect
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sst_tf.config.sections import SECTIONS, JoinConfig

PAGE = Path(__file__).with_suffix(".md")
INTRODUCTION = """\
<!-- Written by docs/configuration.py from sst_tf/config/sections.py; `make docs` writes it. -->

# Configuration

One YAML file with the sections below describes a run. Every key has a type and a default. A key
that the file leaves out has its default; a key that does not exist is an error. On the
command line each key is `--section.key value`, such as `--tuner.steps 0`, and wins over the file.

`sst train --help` prints the same keys. `configs/` has a file for each data set that we train on;
`configs/paper_pascal5i_*.yaml` and `configs/paper_coco20i_*.yaml` hold the published settings.

Two runs count as the same if all keys that can change a number are equal. A key marked *place* says
where things lie or how many processes share the work; it changes no number and does not count. A
key marked *file* counts by what is in the file, wherever it lies, one marked *whether* by whether
it is set.
"""
BOUNDS = {"least": "at least {}", "above": "above {}", "below": "below {}", "most": "at most {}"}


def type_text(hint: Any) -> str:
    """A type as a reader of YAML says it."""
    if hint is type(None):
        return "unset"
    if get_origin(hint) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(type_text(one) for one in get_args(hint))
    if get_origin(hint) is list:
        return f"list of {type_text(get_args(hint)[0])}"
    names = {str: "text", int: "integer", float: "number", bool: "true or false",
             JoinConfig: "[data sets](#a-data-set-of-datajoin)"}
    return names[hint]


def default_text(field: dataclasses.Field) -> str:
    """A default as YAML has it."""
    factory = field.default_factory
    value = field.default if factory is dataclasses.MISSING else factory()
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value != "" else '`""`'


def meanings(section: type) -> dict[str, str]:
    """{key: what its class's docstring says}; keys that share an entry share its text."""
    entries = inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")[2]
    texts: dict[str, str] = {}
    for names, text in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n     .*)*)", entries, re.M):
        texts |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return texts


def rows(section: type) -> list[str]:
    """One table row a key.

    Raises:
        KeyError: a key whose meaning the docstring does not tell.
    """
    hints, texts, lines = get_type_hints(section), meanings(section), []
    for field in dataclasses.fields(section):
        bounds = [text.format(field.metadata[name]) for name, text in BOUNDS.items()
                  if name in field.metadata]
        kind = field.metadata.get("kind", "number")
        about = texts[field.name] + ("" if kind == "number" else f" (*{kind}*)")
        lines.append(f"| `{field.name}` | {', '.join([type_text(hints[field.name]), *bounds])} | "
                     f"{default_text(field)} | {about[0].upper()}{about[1:]} |")
    return lines


def table(title: str, section: type) -> str:
    """Title, one sentence, the keys."""
    head = (section.__doc__ or "").splitlines()[0]
    return "\n".join([f"## {title}", "", head, "", "| key | type | default | meaning |",
                      "|---|---|---|---|", *rows(section), ""])


def page() -> str:
    """The whole page as Markdown."""
    tables = [table(name, section) for name, section in SECTIONS.items()]
    tables.insert(1, table("A data set of data.join", JoinConfig))
    return "\n".join([INTRODUCTION, *tables])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
