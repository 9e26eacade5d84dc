# SPDX-License-Identifier: Apache-2.0
"""Records give what their photos give; damaged ones are named."""

import itertools
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines import Augment, DataError, EpisodeSampler, episode_dataset, open_source
from pipelines.index import build_index, read_facts, split_pairs
from pipelines.prepare import __main__ as prepare
from pipelines.prepare.records import records
from pipelines.reading.transforms import resize_image, resize_mask
from pipelines.sources.joined import JoinedSource, Part
from pipelines.sources.records import FACTS, MASKS, PHOTOS, RecordsSource
from tests.pipelines.tiny_voc import write_mask, write_tiny_voc

pytest.importorskip("array_record", reason="an extra: pip install 'sst-tf[records]'")
SIZE = 33


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(VOC tree, records of it)."""
    folder = tmp_path_factory.mktemp("records")
    root = write_tiny_voc(folder / "tiny")
    prepare.main(["records", "voc", "--root", str(root), "--output", str(folder / "records"),
                  "--image_size", str(SIZE), "--splits", "train", "val"])
    return root, folder / "records"


def episodes_of(source, pair_filter="none", **options):
    index = build_index(source, source.image_ids("all"), pair_filter, cache=None)
    drawn = EpisodeSampler(index.pairs, 2, seed=3).take(12)
    return list(episode_dataset(source, drawn, image_size=SIZE, batch=4, **options)
                .as_numpy_iterator())


def assert_same(first, second, but=()):
    for one, two in zip(first, second, strict=True):
        for key in one.keys() - set(but):
            np.testing.assert_array_equal(one[key], two[key], key)


@pytest.mark.parametrize("options", [
    {}, {"flip": True, "ignore_ids": (2, 3)},
    {"flip": True, "augment": Augment((0.8, 1.5), 15.0, 0.5)}])
def test_the_bits_of_a_folder_of_the_resized_photos(made, tmp_path, options):
    root, folder = made
    source = open_source("voc", root)
    small = tmp_path / "small"
    for part in ("JPEGImages", "SegmentationClass"):
        (small / part).mkdir(parents=True)
    shutil.copy(root / "classes.txt", small)
    for name in source.image_ids("all"):
        Image.fromarray(resize_image(source.read_image(name), SIZE).numpy()).save(
            small / "JPEGImages" / f"{name}.png")
        write_mask(small / "SegmentationClass" / f"{name}.png",
                   resize_mask(source.read_mask(name), SIZE).numpy())
    assert_same(episodes_of(open_source("voc", small), **options),
                episodes_of(open_source("voc", folder), **options))


def test_the_bits_and_pairs_of_the_photos_themselves(made):
    root, folder = made
    for pair_filter in ("none", "oslsm"):  # of 40 x 48 pixels oslsm keeps none
        facts = [build_index(open_source("voc", r), open_source("voc", r).image_ids("all"),
                             pair_filter, cache=None) for r in made]
        assert facts[0] == facts[1]
    assert_same(*(episodes_of(open_source("voc", r), flip=True) for r in (root, folder)),
                but=["query_size"])


def test_crowds_are_in_the_records_of_photos(tmp_path):
    """A class that is there as a crowd alone counts as there; a crowd is void of other classes."""
    boxes = {"mug": (0, 0, 20, 20), "crowd": (10, 10, 30, 30), "spoons": (0, 25, 10, 30)}

    def annotation(number, category, name, photo=1, crowd=0):
        inside = np.zeros((30, 40), np.uint8)
        top, left, bottom, right = boxes[name]
        inside[top:bottom, left:right] = 1
        changes = np.flatnonzero(np.diff(np.r_[0, inside.ravel("F"), 1 - inside.ravel("F")[-1]]))
        return {"id": number, "image_id": photo, "category_id": category, "iscrowd": crowd,
                "segmentation": {"size": [30, 40], "counts": np.diff(np.r_[0, changes]).tolist()}}

    for number in (1, 2):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{number}.png")
    (tmp_path / "own.json").write_text(json.dumps({
        "images": [{"id": i, "file_name": f"{i}.png", "height": 30, "width": 40} for i in (1, 2)],
        "categories": [{"id": i, "name": n} for i, n in enumerate(("mug", "fork", "spoon"), 1)],
        "annotations": [annotation(1, 1, "mug"), annotation(2, 2, "crowd", crowd=1),
                        annotation(3, 1, "mug", 2), annotation(4, 3, "spoons", 2)]}))
    photos = open_source("coco", tmp_path, annotations=tmp_path / "own.json")
    stored = RecordsSource(records(photos, tmp_path / "records", SIZE))
    ids = photos.image_ids("all")
    indexes = [build_index(source, ids, cache=None) for source in (photos, stored)]
    assert indexes[0] == indexes[1] and indexes[1].classes_of["all/1.png"] == {1, 2}
    assert {pair.image_id for pair in split_pairs(indexes[1], (2,), "base")} == {"all/2.png"}
    for image_id, class_id, hidden in itertools.product(ids, (1, 2, 3), ((), (1,), (2, 3))):
        np.testing.assert_array_equal(
            stored.class_mask(image_id, class_id, hidden),
            resize_mask(photos.class_mask(image_id, class_id, hidden), SIZE).numpy())
    assert (stored.class_mask("all/1.png", 3) == 255).sum() > 300  # below the mug, too


def test_photos_that_label_different_classes_make_no_records(made, tmp_path):
    joined = JoinedSource({"a": Part(open_source("voc", made[0]), {"train": "train"})})
    with pytest.raises(DataError, match="prepare its parts and join their records"):
        records(joined, tmp_path / "joined", SIZE)
    nested = JoinedSource({"b": Part(joined, {"train": "all"})})
    assert build_index(nested, nested.image_ids("all"), cache=tmp_path / "cache").pairs


def test_class_folders(tmp_path):
    root = tmp_path / "folders"
    rng = np.random.default_rng(0)
    for name in ("cup", "fork"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 255, (30, 50, 3), np.uint8)).save(
                root / name / f"{i}.jpg")
            Image.fromarray(np.uint8(rng.random((30, 50)) < 0.3)).save(root / name / f"{i}.png")
    records(open_source("folder", root), tmp_path / "r", SIZE)
    assert_same(*(episodes_of(open_source("folder", r)) for r in (root, tmp_path / "r")),
                but=["query_size"])


def test_what_a_source_must_offer(made):
    root, folder = made
    photos, kept = open_source("voc", root), open_source("voc", folder)
    assert kept.classes == photos.classes and kept.name == f"voc-{SIZE}"
    for split in ("train", "val"):
        assert kept.image_ids(split) == photos.image_ids(split)
    assert kept.provenance["dataset"] == "voc" and len(kept.provenance["sha256"]) == 64
    for name in kept.image_ids("all")[:5]:
        kept.check(name)
        np.testing.assert_array_equal(kept.read_mask(name),
                                      resize_mask(photos.read_mask(name), SIZE))
        absent = next(c for c in range(1, 5) if c not in kept.class_masks(name))
        np.testing.assert_array_equal(kept.class_mask(name, absent),
                                      resize_mask(photos.class_mask(name, absent), SIZE))
    with pytest.raises(DataError, match="no photo 'nobody'"):
        kept.read_image("nobody")
    with pytest.raises(DataError, match="known: all, train, val"):
        kept.image_ids("test")


def test_another_size_kind_or_mask_is_refused(made):
    source = open_source("voc", made[1])
    drawn = EpisodeSampler(build_index(source, source.image_ids("all")).pairs, 1, seed=0).take(2)
    for options in ({"image_size": 32}, {"image_size": SIZE, "resize": "pad"}):
        with pytest.raises(DataError, match="33 x 33"):
            episode_dataset(source, drawn, batch=2, **options)
    with pytest.raises(DataError, match="full_mask"):
        episode_dataset(source, drawn, batch=2, image_size=SIZE, full_mask=True)
    with pytest.raises(DataError, match="of kind voc, coco is"):
        open_source("coco", made[1])
    with pytest.raises(DataError, match="leave data.classes out"):
        open_source("voc", made[1], classes="classes.txt")


def read_all(folder):
    source = RecordsSource(folder)
    return [a for i in source.image_ids("all")
            for a in (source.read_image(i), *source.class_masks(i).values())]


@pytest.mark.parametrize("name", [PHOTOS, MASKS, FACTS])
def test_damage_is_named_or_harmless(made, tmp_path, name):
    whole, expected = (made[1] / name).read_bytes(), read_all(made[1])
    shutil.copytree(made[1], tmp_path / "r")
    rng, refused = np.random.default_rng(0), 0
    for number in range(12):
        at = int(rng.integers(len(whole)))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << number % 8
        # A folder without records.json is no records: cut, never emptied.
        (tmp_path / "r" / name).write_bytes(whole[:at] if number % 3 == 0 else damaged)
        try:
            found = read_all(tmp_path / "r")
        except DataError as error:
            assert name in str(error) and "prepare the records again" in str(error)
            assert "\n" not in str(error)
            refused += 1
        else:  # bytes that nothing is read from
            assert number % 3
            for one, two in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, two)
    assert refused >= 4  # whatever is cut short


def test_made_once_and_nothing_else_is_replaced(made, tmp_path, capsys):
    source = open_source("voc", made[0])
    before = (made[1] / FACTS).stat().st_mtime_ns
    assert records(source, made[1], SIZE, ["train", "val"]) == made[1]
    assert (made[1] / FACTS).stat().st_mtime_ns == before
    with pytest.raises(DataError, match="image_size"):
        records(source, made[1], SIZE + 1, ["train", "val"])
    corrected = shutil.copytree(made[0], tmp_path / "corrected")
    os.utime(next((corrected / "SegmentationClass").glob("*.png")), (9, 9))
    with pytest.raises(DataError, match="records of other files, or of these before they changed"):
        records(open_source("voc", corrected), made[1], SIZE, ["train", "val"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="something else"):
        records(source, tmp_path / "mine", SIZE)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_size_that_cannot_be_is_named(made, tmp_path):
    with pytest.raises(DataError, match="^image_size 0: a whole number of 1 or more"):
        records(made[0], tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()


def test_a_killed_process_leaves_no_records_and_the_next_starts_clean(made, tmp_path):
    output = tmp_path / "r"
    code = ("import sys, os, signal; from pipelines import open_source\n"
            "from pipelines.prepare import records as r\n"
            "source = open_source('voc', sys.argv[1]); read = source.read_image\n"
            "def kill(name):\n"
            "    if name == 'p20': os.kill(os.getpid(), signal.SIGKILL)\n"
            "    return read(name)\n"
            "source.read_image = kill; r.records(source, sys.argv[2], 33, ['train', 'val'])")
    done = subprocess.run([sys.executable, "-c", code, str(made[0]), str(output)], timeout=120,
                          capture_output=True)
    assert done.returncode == -9 and not output.exists()
    assert list(tmp_path.glob(".partial-*"))
    records(open_source("voc", made[0]), output, SIZE, ["train", "val"])
    assert not list(tmp_path.glob(".partial-*"))
    for one, two in zip(read_all(output), read_all(made[1]), strict=True):
        np.testing.assert_array_equal(one, two)


def test_joined_records_keep_the_facts_of_the_masks_they_were_made_of(made):
    """Pair filters count the pixels of masks before they were resized."""
    root, folder = made
    plain, stored = open_source("voc", root), RecordsSource(folder)
    other = open_source("shapes", image_size=SIZE, count=6)
    by_photo, by_record = (read_facts(joined, joined.image_ids("all"), cache=None) for joined in (
        JoinedSource({"main": Part(one, {"train": "train"}),
                      "shapes": Part(other, {"train": "all"})}) for one in (plain, stored)))
    assert by_photo == by_record and any(
        by_record[f"shapes:{name}"] for name in other.image_ids("all"))


def test_records_beside_photos_give_what_all_photos_give(made, tmp_path):
    root, folder = made
    photos = open_source("voc", write_tiny_voc(tmp_path / "other"))
    assert photos.read_image("p00").shape[:2] != (SIZE, SIZE)
    by_photo, by_record = (
        JoinedSource({"main": Part(one, {"train": "train"}), "other": Part(photos, {})})
        for one in (open_source("voc", root), RecordsSource(folder)))
    assert_same(episodes_of(by_photo), episodes_of(by_record), but=["query_size"])
    names = by_record.image_ids("all")
    drawn = EpisodeSampler(build_index(by_record, names, cache=None).pairs, 1, 0).take(2)
    with pytest.raises(DataError, match="33 x 33; squash to 32"):
        episode_dataset(by_record, drawn, batch=2, image_size=32)
    with pytest.raises(DataError, match="full_mask"):
        episode_dataset(by_record, drawn, batch=2, image_size=SIZE, full_mask=True)
