# SPDX-License-Identifier: Apache-2.0
"""COCO's own files and JSON of one's own: class masks, ids, every error."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from pipelines import DataError, episodes, open_source
from pipelines.folds import COCO_CLASSES
from pipelines.index import build_index, split_pairs
from pipelines.reading.run_lengths import mask_of_run_lengths, run_lengths
from pipelines.sources.joined import JoinedSource, Part

coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
library = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")


def test_class_masks_equal_pycocotools(shared):
    root = shared / "data" / "coco_mini"
    source = open_source("coco", root)
    compared = 0
    for split in ("train2017", "val2017"):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = coco.COCO(root / "annotations" / f"instances_{split}.json")
        numbers = {p["file_name"]: p["id"] for p in truth.dataset["images"]}
        for image_id in source.image_ids(split):
            source.check(image_id)
            expected = {}
            for one in truth.loadAnns(truth.getAnnIds(numbers[image_id.split("/")[1]], iscrowd=0)):
                name = truth.cats[one["category_id"]]["name"]
                class_id = COCO_CLASSES.index(name) + 1
                expected[class_id] = expected.get(class_id, 0) | truth.annToMask(one)
            masks = source.class_masks(image_id)
            assert set(masks) == {c for c, mask in expected.items() if mask.any()}
            for class_id, mask in masks.items():
                np.testing.assert_array_equal(mask == 1, expected[class_id] == 1)
                compared += 1
    assert compared > 600


def test_pairs_and_episodes_of_coco_mini(shared):
    root = shared / "data" / "coco_mini"
    source = open_source("coco", root)
    assert len(source.image_ids("train")) == len(source.image_ids("val2017")) == 80
    index = build_index(source, source.image_ids("val"))
    for image_id, classes in index.classes_of.items():
        assert classes == set(source.class_masks(image_id))
    batch = next(iter(episodes("coco", root, novel_classes=["car", "dog"], split="test", batch=2,
                               image_size=65)))
    assert {COCO_CLASSES[c - 1] for c in batch["class_id"].numpy()} <= {"car", "dog"}
    assert (batch["support_mask"].numpy() == 1).any((1, 2, 3)).all()


BOX = [1, 1, 6, 1, 6, 5, 1, 5]


def annotation(number, category=7, segmentation=(BOX,), crowd=0, image=3):
    return {"id": number, "image_id": image, "category_id": category, "iscrowd": crowd,
            "segmentation": list(segmentation) if isinstance(segmentation, tuple) else segmentation}


@pytest.fixture
def own(tmp_path):
    """A writer of one's own JSON with one photo of 8 x 10 pixels; returns its arguments."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (10, 8)).save(tmp_path / "photos/ä b.jpg")

    def write(annotations, **changes):
        content = {"images": [{"id": 3, "file_name": "photos/ä b.jpg", "height": 8, "width": 10}],
                   "categories": [{"id": 7, "name": "mug"}, {"id": 2, "name": "lid"}],
                   "annotations": annotations, **changes}
        (tmp_path / "own.json").write_text(json.dumps(content), encoding="utf-8")
        return open_source("coco", tmp_path, annotations=tmp_path / "own.json")

    return write


def test_own_classes_overlaps_crowds_and_empty_polygons(own):
    inner = [2, 2, 4, 2, 4, 4, 2, 4]
    crowd = {"size": [8, 10], "counts": [0, 16, 64]}  # the first two columns
    source = own([annotation(1), annotation(2, 2, (inner,)), annotation(3, 2, ([4, 4, 4, 4],)),
                  annotation(4, 7, crowd, crowd=1)])
    (image_id,) = source.image_ids("all")
    assert source.classes == ("lid", "mug")  # in order of their ids
    source.check(image_id)
    masks = source.class_masks(image_id)
    assert list(masks) == [1, 2] and masks[1].sum() > 0
    assert (masks[2][masks[1] == 1] == 1).all()  # a pixel of both belongs to both
    assert (masks[2][:, 0] == 255).all() and masks[2][1, 1] == 1  # the object, not the crowd
    index = source.read_mask(image_id)
    assert (index[masks[1] == 1] == 1).all() and (index == 2).sum() > 0  # smaller on top
    ignored = source.class_mask(image_id, 1, ignore_ids=(2,))
    assert (ignored[(masks[2] == 1) & (masks[1] != 1)] == 255).all()


def test_a_crowd_alone_is_there_though_it_is_no_pair(own):
    crowd = {"size": [8, 10], "counts": [0, 16, 64]}
    source = own([annotation(1, 2), annotation(2, 7, crowd, crowd=1)])
    for one in (source, JoinedSource({"a": Part(source, {"train": "all"})})):
        (image_id,) = one.image_ids("all")
        index = build_index(one, [image_id], cache=None)
        assert [pair.class_id for pair in index.pairs] == [1]
        assert index.classes_of[image_id] == {1, 2}
        assert split_pairs(index, (2,), "base", novel_policy="drop") == []
        assert len(split_pairs(index, (2,), "base", novel_policy="keep")) == 1


@pytest.mark.parametrize("annotations, changes, match", [
    ([annotation(1, image=4)], {}, "annotation 1 is of photo 4, which the file does not list"),
    ([annotation(1, category=9)], {}, "annotation 1 is of category 9"),
    ([annotation(5, segmentation={"counts": "??"})], {}, "annotation 5 is neither polygons"),
    ([{"id": 1}], {}, "not COCO-JSON .KeyError"),
    ([], {"categories": []}, "categories of different names are expected"),
    ([annotation(6, segmentation={"size": [3, 3], "counts": [0, 9]})], {},
     "annotation 6 is of 3 x 3 pixels, its photo of 10 x 8"),
    ([annotation(7, segmentation={"size": [8, 10], "counts": [10, 30]})], {},
     "annotation 7 is neither polygons nor run lengths .run lengths of 40 pixels, their size "
     "has 80"),
    ([annotation(8, segmentation={"size": [8, 10], "counts": "Z1"})], {}, "annotation 8"),
    ([annotation(9, segmentation=[{"size": [8, 10], "counts": [80]}] * 6)], {},
     "annotation 9 is neither polygons nor run lengths .a list of run lengths"),
    ([annotation(6, segmentation={"size": [10, 8], "counts": [0, 80]})], {},
     "annotation 6 is of 8 x 10 pixels, its photo of 10 x 8"),
    ([annotation(1)], {"images": [{"id": 3, "file_name": f"photos/{name}.jpg", "height": 8,
                                   "width": 10} for name in "ab"]},
     "id 3 stands for two of its images"),
    ([annotation(1)], {"categories": [{"id": 7, "name": "mug"}, {"id": 7, "name": "lid"}]},
     "id 7 stands for two of its categories"),
])
def test_broken_annotations_are_named(own, annotations, changes, match):
    with pytest.raises(DataError, match=match) as caught:
        source = own(annotations, **changes)
        assert source.classes
        for image_id in source.image_ids("all"):
            source.class_masks(image_id)
    assert "own.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(6))
def test_run_lengths_are_pycocotools_s_compressed_and_not(seed):
    mask = (np.random.default_rng(seed).random((37, 41)) < seed / 5).astype(np.uint8)
    mask[5:20, 3:30] = seed % 2
    np.testing.assert_array_equal(mask_of_run_lengths(
        library.encode(np.asfortranarray(mask))), mask)
    np.testing.assert_array_equal(library.decode(
        library.frPyObjects(run_lengths(mask), *mask.shape)), mask)
    np.testing.assert_array_equal(mask_of_run_lengths(run_lengths(mask)), mask)


@pytest.mark.parametrize("counts", ["Z1", "P", "~~", "\xff\xfe", "P" * 100_000, "\x00", "4O4",
                                    [-5, 85], [90], []])
def test_run_lengths_of_other_pixels_are_refused(counts):
    with pytest.raises(ValueError, match="run lengths"):
        mask_of_run_lengths({"size": [8, 10], "counts": counts})


def test_what_stands_twice_and_is_the_same_is_one(own):
    photo = {"id": 3, "file_name": "photos/ä b.jpg", "height": 8, "width": 10}
    assert own([annotation(1)], images=[photo, photo]).image_ids("all") == ["all/photos/ä b.jpg"]


def test_splits_of_one_s_own_that_end_in_numbers(own, tmp_path):
    own([annotation(1)], categories=[{"id": 7, "name": "cup"}])
    (tmp_path / "annotations").mkdir()
    for number in (1, 2):
        (tmp_path / f"annotations/instances_part{number}.json").write_bytes(
            (tmp_path / "own.json").read_bytes())
    assert open_source("coco", tmp_path).image_ids("all") == ["part1/photos/ä b.jpg",
                                                              "part2/photos/ä b.jpg"]


def test_a_photo_that_a_tag_turns(own, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 10)).save(tmp_path / "photos/ä b.jpg", exif=exif)
    source = own([annotation(1)])
    with pytest.raises(DataError, match=r"8 x 10 pixels, own.json says 10 x 8 \(width x height\); "
                                        "a tag in ä b.jpg turns it; save it upright"):
        source.check("all/photos/ä b.jpg")


def test_missing_and_foreign_files_are_named(own, tmp_path):
    source = own([annotation(1)])
    Image.new("RGB", (9, 8)).save(tmp_path / "photos/ä b.jpg")
    with pytest.raises(DataError, match=r"9 x 8 pixels, own.json says 10 x 8"):
        source.check("all/photos/ä b.jpg")
    (tmp_path / "photos/ä b.jpg").unlink()
    with pytest.raises(DataError, match="no such photo, though own.json lists it"):
        source.check("all/photos/ä b.jpg")
    with pytest.raises(DataError, match="no photo 'all/x.jpg'"):
        source.read_mask("all/x.jpg")
    with pytest.raises(DataError, match=r"no instances_\*.json"):
        open_source("coco", tmp_path)
    with pytest.raises(DataError, match="no.json: no such annotation file"):
        open_source("coco", tmp_path, annotations=tmp_path / "no.json")
    (tmp_path / "annotations").mkdir()
    for year in (2014, 2017):
        (tmp_path / f"annotations/instances_val{year}.json").write_bytes(
            (tmp_path / "own.json").read_bytes())
    both = open_source("coco", tmp_path)
    with pytest.raises(DataError, match="may be val2014 or val2017"):
        both.image_ids("val")
    with pytest.raises(DataError, match="'all' would be val2014, val2017, the same photos"):
        both.image_ids("all")
    with pytest.raises(DataError, match="category 'lid' is none of COCO's 80"):
        both.image_ids("val2017")
    with pytest.raises(DataError, match="no split 'test'"):
        both.image_ids("test")
