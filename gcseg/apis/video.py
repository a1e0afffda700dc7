"""Videos as images: reading and writing frames with OpenCV."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from gcseg.utils.errors import DataError, HardwareError

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")


class Video:
    """A video file.

    Args:
        path: the file.

    Attributes:
        fps: frames per second; 25 where the file does not say.
        frames: how many the file says it has; 0 where it does not.

    Raises:
        DataError: OpenCV cannot open it.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        import cv2

        self.path = Path(path)
        self._capture = cv2.VideoCapture(os.fspath(path))
        if not self._capture.isOpened():
            raise DataError(
                f"video {os.fspath(path)!r} cannot be opened: damaged, or in a form that this OpenCV has no decoder for"
            )
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames, (H, W, 3) uint8 BGR, once.

        Raises:
            DataError: there is none.
        """
        found = False
        try:
            while True:
                more, frame = self._capture.read()
                if not more:
                    break
                found = True
                yield frame
        finally:
            self._capture.release()
        if not found:
            raise DataError(f"video {os.fspath(self.path)!r} has no frame that can be decoded")


class VideoFile:
    """Where frames go; the first one decides on the size."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._writer: Any = None

    def write(self, picture: np.ndarray) -> None:
        """Append (H, W, 3) uint8 RGB.

        Raises:
            HardwareError: this OpenCV cannot write videos.
        """
        import cv2

        if self._writer is None:
            height, width = picture.shape[:2]
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(os.fspath(self.path), code, self.fps, (width, height))
            if not self._writer.isOpened():
                raise HardwareError(
                    f"{self.path}: this OpenCV cannot write videos (mp4v); leave out overlays, or give the frames as "
                    "images"
                )
        self._writer.write(np.ascontiguousarray(picture[:, :, ::-1]))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def new_video(path: str | os.PathLike, fps: float) -> Iterator[VideoFile]:
    """A video to write into, which takes its place when the block ends, and not if it raises.

    Args:
        path: the file, ``.mp4``; folders above it are made.
        fps: frames per second.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".gcseg-{secrets.token_hex(4)}{path.suffix}")
    video = VideoFile(part, fps)
    try:
        try:
            yield video
        finally:
            video.close()
        if part.exists():
            os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
