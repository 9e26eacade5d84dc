# SPDX-License-Identifier: Apache-2.0
"""Requests with one thing broken, drawn by rule, and how to send them to a server."""

import json

import grpc
import numpy as np
import requests
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from export.client import GrpcClient, RequestFailed
from export.standin import protos, tensors

SIGNATURES = ("segment", "tune", "segment_tuned", "segment_many", "self_segment", "segment_bytes")
PROTOCOLS = ("grpc", "rest", "message")
REFUSALS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def cut(draw, value):
    """Shape, rank or size broken."""
    return np.asarray(_cut(draw, value), value.dtype)


def _cut(draw, value):
    axis = draw(st.integers(0, value.ndim - 1))
    kind = draw(st.sampled_from(["drop", "add", "empty", "double", "flat", "number", "shorter"]))
    if kind == "drop":
        return np.take(value, 0, axis)
    if kind == "add":
        return np.expand_dims(value, axis)
    if kind == "empty":
        return np.take(value, [], axis)
    if kind == "double":
        return np.concatenate([value] * draw(st.integers(2, 4)), axis)
    if kind == "flat":
        return value.ravel()
    if kind == "number":
        return value.ravel()[0]
    if value.shape[axis] == 1:
        return np.take(value, [], axis)
    return np.take(value, range(draw(st.integers(0, value.shape[axis] - 1))), axis)


def retyped(draw, value):
    kinds = [k for k in ("int32", "int64", "float32", "float64", "bool", "uint16", "int8", "O")
             if np.dtype(k) != value.dtype]
    kind = draw(st.sampled_from(kinds))
    if kind == "O":
        bad = np.empty(value.shape, object)
        bad.fill(draw(st.binary(max_size=8)))
        return bad
    return np.zeros(value.shape, kind) if value.dtype == object else value.astype(kind)


def refilled(draw, name, value):
    """Values that no such input may hold."""
    if value.dtype == object:
        bad = value.copy()
        data = bad.flat[0]
        kind = draw(st.sampled_from(["noise", "head", "cut", "magic"]))
        bad.flat[draw(st.integers(0, bad.size - 1))] = {
            "noise": lambda: draw(st.binary(max_size=200)),
            "head": lambda: data[:draw(st.integers(0, 40))],
            "cut": lambda: data[:draw(st.integers(0, len(data) // 2))],
            "magic": lambda: b"\xff\xd8\xff" + draw(st.binary(max_size=60))}[kind]()
        return bad
    if name == "support_mask":
        return np.full_like(value, draw(st.integers(2, 254)) if draw(st.booleans()) else 0)
    if name in ("prototype", "score"):
        bad = value.copy()
        bad.flat[draw(st.integers(0, bad.size - 1))] = draw(
            st.sampled_from([np.nan, np.inf, -np.inf]))
        return bad
    return None


@st.composite
def broken(draw, inputs):
    """A copy of good inputs with one thing broken, and what."""
    name = draw(st.sampled_from(sorted(inputs)))
    change = draw(st.sampled_from(["cut", "type", "values", "missing", "extra"]))
    value = inputs[name]
    if change == "missing":
        return {k: v for k, v in inputs.items() if k != name}
    if change == "extra":
        return {**inputs, draw(st.text(min_size=1, max_size=8)): value}
    bad = {"cut": lambda: cut(draw, value), "type": lambda: retyped(draw, value),
           "values": lambda: refilled(draw, name, value)}[change]()
    return {**inputs, name: cut(draw, value) if bad is None else bad}


def fits(signature, inputs, good):
    """Whether a draw broke nothing: a photo for tuned classes may have any size."""
    if set(inputs) != set(good):
        return False
    shapes = {name: np.shape(value) for name, value in inputs.items()}
    due = {name: value.shape for name, value in good.items()}
    if signature in ("segment_tuned", "segment_many"):
        for some in (shapes, due):
            some["query_image"] = (len(some["query_image"]), *some["query_image"][::3])
    return shapes == due


def as_json(inputs):
    return {name: tensors.bytes_json(value) if np.asarray(value).dtype == object
            else np.asarray(value).tolist() for name, value in inputs.items()}


def rows_of(columns):
    """Rows for `instances` of {input: nested list}."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def columns_of(body, good):
    """{input: array} of a body that was answered, without names that no input has."""
    request = json.loads(body)
    columns = request.get("inputs")
    if columns is None:
        columns = {name: [row[name] for row in request["instances"]] for name in good}
    return {name: tensors.from_json(columns[name], 7) if good[name].dtype == object
            else np.asarray(columns[name]) for name in good}


@st.composite
def broken_body(draw, signature, inputs):
    """A REST body: a broken tensor, or JSON that is not a request."""
    change = draw(st.sampled_from(["tensor", "tensor", "rows", "json", "text", "key", "values",
                                   "nested"]))
    body = {"signature_name": signature}
    if change == "tensor":
        body["inputs"] = as_json(draw(broken(inputs)))
        return json.dumps(body).encode()
    if change == "rows":
        body["instances"] = rows_of(as_json(inputs))
        row = body["instances"][draw(st.integers(0, len(body["instances"]) - 1))]
        name = draw(st.sampled_from(sorted(row)))
        bad = draw(st.sampled_from(["away", 1, "text", None, [], [[]], {}, {"b64": "AAAA"}]))
        if bad == "away":
            del row[name]
        else:
            row[name] = bad
        return json.dumps(body).encode()
    if change == "json":
        leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
        anything = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3)
                                | st.dictionaries(st.text(max_size=5), inner, max_size=3))
        body[draw(st.sampled_from(["inputs", "instances"]))] = draw(anything)
        return json.dumps(body).encode()
    if change == "text":
        return draw(st.binary(max_size=60))
    if change == "key":
        return json.dumps({draw(st.text(max_size=6)): as_json(inputs)}).encode()
    if change == "nested":
        return b'{"inputs": ' + b"[" * draw(st.integers(1, 200_000))
    name = draw(st.sampled_from(sorted(inputs)))
    value = draw(st.sampled_from([
        "text", [["a"]], [1, [2]], [[300]], [-1], [0.5, 1.5], {"b64": "%%"}, [{"b64": 1}],
        [{"b64": "AAAA"}], [None], [True], {}, [], 1e400, 10**30]))
    return json.dumps({**body, "inputs": {**as_json(inputs), name: value}}).encode()


@st.composite
def broken_message(draw, signature, inputs):
    """Bytes of a `PredictRequest`, some of them cut off, changed or put in."""
    apis = protos.serving()
    request = apis.predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "sst", signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tensors.to_proto(value))
    data = bytearray(request.SerializeToString())
    change = draw(st.sampled_from(["noise", "cut", "flip", "insert"]))
    if change == "noise":
        return draw(st.binary(max_size=300))
    # Most of a message is pixels; its structure lies at both ends of each input.
    at = draw(st.one_of(st.integers(0, min(200, len(data) - 1)), st.integers(0, len(data) - 1)))
    if change == "cut":
        return bytes(data[:at])
    if change == "flip":
        for _ in range(draw(st.integers(1, 5))):
            data[(at + draw(st.integers(0, 40))) % len(data)] ^= 1 << draw(st.integers(0, 7))
        return bytes(data)
    return bytes(data[:at] + draw(st.binary(min_size=1, max_size=20)) + data[at:])


class Sender:
    """Sends broken requests and says whether each was answered as it should be.

    Args:
        server: `export.server_process.Address`.
        good: {signature: inputs that are answered}.

    Attributes:
        sent: how many, by protocol.
    """

    def __init__(self, server, good):
        self.good, self.sent = good, dict.fromkeys(PROTOCOLS, 0)
        self._client = GrpcClient(f"{server.host}:{server.grpc_port}")
        self._url = f"http://{server.host}:{server.rest_port}/v1/models/sst:predict"
        self._channel = grpc.insecure_channel(f"{server.host}:{server.grpc_port}")

    def run(self, signature, protocol, number, number_of_seed):
        """Send `number` requests of one kind."""
        strategy = {"grpc": lambda: broken(self.good[signature]),
                    "rest": lambda: broken_body(signature, self.good[signature]),
                    "message": lambda: broken_message(signature, self.good[signature])}[protocol]()

        @seed(number_of_seed)
        @settings(max_examples=number, deadline=None, database=None,
                  suppress_health_check=list(HealthCheck))
        @given(strategy)
        def one(request):
            self.sent[protocol] += 1
            getattr(self, f"_{protocol}")(signature, request)

        one()

    def _grpc(self, signature, inputs):
        good = self.good[signature]
        try:
            self._client.run(signature, inputs)
        except RequestFailed as error:
            assert error.code in REFUSALS, error
            assert len(str(error)) > 40
        else:
            assert fits(signature, inputs, good), "answered"
            assert ({k: np.asarray(v).dtype for k, v in inputs.items()}
                    == {k: v.dtype for k, v in good.items()})

    def _rest(self, signature, body):
        answer = requests.post(self._url, data=body, timeout=60)  # a connection for each
        if answer.ok:  # JSON knows no types and no empty shape: what was broken may not show
            good = self.good[signature]
            assert fits(signature, columns_of(body, good), good)
        else:
            assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
            assert len(answer.json()["error"]) > 10

    def _message(self, signature, data):
        try:  # a flipped bit in a photo is a good request
            self._channel.unary_unary(PREDICT)(data, timeout=60)
        except grpc.RpcError as error:
            code, reason = error.code().name, error.details()
            assert (code in (*REFUSALS, "NOT_FOUND")
                    or "Failed to parse the message" in reason), error

    def close(self):
        self._client.close()
        self._channel.close()
