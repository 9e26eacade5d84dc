"""Runs what is missing of a grid; a failed run costs none of the others."""

import concurrent.futures
import dataclasses
import json
import os
import subprocess
import sys

from tqdm import tqdm

from sst_tf import config as configuration
from sst_tf.evaluation.stored import results_file
from sst_tf.runs.directory import Run


def run_all(experiment, cells, jobs, python=sys.executable):
    """Train and evaluate what is missing; returns {folder: reason} of what failed."""
    missing = {}
    for cell in cells:
        if cell.missing():
            missing.setdefault(cell.folder, []).append(cell)
    failed = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads),
                   "OMP_NUM_THREADS": str(threads)}
    with (concurrent.futures.ThreadPoolExecutor(jobs) as pool,
          tqdm(total=len({c.folder for c in cells}), desc=experiment.name, unit="run",
               initial=len({c.folder for c in cells}) - len(missing)) as bar):
        waiting = {pool.submit(_run, experiment.base, some, environment, python): some[0]
                   for some in missing.values()}
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
    trained, _ = configuration.parse(configuration.parser(), first.arguments, base)
    if any(results_file(Run(first.folder), trained, k) is None for k in first.shots):
        steps.append(["sst_tf.train", base, "--run_dir", str(first.folder), "--resume",
                      *first.arguments])
    for cell in cells:
        if cell.config.model.fusion != trained.model.fusion and cell.missing():
            steps.append(["sst_tf.evaluate", str(cell.folder), *_evaluation(cell)])
    for step in steps:
        with open(log, "a", encoding="utf-8") as file:
            done = subprocess.run([python, "-m", *step], stdout=file, stderr=subprocess.STDOUT,
                                  env=environment)
        if done.returncode:
            last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
                    if line.strip()][-1:]
            return f"status {done.returncode}, see {log}: {''.join(last)[-300:]}"
    return None


def _evaluation(cell):
    """A cell's evaluation in the command line's form, whatever the run's own is."""
    keys = {f"evaluate.{one.name}": getattr(cell.config.evaluate, one.name)
            for one in dataclasses.fields(cell.config.evaluate)}
    keys |= {"model.fusion": cell.config.model.fusion, "evaluate.shots": cell.missing(),
             "data.root": cell.config.data.root}
    return [text for key, value in keys.items() if value is not None
            for text in (f"--{key}", value if isinstance(value, str) else json.dumps(value))]
