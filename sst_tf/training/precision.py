# SPDX-License-Identifier: Apache-2.0
"""Products of the training step in bfloat16, by TensorFlow's own rewriting of the graph."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

REWRITING = "auto_mixed_precision_onednn_bfloat16"


@contextlib.contextmanager
def products(precision: str) -> Iterator[None]:
    """Graphs that are called inside compute convolutions and matrix products in `precision`.

    The option belongs to a call and not to a traced function: the same function called outside
    computes as it did.

    Args:
        precision: "float32" or "bfloat16".
    """
    before = tf.config.optimizer.get_experimental_options().get(REWRITING, False)
    tf.config.optimizer.set_experimental_options({REWRITING: precision == "bfloat16"})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({REWRITING: before})
