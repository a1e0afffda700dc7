"""``skip_bad``: training without the samples whose files are bad. Every fault here is in a file on the disk."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image
from torch.utils.data import DataLoader

from gcseg.config import load_config
from gcseg.datasets import BaseSegDataset
from gcseg.datasets.dataset_wrappers import ClassBalancedDataset, MultiImageMixDataset, RepeatDataset
from gcseg.utils import ConfigError, DataError

LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
NUMBER = 8


@pytest.fixture
def root(eight):
    """Eight pairs, named 0 to 7."""
    return eight


@pytest.fixture
def said():
    """What is logged from now on."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            if record.levelno > logging.INFO:
                lines.append((record.levelname, record.getMessage()))

    logger, handler = MMLogger.get_current_instance(), Keep()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def pairs(root, pipeline=LOAD, **options):
    options = {"metainfo": {"classes": list("abcde")}, "pipeline": pipeline, **options}
    return BaseSegDataset(
        img_suffix=".png",
        data_root=str(root),
        data_prefix={"img_path": "images", "seg_map_path": "labels"},
        **options,
    )


def break_image(root, number):
    path = root / f"images/{number}.png"
    path.write_bytes(path.read_bytes()[:100])


def break_label(root, number):
    path = root / f"labels/{number}.png"
    label = np.array(Image.open(path))
    label[0, 0] = 99
    Image.fromarray(label).save(path)


def served(dataset):
    return [dataset[i]["sample_idx"] for i in range(len(dataset))]


def test_off_by_default(root):
    break_image(root, 3)
    with pytest.raises(DataError, match=r"images/3\.png"):
        served(pairs(root))


def test_the_next_good_one_takes_the_place(root, said):
    break_image(root, 3)
    break_label(root, 4)
    break_image(root, 7)
    dataset = pairs(root, skip_bad=3)
    assert served(dataset) == served(dataset) == [0, 1, 2, 5, 5, 5, 6, 0]
    assert [level for level, _ in said] == ["WARNING"] * 3  # each file once, however often it is met
    for number, name in enumerate(("images/3.png", "labels/4.png", "images/7.png"), 1):
        assert name in said[number - 1][1] and f"sample {number} of at most 3" in said[number - 1][1]
    assert list(dataset.bad_files.found) == [f"{root}/images/{i}.png" for i in (3, 4, 7)]


def test_beyond_the_number_the_run_ends_with_all_names(root):
    for number in (1, 2, 6):
        break_image(root, number)
    dataset = pairs(root, skip_bad=2)
    assert [dataset[i]["sample_idx"] for i in (0, 1, 2)] == [0, 3, 3]
    with pytest.raises(DataError) as error:
        dataset[6]
    text = str(error.value)
    assert "\n" not in text and "3 samples cannot be read and skip_bad=2" in text
    for number in (1, 2, 6):
        assert f"images/{number}.png" in text


def test_all_bad_ends_and_does_not_hang(root):
    for number in range(NUMBER):
        break_image(root, number)
    with pytest.raises(DataError, match="8 samples cannot be read and skip_bad=100"):
        pairs(root, skip_bad=100)[5]


def test_random_numbers_do_not_depend_on_what_was_met_before(root):
    """A transform that draws before the label is read: a bad label must cost the same draws each time."""
    break_label(root, 2)
    draw = [LOAD[0], lambda results: {**results, "drawn": np.random.rand()}, LOAD[1]]
    fresh, old = pairs(root, draw, skip_bad=1), pairs(root, draw, skip_bad=1)
    served(old)
    drawn = []
    for dataset in (fresh, old):
        np.random.seed(5)
        drawn.append(dataset[2]["drawn"])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_same_samples_from_any_number_of_workers(root, workers):
    break_image(root, 0)
    break_label(root, 5)
    loader = DataLoader(pairs(root, skip_bad=2), batch_size=None, num_workers=workers)
    assert [item["sample_idx"] for item in loader] == [1, 1, 2, 3, 4, 6, 6, 7]


def test_an_error_beyond_the_number_comes_out_of_a_worker(root):
    for number in (2, 3):
        break_image(root, number)
    one_after_the_other = iter(DataLoader(pairs(root, skip_bad=1), batch_size=None, num_workers=1))
    with pytest.raises(DataError, match=r"2 samples cannot be read and skip_bad=1 .*images/3\.png.*images/2\.png"):
        list(one_after_the_other)
    one_after_the_other._shutdown_workers()  # at once, and not after five seconds when the error is forgotten


def test_missing_labels_count_when_they_are_met(root, said):
    (root / "labels/1.png").unlink()
    assert served(pairs(root, skip_bad=1))[:3] == [0, 2, 2]
    assert "labels/1.png' cannot be read: it does not exist" in said[0][1]
    (root / "labels/2.png").unlink()
    with pytest.raises(DataError, match="2 of 8 label files do not exist"):
        pairs(root, skip_bad=1)


def test_wrappers_pass_it_on(root):
    break_label(root, 6)
    assert served(RepeatDataset(pairs(root, skip_bad=1), times=2))[6:15:8] == [7, 7]
    assert served(MultiImageMixDataset(pairs(root, skip_bad=1), pipeline=[]))[6] == 7
    balanced = ClassBalancedDataset(pairs(root, skip_bad=1), oversample_thr=0.01)
    assert len(balanced) == NUMBER and served(balanced)[6] == 7
    with pytest.raises(DataError, match=r"labels/6\.png"):
        ClassBalancedDataset(pairs(root), oversample_thr=0.01)


def test_evaluation_never_skips(root):
    with pytest.raises(ConfigError, match="skip_bad=1 with test_mode=True: scores must count every image"):
        pairs(root, skip_bad=1, test_mode=True)


def test_not_for_the_data_of_an_evaluation_in_a_config():
    recipe = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
    assert load_config(recipe, {"train_dataloader.dataset.skip_bad": 10}).train_dataloader.dataset.skip_bad == 10
    for split in ("val", "test"):
        with pytest.raises(ConfigError, match=f"{split}_dataloader.dataset.skip_bad=2: scores must count every"):
            load_config(recipe, {f"{split}_dataloader.dataset.skip_bad": 2})


@pytest.mark.parametrize("value", [-1, True, 1.5, "3"])
def test_values_that_are_no_number_of_files(root, value):
    with pytest.raises(ConfigError, match="skip_bad=.*0 for none"):
        pairs(root, skip_bad=value)
