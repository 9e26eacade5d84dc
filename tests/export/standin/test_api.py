# SPDX-License-Identifier: Apache-2.0
"""Answers that TensorFlow Serving's documentation and source tell, held against a server.

One suite for every server: the stand-in, `tensorflow_model_server`, its container. `make test` asks
the stand-in; `make serve-check` (SST_SERVERS=all) every one that is here. docs/serving.md lists
which page or file of the server each answer is from.
"""

import json
import os
import shutil

import grpc
import numpy as np
import pytest
import requests

from export import replay, server_process
from export.client import GrpcClient, RestClient
from export.standin import protos, tensors

KINDS = server_process.KINDS[:None if os.environ.get("SST_SERVERS") == "all" else 1]
CONFIG = """model_config_list {{ config {{ name: "sst" base_path: "{base}"
    model_platform: "tensorflow" model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }} }} }}"""
INPUTS = ["query_image", "support_image", "support_mask"]


@pytest.fixture(scope="module", params=KINDS)
def server(request, exported, tmp_path_factory):
    if reason := server_process.missing(request.param):
        pytest.skip(reason)
    base = tmp_path_factory.mktemp("api")
    for version in ("1", "2"):
        shutil.copytree(exported, base / version,  # not warmed up: twice the time
                        ignore=shutil.ignore_patterns("assets.extra"))
    (base / "models.config").write_text(CONFIG.format(base=base))
    options = [f"--model_config_file={base / 'models.config'}",
               "--allow_version_labels_for_unavailable_models"]
    with server_process.serving(base, kind=request.param, options=options) as address:
        address.base = base
        yield address


@pytest.fixture(scope="module")
def url(server):
    return f"http://{server.host}:{server.rest_port}/v1/models"


@pytest.fixture(scope="module")
def stubs(server):
    apis = protos.serving()
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        yield (apis, apis.prediction_service_pb2_grpc.PredictionServiceStub(channel),
               apis.model_service_pb2_grpc.ModelServiceStub(channel))


@pytest.fixture(scope="module")
def encoded(trained):
    """Inputs of `segment_bytes` as JSON, one row."""
    episodes, source = trained.episodes(1, seed=3)
    return {name: tensors.bytes_json(value)
            for name, value in replay.encoded(source, episodes[0]).items()}


def body(**content):
    return json.dumps({"signature_name": "segment_bytes", **content})


@pytest.mark.parametrize("method, path, content, code, text", [
    ("GET", "", None, 400, "Missing model name in request."),
    ("GET", "/sst:predict", None, 400, "Malformed request: GET /v1/models/sst:predict"),
    ("POST", "/sst", "{}", 400, "Malformed request: POST /v1/models/sst"),
    ("POST", "/sst/metadata", "", 400, "Malformed request"),
    ("GET", "/sst/name", None, 400, "Malformed request"),
    ("POST", "/sst/version/1:predict", "{}", 400, "Malformed request"),
    ("POST", "/sst/versions/one:predict", "{}", 400, "Malformed request"),
    ("POST", "/sst/versions/1/labels/stable:predict", "{}", 400, "Malformed request"),
    ("POST", f"/sst/versions/{2**64}:predict", "{}", 400, "Failed to convert version"),
    ("GET", "/other", None, 404, "Could not find any versions of model other"),
    ("GET", "/sst/versions/9", None, 404, "Could not find version 9 of model sst"),
    ("GET", "/other/metadata", None, 404, "Servable not found for request: Latest(other)"),
    ("POST", "/other:predict", body(inputs={}), 404,
     "Servable not found for request: Latest(other)"),
    ("POST", "/sst/versions/9:predict", body(inputs={}), 404,
     "Servable not found for request: Specific(sst, 9)"),
    ("POST", "/sst/labels/none:predict", body(inputs={}), 400,
     "Unrecognized servable version label: none"),
    ("POST", "/sst:predict", "", 400, "JSON Parse error: The document is empty"),
    ("POST", "/sst:predict", "inputs = [1]", 400, "JSON Parse error: Invalid value"),
    ("POST", "/sst:predict", "[1]", 400, "Is not object"),
    ("POST", "/sst:predict", '{"signature_name": 100}', 400,
     "'signature_name' key must be a string value."),
    ("POST", "/sst:predict", '{"signature_name": "paint", "inputs": {}}', 400,
     'Serving signature name: "paint" not found in signature def'),
    ("POST", "/sst:predict", body(), 400, "Missing 'inputs' or 'instances' key"),
    ("POST", "/sst:predict", body(inputs={}, instances=[]), 400,
     "expecting only one of 'inputs' or 'instances' keys to exist"),
    ("POST", "/sst:predict", body(instances={}), 400, "'instances' to be an list/array"),
    ("POST", "/sst:predict", body(instances=[]), 400, "No values in 'instances' array"),
    ("POST", "/sst:predict", body(instances=["a"]), 400,
     "instances is a plain list, but expecting list of objects"),
    ("POST", "/sst:predict", body(instances=[{"x": 1}]), 400, "does not have named input: x"),
    ("POST", "/sst:predict", body(instances=[{"query_image": "a"}]), 400,
     "keys must be equal to: query_image,support_image,support_mask"),
    ("POST", "/sst:predict", body(inputs=["a"]), 400,
     "inputs is a plain value/list, but expecting an object"),
    ("POST", "/sst:predict", body(inputs={"query_image": ["a"]}), 400, "Missing named input: "),
    ("POST", "/sst:predict", body(inputs=dict.fromkeys(INPUTS, [1])), 400,
     "is not of expected type: string"),
    ("POST", "/sst:predict", body(inputs=dict.fromkeys(INPUTS, [["a"], ["a", "b"]])), 400,
     "Encountered list at unexpected size"),
    ("POST", "/sst:predict", body(inputs=dict.fromkeys(INPUTS, [{"b64": "%"}])), 400,
     "Unable to base64 decode"),
    ("POST", "/sst:classify", '{"examples": [{"x": 1}], "signature_name": "segment_bytes"}', 400,
     "Expected classif"),
])
def test_a_refusal_is_the_server_s(url, method, path, content, code, text):
    answer = requests.request(method, url + path, data=content, timeout=60)
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert text in answer.json()["error"]
    assert set(answer.json()) == {"error"}


def test_a_path_of_another_service_is_not_found(url):
    assert requests.get(url.removesuffix("/v1/models") + "/index").status_code == 404


@pytest.mark.parametrize("which, versions", [
    ("", ["2", "1"]), ("/versions/1", ["1"]), ("/labels/stable", ["2", "1"])])
def test_status(url, which, versions):
    states = requests.get(f"{url}/sst{which}").json()
    assert states == {"model_version_status": [
        {"version": version, "state": "AVAILABLE",
         "status": {"error_code": "OK", "error_message": ""}} for version in versions]}


@pytest.mark.parametrize("which, version", [
    ("", "2"), ("/versions/1", "1"), ("/labels/stable", "1")])
def test_metadata(url, which, version):
    about = requests.get(f"{url}/sst{which}/metadata").json()
    assert about["model_spec"] == {"name": "sst", "signature_name": "", "version": version}
    signatures = about["metadata"]["signature_def"]["signature_def"]
    assert {"segment", "segment_bytes", "tune", "serving_default"} <= set(signatures)
    one = signatures["segment_bytes"]
    assert one["method_name"] == "tensorflow/serving/predict"
    assert sorted(one["inputs"]) == INPUTS
    query = one["inputs"]["query_image"]
    assert query["dtype"] == "DT_STRING" and query["name"].endswith(":0")
    assert query["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


@pytest.mark.parametrize("which", ["", "/versions/2", "/labels/stable"])
def test_rows_and_columns(url, encoded, which):
    target = f"{url}/sst{which}:predict"
    columns = requests.post(target, data=body(inputs=encoded), timeout=60).json()
    rows = requests.post(target, data=body(instances=[
        {name: value[0] for name, value in encoded.items()}] * 2), timeout=60).json()
    assert set(columns) == {"outputs"} and set(rows) == {"predictions"}
    assert sorted(columns["outputs"]) == ["mask_bytes", "support_iou"]
    assert set(columns["outputs"]["mask_bytes"][0]) == {"b64"}
    assert [sorted(row) for row in rows["predictions"]] == [["mask_bytes", "support_iou"]] * 2
    for row in rows["predictions"]:
        assert row["mask_bytes"] == columns["outputs"]["mask_bytes"][0]
        np.testing.assert_allclose(row["support_iou"], columns["outputs"]["support_iou"][0], 1e-5)


def test_paths_in_capitals_and_further_columns(url, encoded):
    answer = requests.post(f"{url[:-10]}/V1/Models/sst:Predict", timeout=60,
                           data=body(inputs={**encoded, "unknown": 1}))
    assert answer.status_code == 200, answer.text


def test_the_default_signature(server, trained):
    batch = next(trained.batches(*trained.episodes(1, seed=7)))
    one = GrpcClient(f"{server.host}:{server.grpc_port}")
    due = one.run("segment", batch)
    rest = RestClient(f"{server.host}:{server.rest_port}")
    for answer in (one.run("", batch), rest.run("serving_default", batch)):
        np.testing.assert_allclose(answer["probability"], due["probability"], atol=1e-6)


def fails(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=60)
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize("spec, code, text", [
    (None, "INVALID_ARGUMENT", "Missing ModelSpec"),
    ({"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ({"name": "other"}, "NOT_FOUND", "Servable not found for request: Latest(other)"),
    ({"name": "sst", "version": {"value": 9}}, "NOT_FOUND",
     "Servable not found for request: Specific(sst, 9)"),
    ({"name": "sst", "version_label": "none"}, "INVALID_ARGUMENT",
     "Unrecognized servable version label: none"),
    ({"name": "sst", "signature_name": "paint"}, "FAILED_PRECONDITION",
     'Serving signature key "paint" not found.'),
    ({"name": "sst", "signature_name": "tune"}, "INVALID_ARGUMENT",
     "input size does not match signature: 0!=2")])
def test_predict_refuses(stubs, spec, code, text):
    apis, predictions, _ = stubs
    request = apis.predict_pb2.PredictRequest(
        model_spec=spec and apis.predict_pb2.PredictRequest().model_spec.__class__(**spec))
    assert fails(predictions.Predict, request)[0] == code
    assert text in fails(predictions.Predict, request)[1]


def predict(apis, batch, names=None):
    request = apis.predict_pb2.PredictRequest(output_filter=names)
    request.model_spec.name, request.model_spec.signature_name = "sst", "segment"
    for name, value in batch.items():
        request.inputs[name].CopyFrom(tensors.to_proto(value))
    return request


def test_outputs_and_names_of_inputs(stubs, trained):
    apis, predictions, _ = stubs
    batch = next(trained.batches(*trained.episodes(1, seed=7)))
    answer = predictions.Predict(predict(apis, batch, ["mask"]), timeout=60)
    assert set(answer.outputs) == {"mask"}
    assert answer.model_spec.version.value == 2 and answer.model_spec.signature_name == "segment"
    assert "output tensor alias not found in signature: mosk" in fails(
        predictions.Predict, predict(apis, batch, ["mosk"]))[1]
    assert "duplicate output tensor alias: mask" in fails(
        predictions.Predict, predict(apis, batch, ["mask", "mask"]))[1]
    code, text = fails(predictions.Predict, predict(apis, {**batch, "extra": np.zeros(1)}))
    assert code == "INVALID_ARGUMENT" and "Sent extra: {extra}" in text
    floats = {**batch, "query_image": batch["query_image"].astype(np.float32)}
    code, text = fails(predictions.Predict, predict(apis, floats))
    assert code == "INVALID_ARGUMENT" and "uint8" in text and "float" in text


def test_model_metadata(stubs):
    apis, predictions, _ = stubs
    request = apis.get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name, request.model_spec.version_label = "sst", "stable"
    assert "must specify at least one metadata_field" in fails(
        predictions.GetModelMetadata, request)[1]
    request.metadata_field.append("colour")
    assert fails(predictions.GetModelMetadata, request)[0] == "INVALID_ARGUMENT"
    request.metadata_field[:] = ["signature_def"]
    answer = predictions.GetModelMetadata(request, timeout=60)
    assert answer.model_spec.name == "sst" and answer.model_spec.version.value == 1
    signatures = apis.get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert "tune" in signatures.signature_def


def test_model_status(stubs):
    apis, _, models = stubs
    request = apis.get_model_status_pb2.GetModelStatusRequest()
    assert fails(models.GetModelStatus, request) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    request.model_spec.name = "sst"
    states = models.GetModelStatus(request, timeout=60).model_version_status
    assert [(one.version, one.state, one.status.error_code) for one in states] == [
        (2, 30, 0), (1, 30, 0)]
    request.model_spec.version.value = 9
    assert fails(models.GetModelStatus, request) == (
        "NOT_FOUND", "Could not find version 9 of model sst")


def reload(apis, base, versions, labels, name="sst", platform="tensorflow"):
    request = apis.model_management_pb2.ReloadConfigRequest()
    one = request.config.model_config_list.config.add(
        name=name, base_path=str(base), model_platform=platform)
    one.model_version_policy.specific.versions.extend(versions)
    for label, version in labels.items():
        one.version_labels[label] = version
    return request


def test_reloading_moves_labels_and_models(stubs, server, url):
    """The last test: it changes what is served."""
    apis, _, models = stubs
    call = models.HandleReloadConfigRequest
    empty = apis.model_management_pb2.ReloadConfigRequest()
    assert "Only ModelConfigList is currently supported" in fails(call, empty)[1]
    twice = reload(apis, server.base, [1, 2], {"stable": 1})
    twice.config.model_config_list.config.append(twice.config.model_config_list.config[0])
    assert "Illegal to list model sst multiple times" in fails(call, twice)[1]
    assert fails(call, reload(apis, server.base, [1], {}, platform=""))[0] == "INVALID_ARGUMENT"
    code, text = fails(call, reload(apis, server.base, [1, 2], {"stable": 777}))
    assert code == "FAILED_PRECONDITION" and "not currently available for inference" in text
    answer = call(reload(apis, server.base, [1, 2], {"stable": 2, "old": 1}), timeout=60)
    assert answer.status.error_code == 0
    for label, version in (("stable", "2"), ("old", "1")):
        about = requests.get(f"{url}/sst/labels/{label}/metadata").json()
        assert about["model_spec"]["version"] == version
    call(reload(apis, server.base, [2], {"stable": 2}, name="other"), timeout=60)
    assert requests.get(f"{url}/other/metadata").json()["model_spec"]["version"] == "2"
    for _ in range(100):  # a real server lets go of models in its own time
        states = requests.get(f"{url}/sst").json()["model_version_status"]
        if {one["state"] for one in states} == {"END"}:
            break
    assert {one["state"] for one in states} == {"END"}
    assert requests.get(f"{url}/sst/metadata").status_code == 404
