"""Several views of one image, for multi-scale + flip evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmcv.transforms import TestTimeAug as _TestTimeAug

from gcseg.registry import TRANSFORMS
from gcseg.utils.errors import ConfigError


@TRANSFORMS.register_module()
class TestTimeAug(_TestTimeAug):
    """Runs every combination of one transform from each list, in order, and collects the results in lists.

    Args:
        transforms: lists of alternatives, each a transform or its config: first all sizes, then both flips, and so on.

    Raises:
        ConfigError: a list is empty, or an element is no list.
    """

    __test__ = False  # no test class, whatever pytest thinks of the name

    def __init__(self, transforms: Iterable[Iterable[Any]]) -> None:
        alternatives = []
        for place, steps in enumerate(transforms):
            if isinstance(steps, dict) or not isinstance(steps, Iterable) or not list(steps):
                raise ConfigError(f"TestTimeAug: transforms[{place}] is {steps!r}; give a list of alternatives")
            alternatives.append([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in steps])
        super().__init__(alternatives)
