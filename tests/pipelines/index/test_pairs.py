# SPDX-License-Identifier: Apache-2.0
"""Photos against published lists; filters and void on small masks."""

import hashlib

import numpy as np
import pytest

from pipelines import DataError, open_source
from pipelines.folds import PASCAL_CLASSES, novel_class_ids
from pipelines.index import build_index, holdout, split_pairs
from pipelines.sources.voc import VOCSource
from tests.pipelines.tiny_voc import write_mask


class MasksAlone(VOCSource):
    """The shared masks come without photos, so there is nothing to compare them with."""

    def check(self, image_id):
        self.mask_path(image_id)


@pytest.fixture
def masks(shared):
    return MasksAlone(shared / "data" / "voc2012_masks")


def _ids_sha256(pairs):
    ids = sorted({pair.image_id for pair in pairs})
    return hashlib.sha256("".join(f"{i}\n" for i in ids).encode()).hexdigest()


def test_photos_of_pfenets_test_lists(masks, fixtures):
    index = build_index(masks, masks.image_ids("val"), "area2048")
    for fold in range(4):
        pairs = split_pairs(index, novel_class_ids(PASCAL_CLASSES, fold=fold), "novel")
        published = fixtures["pascal5i_pools"][str(fold)]
        assert _ids_sha256(pairs) == published["area2048_val_ids_sha256"]


@pytest.mark.slow
def test_training_photos_of_pfenet_and_bam(masks, shared, fixtures):
    """BAM's lists are PFENet's without the photos that hold a novel class: `novel: drop`."""
    lines = (shared / "data/lists/pfenet/voc_sbd_merge_noduplicate.txt").read_text().split()
    ids = [line.split("/")[-1][:-4] for line in lines if line.endswith(".png")]
    index = build_index(masks, ids, "area2048")
    for fold in range(4):
        pool = fixtures["pascal5i_pools"][str(fold)]
        novel_ids = novel_class_ids(PASCAL_CLASSES, fold=fold)
        for name, policy in (("pfenet", "keep"), ("bam", "drop")):
            pairs = split_pairs(index, novel_ids, "base", policy)
            assert len(pairs) == pool[f"{name}_train_pairs"]
            assert _ids_sha256(pairs) == pool[f"{name}_train_ids_sha256"]


def test_filters_on_a_small_object_beside_void(tiny):
    mask = np.zeros((40, 48), np.uint8)
    mask[0, 0] = 1  # a pixel, and one of mask[::32, ::32]
    mask[5:, :] = 255
    write_mask(tiny / "SegmentationClass/p00.png", mask)
    source = open_source("voc", tiny)
    assert build_index(source, ["p00"]).pairs == (("p00", 1, 1),)
    for pair_filter in ("area2048", "oslsm"):
        index = build_index(source, ["p00"], pair_filter)
        assert index.pairs == () and index.classes_of == {"p00": frozenset({1})}
    with pytest.raises(DataError, match="pair filter 'big': none, area2048, oslsm"):
        build_index(source, ["p00"], "big")


def test_index_names_the_damaged_file(tiny):
    (tiny / "JPEGImages/p05.png").unlink()
    with pytest.raises(DataError, match="p05"):
        build_index(open_source("voc", tiny), [f"p{n:02d}" for n in range(24)])


def test_a_photo_is_dropped_for_a_novel_object_that_the_filter_leaves_out(tiny):
    mask = np.zeros((40, 48), np.uint8)
    mask[:, :], mask[39, 47] = 1, 2
    write_mask(tiny / "SegmentationClass/p00.png", mask)
    index = build_index(open_source("voc", tiny), ["p00"], "oslsm")
    assert [p.class_id for p in index.pairs] == [1]
    assert split_pairs(index, (2,), "base", "drop") == []
    assert len(split_pairs(index, (2,), "base", "keep")) == 1


def test_unknown_splits_and_policies(tiny_source):
    index = build_index(tiny_source, ["p00"])
    with pytest.raises(DataError, match="split 'test'"):
        split_pairs(index, (2,), "test")
    with pytest.raises(DataError, match="novel policy 'ignore'"):
        split_pairs(index, (2,), "base", "ignore")


def test_holdout_keeps_all_pairs_of_a_photo_on_one_side(tiny_source):
    pairs = list(build_index(tiny_source, tiny_source.image_ids("all")).pairs)
    pairs += [pair._replace(class_id=pair.class_id % 4 + 1) for pair in pairs]  # two a photo
    train, held = holdout(pairs, 0.3, seed=1)
    assert train and held and sorted(train + held) == sorted(pairs)
    assert {p.image_id for p in train}.isdisjoint(p.image_id for p in held)
    assert holdout(pairs, 0.0, seed=1) == (pairs, [])


def test_a_list_as_the_filter(tiny_source, tmp_path):
    """hsnet's form and our own JSON lines; the list's order, the masks' areas."""
    ids = tiny_source.image_ids("all")
    plain = {pair.image_id: pair for pair in build_index(tiny_source, ids).pairs}
    path = tmp_path / "list.txt"
    path.write_text("p05__2\np02__3\n", encoding="utf-8")
    assert build_index(tiny_source, ids, str(path)).pairs == (plain["p05"], plain["p02"])
    lines = tmp_path / "pairs.jsonl"
    lines.write_text('{"image": "p05", "class_id": 2}\n', encoding="utf-8")
    assert build_index(tiny_source, ids, str(lines)).pairs == (plain["p05"],)
    path.write_text("p05__1\n", encoding="utf-8")
    with pytest.raises(DataError, match="list.txt: lists class 1 in photo p05"):
        build_index(tiny_source, ids, str(path))


@pytest.mark.slow
@pytest.mark.parametrize("fold", range(4))
def test_hsnets_list_gives_hsnets_pairs(masks, shared, fold):
    path = shared / f"data/lists/hsnet/pascal/val/fold{fold}.txt"
    listed = [line for line in path.read_text().split() if line]
    pairs = build_index(masks, masks.image_ids("val"), str(path)).pairs
    assert [f"{pair.image_id}__{pair.class_id:02d}" for pair in pairs] == listed
