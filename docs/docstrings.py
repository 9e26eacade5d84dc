# SPDX-License-Identifier: Apache-2.0
"""An extension of griffe: our docstrings have no empty line between their sections."""

import re
from typing import Any

import griffe

SECTION = re.compile(r"\n(?=(?:Args|Attributes|Returns|Yields|Raises):\n)")


class Sections(griffe.Extension):
    """Gives each section of a docstring the empty line before it that griffe asks for."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = SECTION.sub("\n\n", obj.docstring.value)
