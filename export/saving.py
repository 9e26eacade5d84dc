# SPDX-License-Identifier: Apache-2.0
"""Writing a trained run as a SavedModel whose answers were compared with the Keras model's."""

from pathlib import Path

import tensorflow as tf

from export import graphs, model_card, replay, versions, warmup
from export.trained import Trained
from pipelines.errors import UserError

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
                            ("tune and segment_tuned", replay.tuned_first(call, batch)),
                            ("tune and segment_many",
                             replay.own_class(replay.all_classes(call, batch)))):
            difference = replay.largest_difference(answer, expected)["probability"]
            if not difference <= tolerance:
                raise UserError(f"{route}: differs from the Keras model by {difference:.1e} (at "
                                f"most {tolerance:.0e} is allowed); nothing was exported")
            worst = max(worst, difference)
    return worst
