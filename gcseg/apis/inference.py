"""Predict on images with a model built from a config."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gcseg.apis.images import build_preparation, inner_dataset, is_image, photograph
from gcseg.apis.stored_model import without_pretrained
from gcseg.config import load_config
from gcseg.config_build import built_from
from gcseg.utils.errors import ConfigError, HardwareError

if TYPE_CHECKING:
    from mmengine.config import Config

    from gcseg.structures import SegDataSample


def init_model(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    cfg_options: dict[str, Any] | None = None,
    fast: bool = False,
    dtype: str | torch.dtype | None = None,
) -> nn.Module:
    """Build a segmentor for prediction.

    Its weights are laid out channels_last (``contiguous()`` gives the usual order); it can be inspected and fine-tuned.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config`` (which is not changed).
        checkpoint: a file, a URL, or the name of a file in the weights folder; None leaves the weights random.
        device: where to compute; by default the first GPU, or the CPU where there is none.
        cfg_options: overrides with dotted keys.
        fast: for predicting alone: batch normalisation is folded into the convolutions, and parameters need no
            gradients. For more see :func:`gcseg.engine.prepare_for_inference`.
        dtype: with ``fast``: ``"bfloat16"`` or ``"float16"`` to compute in.

    Returns:
        The model in evaluation mode, with ``cfg`` and ``dataset_meta`` (``classes`` and ``palette``, from the
        checkpoint or else from the config's data set) as attributes.

    Raises:
        ConfigError: the config cannot work.
        CheckpointError, WeightsNotFoundError: the checkpoint cannot be used.
        HardwareError: ``device`` does not exist here, or lacks ``dtype``.
    """
    from gcseg.engine.checkpoint import load_checkpoint_file
    from gcseg.engine.preparation import prepare_for_inference

    if dtype is not None and not fast:
        raise ConfigError(
            f"init_model: dtype={dtype!r} needs fast=True, which makes a model for predicting alone; one that may be "
            "trained keeps its float32 weights, and computes in less under torch.autocast"
        )
    target = pick_device(device)
    cfg = load_config(config, cfg_options)
    loaded = None if checkpoint is None else load_checkpoint_file(checkpoint)
    model = build_model(cfg, loaded, target, str(checkpoint))
    return prepare_for_inference(model, dtype) if fast else model


def build_model(cfg: Config, checkpoint: Mapping[str, Any] | None, device: torch.device, name: str) -> nn.Module:
    """The second half of :func:`init_model`, after the files are read.

    Args:
        cfg: a checked config; kept as ``model.cfg``.
        checkpoint: what ``load_checkpoint_file`` returns, or None.
        device: where the model goes.
        name: what to call the checkpoint in errors.
    """
    from mmengine.logging import print_log

    from gcseg.engine.checkpoint import install_safe_loader
    from gcseg.engine.hardware import adapt_config_for_hardware, lay_out_channels_last
    from gcseg.engine.state_dict import load_into_model
    from gcseg.registry import MODELS, SCOPE

    if cfg.get("model") is None:
        raise ConfigError(f"{cfg.filename or 'the config'}: no `model`")
    install_safe_loader()
    adapt_config_for_hardware(cfg, world_size=1)
    # The checkpoint brings the backbone's weights; fetching ImageNet's would need a network for nothing.
    model_cfg = {**without_pretrained(cfg.model), "_scope_": SCOPE}
    with built_from({"model": model_cfg}):
        model = MODELS.build(model_cfg)
    meta: Mapping[str, Any] = {}
    if checkpoint is not None:
        report = load_into_model(model, checkpoint, strict=True, name=name)
        if not report.complete:
            print_log(f"{name}: {report}", logger="current")
        meta = checkpoint.get("meta", {}).get("dataset_meta") or {}
    model.dataset_meta = complete_dataset_meta(meta, cfg, model)
    model.cfg = cfg
    model.to(device).eval()
    lay_out_channels_last(model)
    return model


def check_batch_size(batch_size: int) -> None:
    """Raise ConfigError for fewer images at once than one."""
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: at least 1 image is computed at once")


def inference_model(
    model: nn.Module, img: Any, batch_size: int = 1, return_probs: bool = False
) -> SegDataSample | list[SegDataSample]:
    """Segment one image or several.

    Args:
        model: from :func:`init_model`.
        img: a path, an array (H, W, 3) uint8 BGR, a PIL image, or a list of these.
        batch_size: images computed at once; only images of one size share a batch, so that none is padded and the
            result does not depend on the others.
        return_probs: add ``seg_probs``, see :func:`add_probabilities`.

    Returns:
        For one image a data sample with ``pred_sem_seg.data`` (1, H, W) int64 at the image's own size and
        ``seg_logits`` (made when read); for a list a list.

    Raises:
        DataError: an image cannot be read.
        ConfigError: the config has no test pipeline, or ``batch_size`` is less than 1.
    """
    single = is_image(img)
    prepare = build_preparation(model.cfg)
    results: list[SegDataSample] = []
    images = [img] if single else list(img)
    check_batch_size(batch_size)
    for start in range(0, len(images), batch_size):
        results += predict_batch(model, [prepare(image) for image in images[start : start + batch_size]])
    if return_probs:
        results = [add_probabilities(sample) for sample in results]
    return results[0] if single else results


def predict_batch(model: nn.Module, prepared: Sequence[Mapping[str, Any]]) -> list[SegDataSample]:
    """Run prepared images through the model, those of one size together, and give the results in their order.

    A model that ``prepare_for_inference`` made for a lower precision runs under its autocast.

    Raises:
        ConfigError: the model is in training mode.
    """
    from mmengine.dataset import pseudo_collate

    from gcseg.engine.optim_wrapper import autocast_for

    require_evaluation(model)
    dtype = getattr(getattr(model, "module", model), "inference_dtype", torch.float32)
    device = next((parameter.device.type for parameter in model.parameters()), "cpu")
    results: list[Any] = [None] * len(prepared)
    by_size: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, item in enumerate(prepared):
        by_size.setdefault(input_sizes(item), []).append(i)
    for indices in by_size.values():
        batch = pseudo_collate([prepared[i] for i in indices])
        # Not inference_mode: it is no faster, and its tensors cannot be used in anything that is trained.
        with torch.no_grad(), autocast_for(dtype, device):
            samples = model.test_step(batch)
        for i, sample in zip(indices, samples, strict=True):
            results[i] = sample
    return results


def require_evaluation(model: nn.Module) -> None:
    """Refuse a model in training mode, whose normalisations would take note of what they see.

    Raises:
        ConfigError: it is.
    """
    if model.training:
        raise ConfigError("the model is in training mode, in which its results depend on the batch: call model.eval()")


def input_sizes(item: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    """The shape of a prepared image's tensor, or those of its views; images alike in it can share a batch."""
    inputs = item["inputs"]
    return tuple(tuple(view.shape) for view in ([inputs] if isinstance(inputs, torch.Tensor) else inputs))


def add_probabilities(sample: SegDataSample) -> SegDataSample:
    """Give a sample ``seg_probs``, ``data`` (C, H, W) float32: the probability of each class at the image's own size.

    A model with one score per pixel has (1, H, W), the probability of class 1. A sample that test-time augmentation
    gave its mean probabilities keeps them.
    """
    from mmengine.structures import PixelData

    if "seg_probs" not in sample:
        scores = sample.seg_logits.data.float()  # of one channel it is the probability already
        sample.set_data(dict(seg_probs=PixelData(data=scores.softmax(0) if len(scores) > 1 else scores)))
    return sample


def show_result_pyplot(
    model: nn.Module,
    img: Any,
    result: SegDataSample,
    opacity: float = 0.5,
    title: str = "",
    draw_gt: bool = True,
    draw_pred: bool = True,
    wait_time: float = 0,
    show: bool = True,
    with_labels: bool | None = True,
    save_dir: str | os.PathLike | None = None,
    out_file: str | os.PathLike | None = None,
) -> np.ndarray:
    """Paint a result over its image.

    Args:
        model: from :func:`init_model`; its ``dataset_meta`` has the names and colours.
        img: a path, a PIL image, or an array (H, W, 3) uint8, here in RGB order, which is drawn as it is.
        result: from :func:`inference_model`.
        opacity: share of the colour, 0 to 1.
        title: of the window, and name of the picture in ``save_dir``.
        draw_gt: paint the ground truth if the sample has it.
        draw_pred: paint the prediction.
        wait_time: seconds before the window gives way; 0 waits for a key.
        show: open a window; in a notebook, draw into the page.
        with_labels: write the names of the classes into their regions.
        save_dir: folder for ``vis_data/vis_image/<title>_0.png``.
        out_file: file to write; takes precedence over ``save_dir``.

    Returns:
        (H, W, 3) uint8 RGB, twice as wide when ground truth and prediction are painted.

    Raises:
        HardwareError: ``show`` without a display.
        DataError: the image and the result differ in size.
    """
    from gcseg.visualization.display import require_display
    from gcseg.visualization.local_visualizer import SegLocalVisualizer

    if show:
        require_display("pass show=False, and out_file to keep the picture")
    meta = getattr(model, "module", model).dataset_meta
    backends: list = [] if save_dir is None else [dict(type="LocalVisBackend")]
    visualizer = SegLocalVisualizer(
        vis_backends=backends,
        save_dir=None if save_dir is None else os.fspath(save_dir),
        classes=meta["classes"],
        palette=meta.get("palette"),
        alpha=opacity,
    )
    return visualizer.add_datasample(
        title or "result",
        img if isinstance(img, np.ndarray) else photograph(img),
        result,
        draw_gt=draw_gt,
        draw_pred=draw_pred,
        show=show,
        wait_time=wait_time,
        out_file=out_file,
        with_labels=with_labels,
    )


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or by default the first GPU if there is one, else the CPU.

    Raises:
        HardwareError: a GPU, or another device, was asked for that is not here.
        ConfigError: no such kind of device.
    """
    if device is None:
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as e:
        raise ConfigError(f"device {device!r} is none that torch knows; use 'cpu', 'cuda:0' or None") from e
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise HardwareError(f"device {str(device)!r}: torch sees {count} GPUs here; use device='cpu' or None")
    if found.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, device=found).item()
        except (RuntimeError, AssertionError, ImportError) as e:  # each kind of device has its own
            reason = str(e).partition(". ")[0]
            raise HardwareError(f"device {str(device)!r} cannot be used here ({reason}); use 'cpu' or None") from e
    return found


def complete_dataset_meta(meta: Mapping[str, Any], cfg: Config, model: nn.Module) -> dict[str, Any]:
    """Class names and colours for a model's predictions.

    Args:
        meta: a checkpoint's ``dataset_meta``, which comes first.
        cfg: its data set comes second.
        model: the number of its classes decides; where no names are known they are called by number.

    Returns:
        ``meta`` with ``classes`` (tuple) and ``palette`` (a list of RGB).
    """
    from gcseg.visualization.paint import generate_palette

    head = getattr(model, "decode_head", None)
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    count = getattr(head, "num_classes", None)
    of_config = _config_metainfo(cfg)
    classes, palette = meta.get("classes"), meta.get("palette")
    if not classes:
        classes, palette = of_config.get("classes"), of_config.get("palette")
        if not classes or (count is not None and len(classes) != count):
            classes, palette = [f"class {i}" for i in range(count or 256)], None
    elif not _is_palette(palette, len(classes)) and tuple(of_config.get("classes") or ()) == tuple(classes):
        palette = of_config.get("palette")
    if not _is_palette(palette, len(classes)):
        palette = generate_palette(len(classes))
    colours = [[int(c) for c in colour] for colour in _rows(palette)]
    return {**meta, "classes": tuple(str(c) for c in classes), "palette": colours}


def _rows(palette: Any) -> Iterable[Iterable[Any]]:
    return palette.tolist() if hasattr(palette, "tolist") else palette


def _is_palette(palette: Any, count: int) -> bool:
    # v0.x writes the word 'random' for a palette of no meaning.
    return palette is not None and not isinstance(palette, str) and len(palette) == count


def _config_metainfo(cfg: Config) -> Mapping[str, Any]:
    from gcseg.registry import DATASETS

    for name in ("test_dataloader", "val_dataloader", "train_dataloader"):
        dataset = inner_dataset((cfg.get(name) or {}).get("dataset"))
        if dataset.get("metainfo", {}).get("classes"):
            return dataset["metainfo"]
        kind = DATASETS.get(dataset["type"]) if isinstance(dataset.get("type"), str) else dataset.get("type")
        own = getattr(kind, "METAINFO", None)
        if own and own.get("classes"):
            return own
    return {}
