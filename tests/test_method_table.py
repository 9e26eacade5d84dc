# SPDX-License-Identifier: Apache-2.0
"""docs/method.md: every equation of the paper leads to a name that exists, and to no other."""

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs" / "method.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and "`" in line]


def test_all_equations_are_there():
    numbers = {int(n) for row in ROWS for n in re.findall(r"\d+", row[0])
               if re.fullmatch(r"[\d, ]+", row[0])}
    assert numbers == set(range(1, 15))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[3].strip('`')}")
def test_the_name_is_defined_in_its_file(row):
    path, name = row[2].strip("`"), row[3].strip("`")
    assert (ROOT / path).is_file()
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    found = reduce(getattr, name.split("."), module)
    assert callable(found) and found.__module__ == module.__name__
    equation = row[0].split(",")[0]
    if cited := re.search(r"(Eq\.|sections?) [\d., ]*\d", row[0]):  # of a compared system's paper
        assert cited.group() in " ".join(found.__doc__.split())
    if equation.isdigit():  # and its docstring, or the class's, says which equation it is
        owner = reduce(getattr, name.split(".")[:-1], module)
        text = f"{found.__doc__} {owner.__doc__}"
        assert re.search(rf"Eq\. [\d, to]*\b{equation}\b|Eq\. \d+ to \d+", text), text
