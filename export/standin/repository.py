# SPDX-License-Identifier: Apache-2.0
"""Versions of models from watched folders: loaded, warmed up, then swapped in.

A request holds the version that it began with, so that a swap loses none; the old version goes when
its last request is done.
"""

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export import versions
from export.standin import protos, tensors
from export.standin.runtime import RuntimeFailure, SavedModel

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION = 3, 5, 9


class RequestError(Exception):
    """What a client gets; `code` is gRPC's number."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


@dataclass
class ModelConfig:
    """One model to serve.

    Attributes:
        base_path: folder of numbered versions.
        latest: how many of the highest versions stay loaded; 0 for all.
        specific: version numbers to load, in place of the latest.
        labels: {label: version}.
    """

    base_path: str
    latest: int = 1
    specific: list[int] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def read_config(path: str | Path) -> dict[str, ModelConfig]:
    """{name: `ModelConfig`} of a models.config file, as TensorFlow Serving reads it."""
    from google.protobuf import text_format
    message = protos.serving().model_server_config_pb2.ModelServerConfig()
    text_format.Parse(Path(path).read_text(encoding="utf-8"), message)
    found = {}
    for one in message.model_config_list.config:
        policy = one.model_version_policy
        found[one.name] = ModelConfig(
            one.base_path, 0 if policy.HasField("all") else max(1, policy.latest.num_versions),
            list(policy.specific.versions), dict(one.version_labels))
    return found


class Repository:
    """Models by name, their versions in step with what lies in the folders.

    Args:
        models: {name: `ModelConfig`}.
        log: called with a line for each change.
    """

    def __init__(self, models: dict[str, ModelConfig], log: Callable[[str], object] = print):
        self.models, self.log = models, log
        self._loaded: dict[str, dict[int, SavedModel]] = {
            name: {} for name in models}  # replaced whole, never changed in place
        self._failed: dict[str, dict[int, str]] = {name: {} for name in models}  # reasons
        self._stop = threading.Event()

    def refresh(self) -> None:
        """Load what is new, then let go of what is no longer wanted."""
        for name, model in self.models.items():
            try:
                there = versions.numbers(model.base_path)
            except OSError:
                there = []
            wanted = ([v for v in model.specific if v in there] or
                      there[-model.latest if model.latest else 0:])
            loaded, failed = self._loaded[name], self._failed[name]
            for version in wanted:
                if version not in loaded and version not in failed:
                    try:
                        fresh = self._load(Path(model.base_path) / str(version))
                    except Exception as error:  # what a damaged folder raises is open
                        failed[version] = str(error)
                        self.log(f"{name}: version {version} not loaded: {error}")
                        continue
                    self._loaded[name] = loaded = {**loaded, version: fresh}
                    self.log(f"{name}: version {version} available")
            if any(version in loaded for version in wanted):
                gone = [v for v in loaded if v not in wanted]
                self._loaded[name] = {v: m for v, m in loaded.items() if v in wanted}
                for version in gone:
                    self.log(f"{name}: version {version} unloaded")
            self._failed[name] = {v: why for v, why in failed.items() if v in there}

    def watch(self, seconds: float) -> None:
        """`refresh` for ever, in a thread of its own."""
        def loop():
            while not self._stop.wait(seconds):
                self.refresh()
        threading.Thread(target=loop, daemon=True).start()

    def stop(self) -> None:
        """End `watch`."""
        self._stop.set()

    def model(self, name: str, version: int | None = None,
              label: str | None = None) -> tuple[int, SavedModel]:
        """(version, `SavedModel`); the highest loaded one unless told."""
        if name not in self.models:
            raise RequestError(NOT_FOUND, f"Servable not found for request: {name}")
        if label:
            labels = self.models[name].labels
            if label not in labels:
                raise RequestError(NOT_FOUND, f"{name}: no version label {label!r}")
            version = labels[label]
        loaded = self._loaded[name]
        version = version or max(loaded, default=None)
        if version not in loaded:
            raise RequestError(NOT_FOUND, f"Servable not found for request: {name}, "
                                          f"version {version or 'any'}")
        return version, loaded[version]

    def predict(self, name: str, signature: str, inputs: dict[str, np.ndarray] | Callable,
                version: int | None = None,
                label: str | None = None) -> tuple[int, str, dict[str, np.ndarray]]:
        """(version, signature, {output: array}); `inputs` reach the graph as they are.

        Args:
            inputs: {input: array}, or a function of the signature's {input: `TensorInfo`}.
        """
        version, model = self.model(name, version, label)
        signature = signature or "serving_default"
        if signature not in model.signatures:
            raise RequestError(FAILED_PRECONDITION,
                               f'Serving signature key "{signature[:100]}" not found')
        taken = model.signatures[signature][0]
        inputs = inputs(taken) if callable(inputs) else inputs
        if set(inputs) != set(taken):
            raise RequestError(INVALID_ARGUMENT,
                               f"inputs {sorted(map(str, inputs))[:10]} are not the signature's "
                               f"{sorted(taken)}")
        try:
            return version, signature, model.run(signature, inputs)
        except RuntimeFailure as error:
            raise RequestError(error.code, str(error)) from None

    def status(self, name: str, version: int | None = None,
               label: str | None = None) -> list[tuple[int, bool, str]]:
        """[(version, available, reason)], highest first."""
        if name not in self.models:
            raise RequestError(NOT_FOUND, f"Could not find any versions of model {name}")
        if version or label:
            return [(self.model(name, version, label)[0], True, "")]
        states = [(v, True, "") for v in self._loaded[name]]
        states += [(v, False, why) for v, why in self._failed[name].items()]
        if not states:
            raise RequestError(NOT_FOUND, f"Could not find any versions of model {name}")
        return sorted(states, reverse=True)

    def _load(self, folder):
        model = SavedModel(folder)
        for signature, inputs in _warmups(folder / WARMUP):
            model.run(signature, inputs)
        return model


def _warmups(path):
    """(signature, inputs) of each recorded request."""
    if not path.is_file():
        return
    logs = protos.serving().prediction_log_pb2
    data, at = path.read_bytes(), 0
    while at < len(data):  # TFRecord: length, its checksum, the record, its checksum
        length, = struct.unpack_from("<Q", data, at)
        request = logs.PredictionLog.FromString(data[at + 12:at + 12 + length]).predict_log.request
        yield (request.model_spec.signature_name,
               {name: tensors.from_proto(value) for name, value in request.inputs.items()})
        at += 16 + length
