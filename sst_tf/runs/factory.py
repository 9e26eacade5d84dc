# SPDX-License-Identifier: Apache-2.0
"""From a configuration to a fresh model and its optimizer."""

import dataclasses

import keras

from sst_tf.config import Config, resolved
from sst_tf.model.segmenter import OptimizerOptions, SSTSegmenter


def build_model(config: Config) -> SSTSegmenter:
    """A fresh `SSTSegmenter` of a configuration, backbone weights loaded, seeded."""
    keras.utils.set_random_seed(config.train.seed)
    segmenter = assemble(config)
    segmenter.encoder.load(config.model.weights)
    return segmenter


def assemble(config: Config) -> SSTSegmenter:
    """An `SSTSegmenter` of a configuration whose weights are all random."""
    model = config.model
    return SSTSegmenter(
        model={"method": model.method, "backbone": model.backbone, "channels": model.channels,
               "dropout": model.dropout, "train_backbone": model.train_backbone,
               "comparator": model.comparator, "feature_dropout": model.feature_dropout,
               "embedding_kernel": model.embedding_kernel, "second_look": model.second_look},
        tuner=dataclasses.asdict(resolved(config).tuner),
        loss=dataclasses.asdict(config.loss),
        optimizer_options=OptimizerOptions(
            config.optimizer.weight_decay, config.optimizer.head_multiplier,
            config.optimizer.clip_norm),
        fusion=model.fusion)


def build_optimizer(config: Config) -> keras.optimizers.Optimizer:
    """SGD or Adam as configured; weight decay (coupled L2) and clipping are the model's."""
    options = config.optimizer
    rate = options.learning_rate
    if options.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            rate, config.train.epochs * config.train.steps_per_epoch)
    average = {"use_ema": options.average > 0, "ema_momentum": options.average}
    if options.name == "adam":
        return keras.optimizers.Adam(rate, **average)
    return keras.optimizers.SGD(rate, momentum=options.momentum, **average)
