"""The recipes' train pipeline draws mmsegmentation's random numbers and gives its labels and images.

``EXPECTED`` was written by mmsegmentation (onedl-mmsegmentation 1.4.2, OpenCV 5.0.0) for the data of
``conftest.write_pairs`` with this file's pipeline: per item the factors of the resize, the flip, the sum of the
label and the sum of the image; at the end the next number of the stream. Keys: ``reduce_zero_label``. Image sums may
differ by rounding between builds of OpenCV; the rest may not.
"""

from __future__ import annotations

import numpy as np
import pytest

from gcseg.registry import DATASETS

PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations"},
    {"type": "RandomResize", "scale": (72, 48), "ratio_range": (0.5, 2.0), "keep_ratio": True},
    {"type": "RandomCrop", "crop_size": (20, 28), "cat_max_ratio": 0.4},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "PhotoMetricDistortion"},
    {"type": "PackSegInputs"},
]
EXPECTED = {
    False: (
        [
            ((3.944444, 3.958333), True, 856, 115768),
            ((2.0, 2.0), True, 751, 114639),
            ((1.25, 1.25), True, 1139, 161054),
            ((1.388889, 1.375), False, 1141, 151871),
            ((3.416667, 3.416667), False, 1120, 203362),
            ((2.305556, 2.291667), False, 984, 133086),
            ((2.138889, 2.125), True, 934, 241966),
            ((3.083333, 3.083333), False, 1348, 264939),
        ],
        0.7378434611229551,
    ),
    True: (
        [
            ((3.944444, 3.958333), False, 103160, 35002),
            ((2.055556, 2.041667), False, 35874, 149724),
            ((2.055556, 2.041667), False, 41384, 131555),
            ((3.416667, 3.416667), True, 812, 100607),
            ((2.583333, 2.583333), False, 26005, 164141),
            ((1.111111, 1.125), False, 56354, 95291),
            ((3.0, 3.0), False, 67684, 77430),
            ((1.888889, 1.875), False, 3311, 84427),
        ],
        0.8408448327933937,
    ),
}


def summaries(dataset) -> list[tuple]:
    """What the test compares, for two epochs of four items."""
    np.random.seed(2020)
    found = []
    for index in range(8):
        item = dataset[index % 4]
        sample = item["data_samples"]
        factors = tuple(round(float(factor), 6) for factor in sample.scale_factor)
        found.append((factors, sample.flip, int(sample.gt_sem_seg.data.sum()), int(item["inputs"].long().sum())))
    return found


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_as_mmsegmentation(root, reduce_zero_label):
    dataset = DATASETS.build(
        {
            "type": "BaseSegDataset",
            "data_root": str(root),
            "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
            "img_suffix": ".png",
            "metainfo": {"classes": ("a", "b", "c", "d", "e")},
            "reduce_zero_label": reduce_zero_label,
            "pipeline": PIPELINE,
        }
    )
    found = summaries(dataset)
    expected, after = EXPECTED[reduce_zero_label]
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    assert np.random.rand() == after
    for row, wanted in zip(found, expected, strict=True):
        assert row[3] == pytest.approx(wanted[3], rel=2e-3)
