# SPDX-License-Identifier: Apache-2.0
"""`python -m export.bench_peers`: our work against the same work in PyTorch.

A training step and `segment` of the preset's network against the same network in PyTorch, eager and
by torch.compile, which starts from the same weights and must give the same answers; episodes read
against a DataLoader and pytorch-meta's way. Each contestant has a process of its own; they take
turns, one computing at a time, with equally many threads. Needs the extras `peers` and `onnx`.
"""

import argparse
import dataclasses
import multiprocessing
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path

from export.bench_peers.options import Options
from export.bench_peers.race import run
from export.bench_peers.races import RACES
from export.bench_peers.table import markdown, refresh
from pipelines.commands import command, parse, positive
from pipelines.errors import UserError
from pipelines.sealed import read_sealed, write_sealed

PACKAGES = ("tensorflow", "keras", "onnxruntime", "torch", "pillow", "opencv-python-headless")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    given = Options()
    parser = argparse.ArgumentParser(prog="python -m export.bench_peers",
                                     description=(__doc__ or "").partition(": ")[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", nargs="+", choices=RACES, default=list(RACES),
                        help="which (default: all); results of others stay in the file")
    parser.add_argument("--rounds", type=positive, default=15)
    parser.add_argument("--cpus", type=int, nargs="+",
                        help="run on these processors alone (default: all that we may use)")
    parser.add_argument("--note", default="", help="on the machine, beside the table")
    parser.add_argument("--output", default="docs/results/bench/peers.json", help="file of results")
    parser.add_argument("--page", help="Markdown page whose tables are written anew")
    for name, text in (("preset", "whose network and recipe"),
                       ("root", "photos in VOC layout; drawn ones where they are missing"),
                       ("image_size", "side in pixels"), ("batch", "episodes of a step"),
                       ("episodes", "read in a round")):
        value = getattr(given, name)
        parser.add_argument(f"--{name}", default=value,
                            type=positive if isinstance(value, int) else str,
                            help=f"{text} (default: {value})")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    given = parse(parser(), argv)
    if given.cpus:
        os.sched_setaffinity(0, given.cpus)
    chosen = {field.name: getattr(given, field.name) for field in dataclasses.fields(Options)
              if hasattr(given, field.name)}
    options = Options(**chosen, threads=len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _prepare(folder, options)
        from export.bench_peers.materials import facts

        about = facts(folder)
        for name in given.races:
            race = RACES[name]
            print(f"{race.title}: {', '.join(one.name for one in race.contestants)}", flush=True)
            result = run(race, folder, options, given.rounds)
            _keep(given.output, name, {
                "title": race.title, "unit": race.unit, "rounds": given.rounds,
                "ours": [one.name for one in race.contestants if one.ours],
                "work": _work(name, options, about), "machine": _machine(options, given.note),
                "versions": _versions(), "options": dataclasses.asdict(options), **result})
    print(markdown(_kept(given.output)))
    if given.page:
        refresh(given.page, _kept(given.output))


def _prepare(folder, options):
    """In a process that ends: TensorFlow's threads must not stay in the one that waits."""
    from export.bench_peers.materials import prepare

    process = multiprocessing.get_context("spawn").Process(target=prepare, args=(folder, options))
    process.start()
    process.join()
    if process.exitcode:
        raise UserError("the materials of the race could not be made: see above")


def _work(name, options, about):
    if name.startswith("reading"):
        return (f"{options.image_size} pixels, 1-shot, batch {options.batch}, "
                f"{options.episodes} episodes a round from {about['photos']}")
    batch = options.batch if name.startswith("training") else 1
    return (f"ResNet-18 at {options.image_size} pixels, 1-shot, batch {batch}, float32, weights: "
            f"{about['weights']}")


def _machine(options, note):
    model = platform.processor() or platform.machine()
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    threads = "one thread" if options.threads == 1 else f"{options.threads} threads"
    return ", ".join(part for part in (model, threads, note) if part)


def _lines(path):
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []


def _versions():
    there = {one.metadata["Name"].lower(): one.version for one in metadata.distributions()}
    return {name: there[name] for name in PACKAGES if name in there}


def _kept(path):
    remedy = "delete it and measure again"
    return read_sealed(path, remedy) if Path(path).is_file() else {"races": {}}


def _keep(path, name, result):
    kept = _kept(path)
    races = {**kept["races"], name: result}
    write_sealed(path, {**kept, "races": {one: races[one] for one in RACES if one in races}})


if __name__ == "__main__":
    main()
