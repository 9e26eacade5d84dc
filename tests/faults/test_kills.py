# SPDX-License-Identifier: Apache-2.0
"""A short form of `make test-faults`: kills and other faults of the commands that end soon."""

import os
import random
import subprocess
import sys

import pytest

from tests.faults.commands import BY_NAME
from tests.faults.kills import kill_all
from tests.faults.nursery import ROOT, Nursery
from tests.faults.other import FAULTS, FORKED, ODD, SOON, NotHere
from tests.faults.tries import Tries, rows

OTHER_STARTS = ("hash seed", "locale")  # of another process that imports everything


@pytest.fixture(scope="module")
def tries(tmp_path_factory):
    nursery = Nursery()
    yield Tries(nursery, tmp_path_factory.mktemp("faults"))
    nursery.close()


def test_kills(tries):
    """Seeds tell which moment failed: `--seed 0 --commands NAME` makes it again."""
    wanted = {"prepare sbd": 8, "prepare coco": 8, "index": 6, "predict": 2}
    tallies = kill_all(tries, wanted, 120, seed=0)
    assert [one.tries for one in tallies] == list(wanted.values())
    assert not any(one.bad() for one in tallies), [note for one in tallies for note in one.notes]
    table = list(rows(tallies))
    assert table[2].startswith("| kill prepare sbd | 8 |") and len(table) == 2 + len(wanted)


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in OTHER_STARTS])
def test_other_faults(tries, fault):
    _holds(tries, fault, SOON[:3])


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(FAULTS))
def test_other_faults_of_all_commands(tries, fault):
    _holds(tries, fault, FORKED)


def _holds(tries, fault, commands):
    try:
        tally = FAULTS[fault](tries, commands, random.Random(0), 2)
    except NotHere as reason:
        pytest.skip(str(reason))
    assert tally.tries and not tally.bad(), tally.notes


def test_index_under_another_locale_and_hash_seed(tries, tmp_path):
    _, expected = tries.reference(BY_NAME["index"])
    folder = tmp_path / ODD
    folder.mkdir()
    words = BY_NAME["index"].job(tries.inputs, folder).argv
    subprocess.run([sys.executable, "-m", "pipelines.index", *words], cwd=folder, check=True,
                   capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C",
                                             "PYTHONHASHSEED": "7"})
    assert (folder / "pairs.jsonl").read_text(encoding="utf-8") == expected["pairs.jsonl"]
