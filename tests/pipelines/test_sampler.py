# SPDX-License-Identifier: Apache-2.0
import json
from collections import Counter

import pytest

from pipelines import DataError, EpisodeSampler
from pipelines.index import Pair
from pipelines.sampler import Episode, dump_episodes, episodes_sha256, load_episodes

PAIRS = [Pair(f"{c}-{i}", c, 9) for c, photos in ((1, 4), (2, 30), (5, 8)) for i in range(photos)]


def test_an_episode_depends_on_seed_and_number_alone():
    episodes = EpisodeSampler(PAIRS, 2, seed=3).take(50)
    other = EpisodeSampler(PAIRS[::-1], 2, seed=3)
    assert [other.episode(i) for i in (40, 7)] == [episodes[40], episodes[7]]
    assert other.take(5, start=20) == episodes[20:25]
    assert EpisodeSampler(PAIRS, 2, seed=4).take(50) != episodes


def test_classes_are_uniform_and_photos_distinct():
    episodes = EpisodeSampler(PAIRS, 3, seed=0).take(1500)
    for episode in episodes:
        assert len({episode.query, *episode.support}) == 4
        assert all(name.startswith(f"{episode.class_id}-")
                   for name in (episode.query, *episode.support))
        assert episode.support_class_id == episode.class_id
    # 1,500 draws: 500 a class, however many photos it has; 5 standard deviations are 91.
    assert all(abs(n - 500) < 91 for n in Counter(e.class_id for e in episodes).values())


def test_sampling_never_changes_between_versions():
    """The hash that result files carry; a change here makes old results incomparable."""
    assert episodes_sha256(EpisodeSampler(PAIRS, 2, seed=3).take(20)) == (
        "7d697bdc08128f19e22943ffff12f0b1903cbadfe56baadc882c75cf328d0ccd")


def test_mismatched_episodes_show_another_class():
    pairs = PAIRS + [Pair("2-1", 1, 9)]  # a photo of both classes
    for episode in EpisodeSampler(pairs, 2, seed=0, mismatched=True).take(300):
        assert episode.support_class_id != episode.class_id
        assert episode.query not in episode.support and len(set(episode.support)) == 2
        shown = {p.image_id for p in pairs if p.class_id == episode.support_class_id}
        assert set(episode.support) <= shown


def test_too_few_photos():
    with pytest.raises(DataError, match="class cup: 4 photos, 5-shot episodes need 6; add photos"):
        EpisodeSampler(PAIRS, 5, 0, class_names=["cup", "fork", "a", "b", "c"])
    with pytest.raises(DataError, match="class 1: 4 photos"):
        EpisodeSampler(PAIRS, 5, 0)
    sampler = EpisodeSampler(PAIRS, 5, 0, skip_small=True)
    assert sampler.skipped == ["1"] and {e.class_id for e in sampler.take(50)} == {2, 5}
    with pytest.raises(DataError, match="0 classes have more than 50 photos"):
        EpisodeSampler(PAIRS, 50, 0, skip_small=True)
    with pytest.raises(DataError, match="need two"):
        EpisodeSampler(PAIRS[:4], 1, 0, mismatched=True)
    with pytest.raises(DataError, match="0 classes"):
        EpisodeSampler([], 1, 0)


def test_episodes_survive_their_file(tmp_path):
    episodes = EpisodeSampler(PAIRS, 2, seed=3).take(20)
    path = tmp_path / "episodes.jsonl"
    dump_episodes(episodes, path)
    assert load_episodes(path) == episodes
    assert all(isinstance(e, Episode) for e in load_episodes(path))
    assert episodes_sha256(load_episodes(path)) == episodes_sha256(episodes)
    assert episodes_sha256(episodes[:19]) != episodes_sha256(episodes)
    assert [p.name for p in tmp_path.iterdir()] == ["episodes.jsonl"]


def test_damaged_episode_files(tmp_path):
    with pytest.raises(DataError, match="no such file of episodes"):
        load_episodes(tmp_path / "nosuch.jsonl")
    path = tmp_path / "episodes.jsonl"
    dump_episodes(EpisodeSampler(PAIRS, 2, seed=3).take(2), path)
    path.write_text(path.read_text() + '{"query": "a"}\n')
    with pytest.raises(DataError, match="line 3 is no episode"):
        load_episodes(path)


@pytest.mark.parametrize("changes", [
    {"support": "1-0"}, {"support": [1]}, {"query": 3}, {"class_id": "1"}, {"episode_id": 0.5},
    {"class_id": [1, 2]}, {"class_id": [1], "support": ["1-0"]}])
def test_lines_that_only_look_like_episodes(tmp_path, changes):
    """The letters of a text are no photo ids."""
    path = tmp_path / "episodes.jsonl"
    whole = {"episode_id": 0, "class_id": 1, "support": ["1-0"], "query": "1-1",
             "support_class_id": 1}
    path.write_text(json.dumps(whole) + "\n" + json.dumps(whole | changes) + "\n")
    with pytest.raises(DataError, match="line 2 is no episode"):
        load_episodes(path)


def test_classes_by_their_photos():
    sampler = EpisodeSampler(PAIRS, 3, seed=0, power=0.5)
    counted = Counter(e.class_id for e in sampler.take(1500))
    share = {1: 4 ** 0.5, 2: 30 ** 0.5, 5: 8 ** 0.5}
    for class_id, n in counted.items():  # 5 standard deviations are below 97
        assert abs(n - 1500 * share[class_id] / sum(share.values())) < 97


def test_absent_queries_lack_the_class():
    both = {p.image_id for p in PAIRS if p.class_id == 1}
    pairs = PAIRS + [Pair(name, 2, 9) for name in sorted(both)]  # photos of 1 show 2 as well

    def lacks(name, class_id):
        return not name.startswith(f"{class_id}-") and not (class_id == 2 and name in both)

    sampler = EpisodeSampler(pairs, 2, seed=0, absent=0.25, lacks=lacks)
    absent = [e for e in sampler.take(1000) if lacks(e.query, e.class_id)]
    assert 180 < len(absent) < 320
    for episode in sampler.take(1000):
        assert not any(lacks(name, episode.class_id) for name in episode.support)
        assert episode.query not in episode.support
    with pytest.raises(DataError, match="absent queries need"):
        EpisodeSampler(pairs, 2, seed=0, absent=0.25)


def test_a_class_that_no_photo_lacks_has_present_queries_alone():
    episodes = EpisodeSampler(PAIRS, 1, 0, absent=0.9, lacks=lambda name, class_id: False).take(50)
    assert all(e.query.startswith(f"{e.class_id}-") for e in episodes)
