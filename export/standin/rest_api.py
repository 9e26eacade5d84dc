# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Serving's REST API over a `Repository`: predict, status, metadata."""

import json
import re

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from export.standin import grpc_api, tensors
from export.standin.repository import INVALID_ARGUMENT, NOT_FOUND, Repository, RequestError

PATH = re.compile(r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d{1,18})|/labels/"
                  r"(?P<label>[^/:]+))?(?P<action>:predict|/metadata)?")
HTTP = {INVALID_ARGUMENT: 400, NOT_FOUND: 404, 8: 429, 9: 412, 12: 501, 14: 503}


def application(repository: Repository) -> Starlette:
    """An ASGI application."""

    async def endpoint(request):
        body, size = [], 0
        async for piece in request.stream():
            size += len(piece)
            if size > grpc_api.MAX_MESSAGE:
                return _error(413, f"the body is larger than {grpc_api.MAX_MESSAGE} bytes")
            body.append(piece)
        return await run_in_threadpool(_respond, repository, request.method, request.url.path,
                                       b"".join(body))

    return Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST"])])


def _respond(repository, method, path, body):
    match = PATH.fullmatch(path)
    if not match:
        return _error(404, f"Malformed request: {method} {path[:200]}")
    name, label, action = match["name"], match["label"], match["action"]
    version = int(match["version"]) if match["version"] else None
    if (method == "POST") != (action == ":predict"):
        return _error(405, f"{method} is not for {path[:200]}")
    try:
        if action == ":predict":
            return _predict(repository, name, version, label, body)
        make = grpc_api.metadata if action == "/metadata" else grpc_api.status
        answer = json_format.MessageToDict(make(repository, name, version, label),
                                           preserving_proto_field_name=True,
                                           always_print_fields_with_no_presence=not action)
        return JSONResponse(answer)
    except RequestError as error:
        return _error(HTTP.get(error.code, 500), str(error))
    except tensors.Malformed as error:
        return _error(400, str(error))


def _predict(repository, name, version, label, body):
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(INVALID_ARGUMENT, f"JSON Parse error: {error}") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise RequestError(INVALID_ARGUMENT,
                           "expected an object with either 'instances' or 'inputs'")
    signature = request.get("signature_name", "")
    if not isinstance(signature, str):
        raise RequestError(INVALID_ARGUMENT, "signature_name: expected a text")
    rows = "instances" in request

    def inputs(taken):
        columns = _columns(request["instances"], taken) if rows else request["inputs"]
        if not isinstance(columns, dict) or set(columns) - set(taken):
            if len(taken) != 1:
                raise RequestError(INVALID_ARGUMENT, f"expected an object of {sorted(taken)}")
            columns = {next(iter(taken)): columns}
        return {key: _array(key, value, taken[key].dtype) for key, value in columns.items()}

    _, _, outputs = repository.predict(name, signature, inputs, version, label)
    lists = {key: tensors.to_json(key, value) for key, value in outputs.items()}
    only = next(iter(lists.values())) if len(lists) == 1 else None
    if not rows:
        return JSONResponse({"outputs": lists if only is None else only})
    if only is None:
        only = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return JSONResponse({"predictions": only})


def _columns(instances, taken):
    """{input: [value of each row]} of rows; rows of one input may leave out its name."""
    if not isinstance(instances, list) or not instances:
        raise RequestError(INVALID_ARGUMENT, "instances: expected a list of rows")
    if len(taken) == 1 and not (isinstance(instances[0], dict) and set(instances[0]) <= set(taken)):
        return {next(iter(taken)): instances}
    if not all(isinstance(row, dict) and set(row) == set(taken) for row in instances):
        raise RequestError(INVALID_ARGUMENT, f"instances: each is an object of {sorted(taken)}")
    return {key: [row[key] for row in instances] for key in taken}


def _array(name, value, number):
    try:
        return tensors.from_json(value, number)
    except (tensors.Malformed, RecursionError) as error:
        raise tensors.Malformed(f"{name}: {error}") from None


def _error(code, message):
    return JSONResponse({"error": message[:4000]}, code)
