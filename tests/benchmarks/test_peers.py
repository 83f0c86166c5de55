"""The peers of the benchmarks compute what the originals do: otherwise a comparison with them would mean nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "golden"
ITEMS = sorted(GOLDEN.glob("progan_pgz_*.json")) or [
    pytest.param(None, marks=pytest.mark.skip(reason="reference data (shared/golden) are not beside this checkout"))
]

sys.path.insert(0, str(ROOT / "benchmarks"))
from peers.pytorch_gan_zoo import Trainer  # noqa: E402


@pytest.fixture(params=ITEMS, ids=lambda path: path.stem if path else "absent")
def item(request: pytest.FixtureRequest) -> tuple[Trainer, dict[str, Tensor]]:
    meta, tensors = json.loads(request.param.read_text()), load_file(request.param.with_suffix(".safetensors"))
    made = meta["constructor"]
    peer = Trainer(made["dimLatentVector"], [made["depthScale0"], *made["addScale"]])
    for name, net in (("G", peer.G), ("D", peer.D), ("avgG", peer.G_avg)):
        net.load_state_dict(under(tensors, f"w/{name}/"))
    peer.G.alpha = peer.D.alpha = peer.G_avg.alpha = meta["alpha"]
    return peer, tensors


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float, what: str) -> None:
    error = (ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12)
    assert error <= tolerance, f"{what}: off by {error:.1e}"


def test_images_and_scores(item):
    peer, golden = item
    with torch.no_grad():
        image = peer.G(golden["in/z"])
        assert_near(image, golden["out/image"], 1e-4, "image")
        torch.testing.assert_close(peer.D(golden["in/real"]), golden["out/D_real"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(peer.D(image), golden["out/D_fake"], rtol=1e-4, atol=1e-6)


def test_a_whole_step(item):
    peer, golden = item
    loss = peer.d_step(golden["in/real"], golden["in/z"], golden["in/gp_eps"])
    assert loss == pytest.approx(golden["loss/fullstep_lossD"].item(), rel=1e-3)
    for name, gradient in under(golden, "grad/D_total_sum/D/").items():
        assert_near(peer.D.get_parameter(name).grad, gradient, 1e-3, name)
    loss = peer.g_step(len(golden["in/real"]), golden["in/z_gstep"])
    assert loss == pytest.approx(golden["loss/fullstep_lossG"].item(), rel=1e-3, abs=1e-3)
    peer.average()
    for net, prefix in ((peer.D, "after/D/"), (peer.G, "after/G/"), (peer.G_avg, "after/avgG/")):
        for name, after in under(golden, prefix).items():
            # Adam's first step is the sign of the gradient: where that is rounding noise, so is the step.
            wrong = ((net.get_parameter(name) - after).abs() > 1e-5).float().mean()
            assert wrong < 0.01, f"{prefix}{name}: {wrong:.1%} of the numbers differ"
