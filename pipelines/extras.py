# SPDX-License-Identifier: Apache-2.0
"""Optional packages, and the extra of sst-tf that brings each."""

import os

from pipelines.errors import UserError

EXTRAS = {  # top-level module: extra
    "array_record": "records",
    "cvat_sdk": "formats",
    "importlib_resources": "tfds",
    "jinja2": "report",
    "matplotlib": "report",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pyarrow": "batch",
    "pycocotools": "coco",
    "ray": "batch",
    "starlette": "serving",
    "tensorboard": "tensorboard",
    "tensorflow_datasets": "tfds",
    "tensorflow_serving": "serving",
    "tf2onnx": "onnx",
    "torch": "peers",
    "uvicorn": "serving",
}
OTHERS = ("jax", "openvino")  # what other backends of Keras need, and no extra brings


def missing_extra(error: ImportError) -> UserError | None:
    """The line that names the extra to install, or None where the module is of no extra."""
    module = (error.name or "").partition(".")[0]
    if module in OTHERS or os.environ.get("KERAS_BACKEND") == module != "tensorflow":
        return UserError(f"Keras is set to a backend that needs {module}, which is not here; this "
                         "package computes with TensorFlow: set KERAS_BACKEND=tensorflow")
    if module not in EXTRAS:
        return None
    extra = EXTRAS[module]
    return UserError(f"{module} is missing; it comes with the extra `{extra}`: "
                     f"pip install 'sst-tf[{extra}]'")
