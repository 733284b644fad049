"""Both ways to compute attention give the same result."""

from __future__ import annotations

import pytest
import torch

from openemo.models import attention
from openemo.models.attention import Attention, attend


@pytest.mark.parametrize("max_plain_scores", [0, 2**18])
def test_gradients_in_bfloat16_are_those_of_float32(
    monkeypatch: pytest.MonkeyPatch, max_plain_scores: int
) -> None:
    """With fused attention, and with the plain products that replace it where they are faster."""
    monkeypatch.setattr(attention, "_MAX_PLAIN_SCORES", max_plain_scores)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    layer = Attention(64, heads=2, dim_head=32)
    tokens = torch.randn(3, 20, 64, generator=generator)
    shared = torch.randn(1, 30, 64, generator=generator)
    wanted = torch.randn(3, 20, 64, generator=generator)
    results = []
    for is_half in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            mixed = attend(layer, tokens, tokens, shared=shared)
        (mixed * wanted).sum().backward()
        gradients = [p.grad.flatten() for p in layer.parameters() if p.grad is not None]
        results.append((mixed.detach().float(), torch.cat(gradients)))
    for exact, rough in zip(*results, strict=True):
        # bfloat16 has 8 bits, 0.4 % per operation.
        assert float((rough - exact).norm() / exact.norm()) < 0.02
