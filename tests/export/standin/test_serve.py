# SPDX-License-Identifier: Apache-2.0
"""The stand-in server and the client: answers, errors, labels, hot swap without a lost request."""

import functools
import http.server
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import requests
from PIL import Image

from export import client, replay, saving, serve, server_process, versions, walkthrough
from export.client import GrpcClient, RequestFailed, RestClient
from export.standin import grpc_api, models_config, repository, tensors
from export.standin.runtime import SavedModel
from pipelines.errors import UserError
from tests.export.standin.real_clients import same

LEAST = 5  # answers that each protocol must get of each version in a swap


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    base = tmp_path_factory.mktemp("served")
    shutil.copytree(exported, base / "1")
    with server_process.serving(base) as address:
        address.base = base
        yield address
    assert address.process.returncode == 0, "".join(address.lines)


@pytest.fixture(params=[GrpcClient, RestClient])
def caller(request, server):
    port = server.grpc_port if request.param is GrpcClient else server.rest_port
    one = request.param(f"{server.host}:{port}")
    yield one
    one.close()


@pytest.fixture(scope="module")
def batch(trained):
    return next(trained.batches(*trained.episodes(2, seed=7), batch=2))


def test_arrays_get_keras_answers(trained, caller, batch):
    due = replay.expected(trained, batch)
    for answer in (caller.run("segment", batch), replay.tuned_first(caller.run, batch),
                   caller.run("", batch)):  # without a name it is the default signature
        assert replay.largest_difference(answer, due)["probability"] < 1e-5
        assert answer["mask"].dtype == np.int32


def test_version_0_is_a_version(server, batch):
    for kind, port in ((GrpcClient, server.grpc_port), (RestClient, server.rest_port)):
        with pytest.raises(RequestFailed, match=r"Specific\(sst, 0\)"):
            kind(f"{server.host}:{port}", version=0).run("segment", batch)


def test_files_get_masks_and_overlays(trained, caller, tmp_path):
    episodes, source = trained.episodes(1, seed=3)
    supports, query = walkthrough.write_photos(tmp_path, source, episodes[0])
    mask, iou = client.segment(caller, supports, query)
    due = replay.expected_mask(trained, source, episodes[0])
    assert np.mean(mask != due) < 1e-3 and len(iou) == 2
    path = client.save_answer(tmp_path / "answers", query, mask)
    shown = cv2.imread(str(path))
    assert shown.shape[:2] == due.shape
    kept = cv2.imread(str(tmp_path / "answers" / "query_mask.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(kept, mask)


def test_a_turned_photo_gets_its_overlay_upright(tmp_path):
    photo, exif = Image.new("RGB", (60, 40), (200, 10, 10)), Image.Exif()
    exif[0x0112] = 6  # a quarter turn, as phones write it
    photo.save(tmp_path / "turned.jpg", exif=exif)
    mask = np.zeros((60, 40), np.uint8)  # of the upright photo
    mask[:20] = 255
    shown = cv2.imread(str(client.save_answer(tmp_path, tmp_path / "turned.jpg", mask)))
    assert shown.shape == (60, 40, 3)
    assert shown[5, 5, 1] > shown[50, 5, 1]  # the green lies on what is marked


def test_two_photos_of_one_name_are_refused(capsys):
    with pytest.raises(SystemExit):
        client.main(["--support", "a.jpg=a.png", "--query", "x/1.jpg", "y/1.jpg"])
    assert "two photos are called 1" in capsys.readouterr().err


@pytest.mark.parametrize("change, reason, codes", [
    (lambda b: {**b, "query_image": b["query_image"][0]}, "not compatible",
     ("INVALID_ARGUMENT", 400)),
    (lambda b: {**b, "support_mask": b["support_mask"] * 0}, "support_mask",
     ("INVALID_ARGUMENT", 400)),
    (lambda b: {"query_image": b["query_image"]}, "does not match signature|Missing named input",
     ("INVALID_ARGUMENT", 400))])
def test_a_refusal_names_the_reason(caller, batch, change, reason, codes):
    with pytest.raises(RequestFailed, match=reason) as caught:
        caller.run("segment", change(batch))
    assert caught.value.code in codes


def test_an_unknown_signature(caller, batch):
    with pytest.raises(RequestFailed, match="not found") as caught:
        caller.run("paint", batch)
    assert caught.value.code in ("FAILED_PRECONDITION", 400)


def test_no_server_is_one_line():
    with pytest.raises(RequestFailed, match="UNAVAILABLE"):
        GrpcClient("localhost:1", timeout=2).run("tune", {})
    with pytest.raises(RequestFailed, match="nothing"):
        RestClient("localhost:1", timeout=2).run("tune", {})


@pytest.mark.parametrize("body", [b"<html>\n\nhello</html>", b"{}", b"[1]"])
def test_an_answer_of_another_kind_of_server_is_one_line(body):
    class Other(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            with pytest.raises(RequestFailed, match="200: no model server's answer from") as caught:
                RestClient(f"127.0.0.1:{other.server_port}").run("tune", {})
        finally:
            other.shutdown()
            thread.join()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def second(trained, exported, once):
    """Folder of a version that is known by its masks."""
    folder = once("second", lambda folder: saving.save(
        replace(trained, threshold=trained.threshold - 30), folder))
    shutil.copytree(exported / "assets.extra", folder / "assets.extra", dirs_exist_ok=True)
    return folder


def test_a_swap_under_load_loses_no_request(server, exported, second, batch):
    """Version 2 appears, then version 1 goes, while four clients ask without a pause."""
    small = {name: value[:1] for name, value in batch.items()}
    due = {version: SavedModel(folder).run("segment", small)
           for version, folder in ((1, exported), (2, second))}
    assert not same(due[1], due[2])
    ports = {GrpcClient: server.grpc_port, RestClient: server.rest_port}
    stop, failures, answers = threading.Event(), [], []

    def ask(kind):
        try:
            one = kind(f"{server.host}:{ports[kind]}")
            while not stop.is_set():
                answer = one.run("segment", small)
                answers.append((kind, next((v for v in due if same(answer, due[v])), "neither")))
        except Exception as error:  # of any kind: a thread that dies asks nothing more
            failures.append(error)

    def until(done):
        deadline = time.monotonic() + 300  # on a machine that is busy with more
        while not failures and time.monotonic() < deadline:
            if done():
                return True
            time.sleep(0.05)
        return False

    def answered(version, since=0):
        found = Counter(answers[since:])
        return all(found[kind, version] >= LEAST for kind in ports)

    def available():
        url = f"http://{server.host}:{server.rest_port}/v1/models/sst"
        return {s["version"] for s in requests.get(url).json()["model_version_status"]
                if s["state"] == "AVAILABLE"}

    threads = [threading.Thread(target=ask, args=[kind]) for kind in [*ports] * 2]
    for thread in threads:
        thread.start()
    try:
        before = until(lambda: answered(1))
        # As an export does: filled, then renamed.
        shutil.copytree(second, server.base / "partial")
        os.rename(server.base / "partial", server.base / "2")
        swapped = until(lambda: available() == {"2"})
        shutil.rmtree(server.base / "1")
        gone = len(answers)
        after = until(lambda: answered(2, gone))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures and before and swapped and after, (failures, Counter(answers))
    assert set(answers) == {(kind, version) for kind in ports for version in due}
    assert any("version 1 unloaded" in line for line in server.lines)


def test_a_damaged_version_leaves_the_old_one(server, batch):
    (server.base / "77").mkdir()
    (server.base / "77" / "saved_model.pb").write_bytes(b"no model")
    url = f"http://{server.host}:{server.rest_port}/v1/models/sst"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        states = {s["version"]: s["state"]
                  for s in requests.get(url).json()["model_version_status"]}
        if "77" in states:
            break
        time.sleep(0.1)
    assert states.pop("77") == "END" and "AVAILABLE" in states.values()
    GrpcClient(f"{server.host}:{server.grpc_port}").run("segment", batch)
    shutil.rmtree(server.base / "77")


def test_labels_and_specific_versions(exported, tmp_path):
    for version in ("3", "4", "5"):
        os.symlink(exported, tmp_path / version)
    config = tmp_path / "models.config"
    config.write_text(f"""model_config_list {{ config {{ name: "sst" base_path: "{tmp_path}"
        model_platform: "tensorflow"
        model_version_policy {{ specific {{ versions: 3 versions: 4 }} }}
        version_labels {{ key: "stable" value: 3 }} }} }}""")
    models = repository.Repository(models_config.read_config(config), log=lambda line: None)
    models.refresh()
    models.label()
    assert [v for v, *_ in models.status("sst")] == [4, 3]
    assert models.model("sst", label="stable")[0] == 3 and models.model("sst")[0] == 4
    with pytest.raises(repository.RequestError, match="Unrecognized servable version label"):
        models.model("sst", label="canary")
    # No other version takes the place of one that is asked for and missing.
    pinned = models_config.ModelConfig(str(tmp_path), specific=[7])
    models = repository.Repository({"sst": pinned}, log=lambda line: None)
    models.refresh()
    with pytest.raises(repository.RequestError, match="Could not find any versions"):
        models.status("sst")


def test_a_version_is_read_from_the_folder_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(repository, "SavedModel", str)
    (tmp_path / "00000002").mkdir()
    models = repository.Repository({"sst": models_config.ModelConfig(str(tmp_path))})
    models.refresh()
    assert models.model("sst") == (2, str(tmp_path / "00000002"))


def test_a_port_that_is_taken_is_an_error(server, exported, capsys):
    words = ["--model_base_path", str(exported.parent), "--rest_api_port", "0"]
    with pytest.raises(SystemExit):
        serve.main([*words, "--port", str(server.grpc_port)])
    assert str(server.grpc_port) in capsys.readouterr().err
    with pytest.raises(SystemExit):
        serve.main([*words, "--port", "70000"])
    assert "65535" in capsys.readouterr().err


def test_nothing_is_looked_for_again_after_0_seconds(tmp_path, monkeypatch):
    models, looks = repository.Repository({}), []
    monkeypatch.setattr(models, "refresh", lambda: looks.append(1))
    models.watch(0)
    time.sleep(0.2)
    assert not looks
    (tmp_path / "²").mkdir()
    assert versions.numbers(tmp_path) == []


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(exported, batch, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.chdir(exported.parents[1])  # nor does a relative path stay one
    with server_process.serving(exported.parent.name, seconds=60) as there:
        for kind, port in ((GrpcClient, there.grpc_port), (RestClient, there.rest_port)):
            one = kind(f"127.0.0.1:{port}")
            assert one.run("segment", batch)["mask"].shape == (2, 65, 65)
            one.close()


def test_a_user_s_file_of_the_package_s_name_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "export.py").write_text("raise SystemExit('the user\'s own file')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no numbered version"), server_process.serving(tmp_path):
        pass


def test_the_server_is_found_where_the_package_is_not_installed(tmp_path):
    """What is installed for development is found by a .pth file, which PYTHONPATH has read none."""
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(np.__path__[0])}
    done = subprocess.run([sys.executable, "-S", "-P", "-c", server_process.START, "--help"],
                          cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: sst serve" in done.stdout, done.stderr


def test_a_folder_without_versions_is_an_error(tmp_path):
    done = subprocess.run([sys.executable, "-m", "export.serve", "--model_base_path",
                           str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and "no numbered version" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_version_that_cannot_be_loaded_is_an_error(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no model")
    done = subprocess.run(
        [sys.executable, "-m", "export.serve", "--model_base_path", str(tmp_path), "--port", "0",
         "--rest_api_port", "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    told = done.stderr.splitlines()[-1]
    assert told.startswith(f"error: {tmp_path}: version 1 cannot be loaded: ")
    assert told.endswith("; export it again")


def test_no_time_for_a_request_is_refused(capsys):
    with pytest.raises(SystemExit):
        serve.main(["--model_base_path", "models", "--rest_api_timeout_in_ms", "0"])
    assert "rest_api_timeout_in_ms" in capsys.readouterr().err


def test_neither_server_nor_client_start_tensorflow():
    code = ("import sys, export.client, export.serve, export.standin.rest_api; "
            "from sst_tf.reporting import drawing; export.client.protos.serving(); "
            "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("array", [
    np.arange(6, dtype=np.uint8).reshape(2, 3), np.float32(2.5), np.zeros((0, 3), np.int32),
    np.array([[b"a", b""]], object), np.array([True, False]), np.array([2**40])])
def test_tensors_survive_messages(array):
    back = tensors.from_proto(tensors.to_proto(array))
    assert back.shape == np.shape(array) and (back == array).all()
    import tensorflow as tf
    assert (tf.make_ndarray(tensors.to_proto(array)) == array).all()
    due = tf.make_tensor_proto(array)
    assert (tensors.from_proto(due) == array).all()


@pytest.mark.parametrize("change", [
    {"tensor_content": b"12345"}, {"dtype": 99}, {"dtype": 0}, {"int_val": [300]},
    {"int_val": range(9)}])
def test_broken_messages_are_malformed(change):
    proto = tensors.to_proto(np.zeros((2, 2), np.uint8))
    proto.ClearField("tensor_content")
    for name, value in change.items():
        if name == "int_val":
            proto.int_val.extend(value)
        else:
            setattr(proto, name, value)
    with pytest.raises(tensors.Malformed):
        tensors.from_proto(proto)
    proto = tensors.to_proto(np.zeros((2, 2), np.uint8))
    proto.ClearField("tensor_content")
    proto.tensor_shape.dim[0].size = 2**40
    with pytest.raises(tensors.Malformed, match="larger"):
        tensors.from_proto(proto)


def strings(shape, *values):
    proto = tensors.to_proto(np.array(values, object))
    proto.tensor_shape.ClearField("dim")
    for length in shape:
        proto.tensor_shape.dim.add().size = length
    return proto


@pytest.mark.parametrize("shape, values, reason", [
    ([2**23], [], "0 strings for shape"), ([2**23], [b"a"], "1 strings for shape"),
    ([2**16], [b"a" * 2**15], "larger"), ([2**62] * 65, [b"a"], "no tensor has the shape")])
def test_strings_that_nobody_sent_are_malformed(shape, values, reason):
    with pytest.raises(tensors.Malformed, match=reason):
        tensors.from_proto(strings(shape, *values))


def test_a_few_strings_may_repeat_the_last():
    assert tensors.from_proto(strings([2, 2], b"a", b"b")).tolist() == [[b"a", b"b"], [b"b", b"b"]]
    many = [b""] * (tensors.MAX_REPEATED + 9)
    assert tensors.from_proto(strings([len(many)], *many)).shape == (len(many),)


@pytest.mark.parametrize("shape", [[1] * 65, [2**62, 2**62, 0]])
def test_shapes_that_numpy_has_not_are_malformed(shape):
    proto = tensors.to_proto(np.zeros(math.prod(shape), np.uint8))
    proto.tensor_shape.ClearField("dim")
    for length in shape:
        proto.tensor_shape.dim.add().size = length
    with pytest.raises(tensors.Malformed, match="no tensor has the shape"):
        tensors.from_proto(proto)
    with pytest.raises(tensors.Malformed, match="no tensor has the shape"):
        tensors.from_json(functools.reduce(lambda inside, _: [inside], range(70), "a"), 7)


@pytest.mark.parametrize("text, number", [
    ("[[1, 2], [3]]", 4), ("[300]", 4), ("[-1]", 4), ("[1.5]", 4), ('["a"]', 4), ("[true]", 4),
    ("{}", 4), ("null", 4), ("[1e400]", 3), ('[{"b64": "%%"}]', 7), ('[["a"], "b"]', 7),
    ("[1]", 7), ('[{"b64": 3}]', 7)])
def test_broken_json_is_malformed(text, number):
    with pytest.raises(tensors.Malformed):
        tensors.from_json(json.loads(text), number)


def test_a_command_line_without_a_mask_teaches(capsys):
    with pytest.raises(SystemExit):
        client.main(["--support", "a.jpg", "--query", "b.jpg"])
    assert "PHOTO=MASK" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"nowhere.jpg: No such file"):
        client.segment(None, [("nowhere.jpg", "m.png")], "q.jpg")


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_refusal_names_the_query_s_file_in_one_line(server, tmp_path, capsys, protocol):
    (tmp_path / "query.jpg").write_text("no photo")
    told = refused(server, tmp_path, capsys, protocol, shots=2)
    assert told.startswith(f"error: {tmp_path / 'query.jpg'}: the server answered ")
    assert "neither JPEG nor PNG" in told and told.count("\n") == 1 and "[[{{" not in told


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_another_number_of_marked_photos_than_the_model_s(server, tmp_path, capsys, protocol):
    cv2.imwrite(str(tmp_path / "query.jpg"), np.full((20, 30), 255, np.uint8))
    assert refused(server, tmp_path, capsys, protocol, shots=3).startswith(
        "error: --support: 3 marked photos given, the model takes 2; ")


def refused(server, folder, capsys, protocol, shots):
    """What the command says of a request that the server refuses."""
    for name in ("photo.png", "mask.png"):
        cv2.imwrite(str(folder / name), np.full((20, 30), 255, np.uint8))
    with pytest.raises(SystemExit):
        client.main([
            "--port", str(server.grpc_port), "--rest_api_port", str(server.rest_port),
            "--protocol", protocol, "--support",
            *[f"{folder / 'photo.png'}={folder / 'mask.png'}"] * shots, "--query",
            str(folder / "query.jpg"), "--output", str(folder / "out")])
    return capsys.readouterr().err


def test_no_request_is_no_measurement(capsys):
    with pytest.raises(SystemExit):
        client.main(["--support", "a.jpg=a.png", "--query", "b.jpg", "--repeats", "0"])
    assert "--repeats" in capsys.readouterr().err


def test_the_limit_on_messages_is_one(server):
    assert client.MAX_MESSAGE == grpc_api.MAX_MESSAGE
