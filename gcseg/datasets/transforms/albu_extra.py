"""Augmentations of the albumentations package, which is optional."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import cv2
from mmcv.transforms import BaseTransform

from gcseg.registry import TRANSFORMS
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message


def _albumentations() -> Any:
    try:
        import albumentations
    except ImportError as error:
        raise ConfigError(
            "Albu: the package albumentations cannot be imported "
            f"({error}); install it with `pip install albumentations`, or leave Albu out of the pipeline"
        ) from error
    return albumentations


@TRANSFORMS.register_module()
class Albu(BaseTransform):
    """Applies transforms of albumentations to ``img`` and ``gt_seg_map``.

    Args:
        transforms: configs with ``type`` (a name in albumentations, or a class) and arguments; a transform that takes
            ``transforms`` of its own, such as OneOf, is given configs, too.
        keymap: our key to albumentations' key; None stands for ``{'img': 'image', 'gt_seg_map': 'mask'}``.
        additional_targets: further keys and what kind they are ('image' or 'mask').
        update_pad_shape: set ``pad_shape`` (H, W) to the shape of the result.
        bgr_to_rgb: hand images over as RGB and take them back as BGR.

    Raises:
        ConfigError: albumentations is not installed, or has no transform of a name.
    """

    def __init__(
        self,
        transforms: Sequence[dict],
        keymap: dict[str, str] | None = None,
        additional_targets: dict[str, str] | None = None,
        update_pad_shape: bool = False,
        bgr_to_rgb: bool = True,
    ) -> None:
        self.transforms = copy.deepcopy(list(transforms))
        self.additional_targets = dict(additional_targets or {})
        self.update_pad_shape, self.bgr_to_rgb = update_pad_shape, bgr_to_rgb
        self.keymap_to_albu = dict(keymap) if keymap else {"img": "image", "gt_seg_map": "mask"}
        self.keymap_back = {theirs: ours for ours, theirs in self.keymap_to_albu.items()}
        self.aug = _albumentations().Compose(
            [self.albu_builder(step) for step in self.transforms], additional_targets=self.additional_targets
        )

    def albu_builder(self, cfg: dict) -> Any:
        """Build one of albumentations' transforms from its config."""
        if not isinstance(cfg, dict) or "type" not in cfg:
            raise ConfigError(f"Albu: {cfg!r} is no transform; give dict(type='Blur', ...)")
        args = dict(cfg)
        kind = args.pop("type")
        if isinstance(kind, str):
            package = _albumentations()
            if not hasattr(package, kind):
                known = [name for name in dir(package) if inspect.isclass(getattr(package, name))]
                raise ConfigError(unknown_name_message("transform of albumentations in Albu", kind, known))
            kind = getattr(package, kind)
        elif not inspect.isclass(kind):
            raise ConfigError(f"Albu: type={kind!r}; give the name of a transform of albumentations, or a class")
        if "transforms" in args:
            args["transforms"] = [self.albu_builder(step) for step in args["transforms"]]
        return kind(**args)

    def _swap_channels(self, values: dict) -> None:
        images = ["image", *(key for key, kind in self.additional_targets.items() if kind == "image")]
        for key in images:
            if key in values:
                values[key] = cv2.cvtColor(values[key], cv2.COLOR_BGR2RGB)

    def transform(self, results: dict) -> dict:
        """Augment ``results``; keys that albumentations does not know pass it by."""
        targets = {"image", "mask", "masks", "bboxes", "keypoints", *self.additional_targets}
        renamed = {self.keymap_to_albu.get(key, key): value for key, value in results.items()}
        handed = {key: value for key, value in renamed.items() if key in targets and value is not None}
        if self.bgr_to_rgb:
            self._swap_channels(handed)
        handed = self.aug(**handed)
        if self.bgr_to_rgb:
            self._swap_channels(handed)
        renamed.update(handed)
        results = {self.keymap_back.get(key, key): value for key, value in renamed.items()}
        results["img_shape"] = results["img"].shape[:2]
        if self.update_pad_shape:
            results["pad_shape"] = results["img"].shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(transforms={self.transforms})"
