"""IoUMetric to the digits that the oracle prints, and the files it writes."""

import numpy as np
import pytest
import torch
from parity_tools import blobs, build
from PIL import Image

CLASSES = 6
META = dict(classes=tuple(f"class {i}" for i in range(CLASSES)), palette=[[i, i, i] for i in range(CLASSES)])


def random_pairs(seed, top=CLASSES, ignore=0.1):
    """Predictions and labels of five images; about two thirds right."""
    rng = np.random.default_rng(seed)
    out = []
    for shape in ((31, 47), (64, 64), (1, 1), (7, 130), (50, 3)):
        label = blobs(shape, top, rng, ignore)
        guess = rng.integers(0, top, shape)
        out.append((np.where((rng.random(shape) < 0.65) & (label != 255), label, guess), label))
    return out


def same_everywhere(value, label):
    return [(np.full((4, 5), value), np.full((4, 5), label))]


PAIRS = {
    "random": random_pairs(0),
    "random_again": random_pairs(1),
    "classes_absent": random_pairs(2, top=3),
    "nothing_ignored": random_pairs(3, ignore=0.0),
    "predicted_but_never_labelled": [(np.arange(20).reshape(4, 5) % CLASSES, np.zeros((4, 5), np.int64))],
    "labelled_but_never_predicted": [(np.zeros((4, 5), np.int64), np.arange(20).reshape(4, 5) % CLASSES)],
    "perfect": [(label, label) for _, label in random_pairs(4, ignore=0.0)],
    "all_wrong": same_everywhere(1, 2),
    "all_ignored": same_everywhere(1, 255),
    "one_class": same_everywhere(3, 3),
}
OPTIONS = {
    "iou": dict(iou_metrics=["mIoU"]),
    "dice": dict(iou_metrics=["mDice"]),
    "fscore": dict(iou_metrics=["mFscore"]),
    "fscore_beta": dict(iou_metrics=["mFscore"], beta=2),
    "all": dict(iou_metrics=["mIoU", "mDice", "mFscore"]),
    "nan_to_num": dict(iou_metrics=["mIoU", "mDice", "mFscore"], nan_to_num=0),
    "nan_to_minus_one": dict(iou_metrics=["mIoU"], nan_to_num=-1),
    "other_index": dict(iou_metrics=["mIoU"], ignore_index=1),
    "prefix": dict(iou_metrics=["mIoU"], prefix="val"),
}


def evaluate(side, pairs, **options):
    metric = build(side, dict(type="IoUMetric", **options), "METRICS")
    metric.dataset_meta = META
    for pred, label in pairs:
        metric.process({}, [dict(
            pred_sem_seg=dict(data=torch.as_tensor(pred)[None]), gt_sem_seg=dict(data=torch.as_tensor(label)[None]),
        )])  # fmt: skip
    return metric, metric.evaluate(len(pairs))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", PAIRS)
def test_printed_digits(name, option):
    """Keys in the same order; values equal after rounding to the two decimals of the oracle."""
    pairs, options = PAIRS[name], OPTIONS[option]
    index = options.get("ignore_index", 255)
    pairs = [(pred, np.where(label == 255, index, label)) for pred, label in pairs]
    _, found = evaluate("ours", pairs, **options)
    _, expected = evaluate("oracle", pairs, **options)
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert np.round(np.float32(found[key]), 2) == np.float32(value) or (np.isnan(value) and np.isnan(found[key])), (
            f"{key}: {found[key]} against {value}"
        )


def test_class_table():
    """The table of classes: two decimals of each class, as the oracle logs it."""
    metric, _ = evaluate("ours", PAIRS["random"], iou_metrics=["mIoU"])
    oracle = build("oracle", dict(type="IoUMetric"), "METRICS")
    areas = zip(
        *[oracle.intersect_and_union(torch.as_tensor(p), torch.as_tensor(t), CLASSES, 255) for p, t in PAIRS["random"]],
        strict=True,
    )
    expected = oracle.total_area_to_metrics(*[sum(a) for a in areas], ["mIoU"])
    for index, name in enumerate(META["classes"]):
        for key in ("IoU", "Acc"):
            assert round(metric.per_class[name][key], 2) == round(float(expected[key][index]) * 100, 2)


@pytest.mark.parametrize("format_only", [False, True])
@pytest.mark.parametrize("reduce_zero_label", [False, True], ids=["plain", "ade20k"])
def test_output_files(reduce_zero_label, format_only, tmp_path):
    """Names, mode and content of the PNG files; ADE20K's indices start at 1."""
    rng = np.random.default_rng(5)
    maps = {f"ADE_val_{i:08d}": rng.integers(0, CLASSES, (9, 13)) for i in range(3)}
    for side in ("ours", "oracle"):
        folder = tmp_path / side
        cfg = dict(type="IoUMetric", output_dir=str(folder), format_only=format_only)
        metric = build(side, cfg, "METRICS")
        metric.dataset_meta = META
        for name, pred in maps.items():
            data = dict(
                pred_sem_seg=dict(data=torch.as_tensor(pred)[None]),
                gt_sem_seg=dict(data=torch.as_tensor(pred)[None]),
                img_path=f"/data/{name}.jpg",
                reduce_zero_label=reduce_zero_label,
            )
            metric.process({}, [data])
    names = sorted(path.name for path in (tmp_path / "oracle").iterdir())
    assert names == sorted(f"{name}.png" for name in maps)
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == names
    for name in names:
        mine, theirs = Image.open(tmp_path / "ours" / name), Image.open(tmp_path / "oracle" / name)
        assert mine.mode == theirs.mode
        np.testing.assert_array_equal(np.array(mine), np.array(theirs))
        assert np.array(theirs).min() >= int(reduce_zero_label)
