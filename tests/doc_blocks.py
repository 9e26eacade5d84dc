# SPDX-License-Identifier: Apache-2.0
"""The blocks of Python and shell in README and docs, and how tests run them.

The blocks of a page run from top to bottom in one folder; those in Python share their names. In a
shell block every command has to be `sst`, which runs in this process: TensorFlow starts once, not
once a command. Trainings are cut short (`SHORT`), whatever the page's own numbers. A block that no
test can run has a comment before it that says why:

    <!-- not run: needs a GPU for days -->

and a block that a test of its own runs says which:

    <!-- run by: tests/sst_tf/photos/test_annotation_tools.py -->
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from sst_tf import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARK, ELSEWHERE = "not run: ", "run by: "
FENCE = re.compile(r"(?:^<!-- (?P<comment>[^\n]*?) -->\n+)?^```(?P<language>\w+)[^\n]*\n"
                   r"(?P<text>.*?)^```$", re.M | re.S)
SHELL, PYTHON = {"sh", "bash", "shell", "console"}, {"python", "py"}
SHORT = {"train": ["--data.count", "400", "--data.image_size", "33", "--model.channels", "16",
                   "--pretrain.steps", "0", "--train.epochs", "1", "--train.steps_per_epoch", "2",
                   "--train.batch", "2", "--train.validation_every", "1",
                   "--train.validation_episodes", "4", "--train.novel_episodes", "0",
                   "--evaluate.episodes", "6", "--evaluate.threshold_episodes", "6",
                   "--evaluate.absent_episodes", "4", "--evaluate.resamples", "10",
                   "--evaluate.shots", "[1]"],
         "compare": ["--resamples", "10"], "mark-cost": ["--episodes", "4"]}


@dataclass(frozen=True)
class Block:
    """A fenced block of Python or shell.

    Attributes:
        reason: why no test runs it; None where one does.
        test: the file of the test that runs it; None where `run` does.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str | None
    test: str | None = None

    @property
    def runs_here(self):
        return self.reason is None and self.test is None

    @property
    def place(self):
        return f"{self.page}:{self.line}"


def blocks(page):
    """The `Block`s of a page, from top to bottom."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in FENCE.finditer(text):
        if match["language"] in SHELL | PYTHON:
            comment = match["comment"] or ""
            found.append(Block(
                page.relative_to(ROOT).as_posix(), text[:match.start("text")].count("\n"),
                "python" if match["language"] in PYTHON else "shell", match["text"],
                comment.removeprefix(MARK) if comment.startswith(MARK) else None,
                comment.removeprefix(ELSEWHERE) if comment.startswith(ELSEWHERE) else None))
    return found


def count():
    """How many blocks run, and how many are marked."""
    every = [block for page in PAGES for block in blocks(page)]
    marked = sum(block.reason is not None for block in every)
    return len(every) - marked, marked


def commands(text):
    """The words of each command of a shell block, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def run(block, names):
    """Run a block in this folder; Python with `names`, which it may add to.

    Raises:
        AssertionError: a command that ends with a status, or is not `sst`.
    """
    if block.language == "python":
        exec(compile("\n" * block.line + block.text, block.page, "exec"), names)
        return
    for name, *words in commands(block.text):
        assert name == "sst", f"{block.place}: {name} is not sst; mark it: <!-- {MARK}why -->"
        try:
            cli.main([*words, *(SHORT.get(words[0], []) if "--help" not in words else [])])
        except SystemExit as end:
            assert not end.code, f"{block.place}: sst {' '.join(words)} ended with {end.code}"
