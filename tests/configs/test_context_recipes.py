"""Every recipe of configs/context is written by the generator, is what its name says, and differs from the rest."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from gcseg.config import configs_dir, load_config

ROOT = Path(__file__).parents[2]
FOLDER = configs_dir() / "context"
NAMES = sorted(f.stem for f in FOLDER.glob("*.py"))
HEADS = {"fcn": "FCNHead", "senet": "SEHead", "snlnet": "SNLHead", "gcnet": "GCHead", "nlnet": "NLHead"}
NAME = re.compile(
    r"(?P<head>[a-z]+)_r(?P<depth>\d+)-d8(?P<block>(-[a-z0-9]+)*)_(?P<gpus>\d)xb(?P<batch>\d)-(?P<length>\d+k?)_"
    r"(?P<data>[a-z]+)-(?P<height>\d+)x(?P<width>\d+)"
)
BLOCK = re.compile(
    r"-(?P<kind>nl|snl|gcb)(-r(?P<ratio>\d+))?(?P<noln>-noln)?(?P<avg>-avg)?(-(?P<fusion>scale|both))?"
    r"-c(?P<first>\d)(-c(?P<last>\d))?(?P<one>-one)?(-(?P<position>after-\w+))?"
)
FUSIONS = {None: ("channel_add",), "scale": ("channel_mul",), "both": ("channel_add", "channel_mul")}


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("recipes", ROOT / "tools" / "misc" / "write_context_recipes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models():
    """name -> the model, without memory or values."""
    from gcseg.registry import MODELS

    built = {}
    with torch.device("meta"):
        for name in NAMES:
            built[name] = MODELS.build(load_config(name).model)
    return built


def test_writing_them_again_changes_no_byte(generator, tmp_path):
    (tmp_path / "of_an_earlier_list.py").write_text("x = 1")
    generator.main(["--out", str(tmp_path)])
    written = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert written == {f.name: f.read_bytes() for f in FOLDER.iterdir() if f.is_file()}
    assert len(written) == 31 and len(NAMES) == 30


def test_each_recipe_of_a_table_exists_once(generator):
    tables = list(generator.TABLES.values())
    assert [len(table) for table in tables] == [6, 5, 5, 4, 5, 7, 5, 5, 2]
    assert all(len(set(table)) == len(table) for table in tables)
    links = {recipe.link for table in tables for recipe in table}
    assert all((FOLDER / link).is_file() for link in links)
    assert {Path(link).stem for link in links if not link.startswith("..")} == set(NAMES)
    readme = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"\]\(([^)]+\.py)\)", readme)) == links


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_its_name_says(name):
    found, cfg = NAME.fullmatch(name), load_config(name)
    length = int(found["length"].replace("k", "000"))
    assert cfg.model.decode_head.type == HEADS[found["head"]]
    assert cfg.model.backbone.depth == int(found["depth"])
    assert cfg.crop_size == cfg.model.data_preprocessor.size == (int(found["height"]), int(found["width"]))
    assert cfg.train_dataloader.batch_size == int(found["batch"])
    assert cfg.train_dataloader.dataset.type.lower().startswith(found["data"])
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == length
    assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval
    if found["data"] == "camvid":
        assert cfg.train_cfg.val_interval == length
        assert cfg.default_hooks.checkpoint.save_best == "mIoU" and cfg.default_hooks.checkpoint.max_keep_ckpts == 1
    plugins = cfg.model.backbone.get("plugins", [])
    assert len(plugins) == bool(found["block"])
    if plugins:
        check_plugin(plugins[0], BLOCK.fullmatch(found["block"]))


def check_plugin(plugin, said):
    block = dict(plugin.cfg)
    if said["kind"] != "gcb":
        assert block == dict(type={"nl": "NonLocal2d", "snl": "SimplifiedNonLocal"}[said["kind"]])
    else:
        assert block.pop("ratio") == 1 / int(said["ratio"])
        if said["noln"]:
            assert block == dict(type="GeneralContext", layer_norm=False)
        else:
            assert block.pop("type") == "ContextBlock"
            assert block.pop("pooling_type", "att") == ("avg" if said["avg"] else "att")
            assert block.pop("fusion_types", ("channel_add",)) == FUSIONS[said["fusion"]]
            assert not block
    stages = range(int(said["first"]), int(said["last"] or said["first"]) + 1)
    assert plugin.stages == tuple(stage in stages for stage in range(2, 6))
    assert plugin.get("blocks") == ((-2,) if said["one"] else None)
    assert plugin.position == (said["position"] or "after-conv3").replace("-", "_")


def test_no_two_recipes_have_the_same_model(models):
    """Compared as printed, every layer with its sizes and options; the print has no place for a plugin's position."""
    alike = {}
    for name, model in models.items():
        positions = [plugin["position"] for plugin in model.backbone.plugins or ()]
        alike.setdefault(f"{name.rpartition('_')[2]} {positions}\n{model}", []).append(name)
    assert [names for names in alike.values() if len(names) > 1] == []


def test_what_a_recipe_adds_is_its_block(models):
    plain = {name: model for name, model in models.items() if re.fullmatch(r"fcn_r\d+-d8_.*", name)}
    assert len(plain) == 2
    for name, model in models.items():
        if "demo" in name or name in plain:
            continue
        base = next(m for n, m in plain.items() if n.rpartition("_")[2] == name.rpartition("_")[2]).state_dict()
        added = {k: tuple(v.shape) for k, v in model.state_dict().items() if k not in base}
        blocks = {re.sub(r".*?(\w+_block|\w*context|simplified_non_local)\..*", r"\1", key) for key in added}
        assert len(blocks) == 1 and "." not in blocks.pop(), added.keys()
        assert all(base[k].shape == v.shape for k, v in model.state_dict().items() if k in base)
        assert len(model.state_dict()) == len(base) + len(added)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # GC at C channels: scores C + 1, down C * C/r + C/r, LN 2 C/r, up C/r * C + C.
        ("gcb-r16-c4-one-after-add", 1025 + 1024 * 64 + 64 + 128 + 64 * 1024 + 1024),
        ("gcb-r16-c4", 6 * (1025 + 1024 * 64 + 64 + 128 + 64 * 1024 + 1024)),
        ("snl-c4-one-after-add", 1025 + 1024 * 1024 + 1024),
        ("nl-c4-one-after-add", 3 * (1024 * 512 + 512) + 512 * 1024 + 1024),
        ("gcb-r4-c3-c5", sum(n * (c + 1 + c * c // 2 + 3 * c // 4 + c) for n, c in ((4, 512), (6, 1024), (3, 2048)))),
    ],
)
def test_the_parameters_of_the_block_counted_by_hand(models, name, expected):
    def count(block):
        return sum(p.numel() for p in models[f"fcn_r50-d8{block}_4xb2-40k_cityscapes-512x1024"].parameters())

    assert count(f"-{name}") - count("") == expected


def test_the_camvid_gcnet_is_the_model_of_the_longer_recipe():
    short, long = (load_config(f"gcnet_r18-d8_1xb8-{n}_camvid-240x320") for n in ("300", "1k"))
    assert {**short.model.decode_head} == {
        k: v for k, v in long.model.decode_head.items() if k in short.model.decode_head
    }
    assert short.optim_wrapper == long.optim_wrapper and short.train_pipeline == long.train_pipeline
    assert short.model.backbone == long.model.backbone and short.model.auxiliary_head == long.model.auxiliary_head
