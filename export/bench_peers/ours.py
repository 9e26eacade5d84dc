# SPDX-License-Identifier: Apache-2.0
"""This package's side: each function gets ready and returns (what measures, first answer)."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from export.bench_peers.options import Options
from export.bench_peers.photos import sample

Ready = tuple[Callable[[], float], np.ndarray]


def seconds_of(call: Callable[[], object]) -> Callable[[], float]:
    """What measures one call."""
    def measure() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return measure


def training(folder: Path, options: Options, kind: str) -> Ready:
    """`fit`'s own compiled step, on photos ("image") or on kept features ("features")."""
    import tensorflow as tf

    from sst_tf.runs.directory import Run
    from sst_tf.runs.factory import build_optimizer

    run = Run.open(folder / "run")
    model, config = run.model(), run.config()
    model.compile(optimizer=build_optimizer(config))
    with np.load(folder / "episode.npz") as arrays:
        episode = {name: tf.constant(arrays[name]) for name in arrays.files
                   if name.endswith((kind, "mask"))}
    batches = iter(tf.data.Dataset.from_tensors(episode).repeat())
    model.make_train_function()

    def call():
        return float(model.train_function(batches)["loss"])

    return seconds_of(call), np.array(call())


def saved_model(folder: Path, options: Options) -> Ready:
    """The exported SavedModel through TensorFlow's C runtime, as a server runs it."""
    from export.standin.runtime import SavedModel

    return _segment(SavedModel(folder / "saved"), folder)


def onnx(folder: Path, options: Options) -> Ready:
    """The exported ONNX file in onnxruntime."""
    from export.onnx_files import OnnxModel

    return _segment(OnnxModel(folder / "onnx", threads=options.threads, names=["segment"]), folder)


def keras(folder: Path, options: Options) -> Ready:
    """The Keras model called as a graph in Python, as `Predictor` and evaluation do."""
    import tensorflow as tf

    from export.trained import Trained

    trained = Trained.load(folder / "run", 1, threshold=0.5)

    class Called:
        def run(self, name, inputs):
            answer = trained.answer({key: tf.constant(value) for key, value in inputs.items()})
            return {"probability": tf.sigmoid(answer.logit).numpy()}

    return _segment(Called(), folder)


def _segment(model, folder):
    with np.load(folder / "episode.npz") as arrays:
        one = {name: arrays[name][:1] for name in ("support_image", "support_mask",
                                                   "query_image")}
    def call():
        return model.run("segment", one)["probability"]

    return seconds_of(call), call()


def reading(folder: Path, options: Options, augment: bool) -> Ready:
    """`pipelines.episodes`, mirrored, scaled and turned or plain; seconds an episode."""
    from pipelines.reading_rates import HOW, ours, rate

    source, episodes = sample(folder, options)

    def measure() -> float:
        return 1 / rate(ours(source, episodes, options.image_size, options.threads, options.batch,
                             HOW if augment else None))

    return measure, np.array(len(episodes))
