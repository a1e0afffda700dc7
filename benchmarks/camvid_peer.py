"""Train and evaluate mmsegmentation on gcseg's CamVid recipe, for the comparison in docs/camvid.md.

Run it in an environment of its own that has the peer (requirements/parity.txt):

    GCSEG_CAMVID=data/camvid python benchmarks/camvid_peer.py --amp --work-dir work_dirs/camvid_peer

The recipe is read with mmengine alone; what the peer lacks is supplied here: the void label (a transform after
LoadAnnotations), and bf16 on a CPU, which its own optimizer wrapper refuses.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmseg.registry import OPTIM_WRAPPERS, TRANSFORMS
from mmseg.utils import register_all_modules

RECIPE = Path(__file__).parents[1] / "configs/camvid/gcnet_r18-d8_1xb8-1k_camvid-240x320.py"


@TRANSFORMS.register_module()
class VoidLabels:
    """Turn the given labels into 255."""

    def __init__(self, labels):
        self.labels = labels

    def __call__(self, results):
        seg = results["gt_seg_map"]
        for label in self.labels:
            seg[seg == label] = 255
        return results


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Forward passes in bf16 where autocast chooses it."""

    def optim_context(self, model):
        """See mmengine."""
        return torch.autocast("cpu", torch.bfloat16)


class ChannelsLast:
    """Wrap a data preprocessor's forward so that the batch is channels_last."""

    def __init__(self, forward):
        self.forward = forward

    def __call__(self, data, training=False):
        out = self.forward(data, training)
        if torch.is_tensor(out["inputs"]):
            out["inputs"] = out["inputs"].contiguous(memory_format=torch.channels_last)
        return out


def peer_config(args: argparse.Namespace) -> Config:
    cfg = Config.fromfile(RECIPE)
    cfg.default_scope = "mmseg"
    classes = (
        *("sky", "building", "pole", "road", "pavement", "tree"),
        *("sign symbol", "fence", "car", "pedestrian", "bicyclist"),
    )
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        dataset = cfg[loader].dataset
        void = {"type": "VoidLabels", "labels": dataset.pop("void_labels")}
        dataset.type = "BaseSegDataset"
        dataset.metainfo = {"classes": classes, "palette": [[i * 20, i * 20, i * 20] for i in range(11)]}
        position = [t.type for t in dataset.pipeline].index("LoadAnnotations")
        dataset.pipeline.insert(position + 1, void)
    steps = cfg.tta_pipeline[-1].transforms
    steps.insert([step[0]["type"] for step in steps].index("LoadAnnotations") + 1, [void])
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    cfg.pop("custom_hooks", None)
    cfg.work_dir = args.work_dir
    cfg.randomness = {"seed": args.seed}
    if args.iters:
        cfg.train_cfg.max_iters = args.iters
        cfg.train_cfg.val_interval = args.iters
        cfg.default_hooks.checkpoint.interval = args.iters
        cfg.param_scheduler[-1].end = args.iters
    if args.amp:
        cfg.optim_wrapper.type = "CpuAmpOptimWrapper"
    return cfg


def ms_flip(args: argparse.Namespace, trained: torch.nn.Module) -> dict[str, float]:
    """Multi-scale + flip evaluation of a trained model by the peer's own TTA model."""
    cfg = peer_config(args)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = dict(type="SegTTAModel", module=cfg.model)
    cfg.work_dir = f"{args.work_dir}/tta"
    runner = Runner.from_cfg(cfg)
    runner.model.module.load_state_dict(trained.state_dict())
    return runner.test()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", default="work_dirs/camvid_peer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iters", type=int, help="a shorter schedule")
    parser.add_argument("--amp", action="store_true", help="bf16 autocast and channels_last")
    parser.add_argument("--checkpoint", help="do not train, evaluate this file")
    parser.add_argument("--tta", action="store_true", help="evaluate multi-scale + flip as well (minutes on a CPU)")
    args = parser.parse_args()
    register_all_modules(init_default_scope=True)
    cfg = peer_config(args)
    runner = Runner.from_cfg(cfg)
    if args.amp:
        runner.model.to(memory_format=torch.channels_last)
        runner.model.data_preprocessor.forward = ChannelsLast(runner.model.data_preprocessor.forward)
    if args.checkpoint:
        runner.load_checkpoint(args.checkpoint)
    else:
        runner.train()
    result = {"seed": args.seed, "single": runner.val()}
    if args.tta:
        result["ms_flip"] = ms_flip(args, runner.model)
    Path(args.work_dir, "result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
