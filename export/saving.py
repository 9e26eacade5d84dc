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
DIFFERENT_MASKS = 2e-3  # share of pixels; probabilities at the threshold may round up or down
OTHER_MASKS = 0.05  # share of pixels that fewer bits than the run's float32 may decide otherwise
TUNING = ("segment", "segment_bytes", "tune", "self_segment")  # signatures with the step inside


def save(trained: Trained, folder: str | Path, fixed: bool = False,
         jit_compile: bool = False) -> None:
    """Write a SavedModel of the signatures to a folder."""
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
        batches, call = list(trained.batches(chosen, source)), _signatures(folder)
        worst = _compare(trained, call, batches, TOLERANCE[encoder])
        fewer = _fewer_bits(trained.wide, call, batches) if trained.wide else None
        model_card.write(trained, folder / "assets", encoder, fixed, jit_compile, worst,
                         source.name, fewer_bits=fewer)
        if warm:
            warmup.write(trained, folder / "assets.extra", chosen, source)
    return version.folder, worst


def _signatures(folder):
    """A SavedModel's signatures as a function of (name, arrays)."""
    loaded = tf.saved_model.load(str(folder))

    def call(name, inputs):
        answer = loaded.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})
        return {key: value.numpy() for key, value in answer.items()}

    return call


def _compare(trained, call, batches, tolerance):
    """The largest difference of probability; UserError where any output is too far off."""
    try:
        return replay.worst_of(trained, call, batches, tolerance, DIFFERENT_MASKS)
    except replay.Different as error:
        raise UserError(f"differs from the Keras model: {error}; nothing was exported") from None


def _fewer_bits(wide, call, batches):
    """What fewer bits change of the run's own answers: {"probability", "mask"}."""
    probability, other = replay.beside(wide, call, batches)
    if not other <= OTHER_MASKS:
        raise UserError(f"{other:.1%} of the masks' pixels are other than in the run's float32 (at "
                        f"most {OTHER_MASKS:.0%} is allowed); nothing was exported: leave "
                        "--encoder out")
    return {"probability": probability, "mask": other}
