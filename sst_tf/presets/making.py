# SPDX-License-Identifier: Apache-2.0
"""From a finished run to a preset: half-precision weights, operating points, facts for its card."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.sealed import read_sealed
from sst_tf import config as configuration
from sst_tf.config import packaged
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.presets.fingerprint import fingerprint
from sst_tf.presets.preset import FORMAT, Preset
from sst_tf.runs.directory import Run


def preset_of(run: Run, name: str, scores: dict | None = None) -> Preset:
    """Make a preset.

    Args:
        scores: what `fold_scores` found.
    Raises:
        UserError: a trained backbone, no operating points, weights that half precision cannot hold.
    """
    config, model = run.config(), run.model()
    if config.model.train_backbone:
        raise UserError(f"{run.folder}: model.train_backbone true; a preset holds embedding and "
                        "head alone, expected a run with a fixed backbone")
    with np.errstate(over="ignore"):
        weights = [v.numpy().astype(np.float16) for v in model.own_weights]
    for variable, value in zip(model.own_weights, weights, strict=True):
        if not np.isfinite(value).all():
            raise UserError(f"{run.folder}: {variable.path} has values that half precision cannot "
                            "hold (65,504 at most); train again, with optimizer.weight_decay")
    facts = {"format": FORMAT, "name": name, "config": configuration.portable(config),
             "points": _points(run, config), "training": _training(run, config),
             "scores": {"folds": scores, "shapes": None}}
    return Preset(facts, weights, fingerprint(model.encoder.backbone))


def fold_scores(path: str | Path, row: str) -> dict[str, Any]:
    """What a recipe scores on classes that it leaves out, of a file that `sst experiment` keeps.

    Args:
        path: JSON of `sst_tf.experiments.summary`.
        row: the recipe's row in it.
    Returns:
        {"file", "row", "shots": {k: {"mean", "interval", "folds": {fold: mIoU}, "auc"}}}, at the
        thresholds that base classes chose; "auc" of presence is the mean of the folds' or None.
    Raises:
        UserError: no such file, no such row, or a fold that is missing.
    """
    path = Path(path)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        tables = [one for one in summary["tables"] if one["point"] == "chosen"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--scores {path}: not a file of scores that sst experiment --output keeps "
                        f"({error})") from None
    known = list(dict.fromkeys(name for one in tables for name in one["rows"]))
    if row not in known:
        raise UserError(f"--row {row!r}: no such row in {path}; expected one of: "
                        + ", ".join(known))
    shots = {}
    for table in tables:
        entry = table["rows"].get(row)
        if entry is None or entry["mean"] is None:
            raise UserError(f"{path}: row {row!r} lacks folds at {table['shots']} shots; expected "
                            "all of them: run the experiment to its end")
        shots[str(table["shots"])] = {
            "mean": entry["mean"], "interval": entry["over_photos"],
            "folds": {fold: one["of_mean"] for fold, one in entry["folds"].items()},
            "auc": _auc(summary, row, str(table["shots"]), entry["mean_seeds"])}
    return {"file": path.name, "row": row, "shots": shots}


def _auc(summary, row, shots, seeds):
    found = [one["evaluations"][shots]["presence_auc"] for one in summary["runs"]
             if one["row"] == row and one["seed"] in seeds and shots in one["evaluations"]]
    return None if not found or None in found else float(np.mean(found))


def _points(run, config):
    point, found = OperatingPoint(run), {}
    for shots in config.evaluate.shots:
        if point.known(shots) is None or (config.evaluate.absent_episodes
                                          and point.known_presence(shots) is None):
            raise UserError(f"{run.folder}: no operating point for {shots} shots; expected those "
                            f"of evaluate.shots: sst evaluate {run.folder}")
        found[str(shots)] = {"threshold": point.threshold(shots),
                             "presence": point.presence_threshold(shots)}
    return found


def _training(run, config):
    """What the card says of how it came about."""
    history = run.history()
    environment, classes = (read_sealed(run.folder / f"{name}.json", "bring it back from a copy")
                            for name in ("environment", "classes"))
    known = _best_epoch(history, config.train.select_on).get("base_miou_chosen")
    init = config.train.init and Path(config.train.init).stem
    return {"photos": run.photos(), "classes": classes, "init": init,
            "command": _command(run, config),
            "steps": config.train.epochs * config.train.steps_per_epoch,
            "minutes": round(sum(float(row["seconds"] or 0) for row in history) / 60, 1),
            "known_miou": float(known) if known else None, "commit": environment["commit"],
            "versions": environment["versions"]}


def _best_epoch(history, part):
    """The row of the epoch whose weights are the model; {} where none was chosen."""
    column = f"{part}_miou_chosen"
    return max((row for row in history if row.get(column)), key=lambda row: float(row[column]),
               default={})


def _command(run, config):
    """The command line of a packaged configuration that the run was made by; None of another."""
    try:
        path = packaged.find(run.folder.name)
        recipe, _ = configuration.parse(configuration.parser(), [], path)
    except UserError:
        return None
    ours, theirs = configuration.portable(config), configuration.portable(recipe)
    changed = {f"{section}.{key}": value for section, values in ours.items()
               for key, value in values.items() if theirs[section][key] != value}
    if "data.join" in changed:  # whose folders are not told
        return None
    return f"sst train configs/{Path(path).name}" + "".join(
        f" --{key} {_word(value)}" for key, value in changed.items())


def _word(value):
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))
