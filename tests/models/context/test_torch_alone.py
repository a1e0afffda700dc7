import subprocess
import sys


def test_the_blocks_import_torch_alone():
    code = (
        "import sys, gcseg.models.context, gcseg.models; "
        "print([m for m in ('mmengine', 'mmcv', 'torchvision', 'gcseg.registry', 'cv2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
