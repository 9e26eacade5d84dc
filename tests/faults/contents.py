# SPDX-License-Identifier: Apache-2.0
"""What a folder holds, so that two can be compared: parsed where a date or a duration is inside."""

import csv
import hashlib
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import yaml

# Differ from run to run by what they are: dates, durations, the model file's own date.
VOLATILE = {"seconds", "commit", "command", "model_sha256", "sha256_of_the_rest", "run",
            "run_dir", "config_sha256", "info", "date_saved", "date_created"}
UNREAD = re.compile(r"(^|/)(tensorboard/|\.?[\w.]*lock$|log\.txt$)")  # a log that grows, and locks
TEMPORARY = re.compile(r"(^|/)(\.partial-|[^/]*\.(tmp|partial)$)")
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


class Half(Exception):
    """A file that cannot be read as what its name says."""


def files(folder: Path) -> dict[str, Path]:
    """{name under the folder: path} of all files but temporary ones; empty folders count, too."""
    return {name: path for path in sorted(folder.rglob("*"))
            if not TEMPORARY.search(name := path.relative_to(folder).as_posix())
            and (path.is_file() or not any(path.iterdir()))}


def temporary(folder: Path) -> list[str]:
    """Names of temporary files and folders."""
    return [name for path in folder.rglob("*")
            if TEMPORARY.search(name := path.relative_to(folder).as_posix())]


def content(path: Path, folder: Path, inputs: Path | None = None) -> object:
    """A file's content; numbers stay numbers.

    Args:
        folder, inputs: their paths are told by other words, as two runs lie in different places.
    Raises:
        Half: it is not whole.
    """
    if path.is_dir() or UNREAD.search(path.relative_to(folder).as_posix()):
        return None
    data = path.read_bytes()
    try:
        value = NAMED.get(path.name, READ.get(path.suffix, _plain))(data)
        return _elsewhere(value, {str(folder): "FOLDER"} | ({str(inputs): "INPUTS"} if inputs
                                                            else {}))
    except Exception as error:  # of many libraries
        raise Half(f"{path.relative_to(folder)}: {type(error).__name__} {error}"[:200]) from None


def same(a: object, b: object) -> bool:
    """Equal, numbers within `TOLERANCE`."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and (np.allclose(a, b, **TOLERANCE, equal_nan=True)
                                       if a.dtype.kind in "fiu" else np.array_equal(a, b))
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, **TOLERANCE, equal_nan=True))
    return a == b


def _elsewhere(value, names):
    if isinstance(value, dict):
        return {_elsewhere(key, names): _elsewhere(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_elsewhere(one, names) for one in value]
    if isinstance(value, str):
        for name, other in names.items():
            value = value.replace(name, other)
    return value


def _stable(value):
    if isinstance(value, dict):
        return {key: _stable(one) for key, one in value.items() if key not in VOLATILE}
    return [_stable(one) for one in value] if isinstance(value, list) else value


def _json(data):
    try:
        return _stable(json.loads(data))
    except json.JSONDecodeError:  # a value a line, as of the index's cache
        return [_stable(json.loads(line)) for line in _lines(data).splitlines()]


def _yaml(data):
    return yaml.safe_load(_lines(data))


def _points(data):
    """Operating points, whose names and settings have the hash of the model's file: it is dated."""
    return {name.split()[0]: point | {"settings": {
        key: value for key, value in point["settings"].items() if key != "model"}}
        for name, point in _json(data).items()}


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def _csv(data):
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    if not data.endswith(b"\n"):
        raise ValueError("the last line does not end")
    return [{key: _number(text) for key, text in row.items() if key not in VOLATILE}
            for row in rows]


def _npz(data):
    with np.load(io.BytesIO(data)) as arrays:
        return {key: _json(str(arrays[key])) if arrays[key].dtype.kind == "U"
                and str(arrays[key])[:1] == "{" else arrays[key] for key in arrays.files}


def _keras(data):
    import h5py

    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive, h5py.File(
            io.BytesIO(archive.read("model.weights.h5"))) as weights:
        weights.visititems(lambda name, one: found.update({name: np.asarray(one)})
                           if isinstance(one, h5py.Dataset) else None)
        return found | {"config": _json(archive.read("config.json"))}


def _picture(data):
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
    return _plain(data)


def _lines(data):
    if data and not data.endswith(b"\n"):
        raise ValueError("the last line does not end")
    return data.decode()


def _whole(data):
    return bool(_lines(data))  # a card tells date and commit


def _parquet(data):
    from pyarrow import parquet

    return parquet.read_table(io.BytesIO(data)).to_pylist()


def _onnx(data):
    import onnx

    graph = onnx.load_model_from_string(data).graph
    constants = [onnx.numpy_helper.to_array(one) for one in graph.initializer]
    # tf2onnx gives the same graph another order and other names each time.
    return {"operations": sorted(node.op_type for node in graph.node),
            "constants": sorted(constants, key=lambda one: (one.dtype.name, one.shape,
                                                            one.tobytes()))}


def _saved_model(data):
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString(data).meta_graphs[0]
    return {name: len(one.inputs) for name, one in graph.signature_def.items()}


def _fingerprint(data):
    """That it can be read: a number's length depends on its value."""
    from tensorflow.core.protobuf import fingerprint_pb2

    return len(fingerprint_pb2.FingerprintDef.FromString(data).DESCRIPTOR.fields)


def _plain(data):
    return hashlib.sha256(data).hexdigest()


READ = {".json": _json, ".csv": _csv, ".npz": _npz, ".keras": _keras, ".png": _picture,
        ".jpg": _picture, ".jsonl": _lines, ".txt": _lines, ".yaml": _yaml, ".md": _whole,
        ".parquet": _parquet, ".onnx": _onnx, ".index": len}
NAMED = {"saved_model.pb": _saved_model, "fingerprint.pb": _fingerprint,
         "tf_serving_warmup_requests": len, "thresholds.json": _points, "presence.json": _points}
