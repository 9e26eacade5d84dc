# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Serving's gRPC services over a `Repository`: Predict, metadata, status, reloading.

An event loop reads the messages and threads answer them: a client that begins a call and never
sends its message takes no thread from the others.
"""

import asyncio
import time
from concurrent import futures
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from export.standin import models_config, protos, tensors
from export.standin.errors import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_ARGUMENT,
    RequestError,
)
from export.standin.repository import Repository

MAX_MESSAGE = 256 * 2**20
CODES = {code.value[0]: code for code in grpc.StatusCode}
SIGNATURES = "signature_def"
STATES = {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}
MINUTE = 60_000
OPTIONS = [("grpc.so_reuseport", 0),  # a port that another server has is an error
           ("grpc.max_receive_message_length", MAX_MESSAGE),
           ("grpc.max_send_message_length", MAX_MESSAGE),
           ("grpc.server_handshake_timeout_ms", 10_000),
           # Calls that stay half sent end with their connection; others go on over a new one.
           ("grpc.max_connection_idle_ms", 5 * MINUTE),
           ("grpc.max_connection_age_ms", 10 * MINUTE),
           ("grpc.max_connection_age_grace_ms", 5 * MINUTE)]


async def start(repository: Repository, host: str, port: int,
                threads: int = 16) -> tuple[grpc.aio.Server, int]:
    """A running server and its port (a free one for 0)."""
    server = grpc.aio.server(options=OPTIONS)
    pool = futures.ThreadPoolExecutor(threads)
    for service, methods in _services(repository).items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            f"tensorflow.serving.{service}", {
                name: grpc.unary_unary_rpc_method_handler(_handler(pool, kind, call))
                for name, (kind, call) in methods.items()}),))
    port = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    return server, port


def metadata(repository: Repository, name: str, version: int | None = None,
             label: str | None = None) -> Message:
    """`GetModelMetadataResponse` with the signatures of a version."""
    apis = protos.serving()
    version, model = repository.model(name, version, label)
    answer = apis.get_model_metadata_pb2.GetModelMetadataResponse()
    answer.model_spec.name, answer.model_spec.version.value = name, version
    signatures = apis.get_model_metadata_pb2.SignatureDefMap()
    for key, definition in model.definitions.items():
        signatures.signature_def[key].CopyFrom(definition)
    answer.metadata[SIGNATURES].Pack(signatures)
    return answer


def signatures_of(answer: Any) -> Message:
    """The `SignatureDefMap` inside a `GetModelMetadataResponse`."""
    signatures = protos.serving().get_model_metadata_pb2.SignatureDefMap()
    answer.metadata[SIGNATURES].Unpack(signatures)
    return signatures


def status(repository: Repository, name: str, version: int | None = None) -> Message:
    """`GetModelStatusResponse`."""
    answer = protos.serving().get_model_status_pb2.GetModelStatusResponse()
    for number, state in repository.status(name, version):
        one = answer.model_version_status.add(version=number, state=STATES[state.name])
        one.status.error_code, one.status.error_message = state.code, state.reason[:4000]
    return answer


def _spec(request):
    """(name, version or None, label or None)."""
    if not request.HasField("model_spec"):
        raise RequestError(INVALID_ARGUMENT, "Missing ModelSpec")
    spec = request.model_spec
    return (spec.name, spec.version.value if spec.HasField("version") else None,
            spec.version_label or None)


def _handler(pool, kind, call):
    """What gRPC calls with the bytes of a message; a thread reads them and answers."""

    async def handle(data, context):
        given = context.time_remaining()
        due = None if given is None else time.monotonic() + given

        def work():
            seconds = None if due is None else due - time.monotonic()
            if seconds is not None and seconds <= 0:  # it waited for a thread all the time
                raise RequestError(DEADLINE_EXCEEDED, "the deadline passed before the work")
            try:
                request = kind.FromString(data)
            except DecodeError as error:
                raise RequestError(INTERNAL, f"Failed to parse the message: {error}") from None
            return call(request, seconds).SerializeToString()

        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except RequestError as error:
            code, reason = error.code, str(error)
        except tensors.Malformed as error:
            code, reason = INVALID_ARGUMENT, str(error)
        await context.abort(CODES.get(code, grpc.StatusCode.UNKNOWN), reason[:4000])

    return handle


def _services(repository):
    """{service: {method: (its request's message, what answers it within so many seconds)}}."""
    apis = protos.serving()

    def predict(request, seconds):
        name, version, label = _spec(request)
        found, model = repository.model(name, version, label)
        signature = request.model_spec.signature_name or "serving_default"
        repository.check(model, signature, request.inputs)  # before what each claims is made
        inputs = {key: _decoded(key, value) for key, value in request.inputs.items()}
        outputs = repository.run(model, signature, inputs, list(request.output_filter), seconds)
        answer = apis.predict_pb2.PredictResponse()
        answer.model_spec.name, answer.model_spec.version.value = name, found
        answer.model_spec.signature_name = signature
        for key, value in outputs.items():
            answer.outputs[key].CopyFrom(tensors.to_proto(value))
        return answer

    def get_metadata(request, seconds):
        spec = _spec(request)
        if not request.metadata_field:
            raise RequestError(INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least "
                                                 "one metadata_field")
        for name in request.metadata_field:
            if name != SIGNATURES:
                raise RequestError(INVALID_ARGUMENT,
                                   f"Metadata field {name[:100]} is not supported")
        return metadata(repository, *spec)

    def get_status(request, seconds):
        # A label is passed over, as in the server: all versions are told.
        return status(repository, *_spec(request)[:2])

    def reload(request, seconds):
        repository.reload(models_config.models_of(request.config))
        answer = apis.model_management_pb2.ReloadConfigResponse()
        answer.status.error_code = 0
        return answer

    return {"PredictionService": {
                "Predict": (apis.predict_pb2.PredictRequest, predict),
                "GetModelMetadata": (apis.get_model_metadata_pb2.GetModelMetadataRequest,
                                     get_metadata)},
            "ModelService": {
                "GetModelStatus": (apis.get_model_status_pb2.GetModelStatusRequest, get_status),
                "HandleReloadConfigRequest": (apis.model_management_pb2.ReloadConfigRequest,
                                              reload)}}


def _decoded(name, proto):
    try:
        return tensors.from_proto(proto)
    except tensors.Malformed as error:
        raise tensors.Malformed(f"tensor parsing error: {name[:100]}: {error}") from None
