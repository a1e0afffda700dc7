"""What the model gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcseg.datasets.transforms import PackSegInputs
from gcseg.structures import SegDataSample
from gcseg.utils import DataError


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("turned", [False, True])
def test_planes(channels, dtype, turned):
    img = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(dtype)
    view = img[:, ::-1] if turned else img[1:4, 2:]
    inputs = PackSegInputs()({"img": view})["inputs"]
    assert inputs.is_contiguous() and (inputs.numpy() == view.transpose(2, 0, 1)).all()
    assert inputs.dtype == (torch.uint8 if dtype is np.uint8 else torch.float32)
    wanted = inputs.clone()
    img[:] = 0
    assert (inputs == wanted).all(), "the tensor must not share memory with a larger image"


def test_grey_image():
    assert PackSegInputs()({"img": np.zeros((5, 7), np.uint8)})["inputs"].shape == (1, 5, 7)


def test_sample():
    label = np.array([[0, 255, 3]], np.uint8)
    results = {
        "img": np.zeros((1, 3, 3), np.uint8),
        "gt_seg_map": label,
        "gt_edge_map": label * 0 + 1,
        "img_path": "a.jpg",
        "ori_shape": (2, 6),
        "flip": True,
        "sample_idx": 4,
        "secret": 1,
    }
    sample = PackSegInputs()(results)["data_samples"]
    assert isinstance(sample, SegDataSample)
    assert sample.gt_sem_seg.data.dtype == torch.int64 and sample.gt_sem_seg.data.tolist() == [[[0, 255, 3]]]
    assert sample.gt_edge_map.data.tolist() == [[[1, 1, 1]]]
    assert sample.metainfo == {"img_path": "a.jpg", "ori_shape": (2, 6), "flip": True, "sample_idx": 4}
    assert PackSegInputs(meta_keys=["secret"])(results)["data_samples"].metainfo == {"secret": 1}


def test_map_with_channels_is_refused():
    with pytest.raises(DataError, match=r"gt_seg_map of 'a.jpg' has shape \(2, 2, 3\)"):
        PackSegInputs()({"gt_seg_map": np.zeros((2, 2, 3), np.uint8), "img_path": "a.jpg"})
