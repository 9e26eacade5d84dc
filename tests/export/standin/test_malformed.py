# SPDX-License-Identifier: Apache-2.0
"""At least 500 malformed requests, drawn by rule, against every signature of a live server.

The stand-in hands on what a request holds, so that the guards in the graphs are what is tested.
Each request is a good one with one thing broken; a refusal must name a reason and the same server
must still give the good answer.
"""

import json

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export import replay, server_process
from export.client import GrpcClient, RequestFailed
from export.standin import tensors

SIGNATURES = ("segment", "tune", "segment_tuned", "segment_many", "self_segment", "segment_bytes")
EACH = 55  # by two protocols and six signatures
REFUSALS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
COMMON = {"max_examples": EACH, "deadline": None, "database": None, "derandomize": True,
          "suppress_health_check": list(HealthCheck)}
sent = {"grpc": 0, "rest": 0}


@pytest.fixture(scope="module")
def server(exported):
    with server_process.serving(exported.parent) as address:
        yield address


@pytest.fixture(scope="module")
def good(trained, server):
    """{signature: inputs that are answered}."""
    episodes, source = trained.episodes(1, seed=7)
    batch = next(trained.batches(episodes, source))
    support = {name: batch[name][:, 0] for name in ("support_image", "support_mask")}
    client = GrpcClient(f"{server.host}:{server.grpc_port}")
    tuned = client.run("tune", support)
    inputs = {"segment": batch, "tune": support, "self_segment": support,
              "segment_bytes": replay.encoded(source, episodes[0]),
              "segment_tuned": {"query_image": batch["query_image"],
                                "prototype": np.repeat(tuned["prototype"][:, None], 2, 1),
                                "score": np.repeat(tuned["score"][:, None], 2, 1)}}
    inputs["segment_many"] = inputs["segment_tuned"] | {
        name: np.repeat(inputs["segment_tuned"][name][:, None], 3, 1)
        for name in ("prototype", "score")}
    for name in SIGNATURES:
        client.run(name, inputs[name])
    return inputs


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


@pytest.mark.parametrize("signature", SIGNATURES)
def test_grpc(server, good, signature):
    client = GrpcClient(f"{server.host}:{server.grpc_port}")

    @settings(**COMMON)
    @given(broken(good[signature]))
    def run(inputs):
        sent["grpc"] += 1
        try:
            client.run(signature, inputs)
        except RequestFailed as error:
            assert error.code in REFUSALS, error
            assert len(str(error)) > 40
        else:
            types = {k: v.dtype for k, v in good[signature].items()}
            assert fits(signature, inputs, good[signature]), "answered"
            assert {k: np.asarray(v).dtype for k, v in inputs.items()} == types

    run()
    assert server.alive()
    client.run(signature, good[signature])


def as_json(inputs):
    return {name: tensors.bytes_json(value) if np.asarray(value).dtype == object
            else np.asarray(value).tolist() for name, value in inputs.items()}


@st.composite
def broken_body(draw, signature, inputs):
    """A REST body: a broken tensor, or JSON that is not a request."""
    change = draw(st.sampled_from(["tensor", "tensor", "json", "text", "key", "values", "nested"]))
    body = {"signature_name": signature}
    if change == "tensor":
        body["inputs"] = as_json(draw(broken(inputs)))
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


@pytest.mark.parametrize("signature", SIGNATURES)
def test_rest(server, good, signature):
    url = f"http://{server.host}:{server.rest_port}/v1/models/sst:predict"
    session = requests.Session()

    @settings(**COMMON)
    @given(broken_body(signature, good[signature]))
    def run(body):
        sent["rest"] += 1
        answer = session.post(url, data=body, timeout=60)
        if answer.ok:
            # JSON knows no types and no empty shape: what was broken may not show in it.
            inputs = {name: np.asarray(value) if good[signature][name].dtype != object else
                      tensors.from_json(value, 7)
                      for name, value in json.loads(body)["inputs"].items()}
            assert fits(signature, inputs, good[signature])
        else:
            assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
            assert len(answer.json()["error"]) > 10

    run()
    assert server.alive()
    good_body = {"signature_name": signature, "inputs": as_json(good[signature])}
    assert session.post(url, json=good_body, timeout=60).ok


def test_enough_were_sent():
    assert not all(sent.values()) or sum(sent.values()) >= 500


@pytest.mark.parametrize("method, path", [
    ("GET", "/"), ("POST", "/v1/models/sst"), ("GET", "/v1/models/sst:predict"),
    ("POST", "/v1/models/other:predict"), ("GET", "/v1/models/sst/versions/99999999999999999"),
    ("GET", "/v1/models/sst/versions/-1"), ("GET", "/v1/models/../../etc/passwd"),
    ("POST", "/v1/models/sst:classify"), ("PUT", "/v1/models/sst"), ("GET", "/v1/models/%00")])
def test_paths(server, method, path):
    url = f"http://{server.host}:{server.rest_port}{path}"
    assert 400 <= requests.request(method, url, data=b"{}", timeout=30).status_code < 500
    assert server.alive()


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.binary(max_size=300))
def test_noise_as_a_message(server_channel, data):
    import grpc
    call = server_channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        call(data, timeout=30)
    assert caught.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL,
                                   grpc.StatusCode.INVALID_ARGUMENT)


@pytest.fixture(scope="module")
def server_channel(server):
    import grpc
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        yield channel
