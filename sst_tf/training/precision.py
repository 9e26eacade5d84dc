# SPDX-License-Identifier: Apache-2.0
"""Products of the training step in bfloat16, by TensorFlow's own rewriting of the graph."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from sst_tf.runs.provenance import has_bfloat16

REWRITING = "auto_mixed_precision_onednn_bfloat16"


@contextlib.contextmanager
def products(precision: str) -> Iterator[None]:
    """Graphs that are called inside compute convolutions and matrix products in `precision`.

    The option belongs to a call and not to a traced function: the same function called outside
    computes as it did.

    Args:
        precision: "float32" or "bfloat16"; the latter is float32, too, and says so, on a processor
            that has no bfloat16.
    """
    wanted = precision == "bfloat16"
    if wanted and not has_bfloat16():
        print("train.precision bfloat16: this processor has none (it takes AVX-512); products "
              "stay in float32")
        wanted = False
    before = tf.config.optimizer.get_experimental_options().get(REWRITING, False)
    tf.config.optimizer.set_experimental_options({REWRITING: wanted})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({REWRITING: before})
