# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Serving's REST API over a `Repository`: predict, status, metadata.

Paths, status codes and error texts are those of the server's http_rest_api_handler.cc,
http_rest_api_util.cc and http_server.cc; docs/serving.md lists them.
"""

import asyncio
import json
import re
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from export.standin import errors, grpc_api, http_limits, json_request, tensors
from export.standin.errors import INVALID_ARGUMENT, RequestError
from export.standin.repository import Repository

MODEL = r"(?i:/v1/models)/(?P<name>[^/:]+)(?:(?i:/versions)/(?P<version>\d+)|(?i:/labels)/"\
        r"(?P<label>[^/:]+))?"
ASKED = re.compile(MODEL + r":(?P<method>(?i:predict|classify|regress))")
TOLD = re.compile(MODEL + r"(?P<metadata>(?i:/metadata))?")
MAX_BODY = 64 * 2**20  # JSON takes some 20 times its length as Python's lists
LARGEST_VERSION = 2**63 - 1
HTTP = {errors.CANCELLED: 499, errors.INVALID_ARGUMENT: 400, errors.DEADLINE_EXCEEDED: 504,
        errors.NOT_FOUND: 404, errors.RESOURCE_EXHAUSTED: 429, errors.FAILED_PRECONDITION: 400,
        11: 400, errors.UNIMPLEMENTED: 501, errors.UNAVAILABLE: 503}


class _Json(Response):
    """NaN and infinity as the server writes them, which Starlette's own class refuses."""

    media_type = "application/json"

    def render(self, content):
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(
            errors="replace")


def application(repository: Repository, seconds: float | None = None) -> Starlette:
    """An ASGI application; `seconds` are what the runtime may take for a request."""

    async def endpoint(request):
        path = request.scope.get("raw_path", b"").decode(errors="replace") or request.url.path
        if not path.lower().startswith("/v1/"):
            return _error(404, "Not Found")
        try:
            async with asyncio.timeout(http_limits.BODY_SECONDS):
                body = await _body(request)
        except TimeoutError:
            return _error(408, f"the body took longer than {http_limits.BODY_SECONDS:.0f} s")
        except ClientDisconnect:  # nobody is left to answer
            return _error(400, "the body ended early")
        if body is None:
            return _error(413, f"the body is larger than {MAX_BODY} bytes")
        return await run_in_threadpool(_respond, repository, request.method, path, body, seconds)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return Starlette(routes=[Route("/{path:path}", endpoint, methods=methods)])


async def _body(request):
    """All bytes of a body; None where they are too many."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_BODY:
        return None
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _respond(repository, method, path, body, seconds):
    try:
        return _Json(_answer(repository, method, path, body, seconds))
    except RequestError as error:
        return _error(HTTP.get(error.code, 500), str(error))
    except tensors.Malformed as error:
        return _error(400, str(error))


def _answer(repository, method, path, body, seconds):
    match = {"POST": ASKED, "GET": TOLD}[method].fullmatch(path) if method in ("GET", "POST") \
        else None
    if not match:
        if method == "GET" and path.lower() == "/v1/models":
            raise RequestError(INVALID_ARGUMENT, "Missing model name in request.")
        raise RequestError(INVALID_ARGUMENT, f"Malformed request: {method} {path[:200]}")
    name, label = unquote(match["name"]), match["label"] and unquote(match["label"])
    version = None if match["version"] is None else int(match["version"][:20])
    if version is not None and version > LARGEST_VERSION:
        raise RequestError(INVALID_ARGUMENT,
                           f"Failed to convert version: {match['version'][:40]} to numeric.")
    if method == "POST":
        asked = match["method"].lower()
        return _predict(repository, name, version, label, body, seconds, asked)
    if match["metadata"]:
        return _metadata(grpc_api.metadata(repository, name, version, label))
    return _plain(grpc_api.status(repository, name, version))


def _plain(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True,
                                     always_print_fields_with_no_presence=True)


def _metadata(message):
    spec = _plain(message.model_spec)
    return {"model_spec": spec,
            "metadata": {"signature_def": _plain(grpc_api.signatures_of(message))}}


def _predict(repository, name, version, label, body, seconds, asked) -> dict[str, Any]:
    request = json_request.parse(body)
    signature = json_request.signature(request)
    _, model = repository.model(name, version, label)
    if asked != "predict":
        raise RequestError(INVALID_ARGUMENT, f"Expected {asked} signature method_name to be "
                           f"tensorflow/serving/{asked}. Was: tensorflow/serving/predict")
    if signature not in model.signatures:
        raise RequestError(INVALID_ARGUMENT, f'Serving signature name: "{signature[:100]}" not '
                                             "found in signature def")
    rows, inputs = json_request.inputs(request, model.signatures[signature][0])
    outputs = repository.run(model, signature, inputs, None, seconds)
    lists = {key: tensors.to_json(key, value) for key, value in outputs.items()}
    only = next(iter(lists.values())) if len(lists) == 1 else None
    if not rows:
        return {"outputs": lists if only is None else only}
    if only is None:
        if len({len(value) for value in lists.values()}) > 1:
            raise RequestError(INVALID_ARGUMENT, "an output has inconsistent batch size")
        only = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return {"predictions": only}


def _error(code, message):
    return _Json({"error": message[:4000]}, code)
