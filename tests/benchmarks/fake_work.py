"""Work without weight, for the tests of the benchmarks' machinery; runs in the contestants' processes."""

import json
import os
import time
from pathlib import Path

import numpy as np
from harness.work import Unavailable, Work


class Fake(Work):
    """Says how long it took instead of taking long, and writes down when it was at work."""

    def __init__(self, side, log, name="", seconds=1.0, answer=0.0, fail=None, bytes=0):
        self.log, self.name, self.seconds, self.value = Path(log), name or side, seconds, answer
        self.fail, self.bytes, self.runs = fail, bytes, 0
        if fail == "prepare":
            raise ValueError("the dog ate it")
        if fail == "unavailable":
            raise Unavailable("no dog here")

    def warm_up(self):
        print("noise on stdout", flush=True)
        os.system("echo noise of a child")

    def run(self):
        self.runs += 1
        if self.fail == "run" and self.runs == 2:
            raise ValueError("tripped in the second round")
        if self.fail == "die":
            os._exit(3)
        start = time.monotonic()
        block = np.ones(self.bytes, np.uint8)
        time.sleep(0.01)
        del block
        with self.log.open("a") as file:
            file.write(json.dumps([self.name, start, time.monotonic()]) + "\n")
        return self.seconds

    def answer(self):
        return {"value": np.array([self.value]), "kind": np.array([1, 2])}

    def figures(self):
        return {"flop": 4e9}


def write_material(file):
    """A file that contestants share, with one more letter each time it is made."""
    with Path(file).open("a") as handle:
        handle.write("x")
