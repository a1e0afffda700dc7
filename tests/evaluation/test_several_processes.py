"""Several processes count every image once, however the images were dealt out."""

import logging

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler as PaddedSampler
from mmengine.dist import get_dist_info
from mmengine.logging import MMLogger
from several_processes import run_ranks

from gcseg.engine.samplers import DefaultSampler
from gcseg.evaluation import CityscapesMetric, IoUMetric
from gcseg.evaluation.metrics.counting import count_once

CLASSES = ("road", "sky", "car")
IMAGES = 5


def sample(i, named=True):
    generator = np.random.default_rng(i)
    label, pred = generator.integers(0, 3, (2, 6, 7 + i))
    label[0, :2] = 255
    # Two entries of the data set may be the same file.
    path = f"img/{i % 4}.png" if named else None
    if i == 4:
        return {**sample(0, named), "img_path": path}
    return dict(
        pred_sem_seg=dict(data=torch.from_numpy(pred)[None]),
        gt_sem_seg=dict(data=torch.from_numpy(label)[None]),
        img_path=path,
    )


class InBlocks(torch.utils.data.Sampler):
    """Every process takes a block of neighbours, the last ones again from the beginning."""

    def __init__(self, dataset, shuffle=False):
        rank, size = get_dist_info()
        share = -(-len(dataset) // size)
        self.indices = [i % len(dataset) for i in range(rank * share, (rank + 1) * share)]

    def __iter__(self):
        return iter(self.indices)


SAMPLERS = dict(ours=DefaultSampler, padded=PaddedSampler, blocks=InBlocks)


def count(kind, indices, size=IMAGES, named=True, **options):
    metric = kind(**options)
    metric.dataset_meta = dict(classes=CLASSES)
    counted = []
    compute = metric.compute_metrics

    def watched(results):
        counted.append([torch.stack([r[k] for r in results]).sum(0) for k in range(len(results[0]))])
        return compute(results)

    metric.compute_metrics = watched
    for i in indices:
        metric.process(None, [sample(i, named)])
    return metric.evaluate(size), counted, len(indices)


def count_on_one_rank(rank, folder):
    def indices(sampler):
        return list(sampler(range(IMAGES), shuffle=False))

    found = {
        (name, kind.__name__): count(kind, indices(sampler))
        for name, sampler in SAMPLERS.items()
        for kind in (IoUMetric, CityscapesMetric)
    }
    found["without paths"] = count(IoUMetric, indices(PaddedSampler), named=False)
    found["through a folder"] = count(IoUMetric, indices(PaddedSampler), collect_dir=str(folder / "parts"))
    return found


@pytest.mark.parametrize("size", [2, 3, 7])
def test_all_samplers_give_the_counts_of_one_process(size, tmp_path):
    expected = {kind.__name__: count(kind, range(IMAGES)) for kind in (IoUMetric, CityscapesMetric)}
    ranks = run_ranks(count_on_one_rank, size, tmp_path)
    shares = [rank["ours", "IoUMetric"][2] for rank in ranks]
    assert sum(shares) == IMAGES and len({r["ours", "IoUMetric"][2] for r in ranks}) > 1
    assert sum(rank["padded", "IoUMetric"][2] for rank in ranks) > IMAGES
    for key, (scores, counts, _) in ranks[0].items():
        name = key[1] if isinstance(key, tuple) else "IoUMetric"
        assert scores == expected[name][0], key
        for found, one in zip(counts[0], expected[name][1][0], strict=True):
            assert torch.equal(found, one), key
        # The others have the scores, too: a scheduler or an early stop decides alike everywhere.
        assert all(rank[key][0] == scores and rank[key][1] == [] for rank in ranks[1:]), key


def test_only_what_is_too_much_is_left_out(caplog):
    a, b, c, none = ("a", None), ("b", None), ("c", None), (None, None)
    assert count_once([1, 2, 3, 4], [a, b, a, c], 4) == [1, 2, 3, 4]
    assert count_once([1, 2, 3, 4], [a, b, a, c], 3) == [1, 2, 4]
    assert count_once([1, 2, 3, 4, 5], [a, a, b, a, c], 4) == [1, 2, 3, 5]
    assert count_once([1, 2, 3, 4], [none] * 4, 3) == [1, 2, 3]
    assert count_once([1, 2, 3, 4], [a, none, a, none], 2) == [1, 2]
    MMLogger.get_current_instance().addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        assert count_once([1], [a], 3) == [1]
    assert "1 of 3 images were evaluated" in caplog.text
