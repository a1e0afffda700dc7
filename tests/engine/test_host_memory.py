import os
import subprocess
import sys

import pytest

from gcseg.engine.host_memory import keep_freed_memory

PAGE = 4096
SIZE = 48 << 20

PROGRAM = f"""
import resource, sys, torch
from gcseg.engine.host_memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

done = keep_freed_memory() if sys.argv[1] == "keep" else None
torch.ones({SIZE}, dtype=torch.uint8)
before = faults()
for _ in range(4):
    torch.ones({SIZE}, dtype=torch.uint8)
print(done, faults() - before)
"""


def run(argument, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE")}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, argument],
        env={**clean, "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    done, faults = result.stdout.split()
    return done, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc's")
def test_the_memory_of_a_freed_tensor_is_used_again():
    asked_anew = run("plain")[1]
    assert asked_anew > SIZE // PAGE
    done, faults = run("keep")
    assert done == "True"
    assert faults < asked_anew / 10  # none, but for those that the system adds when it is short of memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc's")
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_a_setting_of_the_user_stands(name):
    done, faults = run("keep", **{name: str(1 << 20)})
    assert done == "False"
    assert faults > SIZE // PAGE


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
