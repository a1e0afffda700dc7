"""Data sets of data sets, built from configs as a recipe writes them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gcseg.registry import DATASETS
from gcseg.utils import ConfigError

PIPELINE = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]


def config(root, **options):
    return {
        "type": "BaseSegDataset",
        "data_root": str(root),
        "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
        "img_suffix": ".png",
        "metainfo": {"classes": ["a", "b", "c", "d", "e"]},
        "pipeline": PIPELINE,
        **options,
    }


def test_concat(root):
    parts = [config(root, indices=[0, 1]), config(root, indices=[3])]
    both = DATASETS.build({"type": "ConcatDataset", "datasets": parts})
    assert len(both) == 3 and both[2]["img_path"].endswith("3.png")
    assert both.metainfo["classes"] == ["a", "b", "c", "d", "e"]
    assert parts[0]["type"] == "BaseSegDataset", "the config must stay as it was"


def test_concat_of_other_classes_is_refused(root):
    parts = [config(root), config(root, metainfo={"classes": ["x", "b", "c", "d", "e"]})]
    with pytest.raises(ConfigError, match=r"classes of datasets\[1\] is \['x'.*ignore_keys"):
        DATASETS.build({"type": "ConcatDataset", "datasets": parts})
    assert len(DATASETS.build({"type": "ConcatDataset", "datasets": parts, "ignore_keys": "classes"})) == 8
    with pytest.raises(ConfigError, match="datasets is empty"):
        DATASETS.build({"type": "ConcatDataset", "datasets": []})


def test_repeat(root):
    dataset = DATASETS.build({"type": "RepeatDataset", "times": 3, "dataset": config(root)})
    assert len(dataset) == 12 and dataset[5]["img_path"] == dataset[1]["img_path"]


def test_a_wrapper_in_a_wrapper(root):
    repeat = {"type": "RepeatDataset", "times": 2, "dataset": config(root)}
    both = DATASETS.build({"type": "ConcatDataset", "datasets": [config(root, indices=[1]), repeat]})
    assert len(both) == 9 and both[6]["img_path"] == both[2]["img_path"]
    concat = {"type": "ConcatDataset", "datasets": [config(root), config(root)], "lazy_init": True}
    assert len(DATASETS.build({"type": "RepeatDataset", "times": 2, "dataset": concat})) == 16


def test_class_balanced_repeats_the_image_with_the_rare_class(root):
    for i in range(4):
        Image.fromarray(np.full((24, 36), 4 if i == 2 else 0, np.uint8)).save(root / f"labels/{i}.png")
    dataset = DATASETS.build({"type": "ClassBalancedDataset", "oversample_thr": 1.0, "dataset": config(root)})
    shown = [dataset[i]["img_path"].rsplit("/", 1)[1] for i in range(len(dataset))]
    assert shown.count("2.png") == 2 and shown.count("0.png") == 2  # sqrt(1 / 0.25) = 2; sqrt(1 / 0.75) rounds up
    dataset = DATASETS.build({"type": "ClassBalancedDataset", "oversample_thr": 0.5, "dataset": config(root)})
    shown = [dataset[i]["img_path"].rsplit("/", 1)[1] for i in range(len(dataset))]
    assert shown.count("2.png") == 2 and shown.count("0.png") == 1


class Mean:
    """Mixes the image with that of the first item."""

    def get_indices(self, dataset):
        return 0

    def __call__(self, results):
        (other,) = results["mix_results"]
        results["img"] = (results["img"].astype(int) + other["img"]) // 2
        return results


def test_multi_image_mix(root):
    inner = DATASETS.build(config(root))
    dataset = DATASETS.build(
        {"type": "MultiImageMixDataset", "dataset": config(root), "pipeline": [Mean(), {"type": "PackSegInputs"}]}
    )
    wanted = (inner[1]["img"].astype(int) + inner[0]["img"]) // 2
    assert len(dataset) == 4 and (dataset[1]["inputs"].numpy().transpose(1, 2, 0) == wanted).all()
    assert dataset.metainfo == inner.metainfo
    dataset.update_skip_type_keys(["Mean"])
    assert (dataset[1]["inputs"].numpy().transpose(1, 2, 0) == inner[1]["img"]).all()
    with pytest.raises(ConfigError, match="list of names"):
        dataset.update_skip_type_keys("Mean")
