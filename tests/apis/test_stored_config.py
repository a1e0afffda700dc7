import pytest

from gcseg.apis.stored_config import parse_config_text
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
