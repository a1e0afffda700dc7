"""Checks of a config: names and the agreement of values."""

import copy
import warnings

import pytest

from gcseg.config import load_config
from gcseg.config_check import check_config
from gcseg.config_values import innermost_datasets, option_of, warn_of_schedule
from gcseg.utils import ConfigError

CITYSCAPES = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"


@pytest.fixture(scope="module")
def good():
    return load_config(CITYSCAPES, check=False)


def broken(cfg, changes):
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(changes)
    return cfg


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model.decode_head.type": "GCHed"}, r"model\.decode_head: .*'GCHed'.*'GCHead'"),
        ({"model.decode_head.ration": 0.5}, r"model\.decode_head: .*key of GCHead 'ration'.*'ratio'"),
        ({"model.decode_head.loss_decode.type": "CrossEntropyLos"}, r"loss_decode: .*'CrossEntropyLoss'"),
        ({"model.backbone.dilation": (1, 1, 2, 4)}, r"model\.backbone: .*'dilation'.*'dilations'"),
        ({"model.backbone.norm_cfg.type": "SyncBm"}, r"model\.backbone\.norm_cfg: .*'SyncBm'.*'SyncBN'"),
        ({"train_dataloader.dataset.type": "CityscapeDataset"}, r"train_dataloader\.dataset: .*'CityscapesDataset'"),
        ({"train_dataloader.dataset.data_rot": "x"}, r"train_dataloader\.dataset: .*'data_rot'.*'data_root'"),
        ({"train_dataloader.dataset.pipeline.3.crop_sise": 3}, r"pipeline\[3\]: .*'crop_sise'.*'crop_size'"),
        ({"train_dataloader.sampler.type": "InfinitSampler"}, r"train_dataloader\.sampler: .*'InfiniteSampler'"),
        ({"train_dataloader.batchsize": 4}, r"train_dataloader: .*'batchsize'.*'batch_size'"),
        ({"train_dataloader.batch_size": 0}, r"train_dataloader\.batch_size: received 0, .* from 1"),
        ({"custom_hooks": [{"type": "EMAHook", "ema_type": "ExponentialMovingAvg"}]}, r"ema_type.*MovingAverage'"),
        ({"val_evaluator.iou_metric": ["mIoU"]}, r"val_evaluator: .*'iou_metric'.*'iou_metrics'"),
        ({"default_hooks.checkpoint.intervall": 1}, r"default_hooks\.checkpoint: .*'intervall'.*'interval'"),
        ({"optim_wrapper.optimizer.type": "SDG"}, r"optim_wrapper\.optimizer: .*'SDG'"),
        ({"optim_wrapper.optimizer.learning_rate": 1}, r"optim_wrapper\.optimizer: .*key of SGD 'learning_rate'"),
        ({"param_scheduler.0.powr": 1}, r"param_scheduler\[0\]: .*'powr'.*'power'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_misspelt_name_gets_the_nearest(good, change, said):
    with pytest.raises(ConfigError, match=said):
        check_config(broken(good, change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "abc"}, r"model: received 'abc', expected Union\[Module, Dict"),
        ({"train_cfg": [1]}, r"train_cfg: received \[1\], expected Optional\[Dict"),
        ({"resume": "abc"}, r"resume: received 'abc', expected bool"),
        ({"randomness": {"deterministic": "abc"}}, r"randomness\.deterministic: received 'abc', expected bool"),
        ({"env_cfg.mp_cfg.opencv_num_threads": "abc"}, r"env_cfg\.mp_cfg\.opencv_num_threads: received 'abc'"),
        ({"model.backbone": "abc"}, r"model\.backbone: received 'abc', expected dict"),
        ({"model.backbone.strides": (1, "abc")}, r"backbone\.strides: received \(1, 'abc'\), expected Sequence\[int\]"),
        ({"model.decode_head.channels": "abc"}, r"model\.decode_head\.channels: received 'abc', expected int"),
        ({"model.decode_head.loss_decode.loss_weight": "abc"}, r"loss_decode\.loss_weight: received 'abc', .* float"),
        ({"model.decode_head.norm_cfg.type": 3}, r"model\.decode_head\.norm_cfg: unknown type in models '3'"),
        ({"model.decode_head.norm_cfg": "abc"}, r"model\.decode_head\.norm_cfg: received 'abc', expected dict"),
        ({"train_dataloader.batch_size": "abc"}, r"train_dataloader\.batch_size: received 'abc', expected .*int"),
        ({"train_dataloader.dataset": None}, r"train_dataloader\.dataset: received None, expected dict"),
        ({"train_dataloader.sampler": "abc"}, r"train_dataloader\.sampler: received 'abc', expected dict"),
        ({"train_dataloader.dataset.pipeline.3.crop_size": "abc"}, r"pipeline\[3\]\.crop_size: received 'abc'"),
        ({"train_cfg.max_iters": "abc"}, r"train_cfg\.max_iters: received 'abc', expected int"),
        ({"optim_wrapper.optimizer.lr": "a"}, r"optim_wrapper\.optimizer\.lr: received 'a', expected float"),
        (
            {"optim_wrapper.paramwise_cfg": "abc"},
            r"optim_wrapper\.paramwise_cfg: received 'abc', expected Optional\[dict",
        ),
        ({"param_scheduler.0.end": "abc"}, r"param_scheduler\[0\]\.end: received 'abc', expected int"),
        ({"default_hooks.logger.interval": "abc"}, r"default_hooks\.logger\.interval: received 'abc', expected int"),
        (
            {"default_hooks.timer.priority": "abc"},
            r"timer\.priority: received 'abc', allowed are 0 to 100 and HIGHEST, ",
        ),
        ({"default_hooks.timer.priority": 101}, r"timer\.priority: received 101, allowed are 0 to 100"),
        ({"custom_hooks": [dict(type="EMAHook", momentum="abc")]}, r"custom_hooks\[0\]\.momentum: received 'abc'"),
        ({"env_cfg.dist_cfg": "abc"}, r"env_cfg\.dist_cfg: received 'abc', expected dict"),
        ({"log_processor.window_size": "abc"}, r"log_processor\.window_size: received 'abc', expected int"),
        ({"log_processor.num_digits": "abc"}, r"log_processor\.num_digits: received 'abc', expected int"),
        ({"train_cfg.type": "abc"}, r"train_cfg: unknown type in loops 'abc'"),
        ({"model.backbone.type": 3}, r"model\.backbone: unknown type in models '3'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_value_of_the_wrong_kind_is_named(good, change, said):
    with pytest.raises(ConfigError, match=said):
        check_config(broken(good, change))


@pytest.mark.parametrize(
    ("clipping", "said"),
    [
        (dict(max_norm="abc"), r"clip_grad\.max_norm: received 'abc', expected float"),
        (dict(norm=1), r"clip_grad: unknown key of clip_grad_norm_ 'norm'\. Did you mean 'max_norm' or 'norm_type'"),
        (dict(norm_type=2), r"clip_grad: clip_grad_norm_ needs `max_norm`, not given"),
        (dict(type="value", max_norm=1), r"clip_grad: unknown key of clip_grad_value_ 'max_norm'"),
        (dict(type="norm", max_norm=1, norm_type=2), None),
        (dict(type="value", clip_value=1), None),
    ],
    ids=str,
)
def test_clipping(good, clipping, said):
    cfg = copy.deepcopy(good)
    cfg.optim_wrapper.clip_grad = clipping
    if said is None:
        return check_config(cfg)
    with pytest.raises(ConfigError, match=r"^optim_wrapper\." + said):
        check_config(cfg)


def test_a_data_loader_without_data(good):
    cfg = copy.deepcopy(good)
    del cfg.train_dataloader["dataset"]
    with pytest.raises(ConfigError, match=r"train_dataloader: DataLoader needs `dataset`, not given"):
        check_config(cfg)


@pytest.mark.parametrize("place", ["train_dataloader.dataset", "train_dataloader.sampler", "param_scheduler.0"])
def test_a_part_without_a_type(good, place):
    cfg = copy.deepcopy(good)
    part = cfg.param_scheduler[0] if place.endswith("0") else cfg.train_dataloader[place.partition(".")[2]]
    del part["type"]
    with pytest.raises(ConfigError, match=r"(dataset|sampler|\[0\]): no `type`, the class to build; received \{"):
        check_config(cfg)


@pytest.mark.parametrize("key", ["max_iters", "val_interval"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_training_of_no_iterations_is_refused(good, key, value):
    with pytest.raises(ConfigError, match=rf"train_cfg\.{key}: received {value}, allowed are whole numbers from 1"):
        check_config(broken(good, {f"train_cfg.{key}": value}))
    cfg = copy.deepcopy(good)
    cfg.train_cfg = dict(by_epoch=True, max_epochs=value)
    with pytest.raises(ConfigError, match=rf"train_cfg\.max_epochs: received {value}"):
        check_config(cfg)


@pytest.mark.parametrize(
    ("place", "hidden"),
    [
        ("optim_wrapper", {"cpu_probe", "gpu_probe", "use_fsdp"}),
        ("param_scheduler.0", {"optimizer"}),
        ("train_cfg", {"runner", "dataloader"}),
        ("train_dataloader.sampler", {"dataset"}),
    ],
)
def test_known_keys_are_those_a_config_may_have(good, place, hidden):
    cfg = broken(good, {"optim_wrapper.type": "AmpOptimWrapper", f"{place}.qqqqqqqq": 1})
    with pytest.raises(ConfigError, match=r"'qqqqqqqq'\. Known: ") as caught:
        check_config(cfg)
    known = set(str(caught.value).partition("Known: ")[2].rstrip(".").split(", "))
    assert known and not known & hidden


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"default_hooks.checkpoint.save_best": "mIou"}, r"checkpoint\.save_best: .*'mIou'.*'mIoU'"),
        ({"default_hooks.checkpoint.save_best": ["mIoU", "mDice"]}, r"checkpoint\.save_best: .*'mDice'"),
        ({"custom_hooks": [{"type": "EarlyStoppingHook", "monitor": "miou"}]}, r"custom_hooks\[0\]\.monitor: .*'miou'"),
        ({"val_evaluator.prefix": "x", "default_hooks.checkpoint.save_best": "mIoU"}, "'x/mIoU'"),
    ],
    ids=str,
)
def test_a_watched_score_that_is_not_computed(good, change, said):
    with pytest.raises(ConfigError, match=said):
        check_config(broken(good, change))


@pytest.mark.parametrize("watched", ["mIoU", "auto", ["x/mDice", "aAcc"]], ids=str)
def test_watched_scores_that_are_computed(good, watched):
    cfg = broken(good, {"default_hooks.checkpoint.save_best": watched})
    cfg.val_evaluator = [dict(type="IoUMetric"), dict(type="IoUMetric", iou_metrics=["mDice"], prefix="x")]
    check_config(cfg)
    cfg.val_evaluator = dict(type="IoUMetric", iou_metrics=["mIou"])  # of which the metric says what is wrong
    check_config(cfg)
    cfg.val_evaluator = dict(type="CityscapesMetric", output_dir="out")
    check_config(cfg)


@pytest.mark.parametrize(
    "change",
    [
        {"optim_wrapper.paramwise_cfg": {"norm_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}}},
        {"optim_wrapper.constructor": "DefaultOptimWrapperConstructor"},
        {"param_scheduler.0.convert_to_iter_based": True},
        {"custom_hooks": [{"type": "EMAHook", "momentum": 0.01, "priority": 49}]},
        {"default_hooks.timer.priority": "HIGH"},
        {"default_hooks.checkpoint": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_runner_takes_for_itself_is_no_unknown_key(good, change):
    check_config(broken(good, change))


def test_a_missing_argument_is_named(good):
    cfg = copy.deepcopy(good)
    del cfg.model.decode_head["num_classes"]
    with pytest.raises(ConfigError, match=r"model\.decode_head: GCHead needs `num_classes`"):
        check_config(cfg)


@pytest.mark.parametrize("train_cfg", [dict(), dict(type="IterBasedTrainLoop")])
def test_a_training_loop_without_its_length_is_named(good, train_cfg):
    cfg = copy.deepcopy(good)
    cfg.train_cfg = train_cfg
    with pytest.raises(ConfigError, match=r"train_cfg: .*max_iters"):
        check_config(cfg)


def test_a_misspelt_top_level_key_is_found(good):
    cfg = copy.deepcopy(good)
    cfg.optim_wraper = cfg.pop("optim_wrapper")
    with pytest.raises(ConfigError, match="optim_wrapper"):
        check_config(cfg)


def test_variables_of_any_name_are_allowed(good):
    check_config(broken(good, {"my_favourite_numbers": dict(a=1), "crop": (2, 2)}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model.decode_head.num_classes": 21}, r"decode_head\.num_classes is 21 but .* has 19 classes"),
        ({"model.auxiliary_head.num_classes": 18}, r"auxiliary_head\.num_classes is 18"),
        ({"model.decode_head.in_channels": 512}, r"in_channels is 512 but feature map 3 .* has 2048 channels"),
        ({"model.backbone.depth": 18}, r"has 512 channels"),
        ({"model.auxiliary_head.in_index": 4}, r"in_index is 4 but the backbone"),
        ({"model.data_preprocessor.size": (256, 256)}, r"size is \(256, 256\) but .*crop_size is \(512, 1024\)"),
        ({"model.decode_head.ignore_index": 254}, r"ignored label differs.*decode_head\.ignore_index=254"),
        ({"model.data_preprocessor.seg_pad_val": 0}, r"ignored label differs.*seg_pad_val=0"),
        ({"val_evaluator.ignore_index": 0}, r"ignored label differs.*val_evaluator\.ignore_index=0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_that_disagree_are_named(good, change, said):
    with pytest.raises(ConfigError, match=said):
        check_config(broken(good, change))


@pytest.mark.parametrize(
    ("paramwise", "said"),
    [
        (dict(norm_decay_mult=0.0), r"paramwise_cfg\.norm_decay_mult multiplies .*weight_decay, which is not given"),
        (dict(custom_keys={"head": dict(decay_mult=0.0)}), r"paramwise_cfg\.custom_keys\.head\.decay_mult multiplies"),
        (dict(bias_lr_mult=2.0), r"paramwise_cfg\.bias_lr_mult multiplies optim_wrapper\.optimizer\.lr, which is not"),
    ],
    ids=["norm", "custom", "lr"],
)
def test_a_factor_of_what_is_not_there(good, paramwise, said):
    cfg = copy.deepcopy(good)
    cfg.optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW"), paramwise_cfg=paramwise)
    with pytest.raises(ConfigError, match=said):
        check_config(cfg)
    cfg.optim_wrapper.constructor = "LayerDecayOptimWrapperConstructor"  # has factors of its own
    check_config(cfg)
    del cfg.optim_wrapper["constructor"]
    cfg.optim_wrapper.optimizer.update(lr=0.1, weight_decay=0.01)
    check_config(cfg)


def test_classes_of_a_wrapped_data_set_are_compared(good):
    cfg = copy.deepcopy(good)
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=cfg.train_dataloader.dataset)
    check_config(cfg)
    cfg.train_dataloader.dataset.dataset["metainfo"] = dict(classes=("road", "car"))
    with pytest.raises(ConfigError, match=r"train_dataloader\.dataset\.dataset .* has 2 classes"):
        check_config(cfg)


PLUGIN = dict(cfg=dict(type="SimplifiedNonLocal", postfix="_1"), blocks=(-2,), position="after_add")


def test_blocks_get_their_channels_from_what_is_around_them(good):
    head = {"type": "ContextHead", "block": {"type": "GeneralContext", "fusion": "scale"}}
    changed = broken(good, {"model.backbone.plugins": [PLUGIN]})
    for key in ("ratio", "pooling_type", "fusion_types"):
        del changed.model.decode_head[key]
    changed.model.decode_head.update(head)
    check_config(changed)


@pytest.mark.parametrize(
    ("cfg", "said"),
    [
        (dict(type="ContextBlock", ration=1 / 4), r"plugins\[0\]\.cfg: .*'ration'.*'ratio'"),
        (dict(type="GeneralContext", modeling="average"), r"'modeling'.*'modelling'"),
        (dict(type="GeneralContext", modelling="avg"), r"'avg'.*attention, average, pairwise"),
        (dict(type="ContextBlok"), r"'ContextBlok'.*'ContextBlock'"),
    ],
)
def test_options_of_blocks_are_checked(good, cfg, said):
    with pytest.raises(ConfigError, match=said):
        check_config(broken(good, {"model.backbone.plugins": [dict(PLUGIN, cfg=cfg, position="after_conv3")]}))


def test_a_schedule_that_does_not_end_with_the_training_is_told(good):
    with pytest.warns(UserWarning, match=r"max_iters is 20, .*iteration 40000.*param_scheduler\.0\.end=20"):
        warn_of_schedule(broken(good, {"train_cfg.max_iters": 20}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_schedule(broken(good, {"train_cfg.max_iters": 20, "param_scheduler.0.end": 20}))
        check_config(broken(good, {"train_cfg.max_iters": 20}))  # whoever predicts or tests does not care


def test_data_sets_inside_others_are_found_in_their_order():
    parts = [dict(type="ADE20KDataset", data_root=name) for name in "abc"]
    pair = dict(type="ConcatDataset", datasets=parts[:2])
    whole = dict(type="ConcatDataset", datasets=[dict(type="RepeatDataset", times=2, dataset=pair), parts[2]])
    found = dict(innermost_datasets({"train_dataloader": {"dataset": whole}}))
    inside = "train_dataloader.dataset.datasets"
    places = [f"{inside}[0].dataset.datasets[0]", f"{inside}[0].dataset.datasets[1]", f"{inside}[1]"]
    assert list(found.items()) == list(zip(places, parts, strict=True))
    assert option_of(places[1]) == f"{inside}.0.dataset.datasets.1"
