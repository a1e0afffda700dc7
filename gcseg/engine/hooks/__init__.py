"""Hooks. mmengine's own (CheckpointHook, LoggerHook, ...) are found by the same names through the parent registry."""

from gcseg.engine.hooks.load_report_hook import LoadReportHook
from gcseg.engine.hooks.progress_bar_hook import ProgressBarHook

__all__ = ["LoadReportHook", "ProgressBarHook"]
