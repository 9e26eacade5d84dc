# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's messages without TensorFlow: a client starts in a blink, a server stays small.

The generated modules lie inside the tensorflow package, whose own start takes seconds. Where it has
not been imported yet, a bare package of its name stands in while they are read; a later
`import tensorflow` works as ever.
"""

import contextlib
import functools
import importlib.util
import sys
import threading
import types
from pathlib import Path


def tensorflow_folder() -> Path:
    """Where the installed tensorflow package lies; it is not imported."""
    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None and spec.submodule_search_locations, "a base dependency"
    return Path(spec.submodule_search_locations[0])


@contextlib.contextmanager
def _without_tensorflow():
    if "tensorflow" in sys.modules:
        yield
        return
    package = types.ModuleType("tensorflow")
    package.__path__ = [str(tensorflow_folder())]
    sys.modules["tensorflow"] = package
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


with _without_tensorflow():
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2

__all__ = ["config_pb2", "meta_graph_pb2", "saved_model_pb2", "tensor_pb2", "serving",
           "tensorflow_folder", "types_pb2"]


_READING = threading.Lock()


def serving() -> types.SimpleNamespace:
    """Modules of tensorflow-serving-api, by name; ImportError without the extra `serving`."""
    with _READING:  # threads that met in it would take each other's bare package away
        return _serving()


@functools.cache
def _serving():
    names = ("predict_pb2", "prediction_log_pb2", "prediction_service_pb2_grpc",
             "model_service_pb2_grpc", "get_model_status_pb2", "get_model_metadata_pb2",
             "model_management_pb2")
    with _without_tensorflow():
        modules = {name: importlib.import_module(f"tensorflow_serving.apis.{name}")
                   for name in names}
        name = "model_server_config_pb2"
        modules[name] = importlib.import_module(f"tensorflow_serving.config.{name}")
        return types.SimpleNamespace(**modules)
