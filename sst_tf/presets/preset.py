# SPDX-License-Identifier: Apache-2.0
"""`Preset`: embedding and head of a trained model in one small file, without its backbone."""

import functools
import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.errors import DataError, UserError
from pipelines.reading.arrays import expected, open_arrays
from pipelines.writing import write_bytes
from sst_tf import config as configuration
from sst_tf.config import Config

if TYPE_CHECKING:  # who reads cards alone needs no TensorFlow, which takes seconds to import
    from sst_tf.model.segmenter import SSTSegmenter

FORMAT = 1
SUFFIX = ".npz"
LIMITS = {"resnet18": 2_000_000}  # bytes of a file, by backbone
LIMIT = 6_000_000  # of any other
HERE = Path(__file__).parent


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in HERE.glob(f"*{SUFFIX}"))


def is_run(name: str | Path) -> bool:
    """Whether a model's name is a run directory; a preset goes before a folder of its name."""
    return str(name) not in presets() and Path(name).is_dir()


class Preset:
    """What a preset's file holds.

    Args:
        facts: JSON-able: "name", "config" (`config.portable`), "points" ({shots: {"threshold",
            "presence"}}), "training", "scores"; see `sst_tf.presets.making`.
        weights: embedding, head and a learned step, float16, in the model's order.
        backbone: `fingerprint` of the backbone's weights.
    """

    def __init__(self, facts: dict[str, Any], weights: list[np.ndarray], backbone: np.ndarray):
        self.facts, self.weights, self.backbone = facts, weights, backbone

    @property
    def name(self) -> str:
        """Of the preset."""
        return self.facts["name"]

    def config(self) -> Config:
        """What the model was trained with; without places."""
        return configuration.from_record(self.facts["config"], f"preset {self.name}")

    def model(self, weights: str | Path | None = None) -> "SSTSegmenter":
        """The trained model, in float32.

        Args:
            weights: as in `Predictor.from_preset`.
        Raises:
            UserError: see `backbone_weights.fill`.
        """
        from sst_tf.presets import backbone_weights
        from sst_tf.runs.factory import assemble

        model = assemble(self.config())
        own = model.own_weights
        shapes = [tuple(v.shape) for v in own]
        if shapes != [value.shape for value in self.weights]:
            raise DataError(f"preset {self.name}: its weights are not those of its configuration; "
                            "another version wrote it: make it again")
        for variable, value in zip(own, self.weights, strict=True):
            variable.assign(value.astype(np.float32))
        backbone_weights.fill(model.encoder.backbone, self.backbone, self.name, weights)
        return model

    def scored(self, **scores: dict) -> "Preset":
        """The same with further scores among its facts."""
        return Preset({**self.facts, "scores": {**self.facts["scores"], **scores}}, self.weights,
                      self.backbone)

    def threshold(self, shots: int) -> float:
        """Probability from which a pixel is foreground: for k shots or the nearest number."""
        return self._point(shots)["threshold"]

    def presence_threshold(self, shots: int) -> float:
        """Score from which a class counts as present: for k shots or the nearest number."""
        return self._point(shots)["presence"]

    def _point(self, shots):
        points = self.facts["points"]
        return points[min(points, key=lambda k: abs(int(k) - shots))]

    # ---- file -------------------------------------------------------------------------------

    @functools.cached_property
    def data(self) -> bytes:
        """The file's content."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {f"weight_{i:03}": value for i, value in enumerate(self.weights)}
        np.savez_compressed(file, facts=json.dumps(self.facts), backbone=self.backbone, **arrays)
        return file.getvalue()

    @property
    def sha256(self) -> str:
        """Hash of the file, which class cards know the model by."""
        return hashlib.sha256(self.data).hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write `<name>.npz`, whole or not at all; returns its path.

        Raises:
            UserError: a file over the limit of its backbone.
        """
        backbone = self.facts["config"]["model"]["backbone"]
        limit = LIMITS.get(backbone, LIMIT)
        path = Path(folder) / f"{self.name}{SUFFIX}"
        if len(self.data) > limit:
            raise UserError(f"{path}: {len(self.data) / 1e6:.1f} MB, a preset with {backbone} has "
                            f"{limit / 1e6:g} MB at most; train with fewer model.channels")
        write_bytes(path, self.data)
        return path

    @classmethod
    def load(cls, name: str | Path) -> "Preset":
        """Read a preset.

        Args:
            name: one of `presets()`, or the path of a file.
        Raises:
            UserError: an unknown name; a file that is no preset.
        """
        path = Path(name)
        if path.suffix != SUFFIX:
            if str(name) not in presets():
                known = ", ".join(presets()) or "none in this version"
                raise UserError(f"{name}: no preset has this name; expected the path of a "
                                f"preset's file (.npz) or one of: {known}")
            path = HERE / f"{name}{SUFFIX}"
        with expected(path, "preset"):
            data = path.read_bytes()
            with open_arrays(io.BytesIO(data)) as arrays:
                facts = json.loads(str(arrays["facts"]))
                names = sorted(one for one in arrays.files if one.startswith("weight_"))
                preset = cls(facts, [arrays[one] for one in names], arrays["backbone"])
        if facts.get("format") != FORMAT:
            raise DataError(f"{path}: a preset of format {facts.get('format')}, {FORMAT} is "
                            "expected; make it again with this version")
        preset.data = data
        return preset
