"""The 16 published recipes: state dicts, parameter counts and FLOPs, from the oracle's config files and from ours."""

import pytest
import torch
from parity_tools import ORACLE_CONFIGS, build
from torch.utils.flop_counter import FlopCounterMode

from gcseg.config import load_config

NAMES = sorted(path.stem for path in (ORACLE_CONFIGS / "gcnet").glob("gcnet_*.py"))


def test_there_are_sixteen():
    assert len(NAMES) == 16


def model_on_paper(side: str, config: dict) -> torch.nn.Module:
    """Shapes without values: nothing is allocated."""
    config = dict(config)
    config.pop("pretrained", None)
    with torch.device("meta"):
        return build(side, config).to("meta")


def oracle_config(name: str):
    from mmengine.config import Config

    return Config.fromfile(ORACLE_CONFIGS / "gcnet" / f"{name}.py")


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def flops(model: torch.nn.Module, size: tuple[int, int]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.empty((1, 3, *size), device="meta"))
    return counter.get_total_flops()


@pytest.mark.parametrize("name", NAMES)
def test_recipe(name):
    """Names and shapes in order, parameters, and the FLOPs of one crop agree, whoever wrote the config file."""
    reference = oracle_config(name)
    oracle = model_on_paper("oracle", reference.model)
    expected = shapes(oracle)
    from_theirs = load_config(str(ORACLE_CONFIGS / "gcnet" / f"{name}.py"))
    from_ours = load_config(name)
    size = tuple(reference.crop_size)
    for config in (from_theirs, from_ours):
        ours = model_on_paper("ours", config.model)
        assert shapes(ours) == expected
        assert list(shapes(ours)) == list(expected)
        assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in oracle.parameters())
        assert flops(ours, size) == flops(oracle, size)
        assert config.crop_size == reference.crop_size


def plain(value):
    """Config content without the differences that are meant: the scope's name."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@pytest.mark.parametrize("name", NAMES)
def test_our_recipe_says_the_same(name):
    """Model, data, schedule and evaluation of the recipes are the oracle's, key by key."""
    reference, ours = oracle_config(name).to_dict(), load_config(name).to_dict()
    for key in ("model", "train_dataloader", "val_dataloader", "test_dataloader", "val_evaluator", "test_evaluator",
                "optim_wrapper", "param_scheduler", "train_cfg", "tta_pipeline", "tta_model"):  # fmt: skip
        assert plain(ours[key]) == plain(reference[key]), key


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("num_classes", [19, 21, 150])
def test_depth_and_classes(depth, num_classes):
    """All six combinations, also those that no recipe has."""
    config = oracle_config("gcnet_r50-d8_4xb2-40k_cityscapes-512x1024").model
    config.backbone.depth = depth
    config.decode_head.num_classes = config.auxiliary_head.num_classes = num_classes
    oracle, ours = model_on_paper("oracle", config), model_on_paper("ours", config)
    assert shapes(ours) == shapes(oracle)
    assert flops(ours, (512, 512)) == flops(oracle, (512, 512)) > 0
    if (depth, num_classes) == (50, 19):
        assert len(shapes(ours)) == 366
        assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == 49.63
    if (depth, num_classes) == (101, 150):
        assert len(shapes(ours)) == 672
        assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == 68.72
