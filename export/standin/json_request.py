# SPDX-License-Identifier: Apache-2.0
"""A REST body of TensorFlow Serving: rows under `instances`, or columns under `inputs`.

What is refused, in which order and with which words is the server's (util/json_tensor.cc).
"""

import json
from typing import Any

import numpy as np

from export.standin import tensors
from export.standin.errors import INVALID_ARGUMENT, RequestError

SHOWN = 200  # characters of a value in an error


def parse(body: bytes) -> dict[str, Any]:
    """The object that a body holds."""
    if not body:
        raise _refused("JSON Parse error: The document is empty")
    try:
        request = json.loads(body)
    except json.JSONDecodeError as error:
        reason = "Invalid value" if error.msg == "Expecting value" else error.msg
        raise _refused(f"JSON Parse error: {reason}. at offset: {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise _refused(f"JSON Parse error: {error}") from None
    if not isinstance(request, dict):
        raise _refused(f"JSON Value: {_shown(request)} Is not object")
    return request


def signature(request: dict[str, Any]) -> str:
    """The signature that a body asks for."""
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise _refused(f"JSON Value: {_shown(request)} not formatted correctly. 'signature_name' "
                       "key must be a string value.")
    return name or "serving_default"


def inputs(request: dict[str, Any], taken: dict[str, Any]) -> tuple[bool, dict[str, np.ndarray]]:
    """Whether a body holds rows, and {input: array} for a signature's {input: `TensorInfo`}."""
    if "instances" in request and "inputs" in request:
        raise _refused(f"JSON Value: {_shown(request)} Not formatted correctly expecting only one "
                       "of 'inputs' or 'instances' keys to exist ")
    if "instances" in request:
        columns = _of_rows(request, taken)
    elif "inputs" in request:
        columns = _of_columns(request["inputs"], taken)
    else:
        raise _refused("Missing 'inputs' or 'instances' key")
    return "instances" in request, {key: _array(key, value, taken[key].dtype)
                                    for key, value in columns.items()}


def _of_columns(value, taken):
    if not isinstance(value, dict) or _is_bytes(value):
        if len(taken) > 1:
            raise _refused("inputs is a plain value/list, but expecting an object as multiple "
                           "input tensors required as per tensorinfo_map")
        return {next(iter(taken)): value}
    for name in taken:
        if name not in value:
            raise _refused(f"Missing named input: {name} in 'inputs' object.")
    return {name: value[name] for name in taken}  # further names are passed over, as there


def _of_rows(request, taken):
    rows = request["instances"]
    if not isinstance(rows, list):
        raise _refused(f"JSON Value: {_shown(request)} Excepting 'instances' to be an list/array")
    if not rows:
        raise _refused(f"JSON Value: {_shown(request)} No values in 'instances' array")
    if not isinstance(rows[0], dict) and len(taken) > 1:
        raise _refused("instances is a plain list, but expecting list of objects as multiple "
                       "input tensors required as per tensorinfo_map")
    named = isinstance(rows[0], dict) and not _is_bytes(rows[0])
    for number, row in enumerate(rows):
        is_object = isinstance(row, dict) and not _is_bytes(row)
        if is_object != named:
            kinds = ("object", "list") if named else ("value/list", "object")
            raise _refused(f"Expecting {kinds[0]} but got {kinds[1]} at item {number} of input "
                           "list")
        for key in row if named else ():
            if key not in taken:
                raise _refused(f"Failed to process element: {number} key: {key[:SHOWN]} of "
                               "'instances' list. Error: INVALID_ARGUMENT: JSON object: does not "
                               f"have named input: {key[:SHOWN]}")
        if named and set(row) != set(taken):
            raise _refused(f"Failed to process element: {number} of 'instances' list. JSON object: "
                           f"{_shown(row)} keys must be equal to: {','.join(sorted(taken))}")
    if not named:
        return {next(iter(taken)): rows}
    return {key: [row[key] for row in rows] for key in taken}


def _array(name, value, number):
    try:
        return tensors.from_json(value, number)
    except (tensors.Malformed, RecursionError) as error:
        raise tensors.Malformed(f"{name}: {error}") from None


def _is_bytes(value):
    return set(value) == {"b64"} and isinstance(value["b64"], str)


def _shown(value):
    """The beginning of a value; the server repeats all of it."""
    text = ""
    try:
        for piece in json.JSONEncoder().iterencode(value):
            text += piece
            if len(text) > SHOWN:
                break
    except RecursionError:
        text = "(deeply nested)"
    return text[:SHOWN]


def _refused(reason):
    return RequestError(INVALID_ARGUMENT, reason)
