# SPDX-License-Identifier: Apache-2.0
"""Label Studio: its SDK's bytes, its regions; the SDK itself in an environment of its own."""

import base64
import dataclasses
import json
import subprocess
import sys
import zlib
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import DataError
from sst_tf.photos import formats, support
from sst_tf.photos.annotations import mask_of
from sst_tf.photos.formats import brush, label_studio
from tests.sst_tf.photos.formats.conftest import CLASSES, iou

# What `label_studio_sdk.converter.brush.mask2rle` (2.1.2) gives for `drawn`, packed.
SDK_BYTES = list(zlib.decompress(base64.b64decode(
    "eNpjYNjdYCn9X3w/w4Oi/39YYpgbT///IFjAx67//4DrAQuZ/f8ZxWFS/v+PMR7Y8/8Hxw62+f97mBsrQSp57f9LsDN9"
    "/v9A6YFU/T8DPtbnII0m//8kyHCf/9/Q3ZD5/8cBC/H5IHMu///YUKBv/49Jj3H5/8cMD+LqcRqL1QF43IYhJWHO0P/P"
    "gANozSg1Sv2YJsEAAAbBfc8=")))


def drawn():
    mask = np.zeros((40, 300), bool)
    mask[5:30, 20:250], mask[10:20, 60:61], mask[35, ::2] = True, False, True
    return mask


def test_bytes_are_the_sdk_s():
    ours = brush.encode(drawn())
    assert SDK_BYTES[:len(ours)] == ours and not any(SDK_BYTES[len(ours):])
    np.testing.assert_array_equal(brush.decode(SDK_BYTES, (40, 300), "x"), drawn())


@pytest.mark.parametrize("mask", [
    np.ones((1, 1), bool), np.zeros((3, 5), bool), np.arange(300 * 301).reshape(300, 301) % 97 < 40,
    np.ones((700, 900), bool)], ids=["pixel", "empty", "stripes", "long runs"])
def test_masks_come_back(mask):
    np.testing.assert_array_equal(brush.decode(brush.encode(mask), mask.shape, "x"), mask)


def test_bytes_of_another_photo_or_half_of_them_are_told():
    with pytest.raises(DataError, match="x: run lengths of 12000 pixels, the photo has 6"):
        brush.decode(SDK_BYTES, (2, 3), "x")
    with pytest.raises(DataError, match="x: run lengths that end early"):
        brush.decode(SDK_BYTES[:99], (40, 300), "x")


def region(kind, **value):
    return {"type": kind, "original_width": 120, "original_height": 90, "value": value}


def export(path, *regions, **more):
    path.write_text(json.dumps([{"id": 1, "data": {"image": "/data/local-files/?d=x/a%20b.jpg"},
                                 "annotations": [{"result": list(regions)}], **more}]))
    return path


def test_regions_in_percent(tmp_path):
    image = np.full((90, 120, 3), 120, np.uint8)
    image[20:60, 30:70] = (200, 30, 30)
    square = {"points": [[25, 22.3], [57.5, 22.3], [57.5, 65.5], [25, 65.5]]}
    for one, how in (
            (region("polygonlabels", polygonlabels=["mug"], **square), "polygon"),
            (region("rectanglelabels", rectanglelabels=["mug"], x=20, y=15, width=45, height=60),
             "box, by GrabCut"),
            # The same box from its right upper corner on, turned by a quarter: 54 x 54 pixels.
            (region("rectanglelabels", rectanglelabels=["mug"], x=65, y=15, width=45, height=60,
                    rotation=90), "box, by GrabCut"),
            (region("labels", labels=["mug"], format="rle", rle=brush.encode(image[..., 0] == 200)),
             "mask")):
        path = export(tmp_path / "x.json", one)
        found, made = mask_of(path, image, photo="a b.jpg", label="mug")
        assert made == how and iou(found, image[..., 0] == 200) > 0.95, one
    disc = region("ellipselabels", ellipselabels=["mug"], x=50, y=50, radiusX=10, radiusY=20,
                  rotation=0)
    found, _ = mask_of(export(tmp_path / "x.json", disc), image, photo="a b.jpg", label="mug")
    rows, columns = np.nonzero(found)
    assert (np.ptp(columns), np.ptp(rows)) == (24, 36)
    for size in ({}, {"width": 0.4}):
        point = region("keypointlabels", keypointlabels=["mug"], x=50, y=50, **size)
        with pytest.raises(DataError, match="a region of type 'keypointlabels'; brushes, polygons"):
            mask_of(export(tmp_path / "x.json", point), image, photo="a b.jpg", label="mug")


def test_properties_of_a_region_are_no_classes(tmp_path):
    square = {"points": [[25, 22], [57, 22], [57, 65]]}
    path = export(tmp_path / "x.json", region("polygonlabels", polygonlabels=["mug"], **square),
                  region("choices", choices=["occluded"], **square),
                  region("taxonomy", taxonomy=[["a", "b"]], **square),
                  region("rating", rating=4, **square))
    photo, = formats.read(path)
    assert photo.labels == ["mug"]


@pytest.mark.parametrize("key", ["a#1.jpg", "b&c.jpg", "d+e.jpg", "f%20g.jpg", "h i/j?k.jpg"])
def test_addresses_lead_to_their_photos(key, answers, tmp_path):
    one = dataclasses.replace(answers[0], key=key)
    path = label_studio.write(tmp_path, [one], CLASSES)
    assert [photo.name for photo in formats.read(path)] == [key]
    address = json.loads(path.read_text())[0]["data"]["image"]
    assert parse_qs(urlsplit(address).query) == {"d": [key]}  # as the server reads it
    label_studio.write(tmp_path, [one], CLASSES, "s3://bucket/")
    assert json.loads(path.read_text())[0]["data"]["image"] == f"s3://bucket/{key}"
    assert [photo.name for photo in formats.read(path)] == [key]
    for place in ("https://host/x/", "HTTP://host/x/", "/data/upload/1/"):
        label_studio.write(tmp_path, [one], CLASSES, place)
        parts = urlsplit(json.loads(path.read_text())[0]["data"]["image"])
        assert unquote(parts.path) == f"{urlsplit(place).path}{key}"
        assert not parts.query and not parts.fragment


def test_json_min(tmp_path):
    path, mask = tmp_path / "min.json", drawn()
    path.write_text(json.dumps([{"image": "/data/upload/1/0a1b2c3d-a.jpg", "id": 1, "annotator": 1,
                                 "annotation_id": 1, "tag": [{
                                     "format": "rle", "rle": SDK_BYTES, "brushlabels": ["mug"],
                                     "original_width": 300, "original_height": 40}]}]))
    found, _ = mask_of(path, np.zeros((40, 300, 3), np.uint8), photo="a.jpg")
    np.testing.assert_array_equal(found, mask)


def test_what_somebody_marked_comes_before_predictions(answers, tmp_path):
    path = label_studio.write(tmp_path, answers, CLASSES)
    tasks = json.loads(path.read_text())
    assert [len(photo.shapes) for photo in formats.read(path)] == [2, 2, 0]
    tasks[0]["annotations"] = [{"result": tasks[0]["predictions"][0]["result"][:1]},
                               {"result": [], "was_cancelled": True}]
    path.write_text(json.dumps(tasks))
    assert [len(photo.shapes) for photo in formats.read(path)] == [1, 0, 0]


@pytest.mark.slow  # installs 70 packages, of which OpenCV and NumPy are older than ours
def test_the_sdk_takes_our_predictions_and_we_its_export(answers, tmp_path):
    environment, folder = tmp_path / "environment", tmp_path / "out"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    installed = subprocess.run([python, "-m", "pip", "install", "--quiet", "label-studio-sdk>=2"],
                               capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"label-studio-sdk cannot be installed here: {installed.stderr[-200:]}")
    label_studio.write(folder, answers, CLASSES)
    np.savez(folder / "masks.npz", **{f"{number}/{name}": mask for number, one in
                                      enumerate(answers) for name, mask in one.masks.items()})
    script = Path(__file__).with_name("label_studio_owner.py")
    done = subprocess.run([python, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 tasks, 4 regions" in done.stdout
    found = support.support_from(folder / "export.json", [tmp_path / "photos"])
    assert {name: len(pairs) for name, pairs in found.items()} == dict.fromkeys(CLASSES, 2)
    for name, pairs in found.items():
        for (photo, shapes), answer in zip(pairs, answers[:2], strict=True):
            assert photo == answer.path
            mask, _ = mask_of(shapes, np.asarray(Image.open(photo)))
            np.testing.assert_array_equal(mask, answer.masks[name])
