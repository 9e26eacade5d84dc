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
from google.protobuf.message import Message

from export.standin import models_config, protos, tensors
from export.standin.errors import DEADLINE_EXCEEDED, INVALID_ARGUMENT, RequestError
from export.standin.repository import Repository

MAX_MESSAGE = 256 * 2**20
CODES = {code.value[0]: code for code in grpc.StatusCode}
SIGNATURES = "signature_def"
STATES = {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}
MINUTE = 60_000
OPTIONS = [("grpc.max_receive_message_length", MAX_MESSAGE),
           ("grpc.max_send_message_length", MAX_MESSAGE),
           ("grpc.server_handshake_timeout_ms", 10_000),
           # Calls that stay half sent end with their connection; others go on over a new one.
           ("grpc.max_connection_idle_ms", 5 * MINUTE),
           ("grpc.max_connection_age_ms", 10 * MINUTE),
           ("grpc.max_connection_age_grace_ms", 5 * MINUTE)]


async def start(repository: Repository, host: str, port: int,
                threads: int = 16) -> tuple[grpc.aio.Server, int]:
    """A running server and its port (a free one for 0)."""
    apis = protos.serving()
    server = grpc.aio.server(options=OPTIONS)
    pool = futures.ThreadPoolExecutor(threads)
    apis.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _prediction(apis)(repository, pool), server)
    apis.model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _models(apis)(repository, pool), server)
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


class _Service:
    """What both services share.

    Args:
        repository: answers.
        pool: threads that ask it.
    """

    def __init__(self, repository, pool):
        self.repository, self.pool = repository, pool

    async def answer(self, context, call):
        """What `call` returns; what it raises as a status of the call."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, call)
        except RequestError as error:
            code, reason = error.code, str(error)
        except tensors.Malformed as error:
            code, reason = INVALID_ARGUMENT, str(error)
        await context.abort(CODES.get(code, grpc.StatusCode.UNKNOWN), reason[:4000])


def _prediction(apis):
    class Prediction(_Service, apis.prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[name-defined]
        async def Predict(self, request, context):  # noqa: N802  gRPC's name
            given = context.time_remaining()
            due = None if given is None else time.monotonic() + given

            def call():
                seconds = None if due is None else due - time.monotonic()
                if seconds is not None and seconds <= 0:  # it waited for a thread all the time
                    raise RequestError(DEADLINE_EXCEEDED, "the deadline passed before the work")
                name, version, label = _spec(request)
                found, model = self.repository.model(name, version, label)
                signature = request.model_spec.signature_name or "serving_default"
                inputs = {key: _decoded(key, value) for key, value in request.inputs.items()}
                outputs = self.repository.run(model, signature, inputs,
                                              list(request.output_filter), seconds)
                answer = apis.predict_pb2.PredictResponse()
                answer.model_spec.name, answer.model_spec.version.value = name, found
                answer.model_spec.signature_name = signature
                for key, value in outputs.items():
                    answer.outputs[key].CopyFrom(tensors.to_proto(value))
                return answer
            return await self.answer(context, call)

        async def GetModelMetadata(self, request, context):  # noqa: N802
            def call():
                spec = _spec(request)
                if not request.metadata_field:
                    raise RequestError(INVALID_ARGUMENT, "GetModelMetadataRequest must specify at "
                                                         "least one metadata_field")
                for name in request.metadata_field:
                    if name != SIGNATURES:
                        raise RequestError(INVALID_ARGUMENT,
                                           f"Metadata field {name[:100]} is not supported")
                return metadata(self.repository, *spec)
            return await self.answer(context, call)

    return Prediction


def _decoded(name, proto):
    try:
        return tensors.from_proto(proto)
    except tensors.Malformed as error:
        raise tensors.Malformed(f"tensor parsing error: {name[:100]}: {error}") from None


def _models(apis):
    class Models(_Service, apis.model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[name-defined]
        async def GetModelStatus(self, request, context):  # noqa: N802
            # A label is passed over, as in the server: all versions are told.
            return await self.answer(
                context, lambda: status(self.repository, *_spec(request)[:2]))

        async def HandleReloadConfigRequest(self, request, context):  # noqa: N802
            def call():
                self.repository.reload(models_config.models_of(request.config))
                answer = apis.model_management_pb2.ReloadConfigResponse()
                answer.status.error_code = 0
                return answer
            return await self.answer(context, call)

    return Models
