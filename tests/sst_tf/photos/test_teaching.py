# SPDX-License-Identifier: Apache-2.0
"""What marked photos say about each other."""

import numpy as np
import pytest

from sst_tf import predict
from sst_tf.photos.class_card import ClassCard
from sst_tf.photos.predictor import Predictor
from sst_tf.photos.teaching import advice
from tests.sst_tf.photos.test_predictor import BLUE, GREEN, run, scene, write

__all__ = ["run"]  # a fixture


@pytest.fixture
def predictor(run):
    return Predictor.from_run(run.folder)


def scenes():
    """Three photos of the network's own size, so that nothing is resized."""
    return [scene(65, 65, colour, box) for colour, box in (
        (GREEN, (5, 5, 35, 40)), (BLUE, (20, 10, 60, 50)), (GREEN, (30, 30, 60, 60)))]


def iou(found, mask):
    return (found & (mask == 1)).sum() / (found | (mask == 1)).sum()


def test_each_photo_is_found_by_the_others(predictor, monkeypatch):
    shown = scenes()
    predictor.set_support([image for image, _ in shown], [mask for _, mask in shown])
    middle = float(np.median(predictor.predict(shown[0][0]).probability))  # of a random model
    monkeypatch.setattr(predictor.operating_point, "threshold", lambda shots: middle + shots / 1e6)
    card = predictor.set_support([image for image, _ in shown], [mask for _, mask in shown])
    for i, (image, mask) in enumerate(shown):
        others = [one for j, one in enumerate(shown) if j != i]
        alone = Predictor(predictor.config, predictor.model, predictor.model_sha256,
                          predictor.operating_point)
        alone.set_support([image for image, _ in others], [mask for _, mask in others])
        found = alone.predict(image).probability >= alone.threshold(2)
        assert 0 < card.others[i] == pytest.approx(iou(found, mask), abs=1e-6)
    assert np.isnan(predictor.set_support(*shown[0]).others).all()


def test_a_mark_is_measured_in_cells(predictor):
    """65 pixels are 9 x 9 cells."""
    image, _ = scene(65, 65)
    for side, cells in ((65, 81), (13, 81 / 25), (5, 81 / 169)):
        mask = np.zeros((65, 65), np.uint8)
        mask[:side, :side] = 1
        assert predictor.set_support(image, mask).cells == pytest.approx([cells])


def test_a_card_keeps_what_was_found_and_reads_one_without(predictor, tmp_path):
    shown = scenes()
    card = predictor.set_support([image for image, _ in shown], [mask for _, mask in shown])
    kept = ClassCard.load(card.save(tmp_path / "card.npz"))
    np.testing.assert_array_equal(kept.others, card.others)
    np.testing.assert_array_equal(kept.cells, card.cells)
    with np.load(tmp_path / "card.npz") as arrays:
        np.savez(tmp_path / "old.npz", **{name: arrays[name] for name in arrays.files
                                          if name not in ("others", "cells")})
    assert ClassCard.load(tmp_path / "old.npz").others.size == 0


@pytest.mark.parametrize("turns, cells, own, others, expected", [
    ([0, 10, 20], [9, 9, 9], [0.8, 0.8, 0.8], [0.6, 0.6, 0.5], []),
    ([0, 80, 10], [9, 9, 9], [0.8, 0.8, 0.8], [0.6, 0.1, 0.6],
     ["b disagrees: the other photos find its mark with IoU 0.10, and each other's with 0.60"]),
    ([0], [0.4], [0.0], [np.nan], ["a: the mark is smaller than a cell"]),
    ([0], [9], [0.1], [np.nan], ["a: the model hardly finds the mark in its own photo (IoU 0.10)"]),
    ([0, 80], [9, 9], [0.8, 0.8], [0.1, 0.05], ["a and b do not find each other's marks"]),
    ([0, 80], [9, 9], [0.8, 0.8], [0.1, 0.5], [])])
def test_advice(turns, cells, own, others, expected):
    """Prototypes of a plane, turned by degrees."""
    angles = np.radians(turns)
    card = ClassCard("mug", np.stack([np.cos(angles), np.sin(angles)], 1), np.zeros((1, 2)),
                     np.array(own), np.array(own), b"", (), "m", np.array(others), np.array(cells))
    found = advice("abc"[:len(cells)], card)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


def test_the_command_says_where_to_look(run, tmp_path, capsys):
    image, mask = scene(65, 65, box=(30, 30, 33, 33))
    photo, mark = write(tmp_path / "mug.png", image), write(tmp_path / "mark.png", mask)
    predict.main(["--run_dir", str(run.folder), "--support", f"{photo}={mark}"])
    printed = capsys.readouterr().out
    assert f"look: {photo}: the mark is smaller than a cell of the features; crop closer" in printed
