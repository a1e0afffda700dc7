import json

import numpy as np
import pytest
import torch
from PIL import Image

from gcseg.apis import init_model

TOOL = "analysis_tools/compare_context.py"
FCN, NL = (f"{net}_r18-d8_1xb8-300_camvid-240x320" for net in ("fcn", "nlnet"))
DEMO = "nlnet_r18-d8_1xb8-1200_demo-128x128"


def test_cost_counts_the_recipes_of_a_pattern(call, tmp_path):
    args = ("--recipes", "context/[fn]*camvid*", "--shape", 64, "--repeats", 0)
    code, out, _ = call(TOOL, "cost", *args, "--json", tmp_path / "c.json", "--markdown", tmp_path / "c.md")
    assert code == 0
    found = json.loads((tmp_path / "c.json").read_text())
    assert [cost["name"] for cost in found["costs"]] == [FCN, NL] and found["setting"]["shape"] == [64, 64]
    assert (tmp_path / "c.md").read_text() == out and "| nlnet " in out


def test_cost_times_named_configs_as_told(call, tmp_path):
    options = ["--cfg-options", "model.backbone.base_channels=8", "model.decode_head.in_channels=64"]
    options += ["model.auxiliary_head.in_channels=32", "--device", "cpu"]
    settings = ["--shape", 16, 24, "--batch-size", 2, "--repeats", 3, "--warmup", 0, "--unprepared", "--train"]
    code, out, _ = call(TOOL, "cost", FCN, *settings, *options, "--json", tmp_path / "c.json")
    assert code == 0 and "batches of 2, 16 x 24" in out and "not prepared" in out
    cost = json.loads((tmp_path / "c.json").read_text())["costs"][0]
    assert len(cost["inference"]["seconds"]) == len(cost["training"]["seconds"]) == 3


def test_attention_of_a_checkpoint(call, tmp_path):
    config = tmp_path / "small.py"
    model = init_model(DEMO, device="cpu", cfg_options={"test_dataloader.dataset.pipeline.1.scale": (64, 32)})
    model.cfg.dump(config)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "small.pth")
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (32, 64, 3), np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "images" / f"{i}.png")
    spec = [config, tmp_path / "small.pth", "decode_head.nl_block"]
    settings = ["--max-images", 2, "--pairs", 50, "--seed", 4, "--device", "cpu", "--query", 0, 1, "--query", 3, 7]
    files = ["--images", tmp_path / "images", "--picture", tmp_path / "p.png", "--json", tmp_path / "a.json"]
    code, out, _ = call(TOOL, "attention", "--nl", *spec, "--gc", *spec, *settings, *files)
    assert code == 0 and "2 images, 4x8 positions" in out
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["pairs"] == 50 and found["mean"]["other_cosine"] == pytest.approx(0, abs=1e-6)
    assert found["mean"]["context_cosine"] is None, "an untrained block adds nothing"
    assert np.asarray(Image.open(tmp_path / "p.png")).shape[1] == 4 * 328 - 8


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["cost", "--recipes", "nothing/*"], "nothing/*"),
        (["cost", FCN, "--repeats", 0, "--train"], "no effect"),
        (["attention", "--nl", DEMO], "CONFIG CHECKPOINT [BLOCK]; received 1"),
        (["attention", "--nl", DEMO, "x.pth", "--query", 1, 2], "--picture"),
        (["attention", "--nl", DEMO, "gone.pth"], "gone.pth"),
    ],
)
def test_errors_are_one_paragraph(call, args, message):
    code, _, err = call(TOOL, *args)
    assert code == 2 and message in err and err.strip().splitlines()[-1].startswith("gcseg: error: ")
