# SPDX-License-Identifier: Apache-2.0
"""Presets against the episodes and rules of published code."""

import hashlib
from collections import Counter

import pytest

from pipelines import DataError, open_source
from pipelines.folds import novel_class_ids
from pipelines.index import Pair, build_index, read_facts, read_pairs, split_pairs
from pipelines.protocols import PROTOCOLS, protocol, protocol_episodes


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize("fold", range(4))
def test_hsnet_episodes_are_hsnets(shared, fixtures, fold, shots):
    pairs = read_pairs(shared / f"data/lists/hsnet/pascal/val/fold{fold}.txt", 20)
    episodes = protocol_episodes(protocol("hsnet"), pairs, shots)
    expected = fixtures["hsnet_episodes"][str(shots)][str(fold)]
    first = [[e.class_id, e.query, list(e.support)] for e in episodes[:3]]
    assert first == expected["first"]
    lines = "".join(f"{e.class_id} {e.query} {' '.join(e.support)}\n" for e in episodes)
    assert hashlib.sha256(lines.encode()).hexdigest() == expected["sha256"]
    repeated = sum(len(set(e.support)) < shots for e in episodes)
    assert repeated == expected["episodes_with_repeated_support"]


def test_the_published_lists_have_the_published_counts(shared, fixtures):
    for fold in range(4):
        for part, key in (("val", "val"), ("trn", "train")):
            pairs = read_pairs(shared / f"data/lists/hsnet/pascal/{part}/fold{fold}.txt", 20)
            assert len(pairs) == fixtures["pascal5i_pairs"][key][str(fold)]["published"]


# Photo i shows class i % 3 + 1; every fourth shows the next one too.
PAIRS = [Pair(f"p{i}", c, 0) for i in range(24)
         for c in ([i % 3 + 1, (i + 1) % 3 + 1] if i % 4 == 0 else [i % 3 + 1])]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_preset_draws_what_it_says(name):
    preset = protocol(name)
    found = {(p.image_id, p.class_id) for p in PAIRS}
    for run in range(preset.runs):
        episodes = protocol_episodes(preset, PAIRS, 3, run, count=100)
        assert [e.episode_id for e in episodes] == list(range(100))
        for e in episodes:
            assert e.query not in e.support and (e.query, e.class_id) in found
            assert all((s, e.class_id) in found for s in e.support)
            assert preset.support == "independent" or len(set(e.support)) == 3
        assert episodes == protocol_episodes(preset, PAIRS, 3, run, count=100)
        queries = [(e.query, e.class_id) for e in episodes]
        order = [p[:2] for p in PAIRS]
        if preset.query == "pairs":
            assert queries == (order * 5)[:100]
        elif preset.query == "shuffled":
            assert queries[:30] == order and sorted(queries[30:60]) == sorted(order)
            assert queries[30:60] != order
        elif preset.query == "photos":
            # repri's later runs go on where the one before stopped.
            start = 100 * run if name == "repri" else 0
            assert [q for q, _ in queries] == [f"p{(start + i) % 24}" for i in range(100)]
        else:
            assert min(Counter(c for _, c in queries).values()) > 15
    if preset.runs > 1:  # other runs, other episodes
        assert protocol_episodes(preset, PAIRS, 3, 0, 100) != protocol_episodes(
            preset, PAIRS, 3, 1, 100)


def test_bad_lists_and_names(tmp_path):
    path = tmp_path / "pairs.txt"
    for text, match in (("a__01\nb__21\n", "line 2, 'b__21'"), ("a 1\n", "line 1, 'a 1'"),
                        ("a__01\na__1\n", "stands twice")):
        path.write_text(text)
        with pytest.raises(DataError, match=match):
            read_pairs(path, 20)
    with pytest.raises(DataError, match="no such list"):
        read_pairs(tmp_path / "no.txt", 20)
    with pytest.raises(DataError, match="canet, hsnet"):
        protocol("nosuch")
    with pytest.raises(DataError, match="run 1; it has 1"):
        protocol_episodes(protocol("hsnet"), PAIRS, 1, 1)
    with pytest.raises(DataError, match="class 1: 10 photos, 10-shot episodes of bam need 11"):
        protocol_episodes(protocol("bam"), PAIRS, 10)


def test_areas_come_from_the_masks(tiny_source, tmp_path):
    (tmp_path / "pairs.txt").write_text("p00__01\n\n")
    (pair,) = read_pairs(tmp_path / "pairs.txt", 4, tiny_source)
    assert pair == ("p00", 1, int((tiny_source.read_mask("p00") == 1).sum())) and pair.area > 0


@pytest.fixture(scope="module")
def val(shared):
    """Source of the real photos of VOC 2012 val, and what is in them."""
    root = shared / "data/pascal5i"
    if not root.is_dir():
        pytest.skip(f"{root}: the photos of VOC 2012 val are not there")
    source = open_source("voc", root)
    return source, read_facts(source, source.image_ids("val"))


@pytest.mark.parametrize("fold", range(4))
def test_hsnet_s_episodes_have_their_photos(shared, fixtures, val, fold):
    """Every photo of all 1,000 episodes is there, its mask shows the class, the hashes are right.

    `read_facts` has opened each photo and its mask; `build_index` looks each pair up in it.
    """
    source, facts = val
    path = shared / f"data/lists/hsnet/pascal/val/fold{fold}.txt"
    index = build_index(source, list(facts), str(path), facts=facts)
    novel = novel_class_ids(source.classes, fold=fold)
    pairs = split_pairs(index, novel, "novel")
    assert len(pairs) == fixtures["pascal5i_pairs"]["val"][str(fold)]["published"]
    for shots in (1, 5):
        episodes = protocol_episodes(protocol("hsnet"), pairs, shots)
        lines = "".join(f"{e.class_id} {e.query} {' '.join(e.support)}\n" for e in episodes)
        assert hashlib.sha256(lines.encode()).hexdigest() == (
            fixtures["hsnet_episodes"][str(shots)][str(fold)]["sha256"])
        for name in {name for e in episodes for name in (e.query, *e.support)}:
            assert source.image_path(name).is_file()
        areas = {pair[:2]: pair.area for pair in pairs}
        assert all(areas[name, e.class_id] > 0
                   for e in episodes for name in (e.query, *e.support))


@pytest.mark.parametrize("fold", range(4))
def test_pfenet_s_pool_and_episodes_on_the_real_photos(fixtures, val, fold):
    source, facts = val
    index = build_index(source, list(facts), "area2048", facts=facts)
    pairs = split_pairs(index, novel_class_ids(source.classes, fold=fold), "novel")
    photos = list(dict.fromkeys(pair.image_id for pair in pairs))
    counts = fixtures["pascal5i_pools"][str(fold)]
    assert len(photos) == counts["area2048_val_images"]
    assert len(pairs) == fixtures["pascal5i_pairs"]["val"][str(fold)]["area2048"]
    episodes = protocol_episodes(protocol("pfenet"), pairs, 1)
    assert len(episodes) == 5000
    # The photos in order, again from the start; the class is one that the photo shows well.
    assert [e.query for e in episodes] == (photos * (5000 // len(photos) + 1))[:5000]
    shown = {pair[:2] for pair in pairs}
    assert all((name, e.class_id) in shown for e in episodes for name in (e.query, *e.support))
