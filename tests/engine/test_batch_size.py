import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner

from gcseg.engine.batch_size import BatchSize, BatchSizeHook, batch_size_hook, batch_size_of, recipe_images
from gcseg.utils import ConfigError


def config(name="gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py", batch=2, counts=None, **scale):
    wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01))
    if counts:
        wrapper["accumulative_counts"] = counts
    cfg = dict(train_dataloader=dict(batch_size=batch), optim_wrapper=wrapper)
    if scale:
        cfg["auto_scale_lr"] = scale
    return Config(cfg, cfg_text="read before", filename=f"/configs/{name}" if name else None)


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py", {}, 8),
        ("gcnet_r101-d8_4xb4-160k_ade20k-512x512.py", {}, 16),
        ("mine_16xb32.py", {}, 512),
        ("gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py", dict(base_batch_size=12), 12),
        ("mine-512x1024.py", {}, None),
        ("mine_4xbig.py", {}, None),
        (None, {}, None),
    ],
)
def test_the_batch_size_that_a_recipe_is_for(name, scale, expected):
    found = recipe_images(config(name, **scale))
    assert (found and found[0]) == expected


def test_accumulated_iterations_count():
    assert batch_size_of(config(counts=3), 4) == BatchSize(4, 2, 3)
    assert BatchSize(4, 2, 3).images == 24 and str(BatchSize(4, 2, 3)) == (
        "24 images (4 processes x 2 images x 3 accumulated iterations)"
    )
    cfg = config()
    cfg.train_dataloader = dict(batch_sampler=dict(type="Mine"))
    assert batch_size_of(cfg, 4) is None and batch_size_hook(cfg, False) is None


def hook(processes=1, batch=2, counts=None, scale=False):
    cfg = config(batch=batch, counts=counts)
    return BatchSizeHook(batch_size_of(cfg, processes), recipe_images(cfg), scale)


def test_a_mismatch_says_numbers_and_ways_out():
    text = hook().message()
    for part in (
        "2 images (1 process x 2 images)",
        "is for 8 (4xb2 in its name)",
        "4 processes; train_dataloader.batch_size=8; optim_wrapper.accumulative_counts=4; --auto-scale-lr",
        "by 0.25",
    ):
        assert part in text
    assert "processes;" not in hook(processes=1, batch=3).message()  # 8 is no multiple of 3
    assert hook(scale=True).message().endswith("the learning rate is multiplied by 0.25")


@pytest.mark.parametrize("parts", [(4, 2, None), (2, 2, 2), (1, 8, None), (1, 2, 4)])
def test_no_word_when_it_is_the_recipes(parts):
    assert hook(*parts).message() is None


def test_scaling_without_a_number_to_scale_from():
    with pytest.raises(ConfigError, match=r"base_batch_size=8.*4xb2"):
        batch_size_hook(config(name="mine.py"), scale=True)
    with pytest.raises(ConfigError, match="base_batch_size"):
        batch_size_hook(config(name="mine.py", enable=True), scale=False)
    assert batch_size_hook(config(name="mine.py"), scale=False).message() is None


class FakeRunner:
    """As much of mmengine's runner as scaling needs, with its own method for that."""

    world_size, param_schedulers, auto_scale_lr = 1, None, None
    scale_lr = Runner.scale_lr

    def __init__(self, batch=2):
        self._train_dataloader = dict(batch_size=batch)
        self.logger = MMLogger.get_current_instance()
        self.message_hub = MessageHub.get_instance("test_batch_size")
        self.hooks = []

    def register_hook(self, hook):
        self.hooks.append(hook)


@pytest.mark.parametrize(("counts", "expected"), [(None, 0.0025), (3, 0.0075)])
def test_the_learning_rate_is_multiplied(counts, expected):
    from mmengine.optim import OptimWrapper

    runner = FakeRunner()
    hook(counts=counts, scale=True).register(runner)
    wrapper = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01))
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    assert wrapper.optimizer.param_groups[0]["lr"] == pytest.approx(expected)
    other = FakeRunner()
    hook(counts=counts).register(other)
    assert other.auto_scale_lr is None and len(other.hooks) == 1


def test_a_resumed_run_of_another_batch_size_is_told(caplog):
    runner = FakeRunner()
    runner.message_hub.runtime_info.clear()
    MMLogger.get_current_instance().addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        hook(processes=2).before_train(runner)
        hook(processes=2).before_train(runner)
        assert caplog.text == ""
        hook(processes=1).before_train(runner)
    assert "sees 2 images (1 process x 2 images); before, it saw 4 images" in caplog.text
    assert runner.message_hub.get_info("images_per_step") == 2
