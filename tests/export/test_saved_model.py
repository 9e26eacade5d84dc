# SPDX-License-Identifier: Apache-2.0
"""SavedModels: equal to the Keras model, alive after bad requests, complete or not there."""

import dataclasses
import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf

from export import graph_decoding, graphs, replay, saved_model, saving, warmup
from export.standin.runtime import RuntimeFailure, SavedModel
from export.trained import Trained
from pipelines.errors import DataError, UserError
from pipelines.reading.photos import read_photo
from sst_tf.config import DataConfig
from sst_tf.runs.directory import Run
from tests.export.conftest import make_run


@pytest.fixture(scope="module")
def served(exported):
    return SavedModel(exported)


@pytest.fixture(scope="module")
def batch(trained):
    episodes, source = trained.episodes(3, seed=7)  # the export compared others
    return next(trained.batches(episodes, source, batch=3))


def test_a_version_is_complete(exported):
    assert exported.name == "1"
    assets = {p.name for p in (exported / "assets").iterdir()}
    assert assets == {"MODEL_CARD.md", "config.yaml", "classes.txt", "LICENCE_NOTE.txt",
                      "export.json"}
    facts = json.loads((exported / "assets" / "export.json").read_text())
    assert facts["threshold"] == 0.6 and facts["shots"] == 2
    assert [p.name for p in exported.parent.iterdir()] == ["1"]


def test_warm_up_requests_are_answered(exported, served):
    from export.standin import protos
    logs = protos.serving().prediction_log_pb2
    records = list(tf.data.TFRecordDataset(str(exported / "assets.extra" / warmup.FILE)))
    requests = [logs.PredictionLog.FromString(r.numpy()).predict_log.request for r in records]
    assert {r.model_spec.signature_name for r in requests} == set(saving.TUNING) | {
        "serving_default", "segment_tuned", "segment_many"}
    for request in requests:
        served.run(request.model_spec.signature_name,
                   {name: tf.make_ndarray(value) for name, value in request.inputs.items()})


def test_the_c_runtime_gives_keras_answers(trained, served, batch):
    answer, expected = served.run("segment", batch), replay.expected(trained, batch)
    assert replay.largest_difference(answer, expected)["probability"] < 1e-5
    np.testing.assert_allclose(answer["support_iou"], expected["support_iou"], atol=1e-5)
    assert answer["mask"].dtype == np.int32
    assert np.mean(answer["mask"] != expected["mask"]) < 1e-3
    assert answer["probability"].std() > 0.01


def test_teaching_first_gives_the_same(served, batch):
    answer, expected = replay.tuned_first(served.run, batch), served.run("segment", batch)
    assert replay.largest_difference(answer, expected)["probability"] < 1e-5


def test_each_episode_is_answered_on_its_own(served, batch):
    """A server joins requests along dimension 0 and pads them with copies."""
    whole = served.run("segment", batch)
    for i in range(3):
        alone = served.run("segment", {name: value[i:i + 1] for name, value in batch.items()})
        assert all(np.allclose(alone[k][0], whole[k][i], atol=1e-5) for k in
                   ("probability", "support_iou"))


def test_bytes_give_python_masks(trained, served):
    episodes, source = trained.episodes(2, seed=9)
    for episode in episodes:
        data = served.run("segment_bytes", replay.encoded(source, episode))["mask_bytes"][0]
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        expected = replay.expected_mask(trained, source, episode)
        assert mask.shape == expected.shape and np.mean(mask != expected) < 1e-3


def test_self_segment_shows_the_step(served, batch):
    one = {name: batch[name][:, 0] for name in ("support_image", "support_mask")}
    answer = served.run("self_segment", one)
    assert {v.shape for v in answer.values()} == {(3, 65, 65)}
    assert answer["gradient"].max() > 0
    assert np.abs(answer["before"] - answer["after"]).max() > 1e-4


def test_gradients_are_in_the_graph(exported, trained):
    graph = graphs.read(exported)
    for name in saving.TUNING:
        found = graphs.gradients(graphs.operations(graph, name))
        assert {"Conv2DBackpropInput", "ReluGrad"} <= set(found)
        assert "Conv2DBackpropFilter" not in found
    assert not graphs.gradients(graphs.operations(graph, "segment_tuned"))
    assert not any("XlaMustCompile" in name and value.b for f in graph.graph_def.library.function
                   for name, value in f.attr.items())


def test_no_tuning_inside_is_an_error(exported, tmp_path):
    with pytest.raises(UserError, match="no gradient operation"):
        graph = graphs.read(exported)
        graph.signature_def["segment"].CopyFrom(graph.signature_def["segment_tuned"])
        model = graphs.saved_model_pb2.SavedModel(meta_graphs=[graph])
        (tmp_path / graphs.FILE).write_bytes(model.SerializeToString())
        saving.prove_tuning(tmp_path, steps=1)


BAD = {  # what: (changed input, its value from the good one, reason)
    "rank": ("query_image", lambda x: x[0], "not compatible"),
    "a number": ("query_image", lambda x: np.uint8(3), "not compatible"),
    "six channels": ("query_image", lambda x: np.concatenate([x, x], -1), "not compatible"),
    "three shots": ("support_mask", lambda x: x[:, [0, 0, 0]], "not compatible"),
    "type": ("query_image", lambda x: x.astype(np.float32), "uint8"),
    "fewer rows": ("query_image", lambda x: x[:1], "query_image: another number of rows"),
    "no height": ("query_image", lambda x: x[:, :0], "query_image: empty"),
    "other size": ("query_image", lambda x: x[:, :40], "query_image: of another height"),
    "mask's size": ("support_mask", lambda x: x[..., :40], "support_mask: not of the number"),
    "unmarked": ("support_mask", lambda x: x * 0, "support_mask: a mask holds no pixel"),
    "values": ("support_mask", lambda x: x + 7, "support_mask: holds values"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_requests_get_a_reason(served, batch, what):
    name, change, reason = BAD[what]
    with pytest.raises(RuntimeFailure, match=reason) as caught:
        served.run("segment", {**batch, name: change(batch[name])})
    assert caught.value.code == 3
    assert served.run("segment", batch)["mask"].shape == (3, 65, 65)


def test_an_empty_batch_gets_a_reason(served, batch):
    with pytest.raises(RuntimeFailure, match="empty"):
        served.run("segment", {name: value[:0] for name, value in batch.items()})


BAD_PROTOTYPES = [
    (np.nan, 0.5, "prototype: holds NaN"), (1.0, np.nan, "score: holds"),
    (1.0, -1, "score: holds")]


def prototypes(batch, prototype, score):
    return {"query_image": batch["query_image"],
            "prototype": np.full((3, 2, 16), prototype, np.float32),
            "score": np.full((3, 2), score, np.float32)}


@pytest.mark.parametrize("prototype, score, reason", BAD_PROTOTYPES)
def test_bad_prototypes_get_a_reason(served, batch, prototype, score, reason):
    with pytest.raises(RuntimeFailure, match=reason):
        served.run("segment_tuned", prototypes(batch, prototype, score))


def _palette():
    import io

    from PIL import Image
    picture = Image.fromarray(np.full((65, 65), 7, np.uint8)).convert("P")
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("name, data, reason", [
    ("query_image", b"", "neither JPEG nor PNG"), ("query_image", b"GIF89a", "neither JPEG"),
    ("query_image", b"\x89PNG\r\n\x1a\n", "no pixels"), ("query_image", b"\xff\xd8\xff", "JPEG"),
    ("query_image", b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\x7f\xff\xff\xff" * 2, "more than"),
    ("support_mask", b"\xff\xd8\xff", "not a PNG"),
    ("support_mask", _palette(), "other than 0, 1 and 255")])
def test_bad_bytes_get_a_reason(trained, served, name, data, reason):
    episodes, source = trained.episodes(1)
    good = replay.encoded(source, episodes[0])
    bad = good[name].copy()
    bad.flat[0] = data
    with pytest.raises(RuntimeFailure, match=reason) as caught:
        served.run("segment_bytes", {**good, name: bad})
    assert caught.value.code == 3


def test_too_many_photos_get_a_reason(trained, served):
    """Refused before a photo is decoded: 1,400 rows of nothing."""
    many = np.full((1400, 2), b"", object)
    with pytest.raises(RuntimeFailure, match="query_image: more than"):
        served.run("segment_bytes", {"support_image": many, "support_mask": many,
                                     "query_image": many[:, 0]})


def test_reload_where_sst_tf_cannot_be_imported(trained, exported, batch, tmp_path):
    np.savez(tmp_path / "batch.npz", **batch)
    code = ("import sys; sys.modules['sst_tf'] = sys.modules['export'] = None\n"
            "import numpy as np, tensorflow as tf\n"
            f"model = tf.saved_model.load({str(exported)!r})\n"
            f"inputs = {{k: tf.constant(v) for k, v in np.load({str(tmp_path / 'batch.npz')!r})"
            ".items()}\n"
            f"np.save({str(tmp_path / 'answer.npy')!r}, "
            "model.signatures['segment'](**inputs)['probability'])\n")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)
    expected = replay.expected(trained, batch)["probability"]
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), expected, atol=1e-5)


def test_the_runtime_needs_no_tensorflow_in_python(exported, tmp_path):
    code = ("import sys; from export.standin.runtime import SavedModel\n"
            f"SavedModel({str(exported)!r})\n"
            "assert 'tensorflow' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_an_export_that_differs_leaves_nothing(trained, exported, tmp_path, monkeypatch):
    monkeypatch.setitem(saving.TOLERANCE, "float32", -1.0)
    monkeypatch.setattr(saving, "save", lambda _, folder, *options: shutil.copytree(
        exported, folder, dirs_exist_ok=True))  # as it would be written again
    with pytest.raises(UserError, match="differs from the Keras model"):
        saving.export(trained, tmp_path, warm=False, episodes=1)
    assert list(tmp_path.iterdir()) == []


def test_a_shot_count_without_threshold_is_an_error(run):
    with pytest.raises(UserError, match=r"evaluate.shots '\[5\]'"):
        Trained.load(run.folder, shots=5)


def test_a_run_that_held_no_photos_out_is_checked_on_those_it_trained_on(tmp_path):
    """As `configs/finetune.yaml` trains; too few of them, and drawn shapes do."""
    run = make_run(tmp_path / "run", DataConfig(
        dataset="shapes", image_size=33, count=40, novel_classes=[], validation_share=0.0))
    trained = Trained.load(run.folder, shots=1)
    found, source = trained.episodes(3)
    assert [one.query for one in found] == [one.query for one in trained.training(3)]
    assert source is trained._data.source
    few = dataclasses.replace(trained._data, train=trained._data.train[:1])
    trained.__dict__["_data"] = few
    found, source = trained.episodes(3)
    assert len(found) == 3 and source is not few.source


def test_a_threshold_between_hundredths_is_not_rounded_without_a_word(run):
    assert Trained.load(run.folder, threshold=0.29).threshold == 29
    with pytest.raises(UserError, match=r"0.505: expected a whole number of hundredths, as 0.5"):
        Trained.load(run.folder, threshold=0.505)


@pytest.mark.parametrize("options", [
    {"fixed": True}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)])
def test_options_keep_the_answers(trained, batch, tmp_path, options):
    folder, _ = saving.export(trained, tmp_path, warm=False, episodes=1, **options)
    loaded = tf.saved_model.load(str(folder))
    call = loaded.signatures["segment"]
    answer = call(**{name: tf.constant(value) for name, value in batch.items()})
    expected = replay.expected(trained, batch)["probability"]
    np.testing.assert_allclose(answer["probability"], expected, atol=1e-5)
    if "fixed" in options:
        with pytest.raises(tf.errors.InvalidArgumentError):
            call(**{name: tf.constant(v[:, :40] if name == "query_image" else v)
                    for name, v in batch.items()})


def test_what_xla_compiles_lies_behind_the_guards(trained, batch, tmp_path):
    """XLA leaves assertions out of what it compiles."""
    saving.save(trained, tmp_path, jit_compile=True)
    served, forced = SavedModel(tmp_path), [
        f for f in graphs.read(tmp_path).graph_def.library.function if f.attr["_XlaMustCompile"].b]
    assert len(forced) == len(saving.TUNING) + 2
    for name, change, reason in BAD.values():
        with pytest.raises(RuntimeFailure, match=reason):
            served.run("segment", {**batch, name: change(batch[name])})
    for prototype, score, reason in BAD_PROTOTYPES:
        with pytest.raises(RuntimeFailure, match=reason):
            served.run("segment_tuned", prototypes(batch, prototype, score))


def test_a_bfloat16_encoder_tunes_in_float32(run, batch, tmp_path, monkeypatch):
    narrow = Trained.load(run.folder, shots=2, encoder="bfloat16")
    folder, worst = saving.export(narrow, tmp_path, warm=False, encoder="bfloat16",
                                       episodes=1)
    answer = SavedModel(folder).run("segment", batch)
    wide = replay.expected(Trained.load(run.folder, shots=2), batch)["probability"]
    assert answer["probability"].dtype == np.float32
    assert 0 < np.abs(answer["probability"] - wide).mean() < 0.05
    # Said beside the run's own answers, and refused where they are too far from them.
    told = json.loads((folder / "assets" / "export.json").read_text())["fewer_bits"]
    assert told["probability"] > 10 * worst and 0 <= told["mask"] < saving.OTHER_MASKS
    assert "the run's own float32" in (folder / "assets" / "MODEL_CARD.md").read_text()
    monkeypatch.setattr(saving, "OTHER_MASKS", -1)
    with pytest.raises(UserError, match="leave --encoder out"):
        saving.export(narrow, tmp_path, warm=False, encoder="bfloat16", episodes=1)
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_decoding_in_the_graph_gives_the_pixels_that_training_reads(shared):
    paths = sorted((shared / "data" / "mini80" / "JPEGImages").glob("*.jpg"))[:20]
    assert paths
    for path in paths:
        image = read_photo(path)
        decoded, size = graph_decoding.photo(tf.constant(path.read_bytes()), 257)
        expected = graph_decoding.resize_image(tf.constant(image), 257)
        assert tuple(size.numpy()) == image.shape[:2]
        np.testing.assert_array_equal(decoded, expected)


@pytest.mark.slow
@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("backbone, weights", [
    ("resnet50", "resnet50_conv1-conv4.npz"), ("vgg16", "vgg16_hed_notop.h5"),
    ("resnet18", "resnet18_conv1-layer3.npz")])
def test_real_photos_and_weights(shared, tmp_path, backbone, weights, shots):
    data = DataConfig(dataset="voc", root=str(shared / "data" / "mini80"), image_size=161,
                      novel_classes=["dog", "cat"])
    run = make_run(tmp_path / "run", data, backbone, str(shared / "weights" / weights))
    trained = Trained.load(run.folder, shots=shots)
    folder, worst = saving.export(trained, tmp_path / "models", warm=False)
    assert worst < 1e-5
    batch = next(trained.batches(*trained.episodes(2, seed=11), batch=2))
    answer = SavedModel(folder).run("segment", batch)["probability"]
    nearest = np.full(2, np.inf)
    for expected in up_to_rounding(trained, batch):
        nearest = np.minimum(nearest, np.abs(answer - expected).max(axis=(1, 2)))
        if (nearest < 1e-5).all():
            return
    pytest.fail(f"no rounding of the weights gives the graph's answers: {nearest}")


def up_to_rounding(trained, batch, draws=40):
    """Probabilities by the weights as they are, then by weights moved by about one rounding.

    A step may stand at the kink of a ReLU in its own gradient: with ResNet-50 and two shots,
    weights moved by 1e-7 move one episode's answer by 2e-6 in most draws and by 1.2e-4 in some.
    Which side a graph of fused operations falls on is rounding as well.
    """
    yield np.asarray(replay.expected(trained, batch)["probability"])
    weights = trained.model.encoder.backbone.weights
    values, random = [w.numpy() for w in weights], np.random.default_rng(0)
    for _ in range(draws):
        for weight, value in zip(weights, values, strict=True):
            weight.assign(value * (1 + 1e-7 * random.standard_normal(value.shape)))
        yield np.asarray(replay.expected(trained, batch)["probability"])


def test_without_its_photos_a_run_is_tried_on_drawn_shapes(run):
    trained = Trained.load(run.folder, shots=2)
    trained.config.data.dataset, trained.config.data.root = "voc", "/nowhere"
    episodes, source = trained.episodes(1)
    assert source.name == "shapes" and len(episodes[0].support) == 2


def test_what_a_run_is_missing_is_told_before_the_work(run, tmp_path, monkeypatch, capsys):
    def absent():
        raise ImportError
    monkeypatch.setattr(warmup.protos, "serving", absent)
    monkeypatch.setattr(saved_model, "run_folder", lambda options: pytest.fail("began to work"))
    with pytest.raises(SystemExit):
        saved_model.main(["--run_dir", str(run.folder), "--output", str(tmp_path)])
    assert "extra `serving`" in capsys.readouterr().err


def test_a_damaged_record_of_classes_is_one_line(trained, tmp_path):
    (tmp_path / "classes.json").write_text('{"base": ["a"')
    with pytest.raises(DataError, match=r"classes.json: damaged .*bring it back"):
        dataclasses.replace(trained, run=Run(tmp_path)).class_names()
