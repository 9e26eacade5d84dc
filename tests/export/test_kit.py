# SPDX-License-Identifier: Apache-2.0
"""The serving kit's files: what a server's parser takes, and flags that go together."""

import re
import time
from pathlib import Path

import pytest
import yaml

import export
from export import bench, load, serving_cost
from export.standin import models_config
from export.trained import Trained
from sst_tf.model import backbones

KIT = Path(export.__file__).parent / "serving"


def flags(text):
    return set(re.findall(r"--([a-z_]+)", text))


def test_models_config_is_read_by_the_server_s_own_message():
    models = models_config.read_config(KIT / "models.config")
    assert models["sst"].base_path == "/models/sst" and models["sst"].latest == 2
    assert models["sst"].labels == {"stable": 1}


def test_monitoring_is_where_the_manifest_says():
    path = re.search(r'path: "(.+)"', (KIT / "monitoring.config").read_text())[1]
    deployment = next(yaml.safe_load_all((KIT / "kubernetes.yaml").read_text()))
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == path


def test_compose_mounts_what_its_flags_name():
    services = yaml.safe_load((KIT / "compose.yaml").read_text())["services"]
    assert set(services) == {"cpu", "gpu"}
    for name, service in services.items():
        assert service["profiles"] == [name]
        for file in re.findall(r"/config/(\S+)", service["command"]):
            assert (KIT / file).is_file()
        assert any(volume.endswith(":/config:ro") for volume in service["volumes"])
    assert "enable_batching" in flags(services["gpu"]["command"])
    assert services["gpu"]["image"] == services["cpu"]["image"] + "-gpu"


def test_the_manifest_is_whole():
    deployment, service = yaml.safe_load_all((KIT / "kubernetes.yaml").read_text())
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models/sst"
    names = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == names
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert {v["name"] for v in deployment["spec"]["template"]["spec"]["volumes"]} == mounts
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("backbone, due", [("resnet50", (155.5, 89.4, 66.2))])
def test_floors_are_the_layers_own(backbone, due):
    """Against the figures counted by hand from the default layers."""
    from sst_tf.model.segmenter import SSTSegmenter
    model = SSTSegmenter(
        model={"backbone": backbone, "channels": 256, "dropout": 0.0, "train_backbone": False,
               "comparator": "concatenate"}, tuner={}, loss={"auxiliary": 1.0, "balanced": False})
    found = serving_cost.floors(model, 321)
    assert [round(found[name] / 1e9, 1)
            for name in serving_cost.SIGNATURES] == pytest.approx(due, abs=0.2)
    assert backbones.CHANNELS[backbone] == 1536


@pytest.mark.slow
def test_the_bench_runs(capsys):
    bench.main(["--backbone", "small", "--image_size", "33", "--batches", "1", "2", "--rounds",
                "1", "--requests", "4", "--clients", "2", "--variants", "onnx"])
    lines = capsys.readouterr().out.splitlines()
    assert sum(" batch " in line for line in lines) == 12
    rows = [line.split() for line in lines if line.startswith("stand-in")]
    assert [row[:-5] for row in rows] == [["stand-in"], ["stand-in,", "batching"]]
    for row in rows:
        clients, rate, p50, p95, p99 = map(float, row[-5:])
        assert clients == 2 and rate > 0 and 0 < p50 <= p95 <= p99


@pytest.mark.parametrize("option", ["image_size", "rounds", "batches", "classes", "requests",
                                    "clients"])
def test_counts_of_nothing_are_no_measurement(option, capsys, monkeypatch):
    monkeypatch.setattr(serving_cost, "measure", lambda folder, options: None)
    with pytest.raises(SystemExit):
        bench.main([f"--{option}", "0"])
    assert option in capsys.readouterr().err


def test_a_lost_request_ends_the_rate():
    def call():
        raise ConnectionError("gone")
    with pytest.raises(ConnectionError):
        load.latencies([call] * 2, 4)


def test_every_request_is_counted_once():
    asked = []
    seconds, rate = load.latencies([lambda: asked.append(time.sleep(0.01))] * 3, 20)
    assert len(seconds) == len(asked) == 20 and min(seconds) >= 0.01
    assert 100 < rate <= 300


def test_random_weights_are_made_once(tmp_path):
    first = serving_cost.untrained(tmp_path / "run", "small", 33)
    again = serving_cost.untrained(tmp_path / "run", "small", 33, "bfloat16")
    assert isinstance(again, Trained)
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        assert (one == other).all()


def test_the_table_of_the_server_s_answers_names_tests_that_exist():
    page = (Path(export.__file__).parents[1] / "docs" / "serving.md").read_text(encoding="utf-8")
    table = page[page.index("| behaviour |"):page.index("Not covered:")]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 15
    for row in rows:
        found = re.findall(r"`(?:(test_\w+\.py)::)?(test_\w+)`", row.split("|")[-2])
        assert found, row
        for file, name in found:
            source = Path(__file__).parent / "standin" / (file or "test_api.py")
            assert f"def {name}(" in source.read_text(encoding="utf-8"), row
    from tests.export.standin import test_api
    requests = test_api.test_a_refusal_is_the_server_s.pytestmark[0].args[1]
    assert f"refusals of REST: {len(requests)} recorded requests" in table
