# SPDX-License-Identifier: Apache-2.0
"""Builders: `Pascal5i(config="fold0").download_and_prepare(file_format="array_record")`.

The photos come from TFDS's manual folder, in the layout that `sst prepare` leaves.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow_datasets as tfds

from pipelines.folds import COCO_CLASSES, PASCAL_CLASSES, novel_class_ids
from pipelines.index import build_index, split_pairs
from pipelines.sources import open_source

OSLSM = """@inproceedings{shaban2017oslsm,
  title={One-Shot Learning for Semantic Segmentation},
  author={Shaban, Amirreza and Bansal, Shray and Liu, Zhen and Essa, Irfan and Boots, Byron},
  booktitle={BMVC}, year={2017}}"""
VOC = """@article{everingham2010voc,
  title={The PASCAL Visual Object Classes (VOC) Challenge},
  author={Everingham, Mark and Van Gool, Luc and Williams, Christopher and Winn, John and
          Zisserman, Andrew},
  journal={IJCV}, year={2010}}"""
SBD = """@inproceedings{hariharan2011sbd,
  title={Semantic Contours from Inverse Detectors},
  author={Hariharan, Bharath and Arbelaez, Pablo and Bourdev, Lubomir and Maji, Subhransu and
          Malik, Jitendra},
  booktitle={ICCV}, year={2011}}"""
FWB = """@inproceedings{nguyen2019fwb,
  title={Feature Weighting and Boosting for Few-Shot Segmentation},
  author={Nguyen, Khoi and Todorovic, Sinisa},
  booktitle={ICCV}, year={2019}}"""
PANET = """@inproceedings{wang2019panet,
  title={PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment},
  author={Wang, Kaixin and Liew, Jun Hao and Zou, Yingtian and Zhou, Daquan and Feng, Jiashi},
  booktitle={ICCV}, year={2019}}"""
COCO = """@inproceedings{lin2014coco,
  title={Microsoft COCO: Common Objects in Context},
  author={Lin, Tsung-Yi and Maire, Michael and Belongie, Serge and others},
  booktitle={ECCV}, year={2014}}"""


@dataclass
class FoldConfig(tfds.core.BuilderConfig):
    """Which quarter of the classes is novel.

    Attributes:
        fold: 0 to 3.
        layout: of COCO's folds, "interleaved" or "contiguous".
    """

    fold: int = 0
    layout: str | None = None


class _Folds(tfds.core.GeneratorBasedBuilder):
    """Photos with a mask for each of their classes; "train" of base and "test" of novel ones.

    A training photo may hold novel classes too; it is kept, and all its masks with it, so that
    any rule for such pixels can be applied (`index.split_pairs`).
    """

    VERSION = tfds.core.Version("1.1.0")
    KIND: str
    SPLITS: dict[str, str]

    def _source(self, manual_dir):
        return open_source(self.KIND, manual_dir)

    def _described(self, classes, **facts):
        label = tfds.features.ClassLabel(names=classes)
        features = tfds.features.FeaturesDict({
            "image_id": tfds.features.Text(),
            "image": tfds.features.Image(encoding_format="jpeg"),  # the file's own bytes
            "masks": tfds.features.Sequence({
                "class_id": label,  # from 0: `classes[class_id]`
                # 0 background, 1 the class, 255 void.
                "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png")}),
            # Classes that are there as crowds, which no mask holds, and their pixels.
            "crowds": tfds.features.Sequence({
                "class_id": label, "area": tfds.features.Scalar(np.int64)}),
        })
        return tfds.core.DatasetInfo(builder=self, description=type(self).__doc__,
                                     features=features, **facts)

    def _split_generators(self, dl_manager):
        source = self._source(dl_manager.manual_dir)
        novel = novel_class_ids(source.classes, fold=self.builder_config.fold,
                                layout=self.builder_config.layout)
        return {split: self._generate_examples(source, ids, novel, part)
                for (split, ids), part in zip(self.SPLITS.items(), ("base", "novel"),
                                              strict=True)}

    def _generate_examples(self, source, ids, novel, part):
        index = build_index(source, source.image_ids(ids))
        crowds = getattr(source, "crowds", lambda image_id: {})
        for image_id in sorted({p.image_id for p in split_pairs(index, novel, part, "keep")}):
            masks = source.class_masks(image_id)
            yield image_id, {
                "image_id": image_id, "image": str(source.image_path(image_id)),
                "masks": [{"class_id": class_id - 1, "mask": mask[..., None]}
                          for class_id, mask in sorted(masks.items())],
                "crowds": [{"class_id": class_id - 1, "area": area}
                           for class_id, area in sorted(crowds(image_id).items())]}


class Pascal5i(_Folds):
    """PASCAL-5i: VOC 2012 and SBD, folds of five classes."""

    KIND, SPLITS = "voc", {"train": "trainaug", "test": "val"}
    BUILDER_CONFIGS = [FoldConfig(name=f"fold{i}", description=f"Classes {5 * i + 1} to "
                                  f"{5 * i + 5} are novel.", fold=i) for i in range(4)]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Put a VOCdevkit with SegmentationClassAug into the manual folder:
    sst prepare sbd --root <manual_dir>
    """

    def _info(self):
        return self._described(
            PASCAL_CLASSES, homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
            citation="\n".join((OSLSM, VOC, SBD)))


class Coco20i(_Folds):
    """COCO-20i: COCO 2017, folds of twenty classes, in both of the field's layouts."""

    KIND, SPLITS = "coco", {"train": "train2017", "test": "val2017"}
    BUILDER_CONFIGS = [FoldConfig(name=f"{layout}{i}", description=f"Fold {i}, {layout}.", fold=i,
                                  layout=layout)
                       for layout in ("interleaved", "contiguous") for i in range(4)]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Put train2017, val2017 and annotations into the manual folder:
    sst prepare coco --root <manual_dir>
    """

    def _info(self):
        return self._described(
            COCO_CLASSES, homepage="https://cocodataset.org/",
            citation="\n".join((FWB, PANET, COCO)))
