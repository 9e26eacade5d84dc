# SPDX-License-Identifier: Apache-2.0
"""Faults other than kills: each a row of the table, each a function of the tries and commands."""

import errno
import math
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable

from tests.faults.commands import BY_NAME, COMMANDS, Command
from tests.faults.nursery import Ended, Nursery
from tests.faults.tries import Tally, Tries

PAGE = 4096  # bytes, in which a tmpfs counts
YEAR = 365 * 24 * 3600
ODD = "größe 写真 " + "x" * 190  # 200 characters with spaces, as the name of one folder
SOON = tuple(BY_NAME[name] for name in ("prepare sbd", "prepare coco", "index", "predict"))
FORKED = tuple(command for command in COMMANDS if command.by_python)  # Ray starts processes


class NotHere(Exception):
    """This machine cannot make the fault; the text says why."""


def told(ended: Ended, tally: Tally, *words: str) -> None:
    """The command ended in one line that holds the words."""
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    if ended.status != 2 or len(lines) != 1 or "Traceback (most" in ended.err or not all(
            word in lines[0] for word in words):
        tally.note("untold", f"status {ended.status}: {ended.err.strip()[-600:]}")


def full_disk(tries: Tries, commands: Iterable[Command], rng: random.Random, times: int) -> Tally:
    """Writing fails from some byte of a file on (RLIMIT_FSIZE); then there is room again."""
    tally = Tally("disk full (a file's size)")
    for command in commands:
        for _ in range(times):
            folder = tries.fresh()
            largest = int(math.exp(rng.uniform(0, math.log(60_000))))
            ended = _run(tries, command, folder, largest=largest)
            if ended.status:  # else every file was smaller
                tally.tries += 1
                told(ended, tally)
            tries.look(command, folder, tally)
            tries.finish(command, folder, tally)
    return tally


def small_disk(tries: Tries, commands: Iterable[Command], rng: random.Random, times: int) -> Tally:
    """A file system of its own that is too small, then larger."""
    tally = Tally("disk full (tmpfs)")
    for command in commands:
        for _ in range(times):
            folder = tries.fresh()
            with _Disk(folder) as disk:
                _run(tries, command, folder)  # to know what it needs
                needed = _size(folder)
                disk.again(f"size={max(1, int(rng.uniform(0, 0.9) * needed / PAGE)) * PAGE}")
                ended = _run(tries, command, folder)
                if ended.status:
                    tally.tries += 1
                    told(ended, tally)
                tries.look(command, folder, tally)
                disk.mount("remount,size=512m")
                _end(tries, command, folder, tally)
    return tally


def read_only(tries: Tries, commands: Iterable[Command], *_) -> Tally:
    """A folder that may not be written in; then it may."""
    tally = Tally("output read-only")
    for command in commands:
        folder = tries.fresh()
        folder.chmod(0o555)
        tally.tries += 1
        told(_run(tries, command, folder, plain=True), tally)
        if left := list(folder.iterdir()):
            tally.note("stale", f"{left[0].name} in a folder that is read-only")
        folder.chmod(0o755)
        tries.finish(command, folder, tally)
    return tally


UNREADABLE = {"prepare sbd": "archives/sbd.tgz", "prepare coco": "archives/val2017.zip",
              "index": "voc/SegmentationClass/p03.png", "train": "voc/JPEGImages/p03.png",
              "export saved_model": "run/model.keras", "export onnx": "run/thresholds.json",
              "predict": "photos/p03.png"}


def unreadable(tries: Tries, commands: Iterable[Command], *_) -> Tally:
    """An input that may not be read; then it may."""
    tally = Tally("input unreadable")
    for command in commands:
        path, folder = tries.inputs / UNREADABLE[command.name], tries.fresh()
        mode = path.stat().st_mode
        path.chmod(0)
        try:
            ended = _run(tries, command, folder, plain=True)
        finally:
            path.chmod(mode)
        tally.tries += 1
        if command.name == "predict":  # the other photos are answered
            tries.told(ended, tally, 1)
            if path.name not in ended.err:
                tally.note("untold", ended.err[-600:])
        else:
            told(ended, tally, path.name)
        tries.look(command, folder, tally)
        tries.finish(command, folder, tally)
    return tally


def two_writers(tries: Tries, commands: Iterable[Command], *_) -> Tally:
    """A command started twice at once in one folder."""
    tally = Tally("two writers")
    for command in commands:
        folder = tries.fresh()
        job = command.job(tries.inputs, folder)
        tally.tries += 1
        for ended in tries.nursery.run(job, job):
            tries.told(ended, tally, 0)
        tries.compare(command, folder, tally)
        shutil.rmtree(folder)
        if command.name == "train":
            _second_trainer(tries, command, tally)
    return tally


def _second_trainer(tries, command, tally):
    """Without --resume the later one is refused, whoever that is."""
    folder = tries.fresh()
    job = command.job(tries.inputs, folder)
    job.argv.remove("--resume")
    tally.tries += 1
    both = sorted(tries.nursery.run(job, job), key=lambda ended: ended.status)
    tries.told(both[0], tally, 0)
    told(both[1], tally, "run: another process trains this run; --resume waits")
    tries.compare(command, folder, tally)
    shutil.rmtree(folder)


def clock_back(tries: Tries, commands: Iterable[Command], rng: random.Random, *_) -> Tally:
    """Killed; then the clock is set back: all that was written, locks too, is of the future."""
    tally = Tally("clock set back")
    for command in commands:
        folder, undisturbed = tries.fresh(), tries.reference(command)[0]
        _run(tries, command, folder, kill_at=rng.randint(1, undisturbed.changes))
        later = time.time() + YEAR
        for path in folder.rglob("*"):
            os.utime(path, (later, later))
        tally.tries += 1
        tries.finish(command, folder, tally)
    return tally


def odd_paths(tries: Tries, commands: Iterable[Command], *_) -> Tally:
    """Inputs and output under a name of 200 characters, with spaces, in two scripts."""
    tally = Tally("odd paths")
    inputs = tries.fresh() / ODD / "inputs"
    shutil.copytree(tries.inputs, inputs)
    for command in commands:
        folder = tries.fresh() / ODD
        folder.mkdir()
        tally.tries += 1
        ended = tries.nursery.run(command.job(inputs, folder))[0]
        tries.told(ended, tally, 0)
        tries.compare(command, folder, tally, "cache/", inputs)  # its files are named by their data
        shutil.rmtree(folder.parent)
    return tally


def surroundings(name: str, **environment: str) -> Callable[..., Tally]:
    """A row: the same commands in a process of another environment."""

    def row(tries, commands, *_):
        tally, nursery = Tally(name), Nursery(environment)
        try:
            for command in commands:
                folder = tries.fresh()
                tally.tries += 1
                tries.told(nursery.run(command.job(tries.inputs, folder))[0], tally, 0)
                tries.compare(command, folder, tally)
                shutil.rmtree(folder)
        finally:
            nursery.close()
        return tally

    return row


FAULTS = {"full disk": full_disk, "small disk": small_disk, "read-only": read_only,
          "unreadable": unreadable, "two writers": two_writers, "clock": clock_back,
          "odd paths": odd_paths, "hash seed": surroundings("hash seed 1", PYTHONHASHSEED="1"),
          "locale": surroundings("locale C", LC_ALL="C", LANG="C")}


def all_of(tries: Tries, seed: int, times: int, end: float) -> tuple[list[Tally], list[str]]:
    """(rows, what was left out and why): the commands that end soon first, until `end`."""
    tallies: dict[str, Tally] = {}
    left_out = []
    for commands in (SOON, [command for command in FORKED if command not in SOON]):
        names = ", ".join(command.name for command in commands)
        for name, fault in FAULTS.items():
            if time.monotonic() > end:
                left_out.append(f"{name} of {names}: no time was left")
                continue
            try:
                tally = fault(tries, commands, random.Random(f"{seed} {name}"), times)
                tallies.setdefault(name, Tally(tally.name)).add(tally)
            except NotHere as reason:
                left_out.append(f"{name} of {names}: not tried: {reason}")
    return list(tallies.values()), left_out


def _run(tries, command, folder, **how):
    return tries.nursery.run(command.job(tries.inputs, folder, **how))[0]


def _end(tries, command, folder, tally):
    """As `Tries.finish` in a folder that cannot be removed, as it is a disk."""
    tries.told(_run(tries, command, folder), tally, 0)
    tries.compare(command, folder, tally)


def _size(folder):
    return sum(-(-path.stat().st_size // PAGE) for path in folder.rglob("*")
               if path.is_file()) * PAGE


class _Disk:
    """A tmpfs at a folder."""

    def __init__(self, folder):
        self.folder = folder

    def mount(self, options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)],
                              capture_output=True, text=True)
        if done.returncode:
            raise NotHere(f"no right to mount ({done.stderr.strip() or os.strerror(errno.EPERM)})")

    def again(self, options):
        """Another, empty one."""
        self.__exit__()
        self.mount(options)

    def __enter__(self):
        self.mount("size=512m")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", str(self.folder)], capture_output=True, check=False)


