# SPDX-License-Identifier: Apache-2.0
"""Malformed requests, drawn by rule, against every signature of a server that real clients ask.

The stand-in hands on what a request holds, so that the guards in the graphs are what is tested.
Each request is a good one with one thing broken; a refusal must name a reason, and the real clients
must get their right answers all the time. `make test-server-faults` sends 10,000.
"""

import json

import grpc
import numpy as np
import pytest
import requests

from export.standin import protos
from tests.export.standin.hostile import memory
from tests.export.standin.malformed import PREDICT, PROTOCOLS, SIGNATURES, Sender, as_json
from tests.export.standin.real_clients import RealClients

EACH = 40  # by three ways of sending and six signatures


@pytest.fixture(scope="module")
def server(shared_server):
    return shared_server


@pytest.fixture(scope="module")
def sender(server, good):
    one = Sender(server, good)
    yield one
    one.close()


@pytest.fixture(scope="module")
def clients(server, good):
    """Under whose eyes the rest happens."""
    with RealClients(server, good, pause=0.05) as many:
        yield many


def test_refused_requests_leave_no_memory(server, good):
    """With an arena a thread, 400 of these leave 10 MB and more.

    It comes before the real clients, whose answers take memory and give it back meanwhile.
    """
    bad = good["segment"] | {"support_mask": np.full_like(good["segment"]["support_mask"], 7)}
    body = json.dumps({"signature_name": "segment", "inputs": as_json(bad)})

    def send(count):
        for _ in range(count):
            answer = requests.post(f"http://{server.host}:{server.rest_port}/v1/models/sst:predict",
                                   data=body, timeout=60)
            assert answer.status_code == 400 and "support_mask" in answer.json()["error"]
        return memory(server.process.pid)

    before = send(60)
    assert send(400) < before + 5


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signature", SIGNATURES)
def test_each_gets_a_reason_and_nobody_else_notices(server, sender, clients, signature, protocol):
    sender.run(signature, protocol, EACH, 0)
    assert server.alive()
    clients.check()


def test_enough_were_sent(sender):
    assert not all(sender.sent.values()) or sum(sender.sent.values()) >= 500


@pytest.mark.parametrize("names, length, reason", [
    (("support_image", "support_mask", "query_image"), 2**23, "tensor parsing error"),
    (("a", "b"), 2**40, "Sent extra: {a,b}")])
def test_a_short_message_that_claims_much(server, names, length, reason):
    request = protos.serving().predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "sst", "segment_bytes"
    for name in names:
        request.inputs[name].dtype = 7
        request.inputs[name].tensor_shape.dim.add().size = length
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=60)
    assert caught.value.code().name == "INVALID_ARGUMENT" and reason in caught.value.details()


@pytest.mark.parametrize("method, path", [
    ("GET", "/"), ("POST", "/v1/models/sst"), ("GET", "/v1/models/sst:predict"),
    ("POST", "/v1/models/other:predict"), ("GET", "/v1/models/sst/versions/99999999999999999"),
    ("GET", "/v1/models/sst/versions/-1"), ("GET", "/v1/models/../../etc/passwd"),
    ("POST", "/v1/models/sst:paint"), ("PUT", "/v1/models/sst"), ("GET", "/v1/models/%00"),
    ("GET", "/v1/models/%ff"), ("GET", f"/v1/models/sst/versions/{'9' * 5000}")])
def test_paths(server, method, path):
    url = f"http://{server.host}:{server.rest_port}{path}"
    assert 400 <= requests.request(method, url, data=b"{}", timeout=30).status_code < 500
    assert server.alive()


@pytest.mark.parametrize("change", [
    {"signature_name": "\ud800"}, {"inputs": {"query_image": "\ud800"}},
    {"instances": [{"\ud800": 1}]}])
def test_half_of_a_pair_of_characters(server, good, change):
    body = {"signature_name": "segment_bytes", "inputs": as_json(good["segment_bytes"])}
    body.update(change)
    if "instances" in change:
        del body["inputs"]
    answer = requests.post(f"http://{server.host}:{server.rest_port}/v1/models/sst:predict",
                           data=json.dumps(body), timeout=60)
    assert answer.status_code == 400 and answer.json()["error"]
