# SPDX-License-Identifier: Apache-2.0
"""Backbone weights: ImageNet's, a file by layer name, or none."""

import difflib
from pathlib import Path

import h5py
import keras
import numpy as np

from pipelines.errors import UserError

APPLICATIONS = {"resnet50": "ResNet50", "vgg16": "VGG16"}


def load(backbone: keras.Model, weights: str) -> None:
    """Fill a backbone of `sst_tf.model.backbones`.

    Args:
        backbone: functional model; its name tells the architecture.
        weights: "none"; "imagenet" (Keras downloads them; ResNet-50 and VGG-16); or a path: an
            `.npz` of `layer/variable` arrays or a Keras notop `.h5`. float16 arrays are widened.
    Raises:
        UserError: missing file, unknown format, missing tensors, or another architecture's shapes.
    """
    if weights == "none":
        return
    if weights == "imagenet":
        _from_application(backbone)
        return
    path = Path(weights)
    if not path.is_file():
        raise UserError(f"{path}: no such weights file (model.weights); give a path to an .npz or "
                        "notop .h5 file, 'imagenet' or 'none'")
    _assign(backbone, read(path), str(path))


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays of a weights file as {"layer/variable": array}."""
    path = Path(path)
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return {name: arrays[name] for name in arrays.files}
        if path.suffix in (".h5", ".hdf5"):
            return _read_h5(path)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as a weights file ({error}); it may be cut "
                        "short: fetch it again") from None
    except Exception as error:  # zipfile's own BadZipFile among them
        raise UserError(f"{path}: cannot be read as a weights file ({error}); fetch it again"
                        ) from None
    raise UserError(f"{path}: unknown kind of weights file; .npz and .h5 are read")


def _read_h5(path):
    arrays = {}
    with h5py.File(path, "r") as file:
        root = file["model_weights"] if "model_weights" in file else file

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                parts = name.split("/")
                arrays[f"{parts[0]}/{parts[-1].split(':')[0]}"] = item[()]

        root.visititems(visit)
    return arrays


def _assign(backbone, arrays, source):
    # Everything is compared before the first variable is touched: no half-loaded backbone.
    assignments, missing, wrong = [], [], []
    for layer in backbone.layers:
        for variable in layer.weights:
            key = f"{layer.name}/{variable.name}"
            if key not in arrays:
                missing.append(key)
            elif tuple(arrays[key].shape) != tuple(variable.shape):
                wrong.append(f"{key} is {list(arrays[key].shape)}, expected "
                             f"{list(variable.shape)}")
            else:
                assignments.append((variable, arrays[key]))
    if missing or wrong:
        total = len(assignments) + len(missing) + len(wrong)
        if len(assignments) == 0 or wrong:
            reason = f"holds weights of another architecture than {backbone.name}"
        else:
            reason = f"lacks tensors of {backbone.name}"
        example = (wrong or missing)[0]
        near = difflib.get_close_matches(example.split(" ")[0], arrays, 1)
        hint = f" (it has {near[0]})" if near and not wrong else ""
        raise UserError(f"{source}: {reason}: {len(missing)} of {total} tensors missing, "
                        f"{len(wrong)} of another shape, first {example}{hint}; check "
                        "model.backbone against the file")
    for variable, value in assignments:
        if not np.isfinite(value).all():
            raise UserError(f"{source}: {variable.path} has values that are not finite; half "
                            "precision holds 65,504 at most: store batch norm in float32")
    for variable, value in assignments:
        variable.assign(np.asarray(value, np.float32))


def _from_application(backbone):
    if backbone.name not in APPLICATIONS:
        raise UserError(f"model.weights: 'imagenet' is not downloadable for {backbone.name}; "
                        "docs/weights.md has a recipe that makes the file, or use 'none'")
    try:
        published = getattr(keras.applications, APPLICATIONS[backbone.name])(
            weights="imagenet", include_top=False)
    except Exception as error:  # the download fails in many ways, all with the same remedy
        raise UserError(f"model.weights: Keras could not download {backbone.name}'s ImageNet "
                        f"weights ({error}); give the path of a file or 'none'") from None
    arrays = {f"{layer.name}/{variable.name}": variable.numpy()
              for layer in published.layers for variable in layer.weights}
    _assign(backbone, arrays, "imagenet")
