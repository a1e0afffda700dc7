"""The demo data set: same pixels everywhere, appears complete, and is not solved by colour."""

import hashlib
import importlib.util
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcseg.datasets import DemoDataset, demo
from gcseg.datasets.demo_scene import render_street
from gcseg.datasets.demo_surfaces import Dice, noise
from gcseg.metainfo import CITYSCAPES, DEMO
from gcseg.utils.errors import DataError

FEW = {"train": 18, "val": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small demo data set."""
    return demo.ensure_demo(tmp_path_factory.mktemp("demo") / "demo-1", FEW)


def files(folder: Path) -> dict[str, int]:
    return {str(f.relative_to(folder)): f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}


def draw(folder):
    demo.ensure_demo(folder, {"val": 1})


def test_pixels_of_a_version_never_change(folder):
    """If this fails, either restore the picture or give demo.VERSION a new number and write the new digest here."""
    image, label = render_street((160, 320), (1, 0, 3))
    digest = hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest()
    assert (demo.VERSION, digest[:16]) == ("1", "f4be7dff84e9ba3b")
    stem = "dunmere/dunmere_000003_000019"
    assert np.array_equal(np.asarray(Image.open(folder / f"leftImg8bit/train/{stem}_leftImg8bit.png")), image)
    assert np.array_equal(np.asarray(Image.open(folder / f"gtFine/train/{stem}_gtFine_labelTrainIds.png")), label)


def test_streets_differ_and_show_all_classes(folder):
    labels = [np.asarray(Image.open(f)) for f in sorted((folder / "gtFine").rglob("*.png"))]
    images = {Image.open(f).tobytes() for f in (folder / "leftImg8bit").rglob("*.png")}
    assert len(images) == len(labels) == 24
    counts = np.bincount(np.concatenate(labels).ravel(), minlength=256)
    share = counts / counts.sum()
    assert share[: len(DEMO["classes"])].min() > 0.005
    assert 0 < share[255] < 0.1 and share[len(DEMO["classes"]) : 255].sum() == 0


def test_layout_of_a_street():
    """Sky is above road, and the road is at the foot of the picture."""
    for number in range(4):
        _, label = render_street((80, 160), (9, number))
        rows = np.arange(80)[:, None] * np.ones_like(label)
        assert rows[label == 6].mean() < 40 < rows[label == 0].mean()


def test_classes_have_the_names_and_colours_of_cityscapes():
    assert set(DEMO["classes"]) < set(CITYSCAPES["classes"]) and len(DEMO["classes"]) == 9
    for name, colour in zip(DEMO["classes"], DEMO["palette"], strict=True):
        assert CITYSCAPES["palette"][CITYSCAPES["classes"].index(name)] == colour


def test_dice_are_pcg64():
    """The first numbers of PCG64 seeded with [1, 2, 3], which NumPy promises to keep."""
    bits = np.random.PCG64(np.random.SeedSequence([1, 2, 3]))
    expected = [(int(bits.random_raw()) >> 11) / 2**53 for _ in range(3)]
    dice = Dice((1, 2, 3))
    assert [dice.uniform() for _ in range(3)] == expected
    grain = Dice((5,)).grain((100, 100))
    assert abs(grain.mean()) < 0.05 and abs(grain.var() - 1) < 0.05


def test_noise_takes_its_lattice_values_and_is_smooth():
    grid = np.arange(0, 4, dtype=np.float32)
    x, y = np.meshgrid(grid, grid)
    at_lattice = noise(x, y, 7)
    assert at_lattice.min() >= 0 and at_lattice.max() < 1 and at_lattice.std() > 0.1
    assert np.allclose(noise(x + np.float32(1e-3), y, 7), at_lattice, atol=1e-4)
    half = noise(x[:, :3] + np.float32(0.5), y[:, :3], 7)
    assert np.allclose(half, (at_lattice[:, :3] + at_lattice[:, 1:]) / 2, atol=1e-6)


def test_what_is_there_is_left_alone_and_what_is_missing_is_drawn_again(folder):
    before = files(folder)
    lost = sorted(before)[0]
    (folder / lost).unlink()
    demo.ensure_demo(folder, FEW)
    after = files(folder)
    assert set(after) == set(before)
    assert sum(after[name] != before[name] for name in before) == 2  # the lost file and its partner


def test_several_processes_at_once(tmp_path):
    target = tmp_path / "deep" / "demo-1"
    context = multiprocessing.get_context("fork")
    crowd = [context.Process(target=draw, args=(target,)) for _ in range(3)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join(300)
    assert [process.exitcode for process in crowd] == [0, 0, 0]
    assert len(files(target)) == 2
    assert sorted(p.name for p in target.parent.iterdir()) == ["demo-1", "demo-1.lock"]


def test_a_failed_drawing_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "_draw_one", fail)
    with pytest.raises(DataError, match=r"No space left on device.*GCSEG_DATA"):
        demo.ensure_demo(tmp_path / "demo-1", FEW)
    assert [p.name for p in tmp_path.iterdir()] == ["demo-1.lock"]


def test_folder_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GCSEG_DATA", str(tmp_path))
    assert demo.demo_folder() == tmp_path / "demo-1"
    monkeypatch.delenv("GCSEG_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert demo.demo_folder() == tmp_path / "home/.cache/gcseg/demo-1"


def test_dataset(folder, monkeypatch):
    monkeypatch.setattr(demo, "ensure_demo", lambda: folder)
    steps = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
    dataset = DemoDataset(data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"), pipeline=steps)
    assert len(dataset) == 6 and dataset.metainfo["classes"] == DEMO["classes"]
    item = dataset[5]
    image, label = render_street(demo.SHAPE, (1, 1, 5))
    assert np.array_equal(item["img"], image[..., ::-1]) and np.array_equal(item["gt_seg_map"], label)


def test_colour_alone_does_not_solve_it(folder):
    file = Path(__file__).parents[2] / "benchmarks/demo_colour_baseline.py"
    spec = importlib.util.spec_from_file_location("demo_colour_baseline", file)
    baseline = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(baseline)
    reached = [baseline.table_miou(folder, 16), baseline.table_miou(folder, 16, correct=True)]
    assert min(reached) > 5 and max(reached) < 30, reached
    labels = [label for _, label in baseline.pairs(folder, "val")]
    assert len(labels) == 6 and all(label.shape == (160, 320) for label in labels)
