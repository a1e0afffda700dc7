"""Write the golden files from the oracle (onedl-mmsegmentation 1.4.2, see requirements/parity.txt).

    python tests/golden/make_golden.py                       # the oracle's environment
    python tests/golden/make_golden.py --mmengine            # an environment with mmengine 0.10.7 as published

The first writes models.npz, losses.npz, metrics.json, predict.npz, oracle.pth and v05.pth; the second reads oracle.pth
and writes mmengine.pth, the same weights saved by another mmengine. No gcseg is imported.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import setuptools  # noqa: F401 - brings the distutils that mmengine's environment report imports
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
import golden_tools as golden

warnings.simplefilter("ignore")


def build(cfg: dict) -> nn.Module:
    from mmengine.registry import DefaultScope
    from mmseg.registry import MODELS

    with DefaultScope.overwrite_default_scope("mmseg"):
        return MODELS.build(copy.deepcopy(cfg))


def sample(label: np.ndarray | None, **meta):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    out = SegDataSample(metainfo=meta)
    if label is not None:
        out.gt_sem_seg = PixelData(data=torch.as_tensor(label)[None])
    return out


def plain_meta(shape: tuple[int, int]) -> dict:
    return dict(ori_shape=shape, img_shape=shape, pad_shape=shape, padding_size=[0, 0, 0, 0])


def models() -> dict[str, np.ndarray]:
    """Logits in training and evaluation mode, losses, digests of all gradients and of the running statistics."""
    out = {}
    for name, cfg in golden.MODELS.items():
        model = golden.set_weights(build(cfg).double())
        images = torch.as_tensor(golden.uniform(golden.IMAGE, 1, -2, 2))
        marks = golden.labels((golden.IMAGE[0], *golden.IMAGE[2:]), 3)
        samples = [sample(mark, **plain_meta(golden.IMAGE[2:])) for mark in marks]
        with torch.no_grad():
            out[f"{name}/eval"] = model.eval()(images).numpy()
        losses = model.train().loss(images, samples)
        for key, value in losses.items():
            out[f"{name}/loss/{key}"] = value.detach().double().reshape(-1)[0].numpy()
        sum(value for key, value in losses.items() if "loss" in key).backward()
        names, parameters = zip(*model.named_parameters(), strict=True)
        out[f"{name}/names"] = np.array(names)
        digests = [golden.digest(key, value.grad) for key, value in zip(names, parameters, strict=True)]
        out[f"{name}/gradients"] = np.stack(digests)
        running = {key: value for key, value in model.state_dict().items() if "running" in key}
        out[f"{name}/running"] = np.stack([golden.digest(key, value) for key, value in running.items()])
    return out


def losses() -> dict[str, np.ndarray]:
    """Value and gradient of each loss."""
    out = {}
    for name, (cfg, ignored) in golden.LOSSES.items():
        logits = torch.as_tensor(golden.uniform(golden.LOGITS, 11, -3, 3)).requires_grad_()
        shape = (golden.LOGITS[0], *golden.LOGITS[2:])
        label = torch.as_tensor(golden.labels(shape, 13, ignored=0.15 if ignored else 0.0))
        value = build(cfg)(logits, label, ignore_index=255)
        value.sum().backward()
        out[f"{name}/value"], out[f"{name}/gradient"] = value.detach().numpy(), golden.digest(name, logits.grad)
    for name, cfg in golden.SAMPLERS.items():
        head = build(golden.model_config(dict(sampler=cfg))["decode_head"]).double()
        logits = torch.as_tensor(golden.uniform(golden.LOGITS, 11, -3, 3))
        shape = (golden.LOGITS[0], 1, *golden.LOGITS[2:])
        out[f"{name}/weight"] = head.sampler.sample(logits, torch.as_tensor(golden.labels(shape, 13))).numpy()
        parts = head.loss_by_feat(logits, [sample(mark) for mark in golden.labels(shape, 13)[:, 0]])
        out[f"{name}/loss"] = parts["loss_ce"].numpy()
    return out


def metrics() -> dict[str, dict]:
    """The figures that the oracle prints, in per cent with two decimals; null where it says nan."""
    from mmseg.evaluation import IoUMetric

    out = {}
    for name, kwargs in golden.METRICS.items():
        for absent in (False, True):
            metric = IoUMetric(**kwargs)
            metric.dataset_meta = golden.CHECKPOINT_META
            pairs = golden.metric_maps(absent)
            metric.process({}, [
                dict(pred_sem_seg=dict(data=torch.as_tensor(p)[None]), gt_sem_seg=dict(data=torch.as_tensor(t)[None]))
                for p, t in pairs
            ])  # fmt: skip
            found = metric.evaluate(len(pairs))
            key = f"{name}/{'absent' if absent else 'present'}"
            out[key] = {k: None if np.isnan(v) else round(float(v), 2) for k, v in found.items()}
    return out


def predictions(model: nn.Module) -> dict[str, np.ndarray]:
    """Whole, slide, multi-scale + flip prediction of the checkpoint model; every fourth row and column."""
    from mmengine.config import ConfigDict
    from mmseg.models import SegTTAModel

    out = {}
    model = model.double().eval()
    image = torch.as_tensor(golden.uniform(golden.PREDICT_IMAGE, 21, -2, 2))
    meta = dict(plain_meta(golden.PREDICT_IMAGE[2:]), ori_shape=golden.ORI_SHAPE)
    with torch.no_grad():
        for mode, cfg in (("whole", dict(mode="whole")), ("slide", golden.SLIDE)):
            model.test_cfg = ConfigDict(cfg)
            (result,) = model.predict(image, [sample(None, **meta)])
            out[f"{mode}/logits"] = result.seg_logits.data.numpy()[:, ::4, ::4]
            out[f"{mode}/pred"] = result.pred_sem_seg.data.numpy().astype(np.uint8)
        model.test_cfg = ConfigDict(mode="whole")
        views = [
            model.predict(torch.as_tensor(view)[None], [sample(None, **view_meta)])[0]
            for view, view_meta in golden.tta_views()
        ]
        (merged,) = SegTTAModel(model).merge_preds([views])
        out["tta/pred"] = merged.pred_sem_seg.data.numpy().astype(np.uint8)
        out["tta/mean"] = torch.stack([view.seg_logits.data.softmax(0) for view in views]).mean(0).numpy()[:, ::4, ::4]
    return out


class Photographs(torch.utils.data.Dataset):
    """Four made images; mmengine's runner copies ``metainfo`` into the checkpoint."""

    metainfo = dict(golden.CHECKPOINT_META, label_map=None, reduce_zero_label=False)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        image = torch.as_tensor(golden.uniform((3, 32, 32), 200 + index, 0, 255)).to(torch.uint8)
        return dict(inputs=image)


def run(model: nn.Module, target: Path, lr: float) -> None:
    """Two iterations of mmengine's own Runner, whose CheckpointHook writes the file that is kept."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # mmengine puts the commit of the current folder into its version
        runner(model, folder, lr).train()
        shutil.copyfile(Path(folder) / "iter_2.pth", target)


def runner(model: nn.Module, folder: str, lr: float):
    """An iteration-based Runner over four made images."""
    from mmengine.runner import Runner

    return Runner(
        model=model,
        work_dir=folder,
        train_dataloader=dict(
            dataset=Photographs(),
            batch_size=2,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=True),
            collate_fn=dict(type="default_collate"),
        ),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=lr, momentum=0.9, weight_decay=0.0)),
        param_scheduler=[dict(type="PolyLR", power=0.9, eta_min=0.0, begin=0, end=2, by_epoch=False)],
        train_cfg=dict(by_epoch=False, max_iters=2),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2),
            logger=dict(type="LoggerHook", interval=1),
        ),
        default_scope="mmengine",
        randomness=dict(seed=0),
        experiment_name="golden",
        cfg=dict(model=dict(type="EncoderDecoder")),
    )


def as_trainer(model: nn.Module) -> nn.Module:
    """A BaseModel whose state dict is that of ``model`` and whose loss touches every parameter."""
    from mmengine.model import BaseModel

    class Trainer(BaseModel):
        def forward(self, inputs, data_samples=None, mode="loss"):
            return dict(loss_ce=sum((p**2).sum() for p in self.parameters()) + 0 * inputs.float().mean())

    trainer = Trainer()
    del trainer.data_preprocessor
    for name, child in model.named_children():
        if name != "data_preprocessor":
            trainer.add_module(name, child)
    from mmengine.model import BaseDataPreprocessor

    trainer.data_preprocessor = BaseDataPreprocessor()
    return trainer


def tree(state: dict[str, torch.Tensor]) -> nn.Module:
    """Modules that hold ``state`` under its names: what the other mmengine saves without the oracle's classes."""
    root = nn.Module()
    for name, value in state.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        if "running" in leaf or "num_batches" in leaf:
            module.register_buffer(leaf, value.clone())
        else:
            module.register_parameter(leaf, nn.Parameter(value.clone()))
    return root


def old_form(state: dict[str, torch.Tensor], path: Path) -> None:
    """A file as mmsegmentation 0.5 published it: pickled meta, torch's container from before the zip one."""
    meta = dict(
        mmseg_version="0.5.0+b57fb2b",
        config="model = dict(type='EncoderDecoder', pretrained='open-mmlab://resnet50_v1c')\n",
        CLASSES=golden.CHECKPOINT_META["classes"],
        PALETTE=golden.CHECKPOINT_META["palette"],
        epoch=1,
        iter=40000,
    )
    content = dict(meta=meta, state_dict=OrderedDict((f"module.{k}", v.clone()) for k, v in state.items()))
    torch.save(content, path, _use_new_zipfile_serialization=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mmengine", action="store_true", help="write mmengine.pth with the installed mmengine")
    parser.add_argument("--only", nargs="*", default=["models", "losses", "metrics", "predict"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.mmengine:
        state = torch.load(golden.HERE / "oracle.pth", weights_only=False)["state_dict"]
        run(as_trainer(tree(state)), golden.HERE / "mmengine.pth", lr=0.0)
        return
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    if "models" in args.only:
        with golden.full_double():
            np.savez_compressed(golden.HERE / "models.npz", **models())
    if "losses" in args.only:
        with golden.full_double():
            np.savez_compressed(golden.HERE / "losses.npz", **losses())
    if "metrics" in args.only:
        text = json.dumps(metrics(), indent=1, sort_keys=True)
        (golden.HERE / "metrics.json").write_text(text + "\n")
    if "predict" in args.only:
        model = golden.set_weights(build(golden.CHECKPOINT_MODEL))
        run(as_trainer(model), golden.HERE / "oracle.pth", lr=1e-3)
        state = torch.load(golden.HERE / "oracle.pth", weights_only=False)["state_dict"]
        old_form(state, golden.HERE / "v05.pth")
        model = build(golden.CHECKPOINT_MODEL)
        model.load_state_dict(state)
        with golden.full_double():
            np.savez_compressed(golden.HERE / "predict.npz", **predictions(model))


if __name__ == "__main__":
    main()
