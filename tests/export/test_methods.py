# SPDX-License-Identifier: Apache-2.0
"""Exports of other methods than SST keep the same promises, in TensorFlow and in ONNX."""

import json

import pytest

from export import graphs, onnx_files, promises, saving
from export.trained import Trained
from sst_tf.config import DataConfig
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.model.methods import fwb
from tests.export.conftest import make_run

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("method, steps, numbers, second_look, to_onnx", [
    ("panet", 1, 2 * 16, 0, False),  # a summary of another length, a step without convolutions
    ("sst", 1, 16, 0.3, False),
    # Conversion of an unrolled gradient takes a minute.
    pytest.param("panet", 1, 2 * 16, 0, True, marks=pytest.mark.slow),
    pytest.param("sst", 1, 16, 0.3, True, marks=pytest.mark.slow),
    *(pytest.param(method, 1, numbers, 0, True, marks=pytest.mark.slow)
      for method, numbers in (("sgone", 16), ("canet", 16), ("oslsm", 16 + 1))),
    # A gradient by the summary, no step of the tuner.
    pytest.param("fwb", 0, 3 * 16 + 2, 0, True, marks=pytest.mark.slow)])
def test_an_export_keeps_its_promises(tmp_path, monkeypatch, method, steps, numbers, second_look,
                                      to_onnx):
    monkeypatch.setattr(fwb, "EXPERTS", 2)  # five take minutes to convert
    run = make_run(tmp_path / "run", DataConfig(image_size=65, count=500), method=method,
                   steps=steps, second_look=second_look)
    OperatingPoint(run).keep(2, {"tuned": 60})  # a second look has thresholds of its own
    trained = Trained.load(run.folder, shots=2)
    served, _ = saving.export(trained, tmp_path / "served", warm=False, episodes=2)
    converted = onnx_files.export(trained, tmp_path / "onnx", episodes=2)[0] if to_onnx else None
    case = promises.Case(served, run.folder, episodes=2, onnx=converted)
    assert [case.facts[key] for key in ("method", "summary_size", "second_look")] == [
        method, numbers, second_look]
    found = {row.__name__: result for _, row, result in promises.rows(case)}
    assert set(found) >= {"tuned_first", "tuning_inside", "guards"}
    assert ("onnx_answers" in found) == to_onnx
    assert ("moves by up to" in found["tuning_inside"]) == (steps > 0)
    graph = graphs.read(served)
    # SG-One, PANet, FWB and SST take cosines or norms, the others compare by convolutions alone.
    mark = "Conv2DBackpropInput" if method in ("canet", "oslsm") else "RsqrtGrad"
    assert mark in graphs.gradients(graphs.operations(graph, "tune"))
    tuned = graph.signature_def["tune"].outputs["prototype"]
    assert [d.size for d in tuned.tensor_shape.dim] == [-1, numbers]
    card = (served / "assets" / "MODEL_CARD.md").read_text()
    assert trained.model.head.paper in card
    if converted:
        assert json.loads((converted / "export.json").read_text())["method"] == method
