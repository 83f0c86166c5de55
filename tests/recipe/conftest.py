from typing import Annotated, Literal

import pytest
from pydantic import Field

import ganzoo
from ganzoo.plugins import make_plugin_manager


class Generator(ganzoo.Generator):
    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        z_dim: Annotated[int, Field(ge=1, description="size of the latent")] = 8,
        kernel: tuple[float, ...] = (1.0, 2.0, 1.0),
        norm: Literal["pixel", "none"] = "pixel",
        slope: float = 0.2,
    ) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        if img_resolution == 13:
            raise ValueError("img_resolution 13 brings bad luck: use 16")
        self.kernel = kernel

    def forward(self, z, c=None, *, growth):
        return z


class Discriminator(ganzoo.Discriminator):
    def forward(self, img, c=None, *, growth):
        return img


class Loss(ganzoo.Loss):
    def d_loss(self, G, D, batch):
        return {}

    def g_loss(self, G, D, batch):
        return {}


class Schedule(ganzoo.GrowthSchedule):
    def __init__(
        self,
        *,
        img_resolution: int,
        world_size: int = 1,
        lr: Annotated[float, Field(gt=0)] | dict[int | Literal["default"], Annotated[float, Field(gt=0)]] = 0.1,
    ) -> None:
        self.lr, self.world_size, self.img_resolution = lr, world_size, img_resolution

    def at(self, nimg):
        return ganzoo.GrowthState(self.img_resolution, 1.0, 4, 0.1, 0.1)


class Plugin:
    @ganzoo.hookimpl
    def ganzoo_register_generators(register):
        register("small", Generator)

    @ganzoo.hookimpl
    def ganzoo_register_discriminators(register):
        register("small", Discriminator)

    @ganzoo.hookimpl
    def ganzoo_register_losses(register):
        register("small", Loss)

    @ganzoo.hookimpl
    def ganzoo_register_growth_schedules(register):
        register("steps", Schedule)


@pytest.fixture(scope="session")
def registry():
    return make_plugin_manager({"small-gan": Plugin}).registry


@pytest.fixture
def recipe_file(tmp_path):
    """Write a recipe: the minimal one, with lines replaced or added."""

    def write(filename="a.yaml", /, text=None, **sections):
        lines = {
            "data": "{path: images, img_resolution: 16}",
            "generator": "{name: small}",
            "discriminator": "{name: small}",
            "loss": "{name: small}",
            "growth": "{name: steps}",
            "train": "{total_kimg: 5}",
            **sections,
        }
        path = tmp_path / filename
        path.write_text(text or "".join(f"{k}: {v}\n" for k, v in lines.items() if v is not None), encoding="utf-8")
        return path

    return write
