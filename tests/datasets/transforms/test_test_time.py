"""Views for multi-scale + flip evaluation."""

from __future__ import annotations

import pytest

from gcseg.datasets.transforms import TestTimeAug
from gcseg.registry import TRANSFORMS
from gcseg.utils import ConfigError

VIEWS = [
    [{"type": "Resize", "scale_factor": factor, "keep_ratio": True} for factor in (0.5, 2.0)],
    [{"type": "RandomFlip", "prob": prob, "direction": "horizontal"} for prob in (0.0, 1.0)],
    [{"type": "LoadAnnotations"}],
    [{"type": "PackSegInputs"}],
]


def test_every_combination_with_the_label_as_it_is(root):
    load = TRANSFORMS.build({"type": "LoadImageFromFile"})
    given = load({"img_path": str(root / "images/0.png"), "seg_map_path": str(root / "labels/0.png")})
    out = TRANSFORMS.build({"type": "TestTimeAug", "transforms": VIEWS})(given)
    assert [tuple(view.shape) for view in out["inputs"]] == [(3, 12, 18)] * 2 + [(3, 48, 72)] * 2
    assert [sample.flip for sample in out["data_samples"]] == [False, True, False, True]
    for plain, flipped in (out["inputs"][:2], out["inputs"][2:]):
        assert (plain.flip(2) == flipped).all() and (plain != flipped).any()
    label = out["data_samples"][0].gt_sem_seg.data
    assert label.shape == (1, 24, 36)
    assert all((sample.gt_sem_seg.data == label).all() for sample in out["data_samples"])


def test_the_config_is_left_as_it_was():
    TestTimeAug(VIEWS)
    assert VIEWS[2] == [{"type": "LoadAnnotations"}]


@pytest.mark.parametrize("transforms", [[[]], [{"type": "Resize"}], [3]])
def test_errors(transforms):
    with pytest.raises(ConfigError, match=r"transforms\[0\].*list of alternatives"):
        TestTimeAug(transforms)
