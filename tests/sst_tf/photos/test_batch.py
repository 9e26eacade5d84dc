# SPDX-License-Identifier: Apache-2.0
"""`sst batch`: every photo one row, whatever is killed; folders, Parquet, tars; what is refused."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace

import cv2
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import fs, parquet

from pipelines.errors import UserError
from pipelines.reading.run_lengths import mask_of_run_lengths
from sst_tf import batch
from sst_tf.config import DataConfig
from sst_tf.photos.batch import engine, places, sources
from sst_tf.photos.batch.output import ASKED, SCHEMA, Output
from sst_tf.photos.batch.trial import kill_a_worker
from sst_tf.photos.batch.worker import Question, Worker
from sst_tf.photos.class_card import ClassCard
from sst_tf.photos.predictor import Predictor
from sst_tf.presets.preset import Preset
from tests import doc_blocks
from tests.export.conftest import make_run
from tests.sst_tf.test_commands import fails


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=65, count=60))


def picture(seed):
    rng = np.random.default_rng(seed)
    image = np.full((60 + seed, 80, 3), 120, np.uint8)
    cv2.circle(image, (30 + seed, 30), 18, (30, 30, 200), -1)
    return np.clip(image + rng.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eleven photos in two folders, and one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "größe").mkdir()
    for seed in range(11):
        name = f"größe/{seed}.png" if seed % 3 else f"{seed}.png"
        cv2.imwrite(str(folder / name), picture(seed))
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def card(run, photos, tmp_path_factory):
    predictor = Predictor.from_run(run.folder)
    mask = np.zeros((60, 80), np.uint8)
    cv2.circle(mask, (30, 30), 18, 1, -1)
    path = tmp_path_factory.mktemp("card") / "disc.npz"
    return predictor.set_support(photos / "0.png", mask, "disc").save(path)


@pytest.fixture
def question(run, card):
    return Question(str(run.folder), None, [ClassCard.load(card)], False, 1, "rle", 4)


def block(photos, names):
    return pa.table({"photo": names, "data": pa.nulls(len(names), pa.binary()),
                     "path": [str(photos / name) for name in names]}, sources.ROW)


def opened(folder):
    return sources.open_source(sources.listing(folder, None), set(), 8, "image", "id")


def rows(folder):
    return {row["photo"]: row for path in folder.glob("*.parquet")
            for row in parquet.read_table(path).to_pylist()}


# ---- a worker ------------------------------------------------------------------------------------


def test_rows_are_the_predictor_s_answers(question, photos, run, card, tmp_path):
    predictor = Predictor.from_run(run.folder, empty=False)
    predictor.add_card(card)
    names = ["0.png", "größe/1.png", "broken.jpg"]
    answered = Worker(question, str(tmp_path), fs.LocalFileSystem())(block(photos, names))
    assert answered["photos"].to_pylist() == [3]
    found = rows(tmp_path)
    assert set(found) == set(names)
    for name in names[:2]:
        expected, row = predictor.predict(photos / name), found[name]
        one = row["classes"][0]
        assert row["error"] is None and (one["name"], one["present"]) == ("disc", True)
        mask = mask_of_run_lengths({"size": [row["height"], row["width"]],
                                    "counts": one["counts"]})
        np.testing.assert_array_equal(mask, expected.mask)
        assert one["area"] == expected.mask.sum() > 0
        assert one["score"] == pytest.approx(expected.score, abs=1e-6)
    assert found["broken.jpg"]["error"].startswith(
        "broken.jpg: not readable as a picture (of no known format); ")
    assert found["broken.jpg"]["classes"] is None


def test_a_path_that_nobody_opens_costs_its_row_alone(question, photos, tmp_path):
    path = "nobody://x/y.jpg"
    table = pa.table({"photo": ["there", "away"], "data": pa.nulls(2, pa.binary()),
                      "path": [str(photos / "0.png"), path]}, sources.ROW)
    Worker(question, str(tmp_path), None)(table)
    found = rows(tmp_path)
    assert found["there"]["error"] is None
    assert found["away"]["error"].startswith(f"away: not readable ({path}: ")


def test_an_answer_made_again_replaces_its_file(question, photos, tmp_path):
    """As after a kill between writing and saying so: the new worker has seen no row."""
    worker = Worker(question, str(tmp_path), fs.LocalFileSystem())
    for _ in range(2):
        worker(block(photos, ["0.png", "3.png"]))
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    ids, errors = Output(str(tmp_path)).done()
    assert ids == {"0.png", "3.png"} and errors == 0
    later = Worker(question, str(tmp_path), fs.LocalFileSystem())
    later(block(photos, ["3.png", "6.png"]))
    assert Output(str(tmp_path)).done()[0] == {"0.png", "3.png", "6.png"}


@pytest.mark.parametrize("masks", ["png", "files"])
def test_masks_as_pictures(question, photos, tmp_path, masks):
    Worker(replace(question, masks=masks), str(tmp_path), fs.LocalFileSystem())(
        block(photos, ["größe/1.png"]))
    row = rows(tmp_path)["größe/1.png"]
    data = row["index"] if masks == "png" else (
        tmp_path / "masks" / "größe" / "1.png.png").read_bytes()
    index = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert index.shape == (61, 80) and (index == 1).sum() == row["classes"][0]["area"]


def test_no_mask_leaves_its_folder(question, photos, tmp_path):
    worker = Worker(replace(question, masks="files"), str(tmp_path / "out"), None)
    data = (photos / "0.png").read_bytes()
    (tmp_path / "out").mkdir()
    for name in ("../../up.png", "/etc/up.png"):
        worker(pa.table({"photo": [name], "data": [data], "path": [None]}, sources.ROW))
        assert "choose other --masks" in rows(tmp_path / "out")[name]["error"]
    assert not list(tmp_path.rglob("up.png*"))


# ---- the output ----------------------------------------------------------------------------------


def test_an_output_of_other_answers_is_refused(tmp_path):
    output = Output(str(tmp_path / "out"))
    output.begin({"masks": "rle", "tiles": 1})
    output.begin({"masks": "rle", "tiles": 1})
    with pytest.raises(UserError, match=r"something else \(tiles differ\)"):
        output.begin({"masks": "rle", "tiles": 2})
    (tmp_path / "out" / ASKED).write_text("[1")
    with pytest.raises(UserError, match="asked.json: damaged"):
        output.begin({"masks": "rle"})
    (tmp_path / "out" / ASKED).unlink()
    (tmp_path / "out" / "mine.parquet").write_bytes(b"mine")
    with pytest.raises(UserError, match="Parquet files of something else"):
        output.begin({"masks": "rle"})


def test_damaged_and_double_rows_are_named(tmp_path):
    output = Output(str(tmp_path))
    one = {"photo": "a", "error": None}
    parquet.write_table(pa.Table.from_pylist([one], SCHEMA), tmp_path / "1.parquet")
    parquet.write_table(pa.Table.from_pylist([one], SCHEMA), tmp_path / "2.parquet")
    with pytest.raises(UserError, match="2 rows of 1 photos"):
        output.done()
    (tmp_path / "2.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(UserError, match=r"2.parquet: damaged .* remove it"):
        output.done()


def test_rows_with_an_error_are_asked_again_on_demand(tmp_path):
    output = Output(str(tmp_path))
    good, bad, worse = ({"photo": name, "error": error} for name, error in (
        ("a", None), ("b", "not readable"), ("c", "not readable")))
    output.write([good, bad])
    output.write([worse])
    output.forget_errors()
    assert output.done() == ({"a"}, 0) and set(rows(tmp_path)) == {"a"}
    output.write([bad])
    assert output.done() == ({"a", "b"}, 1)
    (tmp_path / "2.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(UserError, match=r"2.parquet: damaged"):
        output.forget_errors()


def test_a_write_that_fails_leaves_nothing(tmp_path):
    filesystem = fs.LocalFileSystem()
    with pytest.raises(OSError):
        places.write(filesystem, str(tmp_path / "no" / "file"), b"data")
    with pytest.raises(TypeError):
        places.write(filesystem, str(tmp_path / "file"), object())
    assert not list(tmp_path.iterdir())


def test_what_cannot_work_is_said_before_ray_starts(run, card, photos, tmp_path, capsys):
    words = ["--run_dir", str(run.folder), "--card", str(card), "--output", str(tmp_path / "out")]
    assert "--workers 0: expected" in fails(capsys, [*words, "--input", "x", "--workers", "0"],
                                            batch.main)
    two = [*words[:4], str(card), *words[4:], "--input", "x"]
    assert "two classes are called" in fails(capsys, two, batch.main)
    other = make_run(tmp_path / "other", DataConfig(image_size=65, count=60))
    assert "tuned for another model" in fails(
        capsys, ["--run_dir", str(other.folder), *words[2:], "--input", "x"], batch.main)
    assert not (tmp_path / "out").exists()


def test_missing_weights_are_said_before_ray_starts(card, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(engine, "answer", None)
    monkeypatch.setenv("SST_WEIGHTS", str(tmp_path))
    own = replace(ClassCard.load(card), model_sha256=Preset.load("sst_resnet18").sha256)
    words = ["--preset", "sst_resnet18", "--card", str(own.save(tmp_path / "own.npz")), "--input",
             str(photos), "--output", str(tmp_path / "out")]
    told = fails(capsys, words, batch.main)
    assert f"no weights of resnet18: no resnet18* in {tmp_path}" in told
    assert ("give the file by --weights (sst train: --model.weights; in Python weights=)"
            in told)
    with pytest.raises(TypeError):  # a cluster's machines have their own
        batch.main([*words, "--address", "auto"])


def test_workers_are_told_whole_paths(run, card, monkeypatch):
    """Ray's workers run in another folder."""
    asked = []

    def answer(*words, **_):
        asked.append(words)
        return engine.Answered(1, 0, 0)

    monkeypatch.setattr(engine, "answer", answer)
    folder = run.folder.resolve()
    monkeypatch.chdir(folder.parent)
    batch.main(["--run_dir", folder.name, "--card", str(card), "--input", "in", "--output",
                "s3://bucket/out"])
    question, source, output, *_ = asked[0]
    assert question.model == str(folder)
    assert (source, output) == (str(folder.parent / "in"), "s3://bucket/out")


def test_inputs_that_are_none(photos, tmp_path):
    for uri, words in ((str(tmp_path / "no"), "no such file"), (str(tmp_path), "nothing of kind"),
                       ("nobody://x/y", "nobody")):
        with pytest.raises(UserError, match=words):
            sources.listing(uri, None)
    (tmp_path / "a.tar").touch()
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    with pytest.raises(UserError, match="--kind, one of folder, webdataset"):
        opened(str(tmp_path))
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"no column 'image'; it has x \(--photo and --id"):
        opened(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("kind, expected", [
    (pa.string(), True), (pa.large_string(), True), (pa.string_view(), True),
    (pa.dictionary(pa.int32(), pa.large_string()), True),
    (pa.binary(), False), (pa.large_binary(), False), (pa.binary_view(), False),
    (pa.dictionary(pa.int8(), pa.binary()), False)])
def test_paths_and_bytes_by_their_type(kind, expected):
    assert sources._holds_paths("a.parquet", pa.field("image", kind)) is expected


def test_a_column_of_something_else_is_refused(tmp_path):
    struct = pa.array([{"bytes": b"x", "path": None}])
    parquet.write_table(pa.table({"id": ["a"], "image": struct}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet: column 'image' is of struct.*expected paths"):
        opened(str(tmp_path))
    (tmp_path / "mixed").mkdir()
    for name, value in (("a", "x.jpg"), ("b", b"x")):
        parquet.write_table(pa.table({"id": [name], "image": [value]}),
                            tmp_path / "mixed" / f"{name}.parquet")
    with pytest.raises(UserError, match="paths in some files and bytes in others"):
        opened(str(tmp_path / "mixed"))


def test_answers_of_sst_predict_are_no_photos(photos, tmp_path):
    """In the folder of photos or below it: an overlay and an index picture beside their record."""
    folder = shutil.copytree(photos, tmp_path / "photos")
    total = opened(str(folder)).total
    photo = next(folder.rglob("*.png"))
    (folder / "out").mkdir()
    for where in (photo.parent, folder / "out"):
        for ending in (".json", ".index.png", ".overlay.jpg"):
            shutil.copy(photo, where / f"{photo.name}{ending}")
    shutil.copy(photo, folder / "mine.index.png")  # somebody's photo: no record lies beside it
    found = sources.listing(str(folder), None)
    assert (found.answers, opened(str(folder)).total) == (4, total + 1)
    with pytest.raises(UserError, match="nothing but answers of an earlier run"):
        sources.listing(str(folder / "out"), None)


def test_names_and_kinds_that_are_not_answered_are_told(photos, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "photos")
    for name in ("IMG_1.HEIC", "b.gif"):
        (folder / name).write_bytes(b"")
    found = sources.listing(str(folder), None)
    assert found.others == [str(folder / "IMG_1.HEIC"), str(folder / "b.gif")]
    assert opened(str(folder)).total == len(list(photos.rglob("*.*")))
    shutil.copy(next(photos.rglob("*.png")), os.fsencode(folder) + b"/caf\xe9.png")
    with pytest.raises(UserError, match=r"caf\\xe9.png: its name is not UTF-8; rename it"):
        opened(str(folder))


def test_answers_inside_the_input_are_no_input(photos, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "photos")
    output = Output(str(folder / "out"))
    output.begin({})
    output.write([{"photo": "0.png", "error": None}])
    output.write_mask("0.png", (photos / "0.png").read_bytes())
    with pytest.raises(UserError, match="nothing of kind parquet"):
        sources.listing(str(folder), "parquet", output)
    with pytest.raises(UserError, match="several kinds"):
        sources.listing(str(folder), None)
    found = sources._listed(fs.LocalFileSystem(), str(folder), "", output)
    assert sorted(found) == sorted(str(path) for path in folder.rglob("*.*")
                                   if folder / "out" not in path.parents)
    # Around the input, or the same folder: photos are still photos.
    for around in (tmp_path, folder):
        Output(str(around)).begin({})
        assert set(sources._listed(fs.LocalFileSystem(), str(folder), "",
                                   Output(str(around)))) >= set(found)


def test_another_column_is_another_question(question):
    asked = engine._asked(question, "in", "image", "id")
    assert "photo" not in asked and "id" not in asked
    assert engine._asked(question, "in", "back", "id") == {**asked, "photo": "back"}


def test_columns_are_no_part_of_a_question_about_a_folder(question, photos, tmp_path, monkeypatch):
    def ray(*_):
        raise InterruptedError

    monkeypatch.setattr(engine, "cluster", ray)
    parquet.write_table(pa.table({"id": ["a"], "back": [b""]}), tmp_path / "in.parquet")
    for number, (source, asked) in enumerate([(photos, None), (tmp_path / "in.parquet", "back")]):
        output = tmp_path / f"out{number}"
        with pytest.raises(InterruptedError):
            engine.answer(question, str(source), str(output), 1, photo="back")
        assert json.loads((output / ASKED).read_text()).get("photo") == asked


# ---- Ray -----------------------------------------------------------------------------------------


def command(run, card, source, output, *more):
    return [sys.executable, "-m", "sst_tf.batch", "--run_dir", str(run.folder), "--card",
            str(card), "--input", str(source), "--output", str(output), "--always_answer",
            "--workers", "1", "--block", "2", *more]


def test_killed_and_started_again_every_photo_has_one_row(run, card, photos, tmp_path,
                                                          monkeypatch):
    """The worker is killed, then the whole run; the second run answers what is left."""
    output = tmp_path / "answers"
    call = command(run, card, photos, output)
    first = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)

    def wait_for(files):
        deadline = time.time() + 180
        while len(list(output.glob("*.parquet"))) < files:
            assert first.poll() is None, first.stdout.read().decode()
            assert time.time() < deadline
            time.sleep(0.02)

    wait_for(1)
    kill_a_worker(first.pid)
    wait_for(3)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = {path.name: path.read_bytes() for path in output.glob("*.parquet")}
    second = subprocess.run(call, capture_output=True, text=True)
    assert second.returncode == 1, second.stderr  # the broken photo
    assert "12 rows in" in second.stdout and "broken.jpg: not readable" in second.stderr
    for name, data in before.items():
        assert (output / name).read_bytes() == data
    expected = {str(path.relative_to(photos)) for path in photos.rglob("*.*")}
    assert set(rows(output)) == expected and Output(str(output)).done() == (expected, 1)
    monkeypatch.chdir(tmp_path)
    names = {}
    for one in doc_blocks.blocks(doc_blocks.ROOT / "docs" / "batch.md"):
        if one.test:
            doc_blocks.run(one, names)
    assert set(names["found"]) <= {"disc"} and names["rows"].count_rows() == len(expected)


@pytest.mark.slow
def test_parquet_tars_and_other_file_systems(run, card, photos, tmp_path):
    names = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))
    data = [(photos / name).read_bytes() for name in names]
    parquet.write_table(pa.table({"id": names, "image": data}), tmp_path / "bytes.parquet")
    paths = pa.array([str(photos / n) for n in names], pa.large_string())
    parquet.write_table(pa.table({"key": names, "file": paths}), tmp_path / "paths.parquet")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for number, one in enumerate(data):
            member = tarfile.TarInfo(f"{number:03}.png")
            member.size = len(one)
            tar.addfile(member, io.BytesIO(one))
    found = {}
    for kind, source, more in (
            ("bytes", tmp_path / "bytes.parquet", []),
            ("paths", tmp_path / "paths.parquet", ["--photo", "file", "--id", "key"]),
            ("tar", tmp_path / "shard.tar", []),
            ("fsspec", f"local://{tmp_path / 'bytes.parquet'}", [])):
        subprocess.run(command(run, card, source, tmp_path / kind, *more), check=True)
        found[kind] = rows(tmp_path / kind)
        # Started again: all is there.
        again = subprocess.run(command(run, card, source, tmp_path / kind, *more),
                               capture_output=True, text=True, check=True)
        assert "11 rows" in again.stdout and "11 of them from before" in again.stdout
    assert set(found["tar"]) == {f"shard.tar/{n:03}" for n in range(11)}
    for number, name in enumerate(names):
        one = found["bytes"][name]
        assert one["error"] is None
        # Which photos share a batch differs from run to run, and with it a score's last digit.
        one["classes"] = [{**c, "score": pytest.approx(c["score"], abs=1e-6)}
                          for c in one["classes"]]
        assert found["paths"][name] == one and found["fsspec"][name] == one
        assert {**found["tar"][f"shard.tar/{number:03}"], "photo": name} == one
