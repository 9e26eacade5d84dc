# SPDX-License-Identifier: Apache-2.0
"""Annotation files from strangers: whatever is in them, an answer or one line, in little memory."""

import json
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.errors import DataError
from pipelines.reading.photos import load_photo
from sst_tf.photos import formats
from sst_tf.photos.annotations import mask_of
from tests.sst_tf.photos.formats.conftest import CLASSES

IMAGE = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
FEW = settings(max_examples=40, deadline=None, derandomize=True,
               suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
                st.sampled_from([-1, 0, 2**31, 2**63, 1e308, float("nan"), "1e400", "\0", "../.."]),
                st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3),
                                                                     st.integers(), max_size=2))


def asked(path):
    """Whatever the file holds: a mask of the photo's size, or a `DataError`."""
    try:
        mask, _ = mask_of(path, IMAGE, photo="a.png", label="coffee mug")
    except DataError as error:
        assert "\n" not in str(error)
        return None
    assert mask.shape == IMAGE.shape[:2] and mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1, 255}
    return mask


@pytest.fixture
def written(answers, tmp_path):
    """Writes a format, the same each time; gives the path of the first photo's file."""
    known = {}

    def write(name):
        if name == "cvat":
            pytest.importorskip("cvat_sdk")
        if name not in known:
            path = fresh(name)
            known[name] = path, path.read_bytes()
        path, data = known[name]
        path.write_bytes(data)
        return path

    def fresh(name):
        one, = formats.write([name], tmp_path / "out", lambda: iter(answers[:1]), CLASSES)
        path = one.root if isinstance(one, formats.Folder) else one
        inside = {"labelme": "a.json", "yolo": "labels/a.txt"}.get(name)
        return path / inside if inside else path

    return write


def places(value, path=()):
    """Paths of all that is inside a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ())
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("name", ["coco", "labelme", "label_studio"])
@FEW
@given(data=st.data())
def test_json_with_something_else_in_it(written, name, data):
    path = written(name)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert asked(path) is not None
    some = sorted(places(content), key=repr)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(some))
        try:
            content = changed(content, place, data.draw(ODD))
        except (KeyError, IndexError, TypeError, ValueError):
            continue  # an earlier change took the place away
    path.write_text(json.dumps(content), encoding="utf-8")
    asked(path)


@FEW
@given(data=st.data())
def test_xml_with_something_else_in_it(written, data):
    path = written("cvat")
    tree = ElementTree.parse(path)
    assert asked(path) is not None
    nodes = list(tree.iter())
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from(nodes))
        if node.attrib:
            key = data.draw(st.sampled_from(sorted(node.attrib)))
            node.set(key, data.draw(st.sampled_from(
                ["", "-1", "0", "nan", "1e400", "9" * 20, "a,b", "1,2;3", "½", "99999999"])))
    tree.write(path)
    asked(path)


@pytest.mark.parametrize("name", ["coco", "labelme", "label_studio", "cvat", "yolo"])
@FEW
@given(cuts=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6)),
                     min_size=1, max_size=4))
def test_bytes_that_are_wrong(written, name, cuts):
    path = written(name)
    data = path.read_bytes()
    for share, new in cuts:
        at = int(share * len(data))
        data = data[:at] + new + data[at + len(new):]
    path.write_bytes(data)
    asked(path)


def told(path, words):
    with pytest.raises(DataError, match=words):
        mask_of(path, IMAGE, photo="a.png", label="coffee mug")


@pytest.mark.parametrize("sides", [(10**9, 10**9), (-5, 7)])
def test_a_size_that_no_photo_has(tmp_path, sides):
    path = tmp_path / "a.json"
    height, width = sides
    path.write_text(json.dumps({
        "shapes": [{"label": "coffee mug", "points": [[0, 0], [9, 0], [9, 9]]}],
        "imagePath": "a.png", "imageHeight": height, "imageWidth": width}))
    told(path, "million are taken")


def test_a_polygon_far_outside(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"shapes": [{
        "label": "coffee mug", "points": [[0, 0], [1e12, 0], [9, 9]]}], "imagePath": "a.png"}))
    told(path, "far outside its photo")


def test_nesting_without_end(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    told(tmp_path / "a.json", "not readable as JSON")
    (tmp_path / "a.xml").write_text("<annotations>" + "<image>" * 200_000)
    told(tmp_path / "a.xml", "not readable as XML")


def test_entities_that_multiply(tmp_path):
    """The "billion laughs": expat refuses them."""
    lines = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    (tmp_path / "a.xml").write_text(f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "lol">{lines}]>'
                                    "<annotations><image>&e11;</image></annotations>")
    told(tmp_path / "a.xml", "not readable as XML")


def test_entities_from_files_stay_outside(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a.xml").write_text(
        f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
        "<annotation><object><name>&e;</name></object></annotation>")
    told(tmp_path / "a.xml", "not readable as XML")


@pytest.mark.parametrize("counts", [[5400, 5401], [10**9, 1], [-5, 10805], [0] * 9])
def test_run_lengths_of_another_size(tmp_path, counts):
    coco_file(tmp_path, counts)
    told(tmp_path / "a.json", "run lengths|damaged annotations")


def test_compressed_run_lengths_that_end_elsewhere(tmp_path):
    library = pytest.importorskip("pycocotools.mask")
    long = library.encode(np.asfortranarray(np.ones((900, 900), np.uint8)))["counts"].decode()
    for counts in (long, "", "0", "~" * 50, "\xff\xfe", "P" * 100_000):
        coco_file(tmp_path, counts)
        asked(tmp_path / "a.json")


@pytest.mark.parametrize("key, reason", [
    ("image_id", "annotation 1 is of photo 7, which the file does not list"),
    ("category_id", "annotation 1 is of category 7, which the file does not list")])
def test_an_annotation_of_nothing_in_the_file(tmp_path, key, reason):
    coco_file(tmp_path, [10_800], **{key: 7})
    told(tmp_path / "a.json", reason)


def coco_file(folder, counts, **changes):
    (folder / "a.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.png", "height": 90, "width": 120}],
        "categories": [{"id": 1, "name": "coffee mug"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1,
                         "segmentation": {"size": [90, 120], "counts": counts}} | changes]}))


# ---- pictures ------------------------------------------------------------------------------------


def png_of(path, width, height):
    """A PNG's header that claims a size, in some hundred bytes."""
    Image.new("L", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


@pytest.mark.parametrize("sides", [(30_000, 30_000), (11_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_claims_to_be_huge(tmp_path, sides):
    png_of(tmp_path / "mask.png", *sides)
    told(tmp_path / "mask.png", "million are taken|not readable as a picture")
    for photo in (tmp_path / "mask.png", (tmp_path / "mask.png").read_bytes()):
        with pytest.raises(DataError, match="million are taken|not readable as a picture"):
            load_photo(photo)


@FEW
@given(data=st.data())
def test_masks_with_wrong_bytes(tmp_path, data):
    path: Path = tmp_path / "mask.png"
    Image.fromarray(np.eye(90, 120, dtype=np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[:data.draw(st.integers(0, len(content)))] + data.draw(
        st.sampled_from([b"", b"IEND\xaeB`\x82"])))
    asked(path)
