# SPDX-License-Identifier: Apache-2.0
"""Crops of large photos: where they lie, and that their answers come back to where they were."""

import json

import numpy as np
import pytest

from pipelines.reading.transforms import resize_image
from sst_tf import predict
from sst_tf.photos import tiles
from sst_tf.photos.predictor import Predictor
from tests.sst_tf.photos.test_predictor import run, scene, write
from tests.sst_tf.test_commands import fails

__all__ = ["run"]  # a fixture


@pytest.mark.parametrize("times", [1, 2, 3])
def test_crops_cover_the_frame_and_overlap_by_half(times):
    side, covered = 32, np.zeros((32 * times, 32 * times), int)
    for row, column in tiles.corners(side, times):
        covered[row:row + side, column:column + side] += 1
    assert covered.min() == 1 and len(tiles.corners(side, times)) == (2 * times - 1) ** 2
    if times > 1:
        assert (covered[side // 2:-side // 2, side // 2:-side // 2] == 4).mean() > 0.9


@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_merged_crops_of_a_photo_are_the_photo(resize):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    crops = tiles.cut(image, 32, 3, resize)
    assert crops.shape == (25, 32, 32, 3)
    merged = tiles.merge(crops[..., 0].numpy().astype(np.float32) / 255, 3)
    np.testing.assert_allclose(merged, resize_image(image, 96, resize)[..., 0] / 255, atol=1e-6)


def test_an_answer_weighs_most_in_the_middle_of_its_crop():
    answers = np.zeros((9, 32, 32), np.float32)
    answers[4] = 1  # the crop in the middle
    merged = tiles.merge(answers, 2)
    assert merged[32, 32] > 0.85 and 0 < merged[18, 18] < 0.1 and merged[2, 2] == 0


@pytest.fixture
def predictor(run):
    return Predictor.from_run(run.folder, tiles=2)


def test_crops_and_the_whole_photo_answer_together(run, predictor):
    """A photo of twice the network's size: each crop is a photo of its own."""
    image = scene(130, 130, box=(20, 20, 110, 100))[0]
    whole = Predictor.from_run(run.folder)
    for one in (predictor, whole):
        one.set_support(*scene(65, 65), name="mug")
    crops = [whole.predict(image[row:row + 65, column:column + 65]).probability
             for row, column in tiles.corners(65, 2)]
    expected = np.sqrt(whole.predict(image).probability * tiles.merge(np.stack(crops), 2))
    np.testing.assert_allclose(predictor.predict(image).probability, expected, atol=1e-4)


def test_the_command_refuses_no_tiles_and_answers_anew_with_others(run, tmp_path, capsys):
    image, mask = scene(65, 65)
    photo, mark = write(tmp_path / "mug.png", image), write(tmp_path / "mark.png", mask)
    query = write(tmp_path / "query.png", scene(130, 130)[0])
    words = ["--run_dir", str(run.folder), "--support", f"{photo}={mark}", "--input", str(query),
             "--output", str(tmp_path / "out")]
    told = fails(capsys, [*words, "--tiles", "0"], predict.main)
    assert told == "error: --tiles 0: expected a number above 0"
    asked = []
    for count in ("1", "2"):
        predict.main([*words, "--tiles", count])
        asked.append(json.loads((tmp_path / "out" / "query.png.json").read_text())["asked"])
    assert asked[0] != asked[1]
