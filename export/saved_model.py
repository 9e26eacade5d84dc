# SPDX-License-Identifier: Apache-2.0
"""`python -m export.saved_model`: a trained run as a SavedModel that a server can load.

A new integer version appears under --output in one move, once its answers have been compared with
the Keras model's; a failed or killed export leaves no version.
"""

from pathlib import Path

import tensorflow as tf

from export import graphs, model_card, replay, versions, warmup
from export.trained import ENCODERS, Trained
from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser
from sst_tf.presets.options import add_model_options, run_folder

# Largest difference of probabilities from the Keras model of the same types, by encoder type:
# fused kernels round half-precision sums in another order.
TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-2, "float16": 1e-2}
TUNING = ("segment", "segment_bytes", "tune", "self_segment")  # signatures with the step inside


def save(trained: Trained, folder: str | Path, fixed: bool = False,
         jit_compile: bool = False) -> None:
    """Write a SavedModel of the five signatures to a folder."""
    functions = trained.signatures(fixed, jit_compile).functions()
    root = tf.Module()
    # The TensorFlow variables alone: saving the Keras model would save its training too.
    root.weights = [variable.value for variable in trained.model.weights]
    # Nobody differentiates what is served, and the tensors that such a gradient would start from
    # may be pruned.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(root, str(folder), {"serving_default": functions["segment"], **functions},
                        options)
    graphs.prune(folder)


def prove_tuning(folder: str | Path, steps: int) -> None:
    """The gradient step must be in the graphs, and no gradient of weights."""
    graph = graphs.read(folder)
    for name in TUNING:
        found = graphs.gradients(graphs.operations(graph, name))
        if "Conv2DBackpropFilter" in found:
            raise UserError(f"{name}: holds gradients of weights; the inner tape must watch "
                            "features only")
        if steps and not found:
            raise UserError(f"{name}: holds no gradient operation, so tuning is not inside")


def export(trained: Trained, output: str | Path, fixed: bool = False, jit_compile: bool = False,
           encoder: str = "float32", warm: bool = True, episodes: int = 4) -> tuple[Path, float]:
    """Write the next version under `output`; returns its folder and the largest difference."""
    with versions.writing(output) as version:
        folder = version.folder
        save(trained, folder, fixed, jit_compile)
        prove_tuning(folder, trained.model.tuner.steps)
        chosen, source = trained.episodes(episodes)
        worst = _compare(trained, folder, list(trained.batches(chosen, source)),
                         TOLERANCE[encoder])
        model_card.write(trained, folder / "assets", encoder, fixed, jit_compile, worst,
                         source.name)
        if warm:
            warmup.write(trained, folder / "assets.extra", chosen, source)
    return version.folder, worst


def _compare(trained, folder, batches, tolerance):
    loaded = tf.saved_model.load(str(folder))

    def call(name, inputs):
        answer = loaded.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})
        return {key: value.numpy() for key, value in answer.items()}

    worst = 0.0
    for batch in batches:
        expected = replay.expected(trained, batch)
        for route, answer in (("segment", call("segment", batch)),
                            ("tune and segment_tuned", replay.tuned_first(call, batch))):
            difference = replay.largest_difference(answer, expected)["probability"]
            if not difference <= tolerance:
                raise UserError(f"{route}: differs from the Keras model by {difference:.1e} (at "
                                f"most {tolerance:.0e} is allowed); nothing was exported")
            worst = max(worst, difference)
    return worst


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="python -m export.saved_model", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--output", required=True,
                        help="model folder that a server watches; versions are numbered in it")
    parser.add_argument("--shots", type=int, default=1, help="K, supports a query")
    parser.add_argument("--threshold", type=float,
                        help="0..1 instead of the one the run's evaluation chose on base classes")
    parser.add_argument("--fixed_size", action="store_true",
                        help="refuse photos of another size than the run's; the graph is faster "
                             "to compile and easier to convert (segment_bytes takes any size)")
    parser.add_argument("--encoder", default="float32", choices=list(ENCODERS),
                        help="type of the encoder; the tuning step stays in float32")
    parser.add_argument("--xla", action="store_true",
                        help="compile the signatures by XLA when first called (not segment_bytes)")
    parser.add_argument("--no_warmup", action="store_true",
                        help="leave out the warm-up requests (they need the extra `serving`)")
    options = parser.parse_args(argv)
    trained = Trained.load(run_folder(options), options.shots, options.encoder, options.threshold)
    folder, worst = export(trained, options.output, options.fixed_size, options.xla,
                           options.encoder, not options.no_warmup)
    print(f"{folder}: {versions.megabytes(folder):.0f} MB, {options.shots}-shot, threshold "
          f"{trained.threshold / 100:.2f}; largest difference from Keras {worst:.1e}")


if __name__ == "__main__":
    main()
