# SPDX-License-Identifier: Apache-2.0
"""One battery for all formats: what was written is read back, is corrected, is told where bad."""

import dataclasses
import json
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import DataError
from pipelines.extras import missing_extra
from sst_tf.photos import formats, support
from sst_tf.photos.annotations import mask_of
from sst_tf.photos.formats import names
from tests.sst_tf.photos.formats.conftest import CLASSES, iou

OUTLINES = ("labelme", "yolo")  # hold nothing else
LIBRARIES = {"cvat": "cvat_sdk"}


def write(name, answers, folder):
    """Path of what a tool would open."""
    written, = formats.write([name], folder, lambda: iter(answers), CLASSES)
    return written.root if isinstance(written, formats.Folder) else written


@pytest.fixture(params=formats.FORMATS)
def name(request):
    if request.param in LIBRARIES:
        pytest.importorskip(LIBRARIES[request.param])
    return request.param


def test_what_was_written_is_read_back(name, answers, tmp_path):
    path = write(name, answers, tmp_path / "out")
    for answer in answers[:2]:
        image = np.asarray(Image.open(answer.path))
        for label, mask in answer.masks.items():
            found, how = mask_of(path, image, photo=answer.path, label=label)
            assert how == ("polygon" if name in OUTLINES else "mask")
            if name in OUTLINES:
                assert iou(found, mask) > 0.98  # the hole too: it is a third of the ring
            else:
                np.testing.assert_array_equal(found == 1, mask)
    with pytest.raises(DataError, match=r"empty\.v2.* has no shape|no photo empty\.v2"):
        mask_of(path, np.zeros((40, 60, 3), np.uint8), photo=answers[2].path, label="lid & cap")


def test_an_export_marks_its_photos(name, answers, photos, tmp_path):
    path = write(name, answers, tmp_path / "out")
    found = support.support_from(path, [tmp_path / "photos"])
    assert list(found) == sorted(CLASSES)
    for pairs in found.values():
        assert [photo for photo, _ in pairs] == list(photos.values())[:2]
    only = support.support_from(path, [tmp_path / "photos"], "coffee mug")
    assert list(only) == ["coffee mug"]
    kept = support.marked_answers(only, list(photos.items()))
    assert [one.key for one in kept] == list(photos)[:2] and kept[0].size == answers[0].size
    assert iou(kept[0].masks["coffee mug"], answers[0].masks["coffee mug"]) > 0.98
    with pytest.raises(DataError, match="no shape of 'cup'; it has coffee mug, lid & cap"):
        support.support_from(path, [tmp_path / "photos"], "cup")
    with pytest.raises(DataError, match="is in none of .*; --photos names its folder"):
        support.support_from(path, [tmp_path / "photos" / "more"])


def test_marks_of_another_size_are_told(name, answers, tmp_path):
    path = write(name, answers, tmp_path / "out")
    other = np.zeros((45, 60, 3), np.uint8)
    if name == "yolo":  # parts of the sides: any size will do
        assert mask_of(path, other, photo=answers[0].path, label="lid & cap")[0].shape == (45, 60)
        return
    with pytest.raises(DataError, match="90 x 120.*45 x 60.*height x width") as caught:
        mask_of(path, other, photo=answers[0].path, label="lid & cap")
    assert "\n" not in str(caught.value)


def test_masks_of_the_older_labelme2voc_are_found(answers, tmp_path):
    """It keeps arrays where others keep pictures."""
    root = formats.voc.write(tmp_path, answers, CLASSES).root
    expected = formats.read(root)
    assert any(photo.shapes for photo in expected)
    (root / "SegmentationClass").rename(root / "SegmentationClassPNG")
    (root / "SegmentationClass").mkdir()
    np.save(root / "SegmentationClass" / "a.npy", np.zeros((90, 120), np.int32))
    found = formats.read(root)
    assert [(one.name, one.labels) for one in found] == [(o.name, o.labels) for o in expected]


def test_a_missing_library_is_told_before_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvat_sdk", None)
    with pytest.raises(ImportError) as caught:
        formats.check(["coco", "cvat"])
    assert "pip install 'sst-tf[formats]'" in str(missing_extra(caught.value))
    formats.check([name for name in formats.FORMATS if name != "cvat"])


# ---- folders that people correct -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["mug: large", "#1", "background", " mug"])
def test_a_class_that_voc_s_lists_cannot_hold_is_told_before_work(name):
    with pytest.raises(DataError, match="in VOC's labelmap.txt it would be another name or none"):
        formats.check(["coco", "voc"], [], ["mug", name])
    formats.check(["coco", "yolo"], [], ["mug", name])


def test_answers_are_written_as_they_come(name, answers, tmp_path):
    """Those of very many photos would not fit in memory together."""
    stripes, written = np.add(*np.mgrid[:200, :200]) // 3 % 2 == 0, []

    def one_by_one():
        for number in range(4):
            written.append(sum(path.stat().st_size for path in tmp_path.rglob("*")))
            yield dataclasses.replace(answers[0], key=f"{number}.png", size=stripes.shape,
                                      masks={CLASSES[0]: stripes})

    formats.write([name], tmp_path / "out", one_by_one, CLASSES)
    assert written[0] < written[2] < written[3]


def test_masks_of_a_folder_are_not_kept(answers, tmp_path):
    """Those of a data set would not fit in memory together."""
    mask = np.zeros((1000, 1000), bool)
    mask[:500] = True
    path = write("voc", [dataclasses.replace(answers[0], key=f"{number}.png", size=mask.shape,
                                             masks={CLASSES[0]: mask}) for number in range(10)],
                 tmp_path)
    tracemalloc.start()
    try:
        photos = formats.read(path)
        assert tracemalloc.get_traced_memory()[0] < 3e6
    finally:
        tracemalloc.stop()
    found, = photos[7].shapes
    np.testing.assert_array_equal(found.mark(mask.shape), mask)


def test_lists_of_names_as_windows_tools_leave_them(answers, tmp_path):
    """With a byte order mark, and a blank line, which counts as labelImg counts it."""
    labels = tmp_path / "a.txt"
    labels.write_bytes(b"\xef\xbb\xbf0 .5 .5 .2 .2\r\n2 .5 .5 .2 .2\r\n")
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfmug\r\n\r\nlid\r\n")
    assert [shape.label for shape in formats.read(labels)[0].shapes] == ["mug", "lid"]
    coco = write("coco", answers, tmp_path)
    coco.write_bytes(b"\xef\xbb\xbf" + coco.read_bytes())
    assert len(formats.read(coco)) == 3
    voc = write("voc", answers, tmp_path)
    for file in ("labelmap.txt", "classes.txt"):
        path = voc / file
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert {label for photo in formats.read(voc) for label in photo.labels} == set(CLASSES)
        (voc / "labelmap.txt").unlink(missing_ok=True)


def test_corrections_are_kept(answers, tmp_path):
    first = formats.labelme.write(tmp_path, answers, CLASSES)
    corrected = first.root / "a.json"
    text = corrected.read_text().replace('"lid & cap"', '"handle"')
    corrected.write_text(text)
    untouched = (first.root / "more" / "b c.json").stat().st_mtime_ns
    again = formats.labelme.write(tmp_path, answers, CLASSES)
    assert again.kept == [corrected] and corrected.read_text() == text
    assert (first.root / "more" / "b c.json").stat().st_mtime_ns == untouched
    last = formats.labelme.write(tmp_path, answers[2:], CLASSES)  # the others are no answers now
    assert corrected.read_text() == text and not (first.root / "more" / "b c.json").exists()
    assert (last.root / "empty.v2.json").is_file()


def test_a_damaged_data_yaml_is_named(answers, tmp_path):
    folder = formats.yolo.write(tmp_path, answers, CLASSES)
    (folder.root / "args.yaml").write_text("names: [\n")  # of a training, and of no concern here
    assert formats.read(folder.root)
    (folder.root / "data.yaml").write_text("names: [coffee mug\n")
    with pytest.raises(DataError, match="data.yaml: no class names can be read from it"):
        formats.read(folder.root)


@pytest.mark.parametrize("kind, listed, words", [
    ("yolo", "data.yaml", "names: {0: coffee mug}"), ("voc", "classes.txt", "coffee mug")])
def test_corrected_files_keep_their_numbers(kind, listed, words, answers, tmp_path):
    """A class that comes before the others by name takes a number after theirs."""
    def write(classes):
        found = [dataclasses.replace(one, masks={
            name: mask for name, mask in one.masks.items() if name in classes}) for one in answers]
        return formats.FORMATS[kind].write(tmp_path, found, classes)
    first = write(["lid & cap"])
    corrected = first.root / ("labels/a.txt" if kind == "yolo" else "SegmentationClass/a.png")
    if kind == "yolo":
        corrected.write_text(corrected.read_text() + "\n")
    else:
        Image.open(corrected).save(corrected, optimize=True, compress_level=1)
    again = write(["coffee mug", "lid & cap"])
    assert again.kept == [corrected]
    shown = {photo.name: {shape.label for shape in photo.shapes}
             for photo in formats.read(again.root)}
    assert shown["a"] == {"lid & cap"} and shown["more/b c"] == {"coffee mug", "lid & cap"}
    (first.root / listed).write_text(f"{words}\n")
    with pytest.raises(DataError, match=f"{listed}: somebody changed it, and 'lid & cap'"):
        write(["lid & cap"])


def test_photos_of_one_name_in_two_folders(tmp_path):
    for folder, number in (("s1", 1), ("s2", 2)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((30, 50, 3), number, np.uint8)).save(tmp_path / folder / "a.png")
    export, places = tmp_path / "x.json", [tmp_path / "s1", tmp_path / "s2"]

    def marked(name):
        export.write_text(json.dumps({"imagePath": name, "shapes": [
            {"label": "mug", "points": [[5, 5], [19, 5], [19, 14]]}]}))
        (photo, _), = support.support_from(export, places)["mug"]
        return photo
    assert [marked(f"{name}/a.png") for name in ("s1", "s2")] == [
        place / "a.png" for place in places]
    with pytest.raises(DataError, match=r"a.png may be .*s1/a.png or .*s2/a.png"):
        marked("a.png")
    places = [tmp_path / "s1", tmp_path / "s1" / ".." / "s1"]  # the same photo twice
    assert marked("a.png") == tmp_path / "s1" / "a.png"


def test_two_photos_of_one_label_file_are_told(answers, tmp_path):
    twin = dataclasses.replace(answers[0], key="a.jpg")
    with pytest.raises(DataError, match=r"a\.png and a\.jpg would both be .*a\.png"):
        formats.voc.write(tmp_path, [answers[0], twin], CLASSES)
    with pytest.raises(DataError, match=r"a\.png and a\.jpg .* leave out --format voc yolo"):
        formats.check(["voc", "coco", "yolo"], ["a.png", "b/a.png", "a.jpg"])
    formats.check(["coco", "cvat"], ["a.png", "a.jpg"])


def test_a_run_that_was_killed_leaves_no_corrections(answers, tmp_path, monkeypatch):
    """Its files are its own, though it never closed the list."""
    monkeypatch.setattr(formats.Folder, "close", lambda self: self)
    formats.labelme.write(tmp_path, answers, CLASSES)
    monkeypatch.undo()
    others = [dataclasses.replace(one, masks={}, scores={}) for one in answers]
    again = formats.labelme.write(tmp_path, others, CLASSES)
    assert not again.kept
    assert json.loads((again.root / "a.json").read_text())["shapes"] == []


def test_answers_among_the_photos_are_no_marks(answers, tmp_path):
    """labelme saves beside the photos; answers of an earlier run lie in a folder below."""
    pytest.importorskip("cvat_sdk")
    photos = tmp_path / "photos"
    formats.labelme.write(tmp_path / "made", answers[:1], CLASSES)
    (tmp_path / "made" / "labelme" / "a.json").rename(photos / "a.json")
    formats.write(list(formats.FORMATS), photos / "out", lambda: iter(answers), CLASSES)
    assert [photo.name for photo in formats.read(photos)] == ["../../photos/a.png"]
    assert len(formats.read(photos / "out" / "labelme")) == 3  # named itself


# ---- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("content, words", [
    ("{}", "no annotation file that is known; labelme, COCO"),
    ('{"shapes": 3}', "damaged annotations of labelme"),
    ('{"shapes": [{"label": "a", "points": [[1, 2], [3]]}]}', "damaged annotations of labelme"),
    ('[{"data": {"image": "x.jpg"}, "annotations": [{}]}]',
     "damaged annotations of label_studio"),
    ('{"images": [], "categories": [], "annotations": '
     '[{"id": 7, "image_id": 1, "category_id": 3}]}',
     "annotation 7 is of photo 1, which the file does not list"),
    ("<annotations><image/></annotations>", "damaged annotations of cvat"),
    ("<annotations><track/></annotations>", "CVAT for video; export the task as"),
    ("<annotations>", "not readable as XML"),
    ("<kml/>", "no annotation file that is known"),
    ("0 0.5 oops", "line 1 is no YOLO label"),
    ("0 0.5 0.5", "line 1: a class number and 4 numbers")])
def test_a_bad_file_is_told_in_one_line(tmp_path, content, words):
    ending = {"{": "json", "[": "json", "<": "xml"}.get(content[0], "txt")
    path = tmp_path / f"x.{ending}"
    path.write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        mask_of(path, np.zeros((9, 9, 3), np.uint8), photo="x.jpg", label="a")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_folders_without_annotations_and_of_two_kinds_are_told(answers, tmp_path):
    with pytest.raises(DataError, match="no annotations; labelme"):
        formats.read(tmp_path / "photos")
    with pytest.raises(DataError, match="no such file or folder"):
        formats.read(tmp_path / "nowhere")
    (tmp_path / "export.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="unpack it first"):
        formats.read(tmp_path / "export.zip")
    write("coco", answers, tmp_path / "both").rename(tmp_path / "both" / "instances.json")
    (tmp_path / "both" / "x.json").write_text('{"shapes": []}')
    with pytest.raises(DataError, match="files of coco and labelme; name one"):
        formats.read(tmp_path / "both")


def test_a_tag_of_the_camera_turns_marks_with_the_photo(tmp_path):
    """Marks on the pixels as stored; the photo is shown turned."""
    from pipelines.reading.photos import load_photo
    stored = np.zeros((30, 50, 3), np.uint8)
    stored[5:15, 5:20] = 255
    for way_up in (5, 6, 7, 8):
        exif = Image.Exif()
        exif[0x0112] = way_up
        Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
        (tmp_path / "a.json").write_text(json.dumps({
            "imageHeight": 30, "imageWidth": 50, "shapes": [
                {"label": "a", "points": [[5, 5], [19, 5], [19, 14], [5, 14]]}]}))
        image = load_photo(tmp_path / "a.png")
        assert image.shape == (50, 30, 3)
        mask, _ = mask_of(tmp_path / "a.json", image, photo=tmp_path / "a.png")
        np.testing.assert_array_equal(mask, image[..., 0] > 0)


@pytest.mark.parametrize("name, others, expected", [
    ("a.jpg", ["b.jpg", "more/a.jpg"], "more/a.jpg"),
    ("photos/more/a.jpg", ["a.jpg", "more/a.jpg"], "more/a.jpg"),
    ("..\\photos\\a b.jpg", ["a b.jpg"], "a b.jpg"),
    ("a.jpg", ["a.jpg", "more/a.jpg"], "a.jpg"),
    ("train/a", ["images/train/a.jpg", "images/val/a.jpg"], "images/train/a.jpg"),
    ("upload/3/1a2b3c4d-my_mug_1.jpg", ["my mug (1).jpg", "mug.jpg"], "my mug (1).jpg"),
    ("a.jpg", ["a.png", "aa.jpg"], None)])
def test_names_of_photos(name, others, expected):
    assert names.find(name, others, "x.json") == expected


def test_a_name_of_two_photos_is_told():
    with pytest.raises(DataError, match=r"x\.json: a\.jpg may be 1/a\.jpg or 2/a\.jpg"):
        names.find("a.jpg", ["1/a.jpg", "2/a.jpg"], "x.json")
