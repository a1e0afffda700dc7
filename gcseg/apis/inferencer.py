"""Predict on images, folders and arrays with one object."""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gcseg.apis.images import IMAGE_SUFFIXES, build_preparation, list_inputs, photograph
from gcseg.apis.inference import add_probabilities, build_model, check_batch_size, pick_device, predict_batch
from gcseg.apis.output_files import check_results_folder, write_label_map
from gcseg.apis.zoo import published_weights
from gcseg.config import is_checkpoint, load_config, recipes
from gcseg.registry import INFERENCERS
from gcseg.utils.errors import ConfigError
from gcseg.utils.progress import progress

if TYPE_CHECKING:
    from mmengine.config import Config


@INFERENCERS.register_module(name=["SegInferencer", "MMSegInferencer"])
class SegInferencer:
    """Segments images; ``SegInferencer('gcnet_r50-d8_4xb2-40k_cityscapes-512x1024')('street.jpg')``.

    A call changes neither the object nor its model nor its config: the same input gives the same result and the same
    file names, in whatever order calls are made.

    Args:
        model: the name of a packaged recipe, a config file, a ``Config``, or a model from ``init_model``; None takes
            the config that the checkpoint carries. A checkpoint alone may stand here, too.
        weights: a file, a URL, or the name of a file in the weights folder; for a packaged recipe by default the
            published weights.
        classes: names of the classes, in place of the checkpoint's.
        palette: one RGB colour per class, in place of the checkpoint's.
        dataset_name: a data set that gcseg knows, for classes and palette.
        device: where to compute; by default the first GPU, or the CPU where there is none.
        scope: accepted for mmsegmentation's sake; only gcseg's own.
        show_progress: show a bar while computing.
        cfg_options: overrides of the config with dotted keys.
        fast: make the model quick at predicting by :func:`gcseg.engine.prepare_for_inference`, which changes names in
            its state dict; results stay the same. By default that is done to a model that is built here, and a finished
            one is used as it is; with True, ``amp``, ``dtype`` or ``compile`` a copy of it is used.
        amp: compute in bfloat16, or in float16 on older GPUs.
        dtype: ``"bfloat16"`` or ``"float16"``, where the choice of ``amp`` is not the right one.
        tta: mean of the probabilities of several views, as the config's ``tta_pipeline`` says. Samples then have
            ``seg_probs`` in place of ``seg_logits``.
        compile: ``torch.compile`` backbone and head: True, or arguments of ``torch.compile``. The first image takes a
            minute or two; where it cannot be compiled, a warning says why.

    Raises:
        ConfigError, CheckpointError, WeightsNotFoundError, HardwareError: what cannot be used, and what to do.
    """

    def __init__(
        self,
        model: str | os.PathLike | Config | nn.Module | None = None,
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        dataset_name: str | None = None,
        device: str | None = None,
        scope: str | None = "gcseg",
        show_progress: bool = True,
        cfg_options: dict[str, Any] | None = None,
        fast: bool | None = None,
        amp: bool = False,
        compile: bool | Mapping[str, Any] = False,
        dtype: str | torch.dtype | None = None,
        tta: bool = False,
    ) -> None:
        from gcseg.engine.optim_wrapper import amp_dtype
        from gcseg.engine.preparation import prepare_for_inference

        if scope not in (None, "gcseg", "mmseg"):
            raise ConfigError(f"SegInferencer: scope {scope!r}; only 'gcseg' is built here")
        low = amp or dtype is not None
        if fast is False and (low or compile):
            raise ConfigError("SegInferencer: fast=False keeps the model as it is, and excludes amp, dtype and compile")
        if isinstance(model, nn.Module):
            if weights is not None or cfg_options:
                raise ConfigError("SegInferencer: a finished model takes no weights and no cfg_options; use init_model")
            fast = bool(fast or low or compile)
            dtype = amp_dtype(dtype, next(model.parameters()).device.type) if low else None
            self.model = copy.deepcopy(model) if fast else model
        else:
            fast = fast is not False
            dtype = amp_dtype(dtype, pick_device(device).type) if low else None
            self.model = _build(model, weights, device, cfg_options)
        if fast:
            prepare_for_inference(self.model, dtype, compile)
        self.cfg: Config = self.model.cfg
        self.prepare = build_preparation(self.cfg, tta)
        if tta:
            self.model = _of_several_views(self.model)
        self.show_progress = show_progress
        self.classes, self.palette = _names_and_colours(self.model.dataset_meta, classes, palette, dataset_name)

    def __call__(
        self,
        inputs: Any,
        return_datasamples: bool = False,
        batch_size: int = 1,
        return_vis: bool = False,
        show: bool = False,
        wait_time: float = 0,
        out_dir: str | os.PathLike = "",
        img_out_dir: str = "vis",
        pred_out_dir: str = "pred",
        opacity: float = 0.8,
        with_labels: bool = True,
        return_probs: bool = False,
    ) -> Any:
        """Segment images.

        Args:
            inputs: a path or URL, a folder of images, an array (H, W, 3) uint8 in BGR order, a PIL image, or a list.
            return_datasamples: return data samples instead of a dictionary.
            batch_size: images computed at once; only images of one size share a batch, so that none is padded.
            return_vis: return pictures.
            show: open a window for each picture.
            wait_time: seconds before a window gives way; 0 waits for a key.
            out_dir: folder for files; nothing is written without it.
            img_out_dir: folder inside ``out_dir`` for the pictures, named like the images; '' writes none.
            pred_out_dir: folder inside ``out_dir`` for the class indices, ``<name of the image>_pred.png``, 8 bits per
                pixel (16 beyond 256 classes); '' writes none. Arrays are numbered instead of named.
            opacity: share of the colour in the pictures, 0 to 1.
            with_labels: write the names of the classes into the pictures.
            return_probs: add ``probabilities`` to the dictionary, or ``seg_probs`` to the samples.

        Returns:
            ``dict(predictions=..., visualization=...)``: class indices, (H, W) int64 at the size of the image, and
            pictures, (H, W, 3) uint8 RGB. Lists, unless one image was given; ``visualization`` is an empty list without
            ``return_vis``. ``probabilities``, if wanted: (C, H, W) float32, see
            :func:`gcseg.apis.inference.add_probabilities`. With ``return_datasamples`` the data sample, or a list.

        Raises:
            DataError: an image cannot be read, or a folder has none.
            ConfigError: ``batch_size`` is less than 1, or ``out_dir`` cannot be written to.
            HardwareError: ``show`` without a display.
        """
        from gcseg.visualization.display import require_display
        from gcseg.visualization.local_visualizer import SegLocalVisualizer, write_picture

        if show:
            require_display("pass out_dir=... or return_vis=True instead")
        check_batch_size(batch_size)
        if out_dir:
            check_results_folder(out_dir, "out_dir")
        images = list_inputs(inputs)
        names = _file_names(images)
        visualizer = SegLocalVisualizer(classes=self.classes, palette=self.palette, alpha=opacity)
        samples, predictions, pictures, probabilities = [], [], [], []
        writes_pictures = bool(out_dir) and bool(img_out_dir)
        for image, (picture_name, map_name), sample in zip(
            images, names, self._predictions(images, batch_size), strict=True
        ):
            indices = sample.pred_sem_seg.data[0].cpu().numpy()
            if return_vis or show or writes_pictures:
                picture = visualizer.add_datasample(
                    picture_name,
                    photograph(image),
                    sample,
                    draw_gt=False,
                    show=show,
                    wait_time=wait_time,
                    with_labels=with_labels,
                )
                if writes_pictures:
                    write_picture(picture, Path(out_dir) / img_out_dir / picture_name)
                if return_vis:
                    pictures.append(picture)
            if out_dir and pred_out_dir:
                write_label_map(Path(out_dir) / pred_out_dir / map_name, indices)
            if return_probs:
                add_probabilities(sample)
            if return_datasamples:
                samples.append(sample)
                continue
            predictions.append(indices)
            if return_probs:
                probabilities.append(sample.seg_probs.data.cpu().numpy())
        if return_datasamples:
            return samples[0] if len(samples) == 1 else samples
        single = len(predictions) == 1
        found = {
            "predictions": predictions[0] if single else predictions,
            "visualization": pictures[0] if single and pictures else pictures,
        }
        if return_probs:
            found["probabilities"] = probabilities[0] if single else probabilities
        return found

    @staticmethod
    def list_models(scope: str | None = None, patterns: str = ".*") -> list[str]:
        """The names of the packaged recipes.

        Args:
            scope: accepted for mmengine's sake.
            patterns: a regular expression that a name begins with.
        """
        return [name for name in recipes() if re.match(patterns, name)]

    def _predictions(self, images: Sequence[Any], batch_size: int) -> Iterator[Any]:
        """Data samples with predictions, in order, one batch in memory at a time."""
        starts = range(0, len(images), batch_size)
        for start in progress(starts, desc="inference", unit="batch", disable=not self.show_progress):
            yield from predict_batch(self.model, [self.prepare(i) for i in images[start : start + batch_size]])


MMSegInferencer = SegInferencer


def _of_several_views(segmentor: nn.Module) -> nn.Module:
    """A model around ``segmentor`` that averages views, as the config's ``tta_model`` says."""
    from gcseg.registry import MODELS, SCOPE

    wish = dict(segmentor.cfg.get("tta_model") or {"type": "SegTTAModel"}, _scope_=SCOPE)
    if wish["type"] == "SegTTAModel":
        wish.setdefault("keep_probs", True)
    model = MODELS.build({**wish, "module": segmentor})
    model.training = segmentor.training  # not eval(): a finished model belongs to the caller
    model.cfg, model.dataset_meta = segmentor.cfg, segmentor.dataset_meta
    return model


def _build(
    model: str | os.PathLike | Config | None,
    weights: str | os.PathLike | None,
    device: str | None,
    cfg_options: dict[str, Any] | None,
) -> nn.Module:
    from mmengine.logging import print_log

    from gcseg.apis.stored_config import config_of_checkpoint
    from gcseg.engine.checkpoint import load_checkpoint_file

    target = pick_device(device)
    if model is None and weights is None:
        raise ConfigError(
            "SegInferencer needs a model: the name of a recipe, a config file, or a checkpoint as weights"
        )
    if weights is None and isinstance(model, str | os.PathLike) and is_checkpoint(model):
        model, weights = None, model
    cfg = None if model is None else load_config(model, cfg_options)
    if weights is None and isinstance(model, str) and not Path(model).is_file():
        weights = published_weights(Path(model).name.removesuffix(".py"))
    if weights is None:
        print_log(
            "SegInferencer: no weights, so the predictions are those of a random model",
            "current",
            level=logging.WARNING,
        )
    loaded = None if weights is None else load_checkpoint_file(weights)
    if cfg is None:
        cfg = config_of_checkpoint(loaded or {}, str(weights), cfg_options)
    return build_model(cfg, loaded, target, str(weights))


def _names_and_colours(
    meta: dict[str, Any],
    classes: Sequence[str] | None,
    palette: Sequence[Sequence[int]] | None,
    dataset_name: str | None,
) -> tuple[tuple[str, ...], list[list[int]]]:
    """What the caller gave, or else the data set named, or else the model's."""
    from gcseg.metainfo import get_metainfo
    from gcseg.visualization.paint import generate_palette

    base: Any = get_metainfo(dataset_name) if dataset_name else meta
    names = tuple(classes or base["classes"])
    colours = palette or base["palette"]
    if palette is None and len(colours) != len(names):
        colours = generate_palette(len(names))
    if len(colours) != len(names):
        raise ConfigError(f"SegInferencer: {len(names)} classes but {len(colours)} colours; give one per class")
    return names, [list(colour) for colour in colours]


def _file_names(images: Sequence[Any]) -> list[tuple[str, str]]:
    """(name of the picture, name of the index map) for each image; no two alike."""
    used: set[str] = set()
    names = []
    for i, image in enumerate(images):
        stem, suffix = f"{i:08d}", ".jpg"
        picture = f"{stem}_vis{suffix}"
        if isinstance(image, str | os.PathLike):
            path = Path(str(image).partition("?")[0])
            stem = path.stem if path.stem not in used else f"{path.stem}_{i}"
            suffix = path.suffix if path.suffix.lower() in IMAGE_SUFFIXES else ".png"
            picture = f"{stem}{suffix}"
        used.add(stem)
        names.append((picture, f"{stem}_pred.png"))
    return names
