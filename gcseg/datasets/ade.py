"""ADE20K."""

from __future__ import annotations

from typing import Any

from gcseg.datasets.basesegdataset import BaseSegDataset
from gcseg.metainfo import ADE20K
from gcseg.registry import DATASETS


@DATASETS.register_module()
class ADE20KDataset(BaseSegDataset):
    """ADE20K, SceneParse150 (Zhou et al. 2017), 150 classes; label 0 of the files, "other", is ignored.

    Expects ``images/{training,validation}/*.jpg`` and ``annotations/{training,validation}/*.png``. Options:
    :class:`BaseSegDataset`.
    """

    METAINFO = dict(ADE20K)

    def __init__(
        self,
        img_suffix: str = ".jpg",
        seg_map_suffix: str = ".png",
        reduce_zero_label: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, reduce_zero_label=reduce_zero_label, **kwargs
        )
