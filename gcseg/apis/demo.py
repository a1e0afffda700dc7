"""Everything once, on the embedded demo data: train, evaluate, paint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcseg.config import recipes
from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from gcseg.apis.outcome import Scores


def demo_recipe() -> Path:
    """The recipe in configs/demo.

    Raises:
        ConfigError: there is none, which means a damaged installation.
    """
    found = [file for file in recipes().values() if file.parent.name == "demo"]
    if not found:
        raise ConfigError("the demo recipe is not among the packaged recipes; install gcseg again")
    return found[0]


def run_demo(
    work_dir: str | os.PathLike | None = None,
    amp: bool | None = None,
    cfg_options: dict[str, Any] | None = None,
) -> Scores:
    """Train the demo recipe, evaluate its best (or else last) checkpoint, paint the predictions, write a report.

    The data set is drawn on first use; minutes on two CPU cores, no network.

    Args:
        work_dir: everything is written here; ``./work_dirs/<name of the recipe>`` by default.
        amp: mixed precision; by default where the hardware has bfloat16.
        cfg_options: overrides with dotted keys.

    Returns:
        What :func:`gcseg.apis.test.test` returns.
    """
    import torch

    from gcseg.apis.test import test
    from gcseg.apis.train import train
    from gcseg.engine.hardware import cpu_has_bf16, gpu_has_bf16
    from gcseg.utils.errors import CheckpointError

    recipe = demo_recipe()
    folder = Path(work_dir).expanduser() if work_dir is not None else Path("work_dirs") / recipe.stem
    if amp is None:
        amp = gpu_has_bf16() if torch.cuda.is_available() else cpu_has_bf16()
    runner = train(recipe, work_dir=folder, amp=amp, cfg_options=cfg_options)
    last = folder / f"iter_{runner.max_iters}.pth"
    best = sorted(folder.glob("best_*.pth"), key=lambda f: f.stat().st_mtime)
    checkpoint = best[-1] if best else last
    if not checkpoint.is_file():
        raise CheckpointError(f"the training wrote neither a best checkpoint nor {last}; see the log in {folder}")
    pictures = folder / "pictures"
    return test(recipe, checkpoint, work_dir=folder, show_dir=pictures, cfg_options=cfg_options, report=True)
