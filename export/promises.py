# SPDX-License-Identifier: Apache-2.0
"""What an exported version promises, each a function that proves it or raises `Broken`."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from export import graphs, model_card, onnx_files, replay, saving, server_process
from export.client import GrpcClient, RequestFailed
from export.trained import Trained
from pipelines.errors import UserError
from sst_tf.model import losses

REFUSALS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
OUTPUT_TYPES = (1, 3, 7)  # float32, int32, bytes: what REST carries
NEEDED = {"shots", "threshold", "encoder", "model_sha256", "xla"}  # of an export's own facts
STEP = 1e-3  # by which a step's length may differ, as a share of the longest in the batch


Run = Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray]]  # a signature by name


class Broken(Exception):
    """A promise that does not hold."""


def require(condition: object, reason: str) -> None:
    """Raise `Broken` with the reason where a promise does not hold."""
    if not condition:
        raise Broken(reason)


@contextlib.contextmanager
def _broken():
    """What `replay` finds different breaks a promise."""
    try:
        yield
    except replay.Different as error:
        raise Broken(str(error)) from None


class Case:
    """A version, the run that it came from, and photos to try it on.

    Args:
        folder: the version.
        run_dir: the run; its model must be the exported one.
        episodes: how many.
        onnx: a version's folder of ONNX files of the same model and shots, to be checked too.
    """

    def __init__(self, folder: str | Path, run_dir: str | Path, episodes: int = 3,
                 onnx: str | Path | None = None):
        self.folder = Path(folder)
        self.facts = _facts(self.folder / "assets", saving.TOLERANCE, "--model is a version's "
                            "folder, such as models/sst/1, written by sst export-saved-model")
        self.trained = Trained.load(run_dir, self.facts["shots"], self.facts["encoder"],
                                    self.facts["threshold"])
        if model_card.sha256(self.trained) != self.facts["model_sha256"]:
            raise UserError(f"{run_dir}: not the model that {folder} was exported from")
        self.onnx = Path(onnx) if onnx else None
        if self.onnx:
            self.onnx_facts = _facts(self.onnx, ("float32", "int8"), "--onnx is a version's "
                                     "folder, such as models/sst-onnx/1, written by sst "
                                     "export-onnx")
            for key in ("model_sha256", "shots", "threshold"):
                if self.onnx_facts[key] != self.facts[key]:
                    raise UserError(f"{onnx}: {key} is {self.onnx_facts[key]}, in {folder} "
                                    f"{self.facts[key]}; export both alike")
            self.onnx_model = onnx_files.OnnxModel(self.onnx)  # a damaged file is told at once
        self.tolerance = saving.TOLERANCE[self.facts["encoder"]]
        self.episodes, self.source = self.trained.episodes(episodes, seed=2)
        self.batches = list(self.trained.batches(self.episodes, self.source))
        self.whole = {name: np.concatenate([batch[name] for batch in self.batches])
                      for name in self.batches[0]}
        self.expected = [replay.expected(self.trained, batch) for batch in self.batches]
        self.support = {name: self.whole[name][:, 0] for name in ("support_image", "support_mask")}

    def owed(self, answer: dict[str, np.ndarray], due: dict[str, np.ndarray]) -> float:
        """The largest difference of probability; `Broken` where any output is another."""
        with _broken():
            return replay.owed(answer, due, self.tolerance, saving.DIFFERENT_MASKS)[0]

    def near(self, answer: np.ndarray, expected: np.ndarray, what: str) -> float:
        """The largest difference of probability; `Broken` above the tolerance."""
        found = float(np.max(np.abs(answer - expected)))
        require(found <= self.tolerance, f"{what} differs by {found:.1e}, above "
                                         f"{self.tolerance:.0e}")
        return found


def _facts(folder, encoders, remedy):
    """What an export says of itself, whose encoder is one of these types."""
    path = folder / model_card.SETTINGS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {remedy}") from None
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or not NEEDED <= facts.keys() or (
            facts["encoder"] not in encoders):
        raise UserError(f"{path}: damaged; export again")
    return facts


# ---- what the file holds -----------------------------------------------------------------------


def gradient_operations(case: Case) -> str:
    """The step's gradient is in the graphs, no gradient of weights."""
    graph, lines = graphs.read(case.folder), []
    for name in saving.TUNING:
        found = graphs.gradients(graphs.operations(graph, name))
        require("Conv2DBackpropFilter" not in found, f"{name}: gradients of weights")
        require(found or not case.trained.model.tuner.steps,
                f"{name}: no gradient operation")
        lines.append(found)
    return ", ".join(sorted(set().union(*lines)))


def nothing_must_compile(case: Case) -> str:
    """No operation that only XLA can run, unless asked for."""
    graph = graphs.read(case.folder)
    forced = [f.signature.name for f in graph.graph_def.library.function
              if f.attr["_XlaMustCompile"].b]
    require(case.facts["xla"] or not forced, f"{forced[:3]} must be compiled by XLA")
    return "compiled by XLA as asked" if case.facts["xla"] else "no function must"


def output_types(case: Case) -> str:
    """float32, int32 or bytes, dimension 0 free."""
    graph, count = graphs.read(case.folder), 0
    for name, signature in graph.signature_def.items():
        if signature.method_name != "tensorflow/serving/predict":
            continue
        for key, info in signature.outputs.items():
            require(info.dtype in OUTPUT_TYPES, f"{name}: {key} is of type {info.dtype}")
            require(info.tensor_shape.dim[0].size == -1, f"{name}: {key} has a fixed batch")
            count += 1
    return f"{count} outputs"


# ---- what a server answers ---------------------------------------------------------------------


def whole_episode(case: Case, run: Run) -> str:
    """segment and serving_default give the Keras model's probabilities, masks and IoU."""
    worst = max(case.owed(run(name, batch), expected)
                for name in ("segment", "serving_default")
                for batch, expected in zip(case.batches, case.expected, strict=True))
    return f"{worst:.1e}"


def fewer_bits(case: Case, run: Run) -> str:
    """An encoder in fewer bits answers nearly as the run itself does."""
    if case.trained.wide is None:
        return "float32 as the run"
    probability, other = replay.beside(case.trained.wide, run, case.batches)
    require(other <= saving.OTHER_MASKS, f"{other:.2%} of a mask are other than the run's")
    return f"{probability:.1e}, {other:.2%} of pixels"


def tuned_first(case: Case, run: Run) -> str:
    """tune, then segment_tuned, give the same."""
    worst = max(case.owed(replay.tuned_first(run, batch), expected)
                for batch, expected in zip(case.batches, case.expected, strict=True))
    return f"{worst:.1e}"


def several_classes(case: Case, run: Run) -> str:
    """segment_many gives each class its own answer, and the index of the most probable one."""
    answer = replay.all_classes(run, case.whole)
    due = {name: np.concatenate([one[name] for one in case.expected])
           for name in case.expected[0]}
    with _broken():
        own = replay.own_class(answer, case.facts["threshold"])
    worst = case.owed(own, due)
    return f"{worst:.1e} with {answer['probability'].shape[1]} classes"


def encoded_photos(case: Case, run: Run) -> str:
    """segment_bytes gives the masks of Python's own decoding, at the query's size, and the IoU."""
    worst = 0.0
    for episode in case.episodes:
        answer = run("segment_bytes", replay.encoded(case.source, episode))
        case.owed({"support_iou": answer["support_iou"]}, replay.expected(
            case.trained, replay.decoded(case.trained, case.source, episode)))
        mask = cv2.imdecode(np.frombuffer(answer["mask_bytes"][0], np.uint8),
                            cv2.IMREAD_UNCHANGED)
        expected = replay.expected_mask(case.trained, case.source, episode)
        require(mask.shape == expected.shape,
                f"mask of {mask.shape} for a photo of {expected.shape}")
        worst = max(worst, float(np.mean(mask != expected)))
    allowed = saving.DIFFERENT_MASKS if case.facts["encoder"] == "float32" else saving.OTHER_MASKS
    require(worst <= allowed, f"{worst:.2%} of a mask differ")
    return f"{worst:.3%} of pixels"


def own_segmentation(case: Case, run: Run) -> str:
    """self_segment shows the step of the Keras model."""
    answer, mask = run("self_segment", case.support), case.support["support_mask"]
    answers = [case.trained.answer({k: tf.constant(v) for k, v in batch.items()})
               for batch in case.batches]
    logit = [one.support_logit[:, 0] for one in answers if one.support_logit is not None]
    worst = case.near(answer["before"], tf.sigmoid(tf.concat(logit, 0)).numpy(), "before")
    model = case.trained.model
    features = model.inference.embed_photos(case.support["support_image"])
    tuned = model.inference.tune(features, mask)
    iou = losses.hard_iou(tf.constant(answer["after"]) - 0.5, mask)
    require(np.allclose(iou, tuned.score_after, atol=max(replay.IOU, case.tolerance)),
            "after: another IoU")
    step = model.inference.self_segment(features, mask).step.numpy()
    far = np.max(np.abs(answer["gradient"] - step)) / max(step.max(), 1e-12)
    require(not model.tuner.steps or far <= max(STEP, 10 * case.tolerance),
            f"gradient: differs by {far:.1e} of the longest")
    return f"{worst:.1e}"


def batching(case: Case, run: Run) -> str:
    """f(concat) = concat(f), the batch padded with copies of its first row as servers pad."""
    padded = {name: np.concatenate([value, value[:1]]) for name, value in case.whole.items()}
    together, worst = run("segment", padded), 0.0
    for i, batch in enumerate([*case.batches, case.batches[0]]):
        alone = run("segment", batch)
        worst = max(worst, case.near(together["probability"][i], alone["probability"][0],
                                     f"row {i}"))
    return f"{worst:.1e}"


def tuning_inside(case: Case, run: Run) -> str:
    """The served prototype is the tuned one, and it answers otherwise than the untuned."""
    model = case.trained.model
    tuned = model.inference.tune(
        model.inference.embed_photos(case.support["support_image"]), case.support["support_mask"])
    served = run("tune", case.support)["prototype"]
    case.near(served, tuned.prototype.numpy(), "the tuned prototype")
    if not model.tuner.steps:
        return "the run has no step"
    moved = float(np.max(np.abs(served - tuned.untuned_prototype)))
    require(moved > 10 * case.tolerance, f"the prototype moves by {moved:.1e} only")
    return f"the prototype moves by up to {moved:.2g}"


def guards(case: Case, run: Run) -> str:
    """Bad requests get a reason; the server lives."""
    batch, encoded = case.batches[0], replay.encoded(case.source, case.episodes[0])
    support = {name: value[:1] for name, value in case.support.items()}
    tuned = run("tune", support)
    shots = case.facts["shots"]
    query = {"query_image": batch["query_image"],
             "prototype": np.repeat(tuned["prototype"][:, None], shots, 1),
             "score": np.repeat(tuned["score"][:, None], shots, 1)}

    def changed(inputs, name, change):
        return {**inputs, name: change(inputs[name])}

    def corrupt(value):
        bad = value.copy()
        bad.flat[0] = bad.flat[0][:len(bad.flat[0]) // 3]
        return bad

    bad = []
    many = query | {name: query[name][:, None] for name in ("prototype", "score")}
    for name, inputs in (("segment", batch), ("tune", support), ("segment_tuned", query),
                         ("segment_many", many), ("self_segment", support),
                         ("segment_bytes", encoded)):
        for key in inputs:
            bad += [(name, f"rank of {key}", changed(inputs, key, lambda x: x[0])),
                    (name, f"a number for {key}", changed(inputs, key, lambda x: x.flat[0])),
                    (name, f"type of {key}", changed(inputs, key,
                                                     lambda x: np.zeros(x.shape, np.int64))),
                    (name, f"no row of {key}", changed(inputs, key, lambda x: x[:0]))]
        bad.append((name, "empty batch", {key: value[:0] for key, value in inputs.items()}))
        if name == "segment_bytes":
            bad += [(name, f"cut-off {key}", changed(inputs, key, corrupt)) for key in inputs]
        else:
            bad += [(name, f"six channels of {key}", changed(
                inputs, key, lambda x: np.concatenate([x, x], -1)))
                for key in inputs if key.endswith("image")]
        if "support_mask" in inputs and name != "segment_bytes":
            bad += [(name, "nothing marked", changed(inputs, "support_mask", lambda x: x * 0)),
                    (name, "another size of mask", changed(
                        inputs, "support_mask", lambda x: x[..., :-1]))]
    for name, what, inputs in bad:
        try:
            run(name, inputs)
        except RequestFailed as error:
            require(error.code in REFUSALS, f"{name}: {what}: {error}")
        else:
            raise Broken(f"{name}: {what} was answered")
    case.near(run("segment", batch)["probability"], case.expected[0]["probability"], "afterwards")
    return f"{len(bad)} bad requests refused with a reason"


FILE_CHECKS: tuple[Callable[[Case], str], ...] = (
    gradient_operations, nothing_must_compile, output_types)
SERVER_CHECKS: tuple[Callable[[Case, Run], str], ...] = (
    whole_episode, fewer_bits, tuned_first, several_classes, encoded_photos, own_segmentation,
    batching, tuning_inside, guards)


def onnx_answers(case: Case) -> str:
    """onnxruntime gives the Keras model's probabilities and masks; 8 bits nearly its masks."""
    run, narrow = case.onnx_model.run, case.onnx_facts["encoder"] == "int8"
    # Of 8 bits any number will do, since masks count; NaN is none.
    tolerance = 1.0 if narrow else onnx_files.TOLERANCE
    allowed = saving.OTHER_MASKS if narrow else saving.DIFFERENT_MASKS
    with _broken():
        found = [replay.every_route(run, batch, expected, case.onnx_facts["threshold"],
                                    tolerance, allowed)
                 for batch, expected in zip(case.batches, case.expected, strict=True)]
    worst, other = (max(values) for values in zip(*found, strict=True))
    return f"{other:.3%} of pixels" if narrow else f"{worst:.1e}"


def rows(case: Case, seconds: float = 120) -> Iterator[tuple[str, Callable, str]]:
    """Run all checks; yields (where, what, result); raises `Broken` with its row's name."""
    for of_file in FILE_CHECKS:
        yield "file", of_file, _named(of_file, case)
    for kind in dict.fromkeys((server_process.STANDIN, server_process.best())):
        with tempfile.TemporaryDirectory() as base:
            (Path(base) / "1").symlink_to(case.folder.resolve())
            with server_process.serving(base, kind=kind) as server:
                client = GrpcClient(f"{server.host}:{server.grpc_port}", timeout=seconds)
                for check in SERVER_CHECKS:
                    yield server.kind, check, _named(check, case, client.run)
                require(server.alive(), f"{server.kind} has ended")
                client.close()
    if case.onnx:
        yield "onnxruntime", onnx_answers, _named(onnx_answers, case)


def _named(check, *arguments):
    try:
        return check(*arguments)
    except (Broken, RequestFailed) as error:
        raise Broken(f"{check.__name__.replace('_', ' ')}: {error}") from None
