# SPDX-License-Identifier: Apache-2.0
"""Contestants in processes of their own that take turns, and what their times say."""

import importlib
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.bench_peers.options import Options
from pipelines.errors import UserError
from pipelines.extras import missing_extra

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
           "TF_NUM_INTEROP_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
WARM = 3  # calls before the first that counts


@dataclass(frozen=True)
class Contestant:
    """One way to do the work of a race.

    Attributes:
        name: in tables.
        maker: "module:function" that gets it ready in its own process, given the folder of the
            materials, `Options` and `arguments`.
        ours: this package's.
    """

    name: str
    maker: str
    ours: bool
    arguments: tuple = ()


@dataclass(frozen=True)
class Race:
    """One kind of work.

    Attributes:
        title: in tables.
        unit: "ms", of a call, or "episodes / s".
        tolerance: by which answers may differ before times mean nothing; None where there is
            nothing to compare.
        calls: of a round; their median is the round's time.
    """

    title: str
    unit: str
    contestants: tuple[Contestant, ...]
    tolerance: float | None = None
    calls: int = 1


def run(race: Race, folder: Path, options: Options, rounds: int) -> dict[str, Any]:
    """Let the contestants take turns for so many rounds.

    Only one computes at a time; the others wait for a message, which takes no processor time.

    Returns:
        {"seconds": {name: [of each round]}, "failed": {name: reason}, "difference": largest of
        answers}.
    Raises:
        UserError: one of ours does not start, or answers differ.
    """
    ready, answers, failed = {}, {}, {}
    with _threads(options.threads), _processes(race, folder, options) as lines:
        for contestant, line in lines:
            kind, value = line("ready")
            if kind == "failed":
                if contestant.ours:
                    raise UserError(f"{race.title}: {contestant.name} cannot start ({value})")
                failed[contestant.name] = value
            else:
                ready[contestant.name], answers[contestant.name] = line, value
        difference = _difference(race, answers)
        seconds: dict[str, list[float]] = {name: [] for name in ready}
        for turn in range(rounds):
            names = list(ready)
            for name in names[turn % len(names):] + names[:turn % len(names)]:
                seconds[name].append(ready[name](race.calls)[1])
    return {"seconds": seconds, "failed": failed, "difference": difference}


def _difference(race, answers):
    if race.tolerance is None or len(answers) < 2:
        return None
    first = next(iter(answers.values()))
    worst = max(float(np.abs(one - first).max()) for one in answers.values())
    if not worst <= race.tolerance:
        raise UserError(f"{race.title}: answers differ by {worst:.1e} (at most {race.tolerance:g} "
                        "is allowed), so that their times mean nothing; the peers' code no longer "
                        "computes what ours does: see export/bench_peers/torch_model.py")
    return worst


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes that are started inside have so many threads in every library."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _processes(race, folder, options):
    context = multiprocessing.get_context("spawn")  # nothing of one library in another's process
    started = []

    def ask(pipe, question):
        pipe.send(question)
        try:
            return pipe.recv()
        except EOFError:
            return "failed", "its process died"

    def lines():
        for contestant in race.contestants:  # one after another: getting ready is work, too
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, contestant, folder, options))
            process.start()
            there.close()
            started.append((process, here))
            yield contestant, partial(ask, here)

    try:
        yield lines()
    finally:
        for process, pipe in started:
            pipe.close()
            process.join(20)
            if process.is_alive():
                process.terminate()


def _serve(pipe, contestant, folder, options):
    """A contestant's process: get ready, then time so many calls a message."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        module, _, name = contestant.maker.partition(":")
        measure, answer = getattr(importlib.import_module(module), name)(
            folder, options, *contestant.arguments)
        for _ in range(WARM):
            measure()
        outcome = "ready", answer
    except Exception as error:  # a missing package or compiler is a row of the table
        told = missing_extra(error) if isinstance(error, ImportError) else None
        lines = [line for line in str(told or error).splitlines() if line.strip()]
        outcome = "failed", (lines or [type(error).__name__])[0][:200]
    try:
        pipe.recv()
        pipe.send(outcome)
        while outcome[0] == "ready":
            times = [measure() for _ in range(pipe.recv())]
            pipe.send(("seconds", float(np.median(times))))
    except EOFError:  # the race is over
        pass
