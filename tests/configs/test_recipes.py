"""Every recipe in configs/ is found, says what its file name says, passes the checks, and builds."""

import re

import pytest
import torch
import yaml

from gcseg.config import configs_dir, load_config, recipes

PUBLISHED = [
    f"gcnet_{net}-d8_{gpus}-{iterations}k_{data}-{crop}"
    for gpus, data, crop, schedules in (
        ("4xb2", "cityscapes", "512x1024", (40, 80)),
        ("4xb2", "cityscapes", "769x769", (40, 80)),
        ("4xb4", "ade20k", "512x512", (80, 160)),
        ("4xb4", "voc12aug", "512x512", (20, 40)),
    )
    for iterations in schedules
    for net in ("r50", "r101")
]
NUM_CLASSES = {"cityscapes": 19, "ade20k": 150, "voc12aug": 21}
ALL = sorted(recipes())

# Counted in mmsegmentation's models: backbone and the parts of the heads that do not depend on the classes.
TENSORS = {50: 366, 101: 672}
BACKBONE = {50: 23_527_264, 101: 42_519_392}
PER_CLASS = (512 + 1) + (256 + 1)
HEADS_OF_19 = 23_738_260 + 2_364_691


def build(cfg):
    """The model without memory or initial values: shapes are all that is asked here."""
    from gcseg.registry import MODELS

    with torch.device("meta"):
        return MODELS.build(cfg.model)


def test_the_sixteen_published_recipes_are_found():
    assert len(PUBLISHED) == 16
    assert sorted(f.stem for f in (configs_dir() / "gcnet").glob("*.py")) == sorted(PUBLISHED)
    assert set(PUBLISHED) <= set(ALL)
    assert len(ALL) == len([f for f in configs_dir().rglob("*.py") if "_base_" not in f.parts]), "two of one name"


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_passes_the_checks_and_builds(name):
    cfg = load_config(name)
    assert cfg.default_scope == "gcseg"
    model = build(cfg)
    assert model.num_classes == cfg.model.decode_head.num_classes
    assert all(p.requires_grad for p in model.decode_head.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_says_what_its_name_says(name):
    depth, gpus, batch, iterations, data, height, width = re.fullmatch(
        r"gcnet_r(\d+)-d8_(\d)xb(\d)-(\d+)k_(\w+)-(\d+)x(\d+)", name
    ).groups()
    cfg = load_config(name)
    crop, steps, classes = (int(height), int(width)), int(iterations) * 1000, NUM_CLASSES[data]
    assert cfg.model.backbone.depth == int(depth)
    assert cfg.model.pretrained == f"open-mmlab://resnet{depth}_v1c"
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == classes
    assert cfg.crop_size == cfg.model.data_preprocessor.size == crop
    assert cfg.train_dataloader.batch_size == int(batch) and gpus == "4"
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == steps
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == steps // 10
    pipelines = [d.pipeline for d in cfg.train_dataloader.dataset.get("datasets", [cfg.train_dataloader.dataset])]
    for pipeline in pipelines:
        assert [t.crop_size for t in pipeline if t.type == "RandomCrop"] == [crop]
    if crop == (769, 769):
        assert cfg.model.test_cfg == dict(mode="slide", crop_size=crop, stride=(513, 513))
        assert cfg.model.decode_head.align_corners and cfg.model.auxiliary_head.align_corners
    else:
        assert cfg.model.test_cfg == dict(mode="whole")
        assert not cfg.model.decode_head.align_corners


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("data", ["cityscapes-512x1024", "ade20k-512x512", "voc12aug-512x512"])
def test_the_state_dict_has_the_size_of_the_published_one(depth, data):
    name = next(n for n in PUBLISHED if n.startswith(f"gcnet_r{depth}-") and n.endswith(data))
    model = build(load_config(name))
    classes = NUM_CLASSES[data.split("-")[0]]
    assert len(model.state_dict()) == TENSORS[depth]
    assert sum(p.numel() for p in model.backbone.parameters()) == BACKBONE[depth]
    heads = [*model.decode_head.parameters(), *model.auxiliary_head.parameters()]
    assert sum(p.numel() for p in heads) == HEADS_OF_19 + (classes - 19) * PER_CLASS


@pytest.mark.parametrize("name", [n for n in PUBLISHED if "_r50-" in n and re.search(r"-(20|40|80)k_", n)])
def test_every_named_part_of_a_recipe_can_be_built(name):
    from gcseg.registry import HOOKS, METRICS, TRANSFORMS

    cfg = load_config(name)
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline, cfg.tta_pipeline):
        for transform in pipeline:
            assert callable(TRANSFORMS.build(transform))
    assert METRICS.build(cfg.val_evaluator).metrics == ["mIoU"]
    for hook in cfg.default_hooks.values():
        assert HOOKS.get(hook.type) is not None, hook.type


def test_the_metafile_and_the_table_list_exactly_the_published_recipes():
    folder = configs_dir() / "gcnet"
    models = yaml.safe_load((folder / "metafile.yaml").read_text())["Models"]
    assert sorted(m["Name"] for m in models) == sorted(PUBLISHED)
    table = (folder / "README.md").read_text()
    for model in models:
        net, data, crop = re.fullmatch(r"gcnet_(r\d+)-d8_4xb\d-\d+k_(\w+)-(\w+)", model["Name"]).groups()
        stem = model["Weights"].split("/")[-1]
        assert stem.startswith(f"gcnet_{net}-d8_{crop}_") and f"_{data}_" in stem
        assert re.search(r"-[0-9a-f]{8}\.pth$", stem), "the file name carries the start of its sha256"
        assert (configs_dir().parent / model["Config"]).is_file()
        metrics = model["Results"]["Metrics"]
        assert 40 < metrics["mIoU"] < metrics["mIoU(ms+flip)"] < 82
        row = next(line for line in table.splitlines() if f"[{model['Name']}]" in line)
        assert model["Weights"] in row and f"| {metrics['mIoU']:.2f} | {metrics['mIoU(ms+flip)']:.2f} |" in row


@pytest.mark.parametrize("name", [f.stem for f in sorted((configs_dir() / "machines").glob("*cityscapes*.py"))])
def test_recipes_for_other_machines_see_the_same_images_in_steps_of_the_same_size(name):
    cfg, published = load_config(name), load_config("gcnet_r50-d8_4xb2-40k_cityscapes-512x1024")
    processes, per_process = map(int, re.search(r"_(\d)xb(\d)-", name).groups())
    accumulated = cfg.optim_wrapper.get("accumulative_counts", 1)
    assert cfg.train_dataloader.batch_size == per_process
    assert processes * per_process * accumulated == 8 == (cfg.get("auto_scale_lr") or {}).get("base_batch_size", 8)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == published.train_cfg.max_iters * accumulated
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == cfg.train_cfg.max_iters // 10
    assert cfg.optim_wrapper.optimizer == published.optim_wrapper.optimizer
    assert cfg.model == published.model
