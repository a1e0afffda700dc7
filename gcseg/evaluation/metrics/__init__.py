"""The metrics that configs name; importing this package registers them."""

from gcseg.evaluation.metrics.citys_metric import CityscapesMetric
from gcseg.evaluation.metrics.iou_metric import IoUMetric

__all__ = ["CityscapesMetric", "IoUMetric"]
