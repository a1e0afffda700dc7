import copy
import json
from pathlib import Path

import pytest
import torch
from tiny_run import write

from gcseg.apis.images import inner_dataset
from gcseg.apis.train import train
from gcseg.config import load_config
from gcseg.engine.hooks import ValLossHook
from gcseg.registry import DATASETS
from gcseg.utils.errors import ConfigError

LINES = """
custom_hooks = [dict(type="ValLossHook"), {more}]
"""


@pytest.fixture
def run(tmp_path):
    from mmengine.logging import MMLogger

    config = write(tmp_path / "data")
    plain = config.read_text()

    def run(more="", **options):
        MMLogger._instance_dict.clear()
        config.write_text(plain + LINES.replace("{more}", more))
        return train(config, work_dir=tmp_path / "work", cfg_options=options)

    return run


def expected_losses(runner, model):
    """The mean over the validation images of what the model calls its losses, one image after the other."""
    dataset = DATASETS.build(copy.deepcopy(inner_dataset(runner.cfg.val_dataloader.dataset)))
    sums = {}
    for i in range(len(dataset)):
        item = dataset[i]
        data = model.data_preprocessor(dict(inputs=[item["inputs"]], data_samples=[item["data_samples"]]), False)
        assert data["inputs"].shape[-2:] == (32, 38) and data["data_samples"][0].gt_sem_seg.shape == (40, 48)
        with torch.no_grad():
            for name, value in model.eval().loss(data["inputs"], data["data_samples"]).items():
                sums[name] = sums.get(name, 0) + float(value) / len(dataset)
    return sums


def test_it_is_the_mean_loss_of_the_images(run):
    options = {
        "train_cfg.max_iters": 2,
        "default_hooks.checkpoint.save_best": "val_loss",
        "val_dataloader.batch_size": 4,
    }
    # Padding, which the loss must not see.
    runner = run(**options, **{"model.data_preprocessor.test_cfg": dict(size_divisor=20)})
    sums = expected_losses_without_padding(runner)
    found = {
        name: runner.message_hub.get_scalar(f"val/val_{name}").current() for name in ("decode.loss_ce", "aux.loss_ce")
    }
    for name, value in found.items():
        assert value == pytest.approx(sums[name], rel=1e-4)
    total = runner.message_hub.get_scalar("val/val_loss").current()
    assert total == pytest.approx(sum(found.values()), rel=1e-6)
    assert runner.message_hub.get_info("best_score") == pytest.approx(total)
    assert list(Path(runner.work_dir).glob("best_val_loss_iter_2.pth"))


def expected_losses_without_padding(runner):
    cfg = copy.deepcopy(runner.cfg)
    cfg.model.data_preprocessor.pop("test_cfg")
    from gcseg.apis import init_model

    model = init_model(cfg, Path(runner.work_dir) / "iter_2.pth", device="cpu")
    return expected_losses(runner, model)


def test_averaged_weights_are_those_that_count(run):
    runner = run('dict(type="EMAHook", momentum=0.5)', **{"train_cfg.max_iters": 2, "optim_wrapper.optimizer.lr": 0.5})
    ema = next(h for h in runner.hooks if type(h).__name__ == "EMAHook").ema_model.module
    found = runner.message_hub.get_scalar("val/val_decode.loss_ce").current()
    assert found == pytest.approx(expected_losses(runner, ema)["decode.loss_ce"], rel=1e-4)
    trained = expected_losses(runner, runner.model)["decode.loss_ce"]
    assert abs(found - trained) > 1e-3 * trained


def test_early_stopping_by_one_line(run, monkeypatch):
    losses = iter([1.0, 0.5, 0.6, 0.55, 0.1])
    monkeypatch.setattr(ValLossHook, "after_val_iter", lambda *args, **kwargs: None)
    monkeypatch.setattr(
        ValLossHook, "after_val_epoch", lambda self, runner, metrics=None: metrics.update(val_loss=next(losses))
    )
    line = 'dict(type="EarlyStoppingHook", monitor="val_loss", patience=2, min_delta=0.01)'
    runner = run(line, **{"train_cfg.max_iters": 9, "train_cfg.val_interval": 1})
    assert runner.iter == 4 and next(losses) == 0.1
    # What is logged is what was measured, and no mean over the validations; losses of the training stay smoothed.
    lines = next(Path(runner.work_dir).glob("*/vis_data/scalars.json")).read_text().splitlines()
    assert [s["val_loss"] for s in map(json.loads, lines) if "val_loss" in s] == [1.0, 0.5, 0.6, 0.55]
    assert runner.log_processor.mean_pattern.search("decode.loss_ce")


def test_only_losses_that_are_computed_can_be_watched(run, tmp_path):
    config = tmp_path / "data" / "tiny.py"
    for name, words in (("val_loss", "mIoU"), ("val_los", "val_los")):
        with pytest.raises(ConfigError, match=words):
            load_config(config, {"default_hooks.checkpoint.save_best": name})
    config.write_text(config.read_text() + LINES.replace("{more}", ""))
    for name in ("val_loss", "val_decode.loss_ce", "mIoU"):
        load_config(config, {"default_hooks.checkpoint.save_best": name})
    with pytest.raises(ConfigError, match="mIou"):
        load_config(config, {"default_hooks.checkpoint.save_best": "mIou"})


def test_validation_data_without_labels_are_an_error(run, tmp_path):
    with pytest.raises(ConfigError, match="LoadAnnotations"):
        run(
            **{
                "val_dataloader.dataset.pipeline": [dict(type="LoadImageFromFile"), dict(type="PackSegInputs")],
                "train_cfg.max_iters": 1,
                "val_evaluator": dict(type="IoUMetric", format_only=True, output_dir=str(tmp_path)),
            }
        )


def test_all_processes_see_the_mean_over_all_images(monkeypatch):
    parts = [(1, {"loss": 4.0, "decode.loss_ce": 3.0}), (3, {"loss": 2.0, "decode.loss_ce": 1.0}), (0, {})]
    monkeypatch.setattr("gcseg.engine.hooks.val_loss_hook.all_gather_object", lambda mine: parts)
    metrics = {"mIoU": 50.0}
    ValLossHook().after_val_epoch(None, metrics)
    assert metrics == {"mIoU": 50.0, "val_loss": 1.5, "val_decode.loss_ce": 1.0}
