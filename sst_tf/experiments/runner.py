"""Runs what is missing of a grid; a failed run costs none of the others."""

import concurrent.futures
import json
import os
import subprocess
import sys

from tqdm import tqdm

from sst_tf.evaluation.stored import evaluation_name
from sst_tf.runs.directory import Run


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
    plain = [Run(first.folder).evaluation_path(evaluation_name(k, "weighted"))
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
