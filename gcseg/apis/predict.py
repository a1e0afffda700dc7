"""Predict on files: images, folders, patterns and videos in, files out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcseg.apis.images import photograph
from gcseg.apis.inference import add_probabilities, check_batch_size, input_sizes, predict_batch
from gcseg.apis.inferencer import SegInferencer
from gcseg.apis.output_files import (
    KINDS,
    check_results_folder,
    write_label_map,
    write_picture_file,
    write_probabilities,
)
from gcseg.apis.sources import Source, find_sources
from gcseg.apis.video import Video, new_video
from gcseg.apis.zoo import published_weights
from gcseg.config import find_config, is_checkpoint
from gcseg.utils.errors import ConfigError, DataError, GcsegError, HardwareError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.progress import progress

if TYPE_CHECKING:
    from gcseg.structures import SegDataSample

_WRITERS = 4
_WAITING = 4  # batches whose images may wait for others of their size


@dataclass
class FileResult:
    """What became of one file. Paths are absolute.

    Attributes:
        input: the file.
        outputs: kind of result -> file, or for the frames of a video the folder of the files.
        size: (height, width) in pixels.
        frames: of a video.
        shares: name of a class -> its share of the pixels, for classes that were found.
        error: why there is no result.
    """

    input: str
    outputs: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    frames: int | None = None
    shares: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)


def predict(
    model: str | os.PathLike,
    inputs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    weights: str | os.PathLike | None = None,
    save: Sequence[str] = ("overlay", "index"),
    recursive: bool = False,
    batch_size: int = 1,
    device: str | None = None,
    amp: bool = False,
    tta: bool = False,
    opacity: float = 0.5,
    with_labels: bool = True,
    cfg_options: dict[str, Any] | None = None,
    show_progress: bool = True,
    on_result: Callable[[FileResult], None] | None = None,
) -> list[FileResult]:
    """Segment files, and write the results into a folder for each kind of result.

    A file that cannot be used does not stop the others. Images of one size share a batch, wherever they come from, so
    that none is padded.

    Args:
        model: name of a recipe, a config file, or a checkpoint that carries its config.
        inputs: images, videos, folders, and patterns such as ``"photos/*.jpg"``. A file that is given twice is
            predicted once.
        out: folder of the results, ``<kind>/<name of the file>``; see :func:`output_names`.
        weights: for a recipe or config: see :class:`SegInferencer`.
        save: kinds of results: ``overlay``, a picture (JPEG; of a video a video); ``index``, a PNG of class indices;
            ``palette``, the same with colours; ``probs``, see :func:`write_probabilities`.
        recursive: folders with all folders in them.
        batch_size: images computed at once.
        device: where to compute; by default the first GPU, or the CPU where there is none.
        amp: compute in bfloat16, or in float16 on older GPUs.
        tta: multi-scale and flip, as the config's ``tta_pipeline`` says.
        opacity: share of the colour in overlays, 0 to 1.
        with_labels: write the names of the classes into overlays.
        cfg_options: overrides with dotted keys.
        show_progress: one bar for all images and frames.
        on_result: told of each file as soon as its results are written.

    Returns:
        One result per file, images before videos, in the order of ``inputs``.

    Raises:
        ConfigError: an option, the model or an input that is not there.
        GcsegError: the model cannot be used.
    """
    if not save:
        raise ConfigError(f"predict: nothing to save; choose from {', '.join(KINDS)}")
    for kind in save:
        if kind not in KINDS:
            raise ConfigError(unknown_name_message("kind of result", kind, KINDS))
    if not 0 <= opacity <= 1:
        raise ConfigError(f"opacity={opacity}: the share of the colour is from 0 to 1")
    check_batch_size(batch_size)
    if not os.fspath(out):
        raise ConfigError("out='': name the folder of the results, '.' for the current one")
    out = Path(out).expanduser()
    sources = find_sources(inputs, recursive, out)
    inferencer = open_model(model, weights, device=device, amp=amp, tta=tta, cfg_options=cfg_options)
    if "palette" in save and len(inferencer.classes) > 256:
        raise ConfigError(
            f"a palette PNG has at most 256 colours, and the model {len(inferencer.classes)} classes; save index"
        )
    check_results_folder(out, "out")
    job = _Job(inferencer, out.absolute(), tuple(save), opacity, with_labels)
    results: dict[Source, FileResult] = {}

    def done(source: Source, result: FileResult) -> None:
        results[source] = result
        if on_result is not None:
            on_result(result)

    images, videos = [s for s in sources if not s.is_video], [s for s in sources if s.is_video]
    total = len(images) + sum(_frames(source.file) for source in videos)
    bar: Any = progress(total=total, desc="predict", unit="image", disable=not show_progress)
    try:
        for source, result in job.images(images, batch_size):
            done(source, result)
            bar.update()
        for source in videos:
            done(source, job.video(source, batch_size, bar.update))
    except OSError as e:  # of writing; a file that cannot be read is a DataError
        raise ConfigError(f"results cannot be written to {os.fspath(out)!r}: {e}") from e
    finally:
        bar.close()
    return [results[source] for source in [*images, *videos]]


def open_model(model: str | os.PathLike, weights: str | os.PathLike | None, **options: Any) -> SegInferencer:
    """A ``SegInferencer`` from the name of a recipe, a config file, or a checkpoint that carries its config."""
    path = Path(model)
    if is_checkpoint(model):
        if weights is not None:
            raise ConfigError(f"{model} is a checkpoint and brings its config; leave out the weights {weights}")
        return SegInferencer(weights=model, show_progress=False, **options)
    if weights is None and (path.is_file() or published_weights(path.name.removesuffix(".py")) is None):
        find_config(model)
        raise ConfigError(
            f"{model}: no weights are published for this config, so give them (--weights FILE), or in the place of the "
            "config a checkpoint of a training, which carries its own; predictions would be random"
        )
    return SegInferencer(model, weights, show_progress=False, **options)


def predict_by_size(
    inferencer: SegInferencer, images: Iterable[tuple[Any, Any]], batch_size: int
) -> Iterator[tuple[Any, Any, SegDataSample | GcsegError]]:
    """Predict on a stream of images of mixed sizes in batches of one size.

    Images wait for others of their size, a few batches of them at most; then the largest group goes. So the order of
    the results is another one than that of the images, though always the same.

    Args:
        inferencer: the model.
        images: (key, image) as ``SegInferencer`` takes it.
        batch_size: images computed at once.

    Yields:
        (key, image, its sample, or the reason why there is none).
    """
    import cv2

    waiting: dict[Any, list] = {}
    for key, image in images:
        try:
            item = inferencer.prepare(image)
        except GcsegError as e:
            yield key, image, e
            continue
        except (OSError, ValueError, ArithmeticError, cv2.error) as e:  # of a transform, about this image
            yield key, image, DataError(f"{type(e).__name__}: {' '.join(str(e).split())}")
            continue
        sizes = input_sizes(item)
        waiting.setdefault(sizes, []).append((key, image, item))
        if len(waiting[sizes]) == batch_size:
            yield from _together(inferencer, waiting.pop(sizes))
        elif sum(map(len, waiting.values())) >= _WAITING * batch_size:
            yield from _together(inferencer, waiting.pop(max(waiting, key=lambda s: len(waiting[s]))))
    for group in waiting.values():
        yield from _together(inferencer, group)


def _together(
    inferencer: SegInferencer, group: Sequence[tuple[Any, Any, dict]]
) -> Iterator[tuple[Any, Any, SegDataSample | GcsegError]]:
    import torch

    samples: Sequence[Any] | None = None
    try:
        samples = predict_batch(inferencer.model, [item for _, _, item in group])
    except DataError as e:  # of images, all of one size, that the model does not take
        samples = [e] * len(group)
    except torch.OutOfMemoryError:
        if len(group) == 1:
            size = " and ".join("x".join(map(str, shape[-2:])) for shape in input_sizes(group[0][2]))
            samples = [
                HardwareError(
                    f"the GPU has not enough memory for an input of {size} pixels; use sliding windows "
                    "(model.test_cfg mode='slide'), amp, or device='cpu'"
                )
            ]
    if samples is None:  # outside of the except block, whose exception keeps the memory of the attempt
        torch.cuda.empty_cache()
        for one in group:
            yield from _together(inferencer, [one])
        return
    for (key, image, _), sample in zip(group, samples, strict=True):
        yield key, image, sample


class _Job:
    """Writes results."""

    def __init__(
        self, inferencer: SegInferencer, out: Path, save: tuple[str, ...], opacity: float, with_labels: bool
    ) -> None:
        self.inferencer, self.out, self.save = inferencer, out, save
        self.opacity, self.with_labels = opacity, with_labels

    def images(self, sources: Sequence[Source], batch_size: int) -> Iterator[tuple[Source, FileResult]]:
        """Predict, and write in threads meanwhile: encoding pictures takes longer than a GPU takes to predict."""
        from concurrent.futures import Future, ThreadPoolExecutor

        waiting: deque[tuple[Source, Future[FileResult]]] = deque()
        with ThreadPoolExecutor(_WRITERS) as pool:
            stream = predict_by_size(self.inferencer, ((s, os.fspath(s.file)) for s in sources), batch_size)
            for source, _, sample in stream:
                found = sample if isinstance(sample, GcsegError) else self._arrays(sample)
                waiting.append((source, pool.submit(self._image, source, found)))
                while waiting and (len(waiting) > 2 * _WRITERS or waiting[0][1].done()):
                    source, result = waiting.popleft()
                    yield source, result.result()
            for source, result in waiting:
                yield source, result.result()

    def _image(self, source: Source, found: tuple[np.ndarray, np.ndarray | None] | GcsegError) -> FileResult:
        if isinstance(found, GcsegError):
            return FileResult(str(source.file), error=str(found))
        result = FileResult(str(source.file))
        indices, _ = found
        try:
            self._write_maps(*found, source.name, result)
            if "overlay" in self.save:
                path = self.out / "overlay" / f"{source.name}.jpg"
                write_picture_file(path, self._overlay(photograph(source.file), indices))
                result.outputs["overlay"] = str(path)
        except GcsegError as e:  # the file is no longer what it was
            result.error = str(e)
            return result
        result.size = indices.shape
        result.shares = self._shares(np.bincount(indices.ravel()))
        return result

    def video(self, source: Source, batch_size: int, step: Callable[[], object]) -> FileResult:
        result = FileResult(str(source.file), frames=0)
        path = self.out / "overlay" / f"{source.name}.mp4"
        counts: np.ndarray = np.zeros(2**16, dtype=np.int64)
        try:
            video = Video(source.file)
            with new_video(path, video.fps) if "overlay" in self.save else nullcontext() as overlay:
                # Frames have one size, and so come back in their order.
                for number, frame, sample in predict_by_size(self.inferencer, enumerate(video), batch_size):
                    if isinstance(sample, GcsegError):
                        raise DataError(f"frame {number}: {sample}")
                    indices, probabilities = self._arrays(sample)
                    self._write_maps(indices, probabilities, f"{source.name}/{number:06d}", FileResult(""))
                    if overlay is not None:
                        overlay.write(self._overlay(photograph(frame), indices))
                    counts += np.bincount(indices.ravel(), minlength=len(counts))
                    result.size, result.frames = indices.shape, number + 1
                    step()
        except GcsegError as e:
            result.error = str(e)
            return result
        folders = {kind: str(self.out / kind / source.name) for kind in KINDS if kind in self.save}
        result.outputs = {**folders, **({"overlay": str(path)} if "overlay" in self.save else {})}
        result.shares = self._shares(counts)
        return result

    def _arrays(self, sample: SegDataSample) -> tuple[np.ndarray, np.ndarray | None]:
        """Indices (H, W), and probabilities (C, H, W) if they are to be saved."""
        indices = sample.pred_sem_seg.data[0].cpu().numpy()
        return indices, add_probabilities(sample).seg_probs.data.cpu().numpy() if "probs" in self.save else None

    def _write_maps(self, indices: np.ndarray, probabilities: np.ndarray | None, name: str, result: FileResult) -> None:
        colours = {"index": None, "palette": self.inferencer.palette}
        for kind in [kind for kind in colours if kind in self.save]:
            result.outputs[kind] = str(path := self.out / kind / f"{name}.png")
            write_label_map(path, indices, colours[kind])
        if probabilities is not None:
            result.outputs["probs"] = str(path := self.out / "probs" / f"{name}.npz")
            write_probabilities(path, probabilities, self.inferencer.classes)

    def _overlay(self, picture: np.ndarray, indices: np.ndarray) -> np.ndarray:
        from gcseg.visualization.paint import label_regions, overlay

        painted = overlay(picture, indices, self.inferencer.palette, self.opacity)
        if not self.with_labels:
            return painted
        return label_regions(painted, indices, self.inferencer.classes, self.inferencer.palette)

    def _shares(self, counts: np.ndarray) -> dict[str, float]:
        names = self.inferencer.classes
        return {
            names[i] if i < len(names) else str(i): round(int(counts[i]) / int(counts.sum()), 6)
            for i in np.flatnonzero(counts)
        }


def _frames(file: Path) -> int:
    try:
        return Video(file).frames
    except DataError:
        return 0
