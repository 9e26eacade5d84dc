"""Pairs by rule against published counts; base, novel and held-out photos."""

import hashlib
from functools import cache

import numpy as np
import pytest
from tiny_voc import write_mask

from pipelines import DataError, open_source
from pipelines.folds import PASCAL_CLASSES, novel_class_ids
from pipelines.index import build_index, holdout, split_pairs
from pipelines.sources.voc import VOCSource


class MasksAlone(VOCSource):
    """The shared masks come without photos, so there is nothing to compare them with."""

    def check(self, image_id):
        self.mask_path(image_id)


@cache
def shared_index(shared, split, rule):
    root = shared / "data" / "voc2012_masks"
    ids = (root / f"{split}.txt").read_text(encoding="utf-8").split()
    return build_index(MasksAlone(root), ids, rule)


def _ids_sha256(pairs):
    ids = sorted({pair.image_id for pair in pairs})
    return hashlib.sha256("".join(f"{i}\n" for i in ids).encode()).hexdigest()


def _check_counts(shared, fixtures, split, fixture_split, rule):
    index = shared_index(shared, split, rule)
    for fold in range(4):
        published = fixtures["pascal5i_pairs"][fixture_split][str(fold)]
        pairs = split_pairs(index, novel_class_ids(PASCAL_CLASSES, fold=fold), "novel")
        assert len(pairs) == published[rule]
        for name, count in published[f"{rule}_per_class"].items():
            assert sum(PASCAL_CLASSES[p.class_id - 1] == name for p in pairs) == count


@pytest.mark.parametrize("rule", ["none", "area2048", "oslsm"])
def test_pairs_of_voc_val(shared, fixtures, rule):
    _check_counts(shared, fixtures, "val", "val", rule)


def test_photos_of_pfenets_test_lists(shared, fixtures):
    for fold in range(4):
        pairs = split_pairs(shared_index(shared, "val", "area2048"),
                            novel_class_ids(PASCAL_CLASSES, fold=fold), "novel")
        assert _ids_sha256(pairs) == fixtures["pascal5i_pools"][str(fold)]["area2048_val_ids_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["none", "area2048", "oslsm"])
def test_pairs_of_trainaug(shared, fixtures, rule):
    _check_counts(shared, fixtures, "trainaug", "train", rule)


@pytest.mark.slow
def test_training_photos_of_pfenet_and_bam(shared, fixtures):
    """BAM's lists are PFENet's without the photos that hold a novel class: `novel: drop`."""
    lines = (shared / "data/lists/pfenet/voc_sbd_merge_noduplicate.txt").read_text().split()
    ids = [line.split("/")[-1][:-4] for line in lines if line.endswith(".png")]
    index = build_index(MasksAlone(shared / "data/voc2012_masks"), ids, "area2048")
    for fold in range(4):
        pool, novel = fixtures["pascal5i_pools"][str(fold)], novel_class_ids(
            PASCAL_CLASSES, fold=fold)
        for name, rule in (("pfenet", "keep"), ("bam", "drop")):
            pairs = split_pairs(index, novel, "base", rule)
            assert len(pairs) == pool[f"{name}_train_pairs"]
            assert _ids_sha256(pairs) == pool[f"{name}_train_ids_sha256"]


def test_rules_on_small_masks(tmp_path, tiny):
    mask = np.zeros((40, 48), np.uint8)
    mask[0, 0] = 1  # a pixel, and the one of mask[::32, ::32]
    mask[5:, :] = 255
    write_mask(tiny / "SegmentationClass/p00.png", mask)
    source = open_source("voc", tiny)
    assert build_index(source, ["p00"]).pairs == (("p00", 1, 1),)
    for rule in ("area2048", "oslsm"):
        index = build_index(source, ["p00"], rule)
        assert index.pairs == () and index.classes_of == {"p00": frozenset({1})}
    with pytest.raises(DataError, match="pair rule 'big': none, area2048, oslsm"):
        build_index(source, ["p00"], "big")


def test_void_is_no_class(tiny_source):
    index = build_index(tiny_source, tiny_source.image_ids("all"))
    assert len(index.pairs) == 24
    assert {c for classes in index.classes_of.values() for c in classes} == {1, 2, 3, 4}


def test_index_names_the_damaged_file(tiny):
    (tiny / "JPEGImages/p05.png").unlink()
    with pytest.raises(DataError, match="p05"):
        build_index(open_source("voc", tiny), [f"p{n:02d}" for n in range(24)])


def test_novel_photos_dropped_or_kept(tiny):
    both = np.zeros((40, 48), np.uint8)
    both[:10], both[20:21, :2] = 1, 2
    write_mask(tiny / "SegmentationClass/p00.png", both)
    # The rule leaves out the small novel object; its photo is dropped all the same.
    index = build_index(open_source("voc", tiny), ["p00", "p02", "p05"], "none")
    assert [p.image_id for p in split_pairs(index, (2,), "base", "drop")] == ["p02"]
    for rule in ("keep", "ignore255"):
        assert [p[:2] for p in split_pairs(index, (2,), "base", rule)] == [("p00", 1), ("p02", 3)]
    assert [p[:2] for p in split_pairs(index, (2,), "novel")] == [("p00", 2), ("p05", 2)]
    with pytest.raises(DataError, match="split 'test'"):
        split_pairs(index, (2,), "test")
    with pytest.raises(DataError, match="novel rule 'ignore'"):
        split_pairs(index, (2,), "base", "ignore")


def test_holdout_parts_photos_whatever_their_order(tiny_source):
    pairs = list(build_index(tiny_source, tiny_source.image_ids("all")).pairs)
    pairs += [pair._replace(class_id=pair.class_id % 4 + 1) for pair in pairs]  # two a photo
    train, held = holdout(pairs, 0.3, seed=1)
    assert train and held and sorted(train + held) == sorted(pairs)
    assert {p.image_id for p in train}.isdisjoint(p.image_id for p in held)
    again, held_again = holdout(pairs[::-1], 0.3, seed=1)
    assert set(again) == set(train) and set(held_again) == set(held)
    assert holdout(pairs, 0.3, seed=2)[1] != held
    assert holdout(pairs, 0.0, seed=1) == (pairs, [])
