# SPDX-License-Identifier: Apache-2.0
"""`sst predict` between annotation tools: three marked photos in, the others marked out."""

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sst_tf import predict
from sst_tf.photos import formats, support
from sst_tf.photos.formats.shapes import Answer
from sst_tf.photos.predictor import Predictor, Scene
from tests.sst_tf.photos.test_answers import Brightness

SIZE = (20, 30)


class Taught(Brightness):
    """`Brightness` that keeps what it was shown, and knows no class before."""

    def __init__(self):
        super().__init__()
        self.card, self.cards, self.shown = self.cards["mug"], {}, {}

    def set_support(self, photos, marks, name):
        self.shown[name] = list(zip(photos, marks, strict=True))
        ones = np.ones(len(photos), np.float32)
        self.cards[name] = dataclasses.replace(self.card, name=name, score=ones, score_after=ones,
                                               others=ones, cells=9 * ones)
        return self.cards[name]

    def each_scene(self, photos):
        name = list(self.cards)[-1]
        for one in super().each_scene(photos):
            yield Scene(one.index, {name: one.predictions["mug"]})


@pytest.fixture
def predictor(monkeypatch):
    one = Taught()
    monkeypatch.setattr(Predictor, "from_run", lambda *_: one)
    monkeypatch.setattr(Predictor, "from_preset", lambda *_: one)
    return one


PAGE = Path(__file__).parents[3] / "docs" / "annotation_tools.md"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, key in enumerate(("a.png", "b.png", "more/c d.png", "more/e.png")):
        picture = np.zeros((*SIZE, 3), np.uint8)
        picture[5:15, 5 + number:15 + number] = 200
        Image.fromarray(picture).save(folder / key)
    return folder


@pytest.fixture
def export(photos, tmp_path):
    """A labelme folder that marks two of the photos."""
    mask = np.zeros(SIZE, bool)
    mask[5:15, 5:15] = True
    formats.labelme.write(tmp_path / "export", [
        Answer("a.png", photos / "a.png", SIZE, {"mug": mask}, {"mug": 1.0}),
        Answer("more/e.png", photos / "more" / "e.png", SIZE, {"mug": mask, "lid": ~mask}, {})
    ], ["mug", "lid"])
    return tmp_path / "export" / "labelme"


def answer(photos, output, *more):
    predict.main(["--run_dir", "run", "--input", str(photos), "--output", str(output), *more])


def test_an_export_teaches_and_its_photos_keep_their_marks(predictor, photos, export, tmp_path,
                                                           capsys):
    answer(photos, tmp_path / "out", "--support_from", str(export))
    assert {name: [photo.name for photo, _ in pairs] for name, pairs in
            predictor.shown.items()} == {"lid": ["e.png"], "mug": ["a.png", "e.png"]}
    shapes = predictor.shown["mug"][0][1]
    assert shapes.size == SIZE and len(shapes.marks) == 1
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [
        "a.png", "b.png", "more/c d.png", "more/e.png"]
    assert content["annotations"][0]["bbox"] == [5, 5, 10, 10]  # as it was marked
    assert len(list((tmp_path / "out").rglob("*.index.png"))) == len(predictor.asked) == 2
    printed = capsys.readouterr().out
    assert "2 photos keep their marks" in printed and "2 answered" in printed

    predictor.shown.clear()
    answer(photos, tmp_path / "one", "--support_from", str(export), "--name", "lid")
    assert list(predictor.shown) == ["lid"]
    assert len(list((tmp_path / "one").rglob("*.index.png"))) == 3  # a.png does not mark a lid


def test_an_export_of_one_class_takes_another_name(predictor, photos, export, tmp_path):
    (export / "more" / "e.json").unlink()
    answer(photos, tmp_path / "out", "--support_from", str(export), "--name", "cup")
    assert list(predictor.shown) == ["cup"] and len(predictor.shown["cup"]) == 1


@pytest.mark.parametrize("given", [["--support_from", "{}", "--name", "lid"],
                                   ["--support", "{photo}={}", "--name", "lid"]])
def test_marks_that_answers_would_overwrite_are_refused(predictor, photos, export, tmp_path, capsys,
                                                        given):
    answer(photos, tmp_path / "out", "--support_from", str(export))
    marks = tmp_path / "out" / "predictions.json"
    before = marks.read_bytes()
    with pytest.raises(SystemExit):
        answer(photos, tmp_path / "out", *(
            one.format(marks, photo=photos / "more" / "e.png") for one in given))
    assert "its marks teach, and --format coco would overwrite it" in capsys.readouterr().err
    assert marks.read_bytes() == before
    answer(photos, tmp_path / "out", *(
        one.format(marks, photo=photos / "more" / "e.png") for one in given), "--format", "yolo")


def test_photos_elsewhere_and_marks_of_both_kinds(predictor, photos, export, tmp_path):
    (tmp_path / "others").mkdir()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "others" / "z.png")
    mark = f"{tmp_path / 'others' / 'z.png'}=box:2,2,9,9"
    answer(tmp_path / "others", tmp_path / "out", "--support_from", str(export), "--photos",
           str(photos), "--support", mark, "--name", "mug")
    assert len(predictor.shown["mug"]) == 3 and len(predictor.shown["lid"]) == 1


def test_formats_of_one_run_and_of_the_next(predictor, photos, export, tmp_path, capsys):
    pytest.importorskip("cvat_sdk")
    arguments = ["--support_from", str(export), "--format"]
    answer(photos, tmp_path / "out", *arguments, "labelme", "yolo", "voc")
    asked, out = len(predictor.asked), tmp_path / "out"
    assert not (out / "predictions.json").exists()
    assert sorted(path.name for path in (out / "labelme").rglob("*.json")) == [
        "a.json", "b.json", "c d.json", "e.json"]
    assert (out / "yolo" / "labels" / "more" / "c d.txt").is_file()
    assert (out / "voc" / "SegmentationClass" / "more" / "c d.png").is_file()
    answer(photos, out, *arguments, "cvat", "label_studio", "--photos_at", "https://host/x/")
    assert len(predictor.asked) == asked  # answers were there; a format is written of them
    assert 'name="more/c d.png"' in (out / "cvat.xml").read_text()
    tasks = json.loads((out / "label_studio.json").read_text())
    assert tasks[1]["data"] == {"image": "https://host/x/b.png"}
    capsys.readouterr()

    corrected = out / "labelme" / "b.json"
    corrected.write_text(corrected.read_text().replace("mug", "cup"))
    answer(photos, out, *arguments, "labelme")
    assert f"changed them: 1 of its files, such as {corrected}" in capsys.readouterr().out


LABELS = {"labelme": "labelme/{}.json", "yolo": "yolo/labels/{}.txt",
          "voc": "voc/SegmentationClass/{}.png"}


@pytest.mark.parametrize("kind", LABELS)
def test_photos_that_are_not_asked_or_not_read_keep_their_labels(predictor, photos, export,
                                                                 tmp_path, kind):
    arguments = ["--support_from", str(export), "--photos", str(photos), "--format", kind]
    answer(photos, tmp_path / "out", *arguments)
    labels = [tmp_path / "out" / LABELS[kind].format(key) for key in ("b", "more/c d", "more/e")]
    before = [path.read_bytes() for path in labels]
    later = tmp_path / "later"
    later.mkdir()
    shutil.copy(photos / "a.png", later / "new.png")
    (later / "b.png").write_bytes((photos / "b.png").read_bytes()[:60])
    for _ in range(2):  # the third run knows from the second what the first wrote
        with pytest.raises(SystemExit):
            answer(later, tmp_path / "out", *arguments)
    assert [path.read_bytes() for path in labels] == before
    assert (tmp_path / "out" / LABELS[kind].format("new")).is_file()
    if kind == "voc":
        listed = tmp_path / "out" / "voc" / "ImageSets" / "Segmentation" / "default.txt"
        assert listed.read_text().splitlines() == ["a", "b", "more/c d", "more/e", "new"]
    shutil.copy(photos / "b.png", later / "b.png")
    predictor.pixel = 2.0  # nothing is found now
    answer(later, tmp_path / "out", *arguments)
    assert labels[0].read_bytes() != before[0]  # still this command's own


@pytest.mark.parametrize("kind", LABELS)
def test_frames_that_are_not_asked_any_more_lose_their_labels(predictor, photos, export, tmp_path,
                                                              kind):
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (30, 20))
    for _ in range(3):
        writer.write(np.full((*SIZE, 3), 200, np.uint8))
    writer.release()
    arguments = ["--support_from", str(export), "--photos", str(photos), "--format", kind]
    for every, there in ("1", [True, True]), ("2", [True, False]):
        answer(clip, tmp_path / "out", *arguments, "--every", every)
        assert there == [(tmp_path / "out" / LABELS[kind].format(f"clip.avi/00000{number}")
                          ).is_file() for number in (0, 1)]


def test_a_mark_that_fits_both_ways_is_told_in_one_line(predictor, photos, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(photos / "a.png").save(photos / "a.png", exif=exif)
    (tmp_path / "a.json").write_text(json.dumps({
        "imagePath": "a.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1],
        "shapes": [{"label": "mug", "points": [[5, 5], [19, 5], [19, 14]]}]}))
    with pytest.warns(UserWarning, match="EXIF") as caught:
        answer(photos, tmp_path / "out", "--support_from", str(tmp_path / "a.json"))
    assert [str(one.message) for one in caught] == [
        f"{photos / 'a.png'}: a tag turns it (EXIF orientation 3), and its mark fits before and "
        "after; taken as drawn on the upright photo"]


def test_masks_of_voc_layout_in_the_input_are_no_photos(predictor, photos, export, capsys):
    for _ in range(2):
        answer(photos, photos / "out", "--support_from", str(export), "--photos", str(photos),
               "--format", "voc")
    assert "8 pictures left out: answers of an earlier run" in capsys.readouterr().out
    assert len(predictor.asked) == 2


@pytest.mark.parametrize("arguments, words", [
    (["--support_from", "nowhere.json"], "nowhere.json: No such file"),
    (["--support_from", "nowhere"], "nowhere: no such file or folder"),
    (["--support", "a.jpg=b.png", "--format", "word"], "invalid choice: 'word'"),
    (["--card", "a.npz", "--photos", "x"], "--photos: goes with --support_from"),
    (["--card", "a.npz", "--photos_at", "x"], "--photos_at: goes with --format label_studio"),
    (["--card", "a.npz", "--name", "mug"], "--name: goes with --support or --support_from"),
    (["--card", "a.npz", "--save_card", "b.npz"], "--save_card: goes with --support or"),
    (["--support", "no.jpg=box:1,1,9,9"], "--support: no.jpg: no such file or folder"),
    (["--support", f"{PAGE}=no.png"], "--support: no.png: no such file or folder"),
    (["--card", "a.npz", "--batch", "0"], "--batch"),
    (["--card", "a.npz", "--every", "-3"], "--every"),
    ([], "--support_from those of an export")])
def test_misuse_is_told(predictor, photos, tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit):
        answer(photos, tmp_path / "out", *arguments)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--output", "out"], ["--format", "voc"]])
def test_answers_need_photos(export, photos, capsys, given):
    with pytest.raises(SystemExit):
        predict.main(["--run_dir", "run", "--support_from", str(export), "--photos", str(photos),
                      *given])
    assert f"{given[0]}: goes with --input" in capsys.readouterr().err


def test_cards_that_would_be_one_file_are_told_before_any_is_written(predictor, photos, tmp_path,
                                                                     capsys):
    square = [[5, 5], [15, 5], [15, 15]]
    (tmp_path / "marks.json").write_text(json.dumps({"imagePath": "a.png", "shapes": [
        {"label": label, "points": square} for label in ("big dog", "big_dog")]}))
    arguments = ["--run_dir", "run", "--support_from", str(tmp_path / "marks.json"), "--photos",
                 str(photos), "--save_card", str(tmp_path / "card.npz")]
    with pytest.raises(SystemExit):
        predict.main(arguments)
    assert (f"cards of 'big dog' and 'big_dog' would both be {tmp_path / 'card_big_dog.npz'}; take "
            "one at a time, by --name") in capsys.readouterr().err
    assert not predictor.shown and not list(tmp_path.glob("*.npz"))
    predict.main([*arguments, "--name", "big dog"])
    assert (tmp_path / "card.npz").is_file()


# ---- the page ------------------------------------------------------------------------------------


@pytest.fixture
def desk(photos, export, tmp_path, monkeypatch):
    """The folder that docs/annotation_tools.md speaks of: photos, and an export of each tool."""
    pytest.importorskip("cvat_sdk")
    one = support.marked_answers(support.support_from(export, [photos], "mug"),
                                 [("a.png", photos / "a.png")])
    shutil.copytree(export, tmp_path / "marked")
    for name, exported, wanted in (("coco", "predictions.json", "instances.json"),
                                   ("cvat", "cvat.xml", "annotations.xml"),
                                   ("label_studio", "label_studio.json", "export.json"),
                                   ("yolo", "yolo/labels", "labels")):
        formats.write([name], tmp_path / "made", lambda: iter(one), ["mug"])
        shutil.move(tmp_path / "made" / exported, tmp_path / wanted)
    (tmp_path / "labels" / "classes.txt").write_text("mug\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_s_commands_run(predictor, desk):
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    commands = [shlex.split(line)[2:] for line in lines if line.startswith("sst predict")]
    assert len(commands) == 7
    for command in commands:
        shutil.rmtree(desk / "out", ignore_errors=True)
        predictor.cards.clear()
        predict.main(command)
        written = {"labelme": "labelme/a.json", "cvat": "cvat.xml", "voc": "voc/labelmap.txt",
                   "label_studio": "label_studio.json", "yolo": "yolo/labels/a.txt",
                   "coco": "predictions.json"}
        chosen = command[command.index("--format") + 1:] if "--format" in command else []
        assert ("--save_card" in command) != bool(chosen)
        for name in chosen:
            if name in written:
                assert (desk / "out" / written[name]).is_file()
    assert (desk / "mug.npz").is_file()


def test_the_page_s_python_runs(predictor, desk):
    block, = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(compile(block, PAGE.name, "exec"), {"predictor": predictor})
    assert set(predictor.shown) == {"mug", "lid"}
