# SPDX-License-Identifier: Apache-2.0
"""TensorFlow functions as ONNX graphs. Needs the extra `onnx`."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import tensorflow as tf
import tf2onnx

from export import onnx_ops
from pipelines.errors import UserError

OPSET = 18
METADATA = "sst"  # key of the settings in a file's metadata


def convert(function: Callable, specs: dict[str, tf.TensorSpec], batched: bool = True
            ) -> onnx.ModelProto:
    """An ONNX model of a TensorFlow function, checked, its shapes inferred.

    Args:
        function: takes and returns tensors by name.
        specs: {input: `tf.TensorSpec`}.
        batched: dimension 0 is the batch, and axes are named after that.
    Raises:
        UserError: an operation that neither tf2onnx nor `onnx_ops` can convert.
    """
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what counts is checked below
    # Else it copies the graph before each of its 48 passes, which takes longer than they do.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    traced = tf.function(function, autograph=False)
    model, _ = tf2onnx.convert.from_function(traced, list(specs.values()), opset=OPSET)
    unknown = sorted({node.op_type for node in model.graph.node
                      if not onnx.defs.has(node.op_type, node.domain)})
    if unknown:  # tf2onnx logs them and writes a file that no runtime takes
        raise UserError(f"no ONNX form of {', '.join(unknown)}; export/onnx_ops.py converts "
                        f"{', '.join(onnx_ops.HANDLED)}")
    _pad_explicitly(model.graph)
    _check_inputs(model.graph, specs)
    if batched:
        _name_axes(model.graph)
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def add_metadata(path: Path, facts: dict) -> None:
    """Put the export's settings into a file."""
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA: json.dumps(facts)})
    path.write_bytes(model.SerializeToString())


def _pad_explicitly(graph):
    """SAME of unknown sizes as numbers: onnxruntime refuses the word where a kernel is dilated."""
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    for node in graph.node:
        given = {attribute.name: attribute for attribute in node.attribute}
        if (node.op_type == "Conv" and given.get("auto_pad", onnx.AttributeProto()).s
                == b"SAME_UPPER" and set(given["strides"].ints) == {1}):
            spread = given["dilations"].ints if "dilations" in given else [1, 1]
            sides = [(k - 1) * d for k, d in zip(shapes[node.input[1]][2:], spread, strict=True)]
            before = [side // 2 for side in sides]
            after = [side - half for side, half in zip(sides, before, strict=True)]
            node.attribute.remove(given["auto_pad"])
            node.attribute.append(onnx.helper.make_attribute("pads", before + after))


def _check_inputs(graph, specs):
    known = {value.name for value in graph.input}
    if known != set(specs):
        raise UserError(f"inputs {sorted(known)} instead of {sorted(specs)}")


def _name_axes(graph):
    """Free axes get names that say what they are, in place of numbers by tf2onnx."""
    for value in [*graph.input, *graph.output]:
        axes = value.type.tensor_type.shape.dim
        images = value.name.endswith("image")
        maps = images or value.name.endswith("mask") or value.name in ("probability", "index")
        for i, axis in enumerate(axes):
            if axis.dim_value > 0:
                continue
            free = len(axes) - i - (1 if images else 0)
            axis.dim_param = ("batch" if i == 0 else
                              {2: "height", 1: "width"}.get(free) if maps else None) or f"axis{i}"
