import logging

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from PIL import Image
from several_processes import free_port

from gcseg.evaluation import IoUMetric
from gcseg.registry import METRICS
from gcseg.utils import ConfigError, DataError


def sample(pred, label=None, name="a.png", **meta):
    """A data sample as mmengine's Evaluator hands it to a metric."""
    out = dict(pred_sem_seg=dict(data=torch.as_tensor(pred)[None]), img_path=f"img/{name}", seg_map_path=f"ann/{name}")
    if label is not None:
        out["gt_sem_seg"] = dict(data=torch.as_tensor(label)[None])
    return {**out, **meta}


def evaluate(metric, samples, classes=("x", "y", "z"), **meta):
    metric.dataset_meta = dict(classes=classes, **meta)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def slow_scores(samples, num_classes, ignore_index=255, beta=1):
    """The definitions, pixel by pixel, with sets of pixel positions."""
    true, found = ({c: set() for c in range(num_classes)} for _ in range(2))
    total = right = 0
    for n, s in enumerate(samples):
        pred, label = s["pred_sem_seg"]["data"][0].tolist(), s["gt_sem_seg"]["data"][0].tolist()
        for y, row in enumerate(label):
            for x, value in enumerate(row):
                if value == ignore_index:
                    continue
                total += 1
                right += value == pred[y][x]
                true[value].add((n, y, x))
                found[pred[y][x]].add((n, y, x))

    def ratio(a, b):
        return a / b if b else float("nan")

    out = {"aAcc": right / total}
    per = {k: [] for k in ("mIoU", "mAcc", "mDice", "mFscore", "mPrecision", "mRecall")}
    for c in range(num_classes):
        both, either = len(true[c] & found[c]), len(true[c] | found[c])
        p, r = ratio(both, len(found[c])), ratio(both, len(true[c]))
        per["mIoU"].append(ratio(both, either))
        per["mAcc"].append(r)
        per["mDice"].append(ratio(2 * both, len(true[c]) + len(found[c])))
        per["mPrecision"].append(p)
        per["mRecall"].append(r)
        per["mFscore"].append(ratio((1 + beta**2) * p * r, beta**2 * p + r))
    out.update({k: np.nanmean(v) for k, v in per.items()})
    return {k: v * 100 for k, v in out.items()}


def random_samples(seed, num_classes, count=3):
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(count):
        size = tuple(rng.integers(3, 15, 2))
        label = rng.integers(0, num_classes, size)
        pred = np.where(rng.random(size) < 0.5, label, rng.integers(0, num_classes, size))
        label[rng.random(size) < 0.2] = 255
        samples.append(sample(pred, label, f"{i}.png"))
    return samples


def test_hand_drawn_grid():
    label = [[0, 0, 1], [0, 1, 255]]
    pred = [[0, 1, 1], [0, 1, 0]]
    metric = IoUMetric()
    scores = evaluate(metric, [sample(pred, label)], classes=("x", "y"))
    # x: 2 right, 3 labelled, 2 predicted; y: 2 right, 2 labelled, 3 predicted; the ignored pixel counts nowhere.
    assert scores == pytest.approx({"aAcc": 80.0, "mIoU": 200 / 3, "mAcc": (200 / 3 + 100) / 2})
    assert metric.per_class["x"] == pytest.approx({"IoU": 200 / 3, "Acc": 200 / 3})
    assert metric.per_class["y"] == pytest.approx({"IoU": 200 / 3, "Acc": 100.0})


@pytest.mark.parametrize(("seed", "num_classes", "beta"), [(0, 2, 1), (1, 5, 2), (2, 19, 0.5)])
def test_agrees_with_the_definitions(seed, num_classes, beta):
    samples = random_samples(seed, num_classes)
    metric = IoUMetric(iou_metrics=["mIoU", "mDice", "mFscore"], beta=beta)
    scores = evaluate(metric, samples, classes=[f"c{i}" for i in range(num_classes)])
    assert list(scores) == ["aAcc", "mIoU", "mAcc", "mDice", "mFscore", "mPrecision", "mRecall"]
    assert scores == pytest.approx(slow_scores(samples, num_classes, beta=beta), rel=1e-12)


def test_counts_stay_exact_beyond_float32():
    # 2^24 + 1 right pixels of x in many images: float32 cannot count them, and the last wrong one would be lost.
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=("x", "y"))
    area = torch.tensor([2**24, 0])
    one_wrong = (torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([0, 1]), torch.tensor([1, 0]))
    scores = metric.compute_metrics([(area, area, area, area), one_wrong])
    assert scores["aAcc"] == 100 * 2**24 / (2**24 + 1) != 100.0


def test_scores_are_not_rounded():
    scores = evaluate(IoUMetric(), [sample([[0, 0, 1]], [[0, 0, 0]])])
    assert scores["aAcc"] == pytest.approx(200 / 3, rel=1e-12)


def test_absent_classes_are_reported_and_undefined_scores_are_none(caplog):
    logger = MMLogger.get_instance("test_absent")
    logger.addHandler(caplog.handler)
    try:
        metric = IoUMetric()
        scores = evaluate(metric, [sample([[0, 1]], [[0, 0]])])
    finally:
        logger.removeHandler(caplog.handler)
    assert scores["mIoU"] == pytest.approx((50 + 0) / 2)
    assert metric.per_class["y"] == {"IoU": 0.0, "Acc": None}
    assert metric.per_class["z"] == {"IoU": None, "Acc": None}
    assert "2 of 3 classes have no pixel of ground truth" in caplog.text
    assert "left out of the means: z." in caplog.text
    assert "IoU 0: y." in caplog.text
    row = next(line for line in caplog.text.splitlines() if line.startswith("x "))
    assert row.split() == ["x", "50.00", "50.00"]


def test_nan_to_num_stands_in_before_the_mean():
    scores = evaluate(IoUMetric(nan_to_num=0), [sample([[0, 1]], [[0, 1]])])
    assert scores["mIoU"] == pytest.approx(200 / 3)
    assert scores["mAcc"] == pytest.approx(200 / 3)


def test_ignore_index_may_be_a_class():
    scores = evaluate(IoUMetric(ignore_index=0), [sample([[1, 1, 2]], [[0, 1, 2]])])
    assert scores == pytest.approx({"aAcc": 100.0, "mIoU": 100.0, "mAcc": 100.0})


def test_prediction_beyond_the_classes_is_wrong():
    scores = evaluate(IoUMetric(), [sample([[7, 1, 1, 0]], [[1, 1, 255, 0]])], classes=("x", "y"))
    assert scores == pytest.approx({"aAcc": 200 / 3, "mIoU": (100 + 50) / 2, "mAcc": (100 + 50) / 2})


def test_label_out_of_range_names_file_and_values():
    with pytest.raises(DataError, match=r"ann/b\.png.* 11, .*classes 0 to 2.*void_labels"):
        evaluate(IoUMetric(), [sample([[0, 0]], [[0, 11]], "b.png")])


def test_size_mismatch_names_file_and_sizes():
    with pytest.raises(DataError, match=r"ann/b\.png: the label is \(1, 2\) and the prediction \(2, 2\)"):
        evaluate(IoUMetric(), [sample([[0, 0], [0, 0]], [[0, 1]], "b.png")])


def test_missing_ground_truth_names_the_file():
    with pytest.raises(DataError, match=r"img/c\.png: no ground truth .*format_only"):
        evaluate(IoUMetric(), [sample([[0]], name="c.png")])


def test_misspelt_argument_gets_the_nearest():
    with pytest.raises(TypeError, match=r"'iou_metric'.*Did you mean 'iou_metrics'"):
        IoUMetric(iou_metric=["mIoU"])
    with pytest.raises(ConfigError, match=r"'miou'.*Did you mean 'mIoU'"):
        IoUMetric(iou_metrics="miou")
    with pytest.raises(ConfigError, match="output_dir"):
        IoUMetric(format_only=True)


def test_needs_class_names_and_images():
    metric = IoUMetric()
    with pytest.raises(ConfigError, match="class names"):
        metric.process(None, [sample([[0]], [[0]])])
    with pytest.raises(DataError, match="no image"):
        metric.compute_metrics([])


@pytest.mark.parametrize(("reduce_zero_label", "added"), [(True, 1), (False, 0)])
def test_format_only_writes_indices(tmp_path, reduce_zero_label, added):
    pred = np.array([[0, 1], [149, 3]])
    metric = IoUMetric(format_only=True, output_dir=tmp_path / "out")
    classes = [str(i) for i in range(150)]
    assert evaluate(metric, [sample(pred, reduce_zero_label=reduce_zero_label)], classes) == {}
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), pred + added)


def test_indices_beyond_a_byte_are_kept(tmp_path):
    pred = np.array([[0, 299]])
    evaluate(IoUMetric(format_only=True, output_dir=tmp_path), [sample(pred)], [str(i) for i in range(300)])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pred)


def test_output_dir_writes_beside_scores_and_refuses_to_overwrite_another_image(tmp_path):
    metric = IoUMetric(output_dir=tmp_path)
    assert evaluate(metric, [sample([[0]], [[0]])])["aAcc"] == 100
    assert (tmp_path / "a.png").is_file()
    with pytest.raises(DataError, match="both be written"):
        evaluate(metric, [sample([[0]], [[0]], img_path="elsewhere/a.png")])


@pytest.mark.parametrize("kind", ["img_path", "seg_map_path"])
def test_predictions_are_not_written_over_the_data(tmp_path, monkeypatch, kind):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "a.png").write_bytes(b"a label")
    monkeypatch.chdir(tmp_path)
    for out in ("data", tmp_path / "link"):
        with pytest.raises(DataError, match="written among the data"):
            evaluate(IoUMetric(output_dir=out), [sample([[0]], [[0]], **{kind: "data/a.png"})])
    assert (tmp_path / "data" / "a.png").read_bytes() == b"a label"
    evaluate(IoUMetric(output_dir="data/out"), [sample([[0]], [[0]], **{kind: "data/a.png"})])


def test_built_by_name_and_prefix_is_kept():
    metric = METRICS.build(dict(type="IoUMetric", prefix="val"))
    assert isinstance(metric, IoUMetric)
    assert set(evaluate(metric, [sample([[0]], [[0]])])) == {"val/aAcc", "val/mIoU", "val/mAcc"}


def test_intersect_and_union_static():
    areas = IoUMetric.intersect_and_union(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 255]]), 2, 255)
    assert [a.tolist() for a in areas] == [[1, 0], [2, 1], [1, 1], [2, 0]]
    assert all(a.dtype == torch.int64 for a in areas)


def test_no_warning_about_a_missing_prefix(caplog):
    with caplog.at_level(logging.WARNING):
        IoUMetric()
    assert "prefix" not in caplog.text


def _one_process(rank, world, port, folder):
    import os

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    samples = random_samples(7, 4, 5)
    metric = IoUMetric(collect_dir=str(folder / "collect"))
    metric.dataset_meta = dict(classes=("a", "b", "c", "d"))
    # As DefaultSampler deals them out: the last process gets the first image again, and that one must not count.
    metric.process(None, [samples[i % 5] for i in range(rank, 6, world)])
    scores = metric.evaluate(5)
    torch.save(scores, folder / f"{rank}.pt")
    torch.distributed.barrier()
    os._exit(0)  # taking the process group down can hang in torch 2.4


def test_two_processes_give_the_same_numbers(tmp_path):
    torch.multiprocessing.spawn(_one_process, (2, free_port(), tmp_path), nprocs=2)
    expected = slow_scores(random_samples(7, 4, 5), 4)
    for rank in range(2):
        scores = torch.load(tmp_path / f"{rank}.pt")
        assert scores == pytest.approx({k: expected[k] for k in ("aAcc", "mIoU", "mAcc")}, rel=1e-12)
