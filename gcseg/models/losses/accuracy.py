"""The accuracy of :mod:`gcseg.ops` under mmsegmentation's path."""

from gcseg.ops import Accuracy, accuracy

__all__ = ["Accuracy", "accuracy"]
