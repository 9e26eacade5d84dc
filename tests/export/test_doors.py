# SPDX-License-Identifier: Apache-2.0
"""The same file is the same photo or mask, or is refused, whatever door it comes by.

Doors: a path and bytes (the predictor's), the folder source, the graph of a served model.
"""

import contextlib
import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export import graph_decoding
from pipelines import DataError, open_source
from pipelines.reading.photos import load_photo, turn
from sst_tf.photos.annotations import mask_of

SIDE = 33
RGB = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
RGB = cv2.GaussianBlur(RGB, (9, 9), 0)
RGB[:12, :12] = (250, 20, 20)
GRAY = RGB[..., 0]
MASK = np.zeros((SIDE, SIDE), np.uint8)
MASK[4:20, 6:30] = 1
VOID = MASK.copy()
VOID[20:25, 6:30] = 255


def packed(picture, kind="PNG", **options):
    stream = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(
        stream, kind, **options)
    return stream.getvalue()


def marked(kind, mark, order, long=False):
    """A picture whose EXIF says how it is turned, in either order of bytes, in 2 or 4 of them."""
    entries = (0x0112).to_bytes(2, order) + (4 if long else 3).to_bytes(2, order) + (1).to_bytes(
        4, order)
    other = (0x0100).to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(4, order) + (
        77).to_bytes(4, order)
    exif = (b"II" if order == "little" else b"MM") + (42).to_bytes(2, order) + (8).to_bytes(
        4, order) + (2).to_bytes(2, order) + other + entries + (
        mark.to_bytes(4, order) if long else mark.to_bytes(2, order) + bytes(2)) + bytes(4)
    return packed(RGB, kind, exif=b"Exif\0\0" + exif)


def deep(picture):
    return cv2.imencode(".png", picture.astype(np.uint16) * 257)[1].tobytes()


def palette(values, bits=8, **options):
    picture = Image.fromarray(values, "P")
    picture.putpalette([9, 9, 9, 200, 0, 0] + [7, 70, 170] * 253 + [224, 224, 192])
    return packed(picture, bits=bits, **options)


PHOTOS = {
    "jpeg": packed(RGB, "JPEG"), "gray jpeg": packed(GRAY, "JPEG"),
    "progressive jpeg": packed(RGB, "JPEG", progressive=True),
    "cmyk jpeg": packed(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=100),
    "png": packed(RGB), "gray png": packed(GRAY), "palette png": palette(GRAY % 3),
    "1-bit png": packed(Image.fromarray(GRAY).convert("1")),
    "alpha png": packed(np.dstack([RGB, GRAY])), "gray alpha png": packed(
        Image.fromarray(RGB).convert("LA")),
    "transparent palette png": palette(GRAY % 3, transparency=1)}
TURNED = {(kind, mark, order): marked(kind, mark, order) for kind, mark, order in (
    *(("JPEG", mark, "little") for mark in range(1, 9)), ("JPEG", 6, "big"), ("JPEG", 9, "big"),
    ("JPEG", 0, "little"), ("PNG", 6, "little"), ("PNG", 8, "big"))}
BAD_PHOTOS = {
    "16-bit gray png": deep(GRAY), "16-bit png": deep(RGB), "cut jpeg": packed(RGB, "JPEG")[:-300],
    "cut png": packed(RGB)[:-300], "text": b"<html>", "empty": b"",
    "start of a png": packed(RGB)[:20], "start of a jpeg": packed(RGB, "JPEG")[:20]}
MASKS = {
    "gray 0, 255": (packed(MASK * 255), MASK), "gray 0, 1": (packed(MASK), MASK),
    "gray 0, 1, 255": (packed(VOID), VOID),
    "1-bit": (packed(Image.fromarray(MASK * 255).convert("1")), MASK),
    "palette": (palette(VOID), VOID), "palette 0, 255": (palette(MASK * 255), MASK),
    "palette of 4 bits": (palette(MASK, 4), MASK), "palette of 2 bits": (palette(MASK, 2), MASK),
    "palette of 1 bit": (palette(MASK, 1), MASK),
    "transparent palette": (palette(MASK, transparency=0), MASK),
    "three channels": (packed(np.dstack([VOID] * 3)), VOID),
    "three channels and alpha": (packed(np.dstack([MASK * 255] * 3 + [GRAY])), MASK),
    "gray and alpha": (packed(Image.fromarray(np.dstack([MASK * 255, GRAY]), "LA")), MASK)}
BAD_MASKS = {
    "colours": packed(RGB), "strange values": packed(MASK * 7), "16 bits": deep(MASK * 255),
    "strange index": palette(MASK * 2), "cut": packed(VOID)[:-40], "text": b"x", "empty": b"",
    "cut palette": palette(VOID)[:60], "start": packed(VOID)[:20], "nothing": packed(MASK * 0)}


@pytest.fixture(scope="module")
def graph():
    """The functions of a served graph, as NumPy."""
    text = tf.TensorSpec([], tf.string)
    photo = tf.function(lambda data: graph_decoding.photo(data, SIDE), input_signature=[text])
    mask = tf.function(lambda data: graph_decoding.mask(data, SIDE), input_signature=[text])
    return {"photo": lambda data: photo(data)[0].numpy(),
            "mask": lambda data: mask(data)[0].numpy()}


@pytest.fixture
def folder(tmp_path):
    """Photo and mask of a folder source, to be replaced."""
    (tmp_path / "mug").mkdir()
    (tmp_path / "mug/0.jpg").write_bytes(packed(RGB, "JPEG"))
    (tmp_path / "mug/0.png").write_bytes(packed(MASK))
    return tmp_path


def near(found, expected):
    """Of one picture: JPEG decoders differ by a level or two."""
    difference = np.abs(found.astype(int) - expected)
    return found.dtype == np.uint8 and difference.mean() < 1.5 and np.median(difference) <= 2


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_are_read_alike(name, folder, graph):
    data, path = PHOTOS[name], folder / "mug/0.jpg"
    path.write_bytes(data)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    for found in (load_photo(path), load_photo(data), open_source("folder", folder).read_image(
            "mug/0"), graph["photo"](data)):
        assert found.shape == (SIDE, SIDE, 3) and near(found, expected)


def test_a_tiff_of_16_bits_is_refused():
    """Pillow would keep the upper eight."""
    for picture, deeper in ((RGB, False), (RGB.astype(np.uint16) * 16, True)):
        data = cv2.imencode(".tiff", picture)[1].tobytes()
        with pytest.raises(DataError, match="8 bits") if deeper else contextlib.nullcontext():
            assert load_photo(data).shape == (SIDE, SIDE, 3)


def test_a_rotation_mark_in_xmp_alone_is_not_followed(graph):
    """Browsers and the served graph read EXIF's."""
    xmp = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/'
           b'22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
           b'tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>')
    data = packed(RGB, "JPEG", xmp=xmp)
    picture = Image.open(io.BytesIO(data))
    assert picture.getexif().get(0x0112) == 6  # Pillow takes it
    for found in (load_photo(data), graph["photo"](data)):
        assert near(found, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("kind, mark, order", TURNED)
def test_a_camera_s_rotation_mark_is_followed(kind, mark, order, folder, graph):
    """A data set's mask was drawn on stored pixels: its source alone leaves them as they are."""
    data, path = TURNED[kind, mark, order], folder / "mug/0.jpg"
    path.write_bytes(data)
    stored = np.asarray(Image.open(io.BytesIO(data)))
    assert near(open_source("folder", folder).read_image("mug/0"), stored)
    for found in (load_photo(path), load_photo(data), graph["photo"](data)):
        assert near(found, turn(stored, mark))


@pytest.mark.parametrize("before", [b"\xff\xff", 5 * (b"\xff\xe2\xff\xff" + bytes(65533))],
                         ids=["fill bytes", "segments of 320 KB"])
def test_a_rotation_mark_is_found_behind_others(before, graph):
    data = TURNED["JPEG", 6, "little"]
    at = data.index(b"\xff\xe1")
    data = data[:at] + before + data[at:]
    expected = turn(np.asarray(Image.open(io.BytesIO(data))), 6)
    for found in (load_photo(data), graph["photo"](data)):
        assert near(found, expected)


def test_a_png_s_rotation_mark_behind_its_pixels_is_not_followed(graph):
    data = TURNED["PNG", 6, "little"]
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start:start + 4], "big")
    last = data.index(b"IEND") - 4
    moved = data[:start] + data[end:last] + data[start:end] + data[last:]
    stored = np.asarray(Image.open(io.BytesIO(moved)))
    for found in (load_photo(moved), graph["photo"](moved)):
        assert near(found, stored)


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_rotation_mark_of_four_bytes_is_followed(order, graph):
    data = marked("JPEG", 6, order, long=True)
    expected = turn(np.asarray(Image.open(io.BytesIO(data))), 6)
    for found in (load_photo(data), graph["photo"](data)):
        assert near(found, expected)


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_photos_are_refused_alike(name, folder, graph):
    data, path = BAD_PHOTOS[name], folder / "mug/0.jpg"
    path.write_bytes(data)
    for read in (lambda: load_photo(path), lambda: open_source("folder", folder).read_image(
            "mug/0")):
        with pytest.raises(DataError, match="0.jpg"):
            read()
    with pytest.raises(DataError, match="the query"):
        load_photo(data, "the query")
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph["photo"](data)


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_read_alike(name, folder, graph):
    (data, expected), path = MASKS[name], folder / "mug/0.png"
    path.write_bytes(data)
    for found in (mask_of(path, RGB)[0], open_source("folder", folder).class_mask("mug/0", 1),
                  graph["mask"](data)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", BAD_MASKS)
def test_masks_are_refused_alike(name, folder, graph):
    data, path = BAD_MASKS[name], folder / "mug/0.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match="0.png"):
        mask_of(path, RGB)
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph["mask"](data)
    if name == "nothing":  # of a data set: a photo that is never drawn
        assert open_source("folder", folder).class_masks("mug/0") == {}
    else:
        with pytest.raises(DataError, match="0.png"):
            open_source("folder", folder).class_mask("mug/0", 1)
