# SPDX-License-Identifier: Apache-2.0
"""What sources read, and what they say about files that are wrong."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import DataError, open_source
from pipelines.folds import PASCAL_CLASSES
from pipelines.index import build_index
from pipelines.sources.masks import one_class
from pipelines.sources.voc import VOCSource
from tests.pipelines.tiny_voc import (
    CLASSES,
    HEIGHT,
    WIDTH,
    tiny_image,
    tiny_mask,
    write_mask,
    write_tiny_voc,
)


@pytest.mark.parametrize("dataset", ["voc", "shapes"])
def test_every_source_keeps_the_protocol(dataset, tiny):
    source = open_source("voc", tiny) if dataset == "voc" else open_source(
        "shapes", image_size=48, count=6, seed=1)
    ids = source.image_ids("all")
    assert ids and len(set(ids)) == len(ids)
    assert set(source.image_ids("train")).isdisjoint(source.image_ids("val"))
    for image_id in ids[:4]:
        source.check(image_id)
        image, mask = source.read_image(image_id), source.read_mask(image_id)
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (*mask.shape, 3)
        assert set(np.unique(mask)) <= {0, *range(1, len(source.classes) + 1), 255}
        np.testing.assert_array_equal(image, source.read_image(image_id))
    with pytest.raises(DataError):
        source.image_ids("nosuchsplit")
    with pytest.raises(DataError):
        source.check("nosuchphoto")


def test_photo_and_mask_come_back_as_written(tiny_source):
    assert tiny_source.classes == CLASSES
    for number, image_id in enumerate(tiny_source.image_ids("all")):
        mask = tiny_mask(number)
        np.testing.assert_array_equal(tiny_source.read_mask(image_id), mask)
        np.testing.assert_array_equal(tiny_source.read_image(image_id), tiny_image(mask, number))


def test_splits_as_ids_and_as_published_pairs_of_paths(tiny_source):
    assert tiny_source.image_ids("train") == [f"p{n:02d}" for n in range(16)]
    assert tiny_source.image_ids("val") == [f"p{n:02d}" for n in range(16, 24)]
    assert tiny_source.image_ids("all") == [f"p{n:02d}" for n in range(24)]


def test_ids_with_dots_and_spaces_stay_whole(tiny):
    (tiny / "ImageSets/Segmentation/odd.txt").write_text("my photo\nv1.5\nJPEGImages/v1.6.jpg x\n")
    assert open_source("voc", tiny).image_ids("odd") == ["my photo", "v1.5", "v1.6"]


def test_devkit_own_mask_folder_and_class_file(tmp_path):
    tree = write_tiny_voc(tmp_path / "VOCdevkit" / "VOC2012", suffix=".jpg")
    for root in (tmp_path, tmp_path / "VOCdevkit", tree):
        assert open_source("voc", str(root)).root == tree
    (tree / "SegmentationClass").rename(tree / "mine")
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\n")
    source = VOCSource(tree, classes=names, masks="mine")
    source.check("p00")
    assert source.classes == tuple("abcd")
    (tree / "classes.txt").unlink()
    assert VOCSource(tree, masks="mine").classes == PASCAL_CLASSES


def test_hidden_files_of_archives_are_no_masks(tiny):
    (tiny / "SegmentationClass" / "._p00.png").write_bytes(b"\0\5\26\7")
    assert "._p00" not in open_source("voc", tiny).image_ids("all")


def test_gray_photos_become_rgb_and_gray_masks_are_indices(tiny):
    Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.uint8)).save(tiny / "JPEGImages/p00.png")
    Image.fromarray(tiny_mask(0)).save(tiny / "SegmentationClass/p00.png")
    source = open_source("voc", tiny)
    assert (source.read_image("p00") == 7).all() and source.read_image("p00").shape[-1] == 3
    np.testing.assert_array_equal(source.read_mask("p00"), tiny_mask(0))


def test_real_palettes_keep_their_indices_where_tensorflow_gives_colours(shared):
    root = shared / "data" / "voc2012_masks"
    source = open_source("voc", root)
    for image_id in ("2007_000032", "2007_000129", "2011_003276"):
        path = root / "SegmentationClassAug" / f"{image_id}.png"
        mask = source.read_mask(image_id)
        np.testing.assert_array_equal(mask, np.array(Image.open(path)))
        assert set(np.unique(mask)) <= {*range(21), 255} and mask.any()
    # Why masks are read by Pillow: a palette image is turned into the palette's colours.
    raw = (root / "SegmentationClassAug" / "2007_000129.png").read_bytes()
    turned = tf.io.decode_png(raw, channels=1)[..., 0].numpy()
    assert not set(np.unique(turned)) <= {*range(21), 255}


def test_own_palette_mask_is_destroyed_by_decode_png(tiny_source):
    raw = tiny_source.mask_path("p01").read_bytes()
    turned = tf.io.decode_png(raw, channels=1)[..., 0].numpy()
    assert not np.array_equal(turned, tiny_mask(1))
    np.testing.assert_array_equal(tiny_source.read_mask("p01"), tiny_mask(1))


def _truncate(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content))])


def _damage_jpeg(root):
    (root / "JPEGImages/p00.png").unlink()
    path = root / "JPEGImages/p00.jpg"
    Image.fromarray(tiny_image(tiny_mask(0), 0)).save(path, quality=95)
    _truncate(path)


DAMAGE = {
    "truncated jpeg": (_damage_jpeg, "read_image", r"p00\.jpg: damaged photo"),
    "truncated png": (lambda r: _truncate(r / "JPEGImages/p00.png"), "read_image",
                      r"p00\.png: damaged photo"),
    "not a picture": (lambda r: (r / "JPEGImages/p00.png").write_text("<html>"), "read_image",
                      r"p00\.png: not readable as a picture"),
    "no photo": (lambda r: (r / "JPEGImages/p00.png").unlink(), "check", "p00: no photo"),
    "no mask": (lambda r: (r / "SegmentationClass/p00.png").unlink(), "check",
                r"p00\.png: no mask"),
    "mask cut in its palette": (lambda r: _truncate(r / "SegmentationClass/p00.png"), "read_mask",
                                r"SegmentationClass.p00\.png: not readable"),
    "mask cut in its pixels": (lambda r: _truncate(r / "SegmentationClass/p00.png", 0.95),
                               "read_mask", r"SegmentationClass.p00\.png: damaged mask"),
    "rgb mask": (lambda r: Image.new("RGB", (WIDTH, HEIGHT)).save(r / "SegmentationClass/p00.png"),
                 "read_mask", r"p00\.png: a picture of mode RGB, an index mask is expected"),
    "16-bit mask": (lambda r: Image.new("I;16", (WIDTH, HEIGHT)).save(
        r / "SegmentationClass/p00.png"), "read_mask", "mode I;16, an index mask is expected"),
    "other size": (lambda r: write_mask(r / "SegmentationClass/p00.png",
                                        np.zeros((HEIGHT, WIDTH + 1), np.uint8)), "check",
                   r"p00\.png: 49 x 40 pixels, its photo has 48 x 40"),
    "other size, reading": (lambda r: write_mask(r / "SegmentationClass/p00.png",
                                                 np.zeros((HEIGHT + 1, WIDTH), np.uint8)),
                            "read_mask", r"p00\.png: 48 x 41 pixels"),
    "strange values": (lambda r: write_mask(r / "SegmentationClass/p00.png",
                                            np.full((HEIGHT, WIDTH), 77, np.uint8)), "read_mask",
                       r"p00\.png: values \[77\] stand for no class"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_named(name, tiny):
    damage, method, match = DAMAGE[name]
    damage(tiny)
    with pytest.raises(DataError, match=match) as caught:
        getattr(open_source("voc", tiny), method)("p00")
    assert "\n" not in str(caught.value)


def test_no_changed_bit_of_a_mask_makes_another_mask(tiny):
    """Pillow alone takes some of them for pixels of another value."""
    path, source = tiny / "SegmentationClass/p00.png", open_source("voc", tiny)
    whole, content, told = source.read_mask("p00"), path.read_bytes(), 0
    pixels = content.index(b"IDAT") + 4
    for at in (*range(16, 33), *range(pixels, len(content) - 12)):
        for bit in (0, 3, 7):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1:])
            try:
                np.testing.assert_array_equal(source.read_mask("p00"), whole)
            except DataError:
                told += 1
    assert told > 100


def test_lists_that_are_wrong(tiny):
    source, lists = open_source("voc", tiny), tiny / "ImageSets/Segmentation"
    with pytest.raises(DataError, match=r"test\.txt: no such split; known: all, train, val"):
        source.image_ids("test")
    (lists / "twice.txt").write_text("p00\np01\np00\n")
    with pytest.raises(DataError, match="1 ids stand twice, first p00"):
        source.image_ids("twice")
    (lists / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="empty list"):
        source.image_ids("empty")


def test_roots_that_are_wrong(tmp_path, tiny):
    with pytest.raises(DataError, match="nosuch: no such folder"):
        open_source("voc", tmp_path / "nosuch")
    with pytest.raises(DataError, match="not of VOC layout; JPEGImages and SegmentationClassAug"):
        open_source("voc", tmp_path)
    with pytest.raises(DataError, match="data.root is not set"):
        open_source("voc")
    with pytest.raises(DataError, match="'vox'; known: .*voc"):
        open_source("vox", tiny)
    (tiny / "JPEGImages").rename(tiny / "photos")
    with pytest.raises(DataError, match="JPEGImages: no such folder"):
        open_source("voc", tiny).check("p00")


def test_class_files_that_are_wrong(tiny):
    with pytest.raises(DataError, match="no such file of class names"):
        VOCSource(tiny, classes=tiny / "nosuch.txt")
    (tiny / "classes.txt").write_text("cup\ncup\n")
    with pytest.raises(DataError, match="different class names are expected"):
        VOCSource(tiny)


def test_one_class_of_an_index_mask():
    index = np.array([[0, 1, 2, 3, 255]], np.uint8)
    assert one_class(index, 2).tolist() == [[0, 0, 1, 0, 255]]
    assert one_class(index, 2, (2, 3)).tolist() == [[0, 0, 1, 255, 255]]
    assert one_class(index, 3, (2, 3)).tolist() == [[0, 0, 255, 1, 255]]
    assert one_class(index, 9).tolist() == [[0, 0, 0, 0, 255]]


def test_class_masks_of_a_photo(tiny_source):
    masks = tiny_source.class_masks("p01")
    assert list(masks) == [2]
    np.testing.assert_array_equal(masks[2], one_class(tiny_mask(1), 2))
    np.testing.assert_array_equal(tiny_source.class_mask("p01", 1), one_class(tiny_mask(1), 1))


def test_photos_of_other_kinds(tiny):
    source, path = open_source("voc", tiny), tiny / "JPEGImages/p00.png"
    gray = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    Image.fromarray(gray).save(path)
    np.testing.assert_array_equal(source.read_image("p00"), gray[..., None].repeat(3, -1))
    path.unlink()
    Image.new("CMYK", (WIDTH, HEIGHT), (0, 0, 0, 0)).save(tiny / "JPEGImages/p00.jpg")
    assert source.read_image("p00").shape == (HEIGHT, WIDTH, 3)
    assert source.read_image("p00").min() > 250
    Image.fromarray(gray.astype(np.uint16) * 257).save(path)
    (tiny / "JPEGImages/p00.jpg").unlink()
    with pytest.raises(DataError, match=r"p00\.png: a photo of mode I;16"):
        source.read_image("p00")


def test_a_photo_that_a_tag_turns(tiny):
    upright = Image.new("RGB", (HEIGHT, WIDTH))
    exif = upright.getexif()
    exif[0x0112] = 6
    (tiny / "JPEGImages/p00.png").unlink()
    upright.save(tiny / "JPEGImages/p00.jpg", exif=exif)
    with pytest.raises(DataError, match=r"a tag in p00\.jpg turns it; save it upright"):
        open_source("voc", tiny).check("p00")


def test_names_that_are_not_ascii(tiny):
    for folder in ("JPEGImages", "SegmentationClass"):
        (tiny / folder / "p00.png").rename(tiny / folder / "größe 1.png")
    source = open_source("voc", tiny)
    assert "größe 1" in source.image_ids("all")
    np.testing.assert_array_equal(source.read_mask("größe 1"), tiny_mask(0))


def test_names_that_are_no_text_are_told(tiny):
    """As of archives from before UTF-8: TensorFlow says no more than that some text is none."""
    for folder in ("JPEGImages", "SegmentationClass"):
        (tiny / folder / "p00.png").rename(tiny / folder / os.fsdecode(b"caf\xe9.png"))
    source = open_source("voc", tiny)
    with pytest.raises(DataError, match=r"tiny: photo caf\\xe9: its name is no UTF-8 text"):
        build_index(source, source.image_ids("all"), cache=None)
