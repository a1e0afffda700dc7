"""Tensor functions on logits and labels. They need torch alone and can be lifted into any codebase.

The names are bound at import, not lazily: three functions carry the name of their file, and a lazy package would hand
on the file instead of the function as soon as somebody had imported the file.
"""

from .accuracy import Accuracy, accuracy, class_accuracy
from .confusion import confusion_matrix
from .resize import resize
from .upsample_argmax import CoarseLogits, add_probabilities, restore_logits, upsample_argmax
from .upsample_cross_entropy import UpsampledCrossEntropy, upsample_cross_entropy

__all__ = [
    "Accuracy",
    "CoarseLogits",
    "UpsampledCrossEntropy",
    "accuracy",
    "add_probabilities",
    "class_accuracy",
    "confusion_matrix",
    "resize",
    "restore_logits",
    "upsample_argmax",
    "upsample_cross_entropy",
]
