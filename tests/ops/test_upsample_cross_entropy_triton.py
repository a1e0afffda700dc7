"""The Triton kernels against the PyTorch form: on a GPU as they are, elsewhere under Triton's interpreter."""

import os
import subprocess
import sys

import pytest
import torch

from gcseg.ops.upsample_cross_entropy import _pass

pytest.importorskip("triton", reason="triton is not installed")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RUNNABLE = INTERPRETED or torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda"


@pytest.mark.skipif(RUNNABLE, reason="the kernels run in this process")
def test_kernels_in_the_interpreter():
    # Triton reads the variable when it is imported, which another test may have done already.
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CASES) + 1} passed" in done.stdout


CASES = [
    # N, C, (h, w), (H, W), align_corners, dtype
    (2, 5, (4, 5), (13, 21), False, torch.float32),
    (1, 9, (4, 5), (13, 150), True, torch.float32),
    (2, 3, (7, 9), (7, 9), False, torch.float32),
    (1, 11, (1, 1), (3, 4), False, torch.float32),
    (2, 5, (9, 8), (4, 3), False, torch.bfloat16),
    (1, 4, (3, 6), (20, 30), True, torch.float16),
    (1, 3, (5, 70), (9, 140), True, torch.float32),
]


@pytest.mark.skipif(not RUNNABLE, reason="run in a process of its own by the test above")
@pytest.mark.parametrize("n,classes,size,out,align_corners,dtype", CASES)
def test_same_as_pytorch(n, classes, size, out, align_corners, dtype):
    from gcseg.ops import upsample_cross_entropy_triton as kernels

    g = torch.Generator().manual_seed(0)
    logits = (torch.randn(n, classes, *size, generator=g) * 3).to(DEVICE, dtype)
    label = torch.randint(0, classes, (n, *out), generator=g).to(DEVICE)
    factor = torch.rand(n, *out, generator=g).to(DEVICE)
    factor[torch.rand(n, *out, generator=g).to(DEVICE) < 0.3] = 0
    loss, pred, prob, lse = kernels.forward(logits, label, factor, align_corners)
    gradient = kernels.backward(logits, label, factor, lse, align_corners)
    wanted = _pass(logits, label, None, 255, align_corners, with_gradient=True, with_prob=True, grad_loss=factor)
    torch.testing.assert_close(loss, wanted[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(prob, wanted[2], rtol=1e-5, atol=1e-5)
    assert (pred != wanted[1]).float().mean() < 0.01  # ties in the last bit
    assert gradient.dtype == dtype
    scale = wanted[3].abs().max()
    steps = {torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}[dtype]
    assert (gradient.float() - wanted[3]).abs().max() < steps * 5 * scale


@pytest.mark.skipif(not RUNNABLE, reason="run in a process of its own by the test above")
def test_channels_last_logits_and_pixels_that_are_ignored():
    from gcseg.ops import upsample_cross_entropy_triton as kernels

    logits = torch.randn(1, 4, 3, 3, device=DEVICE)
    label = torch.full((1, 8, 8), 255, device=DEVICE)
    factor = torch.zeros(1, 8, 8, device=DEVICE)
    loss, _, _, lse = kernels.forward(logits.to(memory_format=torch.channels_last), label, factor, False)
    assert torch.equal(loss, torch.zeros_like(loss))
    without = kernels.forward(logits, label, factor + 1, False, with_prob=False)
    assert without[2] is None
    assert torch.equal(without[0], kernels.forward(logits, label, factor + 1, False)[0])
    assert torch.equal(kernels.backward(logits, label, factor, lse, False), torch.zeros_like(logits))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_chosen_on_cuda():
    from gcseg.ops.upsample_cross_entropy import _kernels_for

    assert _kernels_for(torch.zeros(1, device="cuda")) is not None
    assert _kernels_for(torch.zeros(1, device="cuda", dtype=torch.float64)) is None
