# SPDX-License-Identifier: Apache-2.0
"""A preset as a run directory: what takes a run then takes a preset, too."""

import os
from pathlib import Path

from pipelines.errors import UserError
from pipelines.writing import making, write_json
from sst_tf.evaluation.metrics import BINS
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.presets.preset import Preset
from sst_tf.runs.directory import Run


def preset_run(name: str | Path, weights: str | Path | None = None,
               folder: str | Path | None = None) -> Run:
    """The run directory of a preset, made where it is not there yet.

    Args:
        name, weights: as in `Predictor.from_preset`.
        folder: the run directory; `runs/<name of the preset>` by default.
    Raises:
        UserError: as `Preset.load` and `Preset.model`; a folder that holds something else.
    """
    preset = Preset.load(name)
    folder = Path(folder or Path("runs") / preset.name)
    if folder.exists():
        if Run(folder).preset_sha256() != preset.sha256:
            raise UserError(f"{folder}: holds something else than preset {preset.name}; move it "
                            "away")
        return Run.open(folder)
    model = preset.model(weights)
    with making(folder.parent) as partial:
        _fill(partial / "run", preset, model)
        try:
            os.rename(partial / "run", folder)
        except OSError:  # another process was faster
            if Run(folder).preset_sha256() != preset.sha256:
                raise
    return Run.open(folder)


def _fill(folder, preset, model):
    training = preset.facts["training"]
    run = Run.create(folder, preset.config())
    run.save_model(model)
    # After the model, as whoever saves another one there makes the folder an ordinary run.
    write_json(run.preset_path, {"name": preset.name, "sha256": preset.sha256})
    write_json(folder / "environment.json", {key: training[key] for key in ("versions", "commit")})
    write_json(folder / "classes.json", training["classes"])
    write_json(folder / "photos.json", training["photos"])
    point = OperatingPoint(run)
    for shots, one in preset.facts["points"].items():
        point.keep(int(shots), {"tuned": round(one["threshold"] * BINS)})
        point.keep_presence(int(shots), {"threshold": one["presence"]})
