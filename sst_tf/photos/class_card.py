# SPDX-License-Identifier: Apache-2.0
"""Class cards: what tuning left of a class, in a small file. Tuned once, used ever after."""

import io
import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipelines.errors import DataError, UserError
from pipelines.reading.arrays import expected, open_arrays
from pipelines.writing import write_bytes

FORMAT = 1
UNWRITABLE = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's control characters, halves of one, line ends


def refuse_one_name(names: Sequence[str]) -> None:
    """Answers tell classes apart by their names.

    Raises:
        UserError: two cards, or a card and a support, of one name.
    """
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise UserError(f"two classes are called {twice[0]!r}; make one of their cards anew under "
                        "another --name")


def unwritable(name: str) -> bool:
    """Whether the name of a class has characters that break lines, tables or files."""
    return any(unicodedata.category(one) in UNWRITABLE for one in name)


def _unknown():
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class ClassCard:
    """A tuned class.

    Attributes:
        name: of the class.
        prototype: tuned prototypes of K supports [K, C] float32.
        untuned: the same without the step [K, C].
        score: IoU of each support's own segmentation before the step [K], the weights of Eq. 14.
        score_after: after the step [K].
        thumbnail: PNG bytes of the first support, the object tinted.
        how: how each support was marked, such as "mask" or "box, by GrabCut".
        model_sha256: of the model file; no other model can read the prototypes.
        others: IoU with which the other photos find each one's mark [K]; empty where unknown.
        cells: area of each mark in cells of the features [K]; empty where unknown.
    """

    name: str
    prototype: np.ndarray
    untuned: np.ndarray
    score: np.ndarray
    score_after: np.ndarray
    thumbnail: bytes
    how: tuple
    model_sha256: str
    others: np.ndarray = field(default_factory=_unknown)
    cells: np.ndarray = field(default_factory=_unknown)

    @property
    def shots(self) -> int:
        """How many marked photos it was made of."""
        return len(self.prototype)

    def save(self, path: str | Path) -> Path:
        """Write the card (.npz), whole or not at all; returns its path."""
        facts = {"format": FORMAT, "name": self.name, "how": list(self.how),
                 "model_sha256": self.model_sha256}
        data = io.BytesIO()  # whatever the path ends in: NumPy would add a suffix
        np.savez_compressed(
            data, facts=json.dumps(facts), prototype=self.prototype, untuned=self.untuned,
            score=self.score, score_after=self.score_after, others=self.others, cells=self.cells,
            thumbnail=np.frombuffer(self.thumbnail, np.uint8))
        write_bytes(path, data.getvalue())
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, model_sha256: str | None = None) -> "ClassCard":
        """Read a card.

        Raises:
            DataError: no card, or one of another model than `model_sha256`.
        """
        with expected(path, "class card"), open_arrays(path) as arrays:
            facts = json.loads(str(arrays["facts"]))
            card = cls(facts["name"], arrays["prototype"], arrays["untuned"], arrays["score"],
                       arrays["score_after"], arrays["thumbnail"].tobytes(), tuple(facts["how"]),
                       facts["model_sha256"],
                       *(arrays.get(name, _unknown()) for name in ("others", "cells")))
        if not isinstance(card.name, str) or unwritable(card.name):
            raise DataError(f"{path}: a class whose name has control characters")
        shapes = {card.prototype.shape, card.untuned.shape}
        if (facts.get("format") != FORMAT or len(shapes) != 1 or card.prototype.ndim != 2
                or card.score.shape != card.prototype.shape[:1]):
            raise DataError(f"{path}: a class card of another format; show the model the photos "
                            "again")
        if model_sha256 is not None and card.model_sha256 != model_sha256:
            raise DataError(f"{path}: class {card.name!r} was tuned for another model; show "
                            "this one its photos again")
        return card
