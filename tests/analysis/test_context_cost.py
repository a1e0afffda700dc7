import json
import re

import pytest
import torch

from gcseg.analysis import (
    Timing,
    compare_costs,
    cost_timing,
    count_complexity,
    find_recipes,
    measure_speed,
    peak_memory,
    time_interleaved,
)
from gcseg.utils import ConfigError

FCN, SE, SNL, GC, NL = (f"{net}_r18-d8_1xb8-300_camvid-240x320" for net in ("fcn", "senet", "snlnet", "gcnet", "nlnet"))
NARROW = {
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.decode_head.in_channels": 64,
    "model.auxiliary_head.in_channels": 32,
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def counted():
    return {name: count_complexity(name, (40, 56), NARROW) for name in (FCN, SE, SNL, GC, NL)}


# 128 channels at 5 x 7 positions. Pooled blocks: scores and pooling at every position, the transform once.
@pytest.mark.parametrize(
    ("name", "params", "flops"),
    [
        (SE, 2 * 128 * 8 + 8 + 128, 2 * 2 * 128 * 8),
        (SNL, 129 + 128 * 128 + 128, 2 * (35 * 128 + 35 * 128 + 128 * 128)),
        (GC, 129 + 2 * 128 * 32 + 32 + 64 + 128, 2 * (35 * 128 + 35 * 128 + 2 * 128 * 32)),
        (NL, 3 * (128 * 64 + 64) + 64 * 128 + 256, 2 * (4 * 35 * 128 * 64 + 2 * 35 * 35 * 64)),
    ],
)
def test_what_a_head_adds_to_the_plain_fcn_counted_by_hand(counted, name, params, flops):
    """Attention in a fused kernel counts like the two matrix products that it is."""
    assert counted[name].total_params - counted[FCN].total_params == params
    assert counted[name].total_flops - counted[FCN].total_flops == flops


def test_recipes_by_pattern():
    assert find_recipes(["context/*camvid*"]) == sorted([FCN, SE, SNL, GC, NL])
    default = find_recipes()
    assert len(default) == 25 and all("_r50-d8" in name and "cityscapes-512x1024" in name for name in default)
    assert "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024" in default
    with pytest.raises(ConfigError, match="'context/nothing'"):
        find_recipes(["context/*camvid*", "context/nothing"])


def test_rounds_are_interleaved_and_turned_round(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(cost_timing.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(cost_timing, "peak_memory", lambda work, device: 7)

    def work(name, cost):
        def run():
            calls.append(name)
            clock[0] += cost * len(calls)

        return run

    found = time_interleaved({"a": work("a", 1), "b": work("b", 10)}, 3, 1, CPU)
    assert "".join(calls) == "baabbaab"
    assert found["a"] == Timing((3, 6, 7), 7) and found["b"] == Timing((40, 50, 80), 7), "the warm-up does not count"


def test_the_figures_of_a_timing():
    base, other = Timing((1.0, 2.0, 4.0), 0), Timing((1.5, 2.2, 4.0), 0)
    assert base.median == 2 and base.spread == pytest.approx((3 - 1.5) / 2)
    assert other.relative_to(base) == pytest.approx(0.1), "the middle of +50%, +10% and 0%"
    assert Timing((1.0,), 0).spread == 0


def test_the_peak_of_memory_is_what_was_held_at_once():
    kept = []

    def work():
        torch.empty(4 * 2**20, dtype=torch.uint8)
        kept.append(torch.empty(2**20, dtype=torch.uint8))
        torch.empty(2 * 2**20, dtype=torch.uint8)

    assert 4 * 2**20 <= peak_memory(work, CPU) < 4.1 * 2**20

    def grows():
        a = torch.empty(4 * 2**20, dtype=torch.uint8)
        return a, torch.empty(3 * 2**20, dtype=torch.uint8)

    assert 7 * 2**20 <= peak_memory(grows, CPU) < 7.1 * 2**20


def test_a_comparison_of_narrow_networks():
    report = compare_costs(
        [NL, FCN], shape=[64, 48], batch_size=2, train=True, repeats=2, warmup=0, cfg_options=NARROW, device="cpu"
    )
    assert [cost.name for cost in report.costs] == [FCN, NL], "the plain FCN comes first"
    fcn, nl = report.costs
    assert fcn.params == count_complexity(FCN, [8], NARROW).total_params
    assert all(len(t.seconds) == 2 and min(t.seconds) > 0 for c in report.costs for t in (c.inference, c.training))
    assert nl.training.peak_bytes > fcn.training.peak_bytes > fcn.inference.peak_bytes > 2 * 8 * 32 * 24 * 4
    found = json.loads(json.dumps(report.as_dict()))
    assert found["costs"][1]["training"]["seconds"] == list(nl.training.seconds)
    assert found["setting"]["shape"] == [64, 48]
    table = [line for line in str(report).splitlines() if line.startswith("|")]
    assert len(table) == 4 and len({len(line) for line in table}) == 1
    assert [line.split("|")[1].strip() for line in table[2:]] == ["fcn", "nlnet"], "what all names share is left out"
    assert f"{nl.params / 1e6:.2f}" in table[3] and "batches of 2, 64 x 48, float32, cpu" in str(report)


def test_images_have_the_channels_of_each_recipe():
    options = {**NARROW, "model.backbone.in_channels": 4, "model.data_preprocessor": None}
    report = compare_costs([FCN], shape=[24], repeats=1, warmup=0, train=True, cfg_options=options, device="cpu")
    assert report.costs[0].training is not None
    plain = count_complexity(FCN, [24], NARROW)
    assert report.costs[0].flops - plain.total_flops == 2 * 12 * 12 * 9 * 4, (
        "one channel of a 3x3 stem for 4 at half size"
    )
    assert measure_speed(FCN, shape=24, device="cpu", repeats=1, warmup=1, cfg_options=options).fps > 0


@pytest.mark.parametrize("prepare", [True, False])
def test_preparation_is_what_is_timed(monkeypatch, prepare):
    seen = []
    monkeypatch.setattr(
        "gcseg.analysis.context_cost.time_interleaved",
        lambda works, *rest: seen.append(works[FCN].__closure__) or {},
    )
    compare_costs([FCN], shape=16, repeats=1, prepare=prepare, cfg_options=NARROW, device="cpu")
    model = next(c.cell_contents for c in seen[0] if isinstance(c.cell_contents, torch.nn.Module))
    norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    assert not model.training and (norms == 0 if prepare else norms > 15)
    assert model.auxiliary_head is None


def test_weights_that_have_one_name_and_shape_are_in_memory_once(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "gcseg.analysis.context_cost.time_interleaved", lambda works, *rest: seen.append(works.values()) or {}
    )
    compare_costs([FCN, GC], shape=[16], repeats=1, cfg_options=NARROW, device="cpu")
    models = [
        next(c.cell_contents for c in work.__closure__ if isinstance(c.cell_contents, torch.nn.Module))
        for work in seen[0]
    ]
    fcn, gc = ({n: p.data_ptr() for n, p in m.named_parameters()} for m in models)
    assert all(gc[name] == where for name, where in fcn.items()) and len(gc) > len(fcn)


def test_no_repetitions_count_alone():
    report = compare_costs([GC, FCN], shape=[64], repeats=0, device="cpu")
    assert report.costs[0].inference is report.costs[0].training is None
    assert re.search(r"\| gcnet +\| +12\.83 \| +\+0\.009 \| +1\.73 \| +\+0\.00 \|", str(report))
    assert "threads" not in str(report)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(configs=[FCN, "gcnet_r18-d8_1xb8-1200_demo-128x128"]), "128x128 and 240x320"),
        (dict(configs=[FCN, f"context/{FCN}.py"]), "each once"),
        (dict(configs=[]), "received 0 configs"),
        (dict(batch_size=0), "batch_size=0"),
        (dict(repeats=0, train=True), "training has no effect"),
        (dict(shape=[1, 2, 3]), "height and width"),
        (dict(dtype="float17"), "float16"),
    ],
)
def test_faults_are_told(options, message):
    with pytest.raises(ConfigError, match=message):
        compare_costs(**{"configs": [FCN], "device": "cpu", "repeats": 0, **options})
