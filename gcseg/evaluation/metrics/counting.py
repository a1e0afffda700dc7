"""What metrics share that count images: several processes count every image once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from mmengine.dist import broadcast_object_list, collect_results, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log


class CountingMetric(BaseMetric):
    """A metric with one result per image.

    The results of all processes meet on the main one, where those of images that came twice are left out. Some samplers
    give all processes equally many images by repeating some; how many more than the data set has there are in all says
    how many came twice, and their paths which. Processes may have unequal numbers of images, or none: nothing is sent
    before the end.

    ``collect_dir`` is a folder that all processes see, through which the results go; without it they go through the
    process group, which needs no such folder, and for ``collect_device='cpu'`` as for ``'gpu'``.
    """

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None, collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self._sources: list[Hashable] = []

    def add(self, sample: Mapping[str, Any], result: Any) -> None:
        """Note the result of one image."""
        self.results.append(result)
        self._sources.append((sample.get("img_path"), sample.get("seg_map_path")))

    def evaluate(self, size: int) -> dict[str, float]:
        """Scores of all processes' images together, the same on all processes; all call it.

        Args:
            size: number of images of the data set.
        """
        # A sub-class with a `process` of its own fills `results` alone.
        named = len(self._sources) == len(self.results)
        sources = self._sources if named else [(None, None)] * len(self.results)
        gathered = _gather(list(zip(self.results, sources, strict=True)), self.collect_dir)
        metrics: list[Any] = [None]
        if is_main_process():
            results = count_once([r for r, _ in gathered], [s for _, s in gathered], size)
            scores = self.compute_metrics(results)
            metrics = [{f"{self.prefix}/{key}": value for key, value in scores.items()} if self.prefix else scores]
        broadcast_object_list(metrics)
        self.results.clear()
        self._sources.clear()
        return metrics[0]


def _gather(results: list, folder: str | None) -> list:
    """All processes' results in the order of the data set, as far as samplers go round; on the main process only."""
    # mmengine's cuts off what exceeds a size: here that is decided later. Its 'gpu' means the process group.
    gathered = collect_results(results, sys.maxsize, "gpu" if folder is None else "cpu", folder)
    return gathered if gathered is not None else []


def count_once(results: Sequence[Any], sources: Sequence[Hashable], size: int) -> list[Any]:
    """Leave out as many results as there are more than images, those of images that came before first.

    Args:
        results: one per image, repeated ones included.
        sources: of each; equal ones, other than pairs of None, are of the same image.
        size: number of images. A data set may have an image twice: only what is too many is left out.

    Returns:
        ``size`` results, or fewer with a warning.
    """
    surplus = len(results) - size
    if surplus < 0:
        text = (
            f"{len(results)} of {size} images were evaluated; is there a drop_last, or a sampler that leaves some out?"
        )
        print_log(text, logger="current", level=logging.WARNING)
    if surplus <= 0:
        return list(results)
    seen: set[Hashable] = set()
    repeated = []
    for place, source in enumerate(sources):
        if source != (None, None) and source in seen:
            repeated.append(place)
        seen.add(source)
    left_out = set(repeated[-surplus:])
    for place in range(len(results) - 1, -1, -1):  # without paths: mmengine's samplers repeat at the end
        if len(left_out) == surplus:
            break
        left_out.add(place)
    return [result for place, result in enumerate(results) if place not in left_out]
