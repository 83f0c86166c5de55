"""What all checks share: failing with a useful message, building a class as core does, and fixed randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ganzoo.errors import PluginError
from ganzoo.interfaces import GrowthState
from ganzoo.plugins import check_component
from ganzoo.recipe.signature import args_model
from ganzoo.registry import Entry, Owner, constructor_parameters

P = ParamSpec("P")
T = TypeVar("T")

BATCH_SIZE = 4


@dataclass(frozen=True)
class Contract:
    """Speaks for one class under test. base: the class of ``ganzoo.interfaces`` whose documentation has the rules."""

    cls: type
    base: type

    def require(self, holds: bool, problem: str) -> None:
        """Raise AssertionError, saying whose ``problem`` it is, unless the rule ``holds``."""
        if not holds:
            where = f"see {self.base.__module__}.{self.base.__qualname__}"
            raise AssertionError(f"{self.cls.__module__}.{self.cls.__qualname__}: {problem} ({where})")

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Turn whatever goes wrong inside into a broken contract."""
        try:
            yield
        except AssertionError:
            raise
        except PluginError as error:
            self.require(False, str(error))
        except Exception as error:
            self.require(False, f"{what} raises {type(error).__name__}: {error}")

    def construct(self, args: Mapping[str, Any] | None, **from_core: Any) -> Any:
        """An instance from the recipe's ``args`` and those of core's own values that its constructor declares."""
        kind = self.base.__name__.lower()
        with self.attempt("registering it"):
            check_component(kind, "checked", self.cls, self.base.__name__)
            model = args_model(Entry(kind, "checked", self.cls, Owner("checked", "0")))
        unknown = sorted((args or {}).keys() - model.model_fields.keys())
        self.require(not unknown, f"the constructor has no argument {', '.join(unknown)}")
        with self.attempt("checking args against the constructor's annotations"):
            checked = model.model_validate(args or {})
        values = {name: getattr(checked, name) for name in model.model_fields}
        declared = constructor_parameters(self.cls).keys()
        with self.attempt("the constructor"):
            return self.cls(**values, **{name: value for name, value in from_core.items() if name in declared})


def with_fixed_seed(check: Callable[P, T]) -> Callable[P, T]:
    """Run a check under seed 0 and put torch's random state back."""

    @wraps(check)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return check(*args, **kwargs)

    return wrapper


def growth_state(resolution: int, alpha: float = 1.0) -> GrowthState:
    return GrowthState(resolution, alpha, batch_size=BATCH_SIZE, g_lr=0.001, d_lr=0.001)


def growth_states(resolutions: Sequence[int]) -> list[GrowthState]:
    """Every resolution, and the fades between them."""
    fades = [growth_state(r, alpha) for r in resolutions[1:] for alpha in (0.0, 0.5)]
    return [growth_state(r) for r in resolutions] + fades


def random_labels(n: int, c_dim: int) -> Tensor | None:
    """One-hot labels [n, c_dim] of classes 0, 1, ..., or None."""
    return torch.eye(c_dim)[torch.arange(n) % c_dim] if c_dim else None


def random_images(n: int, channels: int, resolution: int) -> Tensor:
    """Images [n, channels, resolution, resolution] in [-1, 1]."""
    return torch.rand(n, channels, resolution, resolution) * 2 - 1


def take(c: Tensor | None, index: slice) -> Tensor | None:
    return None if c is None else c[index]


@torch.no_grad()
def shake_parameters(module: nn.Module) -> None:
    """Leave special initial values behind: a gate that starts at 0 hides all gradients before it."""
    for parameter in module.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)


def parameters_with_gradient(module: nn.Module, output: Tensor) -> set[str]:
    """Names of the parameters on which ``output`` depends, judged by a gradient that is not all zeros."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    weights = torch.randn_like(output)
    gradients = torch.autograd.grad((output * weights).sum(), list(trained.values()), allow_unused=True)
    return {name for name, g in zip(trained, gradients, strict=True) if g is not None and bool(g.count_nonzero())}


def close(a: Tensor, b: Tensor) -> bool:
    """Equal up to float32 rounding in sums of different order."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()) + 1e-6)
