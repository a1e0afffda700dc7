import pytest
import torch
from mmengine.structures import PixelData

from gcseg.models import SegDataPreProcessor
from gcseg.structures import SegDataSample
from gcseg.utils import ConfigError, DataError

MEAN, STD = (10.0, 20.0, 30.0), (2.0, 4.0, 5.0)


def batch(*sizes, edge=False):
    generator = torch.Generator().manual_seed(0)
    samples = []
    for size in sizes:
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 9, (1, *size), generator=generator))
        if edge:
            sample.gt_edge_map = PixelData(data=torch.ones(1, *size, dtype=torch.long))
        samples.append(sample)
    images = [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]
    return dict(inputs=images, data_samples=samples)


def by_hand(image, swap):
    channels = [2, 1, 0] if swap else [0, 1, 2]
    return torch.stack([(image[c].float() - m) / s for c, m, s in zip(channels, MEAN, STD, strict=True)])


@pytest.mark.parametrize("swap", [False, True])
def test_normalisation_and_channel_order(swap):
    data = batch((5, 7), (5, 7))
    out = SegDataPreProcessor(mean=MEAN, std=STD, bgr_to_rgb=swap)(data, training=True)
    assert out["inputs"].dtype == torch.float32
    assert torch.equal(out["inputs"], torch.stack([by_hand(i, swap) for i in data["inputs"]]))


def test_without_mean_pixels_stay():
    data = batch((4, 4))
    assert torch.equal(SegDataPreProcessor()(data)["inputs"][0], data["inputs"][0].float())


@pytest.mark.parametrize(
    ("options", "expected"), [(dict(size=(8, 9)), (8, 9)), (dict(size_divisor=4), (8, 8)), ({}, (6, 7))]
)
def test_training_pads_right_and_bottom(options, expected):
    data = batch((5, 7), (6, 4), edge=True)
    labels = [s.gt_sem_seg.data.clone() for s in data["data_samples"]]
    out = SegDataPreProcessor(mean=MEAN, std=STD, pad_val=-1, seg_pad_val=255, **options)(data, training=True)
    assert out["inputs"].shape == (2, 3, *expected)
    for i, (image, sample) in enumerate(zip(data["inputs"], out["data_samples"], strict=True)):
        h, w = image.shape[1:]
        assert torch.equal(out["inputs"][i, :, :h, :w], by_hand(image, False))
        outside = out["inputs"][i].clone()
        outside[:, :h, :w] = -1
        assert (outside == -1).all()
        label = sample.gt_sem_seg.data
        assert label.shape == (1, *expected) and torch.equal(label[:, :h, :w], labels[i])
        assert (label == 255).sum() == expected[0] * expected[1] - h * w
        assert (sample.gt_edge_map.data == 255).sum() == expected[0] * expected[1] - h * w
        assert sample.padding_size == (0, expected[1] - w, 0, expected[0] - h)
        assert sample.img_shape == (h, w) and sample.pad_shape == expected


def test_testing_leaves_images_and_labels_alone():
    data = batch((5, 7), (5, 7))
    out = SegDataPreProcessor(mean=MEAN, std=STD, size=(64, 64))(data)
    assert out["inputs"].shape == (2, 3, 5, 7)
    assert "img_padding_size" not in out["data_samples"][0] and out["data_samples"][0].gt_sem_seg.shape == (5, 7)


def test_testing_with_test_cfg():
    out = SegDataPreProcessor(size=(4, 4), test_cfg=dict(size_divisor=8))(batch((5, 7), (5, 7)))
    assert out["inputs"].shape == (2, 3, 8, 8)
    assert out["data_samples"][1].img_padding_size == (0, 1, 0, 3) and out["data_samples"][1].pad_shape == (8, 8)


def test_testing_with_several_sizes_pads_and_says_so_once():
    preprocessor = SegDataPreProcessor()
    with pytest.warns(UserWarning, match="batch_size=1"):
        out = preprocessor(batch((5, 7), (6, 4)))
    assert out["inputs"].shape == (2, 3, 6, 7)
    assert [s.img_padding_size for s in out["data_samples"]] == [(0, 0, 0, 1), (0, 3, 0, 0)]
    assert all(s.pad_shape == (6, 7) for s in out["data_samples"])
    preprocessor(batch((5, 7), (6, 4)))


def test_tensors_alone_are_enough_for_testing():
    out = SegDataPreProcessor(test_cfg=dict(size=(8, 8)))(dict(inputs=torch.rand(2, 3, 5, 5)))
    assert out["inputs"].shape == (2, 3, 8, 8) and out["data_samples"] is None


def test_batch_augments_run_in_training_in_order():
    def add(inputs, samples):
        return inputs + 1, samples

    def double(inputs, samples):
        return inputs * 2, samples[::-1]

    preprocessor = SegDataPreProcessor(batch_augments=[add, double])
    data = batch((4, 4), (4, 4))
    out = preprocessor(data, training=True)
    assert torch.equal(out["inputs"], (torch.stack(data["inputs"]).float() + 1) * 2)
    assert out["data_samples"][0] is not data["data_samples"][0]
    assert torch.equal(preprocessor(data)["inputs"], torch.stack(data["inputs"]).float())


def test_statistics_are_not_in_the_state_dict():
    assert SegDataPreProcessor(mean=MEAN, std=STD).state_dict() == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(bgr_to_rgb=True, rgb_to_bgr=True), "keep one"),
        (dict(mean=MEAN), "give both"),
        (dict(size=(4, 4), size_divisor=4), "exclude"),
        (dict(size=512), r"\(H, W\)"),
        (dict(size_divisor=0), "from 1"),
        (dict(test_cfg=dict(size_divider=4)), "size_divider.*'size_divisor'"),
        (dict(batch_augments=[3]), "neither"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ConfigError, match=words):
        SegDataPreProcessor(**options)


@pytest.mark.parametrize(
    ("options", "data", "words"),
    [
        (dict(size=(4, 4)), batch((5, 7)), "5 high or 7 wide.*(4, 4)"),
        (dict(mean=MEAN, std=STD), dict(inputs=[torch.rand(4, 5, 5)], data_samples=[]), "4 channels.*3 numbers"),
        ({}, dict(inputs=[torch.rand(3, 5, 5)]), "data_samples"),
        ({}, dict(inputs=[torch.rand(5, 5)], data_samples=[]), r"\(C, H, W\)"),
    ],
)
def test_unfit_data(options, data, words):
    with pytest.raises(DataError, match=words):
        SegDataPreProcessor(**options)(data, training=True)


def test_a_batch_that_was_not_packed():
    with pytest.raises(ConfigError, match=r"the batch has img, gt_seg_map and no `inputs`; .* end with PackSegInputs"):
        SegDataPreProcessor()(dict(img=[], gt_seg_map=[]), training=True)
