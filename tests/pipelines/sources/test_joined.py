# SPDX-License-Identifier: Apache-2.0
"""Several data sets under one list of classes."""

import numpy as np
import pytest
from PIL import Image

from pipelines import DataError, EpisodeSampler, episodes, open_source
from pipelines.folds import COCO_CLASSES, PASCAL_CLASSES
from pipelines.index import build_index, split_pairs
from pipelines.sources.joined import JoinedSource, Part, meaning
from pipelines.sources.masks import way_mask
from tests.pipelines.tiny_voc import write_mask

SIDE = 24


def write_part(root, classes, photos):
    """A VOC layout of `photos`, {id: index mask}, with lists train (all but the last) and val."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name, mask in photos.items():
        gray = np.full((*mask.shape, 3), int(mask.sum() % 251), np.uint8)
        Image.fromarray(gray).save(root / "JPEGImages" / f"{name}.png")
        write_mask(root / "SegmentationClass" / f"{name}.png", mask)
    (root / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    names = list(photos)
    for split, some in (("train", names[:-1]), ("val", names[-1:])):
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(
            "\n".join(some) + "\n", encoding="utf-8")
    return root


def block(*class_ids):
    """An index mask with a band of each class, one void column, the rest background."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for band, class_id in enumerate(class_ids):
        mask[6 * band:6 * band + 5, 2:14] = class_id
    mask[:, 20] = 255
    return mask


@pytest.fixture
def parts(tmp_path):
    """Main: cup, aeroplane; other: airplane, cup, dog. Both have a photo 7; dogs lie unlabelled in
    the main part for all that anybody knows.
    """
    main = write_part(tmp_path / "main", ["cup", "aeroplane"],
                      {"7": block(1), "8": block(2), "9": block(1, 2), "10": block(1),
                       "11": block(2)})
    other = write_part(tmp_path / "other", ["airplane", "cup", "dog"],
                       {"7": block(3), "8": block(1, 3), "9": block(2), "10": block(3, 2)})
    return {"main": Part(open_source("voc", main), {"train": "train", "val": "val"}),
            "other": Part(open_source("voc", other), {"train": "all"})}


def test_one_list_of_classes(parts):
    source = JoinedSource(parts)
    assert source.classes == ("cup", "aeroplane", "dog")
    assert source.image_ids("train") == ["7", "8", "9", "10", "other:10", "other:7", "other:8",
                                         "other:9"]
    assert source.image_ids("val") == ["11"] and len(source.image_ids("all")) == 9
    with pytest.raises(DataError, match="split 'test': no part has it; known: all, train, val"):
        source.image_ids("test")


def test_photos_and_masks_are_their_parts(parts):
    source, other = JoinedSource(parts), parts["other"].source
    np.testing.assert_array_equal(source.read_image("other:8"), other.read_image("8"))
    assert (source.read_image("7") != source.read_image("other:7")).any()
    # other: airplane is 1, dog 3; joined: aeroplane 2, dog 3.
    np.testing.assert_array_equal(source.read_mask("other:8"), block(2, 3))
    np.testing.assert_array_equal(source.class_mask("other:8", 2), other.class_mask("8", 1))
    assert set(source.class_masks("other:8")) == {2, 3}
    assert (source.class_mask("other:8", 2, ignore_ids=(3,))[6:11, 2:14] == 255).all()


@pytest.mark.parametrize("unlabelled, value", [("background", 0), ("ignore", 255)])
def test_what_a_part_does_not_label_is_no_background_truth(parts, unlabelled, value):
    source = JoinedSource(parts, unlabelled)
    assert source.labels("7") == {1, 2} and source.labels("other:7") == {1, 2, 3}
    dog = source.class_mask("7", 3)  # the main part knows no dogs
    assert (dog[:5, 2:14] == 0).all()  # a cup is none
    assert (dog[12:, :20] == value).all() and (dog[:, 20] == 255).all()
    cup = source.class_mask("7", 1)  # labelled: its background is background
    assert set(np.unique(cup)) == {0, 1, 255} and (cup[12:, :20] == 0).all()
    assert (source.read_mask("7")[12:, :20] == value).all()
    assert (source.read_mask("other:7")[12:, :20] == 0).all()


@pytest.mark.parametrize("unlabelled, value", [("background", 0), ("ignore", 255)])
def test_masks_of_several_ways_keep_what_those_of_one_do(parts, unlabelled, value):
    source = JoinedSource(parts, unlabelled)
    mask = way_mask(source, "9", (3, 1), ignore_ids=(2,))  # dog, cup; aeroplanes do not count
    assert (mask[:5, 2:14] == 2).all() and (mask[6:11, 2:14] == 255).all()
    assert (mask[12:, :20] == value).all() and (mask[:, 20] == 255).all()  # dogs are not labelled
    mask = way_mask(source, "9", (2, 1), ignore_ids=(2,))  # a way counts, and all are labelled
    assert (mask[:5, 2:14] == 2).all() and (mask[6:11, 2:14] == 1).all()
    assert (mask[12:, :20] == 0).all()


def test_episodes_come_from_parts_that_label_their_class(parts):
    source = JoinedSource(parts)
    index = build_index(source, source.image_ids("train"), cache=None)

    def lacks(name, class_id):
        return class_id in source.labels(name) and class_id not in index.classes_of[name]

    sampler = EpisodeSampler(index.pairs, 1, 0, power=0.5, absent=0.5, lacks=lacks)
    absent = 0
    for episode in sampler.take(400):
        for name in (*episode.support, episode.query):
            assert episode.class_id in source.labels(name)
        assert (source.class_mask(episode.support[0], episode.class_id) == 1).any()
        shown = (source.class_mask(episode.query, episode.class_id) == 1).any()
        absent += not shown
        if episode.class_id == 3:
            assert episode.query.startswith("other:")
    assert 120 < absent < 280


def test_novel_classes_are_dropped_by_pixel_in_every_part(parts):
    source = JoinedSource(parts)
    index = build_index(source, source.image_ids("train"), cache=None)
    base = {pair.image_id for pair in split_pairs(index, [2], "base", "drop")}
    assert base == {"7", "10", "other:7", "other:9", "other:10"}


def test_episodes_of_joined_data_sets(parts):
    main, other = parts["main"].source, parts["other"].source
    asked = {"novel_classes": ["dog"], "shots": 1, "batch": 1, "image_size": 24,
             "novel_policy": "drop"}
    seen = set()
    for batch in episodes("voc", main.root, join={"other": other}, count=60, **asked):
        names = {n.decode() for n in (*batch["support_name"][0].numpy(),
                                      batch["query_name"][0].numpy())}
        seen |= names
    assert "other:9" in seen  # the one photo of the other part without a dog
    assert not seen & {"other:7", "other:8", "other:10"} and "7" in seen


def test_a_part_does_not_take_the_main_ones_place(parts):
    with pytest.raises(DataError, match="voc is the name of data.dataset; give another"):
        episodes("voc", parts["main"].source.root, join={"voc": parts["other"].source},
                 novel_classes=["dog"])


def test_a_photo_that_reads_as_another_part_s_is_told(parts, tmp_path):
    (tmp_path / "b:x").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "b:x/0.jpg")
    main = open_source("folder", tmp_path)
    source = JoinedSource({"a": Part(main, {"train": "all"}), "b": parts["other"]})
    with pytest.raises(DataError, match="photo 'b:x/0' of a reads as one of the part b"):
        source.image_ids("train")


def test_names_of_one_meaning():
    joined = {meaning(name) for name in (*PASCAL_CLASSES, *COCO_CLASSES)}
    assert len(joined) == 80  # PASCAL's classes are all among COCO's
    assert meaning("dining_table") == meaning("diningtable")
    assert meaning("teddy bear") != meaning("bear")


@pytest.mark.parametrize("change, words", [
    (lambda parts: {}, "at least one part"),
    (lambda parts: {"a:b": parts["main"]}, "without ':'"),
    (lambda parts: {**parts, "main": Part(_renamed(parts["main"].source, ("TV", "tvmonitor")), {})},
     "TV and tvmonitor are one class")])
def test_refusals(parts, change, words):
    with pytest.raises(DataError, match=words):
        JoinedSource(change(parts))


def _renamed(source, classes):
    source.classes = classes
    return source


@pytest.mark.parametrize("fold", range(4))
def test_no_novel_pixel_in_training_on_real_photos(shared, fold):
    voc, coco = (open_source("voc", shared / "data" / name) for name in ("pascal5i", "mini80"))
    source = JoinedSource({"voc": Part(voc, {"trainaug": "trainaug", "val": "val"}),
                           "mini80": Part(coco, {"trainaug": "all"})})
    assert len(source.classes) == 80 and source.classes[:20] == PASCAL_CLASSES
    ids = source.image_ids("trainaug")
    assert len(ids) == 3131 + 767
    index = build_index(source, ids)
    novel = set(range(5 * fold + 1, 5 * fold + 6))
    base = sorted({pair.image_id for pair in split_pairs(index, novel, "base", "drop")})
    assert {3062, 1760, 1355, 2654}.issuperset({sum(":" not in name for name in base)})
    names = {meaning(PASCAL_CLASSES[c - 1]) for c in novel}
    for name in np.random.default_rng(fold).choice(base, 60, replace=False):
        part, own = (coco, name.removeprefix("mini80:")) if ":" in name else (voc, name)
        shown = {meaning(part.classes[c - 1]) for c in part.class_masks(own)}
        assert shown and not shown & names
    # Under ignore255 more photos take part, their novel pixels void.
    kept = {pair.image_id for pair in split_pairs(index, novel, "base", "ignore255")}
    more = sorted(kept - set(base))
    assert len(more) > 100
    ignored = [i for i, name in enumerate(source.classes, start=1) if meaning(name) in names]
    for name in np.random.default_rng(fold).choice(more, 20, replace=False):
        base_class = next(iter(source.class_masks(name).keys() - set(ignored)))
        mask = source.class_mask(name, base_class, ignored)
        values = source.read_mask(name)
        assert (mask[np.isin(values, ignored)] == 255).all() and np.isin(values, ignored).any()
