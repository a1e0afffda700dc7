import json

import numpy as np
import pytest
from PIL import Image

from gcseg.analysis.class_frequencies import ClassFrequencies, class_weights, weights_of
from gcseg.utils import ConfigError

#: 40 x 48, of which 2 rows are ignored; see tests/tiny_run.py.
ODD = 10 * 35
LEFT, RIGHT = 38 * 24 - 10 * 19, 38 * 24 - 10 * 16


def test_counts_and_weights_of_a_data_set(tiny_run, run_tool, capsys):
    label = np.zeros((40, 48), np.uint8)  # the last image has the first class alone
    Image.fromarray(label).save(tiny_run.parent / "ann" / "p5.png")
    found = class_weights(tiny_run, "median", normalise=False)
    n = np.array([5 * LEFT + 40 * 48, 5 * RIGHT, 5 * ODD])
    assert found.frequencies.pixels.tolist() == n.tolist()
    assert found.frequencies.images.tolist() == [6, 5, 5]
    where = np.array([5 * 38 * 48 + 40 * 48, 5 * 38 * 48, 5 * 38 * 48])
    np.testing.assert_allclose(found.weights, np.median(n / where) / (n / where))
    assert run_tool("class_weights", tiny_run, "--method", "inverse", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(printed["class_weight"], n.sum() / (3 * n))
    assert run_tool("class_weights", tiny_run, "--method", "inverse") == 0
    line = capsys.readouterr().out.splitlines()[-1]
    np.testing.assert_allclose(eval(f"dict({line})")["class_weight"], n.sum() / (3 * n), rtol=1e-3)


def frequencies(pixels):
    pixels = np.asarray(pixels, dtype=np.int64)
    return ClassFrequencies(tuple(map(str, range(len(pixels)))), pixels, pixels * 2, (pixels > 0).astype(np.int64))


@pytest.mark.parametrize("method", ["inverse", "median", "effective"])
def test_the_loss_keeps_its_size(method):
    n = frequencies([1000, 10, 500, 0])
    weights = weights_of(n, method)
    assert (weights * n.pixels).sum() == pytest.approx(n.pixels.sum()) and weights[3] == 1
    assert weights.argmax() == (1 if method != "median" else weights.argmax())
    capped = weights_of(n, method, normalise=False, maximum=0.5)
    assert capped[:3].max() <= 0.5


def test_effective_number_is_the_papers():
    n = [1000, 10, 500]
    for beta in (0.0, 0.9, 0.999):
        expected = [(1 - beta) / (1 - beta**k) for k in n]
        np.testing.assert_allclose(weights_of(frequencies(n), "effective", beta, normalise=False), expected, rtol=1e-9)
    beta = 1509 / 1510
    expected = [(1 - beta) / (1 - beta**k) for k in n]
    np.testing.assert_allclose(weights_of(frequencies(n), "effective", normalise=False), expected, rtol=1e-9)
    billions = weights_of(frequencies([10**10, 10**4]), "effective")  # in float64 beta would be one
    assert np.isfinite(billions).all() and billions[1] > 1000 * billions[0]


def test_what_cannot_be_asked_for():
    for options in (dict(method="median", beta=0.9), dict(method="effective", beta=1.0), dict(method="medium")):
        with pytest.raises(ConfigError):
            weights_of(frequencies([1, 2]), **options)
    with pytest.raises(ConfigError, match="no pixel"):
        weights_of(frequencies([0, 0]))
