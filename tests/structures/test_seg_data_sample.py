import copy
import pickle

import pytest
import torch
from mmengine.structures import PixelData

from gcseg.structures import SegDataSample


@pytest.fixture
def sample():
    s = SegDataSample(metainfo=dict(img_path="a.png", ori_shape=(2, 3)))
    s.gt_sem_seg = PixelData(data=torch.arange(6).view(1, 2, 3))
    return s


class Recipe:
    """Counts how often the logits are made."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return torch.ones(4, 2, 3)


def test_fields_of_a_sample(sample):
    sample.pred_sem_seg = PixelData(data=torch.zeros(1, 2, 3, dtype=torch.long))
    sample.gt_edge_map = PixelData(data=torch.ones(1, 2, 3))
    assert sorted(sample.keys()) == ["gt_edge_map", "gt_sem_seg", "pred_sem_seg"]
    assert sample.metainfo == dict(img_path="a.png", ori_shape=(2, 3))
    assert sample.to_dict()["gt_sem_seg"]["data"].shape == (1, 2, 3)
    del sample.pred_sem_seg, sample.gt_edge_map
    assert sample.keys() == ["gt_sem_seg"]
    del sample.gt_sem_seg
    assert sample.keys() == [] and "gt_sem_seg" not in sample


@pytest.mark.parametrize("field", ["gt_sem_seg", "pred_sem_seg", "seg_logits", "gt_edge_map"])
def test_a_bare_tensor_is_refused_with_the_remedy(sample, field):
    with pytest.raises(TypeError, match=f"{field}.*Tensor.*PixelData"):
        setattr(sample, field, torch.zeros(1, 2, 3))


def test_lazy_logits_are_made_once_and_only_when_read(sample):
    recipe = Recipe()
    sample.set_seg_logits_lazily(recipe)
    assert "seg_logits" in sample
    assert "seg_logits" not in sample.keys() and "seg_logits" not in dict(sample.all_items())  # noqa: SIM118
    assert "seg_logits" not in sample.to_dict() and "seg_logits" not in repr(sample)
    assert recipe.calls == 0
    assert torch.equal(sample.seg_logits.data, torch.ones(4, 2, 3))
    sample.seg_logits  # noqa: B018
    assert recipe.calls == 1
    assert "seg_logits" in dict(sample.all_items()) and sample.to_dict()["seg_logits"]["data"].shape == (4, 2, 3)


@pytest.mark.parametrize(
    "copied",
    [
        lambda s: s.new(),
        lambda s: s.clone(),
        lambda s: s.cpu(),
        lambda s: s.detach(),
        lambda s: s.to("cpu"),
        copy.copy,
    ],
)
def test_a_copy_keeps_the_recipe(sample, copied):
    recipe = Recipe()
    sample.set_seg_logits_lazily(recipe)
    other = copied(sample)
    assert "seg_logits" not in other.keys() or copied is copy.copy  # noqa: SIM118
    assert torch.equal(other.seg_logits.data, torch.ones(4, 2, 3)) and recipe.calls == 1
    assert torch.equal(other.gt_sem_seg.data, sample.gt_sem_seg.data)


def test_conversion_reaches_the_logits(sample):
    sample.set_seg_logits_lazily(Recipe())
    assert sample.to(torch.float64).seg_logits.data.dtype == torch.float64
    assert type(sample.numpy().seg_logits.data).__name__ == "ndarray"


def test_pickling_and_deep_copies_run_the_recipe(sample):
    sample.set_seg_logits_lazily(Recipe())
    assert torch.equal(pickle.loads(pickle.dumps(sample)).seg_logits.data, torch.ones(4, 2, 3))
    sample.set_seg_logits_lazily(Recipe())
    assert torch.equal(copy.deepcopy(sample).seg_logits.data, torch.ones(4, 2, 3))


def test_the_last_word_counts(sample):
    sample.set_seg_logits_lazily(Recipe())
    sample.seg_logits = PixelData(data=torch.zeros(4, 2, 3))
    assert not sample.seg_logits.data.any()
    sample.set_seg_logits_lazily(Recipe())
    assert sample.seg_logits.data.all()
    sample.set_seg_logits_lazily(Recipe())
    del sample.seg_logits
    assert "seg_logits" not in sample


def test_a_tensor_is_no_recipe(sample):
    with pytest.raises(TypeError, match="Tensor.*PixelData"):
        sample.set_seg_logits_lazily(torch.zeros(4, 2, 3))
