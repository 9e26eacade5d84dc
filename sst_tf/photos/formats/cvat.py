# SPDX-License-Identifier: Apache-2.0
"""CVAT for images 1.1: one XML file of all photos; polygons, boxes, ellipses, masks."""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from pipelines.errors import DataError
from pipelines.writing import replacing
from sst_tf.photos.formats.shapes import Answer, MarkedPhoto, Shape, ellipse, turn_by
from sst_tf.photos.marks import Box, Polygon

NEEDS = ("cvat_sdk",)
FILE = "cvat.xml"
KINDS = ("polygon", "box", "ellipse", "mask", "polyline", "points", "cuboid", "skeleton")


def read(root: ElementTree.Element, path: Path) -> list[MarkedPhoto]:
    """All photos of the file."""
    images = root.findall("image")
    if not images and root.find("track") is not None:
        raise DataError(f"{path}: CVAT for video; export the task as \"CVAT for images 1.1\"")
    return [MarkedPhoto(image.attrib["name"],
                        (int(image.attrib["height"]), int(image.attrib["width"])),
                        [Shape(one.attrib["label"], _mark(one, path)) for one in image
                         if one.tag in KINDS])
            for image in images]


def _mark(one, path):
    def number(name):
        return float(one.attrib[name])

    def mark(size):
        if one.tag == "polygon":
            return Polygon([np.array([point.split(",") for point in
                                      one.attrib["points"].split(";")], np.float64)])
        degrees = float(one.get("rotation", 0))
        if one.tag == "box":  # turned about its centre
            corners = np.array([[number(x), number(y)] for x, y in (
                ("xtl", "ytl"), ("xbr", "ytl"), ("xbr", "ybr"), ("xtl", "ybr"))])
            corners = corners.mean(0) + (corners - corners.mean(0)) @ turn_by(degrees)
            return Box(*corners.min(0), *corners.max(0))
        if one.tag == "ellipse":
            return ellipse((number("cx"), number("cy")), (number("rx"), number("ry")), degrees)
        if one.tag == "mask":
            return _decode(one, size, path)
        raise DataError(f"{path}: a shape of type {one.tag!r} marks {one.attrib['label']!r}; "
                        "polygons, boxes, ellipses and masks are read")

    return mark


def _decode(one, size, path):
    from cvat_sdk.masks import decode_mask
    left, top, width, height = (int(one.attrib[name]) for name in
                                ("left", "top", "width", "height"))
    runs = [int(run) for run in one.attrib["rle"].split(",")]
    try:
        return decode_mask([*runs, left, top, left + width - 1, top + height - 1],
                           image_width=size[1], image_height=size[0]).astype(np.uint8)
    except ValueError as error:
        raise DataError(f"{path}: a mask of {one.attrib['label']!r} that cannot be read "
                        f"({error})") from None


def write(output: Path, answers: Iterable[Answer], classes: list[str]) -> Path:
    """`cvat.xml`, a mask a class and photo; to be uploaded to a task with these labels."""
    from cvat_sdk.masks import encode_mask
    with replacing(output / FILE) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write("<?xml version='1.0' encoding='utf-8'?>\n<annotations>\n"
                   "  <version>1.1</version>\n")
        # Photo by photo: the tree of very many does not fit in memory.
        for number, answer in enumerate(answers):
            image = ElementTree.Element("image", {
                "id": str(number), "name": answer.key, "width": str(answer.size[1]),
                "height": str(answer.size[0])})
            for name, mask in answer.masks.items():
                *runs, left, top, right, bottom = (int(value) for value in encode_mask(mask))
                ElementTree.SubElement(image, "mask", {
                    "label": name, "source": "auto", "occluded": "0",
                    "rle": ", ".join(map(str, runs)), "left": str(left), "top": str(top),
                    "width": str(right - left + 1), "height": str(bottom - top + 1),
                    "z_order": "0"})
            ElementTree.indent(image, level=1)
            file.write(f"  {ElementTree.tostring(image, 'unicode')}\n")
        file.write("</annotations>\n")
    return output / FILE
