# SPDX-License-Identifier: Apache-2.0
"""What a run directory holds and how it is read back."""

import csv
import hashlib
import json
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from pipelines.errors import UserError
from pipelines.sealed import read_sealed, told
from pipelines.writing import replacing, write_json, write_text
from sst_tf import config as configuration
from sst_tf.config import Config
from sst_tf.runs.provenance import environment

if TYPE_CHECKING:  # who reads results alone needs no TensorFlow, which takes seconds to import
    import keras

    from sst_tf.model.segmenter import SSTSegmenter

STARTS = "remove it: under what the run began is lost then"
POINTS = "remove it: the next evaluation chooses its thresholds on base classes again"


class Run:
    """A run directory: `config.yaml` and `identity.json`, `environment.json`, weights,
    `history.csv`, evaluations.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.model_path = self.folder / "model.keras"
        self.identity_path = self.folder / "identity.json"
        self.last_path = self.folder / "last.npz"
        self.history_path = self.folder / "history.csv"
        self.thresholds_path = self.folder / "thresholds.json"
        self.presence_path = self.folder / "presence.json"
        self.preset_path = self.folder / "preset.json"
        self._loaded: str | None = None  # hash of the file that `model` read
        self._hashed: tuple = (None, "")  # the model's file as it was, and its hash

    @classmethod
    def create(cls, folder: str | Path, config: Config) -> "Run":
        """Make the folder and write what the run depends on."""
        run = cls(folder)
        run.folder.mkdir(parents=True, exist_ok=True)
        write_text(run.folder / "config.yaml", yaml.safe_dump(configuration.to_dict(config),
                                                              sort_keys=False))
        write_json(run.folder / "environment.json", {**environment(), "seed": config.train.seed})
        write_json(run.identity_path, configuration.identity(config))
        return run

    def resumed(self) -> None:
        """Note beside the first start under what another one goes on."""
        path = self.folder / "environment.json"
        found = read_sealed(path, STARTS) if path.is_file() else {}
        write_json(path, {**found, "resumed": [*found.get("resumed", []), environment()]})

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """An existing run with a trained model; else a `UserError` that says what is missing."""
        run = cls(folder)
        for path in (run.folder / "config.yaml", run.model_path):
            if not path.is_file():
                raise UserError(f"{path}: not there, so {folder} holds no finished run; train one "
                                "with sst train")
        return run

    def config(self, argv: Sequence[str] = ()) -> Config:
        """The run's configuration, with overrides in the command line's form."""
        config, _ = configuration.parse(configuration.parser(), list(argv),
                                        str(self.folder / "config.yaml"), record=True)
        return config

    def recorded(self) -> bool:
        """Whether the run has begun: its configuration is there."""
        return (self.folder / "config.yaml").is_file()

    def identity(self) -> dict:
        """What changed the run's numbers when it began; see `sst_tf.config.identity`.

        Of a run without a record of it, what its `config.yaml` says today.
        """
        if not self.identity_path.is_file():
            return configuration.identity(self.config())
        return read_sealed(self.identity_path, "bring it back from a copy, or remove it: then "
                                               "config.yaml says what the run is")

    def asked(self) -> dict:
        """`identity`, with the fusion and second look that `config.yaml` has today, as `model`."""
        found = self.identity()
        if not self.recorded():
            return found
        written = configuration.read_yaml(self.folder / "config.yaml") or {}
        answering = {key: value for key, value in written.get("model", {}).items()
                     if key in configuration.ANSWERING}
        today = configuration.identity(
            Config(model=configuration.ModelConfig(**answering)))["model"]
        return {**found, "model": configuration.of_training(found)["model"] | {
            key: today[key] for key in configuration.ANSWERING if key in today}}

    def model(self) -> "SSTSegmenter":
        """The best model, without its optimizer (that of the last epoch is elsewhere).

        Its fusion and second look, which no weight depends on, are those of `config.yaml` today.
        """
        import keras

        from sst_tf.model.segmenter import SSTSegmenter
        try:
            found = self._file_sha256()
            model = keras.saving.load_model(self.model_path, compile=False, custom_objects={
                "SSTSegmenter": SSTSegmenter})
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{self.model_path}: cannot be loaded ({error}); train again") from None
        if self._file_sha256() != found:
            raise UserError(f"{self.model_path}: a training replaced it meanwhile; start again")
        self._loaded = found
        if self.recorded():
            model.answer_by(*self.config().model.answering)
        return model

    def model_sha256(self) -> str:
        """Hash of the model that `model` gave, or of its file, or of the preset that it is.

        A training may put a better model in the file's place while the one of before is scored.
        """
        return self.preset_sha256() or self._loaded or self._file_sha256()

    def replaced(self, results: dict) -> bool:
        """Whether results are of another model than the file holds; kept ones may have no file."""
        return self.model_path.is_file() and results.get("model_sha256") != (
            self.preset_sha256() or self._file_sha256())

    def _file_sha256(self):
        stat = os.stat(self.model_path)
        file = stat.st_ino, stat.st_size, stat.st_mtime_ns
        if self._hashed[0] != file:
            self._hashed = file, hashlib.sha256(self.model_path.read_bytes()).hexdigest()
        return self._hashed[1]

    def preset_sha256(self) -> str | None:
        """Hash of the preset's file that the run was made of, which class cards know it by."""
        if not self.preset_path.is_file():
            return None
        with told(self.preset_path, "remove the run's folder; the preset makes it again"):
            return json.loads(self.preset_path.read_text(encoding="utf-8"))["sha256"]

    def save_model(self, model: "keras.Model") -> None:
        """Replace the model's file whole."""
        self.preset_path.unlink(missing_ok=True)
        self._loaded = None
        with replacing(self.model_path) as partial:
            model.save(partial)

    def save_last(self, model: "keras.Model", state: dict) -> None:
        """All that training goes on from and `state` (JSON-able) in one file, in one move."""
        arrays = {f"{kind}_{i}": v.numpy() for kind, variables in _parts(model).items()
                  for i, v in enumerate(variables)}
        with replacing(self.last_path) as partial:
            np.savez(partial, state=json.dumps(state), **arrays)

    def restore_last(self, model: "keras.Model") -> dict | None:
        """Fill a compiled model from `save_last`; returns the state, or None without a file."""
        if not self.last_path.is_file():
            return None
        model.optimizer.build(model.trainable_variables)
        with told(self.last_path, "remove it; training starts anew"), np.load(
                self.last_path) as arrays:
            for prefix, variables in _parts(model).items():
                if prefix == "draw" and "draw_0" not in arrays:
                    continue  # of a version that drew anew
                for i, variable in enumerate(variables):
                    stored = arrays[f"{prefix}_{i}"]
                    if stored.shape != tuple(variable.shape):
                        raise UserError(f"{self.last_path}: {variable.path} has the shape "
                                        f"{list(stored.shape)}, expected {list(variable.shape)}; "
                                        "an earlier version wrote it: train in a new --run_dir")
                    variable.assign(stored)
            return json.loads(str(arrays["state"]))

    def append_history(self, row: dict) -> None:
        """One line of `history.csv`; a row of an epoch that is there already replaces it."""
        rows = [r for r in self.history() if int(r["epoch"]) < row["epoch"]] + [row]
        names = list(dict.fromkeys(name for r in rows for name in r))
        with (replacing(self.history_path) as partial,
              open(partial, "w", newline="", encoding="utf-8") as file):
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)

    def history(self) -> list[dict[str, str]]:
        """Rows of `history.csv` as dictionaries of text."""
        if not self.history_path.is_file():
            return []
        with open(self.history_path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def unfinished(self) -> str | None:
        """How far a training has come that has not ended, "1 of 40 epochs"; else None."""
        if not self.recorded():
            return None
        done, epochs = len(self.history()), self.config().train.epochs
        return f"{done} of {epochs} epochs" if 0 < done < epochs else None

    def thresholds(self) -> dict[str, dict]:
        """What `evaluation.operating_point` keeps of thresholds by key, {} before that."""
        if not self.thresholds_path.is_file():
            return {}
        return read_sealed(self.thresholds_path, POINTS)

    def presence(self) -> dict[str, dict]:
        """What `evaluation.operating_point` keeps of presence by key, {} before that."""
        if not self.presence_path.is_file():
            return {}
        return read_sealed(self.presence_path, POINTS)

    def photos(self) -> dict[str, dict]:
        """What `RunData.photo_facts` said of its training; {} of an early run."""
        path = self.folder / "photos.json"
        return read_sealed(path, "bring it back from a copy, or remove it: then its photos are "
                                 "not compared") if path.is_file() else {}

    def classes(self) -> dict[str, list[str]]:
        """Names of its "base" and "novel" classes, and of those of the model that it began as,
        "before"; {} of a run without a record.
        """
        path = self.folder / "classes.json"
        return read_sealed(path, "bring it back from a copy, or remove it: then its classes are "
                                 "not told") if path.is_file() else {}

    def trained_on(self) -> list[str]:
        """Names of the classes that the model knows; [] of a run without a record."""
        return known_classes(self.classes())

    def evaluation_path(self, name: str) -> Path:
        """Path of a results file."""
        return self.folder / "evaluations" / f"{name}.json"


def names_of(folders: Sequence[str | Path]) -> list[str]:
    """What people call runs: the folder's name, with as many above it as tell it from the others.
    """
    paths = [Path(os.path.abspath(folder)).parts for folder in folders]
    return ["/".join(next(own[-count:] for count in range(1, len(own) + 1) if all(
        other[-count:] != own[-count:] for other in paths if other != own))) for own in paths]


def known_classes(classes: dict[str, list[str]]) -> list[str]:
    """What a `classes.json` says that a model was trained on."""
    return [*classes.get("base", []), *classes.get("before", [])]


def known_photos(photos: dict[str, dict]) -> dict[str, int]:
    """How many photos a `photos.json` says that a model was trained on, by data set; those of the
    model that it began as, too.
    """
    return dict(Counter(photos.get("before", {})) + Counter(photos.get("train", {})))


def _parts(model):
    """What a model's training goes on from: {kind: variables}; "draw" are states of randomness."""
    return {"weight": model.weights, "optimizer": model.optimizer.variables,
            "draw": [v for v in model.variables if v.name == "seed_generator_state"]}
