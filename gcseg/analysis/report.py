"""The report of a run, from what it left in its folder."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from gcseg.analysis.training_log import read_training
from gcseg.evaluation.scores import scores_from_areas
from gcseg.utils.atomic import write_atomically
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.writable import writing
from gcseg.visualization.report.data import Calibration, ClassScores, Evaluation, Picture, Run
from gcseg.visualization.report.page import render_report

_DATA, _METRICS = "report.json", ("metrics.json", "metrics_tta.json")


def page_file(file: str | os.PathLike) -> Path:
    """The file of a page; its name must end in .html, so that nothing else is written over.

    Raises:
        ConfigError: it does not.
    """
    path = Path(file).expanduser()
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(
            f"the report is a page of HTML and cannot be written to {path}; give a name that ends in .html"
        )
    return path


def write_report(
    work_dir: str | os.PathLike, against: str | os.PathLike | None = None, out: str | os.PathLike | None = None
) -> Path:
    """Write one HTML file about a run.

    It shows what is there: the curves of the logs, the scores, confusions, calibration and pictures of ``report.json``
    (a test or a training with ``--report`` leaves it), or the scores of ``metrics.json`` alone, and the config.

    Args:
        work_dir: folder of the run.
        against: folder of a run to compare with.
        out: the file; ``report.html`` in ``work_dir`` by default.

    Returns:
        The file.

    Raises:
        DataError: a folder is missing or has nothing of a run in it, a file in it is damaged, or the page cannot be
            written.
        ConfigError: ``out`` does not end in .html.
    """
    file = page_file(out) if out is not None else Path(work_dir).expanduser() / "report.html"
    run = read_run(work_dir)
    other = None if against is None else read_run(against)
    text = render_report(run, other, made=f"made {datetime.now():%Y-%m-%d %H:%M}")
    with writing(f"report {file}", DataError):
        write_atomically(file, text.encode("utf-8", errors="replace"))
    return file


def read_run(work_dir: str | os.PathLike) -> Run:
    """What a run left in its folder.

    Raises:
        DataError: there is no such folder, nothing of a run is in it, or a file in it is damaged.
    """
    folder = Path(work_dir).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the work dir of a training or a test")
    content, scores = _read(folder / _DATA), _newest_metrics(folder)
    training, config = read_training(folder), _config(folder)
    if content is None and scores is None and training is None:
        raise DataError(
            f"{folder} has neither a log of a training (TIME/vis_data/scalars.json) nor results of a test ({_DATA}, "
            f"{_METRICS[0]}); name the work dir of a training or a test"
        )
    name = folder.resolve().name
    if content is None:
        return Run(name, training, None if scores is None else _from_metrics(*scores), config)
    try:
        return Run(
            name,
            training,
            _from_result(content),
            config,
            speed=_speed(content.get("speed", {})),
            environment={str(k): str(v) for k, v in content.get("environment", {}).items()},
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as e:
        raise DataError(f"{folder / _DATA} is damaged ({e!r}); write it anew by a test with --report") from e


def _read(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise DataError(f"{file} is damaged ({e}); write it anew by a test") from e
    if not isinstance(content, dict):
        raise DataError(f"{file} holds no JSON object; write it anew by a test")
    return content


def _newest_metrics(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    files = sorted((f for f in map(folder.joinpath, _METRICS) if f.is_file()), key=lambda f: f.stat().st_mtime)
    content = _read(files[-1]) if files else None
    return None if content is None or not content.get("per_class") else (files[-1], content)


def _config(folder: Path) -> str | None:
    """The config of the training, or else of the test, or else the newest one that the logs have."""
    files = sorted(folder.glob("*.py"), key=lambda f: (not f.stem.endswith("_test"), f.stat().st_mtime))
    files = files or sorted(folder.glob("*/vis_data/config.py"), key=lambda f: f.parts[-3])
    return files[-1].read_text(encoding="utf-8", errors="replace") if files else None


def _subject(content: Mapping[str, Any]) -> str:
    words = [str(content.get("phase") or "test")]
    if content.get("checkpoint"):
        words.append(f"of {Path(str(content['checkpoint'])).name}")
    if content.get("iteration") is not None:
        words.append(f"at iteration {content['iteration']}")
    words += ["with test-time augmentation"] if content.get("tta") else []
    words += [f"on {content['date']}"] if content.get("date") else []
    return " ".join(words)


def _from_metrics(file: Path, content: Mapping[str, Any]) -> Evaluation:
    """Scores alone, in percent in the file."""
    try:
        rows = [
            ClassScores(str(name), *(None if row.get(k) is None else _number(row[k] / 100) for k in ("IoU", "Acc")))
            for name, row in content["per_class"].items()
        ]
        count = content.get("num_images")
        num_images = None if count is None else int(count)
    except (AttributeError, TypeError, ValueError) as e:
        raise DataError(f"{file} is damaged ({e!r}); write it anew by a test") from e
    return Evaluation(_subject(content), tuple(rows), num_images=num_images)


def _from_result(content: Mapping[str, Any]) -> Evaluation:
    result = content["result"]
    names, size = [str(c) for c in result["classes"]], len(result["classes"])
    confusion = np.asarray(result["confusion"], np.int64).reshape(size, size)
    outside = np.asarray(result["outside"], np.int64).reshape(size)
    label, pred = confusion.sum(1) + outside, confusion.sum(0)
    scores = scores_from_areas(confusion.diagonal(), pred, label, ("mIoU",))
    both, near_pred, near_label = (
        np.asarray(result["boundary"][k], np.int64).reshape(size) for k in ("both", "predicted", "labelled")
    )
    boundary = scores_from_areas(both, near_pred, near_label, ("mIoU",))["IoU"]
    columns = (scores["IoU"], scores["Acc"], boundary, label / max(1, label.sum()))
    calibration = result["calibration"]
    palette = result.get("palette")
    return Evaluation(
        subject=_subject(content),
        classes=tuple(ClassScores(name, *(_number(c[i]) for c in columns)) for i, name in enumerate(names)),
        palette=None if palette is None else tuple((int(r), int(g), int(b)) for r, g, b in palette),
        confusion=confusion,
        outside=int(outside.sum()),
        calibration=None
        if calibration is None
        else Calibration(
            *(tuple(map(_finite, row)) for row in np.array([calibration[k] for k in ("count", "confidence", "right")]))
        ),
        worst=tuple(_picture(p, size) for p in result["worst"]),
        best=tuple(_picture(p, size) for p in result["best"]),
        num_images=int(result["num_images"]),
        num_unlabelled=int(result["num_unlabelled"]),
        num_uncalibrated=int(result["num_uncalibrated"]),
        boundary_ratio=float(result["boundary_ratio"]),
    )


def _picture(found: Mapping[str, Any], num_classes: int) -> Picture:
    photograph, truth, prediction = (
        None if found[k] is None else b64decode(found[k], validate=True) for k in ("photograph", "truth", "prediction")
    )
    if truth is None or prediction is None:
        raise ValueError("a picture without its maps")
    iou = {int(c): float(v) for c, v in found["iou"] if 0 <= int(c) < num_classes}
    return Picture(
        str(found["path"]), float(found["score"]), float(found["accuracy"]), iou, photograph, truth, prediction
    )


def _finite(value: Any) -> float:
    if not np.isfinite(value):
        raise ValueError(f"{value} where a number is expected")
    return float(value)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _speed(speed: Mapping[str, Any]) -> dict[str, str]:
    """Measurements in words."""
    found = {}
    seconds, waiting = speed.get("seconds_per_image"), speed.get("waiting_per_image")
    if seconds:
        found["network and metrics"] = f"{1000 * seconds:.1f} ms an image, {1 / seconds:.2f} images a second"
    if waiting is not None:
        found["waiting for data"] = f"{1000 * waiting:.1f} ms an image"
    if speed.get("batch_size"):
        found["images in a batch"] = f"{speed['batch_size']:g}"
    if speed.get("processes", 1) > 1:
        found["processes"] = f"{speed['processes']}; times and memory are of the first"
    for key, name in (("peak_memory", "memory of the process"), ("peak_gpu_memory", "memory on the GPU")):
        if speed.get(key):
            found[f"{name}, at most"] = f"{speed[key] / 2**20:,.0f} MiB"
    return found
