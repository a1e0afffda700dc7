"""One image's annotations, predictions and meta information."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor

_PENDING = "_pending_seg_logits"


class SegDataSample(BaseDataElement):
    """Annotations and predictions of one image, as mmsegmentation 1.x names them.

    Fields (all :class:`mmengine.structures.PixelData`; H, W are the size of the image they describe):

    * ``gt_sem_seg``: ``data`` (1, H, W) int64, the label of each pixel; 255 (the ``ignore_index``) is not evaluated.
    * ``pred_sem_seg``: ``data`` (1, H, W) int64, the predicted class of each pixel.
    * ``seg_logits``: ``data`` (C, H, W) floating, raw scores. It may be given as a recipe instead of as a tensor
      (:meth:`set_seg_logits_lazily`): it then costs nothing until somebody reads it.
    * ``gt_edge_map``: ``data`` (1, H, W), optional, 1 at class borders.

    Meta information (set with ``set_metainfo``): ``img_path``, ``seg_map_path``, ``ori_shape``, ``img_shape``,
    ``pad_shape`` (all (H, W)), ``scale_factor`` (width, height), ``flip``, ``flip_direction``, ``reduce_zero_label``,
    ``sample_idx``; the data preprocessor adds ``padding_size`` (training) or ``img_padding_size`` (testing), both
    (left, right, top, bottom) in pixels.
    """

    @property
    def gt_sem_seg(self) -> PixelData:
        """Ground truth, ``data`` (1, H, W) int64."""
        return self._gt_sem_seg

    @gt_sem_seg.setter
    def gt_sem_seg(self, value: PixelData) -> None:
        self._set_pixel_data("gt_sem_seg", value)

    @gt_sem_seg.deleter
    def gt_sem_seg(self) -> None:
        del self._gt_sem_seg

    @property
    def gt_edge_map(self) -> PixelData:
        """Class borders of the ground truth, ``data`` (1, H, W)."""
        return self._gt_edge_map

    @gt_edge_map.setter
    def gt_edge_map(self, value: PixelData) -> None:
        self._set_pixel_data("gt_edge_map", value)

    @gt_edge_map.deleter
    def gt_edge_map(self) -> None:
        del self._gt_edge_map

    @property
    def pred_sem_seg(self) -> PixelData:
        """Predicted classes, ``data`` (1, H, W) int64."""
        return self._pred_sem_seg

    @pred_sem_seg.setter
    def pred_sem_seg(self, value: PixelData) -> None:
        self._set_pixel_data("pred_sem_seg", value)

    @pred_sem_seg.deleter
    def pred_sem_seg(self) -> None:
        del self._pred_sem_seg

    @property
    def seg_logits(self) -> PixelData:
        """Raw scores, ``data`` (C, H, W); made by the first read when they were set lazily."""
        make = self.__dict__.get(_PENDING)
        if make is not None:
            self.seg_logits = _as_pixel_data(make())
        return self._seg_logits

    @seg_logits.setter
    def seg_logits(self, value: PixelData) -> None:
        self._set_pixel_data("seg_logits", value)
        self.__dict__.pop(_PENDING, None)

    @seg_logits.deleter
    def seg_logits(self) -> None:
        if self.__dict__.pop(_PENDING, None) is None:
            del self._seg_logits

    def set_seg_logits_lazily(self, make: Callable[[], Tensor]) -> None:
        """Say how to compute ``seg_logits`` instead of computing it.

        Until ``seg_logits`` is read it is absent from ``keys()``, ``items()``, ``all_items()`` and ``to_dict()``
        (``"seg_logits" in sample`` is true), so whoever collects results does not pay for it. A copy (``new``,
        ``clone``, ``to``, ``cpu`` ...) keeps the recipe; pickling runs it.

        Args:
            make: called once, without arguments; returns the raw scores, (C, H, W), floating.

        Raises:
            TypeError: ``make`` cannot be called.
        """
        if not callable(make):
            raise TypeError(
                f"set_seg_logits_lazily: expected a function that returns a (C, H, W) tensor, got "
                f"{type(make).__name__}; to store a tensor, assign PixelData(data=tensor) to seg_logits"
            )
        if "_seg_logits" in self._data_fields:
            del self.seg_logits
        self.__dict__[_PENDING] = make

    def new(self, *, metainfo: dict | None = None, **kwargs: Any) -> SegDataSample:
        """Copy of this sample, other meta information or data replacing all of its own when given."""
        copy = super().new(metainfo=metainfo, **kwargs)
        if not kwargs:
            self._hand_over_pending(copy, lambda logits: logits)
        return copy

    def clone(self) -> SegDataSample:
        """Copy of this sample; tensors are shared, meta information is not."""
        copy = super().clone()
        self._hand_over_pending(copy, lambda logits: logits)
        return copy

    def to(self, *args: Any, **kwargs: Any) -> SegDataSample:
        """``Tensor.to`` of every tensor, including logits that are still to be made."""
        return self._convert(super().to(*args, **kwargs), lambda logits: logits.to(*args, **kwargs))

    def cpu(self) -> SegDataSample:
        """Every tensor on the CPU."""
        return self._convert(super().cpu(), lambda logits: logits.cpu())

    def cuda(self) -> SegDataSample:
        """Every tensor on the current GPU."""
        return self._convert(super().cuda(), lambda logits: logits.cuda())

    def detach(self) -> SegDataSample:
        """Every tensor without its autograd history."""
        return self._convert(super().detach(), lambda logits: logits.detach())

    def numpy(self) -> SegDataSample:
        """Every tensor as a NumPy array."""
        return self._convert(super().numpy(), lambda logits: logits.numpy())

    def __contains__(self, item: str) -> bool:
        return super().__contains__(item) or (item == "seg_logits" and _PENDING in self.__dict__)

    def __getstate__(self) -> dict:
        if _PENDING in self.__dict__:
            self.seg_logits  # noqa: B018  a function does not survive pickling: make the tensor it stands for
        return self.__dict__

    def _convert(self, copy: SegDataSample, change: Callable[[PixelData], PixelData]) -> SegDataSample:
        self._hand_over_pending(copy, change)
        return copy

    def _hand_over_pending(self, copy: SegDataSample, change: Callable[[PixelData], PixelData]) -> None:
        if _PENDING in self.__dict__:
            copy.__dict__[_PENDING] = lambda: change(self.seg_logits)

    def _set_pixel_data(self, name: str, value: PixelData) -> None:
        if not isinstance(value, PixelData):
            raise TypeError(
                f"SegDataSample.{name}: expected mmengine.structures.PixelData, got {type(value).__name__}; "
                f"wrap the tensor: PixelData(data=tensor)"
            )
        self.set_field(value, f"_{name}", dtype=PixelData)


def _as_pixel_data(value: Any) -> PixelData:
    return value if isinstance(value, PixelData) else PixelData(data=value)
