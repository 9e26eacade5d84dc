# SPDX-License-Identifier: Apache-2.0
"""What a run trains on and is tested on."""

import os
from collections import Counter
from pathlib import Path

import pytest

from pipelines import DataError, open_source
from pipelines.index import Pair
from sst_tf.config import Config, DataConfig, EvaluateConfig
from sst_tf.config.sections import JoinConfig
from sst_tf.data import run_data
from tests.pipelines.tiny_voc import write_tiny_voc


def test_splits_that_share_photos_read_each_mask_once(tmp_path, monkeypatch):
    root = write_tiny_voc(tmp_path / "tiny")
    (root / "ImageSets/Segmentation/both.txt").write_text(
        "".join(f"p{number:02d}\n" for number in range(8, 24)))
    source, read = open_source("voc", root), Counter()
    plain = source.class_masks
    monkeypatch.setattr(source, "class_masks", lambda i: read.update([i]) or plain(i))
    monkeypatch.setattr(source, "files", lambda i: (Path("nowhere"),), raising=False)
    monkeypatch.setattr(run_data, "open_source", lambda *args, **options: source)
    data = run_data.open_data(Config(data=DataConfig(
        dataset="voc", root=str(root), novel_classes=["fork"], train_split="train",
        novel_split="both")))
    assert set(read.values()) == {1} and len(read) == 24
    assert {p.image_id for p in data.novel} == {"p09", "p13", "p17", "p21"}
    assert {p.image_id for p in data.train + data.validation} < {f"p{n:02d}" for n in range(16)}


def test_photos_are_known_by_their_files_sizes(tmp_path):
    root = write_tiny_voc(tmp_path / "tiny")
    config = Config(data=DataConfig(dataset="voc", root=str(root), novel_classes=["fork"],
                                    train_split="train", novel_split="val"))
    data = run_data.open_data(config)
    before, (photo, *_) = data.novel_sha256(), data.source.files(data.novel[0].image_id)[::-1]
    os.utime(photo, (1, 1))
    assert data.novel_sha256() == before
    photo.write_bytes(photo.read_bytes() + b"0")
    assert data.novel_sha256() != before
    photo.unlink()
    assert data.novel_sha256() is None


def test_classes_that_take_no_part_are_not_base_classes(tmp_path):
    source = open_source("voc", write_tiny_voc(tmp_path / "tiny"))
    data = run_data.RunData(source, (1,), [], [], [], "keep", {}, frozenset({3}))
    assert data.class_names() == {"base": ["fork", "plate"], "novel": ["cup"]}


def test_a_novel_class_without_a_photo_is_named(tmp_path):
    root = write_tiny_voc(tmp_path / "tiny")
    (root / "ImageSets/Segmentation/few.txt").write_text("p01\np05\np02\n")  # fork, knife
    options = {"dataset": "voc", "root": str(root), "train_split": "train", "novel_split": "few"}
    with pytest.raises(DataError, match="split few: no photo to test novel class cup, plate on"):
        run_data.open_data(Config(data=DataConfig(
            novel_classes=["plate", "fork", "cup"], **options)))
    run_data.open_data(Config(data=DataConfig(novel_classes=["fork", "knife"], **options)))


def test_a_list_of_pairs_may_name_photos_of_both_splits(tmp_path):
    root = write_tiny_voc(tmp_path / "tiny")
    options = {"dataset": "voc", "root": str(root), "novel_classes": ["fork"],
               "train_split": "train", "novel_split": "val", "validation_share": 0.4}
    every = run_data.open_data(Config(data=DataConfig(**options)))
    pairs = every.train[1:] + every.validation + every.novel[1:]
    file = tmp_path / "pairs.txt"
    file.write_text("".join(f"{pair.image_id}__{pair.class_id}\n" for pair in pairs))
    listed = DataConfig(**options, pair_filter=str(file))
    found = run_data.open_data(Config(data=listed))
    assert (found.train, found.validation, found.novel) == (
        every.train[1:], every.validation, every.novel[1:])
    # hsnet's: a list for training, another for the tests.
    file.write_text("".join(f"{pair.image_id}__{pair.class_id}\n" for pair in every.train))
    with pytest.raises(DataError, match="no photo to test novel class fork"):
        run_data.open_data(Config(data=listed))
    tests = tmp_path / "tests.txt"
    tests.write_text("".join(f"{pair.image_id}__{pair.class_id}\n" for pair in every.novel[:2]))
    found = run_data.open_data(Config(data=listed, evaluate=EvaluateConfig(pair_list=str(tests))))
    assert (found.train, found.validation, found.novel) == (every.train, [], every.novel[:2])
    listed.join = [JoinConfig(name="more", dataset="voc", root=str(root), split="all")]
    with pytest.raises(DataError, match=r"pairs.txt: a list says nothing of the photos of data.jo"):
        run_data.open_data(Config(data=listed))


@pytest.mark.parametrize("part, whose, keys", [
    ("train", "training photos of base classes", ("train.shots", "data.train_split")),
    ("validation", "held-out photos of base classes",
     ("raise data.validation_share", "lower evaluate.shots")),
    ("novel", "photos of novel classes", ("evaluate.shots", "data.novel_split"))])
def test_a_part_with_too_few_photos_is_named_with_its_keys(tmp_path, part, whose, keys):
    source = open_source("voc", write_tiny_voc(tmp_path / "tiny"))
    pairs = [Pair("p00", 2, 9), Pair("p01", 2, 9)] if part != "novel" else []
    data = run_data.RunData(source, (1,), pairs, pairs, pairs, "keep", {})
    with pytest.raises(DataError) as refused:
        data.sampler(part, 5, seed=0)
    told = str(refused.value)
    assert told.startswith(f"0 classes have more than 5 {whose}; episodes need one: add photos")
    assert all(key in told for key in keys)
