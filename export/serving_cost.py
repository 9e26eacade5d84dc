# SPDX-License-Identifier: Apache-2.0
"""What serving costs beside the work that it cannot avoid."""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export import load, onnx_files, saving
from export.standin.runtime import SavedModel
from export.trained import Trained
from sst_tf.config import Config, DataConfig, ModelConfig
from sst_tf.model import backbones
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.runs.directory import Run
from sst_tf.runs.factory import build_model
from sst_tf.training.step_cost import Flops, matrix_rate

SIGNATURES = ("segment", "tune", "segment_tuned")


def floors(model: SSTSegmenter, size: int) -> dict[str, int]:
    """{signature: FLOPs of one 1-shot episode's convolutions at `size` x `size` pixels}."""
    grid = (size - 1) // backbones.STRIDE + 1
    backbone = model.settings["model"]["backbone"]
    head = Flops(grid, backbones.CHANNELS[backbone], model.settings["model"]["channels"]).head
    encoder = convolution_flops(model.encoder, size)
    return {"segment": 2 * encoder + 3 * head, "tune": encoder + 2 * head,
            "segment_tuned": encoder + head}


def convolution_flops(encoder: keras.Model, size: int) -> int:
    """Two a multiply-add of every convolution in the encoder's graph for one photo."""
    graph = tf.function(lambda x: encoder(x), autograph=False).get_concrete_function(
        tf.TensorSpec([1, size, size, 3], tf.uint8)).graph
    total = 0
    for operation in graph.get_operations():
        if operation.type == "Conv2D":
            height, width, inputs, outputs = operation.inputs[1].shape
            _, rows, columns, _ = operation.outputs[0].shape
            total += 2 * rows * columns * height * width * inputs * outputs
    return total


def untrained(folder: str | Path, backbone: Any, size: int, encoder: str = "float32") -> Trained:
    """A `Trained` of random weights, the paper's layers."""
    # An option's number is of a type of its own, which YAML cannot write.
    config = Config(data=DataConfig(image_size=int(size)),
                    model=ModelConfig(backbone=backbone, weights="none",
                                      comparator="concatenate",
                                      train_backbone=backbone == "small"))
    if (Path(folder) / "config.yaml").is_file():
        run = Run.open(folder)
    else:
        run = Run.create(folder, config)
        run.save_model(build_model(config))
    return Trained.load(run.folder, 1, encoder, threshold=0.5)


def inputs_of(trained: Trained, batch: int) -> dict[str, dict[str, np.ndarray]]:
    """{signature: inputs} of `batch` episodes of noise, an object in the middle."""
    size, numbers = trained.config.data.image_size, trained.model.head.summary_size
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    mask = np.zeros((batch, size, size), np.uint8)
    mask[:, size // 4:size // 2, size // 4:size // 2] = 1
    return {"segment": {"support_image": photos[:, None], "support_mask": mask[:, None],
                        "query_image": photos[::-1].copy()},
            "tune": {"support_image": photos, "support_mask": mask},
            "segment_tuned": {"query_image": photos,
                              "prototype": rng.random((batch, 1, numbers), np.float32),
                              "score": np.full((batch, 1), 0.5, np.float32)}}


def best_times(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Shortest seconds of each {name: call}, in turn, so that a drift of the machine meets all."""
    for call in cases.values():
        call()  # what the first call alone does: compiling, planning
    best = dict.fromkeys(cases, np.inf)
    for _ in range(rounds):
        for name, call in cases.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(folder: Path, options: Any) -> None:
    """Export a segmenter of random weights into a folder, time it and print; `export.bench`."""
    wide = untrained(folder / "run", options.backbone, options.image_size)
    flops = floors(wide.model, options.image_size)
    models = _models(folder, wide, options)
    if not options.load_only:
        _compare(wide, models, flops, options)
    print(f"{options.backbone} at {options.image_size} pixels, 1-shot, under load")
    load.report(folder / "models", "segment_tuned", inputs_of(wide, 1)["segment_tuned"],
                options.clients, options.requests)


def _compare(wide, models, flops, options):
    rate = matrix_rate()
    devices = ", ".join(d.name for d in tf.config.list_logical_devices())
    print(f"{options.backbone} at {options.image_size} pixels, 1-shot, on {devices}; FLOPs of an "
          "episode: " + ", ".join(f"{name} {value / 1e9:.1f} G" for name, value in flops.items())
          + f"; matrix rate {rate / 1e9:.0f} GFLOP/s")
    print(f"{'':42}{'ms / episode':>13}{'times floor':>13}{'over float32':>14}", flush=True)
    plain = {}
    for batch in options.batches:
        feeds = inputs_of(wide, batch)
        for name in SIGNATURES:
            cases: dict[str, Callable[[], object]] = {
                kind: partial(model.run, name, feeds[name]) for kind, model in models.items()}
            best = best_times(cases, options.rounds)
            rate = max(rate, matrix_rate())
            plain[name, batch] = best["float32"] / batch
            for kind, seconds in best.items():
                print(f"{name:14} {kind:16} batch {batch:3} {1000 * seconds / batch:13.0f}"
                      f"{seconds / batch / (flops[name] / rate):13.2f}"
                      f"{seconds / best['float32']:14.2f}", flush=True)
    one, whole = (plain[name, options.batches[0]] for name in ("segment_tuned", "segment"))
    print(f"segment_tuned over segment: {one / whole:.2f}   (FLOPs: "
          f"{flops['segment_tuned'] / flops['segment']:.2f})")
    _classes(models, inputs_of(wide, 1)["segment_tuned"], flops, max(
        rate, matrix_rate()), options)


def _classes(models, feed, flops, rate, options):
    """Several classes in one photo: one call of segment_many against a call a class."""
    count = options.classes
    together = feed | {name: np.repeat(feed[name][:, None], count, 1)
                       for name in ("prototype", "score")}
    head = flops["tune"] - flops["segment_tuned"]
    floor = (flops["segment_tuned"] + (count - 1) * head) / rate
    for kind, model in models.items():
        def each(model=model):
            for _ in range(count):
                model.run("segment_tuned", feed)

        best = best_times({"many": partial(model.run, "segment_many", together), "each": each},
                          options.rounds)
        print(f"segment_many, {count} classes in a photo, {kind}: {1000 * best['many']:.0f} ms, "
              f"{best['many'] / best['each']:.2f} of {count} calls of segment_tuned, "
              f"{best['many'] / floor:.2f} times its floor", flush=True)


def _models(folder, wide, options):
    """{variant: what `run`s a signature}."""
    def saved(name, trained, **kinds):
        with tf.device("/cpu:0"), contextlib.redirect_stdout(None):
            saving.save(trained, folder / name, **kinds)
        return SavedModel(folder / name)

    saved("served", wide)
    (folder / "models").mkdir()
    (folder / "served").rename(folder / "models" / "1")
    models: dict[str, SavedModel | onnx_files.OnnxModel] = {
        "float32": SavedModel(folder / "models" / "1")}
    if "xla" in options.variants:
        models["float32, XLA"] = saved("xla", wide, fixed=True, jit_compile=True)
    if "bfloat16" in options.variants:
        narrow = untrained(folder / "run", options.backbone, options.image_size, "bfloat16")
        models["bfloat16"] = saved("bfloat16", narrow)
    if "onnx" in options.variants:
        from export import onnx_graph  # its packages come with the extra `onnx`
        (folder / "onnx").mkdir()
        signatures = wide.signatures()
        for name in onnx_files.NAMES:
            converted = onnx_graph.convert(getattr(signatures, name), signatures.specs()[name])
            (folder / "onnx" / f"{name}.onnx").write_bytes(converted.SerializeToString())
        models["ONNX"] = onnx_files.OnnxModel(folder / "onnx")
    return models
