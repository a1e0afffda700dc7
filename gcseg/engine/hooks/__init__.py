"""Hooks. mmengine's own (CheckpointHook, LoggerHook, ...) are found by the same names through the parent registry."""

from gcseg.engine.hooks.fast_inference_hook import FastInferenceHook
from gcseg.engine.hooks.load_report_hook import LoadReportHook
from gcseg.engine.hooks.processes_hook import ProcessesHook
from gcseg.engine.hooks.progress_bar_hook import ProgressBarHook
from gcseg.engine.hooks.runtime_info_hook import RuntimeInfoHook
from gcseg.engine.hooks.visualization_hook import SegVisualizationHook

__all__ = [
    "FastInferenceHook",
    "LoadReportHook",
    "ProcessesHook",
    "ProgressBarHook",
    "RuntimeInfoHook",
    "SegVisualizationHook",
]
