"""Boundary IoU, calibration and pictures against loops that spell them out."""

import io
import math
from base64 import b64decode

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from PIL import Image
from several_processes import run_ranks

from gcseg.engine.samplers import DefaultSampler
from gcseg.evaluation import IoUMetric
from gcseg.evaluation.boundary import band_width, boundary_areas
from gcseg.evaluation.calibration import reliability
from gcseg.evaluation.metrics.report_metric import ReportMetric
from gcseg.structures import SegDataSample

CLASSES = ("road", "sky", "car")
PALETTE = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]


def slow_band(mask, unlabelled, distance):
    """Cheng et al.: the region without its erosion; unlabelled pixels erode nothing."""
    height, width = mask.shape
    band = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            for v in range(y - distance, y + distance + 1):
                for u in range(x - distance, x + distance + 1):
                    inside = 0 <= v < height and 0 <= u < width
                    band[y, x] |= not inside or not (mask[v, u] or unlabelled[v, u])
    return band & mask & ~unlabelled


def blobs(generator, shape, num_classes, size=5):
    coarse = generator.integers(0, num_classes, [math.ceil(s / size) for s in shape])
    return np.kron(coarse, np.ones((size, size), int))[: shape[0], : shape[1]]


@pytest.mark.parametrize(
    ("shape", "ratio", "ignored"),
    [((24, 31), 0.05, False), ((24, 31), 0.02, True), ((9, 40), 0.12, True), ((1, 1), 1, 0)],
)
def test_boundary_areas_are_those_of_an_erosion_of_each_class(shape, ratio, ignored):
    generator = np.random.default_rng(0)
    label, pred = blobs(generator, shape, 3), blobs(generator, shape, 4)  # 3 is no class
    pred[: shape[0] // 2] = label[: shape[0] // 2]
    if ignored:
        label[generator.random(shape) < 0.1] = 255
    unlabelled, distance = label == 255, band_width(*shape, ratio)
    expected = []
    for c in range(3):
        true, guess = (slow_band(m == c, unlabelled, distance) for m in (label, pred))
        expected.append([(true & guess).sum(), guess.sum(), true.sum()])
    found = boundary_areas(pred, label, 3, 255, ratio)
    assert found.T.tolist() == expected
    if shape == (24, 31):
        assert 0 < found[0].sum() < found[2].sum() < (~unlabelled).sum()


def test_the_band_of_a_disc_is_a_fiftieth_of_the_diagonal_wide():
    assert band_width(1024, 2048) == 46 and band_width(3, 4) == 1
    label = np.zeros((300, 400), int)
    label[100:200, 100:300] = 1  # the diagonal is 500: ten pixels
    shifted = np.roll(label, 4, axis=1)
    both, pred, true = boundary_areas(shifted, label, 2)[:, 1]
    assert true == pred == 100 * 200 - 80 * 180
    assert both == (2 * 10 * 196) + 2 * 6 * 80  # long sides, and what of the short ones overlaps
    assert 2 * both / (pred + true) < (label & shifted).sum() / label.sum()


def slow_reliability(probabilities, pred, label, bins):
    """(pixels, mean confidence, accuracy) of each bin, pixel by pixel."""
    found = [[] for _ in range(bins)]
    for p, c, t in zip(probabilities.reshape(len(probabilities), -1).T, pred.ravel(), label.ravel(), strict=True):
        if t != 255:
            confidence = p[c]
            m = next(m for m in range(bins) if m / bins < confidence <= (m + 1) / bins)
            found[m].append((confidence, c == t))
    return np.array([[len(b), sum(x for x, _ in b), sum(r for _, r in b)] for b in found]).T


@pytest.mark.parametrize("classes", [1, 4])
def test_reliability_counts_pixels_by_confidence(classes):
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(classes, 150, 3)) * 3
    if classes == 1:
        logits = 1 / (1 + np.exp(-logits))
        probabilities = np.concatenate([1 - logits, logits])
    else:
        probabilities = np.exp(logits) / np.exp(logits).sum(0)
    pred = probabilities.argmax(0)
    label = np.where(generator.random(pred.shape) < 0.7, pred, 0)
    label[140:] = 255
    found = reliability(torch.from_numpy(logits), torch.from_numpy(pred), torch.from_numpy(label), bins=5)
    expected = slow_reliability(probabilities, pred, label, 5)
    assert expected[0].sum() == 420 and np.count_nonzero(expected[0]) > 2
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def test_pixels_without_a_finite_confidence_are_left_out():
    logits = torch.zeros(2, 1, 3)
    logits[0, 0, 0] = float("nan")
    found = reliability(logits, torch.zeros(1, 3), torch.zeros(1, 3))
    assert found[0].sum() == 2 and found[:, 7].tolist() == [2, 1, 2]


def sample(i, folder=None, unlabelled=False):
    """An image whose prediction is the worse the larger ``i`` is."""
    generator = np.random.default_rng(i)
    label = blobs(generator, (20, 30), 3)
    pred = np.where(generator.random(label.shape) < 0.08 * i, (label + 1) % 3, label)
    label[:3] = 255
    if unlabelled:
        label[:] = 255
    out = SegDataSample(metainfo=dict(img_path=f"{folder}/{i}.png", seg_map_path=f"{i}_label.png"))
    out.gt_sem_seg = PixelData(data=torch.from_numpy(label)[None])
    out.pred_sem_seg = PixelData(data=torch.from_numpy(pred)[None])
    logits = torch.nn.functional.one_hot(torch.from_numpy(pred), 3).permute(2, 0, 1) * 2.0
    out.set_seg_logits_lazily(lambda: logits)
    return out


def collect(samples, size=None, **options):
    metric = ReportMetric(**options)
    metric.dataset_meta = dict(classes=CLASSES, palette=PALETTE)
    for one in samples:
        metric.process(None, [one])
    assert metric.evaluate(size if size is not None else len(samples)) == {}
    return metric.found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(9):
        Image.new("RGB", (60, 40), (20 * i, 200, 50)).save(folder / f"{i}.png")
    return folder


def test_scores_are_those_of_the_metric_of_the_recipe(folder):
    samples = [sample(i, folder) for i in range(9)]
    found = collect(samples, num_pictures=2)
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    for one in samples:
        metric.process(None, [one.to_dict()])
    metric.evaluate(9)
    confusion = np.array(found["confusion"])
    iou = confusion.diagonal() / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())
    assert {c: pytest.approx(100 * v) for c, v in zip(CLASSES, iou, strict=True)} == {
        c: row["IoU"] for c, row in metric.per_class.items()
    }
    areas = sum(
        boundary_areas(s.pred_sem_seg.data[0].numpy(), s.gt_sem_seg.data[0].numpy(), 3) for s in samples
    ).tolist()
    assert list(found["boundary"].values()) == areas
    calibration = np.array(list(found["calibration"].values()))
    labelled = 9 * 17 * 30
    assert calibration[0].sum() == labelled == confusion.sum()
    assert calibration[2].sum() == confusion.diagonal().sum()
    assert calibration[1].sum() / labelled == pytest.approx(math.e**2 / (math.e**2 + 2))
    assert found["outside"] == [0, 0, 0] and found["num_uncalibrated"] == 0


def test_pictures_are_of_the_worst_and_the_best(folder):
    samples = [sample(i, folder) for i in (3, 8, 0, 5, 7, 1, 2, 6, 4)]
    found = collect(samples, num_pictures=2, picture_size=15)
    assert [p["path"].rpartition("/")[2] for p in found["worst"]] == ["8.png", "7.png"]
    assert [p["path"].rpartition("/")[2] for p in found["best"]] == ["0.png", "1.png"]
    worst, best = found["worst"][0], found["best"][0]
    assert best["score"] == best["accuracy"] == 1 and 0 < worst["score"] < worst["accuracy"] < 1
    assert worst["score"] == pytest.approx(np.mean([iou for _, iou in worst["iou"]]))
    photograph, truth, prediction = (
        np.asarray(Image.open(io.BytesIO(b64decode(worst[name])))) for name in ("photograph", "truth", "prediction")
    )
    assert photograph.shape == (10, 15, 3) and abs(photograph[5, 5].astype(int) - (160, 200, 50)).max() < 4
    assert truth.shape == prediction.shape == (10, 15) and truth[0, 0] == 3
    label = samples[1].gt_sem_seg.data[0].numpy()
    assert (truth[2:, :] == label[4::2, ::2]).mean() > 0.7  # every second pixel


def test_few_images_are_not_shown_twice_and_missing_files_leave_a_gap(folder):
    found = collect([sample(i, "/nowhere") for i in range(3)], num_pictures=2)
    assert [len(found["worst"]), len(found["best"])] == [2, 1]
    assert found["worst"][0]["photograph"] is None and found["worst"][0]["truth"]


def test_an_image_without_labels_is_counted_and_never_shown(folder):
    found = collect([sample(0, folder), sample(1, folder, unlabelled=True)], num_pictures=4)
    assert found["num_unlabelled"] == 1 and found["num_images"] == 2
    assert [len(found["worst"]), len(found["best"])] == [1, 0]
    nothing = collect([sample(1, folder, unlabelled=True)])
    assert np.sum(nothing["confusion"]) == 0 and nothing["worst"] == nothing["best"] == []


def test_without_probabilities_nothing_is_said_of_calibration(folder):
    with_them, without = sample(0, folder), sample(1, folder)
    del without.seg_logits
    assert collect([without])["calibration"] is None
    found = collect([with_them, without])
    assert found["num_uncalibrated"] == 1 and sum(found["calibration"]["count"]) == 17 * 30


def test_predictions_that_are_no_class_are_kept_apart(folder):
    one = sample(0, folder)
    one.pred_sem_seg.data[0, 10:] = 7
    found = collect([one])
    assert sum(found["outside"]) == 10 * 30 and np.sum(found["confusion"]) == 7 * 30


def test_pictures_that_are_no_longer_extreme_are_given_up(folder):
    metric = ReportMetric(num_pictures=2)
    metric.dataset_meta = dict(classes=CLASSES)
    for i in (4, 3, 5, 2, 6, 1, 7, 0, 8):
        metric.process(None, [sample(i, folder)])
        assert sum(bool(image.picture) for image in metric.results) <= 4


def collect_on_one_rank(rank, folder):
    return collect([sample(i, folder) for i in DefaultSampler(range(7), shuffle=False)], 7, num_pictures=2)


def test_several_processes_find_what_one_finds(folder):
    expected = collect([sample(i, folder) for i in range(7)], num_pictures=2)
    ranks = run_ranks(collect_on_one_rank, 3, folder)
    for key in ("confusion", "boundary", "worst", "best", "num_images"):
        assert ranks[0][key] == expected[key]
    np.testing.assert_allclose(list(ranks[0]["calibration"].values()), list(expected["calibration"].values()))
    assert ranks[1:] == [{}, {}]
