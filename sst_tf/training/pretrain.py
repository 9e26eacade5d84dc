# SPDX-License-Identifier: Apache-2.0
"""Before the episodes: the encoder learns to tell the base classes apart, cell by cell.

An episode says one bit about an object (of this class, or not), a mask says its name. An encoder
that knows names gives the comparator something to compare from its first step on; without, a
model learns what stands out long before it learns to look at the support
(docs/results_small.md). Not in the paper, whose backbone comes with ImageNet's classes;
`pretrain.steps: 0` leaves it out.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipelines import photo_dataset
from pipelines.errors import UserError
from sst_tf.config import Config
from sst_tf.data.feature_store import FeatureStore
from sst_tf.data.run_data import RunData
from sst_tf.model.backbones import STRIDE
from sst_tf.model.layers import Conv2D, grid
from sst_tf.model.segmenter import SSTSegmenter


def labels(mask: np.ndarray, novel_ids: Sequence[int], novel_policy: str) -> tf.Tensor:
    """Class of each cell of the features' grid, or 255 where it does not count.

    Args:
        mask: [B, S, S] uint8 index masks.
        novel_ids: these become background, or 255 with `novel_policy` "ignore255".
    Returns:
        [B, h, w] int32 with h = ceil(S / 8): the pixels that the aligned grid's points fall on.
    """
    names = np.arange(256)
    names[list(novel_ids)] = 255 if novel_policy == "ignore255" else 0
    rows, columns = (_points(side) for side in grid(mask))
    at_points = tf.gather(tf.gather(mask, rows, axis=1), columns, axis=2)
    return tf.gather(tf.constant(names, tf.int32), tf.cast(at_points, tf.int32))


def _points(side):
    """The pixel under each point of the features' grid, whose first and last are the photo's."""
    cells = -(-side // STRIDE)
    return tf.cast(tf.round(tf.linspace(0.0, tf.cast(side - 1, tf.float32), cells)), tf.int32)


def classification_loss(logits: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Cross-entropy over the cells that count: [B, h, w, classes], [B, h, w] -> scalar."""
    counted = tf.not_equal(target, 255)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(counted, target, 0), logits)
    counted = tf.cast(counted, losses.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * counted), tf.reduce_sum(counted))


def pretrain(model: SSTSegmenter, config: Config, data: RunData,
             store: FeatureStore | None = None) -> np.ndarray:
    """Train what is trainable of the encoder, with a linear classifier that is thrown away.

    Args:
        model: `SSTSegmenter`; its encoder is changed in place.
        config: `sst_tf.config.Config`; section `pretrain`.
        data: `RunData`; only photos and masks of its training pairs are read.
        store: `FeatureStore` of a frozen backbone.
    Returns:
        The loss of each step, [steps].
    """
    options, encoder = config.pretrain, model.encoder
    classifier = Conv2D(len(data.source.classes) + 1, 1, name="classifier")
    classifier.build((None, None, None, config.model.channels))
    variables = encoder.trainable_variables + classifier.trainable_variables
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(options.learning_rate, options.steps))
    optimizer.build(variables)
    embed = (lambda x: encoder(x, training=True)) if store is None else encoder.embed

    @tf.function(reduce_retracing=True)
    def step(photos):
        with tf.GradientTape() as tape:
            shown = photos["image" if store is None else "features"]
            logits = classifier(tf.cast(embed(shown), tf.float32))
            loss = classification_loss(
                logits, labels(photos["mask"], data.novel_ids, data.novel_policy))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    losses = []
    with tqdm(total=options.steps, desc="base classes", unit="step") as bar:
        for photos in _batches(config, data, store):
            losses.append(float(step(photos)))
            if not np.isfinite(losses[-1]):
                raise UserError(f"pretrain: the loss is {losses[-1]} at step {len(losses)}; lower "
                                "pretrain.learning_rate")
            bar.set_postfix(loss=f"{np.mean(losses[-100:]):.3f}", refresh=False)
            bar.update()
    return np.array(losses)


def _batches(config, data, store):
    """`pretrain.steps` batches: the training photos in seeded order, again and again."""
    options = config.pretrain
    rng = np.random.default_rng(config.train.seed)
    photos = sorted({pair.image_id for pair in data.train})
    rounds = -(-options.steps * options.batch // len(photos))
    names = np.concatenate([rng.permutation(photos) for _ in range(rounds)])
    names = names[:options.steps * options.batch].tolist()
    flipped = rng.random(len(names)) < (0.5 if config.train.flip else 0.0)
    return photo_dataset(data.source, names, config.data.image_size, masks=True, flipped=flipped,
                         features=store, resize=config.data.resize).batch(options.batch).prefetch(2)
