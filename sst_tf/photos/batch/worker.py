# SPDX-License-Identifier: Apache-2.0
"""A process that holds the model and answers one block of photos after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from pyarrow import fs

from pipelines.errors import DataError, UserError
from pipelines.reading.photos import load_photo
from pipelines.reading.run_lengths import run_lengths
from sst_tf.photos.batch import places
from sst_tf.photos.batch.output import Output
from sst_tf.photos.class_card import ClassCard
from sst_tf.photos.predictor import Predictor, Scene


@dataclass(frozen=True)
class Question:
    """What is asked of every photo.

    Attributes:
        model: a preset or a run directory, as `Predictor.from_preset` takes it.
        weights: of the preset's backbone.
        cards: of the classes that are looked for.
        empty, tiles: as of `Predictor`.
        masks: "rle" (run lengths in the rows), "png" (an index picture in the row), "files" (the
            same as a file) or "none".
        batch: photos that go through the model at once.
    """

    model: str
    weights: str | None
    cards: Sequence[ClassCard]
    empty: bool
    tiles: int
    masks: str
    batch: int


class Worker:
    """One model; its calls answer a block and write its rows.

    Args:
        question: what is asked.
        output: where rows go.
        filesystem: of the rows' paths; by the paths themselves if None.
    """

    def __init__(self, question: Question, output: str, filesystem: fs.FileSystem | None):
        self.question, self.output = question, Output(output)
        self.filesystem = filesystem
        self.done, _ = self.output.done()  # one that takes a killed worker's place skips its rows
        self.predictor = Predictor.from_preset(question.model, question.weights, question.empty,
                                               question.tiles)
        for card in question.cards:
            self.predictor.add_card(card)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Answer the photos of a block that have no row; says how many photos the block has."""
        rows = list(self._rows([row for row in block.to_pylist()
                                if row["photo"] not in self.done]))
        if rows:
            self.output.write(rows)
        return pa.table({"photos": [len(block)]})

    def _rows(self, asked) -> Iterator[dict[str, Any]]:
        size = self.question.batch
        for part in (asked[i:i + size] for i in range(0, len(asked), size)):
            images, errors = {}, {}
            for row in part:
                try:
                    images[row["photo"]] = load_photo(self._bytes(row), row["photo"])
                except DataError as error:
                    errors[row["photo"]] = str(error)
            scenes = self.predictor.each_scene(list(images.values()))
            for row in part:  # in the block's order, so that the file's name is always the same
                name = row["photo"]
                yield ({"photo": name, "error": errors[name]} if name in errors
                       else self._answer(name, next(scenes)))

    def _bytes(self, row):
        if row["data"] is not None:
            return row["data"]
        if row["path"] is None:
            raise DataError(f"{row['photo']}: no photo in this row")
        try:
            filesystem, path = ((self.filesystem, row["path"]) if self.filesystem
                                else places.opened(row["path"]))
            with filesystem.open_input_stream(path) as file:
                return file.read()
        except (OSError, pa.ArrowInvalid, UserError) as error:
            raise DataError(f"{row['photo']}: not readable ({error})") from None

    def _answer(self, name: str, scene: Scene) -> dict[str, Any]:
        masks = self.question.masks
        index = (cv2.imencode(".png", scene.index)[1].tobytes()
                 if masks in ("png", "files") else b"")
        if masks == "files":
            try:
                self.output.write_mask(_inside(name), index)
            except DataError as error:
                return {"photo": name, "error": str(error)}
        classes = []
        for number, one in enumerate(scene.predictions.values(), start=1):
            mask = (scene.index == number).astype(np.uint8)
            classes.append({"name": one.name, "score": one.score, "present": one.present,
                            "area": int(mask.sum()),
                            "counts": run_lengths(mask)["counts"] if masks == "rle" else None})
        height, width = scene.index.shape
        return {"photo": name, "height": height, "width": width, "classes": classes,
                "index": index if masks == "png" else None, "error": None}


def _inside(name):
    """A photo's id as a path that stays in its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise DataError(f"{name}: no name for a file of its mask; choose other --masks")
    return str(path)
