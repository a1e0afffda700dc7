"""Draw the training curves of CamVid runs, gcseg's and the peer's, from the scalars that mmengine logs.

python benchmarks/camvid_curve.py gcseg=work_dirs/camvid peer=work_dirs/camvid_peer --out docs/images/camvid_curve.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def read_scalars(work_dir: Path) -> tuple[dict[int, float], dict[int, float]]:
    """Loss and validation mIoU by iteration, of all the sessions of a run."""
    loss, miou = {}, {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            if "loss" in row:
                loss[row["step"]] = row["loss"]
            elif "mIoU" in row:
                miou[row["step"]] = row["mIoU"]
    return loss, miou


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=WORK_DIR")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for run in args.runs:
        name, _, folder = run.partition("=")
        loss, miou = read_scalars(Path(folder))
        left.plot(loss.keys(), loss.values(), label=name)
        right.plot(miou.keys(), miou.values(), marker="o", label=name)
    left.set(xlabel="iteration", ylabel="training loss", yscale="log")
    right.set(xlabel="iteration", ylabel="mIoU on val, %", ylim=(0, None))
    right.legend()
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
