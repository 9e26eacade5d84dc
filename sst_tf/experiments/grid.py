# SPDX-License-Identifier: Apache-2.0
"""An experiment file: rows, folds, seeds, and the cells of their grid."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from sst_tf import config as configuration
from sst_tf.evaluation.protocol_options import under_protocol
from sst_tf.evaluation.stored import read_results, results_file
from sst_tf.experiments.file_checks import PAPER, ROW, beside_paper, check
from sst_tf.runs.directory import Run


@dataclass
class Cell:
    """One training and how it is evaluated.

    Attributes:
        row, fold, seed: where it stands in the grid.
        arguments: overrides of `base` in training, in the command line's form.
        config: under which it is evaluated. Its fusion and protocol may be others than in
            training, as they change no weight (`config.ANSWERING`).
        folder: the run's folder, shared by cells that train alike.
        shots: what is evaluated.
        base: the configuration file.
    """

    row: str
    fold: str
    seed: int
    arguments: list
    config: configuration.Config
    folder: Path
    shots: list
    base: str

    def missing(self) -> list[int]:
        """Shots whose results are not there under this cell's protocol."""
        return missing_results(Run(self.folder), self.config, self.shots)


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
    published: dict
    paper_notes: dict
    paper_photos: int | None
    differences: list
    base: str
    expect: str
    folds: dict
    seeds: list
    overrides: dict
    all_folds: list

    @classmethod
    def read(cls, path: str | Path, profile: str) -> "Experiment":
        """Of a YAML file; `UserError` names the file and the key."""
        path = Path(path)
        content = configuration.read_yaml(path)
        check(path, content, profile)
        chosen = content["profiles"][profile]
        own = chosen.get("rows", {})
        rows = {row: {**(content["rows"].get(row) or {}), **(own.get(row) or {})}
                for row in [*content["rows"], *(row for row in own if row not in content["rows"])]}
        for switches in rows.values():
            if "base" in switches:
                switches["base"] = _from_here(path.parent / switches["base"])
        paper: dict[str, Any] = {
            key: content.get(key, nothing) if beside_paper(profile, chosen) else nothing
            for key, nothing in PAPER.items()}
        return cls(
            name=f"{path.stem}-{profile}", title=content["title"],
            source=content.get("source", ""), protocol=content.get("protocol", ""),
            shots=chosen.get("shots", content["shots"]), rows=rows,
            differences=content.get("differences", []),
            base=_from_here(path.parent / chosen["base"]), expect=chosen.get("expect", ""),
            folds={str(k): v or {} for k, v in chosen["folds"].items()}, seeds=chosen["seeds"],
            overrides=chosen.get("overrides", {}), all_folds=[str(k) for k in chosen["folds"]],
            **paper)

    def add_seeds(self, seeds: Sequence[int]) -> None:
        """Let every row have these seeds too."""
        self.seeds = list(dict.fromkeys([*self.seeds, *seeds]))
        for switches in self.rows.values():
            if "seeds" in switches:
                switches["seeds"] = list(dict.fromkeys([*switches["seeds"], *seeds]))

    def cells(self, folder: str | Path, extra: Sequence[str] = ()) -> list[Cell]:
        """All `Cell`s, their configurations checked before anything runs.

        Args:
            folder: of all runs.
            extra: overrides of every cell, in the command line's form.
        Raises:
            UserError: two folds or seeds of a row are one training.
        """
        found, parser = [], configuration.parser()
        others = dict(zip((key.removeprefix("--") for key in extra[::2]), extra[1::2], strict=True))
        for row, switches in self.rows.items():
            base = switches.get("base", self.base)
            for fold, novel in self.folds.items():
                for seed in switches.get("seeds", self.seeds):
                    keys = {**self.overrides, **novel, **switches, "train.seed": seed,
                            "evaluate.shots": self.shots, **others}
                    later = _arguments({key: value for key, value in keys.items()
                                        if _of_evaluation(key, keys)})
                    arguments = _arguments({key: value for key, value in keys.items() if
                                            key not in ROW and not _of_evaluation(key, keys)})
                    config, _ = configuration.parse(parser, arguments, base)
                    place = Path(folder) / training_key(config)
                    if later:
                        config, _ = configuration.parse(parser, [*arguments, *later], base)
                    found.append(Cell(row, fold, seed, arguments, under_protocol(config), place,
                                      config.evaluate.shots, base))
        _refuse_twins(found)
        return found

    def paper_rows(self) -> dict[str, dict[str, dict[str, float]]]:
        """{row: {shots: {fold or "mean": the paper's number}}}."""
        return {row: {str(shots): dict(zip([*self.all_folds, "mean"][-len(values):], values,
                                           strict=True)) for shots, values in of_row.items()}
                for row, of_row in {**self.paper, **self.published}.items()}


def missing_results(run: Run, config: configuration.Config, shots: Sequence[int]) -> list[int]:
    """Shots of which a run has no results of a protocol and of the model that lies beside them.

    Kept results come without a model. One that is trained again is another model, so that what
    was kept is no result of it, and of one that has epochs to go nothing is.
    """
    if run.model_path.is_file() and not is_trained(run, config):
        return list(shots)
    found = {k: path for k in shots if (path := results_file(run, config, k)) is not None}
    return [k for k in shots if k not in found or run.replaced(read_results(found[k]))]


def is_trained(run: Run, config: configuration.Config) -> bool:
    """Whether a run has its model of all epochs."""
    return run.model_path.is_file() and len(run.history()) >= config.train.epochs


def training_key(config: configuration.Config) -> str:
    """What makes a training, in twelve hex digits."""
    return configuration.digest(configuration.of_training(configuration.identity(config)))[:12]


def _refuse_twins(cells):
    """One training that counts as several would show intervals over seeds of no width."""
    first: dict[tuple[str, Path], Cell] = {}
    for cell in cells:
        twin = first.setdefault((cell.row, cell.folder), cell)
        if (twin.fold, twin.seed) != (cell.fold, cell.seed):
            raise UserError(
                f"row {cell.row!r}: fold {twin.fold}, seed {twin.seed} and fold {cell.fold}, seed "
                f"{cell.seed} are one training; do not --set what tells them apart (--folds and "
                "--seeds choose), and let folds of the file differ")


def _of_evaluation(key, keys):
    """How a trained model is asked, of which its training knows nothing.

    Where a cell names another protocol, all that it says of evaluation is of that protocol.
    """
    section, _, name = key.partition(".")
    return (section == "model" and name in configuration.ANSWERING
            or "evaluate.protocol" in keys and section == "evaluate" and name != "shots")


def _arguments(keys):
    return [text for key, value in keys.items()
            for text in (f"--{key}", value if isinstance(value, str) else json.dumps(value))]


def _from_here(path):
    """A path below this folder as seen from here, so that a command of one checkout is all's."""
    whole, here = Path(os.path.normpath(path)), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)
