"""`python -m sst_tf.experiment FILE`: the grid of runs behind a table, and the table.

A file names rows (switches), folds, seeds and shots; every cell is a training with its evaluations.
Runs are kept under a key of their resolved configuration, so that tables share trainings, a killed
grid goes on where it was, and a failed run costs none of the others.
"""

import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from tqdm import tqdm

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf import config as configuration
from sst_tf import runs, tables

KEYS = {"title", "source", "protocol", "shots", "rows", "paper", "differences", "profiles"}
PROFILE_KEYS = {"base", "expect", "folds", "seeds", "overrides", "shots", "rows"}


@dataclass
class Cell:
    """One training and how it is evaluated.

    Attributes:
        row, fold, seed: where it stands in the grid.
        arguments: overrides of `base`, in the command line's form.
        fusion: rule for k > 1 shots, an evaluation's choice.
        folder: the run's folder, shared by cells that train alike.
        shots: what is evaluated.
    """

    row: str
    fold: str
    seed: int
    arguments: list
    fusion: str
    folder: Path
    shots: list

    def evaluation(self, shots):
        """Path of the results at k shots."""
        name = tables.evaluation_name(shots, self.fusion)
        return runs.Run(self.folder).evaluation_path(name)

    def missing(self):
        """Shots whose results are not there."""
        return [k for k in self.shots if not self.evaluation(k).is_file()]


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
    def read(cls, path, profile):
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
            raise UserError(f"{path}: keys are due: {', '.join(sorted(KEYS))}")
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

    def cells(self, folder, extra=()):
        """All `Cell`s, their configurations checked before anything runs."""
        found = []
        for row, switches in self.rows.items():
            for fold, novel in self.folds.items():
                for seed in self.seeds:
                    keys = {**self.overrides, **novel, **switches, "train.seed": seed,
                            "evaluate.shots": self.shots}
                    fusion = keys.pop("model.fusion", "weighted")
                    arguments = [*_arguments(keys), *extra]
                    config, _ = configuration.parse(configuration.parser(), arguments, self.base)
                    found.append(Cell(row, fold, seed, arguments, fusion,
                                      Path(folder) / training_key(config), self.shots))
        return found


def training_key(config):
    """What makes a training: every number but the evaluation's, and the files by name."""
    parts = configuration.numbers(config)
    del parts["evaluate"], parts["model"]["fusion"]
    parts["files"] = [Path(str(p)).name for p in (config.data.root, config.model.weights)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def run_all(experiment, cells, jobs, python=sys.executable):
    """Train and evaluate what is missing; returns {folder: reason} of what failed."""
    due = {}
    for cell in cells:
        if cell.missing():
            due.setdefault(cell.folder, []).append(cell)
    failed = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads),
                   "OMP_NUM_THREADS": str(threads)}
    with (concurrent.futures.ThreadPoolExecutor(jobs) as pool,
          tqdm(total=len({c.folder for c in cells}), desc=experiment.name, unit="run",
               initial=len({c.folder for c in cells}) - len(due)) as bar):
        waiting = {pool.submit(_run, experiment.base, some, environment, python): some[0]
                   for some in due.values()}
        for future in concurrent.futures.as_completed(waiting):
            cell, reason = waiting[future], future.result()
            if reason:
                failed[cell.folder] = f"{cell.row}, fold {cell.fold}, seed {cell.seed}: {reason}"
                tqdm.write(f"failed: {failed[cell.folder]}", file=sys.stderr)
            bar.set_postfix_str(f"{cell.row}, fold {cell.fold}, seed {cell.seed}")
            bar.update()
    return failed


def _run(base, cells, environment, python):
    """Train the run that cells share, then their evaluations; the reason where one failed."""
    first = cells[0]
    first.folder.parent.mkdir(parents=True, exist_ok=True)
    log = first.folder.with_suffix(".log")
    steps = []
    plain = [runs.Run(first.folder).evaluation_path(tables.evaluation_name(k, "weighted"))
             for k in first.shots]
    if not all(path.is_file() for path in plain):
        steps.append(["sst_tf.train", base, "--run_dir", str(first.folder), "--resume",
                      *first.arguments])
    for cell in cells:
        if cell.fusion != "weighted" and cell.missing():
            steps.append(["sst_tf.evaluate", str(cell.folder), "--model.fusion", cell.fusion,
                          "--evaluate.shots", json.dumps(cell.missing())])
    for step in steps:
        with open(log, "a", encoding="utf-8") as file:
            done = subprocess.run([python, "-m", *step], stdout=file, stderr=subprocess.STDOUT,
                                  env=environment)
        if done.returncode:
            last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
                    if line.strip()][-1:]
            return f"status {done.returncode}, see {log}: {''.join(last)[-300:]}"
    return None


def _arguments(keys):
    return [text for key, value in keys.items()
            for text in (f"--{key}", value if isinstance(value, str) else json.dumps(value))]


def _known(path, prefix, content, known, needed):
    for key in content:
        if key not in known:
            raise UserError(f"{path}: unknown key {prefix}{key}; known: {', '.join(sorted(known))}")
    for key in sorted(needed - set(content)):
        raise UserError(f"{path}: {prefix}{key} is missing")


@command
def main(argv=None):
    parser = configuration.ArgumentParser(prog="python -m sst_tf.experiment", description=__doc__)
    parser.add_argument("file", help="such as configs/experiments/table1.yaml")
    parser.add_argument("--profile", default="paper",
                        help="paper: the published setting (GPU, full data); mini: small data on "
                             "two cores")
    parser.add_argument("--runs", default="runs/experiments", help="folder of all runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--rows", nargs="+", help="these rows only")
    parser.add_argument("--folds", nargs="+", help="these folds only")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds in place of the file's")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE",
                        help="overrides for every run, such as data.root=VOCdevkit")
    parser.add_argument("--dry_run", action="store_true", help="list the runs, train none")
    options = parser.parse_args(argv)
    experiment = Experiment.read(options.file, options.profile)
    for name in ("rows", "folds"):
        if chosen := getattr(options, name):
            known = getattr(experiment, name)
            if unknown := set(chosen) - set(known):
                raise UserError(f"--{name}: {', '.join(sorted(unknown))}; known: "
                                f"{', '.join(known)}")
            setattr(experiment, name, {key: known[key] for key in known if key in chosen})
    experiment.seeds = options.seeds or experiment.seeds
    extra = []
    for pair in options.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set: {pair!r}; KEY=VALUE is due, such as data.root=VOCdevkit")
        extra += [f"--{key}", value]
    cells = experiment.cells(options.runs, extra)
    print(f"{experiment.title}\n{len(cells)} cells, {len({c.folder for c in cells})} trainings; "
          f"expect: {experiment.expect}")
    if options.dry_run:
        for cell in cells:
            print(f"{cell.folder} {'missing' if cell.missing() else 'there  '} {cell.row}, fold "
                  f"{cell.fold}, seed {cell.seed}: {' '.join(cell.arguments)}")
        return
    failed = run_all(experiment, cells, max(1, options.jobs))
    there = [cell for cell in cells if not cell.missing()]
    text = tables.markdown(experiment, there)
    path = Path(options.runs) / f"{experiment.name}.md"
    runs.write_text(path, text)
    print(f"\n{text}\nwritten to {path}")
    if failed:
        print(f"{len(failed)} run(s) failed:\n" + "\n".join(failed.values()), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
