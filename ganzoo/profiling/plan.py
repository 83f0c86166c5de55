"""``ganzoo plan``: memory, time, communication and energy of a recipe, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ganzoo.profiling.gpus import Gpu
from ganzoo.profiling.phases import StepCost, Stretch, count_all, stretches
from ganzoo.profiling.roofline import Rates, collective_seconds, seconds
from ganzoo.recipe import Recipe
from ganzoo.registry import Registry


@dataclass(frozen=True)
class Machine:
    """What a plan is for. gpu: None where nothing is known but ``rates``, which were measured here.

    measured: resolution -> seconds per image, of one process and the recipe's batch. factor: of what ``rates`` alone
    say, for the other resolutions. watts: of one device at full power, None if nobody knows.
    """

    name: str
    rates: Rates
    gpu: Gpu | None = None
    measured: Mapping[int, float] = field(default_factory=dict)
    factor: float = 1.0
    watts: float | None = None


@dataclass(frozen=True)
class Row:
    """A stretch of training on so many processes. communication: share of the step's time."""

    stretch: Stretch
    cost: StepCost
    step_seconds: float
    communication: float
    measured: bool

    @property
    def sec_per_kimg(self) -> float:
        return self.step_seconds / self.stretch.batch_size * 1000

    @property
    def hours(self) -> float:
        return self.sec_per_kimg * self.stretch.kimg / 3600


@dataclass(frozen=True)
class Plan:
    """The rows of a recipe on ``processes`` devices."""

    machine: Machine
    processes: int
    rows: list[Row]

    @property
    def hours(self) -> float:
        return sum(row.hours for row in self.rows)

    @property
    def kwh(self) -> float | None:
        """Of the devices alone, at full power."""
        watts = self.machine.watts
        return None if watts is None else self.hours * self.processes * watts / 1000

    @property
    def communication(self) -> float:
        """Share of all the time."""
        return sum(row.communication * row.hours for row in self.rows) / self.hours

    @property
    def scaled(self) -> bool:
        """Whether any batch is not the recipe's."""
        return any(row.stretch.scaled for row in self.rows)

    def progressive_saving(self) -> float | None:
        """How many times as long the same number of images takes at full size; None where nothing grows."""
        if len({row.stretch.resolution for row in self.rows}) < 2:
            return None
        kimg = sum(row.stretch.kimg for row in self.rows)
        return self.rows[-1].sec_per_kimg * kimg / 3600 / self.hours

    def to_json(self) -> dict[str, Any]:
        """Numbers for programs; what they mean is in docs/plan.md."""
        rows = []
        for row in self.rows:
            cost = {k: v for k, v in asdict(row.cost).items() if k not in ("parts", "collectives")}
            cost["bytes_sent"] = row.cost.bytes_sent
            rows.append(
                {
                    **asdict(row.stretch),
                    **cost,
                    "flops_per_image": row.cost.flops / row.cost.images,
                    "step_seconds": row.step_seconds,
                    "sec_per_kimg": row.sec_per_kimg,
                    "communication": row.communication,
                    "hours": row.hours,
                    "source": "measured" if row.measured else "estimated",
                }
            )
        return {
            "machine": self.machine.name,
            "processes": self.processes,
            "hours": self.hours,
            "kwh": self.kwh,
            "communication": self.communication,
            "progressive_saving": self.progressive_saving(),
            "phases": rows,
        }


def make_plan(
    recipe: Recipe,
    registry: Registry,
    machine: Machine,
    *,
    precision: str,
    processes: int = 1,
    share: int = 4,
    c_dim: int = 0,
    progress: Callable[[str], None] = lambda what: None,
) -> Plan:
    """Count every resolution, and turn counts into seconds. share: as in ``phases.stretches``."""
    found = stretches(recipe, registry, processes, share)
    costs = count_all(recipe, registry, found, precision=precision, processes=processes, c_dim=c_dim, progress=progress)
    return Plan(machine, processes, [plan_row(machine, *pair) for pair in zip(found, costs, strict=True)])


def plan_row(machine: Machine, stretch: Stretch, cost: StepCost) -> Row:
    """One stretch. What was measured is taken as it is, if it was of the same share."""
    computing = sum(times * seconds(operations, machine.rates) for times, operations in cost.parts.values())
    computing *= machine.factor
    measured = cost.processes == 1 and stretch.resolution in machine.measured
    if measured:
        computing = machine.measured[stretch.resolution] * stretch.batch_size
    sending = 0.0
    if machine.gpu is not None and cost.processes > 1:
        sending = sum(
            times * collective_seconds([call], machine.gpu, cost.processes) for call, times in cost.collectives.items()
        )
    return Row(stretch, cost, computing + sending, sending / (computing + sending), measured)


# Text, for a terminal of 100 columns.


def describe(recipe: Recipe, plans: Sequence[Plan], *, precision: str, notes: Sequence[str]) -> list[str]:
    """The whole plan. The first of ``plans`` is told in full, the others a line each."""
    plan = plans[0]
    machine, last = plan.machine, plan.rows[-1]
    devices = f"{plan.processes} x {machine.name}" if plan.processes > 1 else machine.name
    lines = [f"plan: {recipe.name}, {recipe.train.total_kimg:,g} kimg on {devices} in {precision}"]
    lines += [f"   {note}" for note in notes]
    lines += ["", *_phase_table(plan), ""]
    lines += _memory(plan)
    if plan.kwh is not None:
        lines.append(
            f"energy: {plan.hours:,.1f} h x {plan.processes} x {machine.watts:g} W = {plan.kwh:,.0f} kWh at full "
            "power, without the machine around"
        )
    if saving := plan.progressive_saving():
        lines.append(
            f"growing saves: all images at {last.stretch.resolution} px from the start would take "
            f"{saving * plan.hours:,.1f} h, {saving:.1f} times as long"
        )
    if len(plans) > 1:
        lines += ["", *_scaling_table(plans)]
    if any(one.scaled for one in plans):
        lines.append("* a batch that cannot be shared by so many was made larger: other training than the recipe's")
    return lines


def _phase_table(plan: Plan) -> list[str]:
    lines = ["resolution      kimg   batch  a device  GFLOP/img  kernels   memory    s/kimg   comm     hours"]
    for row in plan.rows:
        s, cost, source = row.stretch, row.cost, " measured" if row.measured else ""
        lines.append(
            f"{s.resolution:>10d} {s.kimg:>9,.0f} {s.batch_size:>6d}{'*' if s.scaled else ' '} {cost.images:>9d} "
            f"{cost.flops / cost.images / 1e9:>10,.3g} {cost.kernels:>8,.0f} {format_bytes(cost.peak_bytes):>8s} "
            f"{row.sec_per_kimg:>9,.3g} {row.communication:>5.0%} {row.hours:>9,.2f}{source}"
        )
    return [*lines, f"{'total':>10s} {sum(row.stretch.kimg for row in plan.rows):>9,.0f} {plan.hours:>67,.2f}"]


def _memory(plan: Plan) -> list[str]:
    most = max(plan.rows, key=lambda row: row.cost.peak_bytes)
    cost = most.cost
    held = cost.weights + cost.gradients + cost.slots + cost.average
    text = (
        f"memory at {most.stretch.resolution} px: weights {format_bytes(cost.weights)}, gradients "
        f"{format_bytes(cost.gradients)}, optimisers {format_bytes(cost.slots)}, G_ema {format_bytes(cost.average)},"
    )
    kept = format_bytes(max(0, cost.peak_bytes - held))
    lines = [text, f"   and up to {kept} of activations and images, in the step of {cost.peak_part}"]
    gpu = plan.machine.gpu
    if gpu is not None:
        full = cost.peak_bytes / gpu.memory
        verdict = "fits" if full < 0.85 else "hardly fits" if full < 1 else "does NOT fit: raise train.accumulate"
        lines.append(
            f"   {full:.0%} of {format_bytes(gpu.memory)}: {verdict} (cuDNN's workspaces and fragments come on top)"
        )
    return lines


def _scaling_table(plans: Sequence[Plan]) -> list[str]:
    lines = ["devices    batch    s/kimg     hours  device h  comm efficiency   MB sent    memory      kWh"]
    base = plans[0].hours * plans[0].processes
    for plan in plans:
        last, spent = plan.rows[-1], plan.hours * plan.processes
        lines.append(
            f"{plan.processes:>7,d} {last.stretch.batch_size:>8,d}{'*' if plan.scaled else ' '} "
            f"{last.sec_per_kimg:>8,.3g} {plan.hours:>9,.2f} {spent:>9,.1f} {plan.communication:>5.0%} "
            f"{base / spent:>10.0%} {last.cost.bytes_sent / 1e6:>9,.1f} {format_bytes(last.cost.peak_bytes):>9s} "
            f"{'' if plan.kwh is None else f'{plan.kwh:,.0f}':>8s}"
        )
    return [*lines, "of the last phase: batch, s/kimg, MB sent in a step, memory; efficiency: of device hours"]


def format_bytes(size: float) -> str:
    """'12.3 GB', '4.0 MB'."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"
