import numpy as np
import pytest
import torch
from PIL import Image

from gcseg.evaluation import CityscapesMetric
from gcseg.utils import ConfigError, DataError
from gcseg.utils import get_classes as classes_of

CLASSES = classes_of("cityscapes")
INDEX = {name: i for i, name in enumerate(CLASSES)}


def sample(pred, label=None, name="frankfurt_000000_leftImg8bit.png"):
    out = dict(pred_sem_seg=dict(data=torch.as_tensor(pred)[None]), img_path=name, seg_map_path="gt.png")
    if label is not None:
        out["gt_sem_seg"] = dict(data=torch.as_tensor(label)[None])
    return out


def evaluate(metric, samples):
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_hand_drawn_grid():
    car, bus, road = INDEX["car"], INDEX["bus"], INDEX["road"]
    label = [[car, car, bus, road, road, 255]]
    pred = [[car, bus, bus, road, car, car]]
    metric = CityscapesMetric()
    scores = evaluate(metric, [sample(pred, label)])
    # car 1/3, bus 1/2, road 1/2; vehicle: 3 right of 4 predicted, 3 labelled; flat: 1 right of 1 predicted, 2 labelled.
    assert scores["averageScoreClasses"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert scores["averageScoreCategories"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert metric.per_class["car"]["IoU"] == pytest.approx(100 / 3)
    assert metric.per_class["sky"]["IoU"] is None
    assert metric.per_category["vehicle"] == pytest.approx({"IoU": 75.0, "Acc": 100.0})


def test_files_hold_the_label_ids_of_the_benchmark(tmp_path):
    metric = CityscapesMetric(tmp_path / "out", format_only=True, keep_results=True)
    assert evaluate(metric, [sample([list(range(19))])]) == {}
    written = np.asarray(Image.open(tmp_path / "out" / "frankfurt_000000_leftImg8bit.png"))
    assert written.tolist() == [[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]]


def test_nothing_of_others_is_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    metric = CityscapesMetric(tmp_path)
    evaluate(metric, [sample([[0]], [[0]])])
    del metric
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_scores_and_files_together(tmp_path):
    metric = CityscapesMetric(tmp_path, keep_results=True)
    assert evaluate(metric, [sample([[0, 1]], [[0, 1]])])["averageScoreClasses"] == 1.0
    assert np.asarray(Image.open(next(tmp_path.iterdir()))).tolist() == [[7, 8]]


def test_errors_name_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match="keep_results=True"):
        CityscapesMetric(tmp_path, format_only=True)
    with pytest.raises(ConfigError, match="output_dir"):
        CityscapesMetric(keep_results=True)
    with pytest.raises(TypeError, match="Did you mean 'keep_results'"):
        CityscapesMetric(tmp_path, keep_result=True)
    metric = CityscapesMetric()
    metric.dataset_meta = dict(classes=("road", "lawn"))
    with pytest.raises(ConfigError, match=r"'lawn'.*IoUMetric"):
        metric.process(None, [sample([[0]], [[0]])])
    with pytest.raises(DataError, match=r"gt\.png.* 30"):
        evaluate(CityscapesMetric(), [sample([[0]], [[30]])])
