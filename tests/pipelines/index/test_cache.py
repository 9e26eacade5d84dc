# SPDX-License-Identifier: Apache-2.0
"""What was read of masks is kept beside the files' fingerprint, and never trusted blindly."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from pipelines import DataError, open_source
from pipelines.index import build_index, read_facts
from pipelines.index.cache import FORMAT
from pipelines.sources.joined import JoinedSource, Part
from pipelines.sources.voc import VOCSource
from tests.pipelines.tiny_voc import write_mask

IDS = [f"p{n:02d}" for n in range(24)]


def settle(root):
    """Files of an hour ago: younger ones are not kept, as they may still change."""
    for path in Path(root).rglob("*.*"):
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)


@pytest.fixture
def counted(tiny, monkeypatch):
    """(source, ids read since last asked): a settled tiny tree."""
    settle(tiny)
    source, read = open_source("voc", tiny), []
    plain = source.class_masks
    monkeypatch.setattr(source, "class_masks", lambda i: read.append(i) or plain(i))

    def taken():
        found, read[:] = sorted(read), []
        return found

    return source, taken


def test_a_second_reading_looks_at_no_mask_and_says_the_same(counted, tmp_path):
    source, read = counted
    first = {f: build_index(source, IDS[:16], f, cache=tmp_path / "c") for f in
             ("none", "area2048", "oslsm")}
    assert read() == IDS[:16]
    assert build_index(source, IDS, cache=tmp_path / "c") == build_index(source, IDS, cache=None)
    assert read() == sorted(IDS[16:] + IDS)
    for name, index in first.items():
        assert build_index(source, IDS[:16], name, cache=tmp_path / "c") == index
    assert read() == [] and len(list((tmp_path / "c").iterdir())) == 1


def test_changed_files_alone_are_read_and_checked_again(counted, tiny, tmp_path):
    source, read = counted
    build_index(source, IDS, cache=tmp_path / "c")
    read()
    mask = np.zeros((40, 48), np.uint8)
    mask[:9] = 3
    write_mask(tiny / "SegmentationClass/p05.png", mask)
    index = build_index(source, IDS, cache=tmp_path / "c")
    assert read() == ["p05"] and [p for p in index.pairs if p.image_id == "p05"] == [
        ("p05", 3, 9 * 48)]
    assert build_index(source, IDS, cache=tmp_path / "c") == index
    assert read() == ["p05"]  # written just now: not kept yet
    settle(tiny / "SegmentationClass")  # all other times
    (tiny / "JPEGImages/p07.png").unlink()
    with pytest.raises(DataError, match="p07"):
        build_index(source, IDS, cache=tmp_path / "c")
    assert set(read()) >= set(IDS[:7])
    build_index(source, IDS[:7], cache=tmp_path / "c")
    assert read() == []  # what was sound before the damaged one is kept


def test_an_option_of_an_own_source_has_an_index_of_its_own(tiny, tmp_path):
    class Merged(VOCSource):
        """Every object is of the first class, if so wished."""

        merge = False

        def class_masks(self, image_id):
            masks = super().class_masks(image_id)
            return {1: np.maximum.reduce(list(masks.values()))} if self.merge else masks

    settle(tiny)
    for merge in (False, True, False):
        source = Merged(tiny)
        source.merge = merge
        kept = build_index(source, IDS, cache=tmp_path / "c")
        assert kept == build_index(source, IDS, cache=None)
        assert ({pair.class_id for pair in kept.pairs} == {1}) is merge


@pytest.mark.parametrize("damage, word", [
    (lambda text: text.replace('["p', '["q').replace(",", ",1", 9), "damaged"),
    (lambda text: text[:-40], "damaged"), (lambda text: "", "damaged"),
    (lambda text: "[]\n[]\n", "damaged"), (lambda text: "\udcff", "damaged"),
    (lambda text: text.replace('"classes"', '"others"', 1), "of another data set"),
    (lambda text: text.replace(f'"format": {FORMAT}', '"format": 0', 1), "of another data set")])
def test_a_damaged_or_foreign_file_is_told_of_and_read_anew(counted, tmp_path, capsys, damage,
                                                            word):
    source, read = counted
    index = build_index(source, IDS, cache=tmp_path / "c")
    path, = (tmp_path / "c").iterdir()
    whole = path.read_text()
    read(), capsys.readouterr()
    path.write_text(damage(whole), errors="surrogateescape")
    assert build_index(source, IDS, cache=tmp_path / "c") == index and read() == IDS
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and str(path) in told and word in told
    assert build_index(source, IDS, cache=tmp_path / "c") == index and read() == []
    assert capsys.readouterr().err == "" and path.read_text() == whole


def test_a_folder_that_cannot_be_written(counted, tmp_path, capsys):
    source, read = counted
    (tmp_path / "file").write_text("")
    for _ in range(2):
        index = build_index(source, IDS, cache=tmp_path / "file/c")
        assert read() == IDS and index == build_index(source, IDS, cache=None)
        assert "masks are read again each time" in capsys.readouterr().err
        read()


def test_other_class_names_are_another_data_set(counted, tiny, tmp_path):
    source, read = counted
    build_index(source, IDS, cache=tmp_path / "c")
    (tiny / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(DataError, match="stand for no class"):
        build_index(open_source("voc", tiny), IDS, cache=tmp_path / "c")


def test_the_order_of_a_part_s_classes_is_another_data_set(tiny, tmp_path):
    """The list of all classes stays, as the main part has them; what a number stands for does not.
    """
    settle(tiny)
    names = open_source("voc", tiny).classes

    def source_of(classes):
        (tiny / "classes.txt").write_text("\n".join(classes) + "\n")
        return open_source("voc", tiny)

    def facts(other):
        parts = {"main": Part(source_of(names), {}), "more": Part(source_of(other), {})}
        return read_facts(JoinedSource(parts), [f"more:{one}" for one in IDS], cache=tmp_path / "c")

    one, other = facts(names), facts([names[1], names[0], *names[2:]])
    assert one != other and facts(names) == one


def test_coco_depends_on_its_json(shared, tmp_path):
    source = open_source("coco", shared / "data/coco_mini")
    ids = source.image_ids("val")[:5]
    facts = read_facts(source, ids, cache=tmp_path)
    assert read_facts(source, ids, cache=tmp_path) == facts and len(facts) == 5
    photo, listed = source.files(ids[0])
    assert photo.is_file() and listed.name.startswith("instances_val")
    path, = tmp_path.iterdir()
    assert set(json.loads(path.read_text().splitlines()[1])) == set(ids)
