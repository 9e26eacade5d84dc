# SPDX-License-Identifier: Apache-2.0
"""What is kept in memory of work done, within a number of bytes."""

from collections.abc import Hashable
from typing import Any


class Kept:
    """Values by key; what no longer fits is not kept and has to be made again.

    First come, first kept: work that goes through the same photos in the same order again and
    again finds a share of them, where dropping the least recently used would find none.

    Args:
        limit: bytes.

    Attributes:
        used: bytes kept now.
    """

    def __init__(self, limit: float):
        self.limit, self.used = limit, 0
        self._values: dict[Hashable, tuple[Any, int]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def fits(self, size: int) -> bool:
        """Is there room for so many bytes?"""
        return self.used + size <= self.limit

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of so many bytes if there is room."""
        if key not in self._values and self.fits(size):
            self._values[key] = value, size
            self.used += size

    def get(self, key: Hashable) -> Any:
        """The value, or None."""
        return self._values.get(key, (None, 0))[0]

    def pop(self, key: Hashable) -> Any:
        """The value, which is then no longer kept."""
        value, size = self._values.pop(key)
        self.used -= size
        return value
