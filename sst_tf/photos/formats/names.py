# SPDX-License-Identifier: Apache-2.0
"""Which of the photos an annotation file means: folders, endings and uploads change names."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pipelines.errors import DataError
from sst_tf.photos.inputs import PHOTOS


def find(name: str, others: Sequence[str], what: str) -> str | None:
    """The one of `others` that `name` means, or None.

    The last folders that both have must agree; the name that agrees in most of them is meant. A
    name without an ending (YOLO) fits any. Label Studio's uploads put eight letters before a name
    and take blanks and the like out of it.

    Args:
        name: of a photo, as a file or an annotation file has it.
        others: as the other side has them.
        what: the annotation file, for messages.
    Raises:
        DataError: several fit as well.
    """
    for plain in (_parts, _uploaded):
        wanted, best, found = plain(name), 1, []
        for other in others:
            same = _common(wanted, plain(other))
            if same > best:
                best, found = same, [other]
            elif same == best:
                found.append(other)
        exact = [other for other in found if plain(other) == wanted]
        if len(found) > 1 and len(exact) != 1:
            raise DataError(f"{what}: {name} may be {found[0]} or {found[1]}; keep the folders "
                            "that were annotated")
        if found:
            return (exact or found)[0]
    return None


def _parts(name):
    return [part for part in PurePosixPath(name.replace("\\", "/")).parts
            if part not in ("..", ".", "/")]


def _uploaded(name):
    *folders, last = _parts(name) or [""]
    return [*folders, re.sub(r"[^\w.-]", "", re.sub(r"^[0-9a-f]{8}-", "", last).replace(" ", "_"))]


def _common(one, other):
    """How many of the last parts agree."""
    if not one or not other:
        return 0
    last = [parts[-1] for parts in (one, other)]
    if not all(name.lower().endswith(PHOTOS) for name in last):
        last = [str(PurePosixPath(name).with_suffix("")) if name.lower().endswith(PHOTOS) else name
                for name in last]
    if last[0] != last[1]:
        return 0
    count = 1
    for folder, another in zip(reversed(one[:-1]), reversed(other[:-1]), strict=False):
        if folder != another:
            break
        count += 1
    return count
