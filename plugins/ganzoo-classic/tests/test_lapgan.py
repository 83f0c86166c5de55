"""LAPGAN: the pyramid, and levels that know nothing of each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganzoo import Batch, GrowthState
from ganzoo_classic.dcgan import Discriminator as DCGANDiscriminator
from ganzoo_classic.lapgan import Discriminator, Generator, LAPGANLoss, enlarge, gaussian_pyramid, level_resolutions

GROWTH = GrowthState(resolution=16, alpha=1.0, batch_size=3, g_lr=0.001, d_lr=0.001)
SIZES = {"img_resolution": 16, "img_channels": 3, "base_resolution": 4, "hidden_dim": 8}


def players(c_dim: int = 0) -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    return Generator(**SIZES, c_dim=c_dim, base_z_dim=5, ngf=4), Discriminator(**SIZES, c_dim=c_dim, ndf=4, dropout=0.0)


def make_batch(G: Generator) -> Batch:
    labels = torch.eye(3)[:, : G.c_dim] if G.c_dim else None
    return Batch(torch.randn(3, 3, 16, 16), labels, torch.randn(3, G.z_dim), labels, GROWTH)


class Known(nn.Module):
    """In place of a level of G: gives what was asked for, and remembers its latents."""

    def __init__(self, out: Tensor) -> None:
        super().__init__()
        self.out = out

    def forward(self, z: Tensor, *args: Tensor | None, **kwargs: GrowthState) -> Tensor:
        self.z = z
        return self.out


def test_halving_and_doubling():
    img = torch.tensor([[1.0, 3.0, 5.0, 7.0], [1.0, 3.0, 5.0, 7.0], [0.0, 0.0, 0.0, 0.0], [4.0, 4.0, 4.0, 4.0]])
    small, whole = gaussian_pyramid(img[None, None], 2)
    assert torch.equal(whole[0, 0], img)
    assert small[0, 0].tolist() == [[2.0, 6.0], [2.0, 2.0]]
    assert enlarge(small)[0, 0, 0].tolist() == [2.0, 3.0, 5.0, 6.0]


def test_the_right_bands_give_the_image_back():
    """Sampling chains the levels: with the bands of a real image it is that image."""
    G, _ = players()
    images = gaussian_pyramid(torch.randn(3, 3, 16, 16), 3)
    G.base = Known(images[0])
    for r, finer, coarser in ((8, images[1], images[0]), (16, images[2], images[1])):
        G.finer[str(r)] = Known(finer - enlarge(coarser))
    z = torch.randn(3, G.z_dim)
    torch.testing.assert_close(G(z, growth=GROWTH), images[2], rtol=1e-5, atol=1e-6)

    assert G.z_dim == 5 + 64 + 256  # each level has its own part
    torch.testing.assert_close(torch.cat([G.base.z, G.finer["8"].z, G.finer["16"].z], dim=1), z)


@pytest.mark.parametrize("c_dim", [0, 2])
def test_terms_by_hand(c_dim):
    """Each level: its own network on the low-pass of real images, with their labels."""
    G, D = players(c_dim)
    batch = make_batch(G)
    r4, r8, r16 = gaussian_pyramid(batch.real, 3)
    z4, z8, z16 = batch.z[:, :5], batch.z[:, 5:69], batch.z[:, 69:]
    fakes = {
        4: G.base(z4, batch.c, growth=GrowthState(4, 1.0, 3, 0.001, 0.001)),
        8: enlarge(r4) + G.finer["8"](z8, enlarge(r4), batch.c),
        16: enlarge(r8) + G.finer["16"](z16, enlarge(r8), batch.c),
    }
    scores = {4: D.base, 8: D.finer["8"], 16: D.finer["16"]}
    d_terms, g_terms = LAPGANLoss().d_loss(G, D, batch), LAPGANLoss().g_loss(G, D, batch)
    assert d_terms.keys() == {f"{kind}{r}" for r in fakes for kind in ("real", "fake")}
    assert g_terms.keys() == {f"fake{r}" for r in fakes}
    for r, real in ((4, r4), (8, r8), (16, r16)):
        p_real, p_fake = (torch.sigmoid(scores[r](img, batch.c)) for img in (real, fakes[r]))
        torch.testing.assert_close(d_terms[f"real{r}"], -p_real.log())
        torch.testing.assert_close(d_terms[f"fake{r}"], -(1 - p_fake).log())
        torch.testing.assert_close(g_terms[f"fake{r}"], -p_fake.log())


@pytest.mark.parametrize("player", ["G", "D"])
def test_a_level_trains_itself_only(player):
    G, D = players()
    trained = {"G": G, "D": D}[player]
    loss = LAPGANLoss()
    terms = loss.g_loss(G, D, make_batch(G)) if player == "G" else loss.d_loss(G, D, make_batch(G))
    for r, own in ((4, "base."), (8, "finer.8."), (16, "finer.16.")):
        sum(term.sum() for name, term in terms.items() if name.endswith(("real" + str(r), "fake" + str(r)))).backward()
        moved = {name for name, p in trained.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved and all(name.startswith(own) for name in moved)
        trained.zero_grad()


def test_with_other_losses_the_scores_of_all_levels_add_up():
    G, D = players()
    images = gaussian_pyramid(torch.randn(3, 3, 16, 16), 3)
    alone = [D(img, growth=GROWTH, level=i) for i, img in enumerate(images)]
    torch.testing.assert_close(D(images[2], growth=GROWTH), alone[0] + alone[1] + alone[2])
    G(torch.randn(3, G.z_dim), growth=GROWTH).square().sum().backward()
    assert all(p.grad is not None for p in G.parameters())


def test_labels_matter_at_every_level():
    G, D = players(2)
    z, img, c = torch.randn(1, G.z_dim), torch.randn(1, 3, 16, 16), torch.eye(2)
    parts = G.split(z)
    images = gaussian_pyramid(img, 3)
    for level, low in enumerate([None, enlarge(images[0]), enlarge(images[1])]):
        one, two = (G.level_image(level, parts[level], low, c[i : i + 1], growth=GROWTH) for i in (0, 1))
        assert not torch.equal(one, two)
        one, two = (D(images[level], c[i : i + 1], growth=GROWTH, level=level) for i in (0, 1))
        assert not torch.equal(one, two)
    with pytest.raises(ValueError, match=r"labels of size 2 needs them"):
        D(images[2], None, growth=GROWTH, level=2)


def test_what_does_not_go_together_is_refused():
    G, D = players()
    LAPGANLoss().check(G, D)
    with pytest.raises(ValueError, match="only the networks lapgan have"):
        LAPGANLoss().check(G, DCGANDiscriminator(c_dim=0, img_resolution=16, img_channels=3, ndf=2))
    other = Discriminator(**SIZES | {"base_resolution": 8}, c_dim=0, ndf=4)
    with pytest.raises(ValueError, match=r"\[4, 8, 16\] px in G and of \[8, 16\] px in D"):
        LAPGANLoss().check(G, other)
    with pytest.raises(ValueError, match="base_resolution 6 does not double to 16: use 2 or 4 or 8"):
        level_resolutions(6, 16)
    assert level_resolutions(16, 16) == [16]
    assert level_resolutions(4, 32) == [4, 8, 16, 32]
