"""Files written by the oracle's runner, by mmengine 0.10.7 and in the form of 2020 predict the same in both."""

import copy

import numpy as np
import pytest
import setuptools  # noqa: F401 - brings the distutils that mmengine's environment report imports
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from parity_tools import GOLDEN, assert_close, build, pair, same_weights, sample, small_model

from gcseg.engine.checkpoint import load_checkpoint_file
from gcseg.engine.state_dict import load_into_model


def prediction(side, model, seed=0):
    rng = np.random.default_rng(seed)
    model.double().eval()
    model.test_cfg = ConfigDict(mode="whole")
    image = torch.as_tensor(rng.standard_normal((1, 3, 37, 45)))
    meta = dict(ori_shape=(51, 60), img_shape=(37, 45), pad_shape=(37, 45), padding_size=[0, 0, 0, 0])
    with torch.no_grad():
        (result,) = model.predict(image, [sample(side, None, **meta)])
    return result


def assert_both_predict_the_same(ours, oracle):
    mine, theirs = prediction("ours", ours), prediction("oracle", oracle)
    assert_close(mine.seg_logits.data, theirs.seg_logits.data, 1e-9, "logits")
    assert torch.equal(mine.pred_sem_seg.data, theirs.pred_sem_seg.data)


@pytest.mark.parametrize("file", ["oracle.pth", "mmengine.pth", "v05.pth"])
def test_committed_files(file):
    """The three files of tests/golden, loaded by each package in its own way."""
    from golden_tools import CHECKPOINT_MODEL
    from mmengine.runner.checkpoint import load_state_dict

    ours, oracle = pair(CHECKPOINT_MODEL)
    load_into_model(ours, load_checkpoint_file(str(GOLDEN / file)), strict=True)
    state = torch.load(GOLDEN / file, map_location="cpu", weights_only=False)["state_dict"]
    load_state_dict(oracle, {k.removeprefix("module."): v for k, v in state.items()}, strict=True)
    assert_both_predict_the_same(ours, oracle)


class FourImages(torch.utils.data.Dataset):
    """Made photographs with labels, as the oracle's collate function wants them."""

    metainfo = dict(classes=tuple("abcde"), palette=[[i, i, i] for i in range(5)])

    def __len__(self):
        return 4

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        image = torch.as_tensor(rng.integers(0, 256, (3, 33, 41)), dtype=torch.uint8)
        meta = dict(ori_shape=(33, 41), img_shape=(33, 41))
        return dict(inputs=image, data_samples=sample("oracle", rng.integers(0, 5, (33, 41)), **meta))


def test_written_by_the_oracle_now(tmp_path):
    """Trained for three iterations by the oracle under its runner; all hooks at work."""
    from mmengine.runner import Runner

    cfg = small_model(num_classes=5)
    cfg["data_preprocessor"] = dict(
        type="SegDataPreProcessor", mean=[123.0, 116.0, 103.0], std=[58.0, 57.0, 57.0], size=(33, 41)
    )
    model = build("oracle", cfg)
    with DefaultScope.overwrite_default_scope("mmseg"):
        runner = Runner(
            model=model,
            work_dir=str(tmp_path),
            train_dataloader=dict(
                dataset=FourImages(), batch_size=2, num_workers=0, sampler=dict(type="InfiniteSampler", shuffle=True)
            ),
            optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9)),
            param_scheduler=[dict(type="PolyLR", eta_min=1e-4, power=0.9, begin=0, end=3, by_epoch=False)],
            train_cfg=dict(type="IterBasedTrainLoop", max_iters=3),
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=3)),
            default_scope="mmseg",
            experiment_name=tmp_path.name,
            log_level="ERROR",
        )
        runner.train()
    content = load_checkpoint_file(str(tmp_path / "iter_3.pth"))
    assert content["meta"]["iter"] == 3
    assert tuple(content["meta"]["dataset_meta"]["classes"]) == FourImages.metainfo["classes"]
    ours = build("ours", cfg)
    load_into_model(ours, content, strict=True)
    assert_both_predict_the_same(ours, model)


def test_our_weights_in_the_oracle(tmp_path):
    """The way back: a state dict that gcseg saved is loaded by the oracle, strictly."""
    cfg = small_model(depth=50, width=4)
    ours, oracle = pair(cfg)
    same_weights(ours, build("oracle", copy.deepcopy(cfg)))
    torch.save(dict(state_dict=ours.state_dict(), meta={}), tmp_path / "ours.pth")
    state = torch.load(tmp_path / "ours.pth", weights_only=True)["state_dict"]
    oracle.double().load_state_dict(state, strict=True)
    assert_both_predict_the_same(ours, oracle)
