# SPDX-License-Identifier: Apache-2.0
"""What must hold for any pairs, seeds and photos."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import Augment, Episode, EpisodeSampler, WaySampler, episode_dataset
from pipelines.index import Index, Pair, holdout, split_pairs
from pipelines.reading.transforms import RESIZES
from pipelines.sampler import dump_episodes, episodes_sha256, load_episodes
from pipelines.sources.masks import IndexMasks

MANY = settings(max_examples=60, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def pair_lists(draw, least=7):
    """Pairs of 2 to 5 classes with at least `least` photos each; photos hold several classes."""
    classes = draw(st.integers(2, 5))
    photos = draw(st.integers(least, 25))
    shown = [draw(st.sets(st.integers(0, photos - 1), min_size=least, max_size=photos))
             for _ in range(classes)]
    return [Pair(f"p{i:02d}", c + 1, 1 + i) for c in range(classes) for i in sorted(shown[c])]


@MANY
@given(pairs=pair_lists(), shots=st.integers(1, 5), seed=st.integers(0, 2**31 - 1),
       mismatched=st.booleans())
def test_episodes_are_sound_and_repeatable(pairs, shots, seed, mismatched):
    sampler = EpisodeSampler(pairs, shots, seed, mismatched=mismatched)
    episodes = sampler.take(20)
    shown = {(p.image_id, p.class_id) for p in pairs}
    for e in episodes:
        assert e.query not in e.support and len(set(e.support)) == shots
        assert (e.query, e.class_id) in shown
        assert all((s, e.support_class_id) in shown for s in e.support)
        assert (e.support_class_id != e.class_id) == mismatched
    # Any order of pairs, any start: the same episodes.
    again = EpisodeSampler(pairs[::-1], shots, seed, mismatched=mismatched)
    assert again.take(10, start=10) == episodes[10:]


@MANY
@given(pairs=pair_lists(), seed=st.integers(0, 1000))
def test_replay_is_identical(pairs, seed, tmp_path):
    episodes = EpisodeSampler(pairs, 2, seed).take(5)
    dump_episodes(episodes, tmp_path / "episodes.jsonl")
    assert load_episodes(tmp_path / "episodes.jsonl") == episodes
    assert episodes_sha256(load_episodes(tmp_path / "episodes.jsonl")) == episodes_sha256(episodes)


@MANY
@given(pairs=pair_lists(least=7), ways=st.integers(1, 2), shots=st.integers(1, 3),
       seed=st.integers(0, 2**31 - 1))
def test_episodes_of_several_ways_are_sound_and_replayed(pairs, ways, shots, seed, tmp_path):
    sampler = WaySampler(pairs, ways, shots, seed)
    episodes = sampler.take(10)
    shown = {(p.image_id, p.class_id) for p in pairs}
    for e in episodes:
        photos = [e.query, *(photo for support in e.support for photo in support)]
        assert len(set(photos)) == len(photos) == ways * shots + 1
        assert len(set(e.class_id)) == ways and any((e.query, c) in shown for c in e.class_id)
        assert all((photo, c) in shown
                   for c, support in zip(e.class_id, e.support, strict=True) for photo in support)
    assert WaySampler(pairs[::-1], ways, shots, seed).take(5, start=5) == episodes[5:]
    dump_episodes(episodes, tmp_path / "ways.jsonl")
    assert load_episodes(tmp_path / "ways.jsonl") == episodes


@MANY
@given(pairs=pair_lists(), novel=st.sets(st.integers(1, 5), min_size=1, max_size=2),
       share=st.floats(0.1, 0.5), seed=st.integers(0, 100))
def test_base_and_novel_never_mix(pairs, novel, share, seed):
    classes_of = {}
    for p in pairs:
        classes_of.setdefault(p.image_id, set()).add(p.class_id)
    index = Index(tuple(pairs), {k: frozenset(v) for k, v in classes_of.items()})
    base = split_pairs(index, novel, "base", "drop")
    test = split_pairs(index, novel, "novel")
    assert not {p.class_id for p in base} & novel and {p.class_id for p in test} <= novel
    assert not {p.image_id for p in base} & {p.image_id for p in test}
    train, held = holdout(base, share, seed)
    assert sorted(train + held) == sorted(base)
    assert not {p.image_id for p in train} & {p.image_id for p in held}


class Box(IndexMasks):
    """One photo, black but for a white box, which is the object."""

    name, classes = "box", ("box",)

    def __init__(self, mask):
        self.mask = mask

    def read_mask(self, image_id):
        return self.mask

    def read_image(self, image_id):
        return (self.mask * 255)[..., None].repeat(3, -1)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(40, 90), width=st.integers(40, 90), size=st.integers(33, 65),
       top=st.floats(0, 0.5), left=st.floats(0, 0.5), seed=st.integers(0, 2**31 - 1),
       number=st.integers(0, 10**6), flip=st.booleans(), resize=st.sampled_from(RESIZES),
       how=st.sampled_from([None, "canet", "pfenet", Augment((0.5, 2.0), 90.0, 1.0)]))
def test_photo_and_mask_stay_aligned(height, width, size, top, left, seed, number, flip, resize,
                                     how):
    """What is white in the picture is what the mask marks, under every transform."""
    mask = np.zeros((height, width), np.uint8)
    y, x = int(top * height), int(left * width)
    mask[y:y + height // 2, x:x + width // 2] = 1
    once, again = (next(iter(episode_dataset(
        Box(mask), [Episode(number, 1, ("p",), "p", 1)], image_size=size, batch=1, seed=seed,
        flip=flip, augment=how, resize=resize))) for _ in range(2))
    for kind in ("support", "query"):
        np.testing.assert_array_equal(once[f"{kind}_image"], again[f"{kind}_image"])
        np.testing.assert_array_equal(once[f"{kind}_mask"], again[f"{kind}_mask"])
        counts = np.squeeze(once[f"{kind}_mask"]) != 255
        shown = (np.squeeze(once[f"{kind}_image"])[..., 0] > 127) & counts
        marked = np.squeeze(once[f"{kind}_mask"]) == 1
        assert marked.any()
        # Bilinear, blurred and nearest sampling may differ by a pixel along the outline, whose
        # length is four sides of half the picture, twice that when shown twice as large.
        assert (shown != marked).sum() <= 2 * 4 * (size / 2 + 2)
        assert (shown & marked).sum() > 0.6 * marked.sum() - 8
