# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Serving's gRPC services over a `Repository`: Predict, metadata, model status."""

from concurrent import futures

import grpc
from google.protobuf.message import Message

from export.standin import protos, tensors
from export.standin.repository import INVALID_ARGUMENT, Repository, RequestError
from export.standin.runtime import PREDICT

MAX_MESSAGE = 256 * 2**20
CODES = {code.value[0]: code for code in grpc.StatusCode}
OPTIONS = [("grpc.max_receive_message_length", MAX_MESSAGE),
           ("grpc.max_send_message_length", MAX_MESSAGE)]


def start(repository: Repository, host: str, port: int,
          threads: int = 16) -> tuple[grpc.Server, int]:
    """A running server and its port (a free one for 0)."""
    apis = protos.serving()
    server = grpc.server(futures.ThreadPoolExecutor(threads), options=OPTIONS)
    apis.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _prediction(apis)(repository), server)
    apis.model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _status(apis)(repository), server)
    port = server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server, port


def metadata(repository: Repository, name: str, version: int | None = None,
             label: str | None = None) -> Message:
    """`GetModelMetadataResponse` with the signatures of a version."""
    apis = protos.serving()
    version, model = repository.model(name, version, label)
    answer = apis.get_model_metadata_pb2.GetModelMetadataResponse()
    answer.model_spec.name, answer.model_spec.version.value = name, version
    signatures = apis.get_model_metadata_pb2.SignatureDefMap()
    for key, (inputs, outputs) in model.signatures.items():
        one = signatures.signature_def[key]
        for target, infos in ((one.inputs, inputs), (one.outputs, outputs)):
            for field, info in infos.items():
                target[field].CopyFrom(info)
        one.method_name = PREDICT
    answer.metadata["signature_def"].Pack(signatures)
    return answer


def status(repository: Repository, name: str, version: int | None = None,
           label: str | None = None) -> Message:
    """`GetModelStatusResponse`."""
    apis = protos.serving()
    answer = apis.get_model_status_pb2.GetModelStatusResponse()
    for number, available, why in repository.status(name, version, label):
        one = answer.model_version_status.add(version=number, state=30 if available else 50)
        one.status.error_code, one.status.error_message = 0 if available else 2, why
    return answer


def _spec(spec):
    return spec.name, spec.version.value or None, spec.version_label or None


def _answer(context, call):
    """What `call` returns; what it raises as a status of the call."""
    try:
        return call()
    except RequestError as error:
        code, reason = error.code, str(error)
    except tensors.Malformed as error:
        code, reason = INVALID_ARGUMENT, str(error)
    context.abort(CODES.get(code, grpc.StatusCode.UNKNOWN), reason[:4000])


def _prediction(apis):
    class Prediction(apis.prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[name-defined]
        def __init__(self, repository):
            self.repository = repository

        def Predict(self, request, context):  # noqa: N802  gRPC's name
            def call():
                name, version, label = _spec(request.model_spec)
                inputs = {key: _decoded(key, value) for key, value in request.inputs.items()}
                found, signature, outputs = self.repository.predict(
                    name, request.model_spec.signature_name, inputs, version, label)
                wanted = list(request.output_filter) or list(outputs)
                if set(wanted) - set(outputs):
                    raise RequestError(INVALID_ARGUMENT,
                                       f"output_filter: the outputs are {sorted(outputs)}")
                answer = apis.predict_pb2.PredictResponse()
                answer.model_spec.name, answer.model_spec.version.value = name, found
                answer.model_spec.signature_name = signature
                for key in wanted:
                    answer.outputs[key].CopyFrom(tensors.to_proto(outputs[key]))
                return answer
            return _answer(context, call)

        def GetModelMetadata(self, request, context):  # noqa: N802
            def call():
                if list(request.metadata_field) != ["signature_def"]:
                    raise RequestError(INVALID_ARGUMENT, "metadata_field: signature_def is known")
                return metadata(self.repository, *_spec(request.model_spec))
            return _answer(context, call)

    return Prediction


def _decoded(name, proto):
    try:
        return tensors.from_proto(proto)
    except tensors.Malformed as error:
        raise tensors.Malformed(f"{name[:100]}: {error}") from None


def _status(apis):
    class Status(apis.model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[name-defined]
        def __init__(self, repository):
            self.repository = repository

        def GetModelStatus(self, request, context):  # noqa: N802
            return _answer(context, lambda: status(self.repository, *_spec(request.model_spec)))

    return Status
