# SPDX-License-Identifier: Apache-2.0
"""ONNX: each handler against TensorFlow, whole models against Keras, nothing left on failure."""

import json

import numpy as np
import onnx
import pytest
import tensorflow as tf
from tensorflow import raw_ops

from export import onnx as cli
from export import onnx_files, onnx_graph, onnx_ops, replay
from pipelines.errors import UserError
from sst_tf.model.layers import Conv2D

onnxruntime = pytest.importorskip("onnxruntime")
RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def run_both(function, *inputs):
    """Outputs of a function in TensorFlow and converted, the shapes of its inputs unknown."""
    specs = {f"x{i}": tf.TensorSpec([None] * x.ndim, x.dtype, f"x{i}")
             for i, x in enumerate(inputs)}

    def named(*tensors):
        answer = function(*tensors)
        answer = answer if isinstance(answer, (list, tuple)) else [answer]
        return {f"y{i}": tf.identity(y) for i, y in enumerate(answer)}

    model = onnx_graph.convert(named, specs)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    given = {one.name for one in session.get_inputs()}
    got = session.run(names, {f"x{i}": x for i, x in enumerate(inputs) if f"x{i}" in given})
    expected = tf.function(named, autograph=False)(*map(tf.constant, inputs))
    return [(value, expected[name].numpy()) for name, value in zip(names, got, strict=True)]


def check(function, *inputs):
    pairs = run_both(function, *inputs)
    assert pairs
    for got, expected in pairs:
        assert got.shape == expected.shape and got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_relu_grad():
    features = normal(2, 3, 4)
    features[0, 0] = 0  # the edge belongs to the closed side
    check(lambda g, x: raw_ops.ReluGrad(gradients=g, features=x), normal(2, 3, 4), features)


def test_rsqrt_grad():
    check(lambda y, dy: raw_ops.RsqrtGrad(y=y, dy=dy), np.abs(normal(3, 4)), normal(3, 4))


def test_sqrt_grad():
    check(lambda y, dy: raw_ops.SqrtGrad(y=y, dy=dy), np.abs(normal(3, 4)) + 0.1, normal(3, 4))


def test_log1p():
    check(tf.math.log1p, np.array([-0.9999, -0.5, -1e-6, 0, 1e-6, 3], np.float32))


def test_shape_n():
    check(lambda a, b: raw_ops.ShapeN(input=[a, b]), normal(2, 3), normal(4, 1, 5))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concat_offset(axis):
    sizes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for i, size in enumerate(sizes):
        size[axis] = i + 1
    parts = [normal(*size) for size in sizes]
    check(lambda a, b, c: raw_ops.ConcatOffset(
        concat_dim=axis, shape=[tf.shape(a), tf.shape(b), tf.shape(c)]), *parts)


@pytest.mark.parametrize("one, other", [
    ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1, 4), (2, 3, 1)), ((), (2, 3)), ((1, 1), (4, 5)),
    ((5,), (2, 3, 5))])
def test_broadcast_gradient_args(one, other):
    """By the gradients that they lead to: axes of one element more or less do not count."""
    def gradients(a, b):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            total = tf.reduce_sum(a * b * b)
        return tape.gradient(total, [a, b])
    check(gradients, normal(*one), normal(*other))


@pytest.mark.parametrize("take", [
    lambda x: x[:, None, None, :], lambda x: x[1:, :2], lambda x: x[-2:], lambda x: x[..., 1],
    lambda x: x[1], lambda x: x[:, -1:, None], lambda x: x[:-1, 1:3], lambda x: x[None, ..., 0:1],
    lambda x: x[0, None, 1:]])
def test_strided_slice_grad(take):
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.square(take(x)))
        return tape.gradient(total, x)
    check(gradient, normal(3, 4))


def test_strides_are_refused_by_name():
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.square(x[::2]))
        return tape.gradient(total, x)
    with pytest.raises(UserError, match="no ONNX form of StridedSliceGrad"):
        run_both(gradient, normal(4, 4))


def test_dynamic_stitch_keeps_the_last_of_a_double_index():
    check(lambda x: raw_ops.DynamicStitch(
        indices=[tf.range(tf.size(x)), tf.constant([1, 2])], data=[x, tf.constant([7.0, 8.0])]),
        normal(4))


@pytest.mark.parametrize("axis", [[1, 2], -1])
def test_sums_over_unknown_shapes(axis):
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.square(tf.reduce_sum(x, axis=axis)))
        return tape.gradient(total, x)
    check(gradient, normal(2, 3, 4))


@pytest.mark.parametrize("dilation", [1, 2, 6])
def test_dilated_convolutions_and_their_gradients(dilation):
    layer = Conv2D(4, 3, dilation=dilation)
    layer.build((None, None, None, 3))

    def gradient(x):
        x = tf.ensure_shape(x, [None, None, None, 3])
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.square(layer(x)))
        return tape.gradient(total, x)
    pairs = run_both(gradient, normal(2, 9, 7, 3))
    np.testing.assert_allclose(*pairs[0], rtol=1e-4, atol=1e-4)


SIZES = [((9, 13), (4, 5)), ((9, 13), (20, 31)), ((7, 5), (7, 5)), ((30, 4), (7, 9))]


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("before, after", SIZES)
def test_resizing_by_the_triangle(before, after, antialias):
    def resize(x, size):
        scale = tf.cast(size, tf.float32) / tf.cast(tf.shape(x)[1:3], tf.float32)
        return raw_ops.ScaleAndTranslate(images=x, size=size, scale=scale, translation=[0.0, 0.0],
                                         kernel_type="triangle", antialias=antialias)
    check(resize, RANDOM.integers(0, 256, (2, *before, 3)).astype(np.uint8),
          np.array(after, np.int32))


@pytest.mark.parametrize("before, after", SIZES)
@pytest.mark.parametrize("method", ["area", "nearest"])
def test_resizing(before, after, method):
    check(lambda x, size: tf.image.resize(x, size, method), normal(2, *before, 3),
          np.array(after, np.int32))


def test_other_kernels_are_refused_by_name():
    with pytest.raises(UserError, match="no ONNX form of ScaleAndTranslate"):
        run_both(lambda x: tf.image.resize(x, [3, 3], "lanczos3", antialias=True),
                 normal(1, 9, 9, 1))


def test_an_unknown_operation_is_an_error():
    with pytest.raises(UserError, match="no ONNX form of Betainc"):
        run_both(lambda a: tf.math.betainc(a, a, a), np.abs(normal(3)))


# ---- whole models --------------------------------------------------------------------------------


def test_onnx_gives_keras_answers(trained, converted):
    model = onnx_files.OnnxModel(converted)
    batch = next(trained.batches(*trained.episodes(3, seed=7), batch=3))  # the export saw others
    expected = replay.expected(trained, batch)
    for answer in (model.run("segment", batch), replay.tuned_first(model.run, batch)):
        assert replay.largest_difference(answer, expected)["probability"] < 1e-4
        assert answer["probability"].std() > 0.01
    for i in range(3):
        alone = model.run("segment", {name: value[i:i + 1] for name, value in batch.items()})
        assert np.abs(alone["probability"][0] - expected["probability"][i]).max() < 1e-4


def test_tuning_is_inside(trained, converted):
    """A prototype pooled without the step gives another answer."""
    batch = next(trained.batches(*trained.episodes(1, seed=7)))
    tuned = onnx_files.OnnxModel(converted).run("tune", {
        name: batch[name][:, 0] for name in ("support_image", "support_mask")})
    inference = trained.model.inference
    here = inference.tune(inference.embed_photos(batch["support_image"][:, 0]),
                          batch["support_mask"][:, 0])
    np.testing.assert_allclose(tuned["prototype"], here.prototype, atol=1e-4)
    assert np.abs(tuned["prototype"] - here.untuned_prototype).max() > 1e-3
    kinds = [node.op_type for node in onnx.load(converted / "tune.onnx").graph.node]
    assert "ConvTranspose" in kinds  # a convolution's gradient by its input


def test_files_say_what_they_are(converted):
    assert {p.name for p in converted.glob("*.onnx")} == {
        "segment.onnx", "tune.onnx", "segment_tuned.onnx", "segment_many.onnx"}
    model = onnx.load(converted / "segment.onnx")
    facts = json.loads({p.key: p.value for p in model.metadata_props}["sst"])
    assert facts["shots"] == 2 and facts["threshold"] == 0.6
    axes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in [*model.graph.input, *model.graph.output]}
    assert axes["support_image"] == ["batch", 2, "height", "width", 3]
    assert axes["query_image"] == ["batch", "height", "width", 3]
    assert axes["support_mask"] == ["batch", 2, "height", "width"]
    assert axes["probability"] == ["batch", "height", "width"]
    assert axes["support_iou"] == ["batch", 2]
    many = onnx.load(converted / "segment_many.onnx").graph
    axes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in [*many.input, *many.output]}
    assert axes["index"] == ["batch", "height", "width"]
    assert axes["score"][1] == axes["prototype"][1] == axes["probability"][1] == "axis1"
    assert [o.version for o in model.opset_import if o.domain == ""] == [18]


def test_a_file_that_differs_is_not_left(trained, kept_graphs, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="onnxruntime differs from the Keras model"):
        onnx_files.export(trained, tmp_path, episodes=1)
    assert list(tmp_path.iterdir()) == []


def test_trials_go_with_8_bits(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--run_dir", "gone", "--output", "models", "--trials", "7"])
    assert "--trials: goes with --encoder int8" in capsys.readouterr().err


def test_a_missing_handler_leaves_nothing(trained, tmp_path, monkeypatch):
    from tf2onnx.handler import tf_op
    for opset in tf_op.get_opsets()[""]:
        monkeypatch.delitem(opset, "ReluGrad", raising=False)
    with pytest.raises(UserError, match="no ONNX form of ReluGrad"):
        onnx_files.export(trained, tmp_path, episodes=1)
    assert list(tmp_path.iterdir()) == []
    assert "ReluGrad" in onnx_ops.HANDLED
