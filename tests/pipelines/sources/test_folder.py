# SPDX-License-Identifier: Apache-2.0
"""A folder a class: masks, class splits, every error."""

import numpy as np
import pytest
from PIL import Image

from pipelines import DataError, episodes, open_source
from pipelines.sources.folder import class_split


@pytest.fixture
def folder(tmp_path):
    """Three classes of three photos, 6 x 8 pixels."""
    rng = np.random.default_rng(0)
    for name in ("mug", "pan", "über"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).save(
                tmp_path / name / f"{i}.jpg")
            mask = np.zeros((6, 8), np.uint8)
            mask[1:4, i:i + 3] = 255
            Image.fromarray(mask).save(tmp_path / name / f"{i}.png")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_fss_mini(shared):
    root = shared / "data" / "fss_mini"
    source = open_source("folder", root)
    assert len(source.classes) == 39 and len(source.image_ids("all")) == 390
    for image_id in source.image_ids("all")[::7]:
        source.check(image_id)
        (class_id, mask), = source.class_masks(image_id).items()
        path = root / f"{image_id}.png"
        np.testing.assert_array_equal(mask == 1, np.asarray(Image.open(path).convert("L")) > 128)
        assert source.classes[class_id - 1] == image_id.split("/")[0]
    lists = root / "splits"
    parts = class_split(source.classes, lists / "test.txt")
    assert [len(parts[s]) for s in ("train", "val", "test")] == [20, 10, 9]
    assert set(parts["val"]) == set((lists / "val.txt").read_text().split())
    batch = next(iter(episodes("fss1000", root, split_file=lists / "test.txt", batch=4,
                               image_size=33)))
    assert {source.classes[c - 1] for c in batch["class_id"].numpy()} <= set(parts["train"])


def test_the_published_lists(shared):
    lists = shared / "data" / "lists" / "hsnet" / "fss"
    names = [n for f in ("trn", "val", "test") for n in (lists / f"{f}.txt").read_text().split()]
    parts = class_split(names, lists / "test.txt")
    assert [len(parts[s]) for s in ("train", "val", "test")] == [520, 240, 240]


@pytest.mark.parametrize("values, expected", [
    ([0, 255], [0, 1]), ([0, 1], [0, 1]), ([0, 1, 255], [0, 1, 255]), ([255, 255], [1, 1])])
def test_the_values_of_masks(folder, values, expected):
    picture = np.resize(np.array(values, np.uint8), (6, 8))
    Image.fromarray(picture).save(folder / "mug/0.png")
    mask = open_source("folder", folder).class_mask("mug/0", 1)
    np.testing.assert_array_equal(mask, np.resize(np.array(expected), (6, 8)))
    # Three equal channels are one.
    Image.fromarray(picture[..., None].repeat(3, -1)).save(folder / "mug/0.png")
    np.testing.assert_array_equal(open_source("folder", folder).class_mask("mug/0", 1), mask)


def test_names_leave_a_split_file_nothing_to_say(folder, tmp_path):
    with pytest.raises(DataError, match="leave fold, layout and split_file out"):
        episodes("folder", folder, novel_classes=["mug"], split_file=tmp_path / "x.txt")


def test_hidden_folders_are_no_classes(folder):
    (folder / ".thumbnails").mkdir()
    Image.new("RGB", (8, 6)).save(folder / ".thumbnails/0.jpg")
    assert open_source("folder", folder).classes == ("mug", "pan", "über")


@pytest.mark.parametrize("name", ["0.jpeg", "0.JPG"])
def test_two_photos_of_one_name(folder, name):
    Image.new("RGB", (8, 6)).save(folder / "mug" / name)
    with pytest.raises(DataError, match=r"mug/0.*has the same name, and 0.png is the mask of one"):
        open_source("folder", folder)


def test_masks_of_other_classes(folder):
    source = open_source("folder", folder)
    assert source.classes == ("mug", "pan", "über")
    own = source.class_mask("über/1", 3)
    assert not source.class_mask("über/1", 1).any()
    np.testing.assert_array_equal(source.class_mask("über/1", 1, (3,)) == 255, own == 1)
    np.testing.assert_array_equal(source.read_mask("über/1"), own * 3)


DAMAGE = {
    "strange values": (lambda r: Image.fromarray(np.full((6, 8), 7, np.uint8)).save(
        r / "mug/0.png"), r"mug/0\.png: holds \[7\]"),
    "colour": (lambda r: Image.new("RGB", (8, 6), (1, 2, 3)).save(r / "mug/0.png"),
               r"mug/0\.png: a mask in colours"),
    "other size": (lambda r: Image.new("L", (8, 7)).save(r / "mug/0.png"), r"8 x 7 pixels"),
    "no mask": (lambda r: (r / "mug/0.png").unlink(), r"mug/0\.png: no mask"),
    "not a picture": (lambda r: (r / "mug/0.png").write_text("x"), r"not readable"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_masks_are_named(folder, name):
    damage, match = DAMAGE[name]
    damage(folder)
    with pytest.raises(DataError, match=match):
        open_source("folder", folder).class_masks("mug/0")


def test_roots_and_ids_that_are_wrong(folder):
    with pytest.raises(DataError, match="no such folder"):
        open_source("folder", folder / "nosuch")
    with pytest.raises(DataError, match="no folder in it holds photos"):
        open_source("folder", folder / "mug")
    source = open_source("folder", folder)
    with pytest.raises(DataError, match="no photo 'mug/9'"):
        source.read_image("mug/9")
    with pytest.raises(DataError, match="no split 'val' of photos"):
        source.image_ids("val")


def test_class_splits(folder, tmp_path):
    names = [f"class {i}" for i in range(50)]
    parts = class_split(names)
    assert [len(parts[s]) for s in ("train", "val", "test")] == [30, 10, 10]
    assert sorted(sum(parts.values(), ())) == sorted(names)
    assert class_split(names[::-1])["test"] == parts["test"][::-1]
    assert class_split(names, seed=1)["test"] != parts["test"]
    novel = tmp_path / "novel.txt"
    novel.write_text("pan\n")
    assert class_split(("mug", "pan", "pot"), novel)["train"] == ("mug", "pot")
    (tmp_path / "train.txt").write_text("mug\n")
    assert class_split(("mug", "pan", "pot"), novel) == {
        "train": ("mug",), "val": ("pot",), "test": ("pan",)}
    for text, match in (("lid\n", "'lid' is no class"), ("", "an empty list"),
                        ("mug\n", "'mug' stands in train.txt too")):
        novel.write_text(text)
        with pytest.raises(DataError, match=match):
            class_split(("mug", "pan"), novel)
    with pytest.raises(DataError, match="no such file"):
        class_split(("mug",), tmp_path / "no.txt")
