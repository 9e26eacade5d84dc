# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments of each command, and starts afterwards: `make test-faults`."""

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

from pipelines.writing import write_text
from tests.faults import other
from tests.faults.commands import BY_NAME, COMMANDS, Command
from tests.faults.nursery import Nursery
from tests.faults.tries import Tally, Tries, rows

IN_A_ROW = 4  # at most so many kills before a command is let end
DELAY = 0.004  # seconds after a change of a file, at most


def kill(tries: Tries, command: Command, tally: Tally, rng: random.Random, most: int) -> None:
    """Kill a command up to `most` times in one folder, each start going on; then let it end.

    Half of the moments are drawn over the time of an undisturbed run, half over the changes that
    it makes to files: little time passes there, and it is where a kill could do harm.
    """
    undisturbed, _ = tries.reference(command)
    folder = tries.fresh()
    for _ in range(most):
        at_change = command.by_python and rng.random() < 0.5
        if at_change:
            how = {"kill_at": rng.randint(1, undisturbed.changes),
                   "kill_delay": rng.choice([0.0, rng.uniform(0, DELAY)])}
        else:
            how = {"kill_after": rng.uniform(0, undisturbed.seconds)}
        ended = tries.nursery.run(command.job(tries.inputs, folder, **how))[0]
        if not ended.killed:  # it was done before
            tries.told(ended, tally, 0)
            break
        tally.tries += 1
        tally.changes += at_change
        if "Traceback (most" in ended.err:
            tally.note("untold", ended.err.strip()[-600:])
        tries.look(command, folder, tally)
    tries.finish(command, folder, tally)


def kill_all(tries: Tries, wanted: dict[str, int], seconds: float, seed: int, done=None
             ) -> list[Tally]:
    """Kill each command as often as wanted, in equal shares of the time, while there is time.

    Args:
        wanted: {command: kills}.
        done: called with the tallies after each folder.
    """
    tallies = {name: Tally(f"kill {name}") for name in wanted}
    spent = dict.fromkeys(wanted, 0.0)
    rngs = {name: random.Random(f"{seed} {name}") for name in wanted}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = [name for name in wanted if tallies[name].tries < wanted[name]]
        if not left:
            break
        name, begun = min(left, key=spent.get), time.monotonic()
        kill(tries, BY_NAME[name], tallies[name], rngs[name],
             min(rngs[name].randint(1, IN_A_ROW), wanted[name] - tallies[name].tries))
        spent[name] += time.monotonic() - begun
        if done:
            done(list(tallies.values()))
    return list(tallies.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=int(os.environ.get("SST_MOMENTS", 100)),
                        help="kills of each command (Ray's starts take long: a tenth of batch)")
    parser.add_argument("--minutes", type=float, default=60, help="it stops then")
    parser.add_argument("--times", type=int, default=3,
                        help="full disks of each command; 0 leaves out all faults but kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="+", default=list(BY_NAME), choices=list(BY_NAME))
    parser.add_argument("--output", type=Path, default=Path("faults.md"), help="file of the table")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    wanted = {one.name: max(1, round(options.moments * one.share * (
        1 if one.by_python else 0.1))) for one in COMMANDS if one.name in options.commands}
    nursery = Nursery()
    with tempfile.TemporaryDirectory(prefix="sst-faults-") as folder:
        tries = Tries(nursery, Path(folder))
        others, left_out = other.all_of(
            tries, options.seed, options.times,
            time.monotonic() + (end - time.monotonic()) / 3) if options.times else ([], [])

        def write(tallies):
            notes = [*left_out, *(note for one in [*tallies, *others] for note in one.notes)]
            write_text(options.output, "\n".join(
                [*rows([*tallies, *others]), "", *(f"- {note}" for note in notes)]) + "\n")

        tallies = kill_all(tries, wanted, end - time.monotonic(), options.seed, write)
        write(tallies)
    nursery.close()
    print(options.output.read_text(encoding="utf-8"))
    for one in tallies:
        if one.tries < wanted[one.name.removeprefix("kill ")]:
            print(f"{one.name}: {one.tries} of {wanted[one.name.removeprefix('kill ')]} moments: "
                  "no time was left")
    raise SystemExit(any(one.bad() for one in [*tallies, *others]))


if __name__ == "__main__":
    main()
