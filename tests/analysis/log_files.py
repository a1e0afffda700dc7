"""Logs as mmengine's LoggerHook writes them, one folder for each start of a run."""

import json


def write_log(work_dir, start, lines, end=""):
    """Write ``work_dir/start/vis_data/scalars.json``; ``end`` is what a killed run left of its last line."""
    file = work_dir / start / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    return file


def trained(step, loss=1.0, **more):
    """A line of training; LogProcessor(by_epoch=True) adds ``epoch``."""
    losses = {"loss": loss, "decode.loss_ce": loss}
    return {"lr": 0.1, "data_time": 0.0, **losses, "time": 1.0, **more, "iter": step, "step": step}


def validated(step, miou, **more):
    """A validation; ``step`` is the iteration, or the epoch with LoggerHook(log_metric_by_epoch=True)."""
    return {"aAcc": 90.0, "mIoU": miou, **more, "data_time": 0.1, "time": 0.2, "step": step}
