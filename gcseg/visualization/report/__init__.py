"""One HTML file that shows a run: its training, its scores, its worst and best images."""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".data": ("Calibration", "ClassScores", "Curve", "Evaluation", "Picture", "Run", "Training"),
        ".page": ("render_report",),
    },
)
