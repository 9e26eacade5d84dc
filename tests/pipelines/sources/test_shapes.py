# SPDX-License-Identifier: Apache-2.0
"""The embedded data set: pure functions of the seed, and no class to be told by colour."""

import hashlib

import numpy as np
import pytest

from pipelines import DataError
from pipelines.sources.shapes import ShapesSource


def shapes():
    return ShapesSource(image_size=65, count=300)


def digest(source, names):
    return [hashlib.sha256(source.read_image(n).tobytes() + source.read_mask(n).tobytes())
            .hexdigest() for n in names]


def test_pictures_are_functions_of_seed_and_number():
    names = shapes().image_ids("all")[:6]
    assert digest(shapes(), names) == digest(shapes(), names[::-1])[::-1]
    assert digest(shapes(), names) != digest(ShapesSource(65, 300, seed=1), names)


def test_splits_are_disjoint():
    source = shapes()
    train, val = set(source.image_ids("train")), set(source.image_ids("val"))
    assert not train & val and train | val == set(source.image_ids("all"))
    for bad in (lambda: source.image_ids("nope"), lambda: source.read_mask("shapes-999999"),
                lambda: source.check("other")):
        with pytest.raises(DataError):
            bad()


@pytest.fixture(scope="module")
def objects():
    """(class, mean colour) of every object in 300 pictures, and the classes by picture."""
    source, found, by_picture = shapes(), [], []
    for name in source.image_ids("all"):
        image, mask = source.read_image(name), source.read_mask(name)
        classes = [c for c in np.unique(mask) if c]
        by_picture.append(classes)
        found += [(c, image[mask == c].mean(0)) for c in classes]
    return found, by_picture


def test_every_picture_holds_several_classes_and_every_class_is_common(objects):
    found, by_picture = objects
    assert all(2 <= len(classes) <= 4 for classes in by_picture)
    counts = np.bincount([c for c, _ in found], minlength=21)[1:]
    assert counts.min() > 20


def test_colour_gives_no_class_away(objects):
    found, _ = objects
    classes = np.array([c for c, _ in found])
    colours = np.array([colour for _, colour in found])
    half = len(found) // 2
    means = np.array([colours[:half][classes[:half] == c].mean(0) for c in range(1, 21)])
    guess = 1 + np.argmin(((colours[half:, None] - means) ** 2).sum(-1), axis=1)
    assert (guess == classes[half:]).mean() < 0.12  # chance is 0.05
