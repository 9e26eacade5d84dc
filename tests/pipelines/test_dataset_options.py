# SPDX-License-Identifier: Apache-2.0
"""What `episode_dataset` can do beside the plain case."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines import (
    Augment,
    DataError,
    EpisodeSampler,
    WaySampler,
    episode_dataset,
    episodes,
    open_source,
)
from pipelines.index import build_index
from pipelines.sampler import Episode, WayEpisode
from pipelines.sources.joined import JoinedSource, Part
from pipelines.sources.shapes import ShapesSource
from tests.pipelines.tiny_voc import CLASSES, tiny_mask, write_mask, write_tiny_voc


@pytest.fixture
def sampler(tiny_source):
    pairs = build_index(tiny_source, tiny_source.image_ids("all")).pairs
    return EpisodeSampler(pairs, 1, seed=3)


def read(source, drawn, **options):
    return list(episode_dataset(source, drawn, **{"image_size": 32, "batch": 4, "count": 8}
                                | options).as_numpy_iterator())


def ids(batches):
    return [int(i) for batch in batches for i in batch["episode_id"]]


def test_shards_are_disjoint_and_together_whole(tiny_source, sampler):
    shares = [ids(read(tiny_source, sampler, count=20, shard=(i, 3))) for i in range(3)]
    assert [share[:2] for share in shares] == [[0, 3], [1, 4], [2, 5]]
    assert sorted(sum(shares, [])) == list(range(20))
    with pytest.raises(DataError, match="shard"):
        read(tiny_source, sampler, shard=(3, 3))


def test_a_shard_of_an_endless_stream_is_one_of_its_numbers(tiny_source, sampler, monkeypatch):
    """A service deals out what `Dataset.range` counts: a shard after that would be of each part."""
    counted, real = [], tf.data.Dataset.range
    monkeypatch.setattr(tf.data.Dataset, "range",
                        lambda *numbers: counted.append(numbers) or real(*numbers))
    stream = episode_dataset(tiny_source, sampler, image_size=32, batch=2, start=10, shard=(1, 3))
    assert ids(stream.take(2).as_numpy_iterator()) == [11, 14, 17, 20]
    assert (counted[0][0], counted[0][2]) == (11, 3)


def test_replicas_of_a_strategy_see_disjoint_shards(tiny_source, sampler):
    """As each of two input pipelines of `tf.distribute` reads them."""
    seen = []
    for pipeline in range(2):
        context = tf.distribute.InputContext(2, pipeline, 2)
        batch = context.get_per_replica_batch_size(8)
        seen.append(ids(read(tiny_source, sampler, count=16, batch=batch, shard=(
            context.input_pipeline_id, context.num_input_pipelines))))
    assert not set(seen[0]) & set(seen[1]) and sorted(seen[0] + seen[1]) == list(range(16))


def test_sampled_in_the_graph_as_outside(tiny_source, sampler):
    for batch in read(tiny_source, sampler, start=5):
        for row, number in enumerate(batch["episode_id"]):
            episode = sampler.episode(int(number))
            assert batch["class_id"][row] == episode.class_id
            assert batch["query_name"][row].decode() == episode.query
            assert tuple(n.decode() for n in batch["support_name"][row]) == episode.support


def test_the_querys_mask_at_its_own_size(tiny_source, sampler):
    batch = next(iter(episode_dataset(tiny_source, sampler, image_size=32, batch=4, count=4,
                                      full_mask=True)))
    whole = batch["query_mask_full"]
    assert isinstance(whole, tf.RaggedTensor) and whole.dtype == tf.uint8
    for row, name in enumerate(batch["query_name"].numpy()):
        expected = tiny_source.class_mask(name.decode(), int(batch["class_id"][row]))
        np.testing.assert_array_equal(whole[row].to_tensor(), expected)


@pytest.mark.parametrize("options", [{"flip": True}, {"augment": "pfenet"}])
def test_the_whole_mask_is_of_the_picture_that_is_shown(tiny_source, sampler, options):
    with pytest.raises(DataError, match="full_mask is the mask of the photo as it stands"):
        read(tiny_source, sampler, full_mask=True, **options)


@pytest.mark.parametrize("class_id", [0, 5, 255, -1])
def test_class_numbers_of_another_data_set_are_told(tiny_source, class_id):
    """Background would be an object, as would void."""
    for one in (Episode(7, class_id, ("p00",), "p04", class_id),
                Episode(7, 1, ("p00",), "p04", class_id),
                WayEpisode(7, (1, class_id), (("p00",), ("p01",)), "p04")):
        with pytest.raises(DataError, match=f"episode 7: class {class_id}; the data set has 1 to "
                                            "4: read"):
            read(tiny_source, [one], count=None)


def test_a_padded_picture_has_room_for_a_cell(tiny_source, sampler):
    with pytest.raises(DataError, match="image_size 7: padded photos"):
        read(tiny_source, sampler, image_size=7, resize="pad")
    assert read(tiny_source, sampler, image_size=8, resize="pad")[0]["query_mask"].shape[1:] == (
        8, 8)


def test_a_query_of_several_ways_may_show_none(tiny):
    mask = np.zeros((40, 48), np.uint8)
    mask[:10] = 255
    write_mask(tiny / "SegmentationClass/p02.png", mask)
    batch, = read(open_source("voc", tiny), [WayEpisode(0, (1, 2), (("p00",), ("p01",)), "p02")],
                  count=None)
    assert set(np.unique(batch["query_mask"][0, 0])) == {255}
    assert set(np.unique(batch["query_mask"])) == {0, 255}


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_cached_list_is_decoded_once(tiny, where, tmp_path):
    source = open_source("voc", tiny)
    pairs = build_index(source, source.image_ids("all")).pairs
    cached = episode_dataset(source, EpisodeSampler(pairs, 1, 3), image_size=32, batch=4, count=8,
                             cache="memory" if where == "memory" else tmp_path / "cache")
    first = [batch["query_image"].numpy() for batch in cached]
    for path in (tiny / "JPEGImages").iterdir():
        path.unlink()
    for before, batch in zip(first, cached, strict=True):
        np.testing.assert_array_equal(before, batch["query_image"])
    with pytest.raises(DataError, match="count"):
        episode_dataset(source, EpisodeSampler(pairs, 1, 3), image_size=32, batch=4, cache="memory")


def test_a_cache_file_serves_no_other_episodes(tiny, tmp_path):
    """Of another seed, size or mask; the same ones are read from it again."""
    source = open_source("voc", tiny)
    pairs = build_index(source, source.image_ids("all")).pairs

    def read_first(seed=3, size=32):
        data = episode_dataset(source, EpisodeSampler(pairs, 1, seed), image_size=size, batch=8,
                               count=8, cache=tmp_path / "kept")
        return [batch["query_mask"].numpy() for batch in data][0]

    def files():
        return len(list(tmp_path.glob("kept-*.index")))

    first = read_first()
    np.testing.assert_array_equal(first, read_first())
    assert files() == 1
    assert read_first(size=24).shape[1] == 24 and not np.array_equal(first, read_first(seed=4))
    assert files() == 3
    for name in source.image_ids("all"):
        write_mask(tiny / f"SegmentationClass/{name}.png", source.read_mask(name)[:, ::-1])
    assert not np.array_equal(first, read_first()) and files() == 4


def test_threads_order_and_device_change_no_episode(tiny_source, sampler):
    plain = read(tiny_source, sampler)
    for options in ({"threads": 2}, {"device": "CPU:0"}, {"parallel_calls": 1}):
        for a, b in zip(plain, read(tiny_source, sampler, **options), strict=True):
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])
    hasty = ids(read(tiny_source, sampler, deterministic=False, count=30))
    assert sorted(hasty) == list(range(30))


def test_episodes_of_two_ways(tiny_source):
    pairs = build_index(tiny_source, tiny_source.image_ids("all")).pairs
    drawn = WaySampler(pairs, 2, 2, seed=0).take(6)
    batch = read(tiny_source, drawn, count=None, batch=6, flip=True)[0]
    assert batch["support_image"].shape == (6, 2, 2, 32, 32, 3)
    assert batch["support_mask"].shape == (6, 2, 2, 32, 32)
    assert batch["class_id"].shape == (6, 2)
    for row, episode in enumerate(drawn):
        # A tiny photo shows class number % 4 + 1 alone.
        way = episode.class_id.index(int(episode.query[1:]) % len(CLASSES) + 1) + 1
        assert set(np.unique(batch["query_mask"][row])) == {0, way, 255}
        for n in range(2):
            for k in range(2):
                assert (batch["support_mask"][row, n, k] == 1).any()
                number = int(batch["support_name"][row, n, k][1:])
                assert number % len(CLASSES) + 1 == episode.class_id[n]


def test_two_ways_in_one_call(tiny):
    batch = next(iter(episodes("voc", tiny, novel_classes=["cup"], ways=2, shots=1, batch=2,
                               image_size=32)))
    assert batch["support_image"].shape == (2, 2, 1, 32, 32, 3)
    assert 1 not in batch["class_id"].numpy()
    with pytest.raises(DataError, match="3 classes have photos, 4-way"):
        episodes("voc", tiny, novel_classes=["cup"], ways=4)


def test_a_query_of_several_ways_labels_all_of_them(tiny, tmp_path):
    """A photo whose part has no cats may show some: they are no background."""
    other = write_tiny_voc(tmp_path / "other")
    (other / "classes.txt").write_text("dog\nfork\ncow\nplate\n")
    source = open_source("voc", other)
    stream = episodes("voc", tiny, novel_classes=["knife"], ways=2, shots=1, batch=1, count=60,
                      image_size=32, join={"b": source})
    names = ["cup", "fork", "knife", "plate", "dog", "cow"]
    queries = set()
    for batch in stream:
        query = batch["query_name"].numpy()[0].decode()
        known = source.classes if query.startswith("b:") else CLASSES
        assert {names[c - 1] for c in batch["class_id"][0].numpy()} <= set(known)
        queries.add(query[:2] == "b:")
    assert queries == {True, False}


def test_arguments_that_would_do_nothing_are_told(tiny):
    plain = {"novel_classes": ["cup"], "image_size": 32}
    first, later = (next(iter(episodes("voc", tiny, ways=2, batch=2, start=start, **plain)))
                    for start in (0, 5))
    assert list(later["episode_id"].numpy()) == [5, 6] != list(first["episode_id"].numpy())
    source = open_source("voc", tiny)
    drawn = WaySampler(build_index(source, source.image_ids("all")).pairs, 1, 1, 0)
    with pytest.raises(DataError, match="start 3: is of a sampler"):
        episode_dataset(source, drawn.take(2), image_size=32, batch=1, start=3)
    with pytest.raises(DataError, match="split_file 'x.txt': goes with a data set of the layout"):
        episodes("voc", tiny, split_file="x.txt", **plain)
    with pytest.raises(DataError, match="annotations 'x.json': a data set of the layout voc has"):
        episodes("voc", tiny, annotations="x.json", **plain)
    with pytest.raises(DataError, match="root 'x': a data set of the layout shapes has none"):
        episodes("shapes", "x", image_size=32)
    for more in ({"fold": 2}, {"layout": "interleaved"}):
        with pytest.raises(DataError, match="novel_classes .'cup'.: say which classes are novel"):
            episodes("voc", tiny, **more, **plain)
    with pytest.raises(DataError, match="service 'localhost:1': no dispatcher there"):
        episodes("voc", tiny, service="localhost:1", count=2, **plain)


FILL = """
import os, sys, time
from pipelines import EpisodeSampler, episode_dataset, open_source
from pipelines.index import build_index
source = open_source("voc", sys.argv[1])
drawn = EpisodeSampler(build_index(source, source.image_ids("all"), cache=None).pairs, 1, 3)
stream = iter(episode_dataset(source, drawn, image_size=32, batch=4, count=800, cache=sys.argv[2]))
next(stream)
if sys.argv[3] == "wait":
    print("begun", flush=True)
    time.sleep(600)
print(len(list(stream)) + 1)
"""


@pytest.mark.parametrize(("name", "value", "least"), [
    ("seed", -1, 0), ("seed", 1.5, 0), ("seed", None, 0), ("start", -3, 0), ("shots", 0, 1),
    ("ways", 0, 1), ("batch", 0, 1), ("image_size", 17, 18), ("count", 0, 1), ("count", -1, 1)])
def test_numbers_that_cannot_be_are_named(name, value, least):
    with pytest.raises(DataError, match=f"^{name} {value}: a whole number of {least} or more"):
        episodes("shapes", **{"image_size": 18, "count": 4, name: value})


def test_one_process_fills_the_files_and_a_kill_is_cleared_up(tiny, tmp_path):
    where = str(tmp_path / "new" / "kept")  # a folder that is not there yet

    def start(how):
        return subprocess.Popen([sys.executable, "-c", FILL, str(tiny), where, how], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = start("wait")
    assert first.stdout.readline() == "begun\n"
    told, errors = start("read").communicate()
    assert told == "200\n" and "another process is filling it" in errors
    first.kill()
    first.wait()
    assert list(Path(where).parent.glob("*tempstate*"))
    for _ in range(2):  # the one that fills it, the one that reads it
        told, errors = start("read").communicate()
        assert told == "200\n" and "filling" not in errors, errors
    assert not list(Path(where).parent.glob("*tempstate*"))
    assert list(Path(where).parent.glob("*.index"))


@pytest.mark.parametrize("ending", ["data-00000-of-00001", "index"])
@pytest.mark.parametrize("left", [-1, 0])
def test_kept_episodes_that_were_cut_short_are_named(tmp_path, ending, left):
    def number():
        return sum(1 for _ in episodes("shapes", image_size=18, count=12, batch=4,
                                       cache=tmp_path / "kept"))

    assert (number(), number()) == (3, 3)
    path, = tmp_path.glob(f"kept-*.{ending}")
    os.truncate(path, path.stat().st_size - 1 if left else 0)
    with pytest.raises(DataError, match=r"kept-\w+\.\*: kept episodes that are damaged \(.+\); "
                                        "remove these files"):
        number()
    for path in tmp_path.glob("kept-*"):
        path.unlink()
    assert number() == 3


def test_kept_episodes_are_of_one_policy_and_one_set_of_parts(tiny, tmp_path):
    def first_of(unlabelled, seed):
        parts = {"main": Part(open_source("voc", tiny), {"train": "all"}),
                 "more": Part(ShapesSource(33, 20, seed=seed), {"train": "all"})}
        source = JoinedSource(parts, unlabelled)
        one = Episode(0, 1, ("p00",), f"more:{parts['more'].source.image_ids('all')[0]}", 1)
        return next(iter(episode_dataset(source, [one], image_size=33, batch=1,
                                         cache=str(tmp_path / "kept"))))

    one, other, drawn = first_of("background", 0), first_of("ignore", 0), first_of("background", 1)
    assert (one["query_mask"].numpy() != other["query_mask"].numpy()).any()
    assert (one["query_image"].numpy() != drawn["query_image"].numpy()).any()
    np.testing.assert_array_equal(first_of("background", 0)["query_image"], one["query_image"])


def test_kept_episodes_are_of_one_source(tmp_path):
    """Drawn shapes have no files that would tell them apart."""
    shown = []
    for seed in (0, 1, 0):
        source = ShapesSource(33, 20, seed=seed)
        drawn = EpisodeSampler(build_index(source, source.image_ids("all")).pairs, 1, 0,
                               skip_small=True)
        batch = next(iter(episode_dataset(source, drawn, image_size=33, batch=4, count=4,
                                          cache=str(tmp_path / "kept"))))
        shown.append(batch["query_image"].numpy())
    np.testing.assert_array_equal(shown[0], shown[2])
    assert not np.array_equal(shown[0], shown[1])


def test_augmented_supports_still_show_their_object(tiny_source, sampler):
    """Cropped four times over, half the objects would be lost."""
    for how in (Augment(scale=(4.0, 4.0), rotation=180.0), "canet"):
        for batch in read(tiny_source, sampler, count=40, augment=how, flip=True):
            assert (batch["support_mask"] == 1).any((1, 2, 3)).all()
            assert set(np.unique(batch["support_mask"])) <= {0, 1, 255}


def test_canet_leaves_queries_alone(tiny_source, sampler):
    plain = read(tiny_source, sampler, augment=Augment())
    augmented = read(tiny_source, sampler, augment="canet")
    for a, b in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(a["query_image"], b["query_image"])
        assert not np.array_equal(a["support_image"], b["support_image"])


def test_augmenting_by_nothing_is_resizing(tiny_source, sampler):
    for a, b in zip(read(tiny_source, sampler), read(tiny_source, sampler, augment=Augment()),
                    strict=True):
        assert np.abs(a["query_image"].astype(int) - b["query_image"]).max() <= 6
        assert (a["query_mask"] != b["query_mask"]).mean() < 0.01


@pytest.mark.parametrize("options", [{}, {"augment": Augment()}])
def test_padded_photos_and_masks(tiny_source, sampler, options):
    batch = read(tiny_source, sampler, resize="pad", **options)[0]
    # 40 x 48 in 32: 26 rows, cut to 24, and 32 columns.
    assert (batch["query_mask"][:, 24:] == 255).all() and not batch["query_image"][:, 24:].any()
    name = int(batch["query_name"][0][1:])
    share = (tiny_mask(name) == name % len(CLASSES) + 1).mean()
    assert abs((batch["query_mask"][0, :24] == 1).mean() - share) < 0.04


def test_options_that_exclude_each_other(tiny_source, sampler):
    class Store:
        shape = (4, 4, 2)

    for options, words in (
            ({"resize": "crop"}, "squash or pad"), ({"augment": "bam"}, "canet, pfenet"),
            ({"augment": Augment(scale=(0.0, 1.0))}, "scale"),
            ({"augment": "canet", "features": Store()}, "features")):
        with pytest.raises(DataError, match=words):
            read(tiny_source, sampler, **options)
    pairs = build_index(tiny_source, tiny_source.image_ids("all")).pairs
    with pytest.raises(DataError, match="N ways"):
        read(tiny_source, WaySampler(pairs, 2, 1, 0).take(2), augment="canet")


def test_a_list_is_taken_whole(tiny_source, sampler):
    for options, words in (({"count": 3}, "count 3: is of a sampler"),
                           ({"start": 3}, "start 3: is of a sampler")):
        with pytest.raises(DataError, match=words):
            episode_dataset(tiny_source, sampler.take(5), image_size=32, batch=2, **options)
