# SPDX-License-Identifier: Apache-2.0
"""Lists that other editors and systems wrote."""

import json

import pytest

from pipelines import DataError, open_source
from pipelines.index import read_pairs
from pipelines.sampler import Episode, dump_episodes, load_episodes
from pipelines.sources.folder import class_split
from tests.pipelines.tiny_voc import CLASSES

EPISODES = [Episode(0, 1, ("p00",), "p04", 1)]
READERS = {  # name: text, what reads the file in a VOC tree, what comes out
    "classes.txt": ("\n".join(CLASSES), lambda path, root: open_source("voc", root).classes,
                    CLASSES),
    "ImageSets/Segmentation/few.txt": (
        "p00\np04\n", lambda path, root: open_source("voc", root).image_ids("few"),
        ["p00", "p04"]),
    "pairs.txt": ("p00__1\n", lambda path, root: [pair[:2] for pair in read_pairs(path, 4)],
                  [("p00", 1)]),
    "split.txt": ("cup\n", lambda path, root: class_split(CLASSES, path)["test"], ("cup",)),
    "episodes.jsonl": (None, lambda path, root: load_episodes(path), EPISODES)}


@pytest.mark.parametrize("name", READERS)
def test_a_byte_order_mark_is_no_part_of_the_first_line(tiny, name):
    path, (text, read, expected) = tiny / name, READERS[name]
    if text is None:
        dump_episodes(EPISODES, path)
    else:
        path.write_text(text)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path, tiny) == expected


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("data", ["café\n".encode("latin-1"), "p00\n".encode("utf-16")])
def test_text_of_another_encoding_is_named(tiny, name, data):
    path = tiny / name
    path.write_bytes(data)
    with pytest.raises(DataError, match="no UTF-8 text .byte .*; save it as UTF-8") as caught:
        READERS[name][1](path, tiny)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_byte_order_mark_before_coco_s_json(tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    path = tmp_path / "own.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({
        "images": [], "annotations": [], "categories": [{"id": 1, "name": "mug"}]}).encode())
    assert open_source("coco", tmp_path, annotations=path).classes == ("mug",)
