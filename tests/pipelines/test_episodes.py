"""Sampler and `tf.data`: the same bits for the same seed, masks that stay with their photos."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from pipelines import DataError, EpisodeSampler, episode_dataset, episodes, open_source
from pipelines.errors import data_error_from
from pipelines.index import Pair, build_index
from pipelines.sampler import dump_episodes, episodes_sha256, load_episodes
from pipelines.transforms import class_mask, resize_class_mask
from tests.toy import shapes, voc_tree, write_mask


@pytest.fixture
def toy(tmp_path):
    voc_tree(tmp_path)
    source = open_source("voc", str(tmp_path))
    return source, build_index(source, source.image_ids("all")).pairs


def flat(dataset, batches):
    return [{k: v.numpy() for k, v in b.items()} for b in dataset.take(batches)]


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for key in x:
            np.testing.assert_array_equal(x[key], y[key])


def test_episode_is_a_function_of_seed_and_number(toy):
    _, pairs = toy
    sampler = EpisodeSampler(pairs, 2, seed=3)
    listed = sampler.take(50)
    assert [sampler.episode(i) for i in reversed(range(50))] == listed[::-1]
    assert EpisodeSampler(pairs[::-1], 2, seed=3).take(20, start=30) == listed[30:]
    assert EpisodeSampler(pairs, 2, seed=4).take(50) != listed
    for episode in listed:
        assert len({episode.query, *episode.support}) == 3
    counts = collections.Counter(e.class_id for e in sampler.take(800))
    assert set(counts) == {1, 2, 3, 4} and min(counts.values()) > 150


def test_mismatched_supports_show_another_class(toy):
    _, pairs = toy
    shown = {(p.image_id, p.class_id) for p in pairs}
    for episode in EpisodeSampler(pairs, 1, 0, mismatched=True).take(50):
        assert episode.support_class_id != episode.class_id
        assert (episode.support[0], episode.support_class_id) in shown
        assert episode.query not in episode.support


def test_dump_and_replay(toy, tmp_path):
    listed = EpisodeSampler(toy[1], 2, 0).take(20)
    dump_episodes(listed, tmp_path / "episodes.jsonl")
    assert load_episodes(tmp_path / "episodes.jsonl") == listed
    assert episodes_sha256(listed) != episodes_sha256(listed[::-1])
    (tmp_path / "bad.jsonl").write_text('{"episode_id": 1}\n')
    with pytest.raises(DataError, match="line 1"):
        load_episodes(tmp_path / "bad.jsonl")


def test_too_few_photos():
    pairs = [Pair(f"p{i}", 1, 9) for i in range(3)] + [Pair("q", 2, 9)]
    with pytest.raises(DataError, match="class bee: 1 photos, 1-shot.*need 2"):
        EpisodeSampler(pairs, 1, 0, class_names=("ant", "bee"))
    assert EpisodeSampler(pairs, 1, 0, skip_small=True, class_names=("ant", "bee")).skipped == [
        "bee"]


@pytest.mark.parametrize("kind", ["toy", "real", "shapes"])
def test_same_seed_same_bits_whatever_the_parallel_calls(kind, toy, request):
    source, pairs = toy
    if kind == "real":
        shared = request.getfixturevalue("shared")
        source = open_source("voc", str(shared / "data" / "pascal_mini"))
        pairs = build_index(source, source.image_ids("val")).pairs
    elif kind == "shapes":
        source = shapes(60)
        pairs = build_index(source, source.image_ids("all")).pairs
    sampler = EpisodeSampler(pairs, 1, 0, skip_small=True)
    runs = [flat(episode_dataset(source, sampler, image_size=65, batch=3, flip=True, seed=5,
                                 parallel_calls=calls), 3) for calls in (1, 4)]
    assert_same(*runs)
    later = flat(episode_dataset(source, sampler, image_size=65, batch=3, start=3, flip=True,
                                 seed=5), 1)
    assert_same(later, runs[0][1:2])


def test_the_dictionary(toy):
    source, pairs = toy
    batch = next(iter(episode_dataset(source, EpisodeSampler(pairs, 2, 0), image_size=33, batch=4)))
    shapes_and_types = {k: (tuple(v.shape), v.dtype.name) for k, v in batch.items()}
    assert shapes_and_types == {
        "support_image": ((4, 2, 33, 33, 3), "uint8"), "support_mask": ((4, 2, 33, 33), "uint8"),
        "query_image": ((4, 33, 33, 3), "uint8"), "query_mask": ((4, 33, 33), "uint8"),
        "class_id": ((4,), "int32"), "episode_id": ((4,), "int64"),
        "support_name": ((4, 2), "string"), "query_name": ((4,), "string"),
        "query_size": ((4, 2), "int32")}
    assert batch["query_size"].numpy().tolist() == [[60, 80]] * 4
    assert set(np.unique(batch["query_mask"])) <= {0, 1, 255}


def test_flips_keep_photo_and_mask_together(toy):
    source, pairs = toy
    sampler = EpisodeSampler(pairs, 1, 0)
    plain, flipped = (flat(episode_dataset(source, sampler, image_size=33, batch=8, flip=f), 2)
                      for f in (False, True))
    turned = 0
    for a, b in zip(plain, flipped, strict=True):
        for role in ("support", "query"):
            for i in range(8):
                image, mask = a[f"{role}_image"][i], a[f"{role}_mask"][i]
                if np.array_equal(image, b[f"{role}_image"][i]):
                    np.testing.assert_array_equal(mask, b[f"{role}_mask"][i])
                else:
                    turned += 1
                    np.testing.assert_array_equal(image[..., ::-1, :], b[f"{role}_image"][i])
                    np.testing.assert_array_equal(mask[..., ::-1], b[f"{role}_mask"][i])
    assert 4 < turned < 28


def test_void_and_ignored_classes():
    index = tf.constant([[0, 1, 2, 255]], tf.uint8)
    assert class_mask(index, 1).numpy().tolist() == [[0, 1, 0, 255]]
    assert class_mask(index, 1, ignore_ids=(2,)).numpy().tolist() == [[0, 1, 255, 255]]
    assert class_mask(index, 2, ignore_ids=(2,)).numpy().tolist() == [[0, 0, 1, 255]]


def test_a_tiny_object_survives_resizing():
    mask = np.zeros((200, 300), np.uint8)
    mask[101, 152] = 1
    small = resize_class_mask(mask, 33).numpy()
    assert 1 <= (small == 1).sum() <= 4


def test_feature_stores_stand_in_for_photos(toy):
    source, pairs = toy

    class Store:
        shape = (5, 5, 2)

        def read(self, name, flipped):
            return np.full(self.shape, int(name[5:]) + 1000 * flipped, np.float32)

    sampler = EpisodeSampler(pairs, 1, 0)
    photos, stored = (flat(episode_dataset(source, sampler, image_size=33, batch=4, flip=True,
                                           features=f), 2) for f in (None, Store()))
    for a, b in zip(photos, stored, strict=True):
        np.testing.assert_array_equal(a["query_mask"], b["query_mask"])
        numbers = [int(n.decode()[5:]) for n in b["query_name"]]
        assert [int(v) % 1000 for v in b["query_features"][:, 0, 0, 0]] == numbers
        assert "query_image" not in b


@pytest.mark.parametrize("spoil, words", [("photo", "damaged photo"), ("mask", "no pixel of")])
def test_errors_inside_tf_data_are_found_again(toy, spoil, words):
    source, pairs = toy
    listed = EpisodeSampler(pairs, 1, 0).take(1)
    if spoil == "photo":
        path = source.image_path(listed[0].query)
        path.write_bytes(path.read_bytes()[:800])
    else:
        write_mask(source.mask_path(listed[0].support[0]), np.zeros((60, 80), np.uint8))
    with pytest.raises(tf.errors.OpError) as caught:
        next(iter(episode_dataset(source, listed, image_size=33, batch=1)))
    error = data_error_from(caught.value)
    assert words in str(error) and "\n" not in str(error)


def test_one_call_for_others(toy, shared):
    source, _ = toy
    ds = episodes("voc", str(source.root), novel_classes=["ant"], split="test", batch=2, count=4,
                  image_size=33)
    assert [int(c) for batch in ds for c in batch["class_id"]] == [1] * 4
    ds = episodes("pascal5i", str(shared / "data" / "pascal_mini"), fold=0, batch=2, image_size=33)
    assert all(int(c) > 5 for c in next(iter(ds))["class_id"])
