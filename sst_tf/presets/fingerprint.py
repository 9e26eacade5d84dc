# SPDX-License-Identifier: Apache-2.0
"""What tells one backbone's weights from another's, whatever precision they are stored in.

A hash will not do, not even of values rounded to half precision: the recipe for ResNet-18 folds
batch norm in float32, another version of a library may round the last bit otherwise, and some of
millions of values then fall on the other side of a rounding edge. Each tensor is told by four sums
of its values under fixed random signs, and by its length; weights that are equal up to half
precision have sums equal up to `TOLERANCE`, any others differ by about as much as they are long.
"""

import keras
import numpy as np

SUMS = 4
TOLERANCE = 3e-3  # of a tensor's root mean square; half precision moves sums by some 2e-4
LEAST = 1e-3  # root mean square below which a tensor's values hardly count


def fingerprint(backbone: keras.Model) -> np.ndarray:
    """A row a tensor, in the order of the layers: sums over sqrt(n), root mean square.

    Returns:
        float32 [tensors, SUMS + 1].
    """
    return np.array([_row(variable.numpy()) for layer in backbone.layers
                     for variable in layer.weights], np.float32)


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """How far two fingerprints of one architecture lie apart.

    Returns:
        The largest difference in any tensor, in its root mean square.
    """
    return float((np.abs(found - wanted) / np.maximum(wanted[:, -1:], LEAST)).max())


def _row(values):
    values = values.astype(np.float64).ravel()
    bits = np.random.Philox(key=0).random_raw(values.size)  # the same in every version of NumPy
    signs = 1.0 - 2.0 * ((bits[:, None] >> np.arange(SUMS, dtype=np.uint64)) & np.uint64(1))
    return [*(values @ signs / np.sqrt(values.size)), np.sqrt(np.mean(values ** 2))]
