import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from gcseg.analysis import AttentionDistances, AttentionProbe, AttentionReport, attention_distances, compare_attention
from gcseg.analysis.attention_report import _validation_images
from gcseg.apis import init_model
from gcseg.config import load_config
from gcseg.utils import ConfigError, DataError

NL, GC = (f"{net}_r18-d8_1xb8-1200_demo-128x128" for net in ("nlnet", "gcnet"))
SMALL = {"test_dataloader.dataset.pipeline.1.scale": (128, 64)}
RNG = np.random.default_rng(0)
IMAGES = [np.repeat(np.repeat(RNG.integers(0, 256, (8, 16, 3), np.uint8), 8, 0), 8, 1) for _ in range(3)]


def make(recipe, **options):
    """A model whose block does something: a new one is the identity."""
    torch.manual_seed(3)
    model = init_model(recipe, device="cpu", cfg_options={**SMALL, **options})
    with torch.no_grad():
        for name, parameter in model.decode_head.named_parameters():
            if name.endswith("bn.weight"):
                parameter.fill_(1)
            elif "_block" in name and parameter.dim() > 1:
                parameter.normal_(0, 30 if any(part in name for part in ("theta", "phi", "mask")) else 0.3)
    return model


@pytest.fixture(scope="module")
def probes():
    return AttentionProbe(make(NL)), AttentionProbe(make(GC))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Configs and checkpoints of both, as the command line has them."""
    folder = tmp_path_factory.mktemp("models")
    specs = []
    for recipe in (NL, GC):
        model = make(recipe)
        model.cfg.dump(folder / f"{recipe}.py")
        torch.save(dict(state_dict=model.state_dict()), folder / f"{recipe}.pth")
        specs.append((folder / f"{recipe}.py", folder / f"{recipe}.pth"))
    return specs


def test_the_maps_are_those_the_network_used(probes):
    probe, _ = probes
    assert probe.name == "decode_head.nl_block"
    seen = probe(IMAGES[0])
    assert seen.shape == seen.labels.shape == seen.x.shape[1:] == (8, 16) and seen.maps.shape == (128, 128)
    block = probe.block
    with torch.no_grad():
        gathered = seen.maps @ block.g(seen.x[None])[0].flatten(1).T  # L D
        added = block.conv_out(gathered.T.reshape(1, -1, 8, 16))[0]
    torch.testing.assert_close(seen.z, seen.x + added, rtol=1e-4, atol=1e-4)
    assert not block._forward_hooks


def test_one_map_for_all_positions_is_at_distance_zero(probes):
    nl, gc = (probe(IMAGES[0]) for probe in probes)
    assert gc.maps.shape == (1, 128)
    of_gc, of_nl = attention_distances(gc), attention_distances(nl)
    assert (of_gc.attention_cosine, of_gc.attention_jsd) == pytest.approx((0, 0), abs=1e-12)
    assert of_gc.context_cosine == pytest.approx(0, abs=1e-6) and of_gc.input_cosine > 0.01
    assert of_nl.attention_cosine > 1e-2 and of_nl.attention_jsd > 1e-2 and of_nl.context_cosine > 1e-3
    assert math.isnan(of_nl.other_cosine)


def test_the_mean_map_and_the_map_of_the_second_model(probes):
    nl, gc = (probe(IMAGES[1]) for probe in probes)
    to_itself = attention_distances(nl, nl)
    assert (to_itself.other_cosine, to_itself.other_jsd) == pytest.approx((0, 0), abs=1e-7)
    assert (to_itself.other_attention_cosine, to_itself.other_attention_jsd) == (
        to_itself.attention_cosine,
        to_itself.attention_jsd,
    )
    found = attention_distances(nl, gc)
    one_map = (found.other_attention_cosine, found.other_attention_jsd)
    assert one_map == pytest.approx((0, 0), abs=1e-12) and found.attention_jsd > 0.01
    a, b = nl.maps.double().mean(0), gc.maps[0].double()
    assert found.other_cosine == pytest.approx(float(1 - a @ b / a.norm() / b.norm()) / 2, abs=1e-6)
    m = (a + b) / 2
    by_definition = 0.5 * (a * (a / m).log()).sum() + 0.5 * (b * (b / m).log()).sum()
    assert found.other_jsd == pytest.approx(float(by_definition), abs=1e-6) and found.other_jsd > 0


def test_the_untrained_block_adds_nothing_that_has_a_direction():
    seen = AttentionProbe(init_model(NL, device="cpu", cfg_options=SMALL))(IMAGES[0])
    assert math.isnan(attention_distances(seen).context_cosine)


def test_a_report_of_files_and_its_picture(files, tmp_path):
    for i, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    report = compare_attention(*files, [tmp_path], pairs=100, picture=tmp_path / "new" / "out.png", queries=[(1, 2)])
    assert len(report.images) == 3 and report.positions == (8, 16)
    probes = [AttentionProbe(make(recipe)) for recipe in (NL, GC)]
    expected = attention_distances(*(probe(str(tmp_path / "1.png")) for probe in probes), pairs=100, seed=1)
    assert report.images[1] == expected
    sheet = np.asarray(Image.open(tmp_path / "new" / "out.png"))
    assert sheet.shape[1] == 4 * (320 + 8) - 8, "photograph, one query, the mean, the second model"


def test_the_mean_of_a_report():
    rows = [AttentionDistances(1, 2, 3, 4, 5, 0.3, math.nan), AttentionDistances(3, 2, 1, 0, 1, 0.4, math.nan)]
    report = AttentionReport("b", (2, 3), tuple(rows), 10)
    mean = report.mean
    assert (mean.input_cosine, mean.attention_jsd, mean.attention_jsd_error) == pytest.approx((2, 3, 0.25))
    assert report.deviation.input_cosine == 1
    found = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert found["mean"]["other_cosine"] is None and found["images"][1]["attention_jsd_error"] == 0.4
    text = str(report)
    assert "standard error of 0.2" in text and "3.0000" in text and "other model" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 7 and len({len(row) for row in rows}) == 1


def test_images_are_taken_evenly_spaced(files, monkeypatch):
    used = []
    call = AttentionProbe.__call__
    monkeypatch.setattr(AttentionProbe, "__call__", lambda self, image: used.append(image) or call(self, image))
    compare_attention(files[0], images=[IMAGES[i % 3] for i in range(6)], max_images=2, pairs=2)
    assert len(used) == 2 and used[0] is IMAGES[0] and used[1] is IMAGES[0]
    used.clear()
    compare_attention(files[0], images=IMAGES, max_images=2, pairs=2)
    assert used[0] is IMAGES[0] and used[1] is IMAGES[1]


def test_the_validation_images_of_a_config(folder):
    assert _validation_images(load_config(folder.config)) == [str(folder.image_path("val", i)) for i in range(3)]


def test_which_block(probes):
    model = probes[0].model
    with pytest.raises(ConfigError, match=r"'nope'.*decode_head\.nl_block"):
        AttentionProbe(model, "nope")
    with pytest.raises(ConfigError, match="0 context blocks"):
        AttentionProbe(make(NL, **{"model.decode_head.type": "FCNHead"}))
    two = make(NL, **{"model.backbone.plugins": [dict(cfg=dict(type="SimplifiedNonLocal"), position="after_add")]})
    with pytest.raises(ConfigError, match=r"9 context blocks .*layer1.*nl_block.*name the one"):
        AttentionProbe(two)
    assert AttentionProbe(two, "decode_head.nl_block")(IMAGES[0]).maps.shape == (128, 128)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(queries=[(0, 0)]), ConfigError, "--picture"),
        (dict(pairs=1), ConfigError, "pairs=1"),
        (dict(max_images=0), ConfigError, "max_images=0"),
        (dict(images=[]), DataError, "no images"),
        (dict(picture="out.jgp"), ConfigError, "jgp is no picture format"),
        (dict(picture="out.png", queries=[(8, 0)]), DataError, "8 0 is outside the features, 8 x 16"),
        (dict(model=("config.py",)), ConfigError, r"CONFIG CHECKPOINT \[BLOCK\]; received 1"),
    ],
)
def test_faults_are_told(files, tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        compare_attention(**{"model": files[0], "images": IMAGES[:1], **options})


def test_models_that_cannot_be_compared(files, probes, tmp_path):
    nl, _ = (probe(IMAGES[0]) for probe in probes)
    larger = AttentionProbe(make(GC, **{"test_dataloader.dataset.pipeline.1.scale": (256, 128)}))(IMAGES[0])
    with pytest.raises(DataError, match="8 x 16 .* 16 x 32"):
        attention_distances(nl, larger)
    with pytest.raises(ConfigError, match="one map for all positions"):
        compare_attention(files[1], images=IMAGES[:1], picture=tmp_path / "x.png", queries=[(0, 0)])
