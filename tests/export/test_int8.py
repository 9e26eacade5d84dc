# SPDX-License-Identifier: Apache-2.0
"""An encoder in 8 bits: what is quantised, that all files agree, and what is refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from export import int8, model_card, onnx_files, onnx_graph, promises, replay, saving
from pipelines.errors import DataError, UserError

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def narrow(trained, convert_again, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_graph, "convert", convert_again)
        patch.setattr(int8, "PHOTOS", 8)
        patch.setattr(int8, "has_vnni", lambda: False)  # a small network gains nothing
        patch.setattr(int8, "MOST_LOST", 0.05)
        return onnx_files.export(trained, tmp_path_factory.mktemp("narrow"), episodes=1,
                                 trials=int8.Trials(trained, 20))[0]


def operations(folder, name):
    return onnx.load(folder / f"{name}.onnx").graph.node


@pytest.mark.parametrize("name", onnx_files.NAMES)
def test_the_encoder_alone_has_8_bits(converted, narrow, name):
    before, after = operations(converted, name), operations(narrow, name)
    made = {output: node for node in after for output in node.output}
    convolutions = [node for node in after if node.op_type == "Conv"]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in before)
    eight = {node.name for node in convolutions
             if made.get(node.input[1]) is not None
             and made[node.input[1]].op_type == "DequantizeLinear"}
    inside = {node.name for node in convolutions if "/small_" in node.name
              or "/embedding_" in node.name}
    assert eight == inside and 0 < len(inside) < len(convolutions)
    for node in after:  # the step's and the normalisations' own operations take float32
        if node.op_type in ("ConvTranspose", "Sqrt", "ReduceMean", "Sigmoid"):
            assert not any(one in made and made[one].op_type == "DequantizeLinear"
                           for one in node.input[1:])
    size = (narrow / f"{name}.onnx").stat().st_size
    assert size < (converted / f"{name}.onnx").stat().st_size


def test_all_files_have_the_same_ranges(trained, narrow, converted):
    """Tuning first and asking later gives what one call gives, which is not what float32 gives."""
    model = onnx_files.OnnxModel(narrow)
    for batch in trained.batches(*trained.episodes(3, seed=5)):
        whole = model.run("segment", batch)
        for answer in (replay.tuned_first(model.run, batch),
                       replay.own_class(replay.all_classes(model.run, batch), 0.6)):
            assert replay.largest_difference(answer, whole)["probability"] < 1e-4
        other = onnx_files.OnnxModel(converted).run("segment", batch)
        assert 1e-3 < replay.largest_difference(other, whole)["probability"]
        assert np.abs(other["probability"] - whole["probability"]).mean() < 0.05


def test_what_8_bits_change_is_told(narrow):
    facts = json.loads((narrow / model_card.SETTINGS).read_text())
    found = facts["int8"]
    low, high = found["interval"]
    assert facts["largest_difference_from_keras_before_8_bits"] < 1e-4
    assert "largest_difference_from_keras" not in facts
    assert facts["encoder"] == "int8" and found["episodes"] == 20 and found["calibrated_on"] == 8
    assert found["lost"] == pytest.approx(found["float32"] - found["int8"])
    assert low - 1e-9 <= -found["lost"] <= high + 1e-9 and found["rate"] > 0
    assert found["megabytes"] < found["megabytes_float32"]
    card = (narrow / "MODEL_CARD.md").read_text()
    assert "Encoder type int8" in card and "In 20 episodes of base classes" in card
    metadata = {one.key: one.value
                for one in onnx.load(narrow / "tune.onnx").metadata_props}
    assert json.loads(metadata["sst"])["encoder"] == "int8"


def test_the_check_looks_at_masks(trained, narrow, monkeypatch):
    batches = list(trained.batches(*trained.episodes(2, seed=3)))
    case = SimpleNamespace(batches=batches, onnx_model=onnx_files.OnnxModel(narrow),
                           onnx_facts={"encoder": "int8", "threshold": 0.6},
                           expected=[replay.expected(trained, batch) for batch in batches])
    assert promises.onnx_answers(case).endswith("% of pixels")
    monkeypatch.setattr(saving, "OTHER_MASKS", -1.0)
    with pytest.raises(promises.Broken, match="masks differ"):
        promises.onnx_answers(case)


FOUND = int8.Compared(0.5, 0.498, [-0.004, 0.001], [140.0, 100.0], 1.4, 1000, "voc")


def test_a_loss_and_a_slow_file_are_refused():
    int8.refuse(FOUND, vnni=False)
    with pytest.raises(UserError, match=r"loses 0.0060 of mIoU in 1000 episodes of voc"):
        int8.refuse(FOUND._replace(int8=0.494), vnni=False)
    with pytest.raises(UserError, match=r"1.40 times as fast .* processor with VNNI"):
        int8.refuse(FOUND, vnni=True)
    int8.refuse(FOUND._replace(rate=1.7), vnni=True)


def test_what_is_refused_leaves_no_file(trained, kept_graphs, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "PHOTOS", 2)
    monkeypatch.setattr(int8, "MOST_LOST", -1.0)
    with pytest.raises(UserError, match="loses"):
        onnx_files.export(trained, tmp_path / "models", episodes=1,
                          trials=int8.Trials(trained, 2))
    assert not list((tmp_path / "models").iterdir())


def test_photos_are_needed(trained, tmp_path):
    data = replace(trained.config.data, dataset="voc", root=str(tmp_path / "gone"))
    away = replace(trained, config=replace(trained.config, data=data))
    with pytest.raises(DataError, match="gone"):
        int8.Trials(away, 2)
