# SPDX-License-Identifier: Apache-2.0
"""Versions of models from watched folders: loaded, warmed up, then swapped in.

A request holds the version that it began with, so that a swap loses none; the old version goes when
its last request is done.
"""

import struct
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export import versions
from export.standin import protos, tensors
from export.standin.batching import Batcher
from export.standin.errors import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    UNKNOWN,
    RequestError,
)
from export.standin.models_config import ModelConfig
from export.standin.runtime import RuntimeFailure, SavedModel

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"


@dataclass(frozen=True)
class State:
    """Where a version is in its life: LOADING, AVAILABLE or END; the error that ended it."""

    name: str
    code: int = 0
    reason: str = ""


class Repository:
    """Models by name, their versions in step with what lies in the folders.

    Args:
        models: {name: `ModelConfig`}.
        log: called with a line for each change.
        batcher: joins requests; each runs alone without one.
        early_labels: a new label may name a version that is not loaded yet.
    """

    def __init__(self, models: dict[str, ModelConfig], log: Callable[[str], object] = print,
                 batcher: Batcher | None = None, early_labels: bool = False):
        self.models, self.log, self.batcher, self.early_labels = models, log, batcher, early_labels
        # Inner dictionaries are replaced whole, never changed in place: readers take no lock.
        self._loaded: dict[str, dict[int, SavedModel]] = {}
        self._states: dict[str, dict[int, State]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._changing = threading.Lock()
        self._stop = threading.Event()

    def refresh(self) -> None:
        """Load what is new, then let go of what is no longer wanted."""
        with self._changing:
            for name, model in self.models.items():
                self._refresh(name, model)

    def reload(self, models: dict[str, ModelConfig]) -> None:
        """Serve these models and no others; then set their labels.

        Raises:
            RequestError: a new model has no version, or a label names one that is not loaded; the
                models are served all the same, the labels stay as they were.
        """
        with self._changing:
            new = [name for name in models if name not in self.models]
            for name in [name for name in self.models if name not in models]:
                self._release(name, list(self._loaded.get(name, {})))
            self.models = models
            for name, model in models.items():
                self._refresh(name, model)
            missing = [name for name in new if not self._loaded.get(name)]
            if missing:
                raise RequestError(UNKNOWN, "Some models did not become available: "
                                            f"{{{', '.join(missing)}}}")
            self.label()

    def label(self) -> None:
        """Set the labels that the models' configuration asks for."""
        for name, model in self.models.items():
            for label, version in model.labels.items():
                moved = self._labels.get(name, {}).get(label, version) != version
                if version not in self._loaded.get(name, {}) and (moved or not self.early_labels):
                    raise RequestError(
                        FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {name}, which is "
                        "not currently available for inference")
        self._labels = {name: dict(model.labels) for name, model in self.models.items()}

    def watch(self, seconds: float) -> None:
        """`refresh` for ever, in a thread of its own; never again for 0 seconds, as the server."""
        def loop():
            while not self._stop.wait(seconds):
                try:
                    self.refresh()
                except Exception as error:  # what a file system raises is open
                    self.log(f"looking for new versions: {error}")

        if seconds <= 0:
            return
        threading.Thread(target=loop, daemon=True).start()

    def stop(self) -> None:
        """End `watch`."""
        self._stop.set()

    def model(self, name: str, version: int | None = None,
              label: str | None = None) -> tuple[int, SavedModel]:
        """(version, `SavedModel`); the highest loaded one unless told."""
        if not name:
            raise RequestError(INVALID_ARGUMENT, "ModelSpec has no name specified.")
        if label:
            if label not in self._labels.get(name, {}):
                raise RequestError(INVALID_ARGUMENT,
                                   f"Unrecognized servable version label: {label}")
            version = self._labels[name][label]
        loaded = self._loaded.get(name, {})
        found = max(loaded, default=None) if version is None else version
        if found is None or found not in loaded:
            which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise RequestError(NOT_FOUND, f"Servable not found for request: {which}")
        return found, loaded[found]

    def run(self, model: SavedModel, signature: str, inputs: dict[str, np.ndarray],
            outputs: list[str] | None = None, seconds: float | None = None
            ) -> dict[str, np.ndarray]:
        """{output: array}; `inputs` reach the graph as they are, but for their names.

        Args:
            outputs: names of those to compute; all unless told.
            seconds: after which the runtime gives up.
        """
        self.check(model, signature, inputs)
        given = model.signatures[signature][1]
        outputs = outputs or list(given)
        for place, name in enumerate(outputs):
            if name not in given:
                raise RequestError(INVALID_ARGUMENT, "output tensor alias not found in signature: "
                                   f"{name[:100]} Outputs expected to be in the set "
                                   f"{{{_names(given)}}}.")
            if name in outputs[:place]:
                raise RequestError(INVALID_ARGUMENT, f"duplicate output tensor alias: {name}")
        try:
            if self.batcher:
                return self.batcher.run(model, signature, inputs, outputs, seconds)
            return model.run(signature, inputs, outputs, seconds)
        except RuntimeFailure as error:
            raise RequestError(error.code, str(error)) from None

    def check(self, model: SavedModel, signature: str, inputs: Collection[str]) -> None:
        """Refuse a signature that is not there, and other names of inputs than it takes."""
        if signature not in model.signatures:
            raise RequestError(FAILED_PRECONDITION,
                               f'Serving signature key "{signature[:100]}" not found.')
        taken = model.signatures[signature][0]
        if set(inputs) != set(taken):
            extra, missing = (_names(one) for one in (set(inputs) - set(taken),
                                                      set(taken) - set(inputs)))
            raise RequestError(
                INVALID_ARGUMENT,
                f"input size does not match signature: {len(inputs)}!={len(taken)} "
                f"len({{{_names(inputs)}}}) != len({{{_names(taken)}}}). "
                f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}.")

    def status(self, name: str, version: int | None = None) -> list[tuple[int, State]]:
        """[(version, `State`)], highest first; versions that were let go of stay in the list."""
        states = self._states.get(name, {})
        if version is not None:
            if version not in states:
                raise RequestError(NOT_FOUND, f"Could not find version {version} of model {name}")
            return [(version, states[version])]
        if not states:
            raise RequestError(NOT_FOUND, f"Could not find any versions of model {name}")
        return sorted(states.items(), reverse=True)

    def _refresh(self, name, model):
        try:
            there = versions.folders(model.base_path)
        except OSError:
            there = {}
        wanted = ([v for v in model.specific if v in there] if model.specific else
                  list(there)[-model.latest if model.latest else 0:])
        for version in wanted:
            state = self._states.get(name, {}).get(version)
            # What failed is tried again once its folder has been away.
            if version in self._loaded.get(name, {}) or (state and state.code):
                continue
            self._set(name, version, State("LOADING"))
            try:
                fresh = self._load(there[version])
            except Exception as error:  # what a damaged folder raises is open
                self._set(name, version, State("END", getattr(error, "code", UNKNOWN), str(error)))
                self.log(f"{name}: version {version} not loaded: {error}")
                continue
            self._loaded[name] = {**self._loaded.get(name, {}), version: fresh}
            self._set(name, version, State("AVAILABLE"))
            self.log(f"{name}: version {version} available")
        loaded = self._loaded.get(name, {})
        if any(version in loaded for version in wanted):
            self._release(name, [v for v in loaded if v not in wanted])
        self._states[name] = {v: state for v, state in self._states.get(name, {}).items()
                              if v in there or not state.code}

    def _release(self, name, gone):
        self._loaded[name] = {v: m for v, m in self._loaded.get(name, {}).items() if v not in gone}
        for version in gone:
            self._set(name, version, State("END"))
            self.log(f"{name}: version {version} unloaded")

    def _set(self, name, version, state):
        self._states[name] = {**self._states.get(name, {}), version: state}

    def _load(self, folder):
        model = SavedModel(folder)
        for signature, inputs in _warmups(folder / WARMUP):
            model.run(signature, inputs)
        return model


def _names(names):
    return ",".join(sorted(str(name)[:100] for name in list(names)[:10]))


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
