"""gcseg against answers that the oracle, onedl-mmsegmentation 1.4.2, gave once (written by make_golden.py)."""

from __future__ import annotations

import copy
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData

sys.path.insert(0, str(Path(__file__).parent))
import golden_tools as golden

from gcseg.registry import MODELS
from gcseg.structures import SegDataSample

RTOL = 1e-9


@pytest.fixture(scope="module", autouse=True)
def _in_scope():
    with DefaultScope.overwrite_default_scope("gcseg"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(cfg: dict):
    return MODELS.build(copy.deepcopy(cfg))


def stored(name: str):
    with np.load(golden.HERE / name) as content:
        return dict(content)


def sample(label: np.ndarray | None, **meta) -> SegDataSample:
    out = SegDataSample(metainfo=meta)
    if label is not None:
        out.gt_sem_seg = PixelData(data=torch.as_tensor(label)[None])
    return out


def plain_meta(shape: tuple[int, int]) -> dict:
    return dict(ori_shape=shape, img_shape=shape, pad_shape=shape, padding_size=[0, 0, 0, 0])


def assert_near(ours, oracle: np.ndarray, what: str, rtol: float = RTOL, floor: float = 1e-15) -> None:
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else np.asarray(ours)
    assert ours.shape == oracle.shape, f"{what}: shape {ours.shape}, the oracle has {oracle.shape}"
    difference = np.abs(ours - oracle).max()
    scale = np.abs(oracle).max()
    assert difference <= max(rtol * scale, floor), f"{what}: {difference / scale:.2e} off, allowed {rtol:.0e}"


MODEL_ANSWERS = stored("models.npz")
LOSS_ANSWERS = stored("losses.npz")
METRIC_ANSWERS = json.loads((golden.HERE / "metrics.json").read_text())
PREDICTIONS = stored("predict.npz")


def test_files_are_small():
    total = sum(path.stat().st_size for path in golden.HERE.iterdir() if path.suffix in (".npz", ".json", ".pth"))
    assert 50_000 < total < 300_000


@pytest.mark.parametrize("name", golden.MODELS)
def test_model(name):
    """Logits, losses, every gradient and the updated running statistics, float64."""
    answer = {k.removeprefix(name + "/"): v for k, v in MODEL_ANSWERS.items() if k.startswith(name + "/")}
    model = golden.set_weights(build(golden.MODELS[name]).double())
    images = torch.as_tensor(golden.uniform(golden.IMAGE, 1, -2, 2))
    marks = golden.labels((golden.IMAGE[0], *golden.IMAGE[2:]), 3)
    with torch.no_grad():
        assert_near(model.eval()(images), answer["eval"], "logits")

    losses = model.train().loss(images, [sample(mark, **plain_meta(golden.IMAGE[2:])) for mark in marks])
    expected = {key.removeprefix("loss/"): value for key, value in answer.items() if key.startswith("loss/")}
    assert set(losses) == set(expected)
    for key, value in expected.items():
        # Accuracies are counted in float32 by the oracle.
        rtol = 1e-6 if "acc" in key else RTOL
        assert_near(losses[key].detach().double().reshape(-1)[0], value, key, rtol)

    sum(value for key, value in losses.items() if "loss" in key).backward()
    parameters = dict(model.named_parameters())
    assert list(parameters) == answer["names"].tolist()
    scale = np.abs(answer["gradients"]).max()
    for (key, parameter), digest in zip(parameters.items(), answer["gradients"], strict=True):
        assert_near(golden.digest(key, parameter.grad), digest, f"gradient of {key}", floor=1e-13 * scale)
    running = {key: value for key, value in model.state_dict().items() if "running" in key}
    for (key, value), digest in zip(running.items(), answer["running"], strict=True):
        assert_near(golden.digest(key, value), digest, key)


@pytest.mark.parametrize("name", golden.LOSSES)
def test_loss(name):
    """Value and gradient, float64."""
    cfg, ignored = golden.LOSSES[name]
    logits = torch.as_tensor(golden.uniform(golden.LOGITS, 11, -3, 3)).requires_grad_()
    shape = (golden.LOGITS[0], *golden.LOGITS[2:])
    label = torch.as_tensor(golden.labels(shape, 13, ignored=0.15 if ignored else 0.0))
    value = build(cfg)(logits, label, ignore_index=255)
    value.sum().backward()
    assert_near(value, LOSS_ANSWERS[f"{name}/value"], name)
    assert_near(golden.digest(name, logits.grad), LOSS_ANSWERS[f"{name}/gradient"], f"gradient of {name}")


@pytest.mark.parametrize("name", golden.SAMPLERS)
def test_pixel_sampler(name):
    """The pixels kept and the loss over them."""
    head = build(golden.model_config(dict(sampler=golden.SAMPLERS[name]))["decode_head"]).double()
    logits = torch.as_tensor(golden.uniform(golden.LOGITS, 11, -3, 3))
    label = golden.labels((golden.LOGITS[0], 1, *golden.LOGITS[2:]), 13)
    weight = head.sampler.sample(logits, torch.as_tensor(label)).numpy()
    assert 0 < weight.sum() < weight.size
    np.testing.assert_array_equal(weight, LOSS_ANSWERS[f"{name}/weight"])
    losses = head.loss_by_feat(logits, [sample(mark) for mark in label[:, 0]])
    assert_near(losses["loss_ce"], LOSS_ANSWERS[f"{name}/loss"], name)


@pytest.mark.parametrize("absent", [False, True], ids=["present", "absent"])
@pytest.mark.parametrize("name", golden.METRICS)
def test_metric(name, absent):
    """The two decimals that the oracle prints."""
    from gcseg.evaluation import IoUMetric

    metric = IoUMetric(**golden.METRICS[name])
    metric.dataset_meta = golden.CHECKPOINT_META
    pairs = golden.metric_maps(absent)
    metric.process({}, [
        dict(pred_sem_seg=dict(data=torch.as_tensor(p)[None]), gt_sem_seg=dict(data=torch.as_tensor(t)[None]))
        for p, t in pairs
    ])  # fmt: skip
    found = metric.evaluate(len(pairs))
    expected = METRIC_ANSWERS[f"{name}/{'absent' if absent else 'present'}"]
    assert expected
    for key, value in expected.items():
        assert round(float(found[key]), 2) == value, key


def checkpoint_model(file: str):
    from gcseg.engine.checkpoint import load_checkpoint_file
    from gcseg.engine.state_dict import load_into_model

    model = build(golden.CHECKPOINT_MODEL)
    before = model.state_dict()["decode_head.conv_seg.weight"].clone()
    load_into_model(model, load_checkpoint_file(str(golden.HERE / file)), strict=True)
    assert not torch.equal(before, model.state_dict()["decode_head.conv_seg.weight"])
    return model.double().eval()


@pytest.mark.parametrize("file", ["oracle.pth", "mmengine.pth", "v05.pth"])
def test_checkpoint_predicts_the_same(file):
    """Written by the oracle's runner, by mmengine 0.10.7, and in the form of 2020: whole, slide, ms + flip."""
    model = checkpoint_model(file)
    image = torch.as_tensor(golden.uniform(golden.PREDICT_IMAGE, 21, -2, 2))
    meta = dict(plain_meta(golden.PREDICT_IMAGE[2:]), ori_shape=golden.ORI_SHAPE)
    for mode, cfg in (("whole", dict(mode="whole")), ("slide", golden.SLIDE)):
        model.test_cfg = ConfigDict(cfg)
        with torch.no_grad():
            (result,) = model.predict(image, [sample(None, **meta)])
        assert_near(result.seg_logits.data[:, ::4, ::4], PREDICTIONS[f"{mode}/logits"], mode)
        np.testing.assert_array_equal(result.pred_sem_seg.data.numpy(), PREDICTIONS[f"{mode}/pred"])


def test_checkpoint_meta_survives():
    """Class names and palette are found in the new and in the old form."""
    from gcseg.engine.checkpoint import load_checkpoint_file

    new = load_checkpoint_file(str(golden.HERE / "oracle.pth"))["meta"]["dataset_meta"]
    assert list(new["classes"]) == list(golden.CHECKPOINT_META["classes"])
    old = load_checkpoint_file(str(golden.HERE / "v05.pth"))["meta"]
    assert list(old["CLASSES"]) == list(golden.CHECKPOINT_META["classes"])
    assert old["PALETTE"] == golden.CHECKPOINT_META["palette"]


def test_multi_scale_and_flip():
    """SegTTAModel over the views of one image; argmax of the mean of the softmax."""
    from gcseg.models import SegTTAModel

    model = checkpoint_model("oracle.pth")
    model.test_cfg = ConfigDict(mode="whole")
    views = []
    with torch.no_grad():
        for view, meta in golden.tta_views():
            views.append(model.predict(torch.as_tensor(view)[None], [sample(None, **meta)])[0])
        mean = torch.stack([view.seg_logits.data.softmax(0) for view in views]).mean(0)
        assert_near(mean[:, ::4, ::4], PREDICTIONS["tta/mean"], "mean of the probabilities")
        (merged,) = SegTTAModel(model).merge_preds([views])
    np.testing.assert_array_equal(
        merged.pred_sem_seg.data.reshape(golden.ORI_SHAPE).numpy(), PREDICTIONS["tta/pred"].reshape(golden.ORI_SHAPE)
    )
