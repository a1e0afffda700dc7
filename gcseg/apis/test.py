"""Evaluation of a checkpoint: one importable function."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcseg.apis.outcome import Scores
from gcseg.apis.reporting import prepare_report
from gcseg.apis.session import build_runner, limit_data, open_process, prepare_config
from gcseg.config import require
from gcseg.config_build import built_from
from gcseg.config_values import innermost_datasets
from gcseg.utils.atomic import write_atomically
from gcseg.utils.errors import ConfigError
from gcseg.utils.plain import plain

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

# Metrics that write predictions when they are given a folder.
_WRITING_METRICS = ("IoUMetric", "CityscapesMetric")


def test(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike,
    work_dir: str | os.PathLike | None = None,
    *,
    out: str | os.PathLike | None = None,
    show: bool = False,
    show_dir: str | os.PathLike | None = None,
    wait_time: float = 2,
    cfg_options: dict[str, Any] | None = None,
    launcher: str = "none",
    tta: bool = False,
    amp: bool = False,
    compile: bool | Mapping[str, Any] = False,
    fast: bool = True,
    report: bool | str | os.PathLike = False,
    limit: int | None = None,
) -> Scores:
    """Evaluate a checkpoint on the test data of a config.

    The per-class table goes to the log, and the numbers to ``metrics.json`` (``metrics_tta.json``) in ``work_dir``.
    Batch normalisation is folded into the convolutions of a copy of the model, which the test runs on; its logits are
    the same to 1e-5.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        checkpoint: a file, a URL, or the name of a file in the weights folder.
        work_dir: logs and the JSON file; ``./work_dirs/<name of the config>`` by default.
        out: folder for the predictions as label images.
        show: open a window with every picture.
        show_dir: folder for pictures of photograph, ground truth and prediction.
        wait_time: seconds each window stays.
        cfg_options: overrides with dotted keys.
        launcher: ``"none"``, ``"pytorch"``, ``"slurm"`` or ``"mpi"``.
        tta: multi-scale and flip as the config's ``tta_pipeline`` says.
        amp: compute in bfloat16, or in float16 on older GPUs; ``test_cfg.dtype`` takes precedence.
        compile: ``torch.compile`` backbone and head: True, or arguments of ``torch.compile``. It takes minutes at the
            beginning; where it fails, a warning says why.
        fast: False runs the model as it is built, without folding.
        report: write a page about the test, and the training if ``work_dir`` has its logs, to this file, or with True
            to ``report.html`` in ``work_dir``; see :class:`gcseg.engine.hooks.ReportHook`.
        limit: use only so many images of each data set, the first ones.

    Returns:
        Name -> value of all metrics, a dict, with what else ``metrics.json`` has.

    Raises:
        GcsegError: something the user can mend: config, data, checkpoint, hardware. Its text is one paragraph.
    """
    from gcseg.engine.checkpoint import find_checkpoint_file
    from gcseg.engine.compiled import check_options
    from gcseg.engine.hooks import FastInferenceHook
    from gcseg.engine.randomness import fix_seed
    from gcseg.engine.watch import end_together

    check_options(compile)
    if compile and not fast:
        raise ConfigError("fast=False keeps the model as it is, and excludes compile")

    def change(cfg: Config) -> None:
        if amp:
            use_amp(cfg)
        if limit is not None:
            limit_data(cfg, limit)

    cfg = prepare_config(config, work_dir, cfg_options, change if amp or limit is not None else None)
    require(cfg, ("model", "test_dataloader", "test_cfg", "test_evaluator"), "testing")
    find_checkpoint_file(str(checkpoint))
    cfg.load_from, cfg.resume = str(checkpoint), False
    if out is not None:
        write_predictions(cfg, out)
    if show or show_dir is not None:
        paint_predictions(cfg, show, show_dir, wait_time)
    if tta:
        use_tta(cfg)
    open_process(cfg, launcher)
    with end_together():
        fix_seed(cfg)
        with built_from(cfg):
            runner = build_runner(_under_another_name(cfg), strict=True, source=str(checkpoint))
            if fast:
                runner.register_hook(FastInferenceHook(compile))
            write_page = prepare_report(runner, report, checkpoint=str(checkpoint), tta=tta, amp=amp)
            metrics = runner.test()
        scores = save_metrics(runner, metrics, checkpoint, tta, cfg.filename)
        write_page()
    return scores


test.__test__ = False  # type: ignore[attr-defined]  # not a test case, whatever its name


def _under_another_name(cfg: Config) -> Config:
    """The runner dumps its config into ``work_dir``; the one the training left there must stay."""
    from mmengine.config import Config

    if not cfg.filename:
        return cfg
    file = Path(cfg.filename)
    return Config(dict(cfg.items()), cfg_text=cfg.text, filename=str(file.with_name(f"{file.stem}_test{file.suffix}")))


def use_amp(cfg: Config) -> None:
    """Turn mixed precision on for the test, and check the hardware for it at once.

    Args:
        cfg: changed in place: ``test_cfg``.

    Raises:
        ConfigError: the test loop is one of the user's own.
        HardwareError: the hardware lacks it.
    """
    from gcseg.engine.optim_wrapper import amp_dtype

    require(cfg, ("test_cfg",), "testing")
    kind = cfg.test_cfg.setdefault("type", "TestLoop")
    if kind != "TestLoop":
        raise ConfigError(
            f"--amp sets test_cfg.fp16 of the TestLoop, but the config has test_cfg.type={kind!r}; leave out --amp, or "
            "set the precision in that loop"
        )
    amp_dtype(cfg.test_cfg.get("dtype"))
    cfg.test_cfg.fp16 = True


def use_tta(cfg: Config) -> None:
    """Replace the test pipeline and the model by the config's ``tta_pipeline`` and ``tta_model``.

    Args:
        cfg: changed in place.

    Raises:
        ConfigError: either is not in the config.
    """
    for key in ("tta_model", "tta_pipeline"):
        if not cfg.get(key):
            raise ConfigError(
                f"--tta needs `{key}`, which {cfg.filename or 'the config'} does not define; the recipes in configs/ "
                "show both: tta_model=dict(type='SegTTAModel') and tta_pipeline with a TestTimeAug transform"
            )
    for _, dataset in innermost_datasets(cfg, ("test_dataloader",)):
        dataset["pipeline"] = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def write_predictions(cfg: Config, out: str | os.PathLike) -> None:
    """Let the metrics of the config write predictions into a folder.

    Args:
        cfg: changed in place: ``test_evaluator``.
        out: the folder.

    Raises:
        ConfigError: no metric of the config can write.
    """
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list | tuple) else [cfg.test_evaluator]
    writing = [e for e in evaluators if e.get("type") in _WRITING_METRICS]
    if not writing:
        kinds = ", ".join(str(e.get("type")) for e in evaluators)
        raise ConfigError(
            f"--out needs one of the metrics {', '.join(_WRITING_METRICS)} in test_evaluator; it has {kinds}"
        )
    for evaluator in writing:
        evaluator["output_dir"] = os.path.expanduser(out)
        if evaluator["type"] == "CityscapesMetric":
            evaluator["keep_results"] = True


def paint_predictions(cfg: Config, show: bool, show_dir: str | os.PathLike | None, wait_time: float) -> None:
    """Turn on the hook that paints photograph, ground truth and prediction.

    Args:
        cfg: changed in place: ``default_hooks.visualization`` and ``visualizer``.
        show: open windows.
        show_dir: folder for the pictures.
        wait_time: seconds each window stays.
    """
    if cfg.get("default_hooks") is None:
        cfg.default_hooks = {}
    hook = cfg.default_hooks.get("visualization") or dict(type="SegVisualizationHook")
    hook["draw"] = True
    # Asked for on the command line, every picture is meant; the config's interval is about validations while training.
    hook["interval"] = 1
    if show:
        hook.update(show=True, wait_time=wait_time)
        if hook.get("type") == "SegVisualizationHook":
            hook["save"] = show_dir is not None
    cfg.default_hooks["visualization"] = hook
    visualizer = cfg.get("visualizer") or dict(type="SegLocalVisualizer", name="visualizer")
    if not visualizer.get("vis_backends"):
        visualizer["vis_backends"] = [dict(type="LocalVisBackend")]
    if show_dir is not None:
        visualizer["save_dir"] = os.path.expanduser(show_dir)
    cfg.visualizer = visualizer


def save_metrics(
    runner: Runner, metrics: dict[str, Any], checkpoint: str | os.PathLike, tta: bool, config_name: str | None = None
) -> Scores:
    """Write the metrics, and the per-class values of those that have them, as JSON into the run's folder.

    A number that is not finite, such as the mIoU of data without a labelled pixel, is null there.

    Args:
        runner: has run the test.
        metrics: what it returned.
        checkpoint: what was tested.
        tta: whether views were averaged; part of the file's name.
        config_name: where the config came from.
    """
    from mmengine.dist import is_main_process

    file = Path(runner.work_dir) / ("metrics_tta.json" if tta else "metrics.json")
    if not is_main_process():
        return Scores(metrics, file, {})
    content: dict[str, Any] = {
        "config": config_name,
        "checkpoint": str(checkpoint),
        "tta": tta,
        "num_images": len(runner.test_dataloader.dataset),
        "metrics": metrics,
    }
    for metric in runner.test_evaluator.metrics:
        per_class = getattr(metric, "per_class", None)
        if per_class:
            content["per_class"] = per_class
    write_atomically(file, (json.dumps(plain(content), indent=2, allow_nan=False) + "\n").encode())
    runner.logger.info(f"metrics written to {file}")
    return Scores(metrics, file, content)
