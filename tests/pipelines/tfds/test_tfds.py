# SPDX-License-Identifier: Apache-2.0
"""The TFDS builders, on small folders of the real layouts, and episodes from what they prepare."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from pipelines import DataError, episodes, from_tfds, open_source
from pipelines.folds import COCO_CLASSES
from pipelines.index import build_index
from pipelines.tfds import Coco20i, Pascal5i, TFDSSource
from tests.pipelines.tiny_voc import write_mask

PHOTOS = 40


def small_voc(root):
    """Photos of all 20 classes, two classes each: half in trainaug, half in val."""
    voc = root / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    for i in range(PHOTOS):
        mask = np.zeros((36, 48), np.uint8)
        mask[4:20, 4:20], mask[10:30, 24:44], mask[4, 4:20] = i % 20 + 1, (i + 7) % 20 + 1, 255
        image = np.random.default_rng(i).integers(0, 255, (36, 48, 3), np.uint8)
        Image.fromarray(image).save(voc / "JPEGImages" / f"p{i:02d}.jpg")
        write_mask(voc / "SegmentationClassAug" / f"p{i:02d}.png", mask)
    for name, ids in (("trainaug", range(PHOTOS // 2)), ("val", range(PHOTOS // 2, PHOTOS))):
        (voc / "ImageSets/Segmentation" / f"{name}.txt").write_text(
            "".join(f"p{i:02d}\n" for i in ids))
    return root


def small_coco(root):
    """Photos of all 80 classes, two boxes each."""
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (root / split).mkdir()
        images, annotations = [], []
        for i in range(1, PHOTOS + 1):
            image = np.random.default_rng(i).integers(0, 255, (36, 48, 3), np.uint8)
            Image.fromarray(image).save(root / split / f"{i:012d}.jpg")
            images.append({"id": i, "file_name": f"{i:012d}.jpg", "height": 36, "width": 48})
            annotations.append({
                "id": 1000 + i, "image_id": i, "category_id": (i * 2 + 9) % 80 + 1, "iscrowd": 1,
                "area": 72, "bbox": [0, 0, 2, 36],
                "segmentation": {"size": [36, 48], "counts": [0, 72, 36 * 46]}})
            for k, left in enumerate((3, 25)):
                annotations.append({
                    "id": 2 * i + k, "image_id": i, "category_id": (i * 2 + k) % 80 + 1,
                    "iscrowd": 0, "area": 300, "bbox": [left, 5, 18, 16],
                    "segmentation": [[left, 5, left + 18, 5, left + 18, 21, left, 21]]})
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps({
            "images": images, "annotations": annotations,
            "categories": [{"id": i, "name": n} for i, n in enumerate(COCO_CLASSES, start=1)]}))
    return root


# TFDS's test class wants its folder before any fixture runs.
TEMPORARY = tempfile.TemporaryDirectory()
VOC_DATA = small_voc(Path(TEMPORARY.name) / "voc")
COCO_DATA = small_coco(Path(TEMPORARY.name) / "coco")


class Pascal5iTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own builder test: features, splits, unique keys, determinism."""

    DATASET_CLASS = Pascal5i
    EXAMPLE_DIR = str(VOC_DATA)
    BUILDER_CONFIG_NAMES_TO_TEST = ["fold1"]
    SPLITS = {"train": 20, "test": 10}
    SKIP_CHECKSUMS = True


class Coco20iTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Coco20i
    EXAMPLE_DIR = str(COCO_DATA)
    BUILDER_CONFIG_NAMES_TO_TEST = ["interleaved0"]
    SPLITS = {"train": 40, "test": 20}
    SKIP_CHECKSUMS = True


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    builder = Pascal5i(config="fold1", data_dir=tmp_path_factory.mktemp("tfds"))
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=VOC_DATA))
    return builder


@pytest.mark.parametrize("split", ["train", "test"])
def test_episodes_of_a_builder_are_those_of_the_folder(prepared, split):
    options = {"split": split, "batch": 4, "seed": 5, "image_size": 33, "count": 12,
               "novel_policy": "keep"}
    for a, b in zip(from_tfds(prepared, **options),
                    episodes("pascal5i", VOC_DATA, fold=1, **options), strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_crowds_of_a_builder_are_those_of_the_files(tmp_path):
    builder = Coco20i(config="interleaved0", data_dir=tmp_path)
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=COCO_DATA))
    source, photos = TFDSSource(builder), open_source("coco", COCO_DATA)
    ids = source.image_ids("train")
    found, wanted = (build_index(one, ids, cache=None).classes_of for one in (source, photos))
    assert found == wanted and all(len(classes) == 3 for classes in found.values())


def test_novel_pixels_are_hidden_on_request(prepared):
    options = {"split": "train", "batch": 4, "image_size": 33, "count": 12, "novel": "ignore255"}
    for a, b in zip(from_tfds(prepared, **options),
                    episodes("pascal5i", VOC_DATA, fold=1, **options), strict=True):
        np.testing.assert_array_equal(a["query_mask"], b["query_mask"])


def test_parts_of_a_builder_are_two(prepared):
    with pytest.raises(DataError, match="split 'all': train or test is expected"):
        from_tfds(prepared, split="all")


def test_a_builder_that_is_not_prepared(tmp_path):
    with pytest.raises(DataError, match="download_and_prepare"):
        from_tfds(Pascal5i(config="fold0", data_dir=tmp_path))
