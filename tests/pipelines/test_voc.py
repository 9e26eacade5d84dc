"""The VOC source: right indices out of real palette files, and one clear line for bad files."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import DataError, open_source
from pipelines.index import build_index
from tests.toy import CLASSES, voc_tree, write_mask


@pytest.fixture
def tree(tmp_path):
    voc_tree(tmp_path)
    return tmp_path


def test_palette_masks_keep_their_index(tree):
    source = open_source("voc", str(tree))
    assert source.classes == CLASSES
    mask = source.read_mask("photo000")
    assert set(np.unique(mask)) == {0, 1, 2, 255} and mask[15, 25] == 1


def test_real_palette_masks(shared):
    folder = shared / "data" / "voc2012_masks" / "SegmentationClassAug"
    names = sorted(folder.glob("*.png"))[:40]
    source = open_source("voc", str(shared / "data" / "pascal_mini"))
    source.masks = folder
    destroyed = 0
    for path in names:
        mask = source.read_mask(path.stem)
        assert set(np.unique(mask)) <= {*range(21), 255}
        colours = tf.io.decode_png(path.read_bytes(), channels=1).numpy()[..., 0]
        destroyed += not np.array_equal(colours, mask)
    assert destroyed > 0  # why decode_png is not used


def test_lists_of_two_paths(tree):
    path = tree / "ImageSets/Segmentation/pairs.txt"
    path.write_text("/JPEGImages/photo003.jpg /SegmentationClass/photo003.png\n")
    assert open_source("voc", str(tree)).image_ids("pairs") == ["photo003"]


def spoil_photo(tree):
    path = tree / "JPEGImages/photo001.jpg"
    path.write_bytes(path.read_bytes()[:800])
    return lambda source: source.read_image("photo001"), ("photo001.jpg", "damaged")


def spoil_text(tree):
    (tree / "JPEGImages/photo001.jpg").write_text("no picture")
    return lambda source: build_index(source, ["photo001"]), ("photo001.jpg", "not readable")


def spoil_size(tree):
    write_mask(tree / "SegmentationClass/photo001.png", np.zeros((30, 30), np.uint8))
    return lambda source: build_index(source, ["photo000", "photo001"]), (
        "photo001.png", "30 x 30", "80 x 60")


def spoil_rgb(tree):
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tree / "SegmentationClass/photo001.png")
    return lambda source: build_index(source, ["photo001"]), ("photo001.png", "RGB", "index mask")


def spoil_values(tree):
    write_mask(tree / "SegmentationClass/photo001.png", np.full((60, 80), 9, np.uint8))
    return lambda source: source.read_mask("photo001"), ("photo001.png", "[9]", "class names")


def spoil_missing_mask(tree):
    (tree / "SegmentationClass/photo001.png").unlink()
    return lambda source: build_index(source, source.image_ids("train")), ("photo001", "no mask")


def spoil_missing_photo(tree):
    (tree / "JPEGImages/photo001.jpg").unlink()
    return lambda source: build_index(source, source.image_ids("train")), ("photo001", "no photo")


def spoil_duplicate(tree):
    path = tree / "ImageSets/Segmentation/train.txt"
    path.write_text(path.read_text() + "\nphoto001\n")
    return lambda source: source.image_ids("train"), ("train.txt", "twice", "photo001")


def spoil_split(tree):
    return lambda source: source.image_ids("nope"), ("nope.txt", "train")


@pytest.mark.parametrize("spoil", [spoil_photo, spoil_text, spoil_size, spoil_rgb, spoil_values,
                                   spoil_missing_mask, spoil_missing_photo, spoil_duplicate,
                                   spoil_split])
def test_bad_input_is_one_clear_line(tree, spoil):
    attempt, words = spoil(tree)
    with pytest.raises(DataError) as caught:
        attempt(open_source("voc", str(tree)))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("root", [None, "/nonexistent/folder"])
def test_missing_root(root):
    with pytest.raises(DataError, match="folder"):
        open_source("voc", root)


def test_root_without_the_layout(tmp_path):
    with pytest.raises(DataError, match="not of VOC layout"):
        open_source("voc", str(tmp_path))
