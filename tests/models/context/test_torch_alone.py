import subprocess
import sys

# The names that a foreign code base may not have; an import of one of them, at any time, fails.
BLOCKED = ("mmengine", "mmcv", "torchvision", "cv2", "PIL", "tqdm", "safetensors", "tensorboard")
CODE = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
try:
    import mmengine
except ImportError:
    print("blocked")

import torch
import gcseg.models.context as context
from gcseg.models import GlobalContext

for name in context.__all__:
    if isinstance(getattr(context, name), type) and name not in ("BaseContext",):
        x = torch.randn(1, 16, 4, 5)
        assert getattr(context, name)(16)(x).shape == x.shape
        print(name)
block = context.context_block(8, "pairwise", "bottleneck", "both")
print(block(torch.randn(1, 8, 3, 3)).shape[1], GlobalContext.__name__)
print([m for m in ("gcseg.registry", "gcseg.models.plugins") if m in sys.modules])
"""


def test_the_blocks_work_where_nothing_but_torch_is():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert run.stdout.splitlines() == [
        "blocked",
        "SE",
        "DisentangledNonLocal2d",
        "GlobalContext",
        "NonLocal",
        "PairwiseContext",
        "PooledContext",
        "SimplifiedNonLocal",
        "8 GlobalContext",
        "[]",
    ], run.stderr
