# SPDX-License-Identifier: Apache-2.0
"""What all take part with: one set of weights, one batch of episodes, exports of the model."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import yaml

from export.bench_peers.options import Options
from pipelines.errors import UserError
from pipelines.sources import open_source
from pipelines.writing import write_json, write_text


def prepare(folder: Path, options: Options) -> None:
    """Write run, weights, episode, both exports, facts; photos where there are none."""
    import tensorflow as tf

    from export import onnx_graph, saving
    from export.trained import Trained
    from pipelines import episodes

    weights = _run(folder / "run", options)
    trained = Trained.load(folder / "run", 1, threshold=0.5)
    np.savez(folder / "weights.npz", **{v.path: v.numpy() for v in trained.model.weights})
    drawn = next(episodes("shapes", image_size=options.image_size, batch=options.batch,
                          count=options.batch, seed=1).as_numpy_iterator())
    episode = {name: drawn[name] for name in ("support_image", "support_mask", "query_image",
                                              "query_mask")}
    for name in ("support", "query"):
        images = episode[f"{name}_image"].reshape(-1, *episode[f"{name}_image"].shape[-3:])
        features = trained.model.encoder.features(tf.constant(images)).numpy()
        episode[f"{name}_features"] = features[:, None] if name == "support" else features
    np.savez(folder / "episode.npz", **episode)
    with contextlib.redirect_stdout(None):
        saving.save(trained, folder / "saved")
    (folder / "onnx").mkdir()
    signatures = trained.signatures()
    graph = onnx_graph.convert(signatures.segment, signatures.specs()["segment"])
    (folder / "onnx" / "segment.onnx").write_bytes(graph.SerializeToString())
    write_json(folder / "facts.json", {"weights": weights, "photos": photos(folder, options).name})


def facts(folder: Path) -> dict:
    """What `prepare` says of what it wrote."""
    return json.loads((folder / "facts.json").read_text(encoding="utf-8"))


def _run(folder, options):
    """Make the run; returns which weights it has."""
    from sst_tf.config import Config, DataConfig, ModelConfig
    from sst_tf.presets.preset import Preset
    from sst_tf.runs.directory import Run
    from sst_tf.runs.factory import build_model

    try:
        preset = Preset.load(options.preset)
        config, model, words = preset.config(), preset.model(), f"preset {options.preset}"
    except UserError:  # its backbone is not at hand: other numbers, the same work
        config = Config(data=DataConfig(image_size=options.image_size),
                        model=ModelConfig(backbone="resnet18", weights="none", channels=64))
        model, words = build_model(config), "random"
    # The network in PyTorch looks once.
    Run.create(folder, replace(config, model=replace(config.model, second_look=0.0))
               ).save_model(model)
    return words


def photos(folder: Path, options: Options) -> Path:
    """A data set in VOC layout: the asked-for one, or drawn pictures where it is not there."""
    if (Path(options.root) / "JPEGImages").is_dir():
        return Path(options.root)
    root = folder / "drawn"
    if root.is_dir():
        return root
    source = open_source("shapes", image_size=500, count=120)
    for name in ("JPEGImages", "SegmentationClass"):
        (root / name).mkdir(parents=True)
    write_text(root / "classes.txt", "\n".join(source.classes) + "\n")
    for name in source.image_ids("all"):
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), source.read_image(name)[..., ::-1])
        cv2.imwrite(str(root / "SegmentationClass" / f"{name}.png"), source.read_mask(name))
    return root


def settings(folder: Path) -> dict:
    """The run's configuration, by section."""
    return yaml.safe_load((folder / "run" / "config.yaml").read_text(encoding="utf-8"))
