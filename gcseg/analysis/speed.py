"""How many images per second a model predicts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gcseg.analysis.cost_timing import Timing, time_interleaved
from gcseg.config import shape_or_crop
from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        shape: (H, W) of the images.
        batch_size: images computed at once.
        device: where, in words.
        dtype: what the convolutions were computed in.
        threads: of torch on the CPU.
        timing: of each batch.
    """

    shape: tuple[int, int]
    batch_size: int
    device: str
    dtype: str
    threads: int
    timing: Timing

    @property
    def fps(self) -> float:
        """Images per second, from the median of the batches."""
        return self.batch_size / self.timing.median

    def __str__(self) -> str:
        ms = sorted(1000 * s for s in self.timing.seconds)
        spread = self.timing.spread / self.timing.median
        return "\n".join(
            [
                f"{self.fps:.2f} images/s, +-{spread:.1%} (half the distance between the quartiles)",
                f"{1000 * self.timing.median:.2f} ms per batch of {self.batch_size}, fastest {ms[0]:.2f}, slowest "
                f"{ms[-1]:.2f}, {len(ms)} batches",
                f"{self.timing.peak_bytes / 2**20:.0f} MiB for the tensors of a prediction, beside weights and images",
                f"images {self.shape[0]}x{self.shape[1]} (height x width), {self.dtype}, {self.device}, "
                f"{self.threads} CPU threads",
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "images_per_second": self.fps,
            "spread": self.timing.spread / self.timing.median,
            "seconds": list(self.timing.seconds),
            "peak_bytes": self.timing.peak_bytes,
            "shape": list(self.shape),
            "batch_size": self.batch_size,
            "device": self.device,
            "dtype": self.dtype,
            "threads": self.threads,
        }


def measure_speed(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    *,
    shape: int | Sequence[int] | None = None,
    batch_size: int = 1,
    device: str | None = None,
    amp: bool = False,
    compile: bool | Mapping[str, Any] = False,
    fast: bool = True,
    repeats: int = 50,
    warmup: int = 5,
    cfg_options: dict[str, Any] | None = None,
) -> Speed:
    """Time predictions of images that are on the device already: from normalised images to the class of each pixel.

    Loading and resizing of files are not in it, and neither are the results' ways off the device. The device is waited
    for before and after each batch. The images are noise, which takes as long as photographs do.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        checkpoint: its weights do not change the speed; None leaves them random.
        shape: (H, W) of the images, or one number for a square; the config's crop size by default.
        batch_size: images computed at once.
        device: where to compute; by default the first GPU, or the CPU where there is none.
        amp: compute in bfloat16, or in float16 on older GPUs.
        compile: ``torch.compile`` backbone and head.
        fast: fold batch normalisations, as ``gcseg test`` and ``gcseg predict`` do.
        repeats: timed batches.
        warmup: batches before them, at least one.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: an option, or the config, is wrong.
        GcsegError: the model cannot be used.
    """
    from gcseg.apis import SegInferencer, init_model
    from gcseg.engine.optim_wrapper import autocast_for
    from gcseg.models.segmentors.base import image_channels
    from gcseg.structures import SegDataSample

    for name, value in (("repeats", repeats), ("warmup", warmup), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{name}={value}: at least 1 is needed")
    model = init_model(config, checkpoint, device, cfg_options)
    size = shape_or_crop(model.cfg, shape)
    options = dict(fast=True, amp=amp, compile=compile) if fast or amp or compile else {}
    if not fast and options:
        raise ConfigError("fast=False keeps the model as it is, and excludes amp and compile")
    model = SegInferencer(model, **options).model
    first = next(model.parameters())
    dtype = getattr(model, "inference_dtype", torch.float32)
    images = torch.randn(batch_size, image_channels(model), *size, generator=torch.Generator().manual_seed(0)).to(
        first.device
    )

    def predict() -> list[Any]:
        samples = [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size)) for _ in images]
        with torch.no_grad(), autocast_for(dtype, first.device.type):
            return model(images, samples, mode="predict")

    searching = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = bool((model.cfg.get("env_cfg") or {}).get("cudnn_benchmark"))
    try:
        timing = time_interleaved({"": predict}, repeats, warmup, first.device, "predict")[""]
    finally:
        torch.backends.cudnn.benchmark = searching
    where = torch.cuda.get_device_name(first.device) if first.is_cuda else str(first.device)
    return Speed(size, batch_size, where, str(dtype).removeprefix("torch."), torch.get_num_threads(), timing)
