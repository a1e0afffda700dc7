import pytest

from gcseg.apis.stored_config import config_of_checkpoint, parse_config_text
from gcseg.config import load_config
from gcseg.utils import ConfigError


def test_reads_what_mmengine_writes():
    cfg = load_config("gcnet_r50-d8_4xb2-40k_cityscapes-512x1024")
    assert parse_config_text(cfg.pretty_text)._cfg_dict.to_dict() == cfg._cfg_dict.to_dict()


def test_literals():
    parsed = parse_config_text("a = dict(b=[1, (2, 3)], c={'x y': -1.5, 4: None})\nd = inf\n")
    assert parsed._cfg_dict.to_dict() == dict(a=dict(b=[1, (2, 3)], c={"x y": -1.5, 4: None}), d=float("inf"))


@pytest.mark.parametrize(
    "text",
    ["import os", "a = __import__('os').system('true')", "a = dict(*[])", "a = {**b}", "a = b", "a[0] = 1", "a ="],
)
def test_anything_else_is_refused_and_not_run(text):
    with pytest.raises(ConfigError, match="as a file"):
        parse_config_text(text)


def carried(**options):
    """A checkpoint with the config of a recipe."""
    cfg = load_config("gcnet_r50-d8_4xb2-40k_cityscapes-512x1024")
    cfg.merge_from_dict(options)
    return {"meta": {"cfg": cfg.pretty_text}}


def test_the_config_of_a_checkpoint_is_checked_and_changed():
    cfg = config_of_checkpoint(carried(), "a.pth", {"model.decode_head.ratio": 0.5})
    assert cfg.model.decode_head.ratio == 0.5 and cfg.default_scope == "gcseg"
    with pytest.raises(ConfigError, match=r"a\.pth: carries no config"):
        config_of_checkpoint({"meta": {}}, "a.pth")
    own = carried(custom_imports=dict(imports=["mine"]), custom_hooks=[dict(type="Mine")])
    with pytest.raises(ConfigError, match=r"type in hooks 'Mine'.*has custom_imports=\{'imports': \['mine'\]"):
        config_of_checkpoint(own, "a.pth")


@pytest.mark.parametrize(
    "options",
    [
        {"test_dataloader.dataset.pipeline": [dict(type="os.system", command="touch mark")]},
        {"custom_hooks": [dict(type="subprocess.Popen", args=["touch", "mark"])]},
        {"optim_wrapper.constructor": "os.system"},
        {"custom_hooks": [dict(type="EMAHook", ema_type="os.system")]},
        {"runner_type": "builtins.exec"},
        {"model.decode_head.loss_decode": dict(type="torch.hub.load", repo_or_dir="x")},
        {"model.decode_head.norm_cfg": dict(type="mmengine.Config.fromfile", filename="mark.py")},
        {"some_variable": dict(a=[(dict(type="mmpretrain.get_model"),)])},
    ],
    ids=str,
)
def test_a_config_of_a_checkpoint_imports_nothing(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"config in a\.pth: .*=.*: refused, because it would be imported and run"):
        config_of_checkpoint(carried(**options), "a.pth")
    assert not list(tmp_path.iterdir())


def test_names_of_configs_that_import_their_types_are_known():
    cfg = config_of_checkpoint(
        carried(
            **{
                "model.decode_head.type": "gcseg.models.GCHead",
                "model.backbone.type": "mmseg.ResNetV1c",
                "optim_wrapper.type": "mmengine.optim.OptimWrapper",
                "optim_wrapper.optimizer.type": "torch.optim.SGD",
                "default_hooks.timer.type": "mmengine.IterTimerHook",
            }
        ),
        "a.pth",
    )
    assert cfg.model.decode_head.type == "gcseg.models.GCHead" and cfg.model.backbone.type == "ResNetV1c"
