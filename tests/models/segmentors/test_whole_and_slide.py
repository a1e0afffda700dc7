import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcseg.models.segmentors import InferenceOptions, slide_inference, whole_inference, window_starts
from gcseg.utils.errors import ConfigError


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 20))
def test_windows_cover_the_side_and_stay_inside(length, window, stride):
    stride = min(stride, window)
    starts = window_starts(length, window, stride)
    seen = set()
    for start in starts:
        assert start >= 0 and (start + window <= length or length <= window)
        seen.update(range(start, start + min(window, length)))
    assert seen == set(range(length)) and starts == sorted(set(starts))
    assert all(b - a <= stride for a, b in itertools.pairwise(starts))


def test_windows_of_the_published_recipe():
    assert window_starts(2048, 769, 513) == [0, 513, 1026, 1279]
    assert window_starts(1024, 769, 513) == [0, 255]


def pointwise(x):
    return torch.cat([x * 2, x.sum(1, keepdim=True)], dim=1)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 17), st.integers(1, 17), st.integers(1, 9), st.integers(1, 9))
def test_sliding_a_pointwise_network_changes_nothing(height, width, crop, stride):
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    got = slide_inference(pointwise, x, (crop, crop + 2), (min(stride, crop), min(stride, crop + 2)))
    torch.testing.assert_close(got, whole_inference(pointwise, x))


def test_overlaps_are_averaged():
    calls = []

    def numbered(windows):
        first = sum(calls) + 1
        calls.append(len(windows))
        return torch.arange(first, first + len(windows), dtype=windows.dtype).view(-1, 1, 1, 1).expand(-1, 1, 2, 4)

    for windows_per_batch, batches in ((1, [1, 1, 1]), (2, [2, 1]), (4, [3])):
        calls.clear()
        got = slide_inference(numbered, torch.zeros(1, 3, 2, 7), (2, 4), (2, 2), windows_per_batch=windows_per_batch)
        # windows 1, 2, 3 begin at columns 0, 2 and 3
        assert got[0, 0, 0].tolist() == [1, 1, 1.5, 2, 2.5, 2.5, 3]
        assert calls == batches


@pytest.mark.parametrize("align_corners", [False, True])
def test_coarse_logits_are_resized_to_each_window(align_corners):
    x = torch.randn(2, 3, 21, 26, dtype=torch.float64)
    options = dict(mode="bilinear", align_corners=align_corners)

    def coarse(windows):
        return torch.nn.functional.interpolate(windows, size=(3, 4), **options)

    def fine(windows):
        return torch.nn.functional.interpolate(coarse(windows), size=windows.shape[2:], **options)

    got = slide_inference(coarse, x, (9, 11), (6, 7), align_corners=align_corners)
    wanted = slide_inference(fine, x, (9, 11), (6, 7), align_corners=align_corners, windows_per_batch=1)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_an_image_smaller_than_the_window_is_one_call():
    calls = []

    def network(window):
        calls.append(tuple(window.shape))
        return window

    x = torch.randn(1, 3, 5, 30)
    assert torch.equal(slide_inference(network, x, (8, 40), (4, 4)), x) and calls == [(1, 3, 5, 30)]
    calls.clear()
    torch.testing.assert_close(slide_inference(network, x, (8, 10), (4, 10)), x)
    assert calls == [(1, 3, 5, 10)] * 3
    calls.clear()
    slide_inference(network, x, (8, 10), (4, 10), windows_per_batch=4)
    assert calls == [(3, 3, 5, 10)]


def test_options_from_a_config():
    assert InferenceOptions.from_config(None).mode == "whole"
    config = dict(mode="slide", crop_size=[769, 769], stride=513)
    options = InferenceOptions.from_config(config)
    assert (options.crop_size, options.stride) == ((769, 769), (513, 513))
    assert config == dict(mode="slide", crop_size=[769, 769], stride=513)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(mode="slid"), "Did you mean 'slide'"),
        (dict(mode="slide", stride=(2, 2)), "crop_size=None"),
        (dict(mode="slide", crop_size=(4, 4)), "stride=None"),
        (dict(mode="slide", crop_size=(4, 4), stride=(0, 2)), "positive"),
        (dict(mode="slide", crop_size=(4, 4), stride=(2, 5)), "no window sees"),
    ],
    ids=str,
)
def test_unusable_configs(config, message):
    with pytest.raises(ConfigError, match=message):
        InferenceOptions.from_config(config)


def test_a_key_without_effect_is_named():
    with pytest.warns(UserWarning, match="'crop_sise'.*'crop_size'"):
        InferenceOptions.from_config(dict(mode="whole", crop_sise=(4, 4)))
