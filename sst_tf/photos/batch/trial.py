# SPDX-License-Identifier: Apache-2.0
"""`sst batch` on trial: many photos, workers and then the whole command killed, rows counted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs
from tqdm import tqdm

from pipelines.errors import UserError
from sst_tf.photos.batch import sources
from sst_tf.photos.batch.output import Output
from sst_tf.photos.batch.worker import Question, Worker
from sst_tf.photos.inputs import files_in

WAIT = 900  # seconds without a new row after which a trial is given up


class Trial(NamedTuple):
    """What a trial saw.

    Attributes:
        photos, rows, errors: rows are counted in the files, each photo once.
        kills: workers killed; the command itself is killed once more.
        answered_before: rows that the killed command left.
        seconds: of both commands, their starts and what was lost included.
        rate: photos a second of all that.
        alone: photos a second of one process with all cores, model loaded, before and after.
    """

    photos: int
    rows: int
    errors: int
    kills: int
    answered_before: int
    seconds: float
    rate: float
    alone: tuple[float, float]


def link_photos(folders: Sequence[str | Path], count: int, target: Path) -> None:
    """`count` links of distinct names to the photos of folders, in turn, again and again."""
    photos = [path for folder in folders for path in files_in(Path(folder))]
    if not photos:
        raise UserError(f"--photos_from: no photo in {', '.join(map(str, folders))}")
    target.mkdir(parents=True)
    for number, path in enumerate(islice(cycle(photos), count)):
        (target / f"{number:06}_{path.name}").symlink_to(path.resolve())


def alone(question: Question, photos: Path, output: Path, most: int) -> float:
    """Photos a second of one process: what a worker does, rows and files included."""
    names = [path.name for path in sorted(photos.iterdir())[:most]]
    output.mkdir()
    worker = Worker(question, str(output), fs.LocalFileSystem())

    def block(some):
        return pa.table({"photo": some, "data": [None] * len(some),
                         "path": [str(photos / name) for name in some]}, sources.ROW)

    worker(block(names[:question.batch]))  # what the first call alone does
    start = time.perf_counter()
    worker(block(names[question.batch:]))
    return (len(names) - question.batch) / (time.perf_counter() - start)


def run(question: Question, command: Sequence[str], photos: Path, output: Path, kills: int,
        sample: int) -> Trial:
    """Start `sst batch`, kill workers, then it, start it again, and count.

    Args:
        question: what `command` asks, for the rate of one process.
        command: arguments of `sst_tf.batch`, `--output` among them.
        photos: folder of its photos.
        output: folder of its rows, made by the command.
        kills: workers to kill, spread over the first half of the photos.
        sample: photos for the rate of one process.
    """
    total = len(list(photos.iterdir()))
    call = [sys.executable, "-m", "sst_tf.batch", *command]
    before = alone(question, photos, output.with_name("alone1"), sample)
    start = time.perf_counter()
    first = subprocess.Popen(call, start_new_session=True)
    try:
        with tqdm(total=total, unit="row", desc="rows until the kill") as bar:
            for number in range(kills):
                _wait(first, output, total * (number + 1) // (2 * (kills + 1)), bar)
                kill_a_worker(first.pid)
            _wait(first, output, total // 2, bar)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    left = len(Output(str(output)).done()[0])
    second = subprocess.run(call, check=False)
    if second.returncode not in (0, 1):
        raise UserError(f"the second command ended with {second.returncode}")
    seconds = time.perf_counter() - start
    ids, errors = Output(str(output)).done()  # raises if a photo has two rows
    after = alone(question, photos, output.with_name("alone2"), sample)
    return Trial(total, len(ids), errors, kills, left, seconds, total / seconds, (before, after))


def _wait(process, output, rows, bar):
    """Until the files hold so many rows."""
    last = time.monotonic()
    while bar.n < rows:
        time.sleep(1)
        if process.poll() is not None:
            raise UserError(f"the command ended with {process.returncode} before it was killed")
        found = Output(str(output)).rows()
        if found > bar.n:
            last = time.monotonic()
        elif time.monotonic() - last > WAIT:
            raise UserError(f"no new row for {WAIT} seconds")
        bar.update(found - bar.n)


def kill_a_worker(session: int) -> None:
    """SIGKILL to a process that holds a model, of a command that leads a session of its own.

    Ray's workers lead groups of their own, so the command's group does not name them.
    """
    found = subprocess.run(["pgrep", "-s", str(session), "-f", "ray::MapWorker"],
                           capture_output=True, text=True, check=False).stdout.split()
    if not found:
        raise UserError("no worker process found to kill; is pgrep there?")
    os.kill(int(found[0]), signal.SIGKILL)
