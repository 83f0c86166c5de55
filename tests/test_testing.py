"""Each contract check passes on a right component and fails on one that is wrong in exactly one way."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ganzoo
from ganzoo import Batch, GrowthState
from ganzoo.errors import PluginError
from ganzoo.plugins import make_plugin_manager
from ganzoo.testing import (
    check_component,
    check_dataset,
    check_discriminator,
    check_generator,
    check_growth_schedule,
    check_loss,
    registered,
)

SIZES = [4, 8, 16]


class RightGenerator(ganzoo.Generator):
    """Grows from 4 to 16 pixels."""

    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, z_dim: int = 8) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(z_dim + c_dim, 6 * 16)
        self.convs = nn.ModuleDict({str(r): nn.Conv2d(6, 6, 3, padding=1) for r in SIZES[1:]})
        self.to_rgb = nn.ModuleDict({str(r): nn.Conv2d(6, img_channels, 1) for r in SIZES})

    def forward(self, z, c=None, *, growth: GrowthState):
        x = older = self.dense(z if c is None else torch.cat([z, c], 1)).reshape(len(z), 6, 4, 4)
        while x.shape[-1] < growth.resolution:
            older, x = x, F.interpolate(x, scale_factor=2)
            x = F.leaky_relu(self.convs[str(x.shape[-1])](x), 0.2)
        img = self.to_rgb[str(growth.resolution)](x)
        if growth.alpha < 1:
            older_img = F.interpolate(self.to_rgb[str(growth.resolution // 2)](older), scale_factor=2)
            img = torch.lerp(older_img, img, growth.alpha)
        return img.float()


class PositionalGenerator(RightGenerator):
    def __init__(self, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim)


class UnresolvableGenerator(RightGenerator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, width: Nonsense = 1) -> None:  # noqa: F821
        super().__init__(img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim)


class ForgetfulGenerator(RightGenerator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim)
        self.img_resolution = 4


class FullSizeGenerator(RightGenerator):
    def forward(self, z, c=None, *, growth):
        return F.interpolate(super().forward(z, c, growth=growth), size=16)


class SigmoidGenerator(RightGenerator):
    def forward(self, z, c=None, *, growth):
        return super().forward(z, c, growth=growth).sigmoid()


class PixelValueGenerator(RightGenerator):
    def forward(self, z, c=None, *, growth):
        return super().forward(z, c, growth=growth) * 127.5


class InfiniteGenerator(RightGenerator):
    def forward(self, z, c=None, *, growth):
        return super().forward(z, c, growth=growth) / 0


class ColdParameterGenerator(RightGenerator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim)
        self.unused = nn.Linear(2, 2)


class NoisyGenerator(RightGenerator):
    def forward(self, z, c=None, *, growth):
        img = super().forward(z, c, growth=growth)
        return img + 0.01 * torch.randn_like(img)


class BatchMeanGenerator(RightGenerator):
    def forward(self, z, c=None, *, growth):
        img = super().forward(z, c, growth=growth)
        return img - img.mean(0, keepdim=True) / 2


class UnsavedConstantGenerator(RightGenerator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim)
        self.constant = torch.randn(1, img_channels, 1, 1)

    def forward(self, z, c=None, *, growth):
        return super().forward(z, c, growth=growth) + self.constant


class HalfOutputGenerator(RightGenerator):
    def forward(self, z, c=None, *, growth):
        return super().forward(z, c, growth=growth).half()


class HardFadeGenerator(RightGenerator):
    """Shows the new block from the start of the fade."""

    def forward(self, z, c=None, *, growth):
        return super().forward(z, c, growth=GrowthState(growth.resolution, 1.0, 1, 1.0, 1.0))


class EndlessFadeGenerator(RightGenerator):
    """Stops fading at nine tenths."""

    def forward(self, z, c=None, *, growth):
        alpha = growth.alpha * 0.9 if growth.resolution > 4 else 1.0
        old_at_alpha_0 = growth.alpha == 1 and growth.resolution < 16
        return super().forward(
            z, c, growth=GrowthState(growth.resolution, 1.0 if old_at_alpha_0 else alpha, 1, 1.0, 1.0)
        )


class LonelyGenerator(RightGenerator):
    """Loses the batch dimension of a batch of one."""

    def forward(self, z, c=None, *, growth):
        img = super().forward(z, c, growth=growth).squeeze()
        _, channels, _, _ = img.shape
        return img.reshape(-1, channels, growth.resolution, growth.resolution)


class FrozenPartGenerator(RightGenerator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim)
        self.gain = nn.Parameter(torch.full([], 1.5), requires_grad=False)

    def forward(self, z, c=None, *, growth):
        return super().forward(z, c, growth=growth) * self.gain


class Whitening(nn.Module):
    """Works, but with a parameter that is not its own."""

    def __init__(self, others: list[nn.Parameter]) -> None:
        super().__init__()
        self.others = others

    def forward(self, x):
        return x * self.others[0].mean()


class BorrowingGenerator(RightGenerator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim)
        self.scale = nn.Parameter(torch.ones(3))
        self.whitening = Whitening([self.scale])

    def forward(self, z, c=None, *, growth):
        self.whitening.others = [self.scale]
        return ganzoo.recompute(growth.resolution, self.whitening, super().forward(z, c, growth=growth))


def test_parameters_that_are_not_trained_are_allowed():
    check_generator(FrozenPartGenerator, resolutions=SIZES)


@pytest.mark.parametrize("c_dim", [0, 3])
def test_right_generator_passes(c_dim):
    check_generator(RightGenerator, {"z_dim": 5}, c_dim=c_dim, resolutions=SIZES)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (PositionalGenerator, "not keyword-only"),
        (UnresolvableGenerator, "Nonsense"),
        (ForgetfulGenerator, "img_resolution is 4 where core gave 16"),
        (FullSizeGenerator, r"shape \(4, 3, 16, 16\) where \(4, 3, 4, 4\) is wanted"),
        (SigmoidGenerator, "never negative"),
        (PixelValueGenerator, "black is -1 and white is 1"),
        (InfiniteGenerator, "not finite"),
        (ColdParameterGenerator, "no gradient reaches unused.weight, unused.bias"),
        (NoisyGenerator, "same input gives different outputs"),
        (BatchMeanGenerator, "depends on the others of its batch"),
        (LonelyGenerator, "forward of one image raises"),
        (UnsavedConstantGenerator, "is a random tensor no buffer"),
        (HalfOutputGenerator, "torch.float16, not torch.float32"),
        (HardFadeGenerator, "is not the 4 px image with every pixel enlarged"),
        (EndlessFadeGenerator, "the fade never ends"),
        (BorrowingGenerator, "with system.recompute the gradient of scale is another"),
    ],
)
def test_wrong_generator_fails(cls, message):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{message}.*see ganzoo.interfaces.networks.Generator"):
        check_generator(cls, resolutions=SIZES)


def test_wrong_arguments_are_named():
    with pytest.raises(AssertionError, match="no argument latent_size"):
        check_generator(RightGenerator, {"latent_size": 5}, resolutions=SIZES)


def test_check_leaves_random_state_alone():
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    check_generator(RightGenerator, resolutions=SIZES)
    assert torch.equal(torch.rand(1), wanted)


class RightDiscriminator(ganzoo.Discriminator):
    """Grows from 4 to 16 pixels."""

    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.aux_dim = c_dim
        self.from_rgb = nn.ModuleDict({str(r): nn.Conv2d(img_channels, 6, 1) for r in SIZES})
        self.convs = nn.ModuleDict({str(r): nn.Conv2d(6, 6, 3, padding=1) for r in SIZES})
        self.dense = nn.Linear(6 * 16, 1 + c_dim)

    def forward(self, img, c=None, *, growth: GrowthState):
        x = F.leaky_relu(self.from_rgb[str(growth.resolution)](img), 0.2)
        for r in [r for r in reversed(SIZES) if r <= growth.resolution]:
            x = F.leaky_relu(self.convs[str(r)](x), 0.2)
            if r > 4:
                x = F.avg_pool2d(x, 2)
            if r == growth.resolution and growth.alpha < 1:
                older = F.leaky_relu(self.from_rgb[str(r // 2)](F.avg_pool2d(img, 2)), 0.2)
                x = torch.lerp(older, x, growth.alpha)
        return self.dense(x.flatten(1)).float()


class FlatDiscriminator(RightDiscriminator):
    def forward(self, img, c=None, *, growth):
        return super().forward(img, c, growth=growth)[:, 0]


class SigmoidDiscriminator(RightDiscriminator):
    def forward(self, img, c=None, *, growth):
        return super().forward(img, c, growth=growth).sigmoid()


class BatchStatisticsDiscriminator(RightDiscriminator):
    def forward(self, img, c=None, *, growth):
        logits = super().forward(img, c, growth=growth)
        return logits - logits.mean() / 2


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * 2


class MixingDiscriminator(BatchStatisticsDiscriminator):
    def score_both(self, fake, real, fake_c=None, real_c=None, *, growth):
        return self(torch.cat([fake, real]), fake_c, growth=growth).chunk(2)


class SwappingDiscriminator(RightDiscriminator):
    def score_both(self, fake, real, fake_c=None, real_c=None, *, growth):
        return self(real, real_c, growth=growth), self(fake, fake_c, growth=growth)


class JoiningDiscriminator(RightDiscriminator):
    def score_both(self, fake, real, fake_c=None, real_c=None, *, growth):
        c = None if fake_c is None else torch.cat([fake_c, real_c])
        return self(torch.cat([fake, real]), c, growth=growth).chunk(2)


class OnceDifferentiableDiscriminator(RightDiscriminator):
    def forward(self, img, c=None, *, growth):
        return super().forward(OnceDifferentiable.apply(img), c, growth=growth)


class LinearDiscriminator(ganzoo.Discriminator):
    """Its gradient does not depend on the image, but does on the weights: a penalty trains it."""

    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(img_channels * img_resolution**2, 1, bias=False)

    def forward(self, img, c=None, *, growth):
        return self.dense(img.flatten(1)).float()


class FeatureDiscriminator(LinearDiscriminator):
    has_features = True

    def features(self, img, c=None, *, growth):
        return img.flatten(1).square()


class HiddenFeatures(FeatureDiscriminator):
    has_features = False


class MapFeatures(FeatureDiscriminator):
    def features(self, img, c=None, *, growth):
        return img


class DetachedFeatures(FeatureDiscriminator):
    def features(self, img, c=None, *, growth):
        return img.detach().flatten(1) * next(self.parameters()).flatten()[0] + 0 * img.sum()


class PatchDiscriminator(LinearDiscriminator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        ganzoo.Discriminator.__init__(self, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.conv = nn.Conv2d(img_channels, 1, 4, stride=4)

    def forward(self, img, c=None, *, growth):
        return self.conv(img).float()


class HardFadeDiscriminator(RightDiscriminator):
    def forward(self, img, c=None, *, growth):
        return super().forward(img, c, growth=GrowthState(growth.resolution, 1.0, 1, 1.0, 1.0))


@pytest.mark.parametrize("c_dim", [0, 3])
def test_right_discriminator_passes(c_dim):
    check_discriminator(RightDiscriminator, c_dim=c_dim, resolutions=SIZES)
    check_discriminator(JoiningDiscriminator, c_dim=c_dim, resolutions=SIZES)


@pytest.mark.parametrize("cls", [LinearDiscriminator, PatchDiscriminator, FeatureDiscriminator])
def test_discriminators_of_one_size_pass(cls):
    check_discriminator(cls, img_channels=1)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (FlatDiscriminator, r"shape \(4,\) where \(4, 1\)"),
        (SigmoidDiscriminator, "return them before the sigmoid"),
        (BatchStatisticsDiscriminator, "minibatch_statistics=True"),
        (OnceDifferentiableDiscriminator, "a gradient penalty trains no parameter"),
        (SwappingDiscriminator, "the logits of two calls, of the generated images first"),
        (HardFadeDiscriminator, "not those of the image averaged down to 4 px"),
    ],
)
def test_wrong_discriminator_fails(cls, message):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{message}.*see ganzoo.*networks.Discriminator"):
        check_discriminator(cls, resolutions=SIZES)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (HiddenFeatures, "features gives some, and has_features is false"),
        (MapFeatures, r"features at 16 px, alpha=1 are .*\[4, 1, 16, 16\]; wanted is torch.float32 \[4, F\]"),
        (DetachedFeatures, "no gradient of the features .* reaches the image"),
    ],
)
def test_wrong_features_fail(cls, message):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{message}"):
        check_discriminator(cls, img_channels=1)


def test_minibatch_statistics_can_be_allowed():
    check_discriminator(BatchStatisticsDiscriminator, resolutions=SIZES, minibatch_statistics=True)
    with pytest.raises(AssertionError, match="does not give the logits of two calls"):
        check_discriminator(MixingDiscriminator, resolutions=SIZES, minibatch_statistics=True)


class RightLoss(ganzoo.Loss):
    def __init__(self, *, weight: float = 1.0) -> None:
        self.weight = weight

    def d_loss(self, G, D, batch: Batch):
        with torch.no_grad():
            fake = G(batch.z, batch.gen_c, growth=batch.growth)
        return {
            "real": F.relu(1 - D(batch.real, batch.c, growth=batch.growth)[:, :1]) * self.weight,
            "fake": F.relu(1 + D(fake, batch.gen_c, growth=batch.growth)[:, 0]).mean(),
        }

    def g_loss(self, G, D, batch: Batch):
        return {"fake": -D(G(batch.z, batch.gen_c, growth=batch.growth), batch.gen_c, growth=batch.growth)[:, 0]}


class EmptyLoss(RightLoss):
    def d_loss(self, G, D, batch):
        return {}


class PixelwiseLoss(RightLoss):
    def g_loss(self, G, D, batch):
        return {"pixels": G(batch.z, batch.gen_c, growth=batch.growth).square()}


class NanLoss(RightLoss):
    def g_loss(self, G, D, batch):
        return {name: (term - 1e6).log() for name, term in super().g_loss(G, D, batch).items()}


class LeakyLoss(RightLoss):
    """Differentiates through G in D's step."""

    def d_loss(self, G, D, batch):
        return {"fake": D(G(batch.z, batch.gen_c, growth=batch.growth), batch.gen_c, growth=batch.growth)[:, 0]}


class BackwardLoss(RightLoss):
    def d_loss(self, G, D, batch):
        terms = super().d_loss(G, D, batch)
        terms["fake"].backward(retain_graph=True)
        return terms


class ClippingLoss(RightLoss):
    def d_loss(self, G, D, batch):
        terms = super().d_loss(G, D, batch)
        for p in D.parameters():
            p.data = p.data.clamp(-0.01, 0.01)
        return terms


class DetachedLoss(RightLoss):
    def g_loss(self, G, D, batch):
        return {name: term.detach() for name, term in super().g_loss(G, D, batch).items()}


class InPlaceLoss(RightLoss):
    def d_loss(self, G, D, batch):
        batch.real.mul_(0.5)
        return super().d_loss(G, D, batch)


@pytest.mark.parametrize("c_dim", [0, 3])
def test_right_loss_passes(c_dim):
    check_loss(RightLoss, {"weight": 2.0}, c_dim=c_dim)


def test_loss_is_checked_with_given_players():
    sizes = {"img_resolution": 16, "img_channels": 3, "c_dim": 0}
    check_loss(RightLoss, players=(RightGenerator(**sizes), RightDiscriminator(**sizes)))


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (EmptyLoss, r"d_loss returns \{\}"),
        (PixelwiseLoss, r"'pixels' is a tensor \[4, 3, 8, 8\]"),
        (NanLoss, "not finite"),
        (LeakyLoss, r"leaves gradients in the other player, SmallGenerator"),
        (BackwardLoss, "calls backward"),
        (ClippingLoss, "changes parameters of SmallDiscriminator"),
        (DetachedLoss, "only terms without a gradient"),
        (InPlaceLoss, "changes batch.real in place"),
    ],
)
def test_wrong_loss_fails(cls, message):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{message}.*see ganzoo.interfaces.objectives.Loss"):
        check_loss(cls)


class RightSchedule(ganzoo.GrowthSchedule):
    """Doubles every thousand images, the first half of each thousand fading."""

    def __init__(self, *, img_resolution: int) -> None:
        self.img_resolution = img_resolution

    def at(self, nimg: int) -> GrowthState:
        level, rest = divmod(nimg, 1000)
        resolution = min(4 << min(level, 20), self.img_resolution)
        fading = level > 0 and 4 << min(level, 20) <= self.img_resolution
        return GrowthState(resolution, min(1.0, rest / 500) if fading else 1.0, 8, 0.002, 0.001)


class CountingSchedule(RightSchedule):
    def __init__(self, *, img_resolution: int) -> None:
        super().__init__(img_resolution=img_resolution)
        self.calls = 0

    def at(self, nimg):
        self.calls += 1
        state = super().at(nimg)
        return GrowthState(state.resolution, state.alpha, 8, 0.002 / self.calls, 0.001)


class ShrinkingSchedule(RightSchedule):
    def at(self, nimg):
        return GrowthState(8 if nimg > 10_000 else 16, 1.0, 8, 0.002, 0.001)


class StuckSchedule(RightSchedule):
    def at(self, nimg):
        return GrowthState(8, 1.0, 8, 0.002, 0.001)


class OvershootingSchedule(RightSchedule):
    def at(self, nimg):
        return GrowthState(16, 1.0 + nimg / 1000, 8, 0.002, 0.001)


class FractionalBatchSchedule(RightSchedule):
    def at(self, nimg):
        return GrowthState(16, 1.0, 512 / 24, 0.002, 0.001)


class SilentSchedule(RightSchedule):
    def at(self, nimg):
        return None


class BrighteningSchedule(RightSchedule):
    def process_reals(self, real, growth):
        return real + 1


class ResizingSchedule(RightSchedule):
    def process_reals(self, real, growth):
        return F.avg_pool2d(real, 2)


class InPlaceSchedule(RightSchedule):
    def process_reals(self, real, growth):
        return real.mul_(0.5)


def test_right_schedule_passes():
    check_growth_schedule(RightSchedule)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (CountingSchedule, "must depend on nimg alone"),
        (ShrinkingSchedule, "goes back from 16 px, alpha=1 to 8 px"),
        (StuckSchedule, "never reaches img_resolution=16"),
        (OvershootingSchedule, "not between 0 and 1"),
        (FractionalBatchSchedule, "batch_size 21.33"),
        (SilentSchedule, r"at\(0\) returns None"),
        (BrighteningSchedule, r"leaves the range \[-1, 1\]"),
        (ResizingSchedule, r"turns shape \[2, 3, 4, 4\] into \[2, 3, 2, 2\]"),
        (InPlaceSchedule, "changes its input in place"),
    ],
)
def test_wrong_schedule_fails(cls, message):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{message}.*see ganzoo.*growth.GrowthSchedule"):
        check_growth_schedule(cls)


class RightDataset(ganzoo.Dataset):
    def __init__(self, *, num_images: int = 5) -> None:
        self.name, self.fingerprint = "squares", "c0ffee"
        self.labels = np.arange(num_images) % 2
        self.class_names = ["even", "odd"]
        self.num_images = num_images

    def __len__(self) -> int:
        return self.num_images

    def filename(self, index: int) -> str:
        return f"{index}.png"

    def image(self, index: int) -> np.ndarray:
        return np.random.RandomState(index).randint(256, size=(6, 7, 3), dtype=np.uint8)


class EmptyDataset(RightDataset):
    def __len__(self):
        return 0


class FloatImageDataset(RightDataset):
    def image(self, index):
        return super().image(index) / 255


class ChannelsFirstDataset(RightDataset):
    def image(self, index):
        return super().image(index).transpose(2, 0, 1)


class ShufflingDataset(RightDataset):
    def image(self, index):
        return np.random.default_rng().integers(256, size=(6, 7), dtype=np.uint8)


class ManyLabelsDataset(RightDataset):
    def __init__(self) -> None:
        super().__init__()
        self.labels = np.zeros(6, dtype=np.int64)


class FloatClassDataset(RightDataset):
    def __init__(self) -> None:
        super().__init__()
        self.labels = np.zeros(5)


class NamelessClassDataset(RightDataset):
    def __init__(self) -> None:
        super().__init__()
        self.class_names = ["even"]


class TimedFingerprintDataset(RightDataset):
    created = 0

    def __init__(self) -> None:
        super().__init__()
        TimedFingerprintDataset.created += 1
        self.fingerprint = f"{self.created:x}"


def test_right_dataset_passes():
    check_dataset(RightDataset, {"num_images": 3})


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (EmptyDataset, "has no images"),
        (FloatImageDataset, "float64"),
        (ChannelsFirstDataset, r"uint8 \[3, 6, 7\]"),
        (ShufflingDataset, "another picture every time"),
        (ManyLabelsDataset, "5 images and 6 labels"),
        (FloatClassDataset, r"labels are float64 \[5\]"),
        (NamelessClassDataset, "has class 1 but 1 class_names"),
        (TimedFingerprintDataset, "could never be resumed"),
    ],
)
def test_wrong_dataset_fails(cls, message):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{message}.*see ganzoo.interfaces.data.Dataset"):
        check_dataset(cls)


def plugin_of(name: str, cls: type) -> ModuleType:
    @ganzoo.hookimpl
    def ganzoo_register_losses(register):
        register(name, cls)

    plugin = ModuleType("plugin")
    plugin.ganzoo_register_losses = ganzoo_register_losses
    return plugin


def test_registered_lists_only_the_plugins_own_components():
    (entry,) = registered(plugin_of("right", RightLoss))
    assert (entry.kind, entry.name, entry.cls) == ("loss", "right", RightLoss)


def test_registered_refuses_what_core_would_leave_out():
    with pytest.raises(PluginError, match="kebab-case"):
        registered(plugin_of("Not Right", RightLoss))


def test_component_is_checked_by_its_kind():
    (right,), (wrong,) = registered(plugin_of("right", RightLoss)), registered(plugin_of("empty", EmptyLoss))
    check_component(right, args={"weight": 0.5}, c_dim=2)
    with pytest.raises(AssertionError, match="EmptyLoss"):
        check_component(wrong)


@pytest.mark.parametrize(
    ("kind", "name", "args"), [("growth", "fixed", {"batch_size": 8}), ("dataset", "faces", {"num_images": 6})]
)
def test_cores_own_components_pass(kind, name, args):
    check_component(make_plugin_manager({}).registry.get(kind, name), args=args)
