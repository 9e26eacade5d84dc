# SPDX-License-Identifier: Apache-2.0
"""`sst doctor` tells what is there and what is missing, and how to get it."""

import json
from importlib import metadata

import pytest

from sst_tf import doctor


@pytest.fixture
def without(monkeypatch):
    """Take packages away: without("onnx")."""
    version = metadata.version

    def take(*names):
        def known(name):
            if name in names:
                raise metadata.PackageNotFoundError(name)
            return version(name)
        monkeypatch.setattr(metadata, "version", known)
    return take


def test_it_tells_what_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SST_WEIGHTS", str(tmp_path))
    (tmp_path / "resnet18_own.npz").write_bytes(b"")
    doctor.main(["--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["tensorflow"] == metadata.version("tensorflow")
    assert found["weights"] == {"folder": str(tmp_path), "found": {
        "resnet18": ["resnet18_own.npz"], "resnet50": []}}
    assert "CPU:0" in found["machine"]["devices"] and not found["problems"]
    assert found["free_gigabytes"]["here"] > 0
    doctor.main([])
    text = capsys.readouterr().out
    assert "resnet18: resnet18_own.npz" in text and "resnet50: none; Keras fetches" in text
    assert "PROBLEM" not in text


def test_kept_features_are_told_with_their_room(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "kept features: 0 GB, 0 folders in cache/features\n" in doctor.text_of(doctor.facts())
    for store in ("a", "b"):
        (tmp_path / "cache" / "features" / store).mkdir(parents=True)
    (tmp_path / "cache" / "features" / "a" / "features.npy").write_bytes(b"1" * 60_000_000)
    with open(tmp_path / "cache" / "features" / "b" / "features.npy", "wb") as file:
        file.truncate(10**12)  # sparse, as stores are: takes no room
    assert doctor.kept_features("cache/features") == {
        "folder": "cache/features", "stores": 2, "gigabytes": 0.1}
    assert "2 folders in cache/features; delete any" in doctor.text_of(doctor.facts())


def test_a_missing_package_is_named_with_its_extra(without):
    without("onnxruntime", "pycocotools")
    found = doctor.facts()
    assert found["extras"]["onnx"] == ["onnxruntime is missing"]
    assert "pycocotools is missing" in found["extras"]["coco"]
    assert "onnxruntime is missing" in found["extras"]["dev"]  # which asks for the others
    assert "onnx: onnxruntime is missing; pip install 'sst-tf[onnx]'" in doctor.text_of(found)


def test_a_tensorflow_that_cannot_be_imported_is_told(monkeypatch):
    def broken():
        raise ImportError("no such symbol")
    monkeypatch.setattr(doctor, "devices", broken)
    found = doctor.facts()
    assert found["problems"] == ["tensorflow cannot be imported (no such symbol)"]
    assert "devices: none" in doctor.text_of(found)


def test_another_version_is_a_problem(monkeypatch):
    version = metadata.version
    monkeypatch.setattr(metadata, "version",
                        lambda name: "1.0" if name == "keras" else version(name))
    problem, = doctor.facts()["problems"]
    assert problem.startswith("keras is 1.0, ") and ">=3.15" in problem


def test_free_disk_of_a_folder_that_is_not_there(tmp_path):
    assert doctor.free(tmp_path / "a" / "b") == doctor.free(tmp_path)
