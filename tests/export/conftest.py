# SPDX-License-Identifier: Apache-2.0
"""A run of random weights on drawn shapes, and what it exports."""

import os

import pytest
from filelock import FileLock

from export import onnx_files, saving
from export.trained import Trained
from pipelines.writing import write_json
from sst_tf.config import Config, DataConfig, ModelConfig, TunerConfig
from sst_tf.data.run_data import open_data
from sst_tf.runs.directory import Run
from sst_tf.runs.factory import build_model

THRESHOLDS = {"1": {"tuned": 40}, "2": {"tuned": 60}}


def make_run(folder, data, backbone="small", weights="none", method="sst", steps=1,
             second_look=0.0):
    """A finished run as `sst_tf.train` leaves it, its head's answers worth comparing."""
    config = Config(data=data, model=ModelConfig(
        method=method, backbone=backbone, weights=weights, channels=16,
        train_backbone=backbone == "small", second_look=second_look),
        tuner=TunerConfig(steps=steps))
    run = Run.create(folder, config)
    model = build_model(config)
    for variable in model.head.trainable_variables:
        if variable.path.endswith("classify/kernel"):  # starts small; here it should matter
            variable.assign(variable * 30)
    run.save_model(model)
    write_json(run.thresholds_path, THRESHOLDS)
    write_json(run.folder / "classes.json", open_data(config).class_names())
    return run


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(name, make): a folder that `make(folder)` fills, in one of the tests' processes."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def filled(name, make):
        with FileLock(root / f"{name}.lock"):
            if not (root / name).exists():
                make(root / name)
        return root / name
    return filled


@pytest.fixture(scope="session")
def run(once):
    return Run(once("run", lambda folder: make_run(
        folder, DataConfig(image_size=65, count=500))))


@pytest.fixture(scope="session")
def trained(run):
    return Trained.load(run.folder, shots=2)


@pytest.fixture(scope="session")
def exported(trained, once):
    """Folder of version 1."""
    return once("models", lambda folder: saving.export(trained, folder)) / "1"


@pytest.fixture(scope="session")
def converted(trained, once):
    """Folder of a version of ONNX files."""
    return once("onnx", lambda folder: onnx_files.export(trained, folder, episodes=2)) / "1"


@pytest.fixture(scope="session")
def convert_again(converted):
    """In the place of `onnx_graph.convert`, which takes long: the same graphs once more."""
    import onnx

    def convert(function, specs):
        return onnx.load(converted / f"{function.__name__}.onnx")
    return convert


@pytest.fixture
def kept_graphs(convert_again, monkeypatch):
    from export import onnx_graph  # brings tf2onnx, which most tests need not wait for

    monkeypatch.setattr(onnx_graph, "convert", convert_again)
