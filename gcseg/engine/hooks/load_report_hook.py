"""Weights that do not fit are named before they are loaded."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper

from gcseg.engine.state_dict import STRIP_MODULE, check_fit, revise
from gcseg.registry import HOOKS


@HOOKS.register_module()
class LoadReportHook(Hook):
    """Check a checkpoint against the model when mmengine has read it and not yet loaded it.

    Tensors of another shape are taken out (mmengine would report an error for each and leave the model half loaded) and
    everything left out is listed in the log. Too little in common is an error.

    Args:
        strict: the model predicts or resumes with these weights, so that all of them must fit; False for fine-tuning.
        name: what to call the checkpoint in errors.
    """

    priority = "VERY_HIGH"

    def __init__(self, strict: bool = False, name: str = "checkpoint") -> None:
        self.strict = strict
        self.name = name

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Report, and keep what fits.

        Raises:
            CheckpointError: too little fits.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        weights = revise(checkpoint.get("state_dict", checkpoint), STRIP_MODULE, self.name)
        report = check_fit(model, weights, self.strict, self.name)
        for key in report.mismatched:
            del weights[key]
        checkpoint["state_dict"] = weights
        if not report.complete:
            print_log(f"{self.name}: {report}", logger="current")
