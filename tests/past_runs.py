"""What mmengine remembers of the runs of a process, under their names."""

import sys


def forget():
    """Let the next run be the first: otherwise mmengine hands it the logger, or the visualizer, of another of its name,
    with that one's folder, which may be gone.
    """
    if "mmengine.logging" in sys.modules:
        sys.modules["mmengine.logging"].MMLogger._instance_dict.clear()
    if "mmengine.visualization" in sys.modules:
        kinds = [sys.modules["mmengine.visualization"].Visualizer]
        for kind in kinds:
            kind._instance_dict.clear()
            kinds += kind.__subclasses__()
