# SPDX-License-Identifier: Apache-2.0
"""Answers as files: which of an earlier run still hold; they are never taken for photos."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.reading.photos import load_photo
from sst_tf import predict
from sst_tf.config import Config, DataConfig
from sst_tf.photos import answers, inputs
from sst_tf.photos.class_card import ClassCard
from sst_tf.photos.predictor import Prediction, Predictor, Scene


class Brightness:
    """A stand-in for `Predictor`: bright pixels are the class; keeps what it was asked."""

    def __init__(self):
        one = np.ones((1, 4), np.float32)
        self.cards = {"mug": ClassCard("mug", one, one, one[:, 0], one[:, 0], b"", ("mask",), "m")}
        self.model_sha256, self.empty, self.tiles, self.asked = "m", True, 1, []
        self.config = Config(data=DataConfig(image_size=65))
        self.pixel, self.there = 0.5, 0.1

    def add_card(self, path):
        return self.cards["mug"]

    def threshold(self, shots):
        return self.pixel

    def presence_threshold(self, shots):
        return self.there

    def each_scene(self, photos):
        self.asked += photos
        for photo in photos:
            bright = photo.mean(-1).astype(np.float32) / 255
            mask = (bright >= self.pixel).astype(np.uint8)
            yield Scene(mask, {"mug": Prediction("mug", mask, bright, 0.9, True)})


@pytest.fixture
def predictor(monkeypatch):
    one = Brightness()

    def from_run(run_dir, empty=True, tiles=1):
        one.empty, one.tiles = empty, tiles
        return one

    monkeypatch.setattr(Predictor, "from_run", from_run)
    return one


@pytest.fixture
def photos(tmp_path):
    """A folder of two photos."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[5:15, 5:15] = 200
    Image.fromarray(picture).save(folder / "a.png")
    Image.fromarray(picture[:, ::-1]).save(folder / "more" / "b.jpg")
    return folder


def answer(folder, output, *more):
    """Run the command; the photos of predictions.json."""
    predict.main(["--run_dir", "run", "--card", "mug.npz", "--input", str(folder),
                  "--output", str(output), *more])
    content = json.loads((output / "predictions.json").read_text(encoding="utf-8"))
    return [image["file_name"] for image in content["images"]]


def test_the_same_question_is_answered_once(predictor, photos, tmp_path):
    for _ in range(2):
        assert answer(photos, tmp_path / "out") == ["a.png", "more/b.jpg"]
    assert len(predictor.asked) == 2


def test_in_how_many_photos_a_class_was_found_is_told(predictor, photos, tmp_path, capsys):
    Image.new("RGB", (30, 20)).save(photos / "dark.png")
    answer(photos, tmp_path / "out", "--format", "coco", "labelme")
    told = capsys.readouterr().out
    assert "3 answered" in told and "'mug' found in 2" in told and "--always_answer" not in told
    predictor.pixel = 1.1
    answer(photos, tmp_path / "out")
    told = capsys.readouterr().out
    assert "'mug' found in 0" in told and "--always_answer" in told
    answer(photos, tmp_path / "out", "--always_answer")
    assert "--always_answer" not in capsys.readouterr().out


@pytest.mark.parametrize("change", ["pixel", "there", "image_size", "always", "model",
                                    "second_look"])
def test_another_operating_point_makes_other_answers(predictor, photos, tmp_path, change):
    answer(photos, tmp_path / "out")
    if change in ("pixel", "there"):
        setattr(predictor, change, 0.7)
    elif change == "image_size":
        predictor.config.data.image_size = 33
    elif change == "model":
        predictor.model_sha256 = "other"
    elif change == "second_look":
        predictor.config.model.second_look = 0.3
    answer(photos, tmp_path / "out", *(["--always_answer"] if change == "always" else []))
    assert len(predictor.asked) == 4


def test_a_photo_that_changed_is_answered_anew(predictor, photos, tmp_path):
    answer(photos, tmp_path / "out")
    Image.fromarray(np.full((10, 12, 3), 250, np.uint8)).save(photos / "a.png")
    answer(photos, tmp_path / "out")
    assert len(predictor.asked) == 3
    assert json.loads((tmp_path / "out" / "a.png.json").read_text())["height"] == 10


@pytest.mark.parametrize("output", ["answers", "more", "."])
def test_answers_inside_the_input_are_no_photos(predictor, photos, capsys, output):
    """In a folder of their own, in one that holds photos too, beside all photos."""
    keys = answer(photos, photos / output)
    capsys.readouterr()
    assert answer(photos, photos / output) == keys == ["a.png", "more/b.jpg"]
    assert len(predictor.asked) == 2
    assert "4 pictures left out: answers of an earlier run" in capsys.readouterr().out


def test_a_kill_between_two_questions_leaves_no_picture_under_another_record(
        predictor, photos, tmp_path, monkeypatch):
    output = tmp_path / "out"
    answer(photos, output)
    predictor.pixel, before = 0.9, (output / "a.png.index.png").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(answers, "write_json", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        answer(photos, output)
    monkeypatch.undo()
    assert (output / "a.png.index.png").read_bytes() != before
    predictor.pixel = 0.5
    monkeypatch.setattr(Predictor, "from_run", lambda *_: predictor)
    answer(photos, output)
    assert (output / "a.png.index.png").read_bytes() == before


def test_a_picture_that_was_deleted_is_made_again(predictor, photos, tmp_path):
    answer(photos, tmp_path / "out")
    (tmp_path / "out" / "a.png.overlay.jpg").unlink()
    answer(photos, tmp_path / "out")
    assert len(predictor.asked) == 3 and (tmp_path / "out" / "a.png.overlay.jpg").is_file()


def test_what_cannot_be_answered_is_told_and_the_others_are_answered(predictor, photos, tmp_path,
                                                                    capsys):
    Image.fromarray(np.zeros((2, 70_000, 3), np.uint8)).save(photos / "wide.png")
    odd = os.fsencode(photos) + b"/caf\xe9.jpg"
    shutil.copy(photos / "more" / "b.jpg", odd)
    (photos / "IMG_2.HEIC").write_bytes(b"")
    with pytest.raises(SystemExit):
        answer(photos, tmp_path / "out")
    told = capsys.readouterr().err
    assert "wide.png: 70000 x 2 pixels; answers are shown as JPEGs of at most 65,500" in told
    assert "caf\\xe9.jpg: its name is not UTF-8; rename it" in told
    assert "1 picture left out, such as" in told and "IMG_2.HEIC: photos are .jpg," in told
    assert len(predictor.asked) == 2
    assert load_photo(Path(os.fsdecode(odd))).shape == (20, 30, 3)


@pytest.mark.parametrize("content", ['{"title": "a.png"}', "[1]"])
def test_somebody_else_s_file_in_a_record_s_place_stays(predictor, photos, capsys, content):
    (photos / "a.png.json").write_text(content)
    with pytest.raises(SystemExit) as caught:
        answer(photos, photos)
    assert caught.value.code == 1
    assert (photos / "a.png.json").read_text() == content
    assert "a.png.json: is no answer of an earlier run" in capsys.readouterr().err
    assert (photos / "more" / "b.jpg.json").is_file()


@pytest.mark.parametrize(("name", "words"), [
    (f"{'x' * 245}.png", "a name of more than 243 bytes"),
    ("x\ny.png", "its name has control characters")])
def test_a_name_that_answers_cannot_have_is_told_and_the_others_are_answered(
        predictor, photos, tmp_path, capsys, name, words):
    shutil.copy(photos / "a.png", photos / name)
    with pytest.raises(SystemExit) as caught:
        answer(photos, tmp_path / "out")
    assert caught.value.code == 1 and len(predictor.asked) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_an_output_that_is_a_file_is_told(predictor, photos, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    with pytest.raises(SystemExit):
        answer(photos, tmp_path / "out")
    assert "a folder is needed there" in (told := capsys.readouterr().err) or "Not a dir" in told


def test_cards_of_one_name_are_told(predictor, photos, tmp_path, capsys):
    with pytest.raises(SystemExit):
        answer(photos, tmp_path / "out", "--card", "mug.npz", "other.npz")
    assert "two classes are called 'mug'" in capsys.readouterr().err


def test_frames_of_two_runs_are_shown_in_order(predictor, tmp_path):
    """Those that were answered before come first among what is done."""
    predictor.pixel = 2.0  # nothing is found, so overlays are the frames
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for level in range(8):
        writer.write(np.full((48, 64, 3), 20 + 25 * level, np.uint8))
    writer.release()
    # Within its own folder, too: the folder of frames has the video's name.
    for every in ("2", "1"):
        answer(tmp_path, tmp_path / "out", "--every", every)
    shown = cv2.VideoCapture(str(tmp_path / "out" / "clip.avi.overlay.mp4"))
    levels = [float(frame[..., 0].mean()) for there, frame in iter(shown.read, (False, None))]
    assert len(levels) == 8 and levels == sorted(levels)


def clip_of(path, frames):
    """A video in which every frame is bright."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    random = np.random.default_rng(0)
    for _ in range(frames):
        writer.write(random.integers(150, 256, (48, 64, 3)).astype(np.uint8))
    writer.release()


@pytest.mark.parametrize("ending", ["avi", "mkv"])
def test_a_video_that_was_cut_off_is_told_after_its_frames(predictor, tmp_path, capsys, ending):
    clip, output = tmp_path / f"clip.{ending}", tmp_path / "out"
    clip_of(clip, 40)
    assert len(answer(clip, output)) == 40
    clip.write_bytes(clip.read_bytes()[:clip.stat().st_size * 2 // 5])
    with pytest.raises(SystemExit) as caught:
        answer(clip, output)
    assert caught.value.code == 1
    frames = len(json.loads((output / "predictions.json").read_text())["images"])
    assert 10 < frames < 20
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"{clip}: ends after {frames} of 40 frames; fetch it again")


def test_an_input_of_answers_alone_is_told(predictor, photos, tmp_path, capsys):
    answer(photos, tmp_path / "out")
    with pytest.raises(SystemExit):
        answer(tmp_path / "out", tmp_path / "out")
    assert "nothing but answers" in capsys.readouterr().err


def test_a_video_beside_its_answers_is_told(predictor, photos, capsys):
    (photos / "clip.avi").write_bytes(b"")
    with pytest.raises(SystemExit):
        answer(photos, photos)
    assert "clip.avi: frames of the video would go into a folder of that name" in \
        capsys.readouterr().err


def test_two_inputs_of_one_name_are_told(predictor, photos, tmp_path, capsys):
    shutil.copytree(photos, tmp_path / "again")
    with pytest.raises(SystemExit):
        answer(photos, tmp_path / "out", "--input", str(photos), str(tmp_path / "again"))
    assert "a.png: two inputs of that name" in capsys.readouterr().err


def test_links_to_folders_are_followed_and_every_folder_once(photos, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    shutil.copy(photos / "a.png", elsewhere / "deep" / "c.png")
    (photos / "linked").symlink_to(elsewhere)
    (photos / "more" / "up").symlink_to(photos)
    (elsewhere / "back").symlink_to(photos)  # a circle through two links
    (photos / "again").symlink_to(photos / "more")
    found, _ = inputs.find_photos([photos])
    assert [key for key, _ in found] == ["a.png", "linked/deep/c.png", "more/b.jpg"]


def test_a_folder_that_may_not_be_read_is_told(predictor, photos, tmp_path, monkeypatch, capsys):
    scandir = os.scandir

    def refusing(path):  # those who run as root may read all
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(SystemExit) as caught:
        answer(photos, tmp_path / "out")
    told = capsys.readouterr().err
    assert caught.value.code == 2 and told.count("\n") == 1
    assert f"{photos / 'more'}: Permission denied; see who may read there" in told
