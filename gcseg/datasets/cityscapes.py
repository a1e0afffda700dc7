"""Cityscapes."""

from __future__ import annotations

from typing import Any

from gcseg.datasets.basesegdataset import BaseSegDataset
from gcseg.metainfo import CITYSCAPES
from gcseg.registry import DATASETS


@DATASETS.register_module()
class CityscapesDataset(BaseSegDataset):
    """Cityscapes (Cordts et al. 2016), 19 classes.

    Expects ``leftImg8bit/{train,val}/CITY/*_leftImg8bit.png`` and, made by ``tools/dataset_converters/cityscapes.py``,
    ``gtFine/{train,val}/CITY/*_gtFine_labelTrainIds.png``. Options: :class:`BaseSegDataset`.
    """

    METAINFO = dict(CITYSCAPES)

    def __init__(
        self,
        img_suffix: str = "_leftImg8bit.png",
        seg_map_suffix: str = "_gtFine_labelTrainIds.png",
        **kwargs: Any,
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
