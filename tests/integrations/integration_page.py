"""The programs of docs/integrations.md, and a problem to train their networks on."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
BLOCKS = re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)
PROGRAMS = {title: code for title, code in BLOCKS if title != "mmsegmentation"}  # which tests/parity has

_namespaces: dict[str, dict] = {}


def run(title):
    """The names that a program has defined; skips where its library is not installed."""
    if title not in _namespaces:
        torch.manual_seed(0)
        names: dict = {}
        try:
            exec(compile(PROGRAMS[title], str(PAGE), "exec"), names)
        except ImportError as error:
            if "gcseg" in str(error):
                raise
            reason = str(error).strip().partition(".")[0]
            pytest.skip(f"{title}: {reason}; wanted: requirements/integrations.txt, for torch {torch.__version__}")
        _namespaces[title] = names
    return _namespaces[title]


def two_classes(n=2, size=(64, 64)):
    """Dark images (N, 3, H, W) with a bright square in a place of its own each, and labels: the square is class 1."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(n, 3, *size, generator=generator) * 0.1 - 1, torch.zeros(n, *size, dtype=torch.int64)
    for i in range(n):
        corner = slice(8 * i, 8 * i + 32)
        images[i, :, corner, corner] += 2
        labels[i, corner, corner] = 1
    return images, labels


def train(network, steps, logits=lambda output: output):
    """Train in place, without dropout; the losses before each step. ``logits`` picks them from the output."""
    images, labels = two_classes()
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = cross_entropy(logits(network(images)), labels)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return losses
