# SPDX-License-Identifier: Apache-2.0
"""Training a run from its first epoch, or from where it was stopped, to its last."""

import importlib.util
import sys
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from pipelines.errors import UserError
from sst_tf.config import Config
from sst_tf.data.feature_store import FeatureStore, open_store
from sst_tf.data.run_data import RunData
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.runs.directory import Run
from sst_tf.runs.factory import build_model, build_optimizer
from sst_tf.training.distribute import fit_workers, is_chief, share, wait_for_all
from sst_tf.training.precision import products
from sst_tf.training.pretrain import pretrain
from sst_tf.training.validation import StopOnNaN, Validation


def train(run: Run, config: Config, data: RunData, strategy: tf.distribute.Strategy,
          resume: bool = False, weights: Sequence[np.ndarray] | None = None
          ) -> tuple[SSTSegmenter, FeatureStore | None]:
    """Train a run to its last epoch.

    Args:
        weights: all of the model's to start from; fresh ones by default.
    Returns:
        (best model, feature store or None).
    """
    chief = is_chief(strategy)
    with strategy.scope():
        model = build_model(config)
        if weights is not None:
            _fill(model, weights, config.train.init)
        model.compile(optimizer=build_optimizer(config))
        model.optimizer.build(model.trainable_variables)  # else the step is traced twice
        state = (run.restore_last(model) if resume else None) or {"epoch": 0}
    store = open_features(model, config, data, strategy)
    per_epoch = config.train.steps_per_epoch
    start = state["epoch"] * per_epoch * config.train.batch
    announce(config, data)
    if config.pretrain.steps and state["epoch"] == 0:
        single = build_model(config)  # on one device, whatever the strategy
        losses = pretrain(single, config, data, store)
        for variable, learned in zip(model.encoder.weights, single.encoder.weights, strict=True):
            variable.assign(learned)
        share(strategy, model.encoder.weights)
        print(f"named base classes for {len(losses)} steps: loss {losses[:50].mean():.3f} at "
              f"first, {losses[-50:].mean():.3f} at last")
    if state["epoch"] < config.train.epochs:
        callbacks = [StopOnNaN()]
        if chief:
            callbacks += [Validation(run, config, data, store, state), *_tensorboard(run.folder)]
        length = {"epochs": config.train.epochs, "initial_epoch": state["epoch"],
                  "steps_per_epoch": per_epoch, "callbacks": callbacks,
                  "verbose": ("auto" if sys.stdout.isatty() else 2) if chief else 0}
        with products(config.train.precision):
            if config.train.strategy == "multi_worker":
                fit_workers(model, strategy, lambda context: data.training_episodes(
                    config, start, store, context), **length)
            else:
                model.fit(data.training_episodes(config, start, store), shuffle=False, **length)
    wait_for_all(strategy)  # worker 0 has written the model
    print("trained" if not (chief and "best" in state) else
          f"best on {config.train.select_on} classes: epoch {state['best_epoch']}, "
          f"mIoU {state['best']:.3f}")
    return run.model(), store


def _fill(model, weights, name):
    """Set all weights of a model that starts as another was."""
    theirs, ours = ([tuple(one.shape) for one in some] for some in (weights, model.weights))
    if theirs != ours:
        raise UserError(f"train.init {name}: its {len(theirs)} weights are of other shapes than "
                        f"the {len(ours)} that are configured; set tuner.steps and "
                        "tuner.step_size as it was trained with")
    model.set_weights(weights)


def _tensorboard(folder):
    """The callback that writes TensorBoard's files, where the extra `tensorboard` is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False)]


def open_features(model: SSTSegmenter, config: Config, data: RunData,
                  strategy: tf.distribute.Strategy) -> FeatureStore | None:
    """The store of a frozen backbone's features, or None; worker 0 fills it before the others."""
    if not config.train.cache_features:
        return None
    if not is_chief(strategy):
        wait_for_all(strategy)
    store = open_store(config, model, data)
    assert store is not None  # features are kept, as asked above
    names = {p.image_id for p in data.train + data.validation}
    store.ensure(sorted(names))
    trained = sorted({p.image_id for p in data.train})
    for crop in range(config.train.crops + 1):
        for flipped in (False, True)[:1 + config.train.flip]:
            store.ensure(trained, flipped, crop)
    if is_chief(strategy):
        wait_for_all(strategy)
    return store


def announce(config: Config, data: RunData) -> None:
    """Say what is trained on, what is left out, and what may go wrong."""
    tuner = config.tuner
    if tuner.steps and tuner.normalize == "relative" and tuner.second_order and (
            not config.loss.auxiliary):
        print("tuner.normalize relative without loss.auxiliary: training may raise the inner loss "
              "without end; tuner.normalize direction makes the same step with its whole gradient")
    sampler = data.sampler("train", config.train.shots, config.train.seed)
    if sampler.skipped:
        print(f"{len(sampler.skipped)} base classes have fewer than {config.train.shots + 1} "
              f"training photos and take no part: {', '.join(map(str, sampler.skipped[:20]))}")
    print(f"training on {len({p.image_id for p in data.train})} photos of base classes, "
          f"validating on {len({p.image_id for p in data.validation})} others; novel: "
          f"{', '.join(data.source.classes[i - 1] for i in data.novel_ids) or 'no class'}")
