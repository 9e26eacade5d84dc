# SPDX-License-Identifier: Apache-2.0
"""An experiment file: rows, folds, seeds, and the cells of their grid."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from pipelines.errors import UserError
from sst_tf import config as configuration
from sst_tf.evaluation.stored import results_file
from sst_tf.runs.directory import Run

KEYS = {"title", "source", "protocol", "shots", "rows", "paper", "differences", "profiles"}
PROFILE_KEYS = {"base", "expect", "folds", "seeds", "overrides", "shots", "rows"}


@dataclass
class Cell:
    """One training and how it is evaluated.

    Attributes:
        row, fold, seed: where it stands in the grid.
        arguments: overrides of `base`, in the command line's form.
        config: under which it is evaluated. Its fusion may be another than in training, as it
            changes no weight.
        folder: the run's folder, shared by cells that train alike.
        shots: what is evaluated.
    """

    row: str
    fold: str
    seed: int
    arguments: list
    config: configuration.Config
    folder: Path
    shots: list

    def missing(self) -> list[int]:
        """Shots whose results are not there under this cell's protocol."""
        return [k for k in self.shots if results_file(Run(self.folder), self.config, k) is None]


@dataclass
class Experiment:
    """An experiment file under one of its profiles."""

    name: str
    title: str
    source: str
    protocol: str
    shots: list
    rows: dict
    paper: dict
    differences: list
    base: str
    expect: str
    folds: dict
    seeds: list
    overrides: dict

    @classmethod
    def read(cls, path: str | Path, profile: str) -> "Experiment":
        """Of a YAML file; `UserError` names the file and the key."""
        path = Path(path)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}"
                            ) from None
        if not isinstance(content, dict):
            raise UserError(f"{path}: keys are expected: {', '.join(sorted(KEYS))}")
        _known(path, "", content, KEYS, {"title", "rows", "profiles", "shots"})
        profiles = content["profiles"]
        if profile not in profiles:
            raise UserError(f"{path}: no profile {profile!r}; known: {', '.join(profiles)}")
        chosen = profiles[profile]
        _known(path, f"profiles.{profile}.", chosen, PROFILE_KEYS, {"base", "folds", "seeds"})
        base = path.parent / chosen["base"]
        for pair in content.get("differences", []):
            for row in pair:
                if row not in content["rows"]:
                    raise UserError(f"{path}: differences: no row {row!r}")
        return cls(f"{path.stem}-{profile}", content["title"], content.get("source", ""),
                   content.get("protocol", ""), chosen.get("shots", content["shots"]),
                   {row: {**(switches or {}), **chosen.get("rows", {}).get(row, {})}
                    for row, switches in content["rows"].items()},
                   content.get("paper", {}) if profile == "paper" else {},
                   content.get("differences", []), str(base), chosen.get("expect", ""),
                   {str(k): v or {} for k, v in chosen["folds"].items()}, chosen["seeds"],
                   chosen.get("overrides", {}))

    def cells(self, folder: str | Path, extra: Sequence[str] = ()) -> list[Cell]:
        """All `Cell`s, their configurations checked before anything runs."""
        found = []
        for row, switches in self.rows.items():
            for fold, novel in self.folds.items():
                for seed in self.seeds:
                    keys = {**self.overrides, **novel, **switches, "train.seed": seed,
                            "evaluate.shots": self.shots}
                    fusion = keys.pop("model.fusion", None)
                    arguments = [*_arguments(keys), *extra]
                    config, _ = configuration.parse(configuration.parser(), arguments, self.base)
                    place = Path(folder) / training_key(config)
                    if fusion is not None:
                        config = replace(config, model=replace(config.model, fusion=fusion))
                    found.append(Cell(row, fold, seed, arguments, config, place, self.shots))
        return found


def training_key(config: configuration.Config) -> str:
    """What makes a training: its identity without how it is evaluated."""
    parts = configuration.identity(config)
    del parts["evaluate"], parts["model"]["fusion"]
    return configuration.digest(parts)[:12]


def _arguments(keys):
    return [text for key, value in keys.items()
            for text in (f"--{key}", value if isinstance(value, str) else json.dumps(value))]


def _known(path, prefix, content, known, needed):
    for key in content:
        if key not in known:
            raise UserError(f"{path}: unknown key {prefix}{key}; known: {', '.join(sorted(known))}")
    for key in sorted(needed - set(content)):
        raise UserError(f"{path}: {prefix}{key} is missing")
