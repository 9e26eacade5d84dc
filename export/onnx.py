"""`python -m export.onnx`: a trained run as ONNX files, the tuning step inside.

Writes segment.onnx (the whole episode), tune.onnx and segment_tuned.onnx (teach a class once, then
one pass a photo) into a new version folder, after onnxruntime has answered episodes that building
did not see as the Keras model does. An export that answers otherwise leaves no file.
"""

import json
import logging

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from export import model_card, onnx_ops, replay, versions
from export.trained import Trained
from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser

OPSET = 18
TOLERANCE = 1e-4  # of probabilities, against the Keras model
NAMES = ("segment", "tune", "segment_tuned")
METADATA = "sst"  # key of the settings in a file's metadata


def convert(function, specs):
    """An ONNX model of a TensorFlow function, checked, its shapes inferred.

    Args:
        function: takes and returns tensors by name.
        specs: {input: `tf.TensorSpec`}.
    Raises:
        UserError: an operation that neither tf2onnx nor `onnx_ops` can convert.
    """
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what counts is checked below
    traced = tf.function(function, autograph=False)
    model, _ = tf2onnx.convert.from_function(traced, list(specs.values()), opset=OPSET)
    unknown = sorted({node.op_type for node in model.graph.node
                      if not onnx.defs.has(node.op_type, node.domain)})
    if unknown:  # tf2onnx logs them and writes a file that no runtime takes
        raise UserError(f"no ONNX form of {', '.join(unknown)}; export/onnx_ops.py converts "
                        f"{', '.join(onnx_ops.HANDLED)}")
    _pad_explicitly(model.graph)
    _name_axes(model.graph, specs)
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def export(trained, output, fixed=False, episodes=4):
    """Write the next version under `output`; returns its folder and the largest difference."""
    signatures = trained.signatures(fixed)
    with versions.writing(output) as version:
        files = {name: version.folder / f"{name}.onnx" for name in NAMES}
        for name, path in files.items():
            path.write_bytes(convert(getattr(signatures, name),
                                     signatures.specs()[name]).SerializeToString())
        chosen, source = trained.episodes(episodes)
        worst = _compare(trained, OnnxModel(version.folder),
                         list(trained.batches(chosen, source)), fixed)
        model_card.write(trained, version.folder, "float32", fixed, False, worst, source.name)
        facts = (version.folder / model_card.SETTINGS).read_text(encoding="utf-8")
        for path in files.values():
            model = onnx.load(path)
            onnx.helper.set_model_props(model, {METADATA: json.dumps(json.loads(facts))})
            path.write_bytes(model.SerializeToString())
    return version.folder, worst


class OnnxModel:
    """The files of a version in onnxruntime, called as `export.standin.runtime.SavedModel` is.

    Args:
        folder: the version's folder.
        providers: onnxruntime's execution providers, best first; all that are there by default.
        threads: of each session; 0 lets onnxruntime choose.
    """

    def __init__(self, folder, providers=None, threads=0):
        try:
            import onnxruntime
        except ImportError:
            raise UserError("running ONNX files needs the extra `serving` "
                            "(pip install 'sst-tf[serving]')") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._sessions = {
            name: onnxruntime.InferenceSession(
                str(folder / f"{name}.onnx"), options,
                providers or onnxruntime.get_available_providers()) for name in NAMES}

    def run(self, signature, inputs):
        """{output: array} for {input: array}."""
        session = self._sessions[signature]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))


def _pad_explicitly(graph):
    """SAME of unknown sizes as numbers: onnxruntime refuses the word where a kernel is dilated."""
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    for node in graph.node:
        given = {attribute.name: attribute for attribute in node.attribute}
        if (node.op_type == "Conv" and given.get("auto_pad", onnx.AttributeProto()).s
                == b"SAME_UPPER" and set(given["strides"].ints) == {1}):
            spread = given["dilations"].ints if "dilations" in given else [1, 1]
            sides = [(k - 1) * d for k, d in zip(shapes[node.input[1]][2:], spread, strict=True)]
            before = [side // 2 for side in sides]
            after = [side - half for side, half in zip(sides, before, strict=True)]
            node.attribute.remove(given["auto_pad"])
            node.attribute.append(onnx.helper.make_attribute("pads", before + after))


def _name_axes(graph, specs):
    """Free axes get names that say what they are, in place of numbers by tf2onnx."""
    for value in [*graph.input, *graph.output]:
        axes = value.type.tensor_type.shape.dim
        images = value.name.endswith("image")
        maps = images or value.name.endswith("mask") or value.name == "probability"
        for i, axis in enumerate(axes):
            if axis.dim_value > 0:
                continue
            free = len(axes) - i - (1 if images else 0)
            axis.dim_param = ("batch" if i == 0 else
                              {2: "height", 1: "width"}.get(free) if maps else None) or f"axis{i}"
    known = {value.name for value in graph.input}
    if known != set(specs):
        raise UserError(f"inputs {sorted(known)} instead of {sorted(specs)}")


def _compare(trained, converted, batches, fixed):
    """The largest difference of probability from Keras; UserError where it is too large."""
    trials = list(batches)
    if len(batches) > 1:  # another batch size
        trials.append({name: np.concatenate([batch[name] for batch in batches])
                       for name in batches[0]})
    if not fixed:  # another photo size: every second pixel
        trials.append({name: np.ascontiguousarray(
            value[..., ::2, ::2, :] if name.endswith("image") else value[..., ::2, ::2])
            for name, value in batches[0].items()})
    worst = 0.0
    for trial in trials:
        due = replay.expected(trained, trial)
        for way, answer in (("segment", converted.run("segment", trial)),
                            ("tune and segment_tuned", replay.taught(converted.run, trial))):
            difference = replay.largest_difference(answer, due)["probability"]
            if not difference <= TOLERANCE:
                raise UserError(f"{way}: onnxruntime differs from the Keras model by "
                                f"{difference:.1e} (at most {TOLERANCE:.0e} is allowed); nothing "
                                "was exported")
            worst = max(worst, difference)
    return worst


@command
def main(argv=None):
    parser = ArgumentParser(prog="python -m export.onnx", description=__doc__)
    parser.add_argument("--run_dir", required=True, help="a trained run (sst_tf.train)")
    parser.add_argument("--output", required=True,
                        help="model folder; versions are numbered in it")
    parser.add_argument("--shots", type=int, default=1, help="K, supports a query")
    parser.add_argument("--threshold", type=float,
                        help="0..1 instead of the one the run's evaluation chose on base classes")
    parser.add_argument("--fixed_size", action="store_true",
                        help="photos of the run's image_size only; a runtime may plan better")
    options = parser.parse_args(argv)
    trained = Trained.load(options.run_dir, options.shots, threshold=options.threshold)
    folder, worst = export(trained, options.output, options.fixed_size)
    print(f"{folder}: {versions.megabytes(folder):.0f} MB in {', '.join(NAMES)}, {options.shots}-"
          f"shot, opset {OPSET}; largest difference from Keras {worst:.1e}")


if __name__ == "__main__":
    main()
