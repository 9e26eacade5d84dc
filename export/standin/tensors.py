# SPDX-License-Identifier: Apache-2.0
"""Arrays as TensorFlow's messages and as the JSON of TensorFlow Serving's REST API, and back."""

import base64
import binascii
import math
from typing import Any

import numpy as np

from export.standin.protos import tensor_pb2
from export.standin.runtime import DTYPES, NUMBERS, STRING, STRING_BYTES

MAX_RANK = 64  # NumPy's
MAX_BYTES = 2**30  # of one tensor; a short message can claim any shape
# Strings of one tensor that a message leaves to the last one it holds: each takes the runtime a
# call, and a message of a hundred bytes can claim millions.
MAX_REPEATED = 2**16
FIELDS = {1: "float_val", 2: "double_val", 3: "int_val", 4: "int_val", 5: "int_val", 6: "int_val",
          7: "string_val", 9: "int64_val", 10: "bool_val", 17: "int_val", 22: "uint32_val",
          23: "uint64_val"}


class Malformed(ValueError):
    """A tensor that cannot be one."""


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """`TensorProto` of an array; object arrays hold bytes."""
    array = np.asarray(array)
    text = array.dtype == object or array.dtype.kind == "S"
    proto = tensor_pb2.TensorProto(dtype=STRING if text else NUMBERS[array.dtype])
    for length in array.shape:
        proto.tensor_shape.dim.add(size=length)
    if text:
        proto.string_val.extend(bytes(one) for one in array.ravel())
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    return proto


def from_proto(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The array of a `TensorProto`, in any of the forms that TensorFlow reads."""
    if proto.dtype not in FIELDS:
        raise Malformed(f"no tensors of type {proto.dtype} are taken")
    if proto.tensor_shape.unknown_rank:
        raise Malformed("tensor of unknown rank")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if len(shape) > MAX_RANK:  # their product alone could take minutes
        raise Malformed(f"no tensor has the shape {str(shape)[:100]}: {len(shape)} axes")
    if any(length < 0 for length in shape):
        raise Malformed(f"negative length in shape {shape}")
    count, text = math.prod(shape), proto.dtype == STRING
    kind = np.dtype(object if text else DTYPES[proto.dtype])
    size = _bytes_of_strings(proto.string_val, shape) if text else count * kind.itemsize
    if size > MAX_BYTES:
        raise Malformed(f"a tensor of shape {shape} is larger than {MAX_BYTES} bytes")
    if proto.tensor_content and not text:
        if len(proto.tensor_content) != count * kind.itemsize:
            raise Malformed(f"{len(proto.tensor_content)} bytes for shape {shape} of {kind}")
        return _shaped(np.frombuffer(proto.tensor_content, kind), shape)
    values = list(getattr(proto, FIELDS[proto.dtype]))
    if len(values) > count:
        raise Malformed(f"{len(values)} values for shape {shape}")
    # The last value stands for all that follow; none at all means zeros.
    last = values[-1] if values else (b"" if text else 0)
    try:
        array = np.full(count, last, kind)
        array[:len(values)] = values
    except (OverflowError, ValueError) as error:
        raise Malformed(f"values do not fit {kind}: {error}") from None
    return _shaped(array, shape)


def _bytes_of_strings(values, shape):
    """What the runtime takes for the strings of a tensor, where each repeated one is a copy."""
    count = math.prod(shape)
    repeated = max(0, count - len(values))
    if repeated > MAX_REPEATED:
        raise Malformed(f"{len(values)} strings for shape {shape}: at most {MAX_REPEATED} may "
                        "repeat the last")
    last = len(values[-1]) if values else 0
    return count * STRING_BYTES + sum(map(len, values)) + repeated * last


def _shaped(array, shape):
    try:
        return array.reshape(shape)
    except ValueError as error:  # more axes than NumPy has (JSON), lengths beyond its numbers
        raise Malformed(f"no tensor has the shape {str(shape)[:100]}: {error}") from None


def from_json(value: Any, number: int) -> np.ndarray:
    """The array of nested lists, of a tensor type by number."""
    if number == STRING:
        return _strings(value)
    kind = np.dtype(DTYPES[number])
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise Malformed(f"Encountered list at unexpected size or level: {error}") from None
    if array.size == 0 and array.dtype == np.float64:
        return array.astype(kind)
    whole = array.dtype.kind in "iu"
    if not (whole or (array.dtype.kind == "f" and kind.kind == "f")):
        raise Malformed(f"JSON Value is not of expected type: {kind}; it holds {array.dtype}")
    if whole and kind.kind in "iu":
        limits = np.iinfo(str(kind))
        if array.min() < limits.min or array.max() > limits.max:
            raise Malformed(f"a number does not fit {kind}")
    return array.astype(kind)


def to_json(name: str, array: np.ndarray) -> list:
    """Nested lists; bytes as {"b64": ...} where a name ends in _bytes."""
    if array.dtype != object:
        return array.tolist()

    def text(value):
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(value).decode()}
        return value.decode(errors="replace")

    return np.vectorize(text, otypes=[object])(array).tolist()


def bytes_json(array: np.ndarray) -> list:
    """An array of bytes as the REST API takes it."""
    return to_json("_bytes", np.asarray(array, object))


def _strings(value):
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        if not level:
            break
        level = level[0]
    flat = []

    def walk(level, depth):
        if depth == len(shape):
            flat.append(_text(level))
        elif not isinstance(level, list) or len(level) != shape[depth]:
            raise Malformed("Encountered list at unexpected size or level")
        else:
            for one in level:
                walk(one, depth + 1)

    walk(value, 0)
    array = np.empty(len(flat), object)
    array[:] = flat
    return _shaped(array, shape)


def _text(value):
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:  # half of a pair, which JSON can write
            raise Malformed(f"no text: {error.reason}") from None
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise Malformed(f"Unable to base64 decode: {error}") from None
    raise Malformed('JSON Value is not of expected type: string; a text or {"b64": "..."}')
