"""Photos and palette masks in VOCdevkit layout, of PASCAL VOC or of one's own classes."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipelines.errors import DataError
from pipelines.folds import PASCAL_CLASSES

MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


class VOCSource:
    """`JPEGImages`, one folder of index masks, and lists under `ImageSets/Segmentation`.

    Args:
        root: a VOCdevkit, a VOC2012 folder in it, or any folder of that layout.
        classes: file of class names, a line each; default `classes.txt` in `root`, else PASCAL's.
        masks: the masks' folder; default SegmentationClassAug, else SegmentationClass.
    Raises:
        DataError: folders that are missing.
    """

    name = "voc"

    def __init__(self, root, classes=None, masks=None):
        if root is None:
            raise DataError("data.root is not set: a voc data set needs its folder")
        self.root = self._find(Path(root))
        folder = masks or next((f for f in MASK_FOLDERS if (self.root / f).is_dir()), None)
        if folder is None or not (self.root / folder).is_dir():
            raise DataError(f"{self.root}: no folder of masks ({' or '.join(MASK_FOLDERS)})")
        self.masks = self.root / folder
        self.photos = self.root / "JPEGImages"
        self.classes = self._class_names(classes)

    @staticmethod
    def _find(root):
        for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
            if any((folder / f).is_dir() for f in MASK_FOLDERS):
                return folder
        if not root.is_dir():
            raise DataError(f"{root}: no such folder (data.root)")
        raise DataError(f"{root}: not of VOC layout; JPEGImages and {' or '.join(MASK_FOLDERS)} "
                        "are expected in it")

    def _class_names(self, path):
        path = Path(path) if path else self.root / "classes.txt"
        if not path.is_file():
            if path != self.root / "classes.txt":
                raise DataError(f"{path}: no such file of class names (data.classes)")
            return PASCAL_CLASSES
        names = tuple(n.strip() for n in path.read_text(encoding="utf-8").splitlines() if n.strip())
        if not names or len(set(names)) < len(names) or len(names) > 254:
            raise DataError(f"{path}: 1 to 254 different class names are due, a line each; "
                            f"found {len(names)}, {len(set(names))} different")
        return names

    def image_ids(self, split):
        if split == "all":
            return sorted(path.stem for path in self.masks.glob("*.png"))
        path = self.root / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not path.is_file():
            known = sorted(p.stem for p in path.parent.glob("*.txt"))
            raise DataError(f"{path}: no such split; known: all{''.join(', ' + k for k in known)}")
        # A line is an id, or the two paths of published lists.
        ids = [Path(line.split()[0]).stem
               for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        twice = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []
        if twice:
            raise DataError(f"{path}: {len(twice)} ids stand twice, first {twice[0]}; remove one")
        return ids

    def image_path(self, image_id):
        for suffix in PHOTO_SUFFIXES:
            path = self.photos / f"{image_id}{suffix}"
            if path.is_file():
                return path
        raise DataError(f"{self.photos / image_id}: no photo ({', '.join(PHOTO_SUFFIXES)}) for "
                        "this id; add it or take the id off the split")

    def mask_path(self, image_id):
        path = self.masks / f"{image_id}.png"
        if not path.is_file():
            raise DataError(f"{path}: no mask for this id; add it or take the id off the split")
        return path

    def check(self, image_id):
        with _open(self.image_path(image_id)) as photo, _open(self.mask_path(image_id)) as mask:
            if photo.size != mask.size:
                raise DataError(f"{self.mask_path(image_id)}: {mask.size[0]} x {mask.size[1]} "
                                f"pixels, its photo has {photo.size[0]} x {photo.size[1]}; "
                                "make the mask anew at the photo's size")

    def read_image(self, image_id):
        path = self.image_path(image_id)
        with _open(path) as photo:
            try:
                return np.asarray(photo.convert("RGB"))
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"{path}: damaged photo ({error}); fetch it again or take its id "
                                "off the split") from None

    def read_mask(self, image_id):
        path = self.mask_path(image_id)
        with _open(path) as mask:
            if mask.mode not in ("P", "L"):
                raise DataError(f"{path}: a picture of mode {mask.mode}, an index mask is due "
                                "(palette or 8-bit gray PNG whose values are class numbers)")
            try:
                # Mode P keeps the index; TensorFlow's decode_png would give the palette's colour.
                index = np.asarray(mask)
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"{path}: damaged mask ({error}); make it anew") from None
        values = np.flatnonzero(np.bincount(index.ravel(), minlength=256))
        strange = [int(v) for v in values if len(self.classes) < v < 255]
        if strange:
            raise DataError(f"{path}: values {strange[:5]} stand for no class; 0, 1.."
                            f"{len(self.classes)} and 255 (void) are known: check the class names")
        return index


def _open(path):
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not readable as a picture ({error}); fetch it again or take its "
                        "id off the split") from None
