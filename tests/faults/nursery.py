# SPDX-License-Identifier: Apache-2.0
"""A process that has imported everything; each try of a command is a fork of it, to be killed.

TensorFlow takes seconds to import, and a hundred kills start a command more than a hundred times.
No operation of TensorFlow runs in the parent: its threads would not outlive the fork.
"""

import ctypes
import dataclasses
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED = (
    "pipelines.prepare.__main__", "pipelines.index.__main__", "sst_tf.train", "sst_tf.predict",
    "export.saved_model", "export.onnx", "sst_tf.training.loop", "sst_tf.presets.start",
    "sst_tf.reporting.after_training", "sst_tf.photos.answers", "sst_tf.photos.teaching",
    "export.saving", "scipy.io", "tests.export.conftest")
IF_THERE = ("export.onnx_files", "export.onnx_graph", "onnxruntime", "sst_tf.batch",
            "sst_tf.photos.batch.engine")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SAID = ("out", "err", "changes")
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


@dataclasses.dataclass
class Job:
    """One try of a command.

    Attributes:
        call: "module:function", called with `argv`.
        folder: where it runs and writes.
        kill_after: seconds until SIGKILL; None lets it end.
        kill_at: number of the change to a file in `folder` at which it is killed; 0 is none.
        kill_delay: seconds after that change.
        largest: bytes that a file may have (RLIMIT_FSIZE), beyond which writing fails.
        plain: root, too, has no more rights than the modes of files give their owner.
        timeout: seconds after which the try counts as hung.
    """

    call: str
    argv: list[str]
    folder: str
    kill_after: float | None = None
    kill_at: int = 0
    kill_delay: float = 0.0
    largest: int | None = None
    plain: bool = False
    timeout: float = 1200.0


@dataclasses.dataclass
class Ended:
    """How a try ended: exit status (negative: a signal), seconds, changes of files, outputs."""

    status: int
    seconds: float
    changes: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Nursery:
    """Starts the process; `run` makes tries, several at once where several jobs are given.

    Args:
        environment: variables of its own.
    """

    def __init__(self, environment: dict[str, str] | None = None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3",
                 "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1",
                 "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0",
                 **(environment or {})})

    def run(self, *jobs: Job) -> list[Ended]:
        print(json.dumps([dataclasses.asdict(job) for job in jobs]), file=self.process.stdin,
              flush=True)
        return [Ended(**one) for one in json.loads(self.process.stdout.readline())]

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _serve():
    for name in IMPORTED:
        importlib.import_module(name)
    for name in IF_THERE:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        jobs = [Job(**one) for one in json.loads(line)]
        started = [_start(job) for job in jobs]
        ended = [_wait(*one) for one in zip(jobs, started, strict=True)]
        print(json.dumps(ended), file=answers, flush=True)


def _start(job):
    # Pipes, as a limit on the size of files would hold for files of messages, too.
    pipes, begun = [os.pipe() for _ in SAID], time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(job, [write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    return pid, [_Pipe(read) for read, _ in pipes], begun


class _Pipe:
    """What came through a pipe so far."""

    def __init__(self, handle):
        self.handle, self.data = handle, b""
        os.set_blocking(handle, False)

    def read(self):
        try:
            while more := os.read(self.handle, 1 << 16):
                self.data += more
        except BlockingIOError:
            pass

    def close(self):
        self.read()
        os.close(self.handle)
        return self.data.decode("utf-8", "replace")


def _wait(job, started):
    pid, pipes, begun = started
    limit = begun + (job.timeout if job.kill_after is None else job.kill_after)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        for pipe in pipes:
            pipe.read()
        if done or time.monotonic() >= limit:
            break
        time.sleep(0.001)
    try:  # what it had started ends with it
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if not done:
        _, status = os.waitpid(pid, 0)
    seconds = time.monotonic() - begun
    texts = {name: pipe.close() for name, pipe in zip(SAID, pipes, strict=True)}
    return {"status": os.waitstatus_to_exitcode(status), "seconds": seconds,
            "changes": int(texts["changes"] or 0), "out": texts["out"][-4000:],
            "err": texts["err"][-4000:]}


def _child(job, pipes):
    os.setsid()
    for number in (1, 2):
        os.dup2(pipes[number - 1], number)
    status, changes = 1, Changes(job)
    try:
        os.chdir(job.folder)
        module, _, name = job.call.partition(":")
        function = getattr(importlib.import_module(module), name)
        if job.plain:
            _heed_modes()
        if job.largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job.largest, resource.RLIM_INFINITY))
        sys.addaudithook(changes)
        function(job.argv)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(pipes[2], str(changes.number).encode())
        os._exit(status)


def _heed_modes():
    """Give up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root reads and writes all."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice 32 bits
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for number in (0, 1, 2):
        sets[number] &= ~0b110
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


class Changes:
    """Counts what Python changes in a folder, and kills the process at one of these changes."""

    def __init__(self, job):
        self.job, self.number = job, 0

    def __call__(self, event, arguments):
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITES:
                return
        elif event in CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(
                self.job.folder):
            self.number += 1
            if self.number == self.job.kill_at:
                if self.job.kill_delay:
                    threading.Thread(target=self._kill, daemon=True).start()
                else:
                    self._kill()

    def _kill(self):
        time.sleep(self.job.kill_delay)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _serve()
