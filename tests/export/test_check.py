# SPDX-License-Identifier: Apache-2.0
"""The check passes a sound export and names what a broken one breaks."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from export import check, graphs, promises, saving
from export.promises import Broken, Case
from pipelines.errors import UserError


@pytest.fixture(scope="module")
def case(run, exported):
    return Case(exported, run.folder, episodes=2)


def test_a_sound_version_passes(run, exported, capsys):
    check.main(["--model", str(exported), "--run_dir", str(run.folder), "--episodes", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("ok") for line in lines) >= 10
    assert any("bad requests refused" in line for line in lines)


def changed(exported, folder, change):
    shutil.copytree(exported, folder / "1")
    model = graphs.saved_model_pb2.SavedModel.FromString(
        (folder / "1" / graphs.FILE).read_bytes())
    change(model.meta_graphs[0])
    (folder / "1" / graphs.FILE).write_bytes(model.SerializeToString())
    return folder / "1"


def test_a_signature_without_the_step_is_broken(run, exported, tmp_path):
    def swap(graph):
        graph.signature_def["tune"].outputs["prototype"].CopyFrom(
            graph.signature_def["segment_tuned"].outputs["probability"])
        graph.signature_def["tune"].outputs["score"].CopyFrom(
            graph.signature_def["segment_tuned"].outputs["mask"])
    folder = changed(exported, tmp_path, swap)
    with pytest.raises(Broken, match="no gradient operation"):
        list(promises.rows(Case(folder, run.folder, 1)))


def test_what_cannot_be_checked_is_said_before_the_work(run, exported, tmp_path):
    def case(folder=exported, **options):
        return Case(folder, run.folder, 1, **options)

    with pytest.raises(UserError, match="--onnx is a version's folder"):
        case(onnx=tmp_path / "missing")
    shutil.copytree(exported / "assets", tmp_path / "1" / "assets")
    path = tmp_path / "1" / "assets" / "export.json"
    facts = json.loads(path.read_text())
    (tmp_path / "export.json").write_text(json.dumps(facts | {"shots": 9}))
    with pytest.raises(UserError, match="shots is 9"):
        case(onnx=tmp_path)
    (tmp_path / "export.json").write_text(json.dumps(facts | {"threshold": 0.1}))
    with pytest.raises(UserError, match="threshold is 0.1"):
        case(onnx=tmp_path)
    (tmp_path / "export.json").write_text(json.dumps(facts))
    (tmp_path / "segment.onnx").write_bytes(b"half")
    with pytest.raises(UserError, match=r"segment.onnx: not loaded by onnxruntime .*export again"):
        case(onnx=tmp_path)
    whole = path.read_text()
    for content in (whole[:40], "[1]", "{}", json.dumps(facts | {"encoder": "int4"})):
        path.write_text(content)
        with pytest.raises(UserError, match="damaged; export again"):
            case(tmp_path / "1")


def test_half_precision_outputs_are_broken(run, exported, tmp_path, capsys):
    def halve(graph):
        graph.signature_def["segment"].outputs["probability"].dtype = 19
    folder = changed(exported, tmp_path, halve)
    with pytest.raises(SystemExit) as caught:
        check.main(["--model", str(folder), "--run_dir", str(run.folder), "--episodes", "1"])
    assert caught.value.code == 1
    assert "BROKEN  output types: segment: probability" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_damaged_file_is_one_line(run, exported, tmp_path, capsys, content):
    shutil.copytree(exported, tmp_path / "1")
    path = tmp_path / "1" / graphs.FILE
    path.write_bytes(content) if content is not None else path.unlink()
    with pytest.raises(SystemExit) as caught:
        check.main(["--model", str(path.parent), "--run_dir", str(run.folder), "--episodes", "1"])
    told = capsys.readouterr().err.splitlines()[-1]
    assert caught.value.code == 2
    assert told.startswith(f"error: {path}: ") and told.endswith("export again")


@pytest.mark.parametrize("change, reason", [
    (lambda right: right | {"probability": right["probability"] * np.nan}, "differs by nan"),
    (lambda right: right | {"mask": 1 - right["mask"]}, "masks differ"),
    (lambda right: right | {"index": right["mask"] * 7}, "segment_many: index: not the most"),
    (lambda right: right, None)])
@pytest.mark.parametrize("encoder", ["float32", "int8"])
def test_onnx_files_that_answer_otherwise_are_broken(case, encoder, change, reason):
    class Files:
        def run(self, signature, inputs):
            if signature == "tune":
                rows = len(inputs["support_mask"])
                return {"prototype": np.zeros((rows, 16), "f"),
                        "score": case.expected[0]["support_iou"].ravel()}
            answer = change(case.expected[0])
            if signature == "segment_many":
                return {"probability": answer["probability"][:, None],
                        "index": answer.get("index", answer["mask"])}
            return answer

    asked = SimpleNamespace(batches=case.batches[:1], expected=case.expected[:1],
                            onnx_model=Files(),
                            onnx_facts={"encoder": encoder, "threshold": case.facts["threshold"]})
    if reason:
        with pytest.raises(Broken, match=reason):
            promises.onnx_answers(asked)
    else:
        promises.onnx_answers(asked)


def test_other_weights_are_broken(case):
    """A server that answers something else, by a little."""
    def other(signature, inputs):
        right = case.expected[0]
        return {"probability": right["probability"] + 1e-3, "mask": right["mask"],
                "support_iou": right["support_iou"]}
    with pytest.raises(Broken, match="differs by"):
        promises.whole_episode(case, other)


@pytest.mark.parametrize("signature, output, check, reason", [
    ("segment", "support_iou", "whole_episode", "support_iou differs"),
    ("segment_tuned", "mask", "tuned_first", "masks differ"),
    ("tune", "score", "tuned_first", "support_iou differs"),
    ("segment_many", "index", "several_classes", "index: not the most probable class"),
    ("segment_bytes", "support_iou", "encoded_photos", "support_iou differs"),
    ("self_segment", "gradient", "own_segmentation", "gradient: differs")])
def test_no_output_may_be_another(case, signature, output, check, reason):
    right = saving._signatures(case.folder)

    def other(name, inputs):
        answer = right(name, inputs)
        return answer | {output: answer[output] * 0 + 0.9} if name == signature else answer

    assert getattr(promises, check)(case, right)
    with pytest.raises(Broken, match=reason):
        getattr(promises, check)(case, other)


def test_a_batch_that_mixes_is_broken(case):
    def mean(signature, inputs):
        rows = len(inputs["query_image"])
        value = inputs["query_image"].mean() / 255 if rows > 1 else 0.0
        return {"probability": np.full(inputs["query_image"].shape[:3], value)}
    with pytest.raises(Broken, match="row 0"):
        promises.batching(case, mean)


def test_an_answer_to_a_bad_request_is_broken(case):
    def careless(signature, inputs):
        if signature == "tune":
            return {"prototype": np.zeros((1, 16), "f"), "score": np.zeros(1, "f")}
        return {}
    with pytest.raises(Broken, match="was answered"):
        promises.guards(case, careless)


def test_the_wrong_run_is_an_error(exported, run, tmp_path):
    shutil.copytree(exported, tmp_path / "1")
    path = tmp_path / "1" / "assets" / "export.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "model_sha256": "0"}))
    with pytest.raises(UserError, match="not the model that"):
        Case(tmp_path / "1", run.folder)
    with pytest.raises(UserError, match="--model is a version's folder"):
        Case(tmp_path, run.folder)
