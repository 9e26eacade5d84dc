# SPDX-License-Identifier: Apache-2.0
"""Marks of several classes in one file: the class's name selects."""

import json

import numpy as np
import pytest

from pipelines.errors import DataError
from sst_tf.photos.annotations import mask_of

PHOTO = np.zeros((40, 60, 3), np.uint8)
SQUARES = {"mug": (2, 2, 9, 9), "lid": (30, 20, 49, 29)}  # x0, y0, x1, y1, inclusive


def labelme(path, labels):
    path.write_text(json.dumps({"shapes": [
        {"label": label, "shape_type": "rectangle",
         "points": [SQUARES[label][:2], SQUARES[label][2:]]} for label in labels]}))
    return path


def coco(path, labels):
    def polygon(x0, y0, x1, y1):
        return [[x0, y0, x1, y0, x1, y1, x0, y1]]

    path.write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(labels)],
        "annotations": [{"id": i, "image_id": 1, "category_id": i,
                         "segmentation": polygon(*SQUARES[name])}
                        for i, name in enumerate(labels)]}))
    return path


@pytest.mark.parametrize("write", [labelme, coco])
def test_the_class_s_name_selects_among_several_labels(tmp_path, write):
    path = write(tmp_path / "a.json", ["mug", "lid"])
    for name, (x0, y0, x1, y1) in SQUARES.items():
        mask, how = mask_of(path, PHOTO, label=name)
        expected = np.zeros((40, 60), np.uint8)
        expected[y0:y1 + 1, x0:x1 + 1] = 1
        np.testing.assert_array_equal(mask, expected)
        assert how == "polygon"
    for label in ("pot", None):
        with pytest.raises(DataError, match="lid, mug") as caught:
            mask_of(path, PHOTO, label=label)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [labelme, coco])
def test_a_single_label_is_taken_whatever_the_class_is_called(tmp_path, write):
    path = write(tmp_path / "a.json", ["mug"])
    for label in ("cup", "mug", None):
        assert mask_of(path, PHOTO, label=label)[0].sum() == 64


def test_a_file_without_shapes(tmp_path):
    with pytest.raises(DataError, match="no shape"):
        mask_of(labelme(tmp_path / "a.json", []), PHOTO, label="mug")
