# SPDX-License-Identifier: Apache-2.0
"""The libraries that own the formats read what we write, and we read what they write."""

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.errors import DataError
from pipelines.sources.voc import VOCSource
from sst_tf.photos import formats
from sst_tf.photos.annotations import mask_of
from sst_tf.photos.formats import coco, labelme, outlines, voc, yolo
from sst_tf.photos.marks import Polygon
from tests.sst_tf.photos.formats.conftest import CLASSES, iou

sv = pytest.importorskip("supervision", reason="supervision is not installed (the extra `dev`)")


@pytest.fixture
def flat(answers):
    """Answers of one folder: supervision knows photos by their last name."""
    return [answer for answer in answers if "/" not in answer.key]


def by_class(dataset, path):
    """{class: mask} of a photo in one of supervision's data sets."""
    found = dataset.annotations[str(path)]
    return {dataset.classes[number]: found.mask[found.class_id == number].any(0)
            for number in sorted(set(found.class_id))}


def agree(found, answer, least=0.98):
    assert set(found) == set(answer.masks)
    for name, mask in answer.masks.items():
        assert iou(found[name], mask) > least, name


def dataset(answers):
    """supervision's data set of our answers."""
    def detections(answer):
        masks = np.stack(list(answer.masks.values()))
        return sv.Detections(sv.mask_to_xyxy(masks).astype(np.float32), mask=masks, class_id=(
            np.array([CLASSES.index(name) for name in answer.masks])))

    return sv.DetectionDataset(CLASSES, [str(one.path) for one in answers if one.masks],
                               {str(one.path): detections(one) for one in answers if one.masks})


def marks(path, answer):
    image = np.asarray(Image.open(answer.path))
    return {name: mask_of(path, image, photo=answer.path, label=name)[0] for name in answer.masks}


# ---- they read ours ------------------------------------------------------------------------------


def test_supervision_reads_our_labelme_files(flat, tmp_path):
    folder = labelme.write(tmp_path / "out", flat, CLASSES)
    read = sv.DetectionDataset.from_labelme(str(flat[0].path.parent), str(folder.root))
    agree(by_class(read, flat[0].path), flat[0])
    content = json.loads((folder.root / "a.json").read_text())
    assert (folder.root / content["imagePath"]).resolve() == flat[0].path.resolve()


def test_supervision_reads_our_yolo_folder(flat, tmp_path):
    folder = yolo.write(tmp_path / "out", flat, CLASSES)
    read = sv.DetectionDataset.from_yolo(str(flat[0].path.parent), str(folder.root / "labels"),
                                         str(folder.root / "data.yaml"))
    assert read.classes == CLASSES and len(read.annotations[str(flat[1].path)]) == 0
    agree(by_class(read, flat[0].path), flat[0])


def test_pycocotools_and_supervision_read_our_coco_file(answers, flat, tmp_path, capsys):
    library = pytest.importorskip("pycocotools.coco")
    path = coco.write(tmp_path / "out", answers, CLASSES)
    read = library.COCO(str(path))
    for image in read.loadImgs(read.getImgIds()):
        answer = next(one for one in answers if one.key == image["file_name"])
        found = read.loadAnns(read.getAnnIds(image["id"]))
        assert len(found) == len(answer.masks)
        for one in found:
            mask = answer.masks[read.loadCats(one["category_id"])[0]["name"]]
            np.testing.assert_array_equal(read.annToMask(one), mask)
            assert one["area"] == mask.sum()
            rows, columns = np.nonzero(mask)
            assert one["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1,
                                   np.ptp(rows) + 1]
    path = coco.write(tmp_path / "flat", flat, CLASSES)
    agree(by_class(sv.DetectionDataset.from_coco(str(flat[0].path.parent), str(path)),
                   flat[0].path), flat[0], 0.999)


def test_our_voc_folder_is_a_data_set_to_train_on(flat, tmp_path):
    folder = voc.write(tmp_path / "out", flat, CLASSES).root
    (folder / "JPEGImages").mkdir()
    shutil.copy(flat[1].path, folder / "JPEGImages" / "empty.v2.jpg")
    Image.open(flat[0].path).save(folder / "JPEGImages" / "a.jpg")
    source = VOCSource(folder)
    assert source.classes == tuple(CLASSES)
    for number, name in enumerate(CLASSES, start=1):
        np.testing.assert_array_equal(source.class_mask("a", number) == 1, flat[0].masks[name])
    assert source.image_ids("default") == ["a", "empty.v2"]


def test_the_palette_is_voc_s(shared):
    path = next((shared / "data" / "pascal5i" / "SegmentationClassAug").glob("2007*.png"))
    with Image.open(path) as picture:
        theirs = np.array(picture.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(voc.palette(256)[:21], theirs[:21])


# ---- we read theirs ------------------------------------------------------------------------------


def test_we_read_supervision_s_labelme_files(flat, tmp_path):
    dataset(flat).as_labelme(annotations_directory_path=str(tmp_path / "theirs"))
    agree(marks(tmp_path / "theirs", flat[0]), flat[0], 0.999)


def test_we_read_supervision_s_yolo_folder(flat, tmp_path):
    dataset(flat).as_yolo(annotations_directory_path=str(tmp_path / "theirs" / "labels"),
                          data_yaml_path=str(tmp_path / "theirs" / "data.yaml"),
                          approximation_percentage=0)
    agree(marks(tmp_path / "theirs", flat[0]), flat[0], 0.99)
    agree(marks(tmp_path / "theirs" / "labels" / "a.txt", flat[0]), flat[0], 0.99)


def test_we_read_supervision_s_coco_file(flat, tmp_path):
    dataset(flat).as_coco(annotations_path=str(tmp_path / "theirs.json"))
    agree(marks(tmp_path / "theirs.json", flat[0]), flat[0], 0.99)


def test_we_read_supervision_s_voc_files(flat, tmp_path):
    dataset(flat).as_pascal_voc(annotations_directory_path=str(tmp_path / "theirs"),
                                approximation_percentage=0)
    agree(marks(tmp_path / "theirs", flat[0]), flat[0], 0.99)
    agree(marks(tmp_path / "theirs" / "a.xml", flat[0]), flat[0], 0.99)


def test_boxes_mark_what_grabcut_finds_in_them(tmp_path):
    """A YOLO box, a VOC box, a COCO box and CVAT's are one box."""
    image = np.full((90, 120, 3), 120, np.uint8)
    image[20:60, 30:70] = (200, 30, 30)
    (tmp_path / "a.txt").write_text("7 0.416667 0.444444 0.5 0.666667 0.93\n")
    (tmp_path / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>120</width><height>90</height></size>"
        "<object><name>mug</name><bndbox><xmin>21</xmin><ymin>11</ymin><xmax>80</xmax>"
        "<ymax>70</ymax></bndbox></object></annotation>")
    (tmp_path / "b.xml").write_text(
        '<annotations><image name="a.jpg" width="120" height="90"><box label="mug" xtl="20" '
        'ytl="10" xbr="80" ybr="70" rotation="90"/></image></annotations>')
    (tmp_path / "a.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "mug"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [20, 10, 60, 60],
                         "segmentation": []}]}))
    for file in ("a.txt", "a.xml", "b.xml", "a.json"):
        mask, how = mask_of(tmp_path / file, image, photo="a.jpg", label="mug")
        assert how == "box, by GrabCut"
        assert iou(mask, image[..., 0] == 200) > 0.95, file


def test_labelme_masks_and_circles(tmp_path):
    """What labelme's AI tools leave (a cut-out PNG) and a circle, a hole in neither lost."""
    import base64
    import io
    ring = np.hypot(*(np.mgrid[:21, :21] - 10)) <= 10
    ring &= np.hypot(*(np.mgrid[:21, :21] - 10)) > 5
    data = io.BytesIO()
    Image.fromarray(ring).save(data, "PNG")
    shapes = [{"label": "ring", "shape_type": "mask", "points": [[30, 40], [50, 60]],
               "mask": base64.b64encode(data.getvalue()).decode()},
              {"label": "disc", "shape_type": "circle", "points": [[70, 20], [80, 20]]},
              {"label": "note", "shape_type": "point", "points": [[1, 1]]}]
    (tmp_path / "a.json").write_text(json.dumps(
        {"shapes": shapes, "imageHeight": 90, "imageWidth": 120}))
    image = np.zeros((90, 120, 3), np.uint8)
    expected = np.zeros((90, 120), bool)
    expected[40:61, 30:51] = ring
    found, how = mask_of(tmp_path / "a.json", image, label="ring")
    assert how == "mask" and (found == expected).all()
    found, how = mask_of(tmp_path / "a.json", image, label="disc")
    assert how == "polygon" and found.sum() == pytest.approx(np.pi * 10.5**2, rel=0.05)


def test_rectangles_of_tools_that_grew_out_of_labelme(tmp_path):
    """X-AnyLabeling gives them all four corners, and knows turned ones."""
    corners = {"rectangle": [[10, 20], [30, 20], [30, 50], [10, 50]],
               "rotation": [[60, 20], [80, 40], [60, 60], [40, 40]]}
    (tmp_path / "a.json").write_text(json.dumps({
        "shapes": [{"label": kind, "shape_type": kind, "points": points}
                   for kind, points in corners.items()], "imageHeight": 90, "imageWidth": 120}))
    for kind, area in (("rectangle", 21 * 31), ("rotation", 2 * 20**2 + 2 * 20 + 1)):
        found, how = mask_of(tmp_path / "a.json", np.zeros((90, 120, 3), np.uint8), label=kind)
        assert how == "polygon" and found.sum() == area  # the edge's pixels, too


# ---- real masks ----------------------------------------------------------------------------------


def test_real_coco_polygons_are_pycocotools_s(shared):
    """All annotations of 80 photos: as theirs but for pixels on outlines, 0.1 % of an area."""
    library = pytest.importorskip("pycocotools.coco")
    path = shared / "data" / "coco_mini" / "annotations" / "instances_val2017.json"
    owner, scores, crowds = library.COCO(str(path)), [], 0
    photos = {photo.name: photo for photo in formats.read(path)}
    for image in owner.loadImgs(owner.getImgIds()):
        photo, size = photos[image["file_name"]], (image["height"], image["width"])
        theirs = owner.loadAnns(owner.getAnnIds(image["id"]))
        for shape, one in zip(photo.shapes, theirs, strict=True):
            ours, _ = mask_of(shape.mark(size), np.zeros((*size, 3), np.uint8))
            true = owner.annToMask(one)
            if one["iscrowd"]:
                np.testing.assert_array_equal(ours, true)
                crowds += 1
            elif one["area"] > 32**2:
                edge = cv2.morphologyEx(true, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8))
                assert (ours != true)[edge == 0].sum() < 0.001 * one["area"]
                scores.append(iou(ours, true))
    print(f"{len(scores)} polygons, IoU {np.mean(scores):.3f}; {crowds} run lengths, equal")
    assert crowds and len(scores) > 200 and np.mean(scores) > 0.95


def test_outlines_of_real_masks(shared):
    """What polygons lose (labelme, YOLO): 0.6 points of IoU on masks of PASCAL VOC's val."""
    root = shared / "data" / "pascal5i"
    names = (root / "ImageSets" / "Segmentation" / "val.txt").read_text().split()[::12]
    scores, corners = [], []
    for name in names:
        with Image.open(root / "SegmentationClassAug" / f"{name}.png") as picture:
            values = np.asarray(picture)
        for number in set(np.unique(values)) - {0, 255}:
            mask = values == number
            found = outlines.outlines(mask)
            back, _ = mask_of(Polygon(found), np.zeros((*mask.shape, 3), np.uint8))
            scores.append(iou(back, mask))
            corners.append(sum(map(len, found)))
    print(f"{len(scores)} masks: IoU {np.mean(scores):.4f}, 5 % below "
          f"{np.percentile(scores, 5):.4f}, least {np.min(scores):.4f}; corners "
          f"{np.median(corners)}")
    assert np.mean(scores) > 0.99 and np.percentile(scores, 5) > 0.97


def test_a_cvat_export_as_its_server_writes_it(tmp_path):
    """Attributes, tags and empty photos beside a mask (runs within its box) and an ellipse."""
    pytest.importorskip("cvat_sdk")
    (tmp_path / "annotations.xml").write_text("""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><labels><label><name>mug</name><color>#fa3253</color></label></labels></task></meta>
<image id="0" name="in/a b.jpg" subset="Train" task_id="7" width="12" height="9">
  <tag label="mug" source="manual"/>
  <mask label="mug" source="semi-auto" occluded="0" rle="1, 2, 3, 1, 2" left="4" top="2" width="3"
        height="3" z_order="0"><attribute name="full">false</attribute></mask>
  <points label="handle" points="1.0,1.0" z_order="0"/>
</image>
<image id="1" name="in/b.jpg" width="40" height="30">
  <ellipse label="mug" source="manual" cx="20" cy="15" rx="10" ry="5" rotation="90.0"/>
</image>
<image id="2" name="in/c.jpg" width="40" height="30"></image></annotations>""")
    found, how = mask_of(tmp_path / "annotations.xml", np.zeros((9, 12, 3), np.uint8),
                         photo="a b.jpg", label="mug")
    expected = np.zeros((9, 12), np.uint8)
    expected[2, 5:7] = expected[4, 4] = 1
    assert how == "mask"
    np.testing.assert_array_equal(found, expected)
    found, how = mask_of(tmp_path / "annotations.xml", np.zeros((30, 40, 3), np.uint8),
                         photo="b.jpg", label="mug")
    rows, columns = np.nonzero(found)
    assert how == "polygon" and (np.ptp(rows), np.ptp(columns)) == (20, 10)
    with pytest.raises(DataError, match="type 'points' marks 'handle'; polygons, boxes"):
        mask_of(tmp_path / "annotations.xml", np.zeros((9, 12, 3), np.uint8), photo="a b.jpg",
                label="handle")
