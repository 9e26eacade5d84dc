# SPDX-License-Identifier: Apache-2.0
"""The wheel, in an environment of its own and outside the repository, does what the README says."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import cv2
import pytest

from pipelines import open_source

ROOT = Path(__file__).parents[1]
PACKAGES = ("sst_tf", "pipelines", "export")
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info")
QUICK = ["--data.count", "400", "--data.image_size", "33", "--model.channels", "8",
         "--pretrain.steps", "2", "--train.epochs", "1", "--train.steps_per_epoch", "2",
         "--train.batch", "2", "--train.validation_every", "1", "--train.validation_episodes", "4",
         "--train.novel_episodes", "4", "--evaluate.episodes", "6", "--evaluate.shots", "[1]",
         "--evaluate.threshold_episodes", "6", "--evaluate.absent_episodes", "4",
         "--evaluate.resamples", "10"]

# `sst` where no extra is installed: an import fails, and `find_spec` answers None.
BARE = """
import sys
from pipelines.extras import EXTRAS
from sst_tf.cli import main

class WithoutExtras:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in EXTRAS:
            return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(WithoutExtras, sys.meta_path)
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing of an earlier build gets into it."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=IGNORED)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
                    "--no-build-isolation", "--wheel-dir", str(output), str(source)], check=True)
    path, = output.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sst(wheel, tmp_path_factory):
    """Calls the installed command elsewhere; takes its arguments, returns what it prints.

    The environment holds the wheel; its dependencies are the tested ones, which a path file lends
    without their own path files, so that an editable installation stays out.
    """
    folder, elsewhere = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install",
                    "--no-deps", "--no-index", str(wheel)], check=True)
    packages, = folder.glob("lib/python*/site-packages")
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "tested.pth").write_text("".join(f"{path}\n" for path in sorted(lent)))
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def call(*arguments, command=("sst",), status=0):
        done = subprocess.run([folder / "bin" / command[0], *command[1:], *map(str, arguments)],
                              cwd=elsewhere, env=variables, text=True, capture_output=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    call.folder, call.packages = elsewhere, packages
    return call


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    expected = {str(path.relative_to(ROOT)) for name in PACKAGES
                for path in (ROOT / name).rglob("*")
                if path.is_file() and "__pycache__" not in path.parts}
    expected |= {f"sst_tf/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {"sst_tf/py.typed", "sst_tf/configs/shapes_small.yaml", "export/serving/compose.yaml",
            "sst_tf/configs/experiments/table1.yaml"} <= found


def test_the_installed_package_is_the_wheel_s(sst):
    code = ("import sst_tf, pipelines, export; "
            "print(*(one.__file__ for one in (sst_tf, pipelines, export)))")
    for path in sst("-c", code, command=("python",)).split():
        assert Path(path).is_relative_to(sst.packages)


def test_help_and_packaged_names(sst):
    assert "export-onnx" in sst("--help")
    printed = sst("experiment", "table1", "--profile", "mini", "--dry_run")
    assert "16 trainings" in printed
    assert "shapes_small" in sst("train", "shapes_tiny", status=2).splitlines()[-1]


@pytest.mark.slow  # `make wheel-check` runs it
def test_train_evaluate_and_predict_without_extras(sst, tmp_path):
    def bare(*arguments):
        return sst(*arguments, command=("python", "-c", BARE))

    printed = bare("train", "shapes_small", *QUICK)
    assert "unseen classes, 1-shot" in printed
    run = sst.folder / "runs" / "shapes_small"
    assert (run / "model.keras").is_file() and not (run / "tensorboard").exists()
    assert "1-shot, 5 episodes" in bare("evaluate", "runs/shapes_small", "--evaluate.episodes", "5")

    source = open_source("shapes", count=8)
    photo, other = source.image_ids("all")[:2]
    for name in (photo, other):
        cv2.imwrite(str(tmp_path / f"{name}.png"), source.read_image(name)[..., ::-1])
    bare("predict", "--run_dir", "runs/shapes_small", "--support",
         f"{tmp_path / photo}.png=box:8,8,60,60", "--input", tmp_path / f"{other}.png", "--output",
         "answers", "--always_answer")
    assert (sst.folder / "answers" / f"{other}.png.index.png").is_file()


@pytest.mark.parametrize("arguments, extra", [
    (["export-onnx", "--run_dir", "run", "--output", "models"], "onnx"),
    (["report", "run"], "report"),
    (["serve", "--model_base_path", "models"], "serving")])
def test_a_command_without_its_extra_says_so_in_one_line(sst, arguments, extra):
    printed = sst(*arguments, command=("python", "-c", BARE), status=2).splitlines()[-1]
    assert printed.startswith("error: ") and f"pip install 'sst-tf[{extra}]'" in printed
