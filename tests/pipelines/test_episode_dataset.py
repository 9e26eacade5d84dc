# SPDX-License-Identifier: Apache-2.0
"""Episodes in `tf.data`: what they hold, that they repeat, and what they say when data is wrong."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import (
    DataError,
    Episode,
    EpisodeSampler,
    episode_dataset,
    episodes,
    open_source,
    photo_dataset,
)
from pipelines.errors import data_error_from
from pipelines.index import build_index, split_pairs
from pipelines.reading.crops import box
from pipelines.reading.transforms import flips, resize_class_mask
from tests.pipelines.tiny_voc import CLASSES, tiny_mask, write_mask, write_tiny_voc


def sampler_of(source, split="all", shots=2, seed=0, novel_ids=(), **options):
    index = build_index(source, source.image_ids(split))
    return EpisodeSampler(split_pairs(index, novel_ids, "base"), shots, seed,
                          class_names=source.classes, **options)


def bits(dataset):
    """Every batch of a dataset as nested lists of bytes."""
    return [{key: value.numpy().tolist() if value.dtype == tf.string else value.numpy().tobytes()
             for key, value in batch.items()} for batch in dataset]


def test_the_episode_dictionary(tiny_source):
    batch = next(iter(episode_dataset(tiny_source, sampler_of(tiny_source), image_size=32,
                                      batch=3, start=10)))
    expected = {"support_image": ((3, 2, 32, 32, 3), tf.uint8),
                "support_mask": ((3, 2, 32, 32), tf.uint8),
                "query_image": ((3, 32, 32, 3), tf.uint8), "query_mask": ((3, 32, 32), tf.uint8),
                "class_id": ((3,), tf.int32), "episode_id": ((3,), tf.int64),
                "support_name": ((3, 2), tf.string), "query_name": ((3,), tf.string),
                "query_size": ((3, 2), tf.int32)}
    assert {k: (tuple(v.shape), v.dtype) for k, v in batch.items()} == expected
    assert batch["episode_id"].numpy().tolist() == [10, 11, 12]
    assert (batch["query_size"].numpy() == [40, 48]).all()
    for key in ("support_mask", "query_mask"):
        assert set(np.unique(batch[key])) == {0, 1, 255}


def test_shapes_are_known_before_the_first_batch(tiny_source):
    dataset = episode_dataset(tiny_source, sampler_of(tiny_source), image_size=32, batch=3)
    spec = dataset.element_spec
    assert spec["support_image"].shape.as_list() == [None, 2, 32, 32, 3]
    assert spec["query_mask"].shape.as_list() == [None, 32, 32]


def test_photos_at_their_own_size_arrive_untouched(tmp_path):
    source = open_source("shapes", image_size=48, count=40, seed=0)
    one = sampler_of(source, shots=1, skip_small=True).take(1)
    batch = next(iter(episode_dataset(source, one, image_size=48, batch=1)))
    np.testing.assert_array_equal(batch["query_image"][0], source.read_image(one[0].query))
    np.testing.assert_array_equal(batch["support_mask"][0, 0],
                                  source.read_mask(one[0].support[0]) == one[0].class_id)


@pytest.mark.parametrize("parallel_calls", [1, 4, tf.data.AUTOTUNE])
def test_same_seed_same_bits(tiny_source, parallel_calls):
    def batches(calls, seed=0):
        return bits(episode_dataset(
            tiny_source, sampler_of(tiny_source, seed=seed), image_size=32, batch=4, count=12,
            flip=True, seed=seed, parallel_calls=calls))

    assert batches(parallel_calls) == batches(2)
    assert batches(parallel_calls, seed=1) != batches(2)


def test_same_seed_same_bits_on_real_photos(shared):
    source = open_source("voc", shared / "data" / "pascal_mini")
    sampler = sampler_of(source, "trainaug", shots=1, novel_ids=(1, 2, 3, 4, 5))
    one, other = (bits(episode_dataset(source, sampler, image_size=65, batch=4, count=16,
                                       flip=True, parallel_calls=calls)) for calls in (1, 8))
    assert one == other


def test_list_and_sampler_give_the_same_batches(tiny_source):
    sampler = sampler_of(tiny_source)
    listed = episode_dataset(tiny_source, sampler.take(5, start=3), image_size=32, batch=2)
    drawn = episode_dataset(tiny_source, sampler, image_size=32, batch=2, start=3, count=5)
    assert bits(listed) == bits(drawn)
    assert len(bits(listed)) == 3  # the last one holds one episode


def test_flips_keep_image_and_mask_aligned(tiny_source):
    """In the tiny photos the red channel tells the object; both are resized before the flip."""
    options = {"image_size": 40, "batch": 1, "count": 12}
    plain = episode_dataset(tiny_source, sampler_of(tiny_source), **options)
    turned = episode_dataset(tiny_source, sampler_of(tiny_source), flip=True, seed=9, **options)
    seen = set()
    for one, other in zip(plain, turned, strict=True):
        decided = flips(9, one["episode_id"][0], 3).numpy()
        seen.add(tuple(decided))
        for kind in ("image", "mask"):
            photos = [(one[f"support_{kind}"][0, k], other[f"support_{kind}"][0, k])
                      for k in range(2)] + [(one[f"query_{kind}"][0], other[f"query_{kind}"][0])]
            for (before, after), flipped in zip(photos, decided, strict=True):
                np.testing.assert_array_equal(after, before[:, ::-1] if flipped else before)
        red = other["query_image"][0, ..., 0].numpy() > 200
        assert (other["query_mask"][0].numpy()[red] == 1).mean() > 0.9
    assert len(seen) > 3


class Positions:
    """A feature store whose values tell photo and flip apart."""

    shape = (2, 3, 4)

    def read(self, name, flipped):
        return np.full(self.shape, int(name[1:]) + (0.5 if flipped else 0.0), np.float32)


def test_features_stand_in_for_photos_and_share_the_flips(tiny, tiny_source):
    options = {"image_size": 32, "batch": 1, "count": 6, "flip": True, "seed": 4}
    photos = episode_dataset(tiny_source, sampler_of(tiny_source), **options)
    source = open_source("voc", tiny)
    source.read_image = None  # photos are not decoded
    stored = episode_dataset(source, sampler_of(source), features=Positions(), **options)
    for photo, one in zip(photos, stored, strict=True):
        assert "query_image" not in one and "support_image" not in one
        assert one["support_features"].shape == (1, 2, 2, 3, 4)
        flipped = flips(4, one["episode_id"][0], 3).numpy()
        names = [*one["support_name"][0].numpy(), one["query_name"][0].numpy()]
        values = [*one["support_features"][0, :, 0, 0, 0].numpy(),
                  one["query_features"][0, 0, 0, 0].numpy()]
        assert values == [int(n[1:]) + 0.5 * f for n, f in zip(names, flipped, strict=True)]
        for key in ("support_mask", "query_mask"):
            np.testing.assert_array_equal(one[key], photo[key])


def test_mismatched_supports_are_masked_by_their_own_class(tiny_source):
    sampler = sampler_of(tiny_source, mismatched=True)
    for batch in episode_dataset(tiny_source, sampler, image_size=32, batch=4, count=8):
        for b in range(4):
            assert (batch["support_mask"][b].numpy() == 1).any(axis=(1, 2)).all()
            assert (batch["query_mask"][b].numpy() == 1).any()
            numbers = [int(n[1:]) % 4 + 1 for n in batch["support_name"][b].numpy()]
            assert int(batch["class_id"][b]) not in numbers


def test_ignored_classes_become_255(tiny):
    mask = tiny_mask(0)
    mask[-4:] = 2
    write_mask(tiny / "SegmentationClass/p00.png", mask)
    source = open_source("voc", tiny)
    episode = Episode(0, 1, ("p00",), "p00", 1)

    def query(ignore_ids):
        batch = next(iter(episode_dataset(source, [episode], image_size=40, batch=1,
                                          ignore_ids=ignore_ids)))
        return batch["query_mask"][0].numpy()

    assert (query(())[-3:] == 0).all() and (query((2,))[-3:] == 255).all()
    assert (query((1, 2)) == 1).any()


def test_small_objects_live_through_resizing(tiny):
    mask = np.zeros((40, 48), np.uint8)
    mask[1, 1] = 3
    write_mask(tiny / "SegmentationClass/p02.png", mask)
    batch = next(iter(episode_dataset(open_source("voc", tiny), [Episode(0, 3, ("p02",), "p06", 3)],
                                      image_size=8, batch=1)))
    assert batch["support_mask"][0, 0].numpy().tolist()[0][0] == 1


def failure(dataset):
    """The DataError behind what iterating raises."""
    with pytest.raises(tf.errors.OpError) as caught:
        list(dataset)
    error = data_error_from(caught.value)
    assert isinstance(error, DataError) and "\n" not in str(error)
    return str(error)


def test_an_empty_support_is_named(tiny_source):
    message = failure(episode_dataset(tiny_source, [Episode(0, 2, ("p01", "p00"), "p05", 2)],
                                      image_size=32, batch=1))
    assert "photo p00" in message and "no pixel of class fork" in message and "current" in message


def test_an_empty_query_is_an_episode_like_any_other(tiny_source):
    batch = next(iter(episode_dataset(tiny_source, [Episode(0, 2, ("p01",), "p00", 2)],
                                      image_size=32, batch=1)))
    assert not (batch["query_mask"].numpy() == 1).any()


@pytest.mark.parametrize("file, match", [("JPEGImages/p01.png", "damaged photo"),
                                         ("SegmentationClass/p01.png", "fetch it again")])
def test_files_damaged_after_indexing_are_named(tiny, file, match):
    source = open_source("voc", tiny)
    (tiny / file).write_bytes((tiny / file).read_bytes()[:-200])
    message = failure(episode_dataset(source, [Episode(0, 2, ("p01",), "p05", 2)], image_size=32,
                                      batch=1))
    assert file.rpartition("/")[2] in message and match in message
    assert "p01.png" in failure(photo_dataset(source, ["p00", "p01"], 32, masks=True))


def test_other_errors_are_left_alone():
    assert data_error_from(ValueError("something else")) is None
    error = DataError("a line")
    assert data_error_from(error) is error


@pytest.mark.parametrize("listed", [[], [Episode(0, 1, ("a",), "b", 1),
                                         Episode(1, 1, ("a", "c"), "b", 1)]])
def test_lists_of_episodes_that_make_no_batch(tiny_source, listed):
    with pytest.raises(DataError, match="all with as many supports"):
        episode_dataset(tiny_source, listed, image_size=32, batch=1)


def test_photos_in_their_order(tiny_source):
    names = ["p07", "p00", "p07"]
    photos = list(photo_dataset(tiny_source, names, 40, masks=True))
    assert [p["name"].numpy().decode() for p in photos] == names
    assert photos[0]["image"].shape == (40, 40, 3) and photos[0]["mask"].shape == (40, 40)
    assert set(np.unique(photos[0]["mask"])) == {0, 4, 255}
    assert list(photo_dataset(tiny_source, [], 40)) == []
    assert "mask" not in next(iter(photo_dataset(tiny_source, names, 40)))


def test_episodes_in_one_line(tiny):
    endless = episodes("voc", tiny, fold=0, shots=1, batch=2, image_size=32)
    batches = list(endless.take(20))
    assert len(batches) == 20
    assert {CLASSES[int(c) - 1] for b in batches for c in b["class_id"]} == set(CLASSES[1:])
    test = list(episodes("voc", tiny, fold=0, split="test", batch=4, image_size=32, count=10))
    assert sum(len(b["class_id"]) for b in test) == 10
    assert {int(c) for b in test for c in b["class_id"]} == {1}
    with pytest.raises(DataError, match="split 'val'"):
        episodes("voc", tiny, split="val")


def test_pascal5i_in_one_line(shared):
    batch = next(iter(episodes("pascal5i", shared / "data/pascal_mini", fold=1, split="test",
                               shots=1, batch=2, image_size=65, count=2)))
    assert all(6 <= int(c) <= 10 for c in batch["class_id"])


def test_shapes_need_no_files():
    batch = next(iter(episodes("shapes", shots=1, batch=2, image_size=32, novel_classes=["ring"])))
    assert batch["query_image"].shape == (2, 32, 32, 3)


class Crops(Positions):
    """As `Positions`, with tenths for the crop."""

    def read(self, name, flipped, crop):
        return super().read(name, flipped) + np.float32(crop / 10)


def test_crops_of_stored_features_share_their_masks(tiny_source):
    shown = set()
    for batch in episode_dataset(tiny_source, sampler_of(tiny_source), image_size=32, batch=1,
                                 count=40, flip=True, crops=2, seed=4, features=Crops()):
        class_id = int(batch["class_id"][0])
        flipped = flips(4, batch["episode_id"][0], 3).numpy()
        names = [n.decode() for n in (*batch["support_name"][0].numpy(),
                                      batch["query_name"][0].numpy())]
        features = [*batch["support_features"][0], batch["query_features"][0]]
        masks = [*batch["support_mask"][0], batch["query_mask"][0]]
        for name, values, mask, mirrored in zip(names, features, masks, flipped, strict=True):
            crop = round(float(values[0, 0, 0] - int(name[1:]) - 0.5 * mirrored) * 10)
            whole = tiny_source.class_mask(name, class_id)
            expected = np.asarray(resize_class_mask(whole[box(name, crop, *whole.shape)], 32))
            np.testing.assert_array_equal(mask, expected[:, ::-1] if mirrored else expected)
            assert (expected == 1).any()
            shown.add(crop)
    assert shown == {0, 1, 2}


def test_queries_without_the_class_are_cropped_as_others_are(tiny_source):
    """A photo shown whole would tell that nothing is there."""
    pairs = build_index(tiny_source, tiny_source.image_ids("all")).pairs
    sampler = EpisodeSampler(
        pairs, 1, 3, absent=0.5,
        lacks=lambda name, class_id: not (tiny_source.class_mask(name, class_id) == 1).any())
    crops = {True: set(), False: set()}
    for batch in episode_dataset(tiny_source, sampler, image_size=32, batch=1, count=60, crops=3,
                                 features=Crops()):
        name = batch["query_name"].numpy()[0].decode()
        there = bool((tiny_source.class_mask(name, int(batch["class_id"][0])) == 1).any())
        crops[there].add(round(float(batch["query_features"][0, 0, 0, 0] - int(name[1:])) * 10))
    assert crops[True] == crops[False] == {0, 1, 2, 3}


def test_a_crop_without_the_object_is_not_shown(tmp_path):
    root = write_tiny_voc(tmp_path / "voc")
    for number in range(16):  # one pixel of the class, in a corner
        mask = np.zeros((40, 48), np.uint8)
        mask[0, 0] = number % 4 + 1
        write_mask(root / "SegmentationClass" / f"p{number:02d}.png", mask)
    source = open_source("voc", root)
    for batch in episode_dataset(source, sampler_of(source), image_size=32, batch=1, count=12,
                                 crops=3, features=Crops()):
        assert (batch["support_mask"].numpy() == 1).any(axis=(2, 3)).all()


def test_crops_want_stored_features(tiny_source):
    with pytest.raises(DataError, match="crops are of a sampler's photos"):
        episode_dataset(tiny_source, sampler_of(tiny_source), image_size=32, batch=1, crops=1)
