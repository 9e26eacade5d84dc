"""What must hold for any pairs, seeds and photos."""

import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import EpisodeSampler
from pipelines.index import Index, Pair, holdout, split_pairs
from pipelines.sampler import dump_episodes, episodes_sha256, load_episodes
from pipelines.transforms import random_flip, resize_class_mask, resize_image

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


@settings(max_examples=25, deadline=None)
@given(height=st.integers(20, 60), width=st.integers(20, 60), size=st.integers(17, 49),
       top=st.floats(0, 0.5), left=st.floats(0, 0.5), seed=st.integers(0, 2**31 - 1),
       number=st.integers(0, 10**6))
def test_photo_and_mask_stay_aligned(height, width, size, top, left, seed, number):
    """A bright box in the photo is the mask's box after resizing and flipping."""
    mask = np.zeros((height, width), np.uint8)
    y, x = int(top * height), int(left * width)
    mask[y:y + height // 2, x:x + width // 2] = 1
    image = tf.constant((mask * 255)[..., None].repeat(3, -1))
    small, target = resize_image(image, size), resize_class_mask(tf.constant(mask), size)
    episode = random_flip({
        "support_image": small[None], "support_mask": target[None], "query_image": small,
        "query_mask": target, "episode_id": tf.constant(number, tf.int64)}, seed)
    for kind in ("support", "query"):
        shown = np.squeeze(episode[f"{kind}_image"])[..., 0] > 127
        marked = np.squeeze(episode[f"{kind}_mask"]) == 1
        # Bilinear and nearest sampling may differ by a pixel along the outline.
        outline = 4 * (size / 2 + 2)
        assert (shown != marked).sum() <= outline
        assert (shown & marked).sum() > 0.6 * marked.sum()
