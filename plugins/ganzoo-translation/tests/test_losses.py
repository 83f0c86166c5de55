"""CycleGAN's loss and its pool, pix2pix's and L1, on players whose images and scores are known; who refuses whom."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, GrowthState
from ganzoo.testing.losses import SmallDiscriminator, SmallGenerator
from ganzoo_translation import cyclegan, pix2pix
from ganzoo_translation.cyclegan import ImagePool
from ganzoo_translation.networks import UNet
from ganzoo_translation.patchgan import Discriminator

GROWTH = GrowthState(resolution=16, alpha=1.0, batch_size=2, g_lr=0.001, d_lr=0.001)
SIZES = {"in_channels": 3, "img_channels": 3, "c_dim": 0, "img_resolution": 16}


class Scale(ganzoo.Translator):
    """Twice the image one way, three times the other."""

    directions = ("a2b", "b2a")

    def __init__(self) -> None:
        super().__init__(in_channels=1, c_dim=0, img_resolution=16, img_channels=1)
        self.there, self.back = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))

    def forward(self, source: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return source * self.there

    def translate(self, source, c=None, *, direction="a2b", growth):
        return source * (self.there if direction == "a2b" else self.back)


class Means(ganzoo.Discriminator):
    """Two patches an image: its mean, and that plus one; of side a, ten times as much. Adds the mean of the source."""

    def __init__(self, sees_source: bool = False) -> None:
        super().__init__(c_dim=0, img_resolution=16, img_channels=1)
        self.sees_source = sees_source

    def forward(self, img, c=None, *, growth, side="b", source=None):
        assert (source is not None) == self.sees_source
        mean = img.mean(dim=(1, 2, 3)) * (10 if side == "a" else 1)
        if source is not None:
            mean = mean + source.mean(dim=(1, 2, 3))
        return torch.stack([mean, mean + 1], dim=1)[:, None, None]


def flat(*values: float) -> Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, 16, 16)


def make_batch() -> Batch:
    return Batch(real=flat(0.5, -0.25), c=None, z=flat(0.1, 0.3), gen_c=None, growth=GROWTH)


def values(terms: dict[str, Tensor]) -> dict[str, list[float]]:
    return {name: [round(x, 4) for x in term.tolist()] for name, term in terms.items()}


def lsgan(mean: float, target: float) -> float:
    return ((mean - target) ** 2 + (mean + 1 - target) ** 2) / 2


def vanilla(mean: float, target: float) -> float:
    def entropy(x: float) -> float:
        return math.log(1 + math.exp(-x if target else x))

    return (entropy(mean) + entropy(mean + 1)) / 2


@pytest.mark.parametrize(("mode", "form"), [("lsgan", lsgan), ("vanilla", vanilla)])
def test_cyclegan(mode, form):
    loss = cyclegan.Loss(mode=mode, lambda_a=4.0, lambda_b=5.0, identity=0.5, pool_size=0)
    batch, G, D = make_batch(), Scale(), Means()
    wanted = {
        "real_b": [form(x, 1) / 2 for x in (0.5, -0.25)],
        "fake_b": [form(2 * x, 0) / 2 for x in (0.1, 0.3)],
        "real_a": [form(10 * x, 1) / 2 for x in (0.1, 0.3)],
        "fake_a": [form(30 * x, 0) / 2 for x in (0.5, -0.25)],
    }
    assert values(loss.d_loss(G, D, batch)) == {k: pytest.approx(v, abs=1e-3) for k, v in wanted.items()}
    wanted = {
        "fake_b": [form(2 * x, 1) for x in (0.1, 0.3)],
        "fake_a": [form(30 * x, 1) for x in (0.5, -0.25)],
        "cycle_a": [4 * 5 * x for x in (0.1, 0.3)],  # 6 x - x
        "cycle_b": [5 * 5 * x for x in (0.5, 0.25)],
        "identity_a": [4 * 0.5 * 2 * x for x in (0.1, 0.3)],
        "identity_b": [5 * 0.5 * 1 * x for x in (0.5, 0.25)],
    }
    assert values(loss.g_loss(G, D, batch)) == {k: pytest.approx(v, abs=1e-3) for k, v in wanted.items()}


def test_cyclegan_terms_of_no_weight_cost_nothing():
    loss = cyclegan.Loss(lambda_a=0.0, lambda_b=1.0, identity=0.0)
    assert loss.g_loss(Scale(), Means(), make_batch()).keys() == {"fake_a", "fake_b", "cycle_b"}


@pytest.mark.parametrize("sees_source", [False, True])
@pytest.mark.parametrize(("mode", "form"), [("lsgan", lsgan), ("vanilla", vanilla)])
def test_pix2pix(mode, form, sees_source):
    loss = pix2pix.Loss(paired=True, mode=mode, l1_weight=7.0)
    batch, G, D = make_batch(), Scale(), Means(sees_source)
    z = (0.1, 0.3) if sees_source else (0, 0)
    wanted = {
        "fake": [form(2 * x + y, 0) / 2 for x, y in zip((0.1, 0.3), z, strict=True)],
        "real": [form(x + y, 1) / 2 for x, y in zip((0.5, -0.25), z, strict=True)],
    }
    assert values(loss.d_loss(G, D, batch)) == {k: pytest.approx(v, abs=1e-3) for k, v in wanted.items()}
    distances = [7 * 0.3, 7 * 0.85]
    wanted = {"fake": [form(2 * x + y, 1) for x, y in zip((0.1, 0.3), z, strict=True)], "l1": distances}
    assert values(loss.g_loss(G, D, batch)) == {k: pytest.approx(v, abs=1e-3) for k, v in wanted.items()}
    l1 = pix2pix.L1(paired=True, weight=7.0)
    assert values(l1.terms(G, D, batch)) == {"l1": pytest.approx(distances)}
    assert (l1.player, l1.every, l1.passes_source) == ("G", 1, True)


# --- the pool ---


def test_pool_fills_and_then_exchanges_half():
    torch.manual_seed(0)
    pool = ImagePool(4)
    first = torch.arange(4.0)[:, None, None, None]
    assert torch.equal(pool.exchange(first[:3]), first[:3])
    assert torch.equal(pool.exchange(first[3:]), first[3:]) and len(pool.images) == 4
    given, kept = [], set(range(4))
    for i in range(4, 404):
        (image,) = pool.exchange(torch.full((1, 1, 1, 1), float(i))).flatten().tolist()
        if image != i:  # an older one, which leaves the pool for the new one
            kept.remove(int(image))
            kept.add(i)
        given.append(image)
        assert set(pool.images.flatten().tolist()) == kept
    assert 150 < sum(image != i for i, image in enumerate(given, 4)) < 250


def test_pool_within_a_batch_and_without_room():
    torch.manual_seed(0)
    pool = ImagePool(2)
    new = torch.randn(5, 3, 4, 4)
    given = pool.exchange(new)
    assert torch.equal(given[:2], new[:2]) and given.shape == new.shape and len(pool.images) == 2
    assert all(any(torch.equal(image, other) for other in new) for image in (*given, *pool.images))
    assert torch.equal(ImagePool(0).exchange(new), new)


@pytest.mark.parametrize("before", [0, 3, 8])
def test_pool_goes_on_as_if_never_saved(before):
    torch.manual_seed(before)
    loss = cyclegan.Loss(pool_size=4)
    for _ in range(before):
        loss.pool_a.exchange(torch.randn(1, 3, 4, 4))
    saved = {name: x.clone() for name, x in loss.state_dict().items()}
    chances, new = torch.get_rng_state(), torch.randn(6, 3, 4, 4)

    torch.set_rng_state(chances)
    wanted = loss.pool_a.exchange(new), loss.pool_a.images
    resumed = cyclegan.Loss(pool_size=4)
    resumed.load_state_dict(saved, strict=True)
    torch.set_rng_state(chances)
    found = resumed.pool_a.exchange(new), resumed.pool_a.images
    assert all(torch.equal(*pair) for pair in zip(wanted, found, strict=True))


def test_discriminator_sees_pooled_images():
    torch.manual_seed(0)
    loss, G, D = cyclegan.Loss(pool_size=1), Scale(), Means()
    fakes = []
    for i in range(8):
        batch = Batch(real=flat(1.0), c=None, z=flat(float(i)), gen_c=None, growth=GROWTH)
        fakes.append(loss.d_loss(G, D, batch)["fake_b"].item())
    wanted = [lsgan(2 * i, 0) / 2 for i in range(8)]
    late = [fake != pytest.approx(now) for fake, now in zip(fakes, wanted, strict=True)]
    assert any(late) and not all(late) and all(any(fake == pytest.approx(w) for w in wanted) for fake in fakes)


# --- refusals ---


def players(**changes):
    sizes = SIZES | changes
    G = cyclegan.Generator(**sizes, ngf=2, n_blocks=1)
    return G, cyclegan.Discriminator(**sizes, ndf=2, n_layers=1)


def test_cyclegan_refuses():
    G, D = players()
    cyclegan.Loss().check(G, D)
    one_way = pix2pix.Generator(**SIZES, ngf=2)
    with pytest.raises(ValueError, match="there and back: use the generator cyclegan"):
        cyclegan.Loss().check(one_way, D)
    with pytest.raises(ValueError, match="both domains: use the discriminator cyclegan"):
        cyclegan.Loss().check(G, Discriminator(**SIZES, ndf=2, n_layers=1))
    grey = players(in_channels=1)
    with pytest.raises(ValueError, match=r"a have 1 channels and those of b 3.*identity to 0"):
        cyclegan.Loss().check(*grey)
    cyclegan.Loss(identity=0.0).check(*grey)


def test_pix2pix_and_l1_refuse():
    sizes = {"c_dim": 0, "img_resolution": 16, "img_channels": 3}
    G, latents = pix2pix.Generator(**SIZES, ngf=2), SmallGenerator(**sizes)
    D, pairs = (Discriminator(**SIZES, ndf=2, n_layers=1, conditional=x) for x in (False, True))
    pix2pix.Loss(paired=True).check(G, pairs)
    pix2pix.Loss(paired=False, l1_weight=0.0).check(G, D)
    with pytest.raises(ValueError, match="latents: use the generator pix2pix"):
        pix2pix.Loss(paired=True).check(latents, D)
    with pytest.raises(ValueError, match=r"data are unpaired.*l1_weight to 0"):
        pix2pix.Loss(paired=False).check(G, D)
    with pytest.raises(ValueError, match=r"2 class logits.*aux to false"):
        pix2pix.Loss(paired=True).check(G, SmallDiscriminator(**sizes | {"c_dim": 2}))
    pix2pix.L1(paired=True).check(G, pairs)
    with pytest.raises(ValueError, match="use the generator pix2pix"):
        pix2pix.L1(paired=True).check(latents, D)
    with pytest.raises(ValueError, match=r"unpaired.*data\.inputs\.kind"):
        pix2pix.L1(paired=False).check(G, D)


def test_networks_refuse():
    with pytest.raises(ValueError, match=r"no labels: set data\.labels to false"):
        cyclegan.Generator(**SIZES | {"c_dim": 2})
    with pytest.raises(ValueError, match=r"no labels: set data\.labels to false"):
        cyclegan.Discriminator(**SIZES | {"c_dim": 2})
    with pytest.raises(ValueError, match=r"two domains.*data\.inputs"):
        cyclegan.Discriminator(**SIZES | {"in_channels": 0}, n_layers=1)
    with pytest.raises(ValueError, match="conditional to false"):
        Discriminator(**SIZES | {"in_channels": 0}, conditional=True, n_layers=1)
    with pytest.raises(ValueError, match=r"n_layers 3: images of 16x16.*n_layers to 2 or less"):
        Discriminator(**SIZES)
    with pytest.raises(ValueError, match=r"16 px can be halved 4 times, and num_downs is 5: use 2 to 4"):
        pix2pix.Generator(**SIZES, num_downs=5)
    with pytest.raises(ValueError, match="too small for a unet: use at least 4 px"):
        pix2pix.Generator(**SIZES | {"img_resolution": 2})
    with pytest.raises(ValueError, match="at least 8 px"):
        pix2pix.Generator(**SIZES | {"img_resolution": 4}, network="resnet")
    G, D = players()
    for player in (G, D, Discriminator(**SIZES, n_layers=1), pix2pix.Generator(**SIZES, ngf=2)):
        player.check_resolution(16)
        with pytest.raises(ValueError, match=r"does not grow.*fixed"):
            player.check_resolution(8)
    with pytest.raises(ValueError, match="18x16 cannot be translated: both must be multiples of 4"):
        G(torch.zeros(1, 3, 16, 18), growth=GROWTH)
    pairs = Discriminator(**SIZES, n_layers=1, conditional=True)
    with pytest.raises(ValueError, match="give the source"):
        pairs(torch.zeros(1, 3, 16, 16), growth=GROWTH)
    with pytest.raises(ValueError, match=r"labels of size 2 needs them: give c \[1, 2\]"):
        pix2pix.Generator(**SIZES | {"c_dim": 2}, ngf=2)(torch.zeros(1, 3, 16, 16), growth=GROWTH)


# --- networks ---


def test_sides_are_networks_of_their_own():
    torch.manual_seed(0)
    G, D = players(in_channels=1)
    a, b = torch.randn(2, 1, 16, 16), torch.randn(2, 3, 16, 16)
    assert torch.equal(D(b, growth=GROWTH), D.D_b(b))
    assert torch.equal(D(a, growth=GROWTH, side="a"), D.D_a(a))
    assert torch.equal(G(a, growth=GROWTH), G.G_ab(a))
    assert torch.equal(G.translate(b, direction="b2a", growth=GROWTH), G.G_ba(b))


@pytest.mark.parametrize(("num_downs", "wanted"), [(8, [4, 5, 6]), (5, []), (6, [4]), (2, [])])
def test_dropout_is_in_the_inner_blocks(num_downs, wanted):
    net = UNet(3, 3, ngf=2, num_downs=num_downs, norm="batch", dropout=True)
    assert [i for i, layer in enumerate(net.dropout) if layer.p > 0] == wanted
    assert all(layer.p == 0 for layer in UNet(3, 3, ngf=2, num_downs=8, norm="batch", dropout=False).dropout)


def test_depth_follows_the_size():
    for resolution, downs in ((16, 4), (256, 8), (512, 8)):
        with torch.device("meta"):
            G = pix2pix.Generator(**SIZES | {"img_resolution": resolution}, ngf=2)
        assert len(G.body.down) == downs and G.size_multiple == 2**downs


def test_patches_of_70_pixels():
    """Section 6.1.2 of pix2pix: what a patch sees, by the pixels that have an influence on one logit."""
    torch.manual_seed(0)
    for n_layers, size in ((0, 1), (1, 16), (2, 34), (3, 70)):
        D = Discriminator(**SIZES | {"img_resolution": 128}, n_layers=n_layers, ndf=2, norm="none")
        img = torch.randn(1, 3, 128, 128, requires_grad=True)
        logits = D(img, growth=GrowthState(128, 1.0, 1, 0.1, 0.1))
        middle = logits.shape[2] // 2
        logits[0, 0, middle, middle].backward()
        seen = img.grad.abs().sum(dim=(0, 1)).nonzero()
        assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [size, size]


def test_fill_paints_holes_alone():
    G = pix2pix.Generator(**{**SIZES, "in_channels": 4}, ngf=4, fill=True).eval()
    source = torch.rand(2, 4, 16, 16) * 2 - 1
    source[:, 3] = -1
    assert torch.equal(G(source, growth=GROWTH), source[:, :3])
    source[1, 3, 4:8] = 1
    made, painted = G(source, growth=GROWTH), G.body(source)
    assert torch.equal(made[1, :, 4:8], painted[1, :, 4:8])
    made[1, :, 4:8] = source[1, :3, 4:8]
    assert torch.equal(made, source[:, :3])
    with pytest.raises(ValueError, match="the source has 3 channels: set mask to true"):
        pix2pix.Generator(**SIZES, fill=True)
