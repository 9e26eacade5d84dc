# SPDX-License-Identifier: Apache-2.0
"""Which commit a number is said to come from."""

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from sst_tf.runs import provenance

ROOT = Path(__file__).parents[3]


def commit_of(folder):
    """What a copy of the package in `folder` says of itself."""
    code = "import runpy; print(runpy.run_path('sst_tf/runs/provenance.py')['commit']())"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True,
                          check=True)
    return done.stdout.strip()


def git(folder, *arguments):
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *arguments], cwd=folder,
                   check=True, capture_output=True)


def copied(folder):
    for package in ("sst_tf", "pipelines"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.pyc"))
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")


def test_a_package_in_somebody_s_repository_does_not_record_their_commit(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    copied(tmp_path)
    assert commit_of(tmp_path) == f"installed {metadata.version('sst-tf')}"


def test_a_checkout_of_one_s_own_records_its_commit(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    copied(tmp_path)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True,
                          text=True, check=True).stdout.strip()
    assert commit_of(tmp_path) == head
    path = tmp_path / "sst_tf" / "runs" / "provenance.py"
    path.write_text(path.read_text() + "\n")
    assert commit_of(tmp_path) == head + "+"
    assert provenance.environment()["commit"]


def test_threads_of_a_run_are_recorded():
    code = ("import json; from sst_tf.runs.provenance import environment; e = environment();"
            "print(json.dumps([e['usable_processors'], e['variables']]))")
    printed = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-c", code], capture_output=True, text=True,
        check=True, env={"OMP_NUM_THREADS": "3", "TF_CPP_MIN_LOG_LEVEL": "2", "PATH": "/usr/bin"},
        cwd=ROOT).stdout
    assert json.loads(printed) == [1, {"OMP_NUM_THREADS": "3"}]


def test_the_command_is_what_was_typed():
    code = "from sst_tf.runs.provenance import command; print(command())"
    printed = subprocess.run([sys.executable, "-c", code, "--a", "1"], capture_output=True,
                             text=True, check=True).stdout.strip()
    assert printed == f"{Path(sys.executable).name} -c {code} --a 1"
