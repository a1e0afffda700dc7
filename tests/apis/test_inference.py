import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.modules.batchnorm import _BatchNorm

from gcseg.apis import inference_model, init_model, show_result_pyplot
from gcseg.engine import prepare_for_inference
from gcseg.utils import CheckpointError, ConfigError, DataError, HardwareError, get_classes, get_palette


@pytest.fixture(scope="module")
def model(tiny_config, tiny_checkpoint):
    return init_model(tiny_config, tiny_checkpoint, device="cpu")


def image(seed, size=(24, 48)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_model_carries_config_and_classes_of_the_checkpoint(model, tiny_checkpoint, tiny_config):
    assert not model.training
    assert model.cfg.model.decode_head.type == "GCHead"
    assert model.dataset_meta["classes"][3] == "name 3"
    assert model.dataset_meta["palette"][3] == [3, 6, 9]
    saved = torch.load(tiny_checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(saved[k], v) for k, v in model.state_dict().items())
    assert tiny_config.model.backbone.norm_cfg.type == "SyncBN"


def test_a_fast_model_predicts_the_same_and_a_usual_one_can_be_trained(model, tiny_config, tiny_checkpoint):
    fast = init_model(tiny_config, tiny_checkpoint, device="cpu", fast=True)
    assert not any(isinstance(module, _BatchNorm) for module in fast.modules())
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    found, expected = (inference_model(m, image(0)).seg_logits.data for m in (fast, model))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not found.is_inference()  # a loss may be computed of it


def test_weights_are_laid_out_for_speed(tiny_config):
    wide = {"model.backbone.base_channels": 16, "model.decode_head.in_channels": 128}
    wide["model.auxiliary_head.in_channels"] = 64
    weight = init_model(tiny_config, device="cpu", cfg_options=wide).backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_a_model_prepared_for_a_lower_precision_runs_in_it(model, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx512_bf16\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", tmp_path / "cpuinfo")
    low = prepare_for_inference(copy.deepcopy(model), "bfloat16")
    dtypes = []
    low.decode_head.conv_seg.register_forward_hook(lambda module, x, y: dtypes.append(y.dtype))
    found, expected = (inference_model(m, image(0)).seg_logits.data for m in (low, model))
    assert dtypes == [torch.bfloat16] and found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_prediction_is_the_models_own_on_the_prepared_image(model):
    picture = image(0)
    result = inference_model(model, picture)
    bgr = torch.from_numpy(np.asarray(Image.fromarray(picture)).copy()).permute(2, 0, 1)
    assert result.pred_sem_seg.data.shape == (1, 24, 48)
    # The config resizes to (64, 32), the preprocessor normalises: spelled out here.
    import cv2

    resized = cv2.resize(bgr.permute(1, 2, 0).numpy(), (64, 32), interpolation=cv2.INTER_LINEAR)
    rgb = torch.from_numpy(resized[:, :, ::-1].copy()).permute(2, 0, 1).float()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    with torch.no_grad():
        logits = model(((rgb - mean[:, None, None]) / std[:, None, None])[None], mode="tensor")
        logits = torch.nn.functional.interpolate(logits, (32, 64), mode="bilinear")
        logits = torch.nn.functional.interpolate(logits, (24, 48), mode="bilinear")
    assert torch.equal(result.pred_sem_seg.data, logits.argmax(1))
    assert result.pred_sem_seg.data.unique().numel() > 1
    torch.testing.assert_close(result.seg_logits.data, logits[0])


def test_lists_keep_order_and_do_not_depend_on_the_batch(model, tmp_path):
    pictures = [image(0), image(1, (40, 40)), image(2), image(3, (30, 50))]
    Image.fromarray(pictures[0][:, :, ::-1]).save(tmp_path / "a.png")
    alone = [inference_model(model, p).pred_sem_seg.data for p in pictures]
    inputs = [tmp_path / "a.png", *pictures[1:3], Image.fromarray(pictures[3][:, :, ::-1])]
    for batch_size in (1, 3):
        together = inference_model(model, inputs, batch_size=batch_size)
        assert [r.pred_sem_seg.data.shape[1:] for r in together] == [p.shape[:2] for p in pictures]
        for one, other in zip(alone, together, strict=True):
            assert (one == other.pred_sem_seg.data).float().mean() > 0.999
    assert inference_model(model, []) == []


def test_nothing_is_changed_by_predicting(model):
    before = copy.deepcopy(model.cfg._cfg_dict.to_dict())
    first = inference_model(model, image(0)).pred_sem_seg.data
    inference_model(model, image(5, (9, 70)))
    assert torch.equal(inference_model(model, image(0)).pred_sem_seg.data, first)
    assert model.cfg._cfg_dict.to_dict() == before


def test_classes_without_a_checkpoint_are_the_data_sets(tiny_config):
    meta = init_model(tiny_config, device="cpu").dataset_meta
    assert meta["classes"] == tuple(get_classes("cityscapes"))
    assert meta["palette"] == get_palette("cityscapes")


def test_old_checkpoints_give_their_classes(tiny_config, tiny_checkpoint, tmp_path):
    content = torch.load(tiny_checkpoint, weights_only=True)
    content["meta"] = dict(CLASSES=[f"c{i}" for i in range(19)], PALETTE="random", mmseg_version="0.5")
    torch.save(content, tmp_path / "old.pth")
    meta = init_model(tiny_config, tmp_path / "old.pth", device="cpu").dataset_meta
    assert meta["classes"][18] == "c18"
    assert len({tuple(c) for c in meta["palette"]}) == 19


def test_a_checkpoint_of_another_model_is_refused(tiny_config, tmp_path):
    torch.save(dict(state_dict={"fc.weight": torch.zeros(2, 2)}), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        init_model(tiny_config, tmp_path / "other.pth", device="cpu")


def test_devices(tiny_config):
    with pytest.raises(ConfigError, match="tpu9"):
        init_model(tiny_config, device="tpu9")
    with pytest.raises(HardwareError, match=r"cuda:99.*device='cpu'"):
        init_model(tiny_config, device="cuda:99")
    for device in ("meta", "vulkan"):  # which torch knows, and no build of its own can compute on
        with pytest.raises(HardwareError, match=f"'{device}' cannot be used here .*; use 'cpu' or None"):
            init_model(tiny_config, device=device)


def test_show_result_pyplot_paints_in_the_models_colours(model, tmp_path):
    picture = image(0)
    result = inference_model(model, picture)
    painted = show_result_pyplot(
        model, picture, result, opacity=1, show=False, with_labels=False, out_file=tmp_path / "x.png"
    )
    palette = np.asarray(model.dataset_meta["palette"])
    np.testing.assert_array_equal(painted, palette[result.pred_sem_seg.data[0].numpy()])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), painted)
    show_result_pyplot(model, picture, result, title="street", show=False, save_dir=tmp_path)
    assert (tmp_path / "vis_data/vis_image/street_0.png").is_file()
    with pytest.raises(DataError, match="size"):
        show_result_pyplot(model, image(0, (5, 5)), result, show=False)


def test_showing_without_a_display_says_what_to_do(model, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for key in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(HardwareError, match="show=False"):
        show_result_pyplot(model, image(0), inference_model(model, image(0)))


def test_a_fast_model_can_be_had_in_a_lower_precision(tiny_config, tiny_checkpoint, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx512_bf16\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", tmp_path / "cpuinfo")
    low = init_model(tiny_config, tiny_checkpoint, device="cpu", fast=True, dtype="bfloat16")
    assert low.inference_dtype == torch.bfloat16 and low.decode_head.conv_seg.weight.dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="fast=True"):
        init_model(tiny_config, tiny_checkpoint, device="cpu", dtype="bfloat16")
