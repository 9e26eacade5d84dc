# SPDX-License-Identifier: Apache-2.0
"""SavedModel files as graphs: what a signature runs, and dead operations taken out.

Differentiating a convolution makes the gradient of its kernel too, used or not. A server would drop
the unused one when it loads; here it is dropped from the file, so that the file says what runs.
"""

from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import DecodeError

from export.standin.protos import meta_graph_pb2, saved_model_pb2
from pipelines.errors import UserError

FILE = "saved_model.pb"
GRADIENT_OPS = ("Conv2DBackpropInput", "ReluGrad", "TanhGrad", "SigmoidGrad", "RsqrtGrad",
                "SqrtGrad", "StridedSliceGrad", "Conv2DBackpropFilter")


def read(folder: str | Path) -> meta_graph_pb2.MetaGraphDef:
    """The one meta graph of a SavedModel.

    Raises:
        UserError: the file is missing or cut off.
    """
    path = Path(folder) / FILE
    try:
        model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        return model.meta_graphs[0]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; export again") from None
    except (DecodeError, IndexError):
        raise UserError(f"{path}: damaged; export again") from None


def prune(folder: str | Path) -> None:
    """Take out of every function what no result or effect of it needs."""
    path = Path(folder) / FILE
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        needed, left = set(), [*function.ret.values(), *function.control_ret.values()]
        nodes = {node.name: node for node in function.node_def}
        while left:
            name = left.pop().lstrip("^").split(":")[0]
            if name in nodes and name not in needed:
                needed.add(name)
                left += nodes[name].input
        kept = [node for node in function.node_def if node.name in needed]
        for node in kept:  # the name of a Python function that is not in the file
            node.attr.pop("_gradient_op_type", None)
        del function.node_def[:]
        function.node_def.extend(kept)
    path.write_bytes(model.SerializeToString())


def operations(meta_graph: meta_graph_pb2.MetaGraphDef, signature: str) -> set[str]:
    """Types of all operations that a signature runs, those of called functions among them."""
    library = {f.signature.name: f for f in meta_graph.graph_def.library.function}
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    types, seen = set(), set()
    left = [nodes[t.name.split(":")[0]]
            for t in meta_graph.signature_def[signature].outputs.values()]
    while left:
        node = left.pop()
        types.add(node.op)
        for value in node.attr.values():
            for called in [value.func.name, *(f.name for f in value.list.func)]:
                if called in library and called not in seen:
                    seen.add(called)
                    left += library[called].node_def
    return types


def gradients(types: Iterable[str]) -> list[str]:
    """The gradient operations among operation types, sorted."""
    return sorted(set(types) & set(GRADIENT_OPS))
