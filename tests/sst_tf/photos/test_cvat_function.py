# SPDX-License-Identifier: Apache-2.0
"""The CVAT function, driven by the SDK's own machinery against a server that stands in for CVAT."""

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import UserError
from pipelines.writing import write_json
from sst_tf.config import DataConfig
from sst_tf.photos.predictor import Predictor
from tests.export.conftest import make_run
from tests.sst_tf.photos.cvat_server import serving

cvat_sdk = pytest.importorskip("cvat_sdk", reason="the extra `formats` is not installed")
from cvat_sdk import auto_annotation as cvataa  # noqa: E402
from cvat_sdk.core.client import Client, Config  # noqa: E402
from cvat_sdk.masks import decode_mask  # noqa: E402

from sst_tf.photos import cvat_function  # noqa: E402

SIZES = {"a.png": (90, 120), "more/b c.png": (64, 50)}


def picture(height, width):
    image = np.full((height, width, 3), 120, np.uint8)
    image[height // 4:height // 2, width // 4:width // 2] = (200, 30, 30)
    noise = np.random.default_rng(0).integers(-12, 13, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def function(tmp_path_factory):
    """`create` as cvat-cli calls it: a run and two cards."""
    run = make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=65, count=60))
    write_json(run.presence_path, {"1": {"threshold": 0.0}})
    predictor, folder = Predictor.from_run(run.folder), tmp_path_factory.mktemp("cards")
    for name, box in (("coffee mug", (22, 45, 30, 60)), ("plate", (60, 90, 10, 50))):
        mask = np.zeros((90, 120), np.uint8)
        mask[box[0]:box[1], box[2]:box[3]] = 1
        predictor.set_support(picture(90, 120), mask, name).save(folder / f"{name}.npz")
    return cvat_function.create(
        cards=f"{folder / 'coffee mug.npz'},{folder / 'plate.npz'}", run_dir=str(run.folder))


@pytest.fixture
def server():
    photos = {}
    for name, size in SIZES.items():
        data = io.BytesIO()
        Image.fromarray(picture(*size)).save(data, "PNG")
        photos[name] = data.getvalue(), size[::-1]
    with serving(photos, [("person", "any"), ("plate", "any"), ("coffee mug", "mask")]) as one:
        yield one


def annotate(server, function, tmp_path, **options):
    with Client(server.url, config=Config(cache_dir=tmp_path)) as client:
        cvataa.annotate_task(client, 1, function, **options)
    (action, content), = server.annotations
    assert action == ["create"] and not content["tags"]
    return content["shapes"]


def test_the_sdk_annotates_a_task(server, function, tmp_path):
    shapes = annotate(server, function, tmp_path)
    scenes = function.predictor.predict_all([picture(*size) for size in SIZES.values()])
    expected = {(frame, label): scene.index == number for frame, scene in enumerate(scenes)
                for number, label in ((1, 102), (2, 101)) if (scene.index == number).any()}
    assert expected and len(shapes) == len(expected)
    for shape in shapes:
        mask = expected[shape["frame"], shape["label_id"]]
        assert shape["type"] == "mask" and shape["source"] == "auto"
        np.testing.assert_array_equal(mask, decode_mask(
            shape["points"], image_width=mask.shape[1], image_height=mask.shape[0]))


def test_polygons_where_cvat_asks_for_them(server, function, tmp_path):
    server.labels = [(name, "polygon") for name, _ in server.labels]
    shapes = annotate(server, function, tmp_path, conv_mask_to_poly=True)
    assert shapes and {shape["type"] for shape in shapes} == {"polygon"}
    for shape in shapes:
        height, width = list(SIZES.values())[shape["frame"]]
        x, y = np.reshape(shape["points"], (-1, 2)).T
        assert len(x) >= 3 and 0 <= x.min() and x.max() < width and y.max() < height


def test_unsure_answers_are_left_out(server, function, tmp_path):
    assert annotate(server, function, tmp_path, conf_threshold=1.0) == []


def test_a_task_without_the_labels_is_refused_by_the_sdk(server, function, tmp_path):
    server.labels = [("person", "any")]
    with (Client(server.url, config=Config(cache_dir=tmp_path)) as client,
          pytest.raises(cvataa.BadFunctionError, match="'coffee mug' is not in dataset")):
        cvataa.annotate_task(client, 1, function)
    assert not server.annotations


@pytest.mark.parametrize("arguments, words", [
    ({"cards": "mug.npz"}, "preset or run_dir is expected"),
    ({"cards": "mug.npz", "preset": "a", "run_dir": "b"}, "preset or run_dir is expected"),
    ({"cards": "mug.npz", "preset": "none_of_that_name"}, "none_of_that_name")])
def test_misuse_is_told(arguments, words):
    with pytest.raises(UserError, match=words):
        cvat_function.create(**arguments)
