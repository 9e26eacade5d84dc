# SPDX-License-Identifier: Apache-2.0
"""Encoders against the published networks; weights files, good and bad."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from sst_tf.model import backbones, weights
from sst_tf.model.encoder import Encoder
from sst_tf.model.layers import Conv2D, pool_weights, resize_aligned

PUBLISHED = {  # backbone: application, the two stages' layers
    "resnet50": (keras.applications.ResNet50, keras.applications.resnet.preprocess_input,
                 ("conv3_block4_out", "conv4_block6_out")),
    "vgg16": (keras.applications.VGG16, keras.applications.vgg16.preprocess_input,
              ("block4_conv3", "block5_conv3")),
}


def photo(side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, side, side, 3)).astype(np.float32)


def stages(name, published):
    application, preprocess, layers = PUBLISHED[name]
    model = keras.Model(published.input, [published.get_layer(layer).output for layer in layers])
    return model(preprocess(photo().copy()), training=False)


@pytest.fixture(scope="module", params=list(PUBLISHED))
def random_file(request, tmp_path_factory):
    """A published network with random weights and statistics, saved to .h5."""
    tf.keras.utils.set_random_seed(0)
    published = PUBLISHED[request.param][0](weights=None, include_top=False)
    rng = np.random.default_rng(0)
    for layer in published.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.h5"
    published.save(path)
    return request.param, published, path


def test_stride_32_equals_keras_applications(random_file):
    name, published, path = random_file
    ours = backbones.BACKBONES[name](dilated=False)
    weights.load(ours, str(path))
    for a, b in zip(ours(photo(), training=False), stages(name, published), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(tf.reduce_max(tf.abs(b))))


def test_real_resnet50_weights_equal_keras_applications(shared):
    path = shared / "weights" / "resnet50_conv1-conv4.npz"
    ours = backbones.resnet50(dilated=False)
    weights.load(ours, str(path))
    published = keras.applications.ResNet50(weights=None, include_top=False)
    for name, value in weights.read(path).items():
        layer, variable = name.split("/")
        next(w for w in published.get_layer(layer).weights
             if w.name == variable).assign(value.astype(np.float32))
    for a, b in zip(ours(photo(), training=False), stages("resnet50", published), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name, file", [
    ("resnet50", "resnet50_conv1-conv4.npz"), ("resnet18", "resnet18_conv1-layer3.npz"),
    ("vgg16", "vgg16_hed_notop.h5")])
def test_real_weights_load_and_see(shared, name, file):
    encoder = Encoder(name, 8)
    encoder.load(str(shared / "weights" / file))
    features = encoder.features(photo())
    assert features.shape == (1, 8, 8, backbones.CHANNELS[name])
    assert float(tf.reduce_mean(features)) > 0.01


@pytest.mark.parametrize("name", list(backbones.BACKBONES))
@pytest.mark.parametrize("side, grid", [(65, 9), (321, 41)])
def test_stride_8_on_an_aligned_grid(name, side, grid):
    output = backbones.BACKBONES[name]().compute_output_shape((None, side, side, 3))
    assert tuple(output) == (None, grid, grid, backbones.CHANNELS[name])


def test_no_space_to_batch_in_the_graph():
    backbone = backbones.resnet18()
    graph = tf.function(backbone).get_concrete_function(tf.TensorSpec([1, 65, 65, 3]))
    assert not [op for op in graph.graph.get_operations() if "SpaceToBatch" in op.type]


def test_frozen_backbone_is_frozen_and_a_trainable_one_is_not():
    assert len(Encoder("resnet18", 4).trainable_variables) == 2  # the embedding
    assert len(Encoder("resnet18", 4, train_backbone=True).trainable_variables) > 20


@pytest.mark.parametrize("kernel", [1, 3])
def test_an_embedded_cell_sees_what_its_kernel_covers(kernel):
    encoder = Encoder("small", 4, signed=True, kernel=kernel)
    features = np.zeros((1, 5, 5, backbones.CHANNELS["small"]), np.float32)
    features[0, 2, 2] = 1
    seen = np.abs(encoder.embed(features)[0]).max(-1) > 0
    expected = np.zeros((5, 5), bool)
    expected[2 - kernel // 2:3 + kernel // 2, 2 - kernel // 2:3 + kernel // 2] = True
    np.testing.assert_array_equal(seen, expected)


def tensors(backbone):
    return {f"{layer.name}/{v.name}": v.numpy() for layer in backbone.layers for v in layer.weights}


def other_architecture(folder):
    np.savez(folder / "w.npz", **tensors(backbones.resnet18()))
    return "resnet50", "another architecture"


def missing_tensor(folder):
    arrays = tensors(backbones.small())
    del arrays["conv3/kernel"]
    np.savez(folder / "w.npz", **arrays)
    return "small", "lacks tensors of small: 1 of .*conv3/kernel"


def other_shape(folder):
    arrays = tensors(backbones.small())
    arrays["conv3/kernel"] = arrays["conv3/kernel"][..., :5]
    np.savez(folder / "w.npz", **arrays)
    return "small", "1 of another shape, first conv3/kernel"


def half_precision_throughout(folder):
    arrays = tensors(backbones.small())
    arrays["norm3/gamma"][5] = 1e5  # as conv1_bn/moving_variance of Keras' ResNet-50
    with np.errstate(over="ignore"):
        np.savez(folder / "w.npz", **{k: v.astype(np.float16) for k, v in arrays.items()})
    return "small", "norm3/gamma has values that are not finite"


def cut_short(folder):
    np.savez(folder / "full.npz", **tensors(backbones.small()))
    (folder / "w.npz").write_bytes((folder / "full.npz").read_bytes()[:3000])
    return "small", "cannot be read"


@pytest.mark.parametrize("spoil", [
    other_architecture, missing_tensor, other_shape, half_precision_throughout, cut_short])
def test_bad_weights_are_one_clear_line(tmp_path, spoil):
    name, words = spoil(tmp_path)
    backbone = backbones.BACKBONES[name]()
    before = tensors(backbone)
    with pytest.raises(UserError, match=words) as caught:
        weights.load(backbone, str(tmp_path / "w.npz"))
    assert "w.npz" in str(caught.value) and "\n" not in str(caught.value)
    assert all(np.array_equal(before[k], v) for k, v in tensors(backbone).items())


def test_missing_weights_file_and_unknown_download():
    with pytest.raises(UserError, match="/no/file.npz: no such weights file"):
        weights.load(backbones.small(), "/no/file.npz")
    with pytest.raises(UserError, match="docs/weights.md"):
        weights.load(backbones.resnet18(), "imagenet")


@pytest.mark.parametrize("dilation", [1, 2, 6])
def test_convolution_equals_keras(dilation):
    ours, theirs = Conv2D(5, 3, dilation=dilation), keras.layers.Conv2D(
        5, 3, dilation_rate=dilation, padding="same")
    x = tf.random.normal([2, 17, 17, 4])
    ours(x), theirs(x)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5)


def test_convolutions_have_gradients_on_any_processor():
    """Dilated ones and such as make few channels of many, where oneDNN is off, as it is on
    processors without AVX-512.
    """
    subprocess.run([sys.executable, "-c", """if True:
        import keras
        import numpy as np
        import tensorflow as tf
        from sst_tf.model.layers import Conv2D
        x = tf.random.normal([2, 9, 11, 8])

        def gradients(layer):
            with tf.GradientTape(persistent=True) as second:
                second.watch(x)
                with tf.GradientTape() as first:
                    first.watch(x)
                    loss = tf.reduce_sum(layer(x) ** 3)
                by_x = first.gradient(loss, x)
                length = tf.reduce_sum(by_x ** 2)
            weights = layer.trainable_variables
            return [by_x, *second.gradient(loss, weights), *second.gradient(length, weights)]

        for filters, size, dilation in (5, 3, 2), (2, 3, 1), (2, 3, 2), (2, 5, 1):
            ours = Conv2D(filters, size, dilation=dilation)
            theirs = keras.layers.Conv2D(filters, size, dilation_rate=dilation, padding="same")
            ours(x), theirs(x)
            theirs.set_weights(ours.get_weights())
            for one, other in zip(tf.function(gradients)(ours), gradients(theirs), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3 * np.abs(other).max())
        """], env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}, check=True)


@pytest.mark.parametrize("size", [33, 41, 20])
def test_resizing_equals_aligned_corners(size):
    x = tf.random.normal([2, 9, 9])
    expected = tf.raw_ops.ResizeBilinear(images=x[..., None], size=(size, size),
                                         align_corners=True)[..., 0]
    np.testing.assert_allclose(resize_aligned(x, (size, size)), expected, atol=1e-5)


def test_pooling_weights_keep_tiny_objects_and_leave_out_void():
    mask = np.zeros((1, 65, 65), np.uint8)
    mask[0, 33, 35] = 1
    mask[0, 10:20, 10:20] = 255
    weights_ = pool_weights(tf.constant(mask), (9, 9)).numpy()[0, ..., 0]
    assert weights_.sum() > 0 and np.unravel_index(weights_.argmax(), (9, 9)) == (4, 4)
    assert weights_[1:3, 1:3].sum() == 0
    full = pool_weights(tf.ones((1, 65, 65), tf.uint8), (9, 9))
    np.testing.assert_allclose(full, np.ones((1, 9, 9, 1)), atol=1e-5)
