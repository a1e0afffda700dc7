"""Importing the package does no work."""

import json
import subprocess
import sys

PROBE = """
import json, sys
import {module}
heavy = ('torch', 'mmengine', 'mmcv', 'cv2', 'torchvision')
print(json.dumps(sorted(m for m in sys.modules if m.split('.')[0] in heavy)))
"""


def loaded_by(module):
    out = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)], capture_output=True, text=True, check=True
    )
    assert out.stderr == ""
    return json.loads(out.stdout)


def test_import_gcseg_loads_no_heavy_package():
    assert loaded_by("gcseg") == []


def test_context_blocks_need_torch_alone():
    loaded = {m.split(".")[0] for m in loaded_by("gcseg.models.context")}
    assert loaded == {"torch"}
