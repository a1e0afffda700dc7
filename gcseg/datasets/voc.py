"""Pascal VOC 2012."""

from __future__ import annotations

from typing import Any

from gcseg.datasets.basesegdataset import BaseSegDataset
from gcseg.metainfo import PASCAL_VOC
from gcseg.registry import DATASETS


@DATASETS.register_module()
class PascalVOCDataset(BaseSegDataset):
    """Pascal VOC 2012 (Everingham et al. 2015), 20 classes and background.

    ``ann_file`` is required: images with and without labels lie in one folder. Expects ``JPEGImages/*.jpg``,
    ``SegmentationClass/*.png`` (``SegmentationClassAug`` for the augmented set, which
    ``tools/dataset_converters/voc_aug.py`` makes). Options: :class:`BaseSegDataset`.
    """

    METAINFO = dict(PASCAL_VOC)

    def __init__(
        self,
        ann_file: str,
        img_suffix: str = ".jpg",
        seg_map_suffix: str = ".png",
        **kwargs: Any,
    ) -> None:
        super().__init__(ann_file=ann_file, img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
