"""Hooks. mmengine's own (EMAHook, ParamSchedulerHook, ...) are found by the same names through the parent registry."""

from gcseg.engine.hooks.checkpoint_hook import CheckpointHook
from gcseg.engine.hooks.classes_hook import ClassesHook
from gcseg.engine.hooks.early_stopping_hook import EarlyStoppingHook
from gcseg.engine.hooks.fast_inference_hook import FastInferenceHook
from gcseg.engine.hooks.iteration_seed_hook import IterationSeedHook
from gcseg.engine.hooks.load_report_hook import LoadReportHook
from gcseg.engine.hooks.logger_hook import LoggerHook
from gcseg.engine.hooks.processes_hook import ProcessesHook
from gcseg.engine.hooks.progress_bar_hook import ProgressBarHook
from gcseg.engine.hooks.report_hook import ReportHook
from gcseg.engine.hooks.resume_report_hook import ResumeReportHook
from gcseg.engine.hooks.runtime_info_hook import RuntimeInfoHook
from gcseg.engine.hooks.standstill_hook import StandstillHook
from gcseg.engine.hooks.val_loss_hook import ValLossHook
from gcseg.engine.hooks.visualization_hook import SegVisualizationHook

__all__ = [
    "CheckpointHook",
    "ClassesHook",
    "EarlyStoppingHook",
    "FastInferenceHook",
    "IterationSeedHook",
    "LoadReportHook",
    "LoggerHook",
    "ProcessesHook",
    "ProgressBarHook",
    "ReportHook",
    "ResumeReportHook",
    "RuntimeInfoHook",
    "SegVisualizationHook",
    "StandstillHook",
    "ValLossHook",
]
