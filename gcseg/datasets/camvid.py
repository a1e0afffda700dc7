"""CamVid."""

from __future__ import annotations

from typing import Any

from gcseg.datasets.basesegdataset import BaseSegDataset
from gcseg.metainfo import CAMVID
from gcseg.registry import DATASETS


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid (Brostow et al. 2009), 480x360, the 11 classes of the SegNet papers.

    Expects ``images/{train,val}/*.jpg`` and ``annotations/{train,val}/*.png``. Label 11 of the files means unlabelled:
    the data set's config says ``void_labels=[11]``. Options: :class:`BaseSegDataset`.
    """

    METAINFO = dict(CAMVID)

    def __init__(
        self,
        img_suffix: str = ".jpg",
        seg_map_suffix: str = ".png",
        **kwargs: Any,
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
