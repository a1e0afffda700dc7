"""The last transform: from a dict of arrays to what the model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from torch import Tensor

from gcseg.datasets._files import shorten
from gcseg.datasets.store import stored_entry
from gcseg.datasets.transforms.loading import LoadAnnotations
from gcseg.registry import TRANSFORMS
from gcseg.structures import SegDataSample
from gcseg.utils.errors import DataError


def _planes(img: np.ndarray) -> Tensor:
    """(H, W) or (H, W, C) to a tensor (C, H, W) of its own memory, same dtype."""
    if img.ndim == 2:
        img = img[:, :, None]
    if img.shape[2] == 3 and img.dtype in (np.uint8, np.float32):  # ten times as fast as numpy's transposed copy
        planes = np.empty((3, *img.shape[:2]), dtype=img.dtype)
        cv2.split(img, list(planes))
        return torch.from_numpy(planes)
    return torch.from_numpy(np.ascontiguousarray(img.transpose(2, 0, 1)))


def _long(seg_map: np.ndarray) -> Tensor:
    """(H, W) to a tensor (1, H, W) int64."""
    return torch.from_numpy(seg_map.astype(np.int64))[None]


def _check_stored(seg_map: np.ndarray, results: Mapping[str, Any]) -> None:
    """Refuse labels of a decoded store that are no class. A damaged byte there is not noticed before, see store.py."""
    stored = stored_entry(results, "seg_map_path")
    if stored is not None and LoadAnnotations.any_beyond(seg_map, results):
        values = np.unique(seg_map[LoadAnnotations.beyond(seg_map, results)]).tolist()
        raise DataError(
            f"{stored.file!r} in the decoded store holds {shorten(values)}, which is no class and was not there when "
            "it was written: the file is damaged. Remove it and run `gcseg store` again"
        )


@TRANSFORMS.register_module()
class PackSegInputs(BaseTransform):
    """Makes ``dict(inputs=Tensor (C, H, W), data_samples=SegDataSample)``.

    ``inputs`` keeps the dtype of the image (uint8). The sample holds ``gt_sem_seg`` (1, H, W) int64 and ``gt_edge_map``
    (1, H, W) int64 when there are such maps, and the metainfo.

    Args:
        meta_keys: keys of the results that become metainfo of the sample; those that are absent are left out.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            "img_path",
            "seg_map_path",
            "ori_shape",
            "img_shape",
            "pad_shape",
            "scale_factor",
            "flip",
            "flip_direction",
            "reduce_zero_label",
            "sample_idx",
        ),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack ``results``."""
        packed: dict = {}
        if "img" in results:
            packed["inputs"] = _planes(results["img"])
        sample = SegDataSample()
        for source, target in (("gt_seg_map", "gt_sem_seg"), ("gt_edge_map", "gt_edge_map")):
            if results.get(source) is None:
                continue
            seg_map = results[source]
            if seg_map.ndim != 2:
                raise DataError(
                    f"PackSegInputs: {source} of {results.get('img_path')!r} has shape {seg_map.shape}; an index map "
                    "is (H, W)"
                )
            if source == "gt_seg_map":
                _check_stored(seg_map, results)
            sample.set_data({target: PixelData(data=_long(seg_map))})
        sample.set_metainfo({key: results[key] for key in self.meta_keys if key in results})
        packed["data_samples"] = sample
        return packed

    def __repr__(self) -> str:
        return f"{type(self).__name__}(meta_keys={self.meta_keys})"
