# SPDX-License-Identifier: Apache-2.0
"""Layers that Keras has in a form this project cannot use: dilated convolution, exact resizing."""

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("sst_tf")
class Conv2D(keras.layers.Layer):
    """2-D convolution through `tf.nn.conv2d(dilations=...)`.

    `keras.layers.Conv2D(dilation_rate=...)` reaches TensorFlow as SpaceToBatchND, Conv2D,
    BatchToSpaceND; this one is a single Conv2D op with a gradient of any order. Kernel shape
    [h, w, in, out] and variable names are Keras', so that weights load unchanged.

    Args:
        filters: output channels.
        kernel_size: side of the square kernel.
        strides, dilation: in pixels of the input map.
        activation: "relu" or None.
        symmetric: pad by `dilation * (kernel_size - 1) // 2` on every side, as PyTorch does;
            otherwise SAME, which pads more at the end where stride > 1.
        padding: "same" or "valid" (ignored where `symmetric`).

    Shapes: [B, h, w, in] -> [B, h', w', filters].
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, dilation: int = 1,
                 activation: str | None = None, symmetric: bool = False, padding: str = "same",
                 use_bias: bool = True, initializer="he_normal", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.dilation = dilation
        self.activation = activation
        self.symmetric = symmetric
        self.padding = padding
        self.use_bias = use_bias
        self.initializer = initializer

    def build(self, input_shape) -> None:
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=self.initializer, name="kernel")
        self.bias = (
            self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
            if self.use_bias else None
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        padding: str | list = self.padding.upper()
        # At stride 1 SAME is symmetric too, and the CPU has gradients of a dilated convolution
        # for SAME only.
        if self.symmetric and self.strides > 1:
            side = self.dilation * (self.kernel_size - 1) // 2
            padding = [[0, 0], [side, side], [side, side], [0, 0]]
        kernel = tf.cast(self.kernel, x.dtype)
        if self.strides == 1 and padding == "SAME" and (self.dilation > 1 or narrows(kernel)):
            x = convolve(x, kernel, self.dilation)
        else:
            x = tf.nn.conv2d(x, kernel, self.strides, padding, dilations=self.dilation)
        if self.bias is not None:
            x = tf.nn.bias_add(x, tf.cast(self.bias, x.dtype))
        return tf.nn.relu(x) if self.activation == "relu" else x

    def compute_output_shape(self, input_shape) -> tuple:
        def side(n):
            if n is None:
                return None
            if self.padding == "valid" and not self.symmetric:
                return (n - self.kernel_size) // self.strides + 1
            return -(-n // self.strides)

        return (input_shape[0], side(input_shape[1]), side(input_shape[2]), self.filters)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "filters": self.filters, "kernel_size": self.kernel_size, "strides": self.strides,
            "dilation": self.dilation, "activation": self.activation,
            "symmetric": self.symmetric, "padding": self.padding, "use_bias": self.use_bias,
            "initializer": keras.initializers.serialize(keras.initializers.get(self.initializer)),
        }


def convolve(x: tf.Tensor, kernel: tf.Tensor, dilation: int) -> tf.Tensor:
    """`tf.nn.conv2d(x, kernel, 1, "SAME", dilations=dilation)` with gradients of our own.

    TensorFlow's need a GPU or oneDNN where the kernel is dilated: processors without AVX-512,
    where oneDNN is off unless asked for, and those that are not x86 refuse them. Where many
    channels become few, theirs by the kernel takes two to three times as long as ours. The gradient
    by the input is a convolution itself, by the turned kernel; the one by the kernel is made of
    matrix products. Gradients of any order.
    """
    @tf.custom_gradient
    def convolved(x, kernel):
        def gradient(upstream):
            turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            by_kernel = _narrowing if narrows(kernel) else _cell_by_cell
            return (convolve(upstream, turned, dilation),
                    by_kernel(x, upstream, kernel.shape, dilation))

        return tf.nn.conv2d(x, kernel, 1, "SAME", dilations=dilation), gradient

    return convolved(x, kernel)


def narrows(kernel: tf.Tensor) -> bool:
    """Whether an odd kernel wider than a pixel [k, k, in, out] makes few channels of many."""
    size, _, channels, filters = kernel.shape
    return size > 1 and size % 2 == 1 and channels >= 4 * filters


def _cell_by_cell(x, upstream, shape, dilation):
    """Gradient by the kernel, [k, k, in, out]: cell (i, j) saw x moved by (i, j) dilations."""
    size, _, channels, filters = shape
    upstream = tf.reshape(upstream, [-1, filters])
    cells = [tf.matmul(tf.reshape(moved, [-1, channels]), upstream, transpose_a=True)
             for moved in _moved(x, size, dilation)]
    return tf.reshape(tf.stack(cells), shape)


def _narrowing(x, upstream, shape, dilation):
    """The same in one product: the upstream, which is narrow, is moved the other way."""
    size, _, channels, filters = shape
    moved = tf.concat(_moved(upstream, size, dilation)[::-1], axis=-1)
    product = tf.matmul(tf.reshape(moved, [-1, size * size * filters]),
                        tf.reshape(x, [-1, channels]), transpose_a=True)
    return tf.transpose(tf.reshape(product, [size, size, filters, channels]), [0, 1, 3, 2])


def _moved(x, size, dilation):
    """x as each cell of a kernel sees it, zeros around it."""
    side = dilation * (size - 1) // 2
    height, width = grid(x)
    padded = tf.pad(x, [[0, 0], [side, side], [side, side], [0, 0]])
    return [padded[:, i:i + height, j:j + width]
            for i in range(0, size * dilation, dilation)
            for j in range(0, size * dilation, dilation)]


def interpolation_matrix(target, source) -> tf.Tensor:
    """Linear interpolation with aligned corners, [target, source] float32.

    Row i holds the weights of the source points for target point i; the first and last points
    of both grids coincide. `target` and `source` are ints or scalar tensors.
    """
    target, source = tf.convert_to_tensor(target), tf.convert_to_tensor(source)
    scale = tf.cast(source - 1, tf.float32) / tf.cast(tf.maximum(target - 1, 1), tf.float32)
    position = tf.range(tf.cast(target, tf.float32)) * scale  # [target]
    grid = tf.range(tf.cast(source, tf.float32))  # [source]
    return tf.maximum(1.0 - tf.abs(position[:, None] - grid[None, :]), 0.0)


def _static_or_dynamic(tensor, axis):
    return tensor.shape[axis] if tensor.shape[axis] is not None else tf.shape(tensor)[axis]


def grid(maps: tf.Tensor) -> tuple:
    """(h, w) of maps [N, h, w, ...], static where known."""
    return _static_or_dynamic(maps, 1), _static_or_dynamic(maps, 2)


def resize_aligned(x: tf.Tensor, size) -> tf.Tensor:
    """Bilinear resize with aligned corners of a map [B, h, w] to [B, H, W].

    Two small matrices instead of `ResizeBilinear`: equal to it within float error, and its
    gradient is made of products that convert to ONNX. `size`: (H, W) ints or scalar tensors.
    """
    h, w = _static_or_dynamic(x, 1), _static_or_dynamic(x, 2)
    rows = interpolation_matrix(size[0], h)  # [H, h]
    columns = interpolation_matrix(size[1], w)  # [W, w]
    x = tf.matmul(tf.cast(rows, x.dtype), x)  # [B, H, w]
    return tf.matmul(x, tf.cast(columns, x.dtype), transpose_b=True)  # [B, H, W]


def pool_weights(mask: tf.Tensor, size) -> tf.Tensor:
    """Share of foreground under each cell of the features' grid, T_S of Eq. 12.

    Args:
        mask: [B, H, W], 1 foreground, 0 background, 255 does not count.
        size: (h, w) of the grid.
    Returns:
        [B, h, w, 1] float32. Tent-shaped averaging over the full mask (the transpose of aligned
        bilinear upsampling, normalised), so that an object smaller than a cell keeps some weight
        where nearest sampling would lose it; 255 counts as no foreground.
    """
    foreground = tf.cast(tf.equal(mask, 1), tf.float32)  # [B, H, W]
    tall = tf.transpose(interpolation_matrix(_static_or_dynamic(mask, 1), size[0]))  # [h, H]
    wide = tf.transpose(interpolation_matrix(_static_or_dynamic(mask, 2), size[1]))  # [w, W]
    tall /= tf.reduce_sum(tall, 1, keepdims=True)
    wide /= tf.reduce_sum(wide, 1, keepdims=True)
    pooled = tf.matmul(tf.matmul(tall, foreground), wide, transpose_b=True)  # [B, h, w]
    return pooled[..., None]


def norm(x: tf.Tensor) -> tf.Tensor:
    """Frobenius norm per map, [N, h, w, C] -> [N]; its derivative at zero is zero, not NaN."""
    square = tf.reduce_sum(tf.square(x), axis=[1, 2, 3])
    return tf.where(square > 0, tf.sqrt(tf.where(square > 0, square, 1.0)), 0.0)


def masked_average(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Masked average pooling (Eq. 12): [B, h, w, C] and weights [B, h, w, 1] -> [B, C].

    Weights that sum to zero give the zero vector, not NaN.
    """
    total = tf.reduce_sum(weights, axis=[1, 2])  # [B, 1]
    weighted = tf.reduce_sum(features * weights, axis=[1, 2])  # [B, C]
    return weighted / tf.maximum(total, np.float32(1e-6))


def foreground_average(features: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Masked average over the foreground of a mask at full size (Eq. 12).

    Args:
        features: [N, h, w, C].
        mask: [N, H, W] of 0, 1, 255.
    Returns:
        [N, C].
    """
    return masked_average(features, pool_weights(mask, grid(features)))


def background(mask: tf.Tensor) -> tf.Tensor:
    """The mask of what is background: 1 where a mask has 0, else 0; of its shape and type."""
    return tf.cast(tf.equal(mask, 0), mask.dtype)


def unit_rms(x: tf.Tensor) -> tf.Tensor:
    """Unit root mean square over channels; the constant keeps all-zero pixels harmless."""
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + 1e-3)


def cosine(features: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """Cosine of every place's features with one vector: [B, h, w, C], [B, C] -> [B, h, w].

    By `unit_rms`: vectors of next to no length have a cosine near 0 and no steep gradient.
    """
    return tf.reduce_mean(unit_rms(features) * unit_rms(vector)[:, None, None, :], axis=-1)


def merge(x: tf.Tensor) -> tf.Tensor:
    """[B, K, ...] -> [B K, ...]."""
    shape = tf.shape(x)
    merged = tf.reshape(x, tf.concat([[shape[0] * shape[1]], shape[2:]], 0))
    return tf.ensure_shape(merged, [None, *x.shape[2:]])


def split(x: tf.Tensor, shots: int | tf.Tensor) -> tf.Tensor:
    """[B K, ...] -> [B, K, ...]."""
    parts = tf.reshape(x, tf.concat([[-1, shots], tf.shape(x)[1:]], 0))
    known = shots if isinstance(shots, int) else None
    return tf.ensure_shape(parts, [None, known, *x.shape[1:]])


def count(x: tf.Tensor) -> int | tf.Tensor:
    """K of [B, K, ...], static where known."""
    return _static_or_dynamic(x, 1)
