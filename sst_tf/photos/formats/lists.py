# SPDX-License-Identifier: Apache-2.0
"""JSON lists that are written as their items come: those of many photos do not fit in memory."""

import json
from collections.abc import Iterable
from typing import Any, TextIO


def write_list(file: TextIO, items: Iterable[Any]) -> None:
    """A list, an item a line."""
    before = "["
    for one in items:
        file.write(f"{before}\n{json.dumps(one)}")
        before = ","
    file.write("[]" if before == "[" else "\n]")
