# SPDX-License-Identifier: Apache-2.0
"""Operations of gradients and of resizing that tf2onnx lacks or has wrong, as TensorFlow has them.

Importing this module registers them. Shapes may be unknown until the graph runs, except that ranks
and the specification of a slice are known.
"""

import numpy as np
from onnx import TensorProto
from tf2onnx import onnx_opset  # noqa: F401  its handlers first: ours replace some
from tf2onnx.graph import Graph, Node
from tf2onnx.graph_builder import GraphBuilder
from tf2onnx.handler import tf_op
from tf2onnx.utils import make_name, map_onnx_to_numpy_type

HANDLED = ("ReluGrad", "RsqrtGrad", "SqrtGrad", "ShapeN", "ConcatOffset", "BroadcastGradientArgs",
           "StridedSliceGrad", "DynamicStitch", "Log1p", "ScaleAndTranslate", "ResizeArea",
           "ResizeNearestNeighbor")


@tf_op("ReluGrad")
class ReluGrad:
    """(gradients, features) -> gradients where features > 0, else 0."""

    @classmethod
    def version_9(cls, ctx: Graph, node: Node, **_) -> None:
        gradients, features = node.input
        zero = _constant(ctx, np.zeros((), _type(ctx, gradients)))
        _replace(ctx, node, [_make(ctx, "Where", _make(ctx, "Greater", features, zero), gradients,
                                   zero)])


@tf_op("RsqrtGrad")
class RsqrtGrad:
    """(y, dy) with y = x^-1/2 -> dy * -y^3 / 2."""

    @classmethod
    def version_7(cls, ctx: Graph, node: Node, **_) -> None:
        y, upstream = node.input
        half = _constant(ctx, np.array(-0.5, _type(ctx, y)))
        cube = _make(ctx, "Mul", _make(ctx, "Mul", y, y), y)
        _replace(ctx, node, [_make(ctx, "Mul", _make(ctx, "Mul", cube, upstream), half)])


@tf_op("SqrtGrad")
class SqrtGrad:
    """(y, dy) with y = x^1/2 -> dy / (2 y)."""

    @classmethod
    def version_7(cls, ctx: Graph, node: Node, **_) -> None:
        y, upstream = node.input
        half = _constant(ctx, np.array(0.5, _type(ctx, y)))
        _replace(ctx, node, [_make(ctx, "Div", _make(ctx, "Mul", upstream, half), y)])


@tf_op("Log1p")
class Log1p:
    """x -> log(1 + x), by the rounded sum: right to 6e-8, not to the last digit of a small x."""

    @classmethod
    def version_7(cls, ctx: Graph, node: Node, **_) -> None:
        one = _constant(ctx, np.ones((), _type(ctx, node.input[0])))
        _replace(ctx, node, [_make(ctx, "Log", _make(ctx, "Add", node.input[0], one))])


@tf_op("ShapeN")
class ShapeN:
    """Tensors -> the shape of each."""

    @classmethod
    def version_7(cls, ctx: Graph, node: Node, **_) -> None:
        kind = ctx.get_dtype(node.output[0])
        _replace(ctx, node, [_cast(ctx, _make(ctx, "Shape", x), kind) for x in node.input])


@tf_op("ConcatOffset")
class ConcatOffset:
    """(axis, shapes) -> where each part starts in the concatenation of all."""

    @classmethod
    def version_11(cls, ctx: Graph, node: Node, **_) -> None:
        axis = int(node.inputs[0].get_tensor_value())
        kind, rank = ctx.get_dtype(node.output[0]), ctx.get_shape(node.input[1])[0]
        axis = axis % rank
        here = _constant(ctx, np.eye(rank, dtype=np.int64)[axis])
        start, starts = _constant(ctx, np.zeros(rank, np.int64)), []
        for shape in node.input[1:]:
            starts.append(_cast(ctx, start, kind))
            wide = _cast(ctx, shape, TensorProto.INT64)
            start = _make(ctx, "Add", start, _make(ctx, "Mul", wide, here))
        _replace(ctx, node, starts)


@tf_op("BroadcastGradientArgs")
class BroadcastGradientArgs:
    """(shape, shape) -> the axes over which the gradient of each is summed.

    Axes of length 1 are named even where the other's length is 1 as well: a sum over one element.
    """

    @classmethod
    def version_13(cls, ctx: Graph, node: Node, **_) -> None:
        kind = ctx.get_dtype(node.output[0])
        shapes = [_cast(ctx, shape, TensorProto.INT64) for shape in node.input]
        ranks = [_make(ctx, "Shape", shape) for shape in shapes]
        most = _make(ctx, "Max", *ranks)
        one = _constant(ctx, np.ones(1, np.int64))
        axes = []
        for shape, rank in zip(shapes, ranks, strict=True):
            missing = _make(ctx, "Expand", one, _make(ctx, "Sub", most, rank))
            full = _make(ctx, "Concat", missing, shape, axis=0)
            found = _make(ctx, "NonZero", _make(ctx, "Equal", full, one))  # [1, n]
            flat = _make(ctx, "Reshape", found, _constant(ctx, np.array([-1], np.int64)))
            axes.append(_cast(ctx, flat, kind))
        _replace(ctx, node, axes)


@tf_op("StridedSliceGrad")
class StridedSliceGrad:
    """(shape, begin, end, strides, dy) -> dy where the slice was, 0 elsewhere; strides of 1."""

    @classmethod
    def version_13(cls, ctx: Graph, node: Node, **_) -> None:
        shape, begin, end, strides, upstream = node.input
        begin, end, strides = (np.atleast_1d(x.get_tensor_value(as_list=False))
                               for x in node.inputs[1:4])
        if np.any(strides != 1):
            raise ValueError(f"StridedSliceGrad {node.name}: strides {strides}; 1 is converted")
        rank = ctx.get_shape(shape)[0]
        starts, ends, added, removed = _axes(node, begin, end, rank)
        build = GraphBuilder(ctx)
        if added:
            upstream = build.make_squeeze({"data": upstream, "axes": added})
        if removed:
            upstream = build.make_unsqueeze({"data": upstream, "axes": removed})
        if any(starts) or any(ends):
            whole = _cast(ctx, shape, TensorProto.INT64)
            starts = _constant(ctx, starts)
            before = _make(ctx, "Where", _make(ctx, "Less", starts, _zero(ctx)),
                           _make(ctx, "Add", whole, starts), starts)
            taken = _make(ctx, "Add", before, _make(ctx, "Shape", upstream))
            pads = _make(ctx, "Concat", before, _make(ctx, "Sub", whole, taken), axis=0)
            upstream = _make(ctx, "Pad", upstream, pads)
        _replace(ctx, node, [upstream])


@tf_op(["DynamicStitch", "ParallelDynamicStitch"])
class DynamicStitch:
    """(indices..., parts...) -> rows at their indices; the last of a double one stays.

    tf2onnx has a handler, which is right only where no index occurs twice; in the gradient of a
    sum over an unknown shape the second part replaces rows of the first.
    """

    @classmethod
    def version_13(cls, ctx: Graph, node: Node, **_) -> None:
        half = len(node.input) // 2
        ranks = [None if shape is None else len(shape) for shape in map(ctx.get_shape, node.input)]
        if not set(ranks) <= {0, 1}:
            raise ValueError(f"DynamicStitch {node.name}: numbers and inputs of one known axis are "
                             "converted")
        row = _constant(ctx, np.array([-1], np.int64))
        flat = [x if rank else _make(ctx, "Reshape", x, row)
                for x, rank in zip(node.input, ranks, strict=True)]
        indices = [_cast(ctx, x, TensorProto.INT64) for x in flat[:half]]
        parts = flat[half:]
        kind = ctx.get_dtype(node.output[0])
        every = _make(ctx, "Concat", *indices, axis=0)
        length = _make(ctx, "Add", _make(ctx, "ReduceMax", every, keepdims=1),
                       _constant(ctx, np.ones(1, np.int64)))
        stitched = _cast(ctx, _make(ctx, "Expand", _zero(ctx), length), kind)
        for index, part in zip(indices, parts, strict=True):
            stitched = _make(ctx, "ScatterElements", stitched, index, part, axis=0)
        _replace(ctx, node, [stitched])


@tf_op("ScaleAndTranslate")
class ScaleAndTranslate:
    """(photos, size, scale, no translation) -> photos resized by the triangle kernel.

    As two products with matrices of the kernel's weights: ONNX's own Resize with antialiasing is
    missing in some runtimes.
    """

    @classmethod
    def version_13(cls, ctx: Graph, node: Node, **_) -> None:
        photos, size, scale, translation = node.input
        kind = node.get_attr_value("kernel_type", b"lanczos3")
        if kind not in (b"triangle", "triangle") or np.any(
                node.inputs[3].get_tensor_value(as_list=False)):
            raise ValueError(f"ScaleAndTranslate {node.name}: kernel {kind!r}; a triangle without "
                             "translation is converted")
        antialias = node.get_attr_value("antialias", 1)
        step = _make(ctx, "Reciprocal", scale)  # [2], pixels of the photo a pixel of the answer
        one, half = _float(ctx, 1), _float(ctx, 0.5)
        matrices = []
        for axis in (0, 1):
            rate = _at(ctx, step, axis)
            width = _make(ctx, "Max", rate, one) if antialias else one
            target, source = _centres(ctx, size, axis, half), _sources(ctx, photos, axis, half)
            centre = _make(ctx, "Mul", target, rate)
            distance = _make(ctx, "Abs", _make(ctx, "Sub", source, centre))
            distance = _make(ctx, "Div", distance, width)
            weights = _make(ctx, "Relu", _make(ctx, "Sub", one, distance))  # [target, source]
            total = _make(ctx, "ReduceSum", weights, _constant(ctx, np.array([1], np.int64)))
            matrices.append(_make(ctx, "Div", weights, total))
        _replace(ctx, node, [_by_matrices(ctx, photos, *matrices)])


@tf_op("ResizeArea")
class ResizeArea:
    """(photos, size) -> means over the area under each pixel of the answer."""

    @classmethod
    def version_13(cls, ctx: Graph, node: Node, **_) -> None:
        photos, size = node.input
        one, nought = _float(ctx, 1), _float(ctx, 0)
        matrices = []
        for axis in (0, 1):
            rate = _make(ctx, "Div", _length(ctx, photos, axis), _cast(
                ctx, _at(ctx, size, axis), TensorProto.FLOAT))
            target, source = _centres(ctx, size, axis, nought), _sources(ctx, photos, axis, nought)
            start = _make(ctx, "Max", _make(ctx, "Mul", target, rate), source)
            end = _make(ctx, "Min", _make(ctx, "Mul", _make(ctx, "Add", target, one), rate),
                        _make(ctx, "Add", source, one))
            overlap = _make(ctx, "Relu", _make(ctx, "Sub", end, start))
            matrices.append(_make(ctx, "Div", overlap, rate))
        _replace(ctx, node, [_by_matrices(ctx, photos, *matrices)])


@tf_op("ResizeNearestNeighbor")
class ResizeNearestNeighbor:
    """(photos, size) -> the pixels under the centres of the answer's (half-pixel centres alone)."""

    @classmethod
    def version_13(cls, ctx: Graph, node: Node, **_) -> None:
        photos, size = node.input
        if not node.get_attr_value("half_pixel_centers", 0):
            raise ValueError(f"ResizeNearestNeighbor {node.name}: half-pixel centres are converted")
        taken = photos
        for axis in (0, 1):
            length = _length(ctx, photos, axis)
            rate = _make(ctx, "Div", length, _cast(ctx, _at(ctx, size, axis), TensorProto.FLOAT))
            centres = _line(ctx, _cast(ctx, _at(ctx, size, axis), TensorProto.FLOAT),
                            _float(ctx, 0.5))
            under = _make(ctx, "Min", _make(ctx, "Floor", _make(ctx, "Mul", centres, rate)),
                          _make(ctx, "Sub", length, _float(ctx, 1)))
            taken = _make(ctx, "Gather", taken, _cast(ctx, under, TensorProto.INT64),
                          axis=axis + 1)
        _replace(ctx, node, [taken])


def _by_matrices(ctx, photos, rows, columns):
    """rows [h, H] and columns [w, W] on photos [N, H, W, C]: [N, h, w, C] float32."""
    floats = _cast(ctx, photos, TensorProto.FLOAT)
    sideways = _make(ctx, "Transpose", floats, perm=[0, 3, 1, 2])  # [N, C, H, W]
    tall = _make(ctx, "MatMul", rows, sideways)  # [N, C, h, W]
    whole = _make(ctx, "MatMul", tall, _make(ctx, "Transpose", columns, perm=[1, 0]))
    return _make(ctx, "Transpose", whole, perm=[0, 2, 3, 1])


def _at(ctx, vector, i):
    """Element i of a vector, [1]."""
    return _make(ctx, "Gather", vector, _constant(ctx, np.array([i], np.int64)), axis=0)


def _length(ctx, photos, axis):
    """H (axis 0) or W (1) of photos [N, H, W, C], [1] float32."""
    return _cast(ctx, _at(ctx, _make(ctx, "Shape", photos), axis + 1), TensorProto.FLOAT)


def _line(ctx, length, offset):
    """offset, 1 + offset, ... of a length [1] float32: [length]."""
    scalar = _make(ctx, "Squeeze", length, _zero(ctx))
    line = _make(ctx, "Range", _float(ctx, 0), scalar, _float(ctx, 1))
    return _make(ctx, "Add", line, offset)


def _centres(ctx, size, axis, offset):
    length = _cast(ctx, _at(ctx, size, axis), TensorProto.FLOAT)
    return _make(ctx, "Unsqueeze", _line(ctx, length, offset), _constant(
        ctx, np.array([1], np.int64)))  # [target, 1]


def _sources(ctx, photos, axis, offset):
    return _make(ctx, "Unsqueeze", _line(ctx, _length(ctx, photos, axis), offset), _zero(ctx))


def _float(ctx, value):
    return _constant(ctx, np.array(value, np.float32))


def _axes(node, begin, end, rank):
    """A slice's specification by axis of its input.

    Returns starts [rank] (negative from the end), whether it stops early [rank], axes that
    newaxis added to the result, axes of the input that an index took out.
    """
    flags = {name: node.get_attr_value(f"{name}_mask", 0) for name in
             ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}

    def set_at(name, i):
        return bool(flags[name] >> i & 1)

    new = sum(set_at("new_axis", i) for i in range(len(begin)))
    ellipsis = sum(set_at("ellipsis", i) for i in range(len(begin)))
    covered = rank - (len(begin) - new - ellipsis)
    starts, ends = np.zeros(rank, np.int64), np.zeros(rank, bool)
    added, removed, axis, result = [], [], 0, 0
    for i in range(len(begin)):
        if set_at("ellipsis", i):
            axis, result = axis + covered, result + covered
        elif set_at("new_axis", i):
            added.append(result)
            result += 1
        else:
            shrunk = set_at("shrink_axis", i)
            starts[axis] = 0 if set_at("begin", i) and not shrunk else begin[i]
            ends[axis] = shrunk or not set_at("end", i)
            if shrunk:
                removed.append(axis)
            else:
                result += 1
            axis += 1
    return starts, ends, added, removed


def _make(ctx, kind, *inputs, **attributes):
    return ctx.make_node(kind, list(inputs), attr=attributes).output[0]


def _constant(ctx, value):
    return ctx.make_const(make_name("constant"), value).output[0]


def _zero(ctx):
    return _constant(ctx, np.zeros(1, np.int64))


def _cast(ctx, tensor, kind):
    return _make(ctx, "Cast", tensor, to=kind)


def _type(ctx, tensor):
    return map_onnx_to_numpy_type(ctx.get_dtype(tensor))


def _replace(ctx, node, outputs):
    """Put new tensors in the place of a node's outputs, their types and shapes kept."""
    for old, new in zip(node.output, outputs, strict=True):
        ctx.copy_dtype(old, new)
        if ctx.get_shape(old) is not None:
            ctx.copy_shape(old, new)
        ctx.replace_all_inputs(old, new)
    ctx.remove_node(node.name)
