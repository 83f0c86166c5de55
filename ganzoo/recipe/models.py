"""What a recipe can say: one frozen class a section. docs/recipes.md and the JSON schema are made from these."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)


def _is_countable(value: float) -> float:
    if value > 1e12:
        raise ValueError(f"must be at most 1e12, not {value:g}: numbers of images are not exact beyond")
    return value


Kimg = Annotated[float, AfterValidator(_is_countable)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_is_countable)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Component(Section):
    """Installed code by its registered name, with arguments for its constructor."""

    name: str = Field(description="a name that `ganzoo plugins` lists")
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of the constructor, see below")


def _named(value: Any) -> Any:
    """In a list of components, a name alone will do."""
    return [{"name": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


Components = Annotated[list[Component], BeforeValidator(_named)]


class InputsConfig(Section):
    """The images that a translator is given, domain a; the real images, domain b, are what it is to make of them."""

    kind: Literal["unpaired", "same-name", "side-by-side", "degrade"] = Field(
        description="two folders of their own; two folders, pairs by file name; the two halves of every image; "
        "or made from the real images"
    )
    a: str | None = Field(None, description="folder within data.path (unpaired, same-name); null = trainA")
    b: str | None = Field(None, description="that of the real images; null = trainB")
    left: Literal["a", "b"] | None = Field(None, description="the left half (side-by-side); null = a")
    degrade: Component | None = Field(None, description="a registered degradation (degrade)")
    img_channels: Literal[1, 3, 4] | None = Field(None, description="grey, RGB or RGBA; null = as the images are")

    @property
    def paired(self) -> bool:
        """Whether an input belongs to the real image beside it."""
        return self.kind != "unpaired"

    @model_validator(mode="before")
    @classmethod
    def _write_out_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        defaults: dict[str, str] = {}
        if values.get("kind") in ("unpaired", "same-name"):
            defaults = {"a": "trainA", "b": "trainB"}
        elif values.get("kind") == "side-by-side":
            defaults = {"left": "a"}
        return {**values, **{key: value for key, value in defaults.items() if values.get(key) is None}}

    @field_validator("a", "b")
    @classmethod
    def _is_below(cls, value: str | None) -> str | None:
        if value is not None:
            value = value.replace("\\", "/").strip("/")
            if not value or set(value.split("/")) & {"", ".", ".."} or ":" in value:
                raise ValueError("must be a folder within data.path, such as trainA")
        return value

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> InputsConfig:
        own = {
            "unpaired": {"a", "b", "img_channels"},
            "same-name": {"a", "b", "img_channels"},
            "side-by-side": {"left", "img_channels"},
            "degrade": {"degrade"},
        }[self.kind]
        for key in ("a", "b", "left", "degrade", "img_channels"):
            if key not in own and getattr(self, key) is not None:
                raise ValueError(f"`{key}` means nothing for the kind {self.kind}, which has: {', '.join(sorted(own))}")
        if self.kind == "degrade" and self.degrade is None:
            raise ValueError("`degrade` is missing: a degradation that `ganzoo plugins` lists")
        if self.a is not None and self.a == self.b:
            raise ValueError(f"`a` and `b` are both {self.a!r}; give two folders")
        return self


class DataConfig(Section):
    """Which images, and how they are made to fit."""

    path: str | None = Field(None, description="a folder of images, a zip or a pack; `--data` sets it")
    source: Component | None = Field(None, description="a registered dataset in place of a path")
    img_resolution: int = Field(ge=1, le=16384, description="final width and height, in pixels")
    img_channels: Literal[1, 3, 4] | None = Field(None, description="grey, RGB or RGBA; null = as the images are")
    fit: Literal["crop", "resize", "pad"] = Field("crop", description="how an image that is not square becomes so")
    filter: Literal["lanczos", "box"] = Field("lanczos", description="how it is brought to size")
    background: str = Field("white", description="colour behind transparency and padding: a name or #rrggbb")
    labels: bool = Field(False, description="train with the labels of the data")
    classes: Annotated[list[str | Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = Field(
        None, description="use only these classes, by name or number from 0; their order is that of the labels"
    )
    mirror: bool = Field(False, description="mirror every image left to right, half of the time")
    cache: str = Field("auto", description="auto, off, or a folder to keep packed images in")
    max_images: int | None = Field(None, ge=1, description="use only so many")
    skip_bad: int = Field(0, ge=0, description="go on with up to so many unreadable images left out")
    inputs: InputsConfig | None = Field(None, description="the images that a translator is given; null = latents")

    @field_validator("path")
    @classmethod
    def _is_given(cls, value: str | None) -> str | None:
        if value == "":  # as from --data "$UNSET"; it would mean the working directory
            raise ValueError("is empty; give a folder, a zip or a pack of images")
        return value

    @field_validator("img_resolution")
    @classmethod
    def _is_power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            below = 1 << (value.bit_length() - 1)
            raise ValueError(f"{value} is not a power of two; use {below} or {2 * below}")
        return value

    @field_validator("background")
    @classmethod
    def _is_colour(cls, value: str) -> str:
        from PIL import ImageColor

        try:
            ImageColor.getrgb(value)
        except ValueError:
            raise ValueError(f"{value!r} is no colour; use a name such as white, or #rrggbb") from None
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> DataConfig:
        if (self.path is None) == (self.source is None):
            raise ValueError("give either `path` (or --data PATH) or `source`" + (", not both" if self.path else ""))
        return self

    @model_validator(mode="after")
    def _classes_are_not_domains(self) -> DataConfig:
        if self.classes is not None and self.inputs is not None and self.inputs.kind in ("same-name", "unpaired"):
            raise ValueError("`classes` means nothing here: `inputs` already says which folders to take")
        return self

    @model_validator(mode="after")
    def _pairs_stay_together(self) -> DataConfig:
        if self.skip_bad and self.inputs is not None and self.inputs.kind in ("same-name", "side-by-side"):
            raise ValueError("`skip_bad` would part pairs of images; remove the bad files instead")
        return self


class AdamArgs(Section):
    """Arguments of Adam; the learning rates are the growth schedule's."""

    betas: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = Field(
        [0.0, 0.99], description="decay of the two running means"
    )
    eps: Positive = Field(1e-8, description="keeps the division finite")


class RMSpropArgs(Section):
    """Arguments of RMSprop; the learning rates are the growth schedule's."""

    alpha: float = Field(0.99, ge=0, lt=1, description="decay of the running mean of squares")
    eps: Positive = Field(1e-8, description="keeps the division finite")
    momentum: float = Field(0.0, ge=0, lt=1, description="decay of the running mean of steps; 0 = none")


class OptimizerConfig(Section):
    """How both players' parameters are stepped."""

    name: Literal["adam", "rmsprop"] = Field("adam", description="the optimiser")
    args: AdamArgs | RMSpropArgs = AdamArgs()  # type: ignore[call-arg]  # every field has a default
    reset_on_growth: bool = Field(True, description="start it anew when a fade begins or ends, as ProGAN does")

    @classmethod
    def args_of(cls, name: Any) -> type[AdamArgs] | type[RMSpropArgs]:
        """The section of an optimiser's arguments."""
        return RMSpropArgs if name == "rmsprop" else AdamArgs

    @model_validator(mode="before")
    @classmethod
    def _defaults_by_name(cls, values: Any) -> Any:
        return {"args": {}, **values} if isinstance(values, dict) else values

    @field_validator("args", mode="wrap")
    @classmethod
    def _by_name(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        # Of the optimiser that is named, so that mistakes are told of its arguments and no other's.
        return cls.args_of(info.data.get("name")).model_validate(value)


class TrainConfig(Section):
    """How long, how often, and what is kept. A kimg is a thousand real images shown."""

    total_kimg: Kimg = Field(ge=0.001, allow_inf_nan=False, description="length of training")
    d_steps: int = Field(1, ge=1, description="steps of D for each step of G")
    reuse_fakes: bool = Field(
        False,
        description="train G on the images that D was shown, not on those of fresh latents: they are made once, for "
        "which G's activations stay in memory during D's step; without effect where `accumulate` is above 1",
    )
    accumulate: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        1,
        description="micro-batches a step, whose gradients add up: less memory, and statistics of fewer images; "
        "auto: at each resolution as many as memory demands",
    )
    ema_beta: float | None = Field(0.999, ge=0, lt=1, description="decay of G_ema, per step")
    ema_kimg: Positive | None = Field(None, description="half-life of G_ema instead, whatever the batch size")
    ema_rampup: Positive | None = Field(None, description="half-life at most this share of the images shown so far")
    tick_kimg: Positive = Field(4.0, description="between status lines")
    image_kimg: Positive | None = Field(None, description="between image grids; null = every tick")
    snapshot_kimg: Positive = Field(200.0, description="between snapshots (G_ema, to use and share)")
    checkpoint_kimg: Positive | None = Field(None, description="between checkpoints; null = as snapshots")
    keep_checkpoints: int = Field(3, ge=1, description="the newest so many are kept")
    on_divergence: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="where a loss or gradient is not finite: stop, skip the update, or go back to the newest "
        "checkpoint and on with other random numbers",
    )
    divergence_limit: int = Field(
        10, ge=1, description="stop after so many updates skipped in a row, or at the rollback after so many"
    )
    grid: Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="rows and columns of image grids, a row a class if there are any; null = what fits 1,000 pixels",
    )

    @model_validator(mode="before")
    @classmethod
    def _half_life_replaces_default(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("ema_kimg") is not None and "ema_beta" not in values:
            return {**values, "ema_beta": None}
        return values

    @model_validator(mode="after")
    def _one_decay(self) -> TrainConfig:
        if (self.ema_beta is None) == (self.ema_kimg is None):
            raise ValueError("give one of `ema_beta` and `ema_kimg`; they say the same thing in two ways")
        if self.ema_rampup is not None and self.ema_kimg is None:
            raise ValueError("`ema_rampup` is a share of a half-life: give `ema_kimg`, too")
        return self


class EvalConfig(Section):
    """Metrics while training: of G_ema, at the final resolution, as `ganzoo eval` measures its snapshots."""

    metrics: Annotated[Components, Field(min_length=1)] = Field(description="names, or components")
    every_kimg: Positive = Field(200.0, description="between evaluations; the last one is at the end")
    num: int = Field(10_000, ge=2, description="images to generate")
    num_real: int | None = Field(None, ge=2, description="real images to compare with, spread evenly; null = all")
    all_images: bool = Field(
        False, description="compare with those that `data.max_images` leaves out, too, as papers on few images do"
    )
    extractor: str = Field("inception-v3-compat", description="the network behind the metrics")
    weights: str | None = Field(None, description="its file of weights; null = where torch keeps downloads")
    best: str | None = Field(None, description="keep the best snapshot by this number; null = the first metric's")


class SystemConfig(Section):
    """Where and how to compute. `auto` says in the log what it chose."""

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1 or mps")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of convolutions and matrix products")
    memory_format: Literal["auto", "channels_last", "contiguous"] = Field("auto", description="layout of images")
    recompute: Annotated[int, Field(ge=1, le=16384)] | Literal["auto"] | None = Field(
        None,
        description="blocks of this resolution and above are computed again in the backward pass: less memory, more "
        "work; auto: where memory is short",
    )
    compile: bool | Literal["auto"] = Field(
        False,
        description="run losses and regularizers through torch.compile where nothing fades; auto: on a GPU, if faster",
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        "auto", description="CPU threads of a process; auto = all CPUs, or OMP_NUM_THREADS"
    )
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = Field(
        "auto", description="readers that work ahead of training"
    )
    timeout: Positive = Field(
        10, description="minutes without a step, after which several processes give up waiting for one of them"
    )
    whole_batch: bool = Field(
        True,
        description="several processes draw and compare as one would with the whole batch; false: each on its own",
    )


class Recipe(Section):
    """One training run, complete."""

    recipe_version: Literal[1] = Field(1, description="of the format")
    name: str = Field(description="for the run folder; by default the file's name")
    seed: int = Field(0, ge=0, lt=2**63, description="of everything random")
    data: DataConfig
    generator: Component
    discriminator: Component
    loss: Component
    regularizers: Components = Field([], description="extra terms for a player, such as R1: names, or components")
    augmentation: Component | None = Field(None, description="what D sees in place of images; null = the images")
    growth: Component
    optimizer: OptimizerConfig = OptimizerConfig()  # type: ignore[call-arg]
    train: TrainConfig
    eval: EvalConfig | None = Field(None, description="metrics while training; null = none")
    system: SystemConfig = SystemConfig()  # type: ignore[call-arg]

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
            raise ValueError(f"{value!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
        return value

    @model_validator(mode="after")
    def _one_way_to_be_fast(self) -> Recipe:
        if self.train.reuse_fakes and self.system.compile is not False:
            raise ValueError(
                "`train.reuse_fakes` and `system.compile` do not go together: a compiled loss makes its own fakes; "
                "give one of them"
            )
        return self
