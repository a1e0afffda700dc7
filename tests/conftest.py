import os

import past_runs
import pytest

# The models of the tests are tiny: threads would only wait for each other. Read by torch when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--fuzz-runs", type=int, metavar="N", help="try N malformed inputs of each kind (tests/fuzz)")


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # before there are several processes
        from gcseg.utils.yapf_cache import import_yapf

        import_yapf()


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow; run with --run-slow"))


@pytest.fixture(autouse=True, scope="session")
def _a_convolution_that_may_kill_the_process_fails_instead():
    """On a CPU with AVX-512 torch can die in a backward pass, see ``gcseg.engine.hardware.lay_out_channels_last``."""
    import torch

    from gcseg.engine.hardware import _is_narrow_strided_1x1

    forward = torch.nn.Conv2d._conv_forward

    def in_channels_last(x):
        return x.stride(1) == 1 and x.stride(3) == x.shape[1] > 1  # a 1x1 kernel is contiguous in both orders

    def guarded(self, input, weight, bias):
        concerned = input.device.type == "cpu" and input.dtype != torch.float64 and torch.is_grad_enabled()
        if concerned and _is_narrow_strided_1x1(self) and (in_channels_last(input) or in_channels_last(weight)):
            raise AssertionError(f"{self}: its backward pass in channels_last can kill the process")
        return forward(self, input, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Conv2d, "_conv_forward", guarded)
        yield


@pytest.fixture(autouse=True, scope="session")
def _forked_processes_can_go_backward():
    """Where a process compiles before its first backward pass, those that it forks later can make none."""
    import torch

    torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(autouse=True, scope="session")
def _a_config_is_laid_out_once():
    """mmengine lays out the text of a config up to eight times a run, which is a third of the time of a short one."""
    from mmengine.config import config

    lay_out, done = getattr(config, "FormatCode", None), {}  # onedl-mmengine imports it where it is used

    def remembered(text, **options):
        if text not in done:
            done[text] = lay_out(text, **options)
        return done[text]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "FormatCode", remembered, raising=False)
        yield


@pytest.fixture(autouse=True)
def _no_past_runs():
    past_runs.forget()
