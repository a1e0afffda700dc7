import pytest

from gcseg.export import measure_latency
from gcseg.utils.errors import ExportError


def test_rounds_of_all_contestants(tiny_config, tiny_checkpoint):
    report = measure_latency(
        tiny_config,
        tiny_checkpoint,
        [(40, 48), (33, 20)],
        contestants=("eager", "prepared", "torchscript"),
        rounds=3,
        threads=1,
    )
    assert [(row.contestant, row.shape) for row in report.rows] == [
        (name, shape) for shape in ((40, 48), (33, 20)) for name in ("eager", "prepared", "torchscript")
    ]
    for row in report.rows:
        assert 0 < row.quartiles[0] <= row.median <= row.quartiles[1]
        assert row.equal > 0.999 and (row.bytes > 1000) == (row.contestant == "torchscript")
    table = str(report).splitlines()
    assert table[4].startswith("| eager | 40x48 | ") and "| 1.00 |" in table[4] and len(table) == 4 + 6
    assert report.as_dict()["rows"][5]["shape"] == (33, 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(contestants=["onnxx"]), "Did you mean 'onnx'"),
        (dict(contestants=["eager"], rounds=0), "nothing to time"),
        (dict(contestants=["eager"], shapes=[(3, 0)]), "nothing to time"),
        (dict(contestants=["eager"], threads=-1), "threads=-1"),
    ],
)
def test_wrong_requests(tiny_config, options, message):
    with pytest.raises(ExportError, match=message):
        measure_latency(tiny_config, **options)
