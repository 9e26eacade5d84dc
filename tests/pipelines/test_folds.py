# SPDX-License-Identifier: Apache-2.0
import pytest

from pipelines import DataError
from pipelines.folds import COCO_CLASSES, PASCAL_CLASSES, coco20i, novel_class_ids, pascal5i


def test_lists_equal_the_published_ones(fixtures):
    assert list(PASCAL_CLASSES) == fixtures["pascal_classes"]
    assert list(COCO_CLASSES) == fixtures["coco_classes"]
    for fold in range(4):
        assert list(pascal5i(fold)) == fixtures["pascal5i"][str(fold)]["novel"]
        for layout in ("interleaved", "contiguous"):
            assert list(coco20i(fold, layout)) == fixtures["coco20i"][layout][str(fold)]


@pytest.mark.parametrize("classes, layout", [(PASCAL_CLASSES, None), (COCO_CLASSES, "interleaved"),
                                             (COCO_CLASSES, "contiguous")])
def test_four_folds_share_out_all_classes(classes, layout):
    ids = [i for fold in range(4) for i in novel_class_ids(classes, fold=fold, layout=layout)]
    assert sorted(ids) == list(range(1, len(classes) + 1))


def test_pascal_ids_and_the_default_layout_of_coco():
    assert novel_class_ids(PASCAL_CLASSES, fold=1) == (6, 7, 8, 9, 10)
    assert novel_class_ids(COCO_CLASSES, fold=1)[:3] == (2, 6, 10)


def test_named_classes():
    assert novel_class_ids(("a", "b", "c"), novel_classes=["c", "a"]) == (3, 1)


def test_unknown_name_offers_near_ones():
    with pytest.raises(DataError, match="no class 'tv_monitor'.*did you mean tvmonitor"):
        novel_class_ids(PASCAL_CLASSES, novel_classes=["tv_monitor"])


@pytest.mark.parametrize("arguments, match", [
    ({"fold": 4}, "data.fold: 4"), ({}, "data.fold: None"),
    ({"fold": 0, "layout": "zigzag"}, "layout 'zigzag'"),
    ({"novel_classes": "cat"}, "data.novel_classes: 'cat'; a list of names is expected")])
def test_impossible_folds(arguments, match):
    with pytest.raises(DataError, match=match):
        novel_class_ids(PASCAL_CLASSES, **arguments)


def test_fewer_than_four_classes_need_names():
    with pytest.raises(DataError, match="novel_classes"):
        novel_class_ids(("a", "b", "c"), fold=0)
