# SPDX-License-Identifier: Apache-2.0
"""Evaluation within a bound of memory: the same numbers, each photo encoded once where it fits."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from pipelines import open_source
from pipelines.index import build_index, split_pairs
from pipelines.sampler import EpisodeSampler
from sst_tf.config import Config, DataConfig, EvaluateConfig
from sst_tf.data.feature_store import FeatureStore
from sst_tf.data.kept import Kept
from sst_tf.data.photo_bank import PhotoBank
from sst_tf.data.scoring_options import PLAIN, ScoringOptions
from sst_tf.evaluation import multiclass
from sst_tf.evaluation.memory_cost import covering_episodes, memory_cost
from sst_tf.evaluation.scoring import score
from tests.sst_tf.conftest import build

SIDE, BATCH = 33, 4
ONCE = ScoringOptions()
NONE, LITTLE, PLENTY = 0.0, 1e-4, 1.0  # GB


@pytest.fixture(scope="module")
def source():
    return open_source("shapes", image_size=SIDE, count=60)


@pytest.fixture(scope="module")
def episodes(source):
    pairs = split_pairs(build_index(source, source.image_ids("all")), (20,), "base")
    return EpisodeSampler(pairs, 2, 0, skip_small=True).take(25)


@pytest.fixture(scope="module")
def model():
    return build()


def scored(model, source, episodes, memory, options=ONCE, untrained=None, store=None):
    bank = PhotoBank(source, episodes, SIDE, options, store, memory=memory)
    return score(model, bank, episodes, BATCH, untrained, oracle=True)


def assert_equal(one, other):
    assert one.counts.keys() == other.counts.keys()
    for name, counts in one.counts.items():
        np.testing.assert_array_equal(counts.histogram, other.counts[name].histogram, name)
        assert counts.photos == other.counts[name].photos
    assert list(one.supports.items()) == list(other.supports.items())


@pytest.mark.parametrize("views", [(PLAIN,), ((1.0, True), (1.3, False))])
def test_numbers_do_not_depend_on_memory(model, source, episodes, views):
    options = ScoringOptions(views)
    whole = scored(model, source, episodes, PLENTY, options, model.encoder)
    assert whole.counts["prototype"].histogram.any()
    assert_equal(scored(model, source, episodes, NONE, options, model.encoder), whole)
    # The same weights in another encoder: a pass of its own, the same answers.
    assert_equal(scored(model, source, episodes, LITTLE, options, build().encoder), whole)


def test_numbers_of_stored_features_do_not_depend_on_memory(source, episodes, tmp_path):
    model = build(backbone="resnet18")
    store = FeatureStore(model.encoder, source, SIDE, tmp_path)
    options = ScoringOptions((PLAIN, (1.0, True)))
    assert_equal(*(scored(model, source, episodes, memory, options, model.encoder, store)
                   for memory in (NONE, PLENTY)))


def test_several_ways_do_not_depend_on_memory(model, source):
    pairs = split_pairs(build_index(source, source.image_ids("all")), (20,), "base")
    data = SimpleNamespace(source=source, novel=pairs)

    def found(memory):
        config = Config(data=DataConfig(image_size=SIDE), evaluate=EvaluateConfig(
            ways=2, episodes=9, batch=BATCH, resamples=5, memory=memory))
        drawn = multiclass.draw(config, data, 1)
        scores, *_, counts = multiclass.evaluate(config, model, data, drawn, {"tuned": 40},
                                                 ONCE, progress=False)
        return scores, {name: one.histogram for name, (one, _) in counts.items()}

    (scores, counts), (more_scores, more_counts) = found(NONE), found(PLENTY)
    assert scores == more_scores
    for name, histogram in counts.items():
        np.testing.assert_array_equal(histogram, more_counts[name], name)


def encoded(monkeypatch, encoder):
    """A list that grows by the number of photos of each pass through an encoder's backbone."""
    seen, features = [], encoder.features

    def counted(images, training=False):
        tf.py_function(lambda n: seen.append(int(n)), [tf.shape(images)[0]], [])
        return features(images, training)

    monkeypatch.setattr(encoder, "features", counted)
    return seen


def in_batches(count):
    return -(-count // BATCH) * BATCH


def test_each_photo_is_encoded_once(monkeypatch, model, source, episodes):
    seen = encoded(monkeypatch, model.encoder)
    supports = {name for e in episodes for name in e.support}
    queries = {e.query for e in episodes}
    bank = PhotoBank(source, episodes, SIDE, ONCE, memory=PLENTY)
    score(model, bank, episodes, BATCH, model.encoder)
    # One pass of the backbone serves the answers and the prototype baseline.
    assert sum(seen) == in_batches(len(supports)) + in_batches(len(queries - supports))
    seen.clear()
    bank = PhotoBank(source, episodes, SIDE, ONCE, memory=NONE)
    score(model, bank, episodes, BATCH, model.encoder)
    assert sum(seen) == in_batches(len(supports)) + in_batches(len(queries))


def test_an_untrained_encoder_sees_each_photo_once(monkeypatch, model, source, episodes):
    untrained = build().encoder
    seen = encoded(monkeypatch, untrained)
    supports = {name for e in episodes for name in e.support}
    queries = {e.query for e in episodes}
    bank = PhotoBank(source, episodes, SIDE, ONCE, memory=PLENTY)
    score(model, bank, episodes, BATCH, untrained)
    assert sum(seen) == in_batches(len(supports)) + in_batches(len(queries - supports))


def test_a_bank_keeps_no_more_than_it_may(model, source, episodes):
    bank = PhotoBank(source, episodes, SIDE, ONCE, memory=LITTLE)
    score(model, bank, episodes, BATCH)
    for kind, kept in (("photos", bank._photos), ("masks", bank._masks)):
        assert 0 < kept.used <= bank.limits[kind]
    assert sum(bank.limits.values()) == pytest.approx(LITTLE * 1e9)


def test_what_does_not_fit_is_not_kept():
    kept = Kept(10)
    kept.put("a", "A", 6)
    kept.put("b", "B", 5)
    kept.put("c", "C", 4)
    assert ["a" in kept, "b" in kept, kept.get("c"), kept.get("b")] == [True, False, "C", None]
    assert kept.pop("a") == "A" and kept.used == 4 and kept.fits(6) and not kept.fits(7)


def test_the_cost_is_measured_on_every_photo(source):
    names = source.image_ids("all")[:20]
    covered = covering_episodes(source, names)
    assert sorted(e.query for e in covered) == sorted(names)
    config = Config(data=DataConfig(image_size=SIDE))
    config.model.backbone, config.model.weights, config.model.channels = "small", "none", 8
    cost = memory_cost(config, source, names, progress=False)
    assert cost.photos == cost.episodes == 20 and 0 < cost.loaded <= cost.peak < 20
