# SPDX-License-Identifier: Apache-2.0
"""`sst index` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipelines.index.__main__ import main
from tests.pipelines.tiny_voc import CLASSES

ROOT = Path(__file__).parents[3]


def test_pairs_as_json_lines(tiny, tmp_path, capsys):
    path = tmp_path / "new" / "pairs.jsonl"
    main(["voc", "--root", str(tiny), "--fold", "1", "--output", str(path)])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows and {row["class"] for row in rows} == {CLASSES[1]}
    assert all(row["class_id"] == 2 and row["area"] > 0 for row in rows)
    assert f"{len(rows)} pairs of {len(rows)} photos" in capsys.readouterr().out
    assert [p.name for p in path.parent.iterdir()] == ["pairs.jsonl"]
    main(["voc", "--root", str(tiny), "--fold", "1", "--part", "base"])
    base = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["class"] for row in base} == set(CLASSES) - {CLASSES[1]}


def test_a_missing_folder_is_named_by_its_option(capsys):
    with pytest.raises(SystemExit):
        main(["coco"])
    assert "--root: a coco data set needs its folder" in capsys.readouterr().err


@pytest.mark.parametrize("words, match", [
    ("--part base", "--part base: does nothing with neither --fold nor --novel_classes"),
    ("--layout interleaved", "--layout interleaved: does nothing"),
    ("--novel_policy keep", "--novel_policy keep: does nothing"),
    ("--fold 0 --novel_policy keep", "--novel_policy keep: does nothing with --part novel"),
    ("--fold 0 --verify", "--fold 0: does nothing with --verify"),
    ("--verify --output x", "--output x: does nothing with --verify"),
    ("--fold 3 --novel_classes cup", "not allowed with argument --fold")])
def test_options_that_would_do_nothing_are_told(tiny, capsys, words, match):
    with pytest.raises(SystemExit) as caught:
        main(["voc", "--root", str(tiny), *words.split()])
    assert caught.value.code == 2 and match in capsys.readouterr().err


def test_verify_tells_everything_at_once(tiny, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["voc", "--root", str(tiny), "--verify"])
    assert caught.value.code == 0 and "24 photos read, 0 problems" in capsys.readouterr().out

    photo, masks = tiny / "JPEGImages", tiny / "SegmentationClass"
    (photo / "p00.png").write_bytes((photo / "p00.png").read_bytes()[:300])
    (photo / "p01.png").unlink()
    Image.new("RGB", (48, 40)).save(masks / "p02.png")
    Image.new("L", (48, 40)).save(masks / "p03.png")
    for number in range(7, 24, 4):  # leaves one photo of the last class, beside the empty p03
        (masks / f"p{number:02d}.png").unlink()
    Image.new("L", (48, 40), 4).save(masks / "p07.png")
    with pytest.raises(SystemExit) as caught:
        main(["voc", "--root", str(tiny), "--verify"])
    assert caught.value.code == 1
    printed = capsys.readouterr().out
    for words in ("p00.png: damaged photo", "p01: no photo", "p02.png: a picture of mode RGB",
                  "p03: no pixel of any class", "class plate: 1 sound photos", "5 problems"):
        assert words in printed, words


def test_help_and_errors(tmp_path):
    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "pipelines.index", *arguments], cwd=ROOT,
                              capture_output=True, text=True)

    told = run("--help")
    assert told.returncode == 0 and "--verify" in told.stdout and "examples:" in told.stdout
    failed = run("voc", "--root", str(tmp_path / "nosuch"))
    last = failed.stderr.strip().splitlines()[-1]
    assert failed.returncode == 2 and last.startswith("error: ") and "nosuch" in last
    assert "Traceback" not in failed.stderr and "RuntimeWarning" not in failed.stderr
