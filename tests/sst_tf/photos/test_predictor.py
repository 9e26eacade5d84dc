# SPDX-License-Identifier: Apache-2.0
"""One's own photos: marks, cards, answers at the photo's size, a folder with a bad file in it."""

import json
import os
import re
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.errors import DataError, UserError
from pipelines.reading.photos import load_photo, turn
from pipelines.reading.run_lengths import run_lengths
from pipelines.writing import write_json
from sst_tf import predict
from sst_tf.config import DataConfig
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.photos import annotations, answers, inputs, mark_cost
from sst_tf.photos import predictor as predictor_module
from sst_tf.photos.class_card import ClassCard
from sst_tf.photos.predictor import Predictor
from tests.export.conftest import make_run

RED, GREEN, BLUE, GRAY = (200, 30, 30), (30, 180, 40), (40, 40, 210), (120, 120, 120)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=65, count=60))
    write_json(run.presence_path, {"1": {"threshold": 0.0}})
    return run


@pytest.fixture
def predictor(run):
    return Predictor.from_run(run.folder)


def scene(height=90, width=120, colour=RED, box=(30, 20, 70, 60)):
    """A noisy background with a coloured rectangle, and its mask."""
    image = np.full((height, width, 3), GRAY, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1], mask[y0:y1, x0:x1] = colour, 1
    noise = np.random.default_rng(0).integers(-12, 13, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask


def write(path, picture):
    Image.fromarray(picture).save(path)
    return path


# ---- answers -------------------------------------------------------------------------------------


def test_a_class_is_tuned_and_answered_at_the_photo_s_size(predictor):
    card = predictor.set_support(*scene(), name="mug")
    assert card.shots == 1 and card.how == ("mask",) and card.prototype.shape == (1, 16)
    assert np.abs(card.prototype - card.untuned).max() > 1e-3  # the step was taken
    for size in ((90, 120), (33, 200), (257, 64)):
        answer = predictor.predict(scene(*size, box=(5, 5, 25, 25))[0])
        assert answer.mask.shape == answer.probability.shape == size
        assert set(np.unique(answer.mask)) <= {0, 1} and 0 <= answer.score <= 1
        assert ((answer.probability >= 0.4) == answer.mask).all()


def test_predictor_and_evaluation_give_the_same_probabilities(run, predictor):
    """One path from photo to answer: a drawn episode through the model itself."""
    import tensorflow as tf

    from export.trained import Trained
    trained = Trained.load(run.folder, shots=1)
    episodes, source = trained.episodes(1, seed=5)
    batch = next(trained.batches(episodes, source))
    expected = tf.sigmoid(trained.answer(batch).logit)[0]
    episode = episodes[0]
    predictor.set_support(source.read_image(episode.support[0]),
                          source.class_mask(episode.support[0], episode.support_class_id))
    answer = predictor.predict(source.read_image(episode.query))
    np.testing.assert_allclose(answer.probability, expected, atol=1e-5)


def test_shots_are_fused(predictor):
    first, second = scene(), scene(64, 64, GREEN, (10, 10, 40, 40))
    card = predictor.set_support([first[0], second[0]], [first[1], second[1]], "two")
    assert card.shots == 2
    alone = predictor.set_support(*first, name="one")
    np.testing.assert_allclose(card.prototype[0], alone.prototype[0], atol=1e-6)
    assert predictor.predict(first[0], "two").mask.shape == (90, 120)


def test_several_classes_share_a_photo(predictor):
    predictor.set_support(*scene(), name="red")
    predictor.set_support(*scene(colour=BLUE), name="blue")
    found = predictor.predict_all([scene()[0]])[0]
    assert list(found.predictions) == ["red", "blue"] and found.index.shape == (90, 120)
    red, blue = (one.probability for one in found.predictions.values())
    assert (found.index[(red >= 0.4) & (red > blue)] == 1).all()
    assert (found.index[(blue >= 0.4) & (blue > red)] == 2).all()
    assert (found.index[(red < 0.4) & (blue < 0.4)] == 0).all()


def test_an_absent_class_gets_an_empty_answer(run, monkeypatch):
    picky = Predictor.from_run(run.folder)
    monkeypatch.setattr(OperatingPoint, "presence_threshold", lambda self, shots: 2.0)
    picky.set_support(*scene())
    answer = picky.predict(scene()[0])
    assert not answer.present and not answer.mask.any() and answer.probability.max() > 0
    always = Predictor.from_run(run.folder, empty=False)
    always.set_support(*scene())
    assert always.predict(scene()[0]).present


def test_an_unknown_shot_count_takes_the_nearest_threshold_and_says_so(predictor):
    with pytest.warns(UserWarning, match="no threshold for 4 shots, that of 2"):
        assert predictor.threshold(4) == 0.6


@pytest.mark.parametrize("call, reason", [
    (lambda p: p.predict(scene()[0]), "set_support comes first"),
    (lambda p: p.set_support([scene()[0]], []), "1 photos and 0 masks"),
    (lambda p: p.set_support(scene()[0], scene()[1] * 0, "mug"), "class mug, mask 0: nothing is"),
    (lambda p: p.set_support(scene()[0], scene()[1] + 6), "values"),
    (lambda p: p.set_support(scene()[0], scene()[1][:50]), "its photo has 90 x 120"),
    (lambda p: p.set_support(scene()[0] / 255, scene()[1]), "a photo is uint8")])
def test_misuse_is_told_in_one_line(predictor, call, reason):
    with pytest.raises(UserError, match=reason):
        call(predictor)


# ---- cards ---------------------------------------------------------------------------------------


def test_a_card_answers_in_a_new_process(run, predictor, tmp_path):
    card = predictor.set_support(*scene(), name="mug")
    path = card.save(tmp_path / "mug.npz")
    assert path.stat().st_size < 50_000
    assert cv2.imdecode(np.frombuffer(card.thumbnail, np.uint8), 1).shape == (96, 128, 3)
    write(tmp_path / "query.png", scene()[0])
    expected = predictor.predict(tmp_path / "query.png")
    code = ("import numpy as np; from sst_tf.predictor import Predictor\n"
            f"p = Predictor.from_run({str(run.folder)!r}); p.add_card({str(path)!r})\n"
            f"a = p.predict({str(tmp_path / 'query.png')!r}, 'mug')\n"
            f"np.savez({str(tmp_path / 'answer.npz')!r}, p=a.probability, m=a.mask)")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)
    with np.load(tmp_path / "answer.npz") as answer:
        np.testing.assert_array_equal(answer["p"], expected.probability)
        np.testing.assert_array_equal(answer["m"], expected.mask)


def test_a_card_of_another_model_is_refused(predictor, tmp_path):
    path = predictor.set_support(*scene(), name="mug").save(tmp_path / "mug.npz")
    with pytest.raises(DataError, match="'mug' was tuned for another model"):
        ClassCard.load(path, "0" * 64)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no zip", b"\x80\x04pickle"])
def test_a_broken_card_is_named(tmp_path, data):
    (tmp_path / "mug.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"mug.npz: no class card"):
        ClassCard.load(tmp_path / "mug.npz")
    with pytest.raises(DataError, match="No such file"):
        ClassCard.load(tmp_path / "other.npz")


def test_a_card_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A full disk leaves the card of before and nothing else."""
    one = np.ones((1, 4), np.float32)
    card = ClassCard("mug", one, one, one[:, 0], one[:, 0], b"", ("mask",), "m")
    path = card.save(tmp_path / "cards" / "mug.npz")
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        card.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["mug.npz"] and path.read_bytes() == before


# ---- photos and marks ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("mark", range(1, 9))
def test_photos_are_upright_as_pillow_turns_them(tmp_path, mark, ending):
    from PIL import ImageOps
    image, mask = scene()
    exif = Image.Exif()
    exif[0x0112] = mark
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(image).save(path, exif=exif)
    assert Image.open(path).getexif()[0x0112] == mark
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(load_photo(path), expected)
    np.testing.assert_array_equal(load_photo(path.read_bytes()), expected)


def test_masks_of_stored_or_upright_photos_fit(run, predictor, tmp_path):
    image, mask = scene()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "photo.png", exif=exif)
    stored = write(tmp_path / "stored.png", mask * 255)
    upright = write(tmp_path / "upright.png", turn(mask, 6) * 255)
    one, other = (predictor.set_support(tmp_path / "photo.png", path).prototype
                  for path in (stored, upright))
    np.testing.assert_array_equal(one, other)
    write(tmp_path / "strokes.png", mark_cost.scribbles(mask).foreground.astype(np.uint8) * 255)
    strokes = annotations.parse_mark(f"scribbles:{tmp_path / 'strokes.png'}")
    card = predictor.set_support(tmp_path / "photo.png", strokes)
    assert card.how == ("scribbles, by GrabCut",)


@pytest.mark.parametrize("way_up, size, told", [
    (1, (90, 120), False), (3, (90, 120), True), (6, (90, 90), True), (6, (90, 120), False)])
def test_a_mark_that_fits_both_ways_is_told(predictor, tmp_path, way_up, size, told):
    image, mask = scene(*size)
    exif = Image.Exif()
    exif[0x0112] = way_up
    photo = tmp_path / "photo.png"
    Image.fromarray(image).save(photo, exif=exif)
    upright = turn(mask, way_up)
    marks = [write(tmp_path / "mask.png", upright * 255),
             annotations.Shapes([upright], upright.shape),
             annotations.Scribbles(mark_cost.scribbles(upright).foreground)]
    for mark in marks:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            predictor.set_support(photo, mark)
        lines = [str(one.message) for one in found if "EXIF" in str(one.message)]
        assert [line.startswith(f"{photo}: a tag turns it (EXIF orientation {way_up})")
                for line in lines] == [True] * told


def test_what_is_wrong_with_a_mark_names_the_photo_s_file(predictor, tmp_path):
    image, mask = scene()
    photo = write(tmp_path / "photo.png", image)
    for mark, reason in ((annotations.Scribbles(mask == 2), "no stroke on the object"),
                         (annotations.Shapes([mask[:50]], (50, 120)), "marks on 50 x 120 pixels")):
        with pytest.raises(DataError, match=f"{re.escape(str(photo))}, class dog: {reason}"):
            predictor.set_support(photo, mark, "dog")


def test_mask_files_of_every_kind(tmp_path):
    image, mask = scene()
    palette = Image.fromarray(mask).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    palette.save(tmp_path / "palette.png")
    Image.fromarray(mask.astype(bool)).save(tmp_path / "bits.png")
    write(tmp_path / "gray.png", mask * 255)
    write(tmp_path / "rgb.png", np.repeat(mask[..., None] * 255, 3, -1))
    for name in ("palette", "bits", "gray", "rgb"):
        found, how = annotations.mask_of(tmp_path / f"{name}.png", image)
        assert how == "mask" and (found == mask).all(), name
    write(tmp_path / "colour.png", image)
    with pytest.raises(DataError, match=r"colour.png: a mask in colours") as caught:
        annotations.mask_of(tmp_path / "colour.png", image)
    assert "damaged" not in str(caught.value)


def iou(one, other):
    return ((one == 1) & (other == 1)).sum() / ((one == 1) | (other == 1)).sum()


@pytest.mark.parametrize("kind", ["box", "scribbles", "polygon"])
def test_marks_become_the_object(kind):
    image, mask = scene(180, 240, box=(60, 40, 150, 130))
    mark = {"box": annotations.Box(50, 30, 160, 140), "polygon": mark_cost.polygon(mask),
            "scribbles": mark_cost.scribbles(mask)}[kind]
    found, how = annotations.mask_of(mark, image)
    assert iou(found, mask) > 0.95 and kind in how
    assert ("GrabCut" in how) == (kind != "polygon")
    again, _ = annotations.mask_of(mark, image)
    assert (found == again).all()


def test_large_photos_and_strokes_alone():
    image, mask = scene(900, 1600, box=(300, 200, 900, 700))
    stroke = np.zeros(mask.shape, bool)
    stroke[440:460, 400:800] = True
    found, _ = annotations.mask_of(annotations.Scribbles(stroke), image)
    assert iou(found, mask) > 0.9


def test_labelme_files(tmp_path):
    image, mask = scene()
    shapes = [{"label": "mug", "shape_type": "polygon",
               "points": [[30, 20], [69, 20], [69, 59], [30, 59]]},
              {"label": "lid", "shape_type": "rectangle", "points": [[80, 10], [100, 30]]}]
    path = tmp_path / "photo.json"
    path.write_text(json.dumps({"shapes": shapes[:1]}))
    found, how = annotations.mask_of(path, image)
    assert (found == mask).all() and how == "polygon"
    path.write_text(json.dumps({"shapes": shapes}))
    assert annotations.mask_of(path, image, label="lid")[0].sum() == 21 * 21
    for text, reason in (("{", "not readable as JSON"),
                         ('{"shapes": []}', "no shape"),
                         ('{"shapes": [{"label": "a", "shape_type": "circle", "points": []}]}',
                          "type 'circle'")):
        path.write_text(text)
        with pytest.raises(DataError, match=reason):
            annotations.mask_of(path, image)


@pytest.mark.parametrize("mark, reason", [
    (annotations.Box(10, 10, 10, 20), "holds no 2 x 2 pixels"),
    (annotations.Box(500, 500, 600, 600), "of a photo 120 wide and 90 high"),
    (annotations.Box(float("nan"), 0, 5, 5), "holds no"),
    (annotations.Scribbles(np.zeros((90, 120), bool)), "no stroke"),
    (annotations.Scribbles(np.ones((9, 12), bool)), "scribbles of 9 x 12"),
    (annotations.Polygon([[[0, 0], [5, 5]]]), "three points")])
def test_bad_marks_are_named(mark, reason):
    with pytest.raises(DataError, match=reason):
        annotations.mask_of(mark, scene()[0], "mug.jpg")


def test_a_mark_of_the_whole_photo():
    image, _ = scene()
    with pytest.warns(UserWarning, match="mug.jpg: box -5,-5,1000,1000 .* beyond the photo, 120 w"):
        found, _ = annotations.mask_of(annotations.Box(-5, -5, 1000, 1000), image, "mug.jpg")
    assert found.all()
    with warnings.catch_warnings(action="error"):  # a tool's rounding is nobody's mistake
        found, _ = annotations.mask_of(annotations.Box(-1, 0, 121, 90.4), image)
    assert found.all()


# ---- a folder ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """200 photos of several sizes, one of them cut off, in two folders."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    for i in range(199):
        image, _ = scene(40 + i % 7, 50 + i % 5, (RED, GREEN, BLUE)[i % 3], (5, 5, 30, 30))
        write(folder / ("more" if i % 2 else "") / f"ä{i:03d}.{'png' if i % 4 else 'jpg'}", image)
    data = (folder / "ä000.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(data[:len(data) // 2])
    return folder


def test_a_folder_with_one_bad_file(run, folder, tmp_path, capsys):
    image, mask = scene()
    write(tmp_path / "mug.png", image)
    write(tmp_path / "mask.png", mask * 255)
    arguments = ["--run_dir", str(run.folder), "--support",
                 f"{tmp_path / 'mug.png'}={tmp_path / 'mask.png'}", "--name", "mug", "--save_card",
                 str(tmp_path / "mug.npz"), "--input", str(folder), "--output",
                 str(tmp_path / "out"), "--batch", "16"]
    with pytest.raises(SystemExit) as caught:
        predict.main(arguments)
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert "199 answered" in printed.out and "1 not answered" in printed.err
    assert "broken.jpg" in printed.err.splitlines()[-1]
    content = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert len(content["images"]) == 199 and content["categories"] == [{"id": 1, "name": "mug"}]
    key = content["images"][0]["file_name"]
    index = cv2.imread(str(tmp_path / "out" / f"{key}.index.png"), cv2.IMREAD_UNCHANGED)
    assert index.shape == (content["images"][0]["height"], content["images"][0]["width"])
    assert (tmp_path / "out" / "more" / "ä001.png.overlay.jpg").is_file()

    # Started again it makes nothing anew; one answer lost is the only one made again.
    lost = tmp_path / "out" / f"{key}.json"
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("ä*.json")}
    lost.unlink()
    with pytest.raises(SystemExit):
        predict.main(arguments)
    now = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("ä*.json")}
    assert [p for p in now if now[p] != kept[p]] == [lost]


def test_another_teaching_makes_other_answers(run, folder, tmp_path, predictor):
    found, _ = inputs.find_photos([folder / "more" / "ä001.png"])
    predictor.set_support(*scene())
    answers.predict_files(predictor, found, tmp_path, progress=False)
    first = json.loads((tmp_path / "ä001.png.json").read_text())
    predictor.set_support(*scene(colour=BLUE))
    answers.predict_files(predictor, found, tmp_path, progress=False)
    assert json.loads((tmp_path / "ä001.png.json").read_text())["asked"] != first["asked"]


def test_many_photos_are_worked_through_in_parts(predictor, monkeypatch):
    predictor.set_support(*scene())
    queries = [scene(box=(10 + 5 * i, 20, 50 + 5 * i, 60))[0] for i in range(3)]
    together = predictor.predict_all(queries)
    monkeypatch.setattr(predictor_module, "PHOTOS", 2)
    for one, other in zip(together, predictor.predict_all(queries), strict=True):
        np.testing.assert_array_equal(one.index, other.index)
    monkeypatch.setattr(predictor_module, "MOST_CLASSES", 0)
    with pytest.raises(UserError, match="1 classes: an index map holds 0"):
        predictor.predict_all(queries)


def test_scenes_are_made_as_they_are_asked_for(predictor, monkeypatch):
    predictor.set_support(*scene())
    made, make = [], predictor._scene
    monkeypatch.setattr(predictor, "_scene", lambda *some: made.append(1) or make(*some))
    queries = [scene(box=(10 + 5 * i, 20, 50 + 5 * i, 60))[0] for i in range(3)]
    scenes = predictor.each_scene(queries)
    for number, due in enumerate(predictor.predict_all(queries), start=1):
        assert len(made) == 3 + number - 1
        np.testing.assert_array_equal(next(scenes).index, due.index)


def test_a_single_photo_is_taken_as_one(predictor, tmp_path):
    image, mask = scene()
    predictor.set_support(image, mask)
    path = write(tmp_path / "photo.png", image)
    expected, = predictor.predict_all([image])
    for query in (image, path, str(path), path.read_bytes(), (image,), image[None]):
        found, = predictor.predict_all(query)
        np.testing.assert_array_equal(found.index, expected.index)


def test_a_video(run, predictor, tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (120, 90))
    for i in range(6):
        writer.write(scene(box=(10 + 5 * i, 20, 50 + 5 * i, 60))[0][..., ::-1])
    writer.release()
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    predictor.set_support(*scene())
    found, _ = inputs.find_photos([path, tmp_path / "bad.mp4"])
    done, failed, *_ = answers.predict_files(predictor, found, tmp_path / "out", every=2,
                                             progress=False)
    assert done == ["clip.avi/000000", "clip.avi/000002", "clip.avi/000004"]
    assert list(failed) == ["bad.mp4"]
    (tmp_path / "out" / "clip.avi" / "000001.overlay.jpg").write_bytes(  # of a run by --every 1
        (tmp_path / "out" / "clip.avi" / "000000.overlay.jpg").read_bytes())
    shown = cv2.VideoCapture(str(answers.write_video(tmp_path / "out", "clip.avi", path, 2, done)))
    assert int(shown.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    (tmp_path / "out" / "clip.avi" / ".partial-0-000004.overlay.jpg").write_bytes(b"half")
    with pytest.MonkeyPatch.context() as patch:  # as on a full disk
        patch.setattr(cv2.VideoWriter, "write", lambda *_: None)
        with pytest.raises(UserError, match=r"clip.avi.overlay.mp4: cannot be written whole"):
            answers.write_video(tmp_path / "out", "clip.avi", path, 2, done)
    assert answers.write_video(tmp_path / "out", "clip.avi", path, 2, done)


@pytest.mark.parametrize("arguments, reason", [
    (["--input", "."], "nothing to look for"),
    (["--support", "a.jpg", "--input", "nowhere"], "nowhere: no such file or folder"),
    (["--support", "a.jpg=box:1,2"], "box:x0,y0,x1,y1"),
    (["--support", "a.jpg"], "PHOTO=MARK is expected"),
    (["--card", "nowhere.npz"], "nowhere.npz: No such file")])
def test_a_wrong_command_line_teaches(run, arguments, reason, capsys):
    with pytest.raises(SystemExit) as caught:
        predict.main(["--run_dir", str(run.folder), *arguments])
    assert caught.value.code == 2 and reason in capsys.readouterr().err


# ---- COCO files ----------------------------------------------------------------------------------


def coco_file(tmp_path, segmentations, categories=("mug",)):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({
        "images": [{"id": 7, "file_name": "folder/a.jpg", "height": 90, "width": 120},
                   {"id": 8, "file_name": "b.jpg", "height": 90, "width": 120}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories)],
        "annotations": [{"id": i, "image_id": 7, "category_id": i % len(categories),
                         "segmentation": one} for i, one in enumerate(segmentations)]}))
    return path


def test_coco_polygons_and_run_lengths_mark_a_photo(tmp_path, predictor):
    image, mask = scene()
    write(tmp_path / "a.jpg", image)
    square = [[30, 20, 69, 20, 69, 59, 30, 59]]
    from pycocotools import mask as library
    packed = library.encode(np.asfortranarray(mask))
    packed = {"size": packed["size"], "counts": packed["counts"].decode()}
    for shape in (square, run_lengths(mask), packed):
        found, _ = annotations.mask_of(coco_file(tmp_path, [shape]), image,
                                       photo=tmp_path / "a.jpg")
        np.testing.assert_array_equal(found, mask)
    both, _ = annotations.mask_of(coco_file(tmp_path, [[[0, 0, 9, 0, 9, 9]], run_lengths(mask)]),
                              image, photo="a.jpg")
    assert both[2, 8] == 1 and both[30, 40] == 1
    card = predictor.set_support(tmp_path / "a.jpg", coco_file(tmp_path, [square]), name="cup")
    assert card.how == ("polygon",)


@pytest.mark.parametrize("photo, label, words", [
    ("c.jpg", None, "no photo c.jpg; it has b.jpg, folder/a.jpg"),
    ("b.jpg", None, "b.jpg has no shape"),
    ("a.jpg", "cup", "of 'cup'; it shows jug, mug"),
    (None, "mug", "no photo is named")])
def test_a_coco_file_that_does_not_fit_is_explained(tmp_path, photo, label, words):
    path = coco_file(tmp_path, [[[0, 0, 9, 0, 9, 9]]] * 2, ("mug", "jug"))
    with pytest.raises(DataError, match=words):
        annotations.mask_of(path, scene()[0], photo=photo, label=label)


def test_a_broken_json_file_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match="x.json: not readable as JSON"):
        annotations.mask_of(tmp_path / "x.json", scene()[0])
    (tmp_path / "y.json").write_text('{"annotations": 3, "images": []}')
    with pytest.raises(DataError, match="y.json: damaged annotations of coco"):
        annotations.mask_of(tmp_path / "y.json", scene()[0])
