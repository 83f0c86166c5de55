"""What the loop works on, and what it writes. Opened and closed around ``loop.train`` by ``opening``."""

from __future__ import annotations

import json
import math
import signal as signals
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo import whole_batch
from ganzoo.errors import GanzooError
from ganzoo.evaluation.results import Result
from ganzoo.interfaces import GrowthState
from ganzoo.recipe import dump_recipe
from ganzoo.training import checkpoint, distributed, rng
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.choices import Choices
from ganzoo.training.collapse import SIGNS, CollapseWatch, episode
from ganzoo.training.distributed import Processes
from ganzoo.training.divergence import LeftOut, all_finite
from ganzoo.training.evaluation import TrainingMetrics, record_of
from ganzoo.training.extras import AugmentedDiscriminator
from ganzoo.training.grids import GridMaker
from ganzoo.training.observers import Observers
from ganzoo.training.players import Players
from ganzoo.training.reals import RealImages
from ganzoo.training.report import Reporter, format_seconds, peak_memory_gb
from ganzoo.training.signals import StopRequest
from ganzoo.training.system import System, device_name
from ganzoo.training.watchdog import Watchdog

_LEFT_OUT = "/left out"  # in the running totals, behind the name of a player: how many of its updates


@dataclass
class Session(Players):
    """The live objects of one run. ``sums`` holds the running totals of the logged terms, on the device."""

    run_dir: Path
    processes: Processes
    report: Reporter
    state: TrainingState
    reals: RealImages
    grids: GridMaker
    metrics: TrainingMetrics | None
    observers: Observers
    watch: CollapseWatch
    left_out: LeftOut
    choices: Choices
    metadata: dict[str, str]
    sums: dict[str, Tensor] = field(default_factory=dict)
    tick_start: tuple[int, float] = (0, 0.0)
    entered: str = ""  # how the present steps are computed was chosen for steps of this name
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(Processes(), math.inf))

    def end_tick(self, growth: GrowthState) -> None:
        """Report the means since the last tick and start anew."""
        means = self._means()
        now, (nimg, then) = time.perf_counter(), self.tick_start
        seconds = max(now - then, 1e-9)  # a clock may stand still
        self.state.seconds += seconds
        record: dict[str, Any] = {
            "nimg": self.state.nimg,
            "resolution": growth.resolution,
            "alpha": growth.alpha,
            "batch_size": growth.batch_size,
            "g_lr": growth.g_lr,
            "d_lr": growth.d_lr,
            "loss": means,
            "timing": {
                "sec_per_kimg": seconds / max(1, self.state.nimg - nimg) * 1000,
                "data_wait": self.reals.seconds_waited / seconds,
                "memory_gb": peak_memory_gb(self.system.device.type),
                "seconds": self.state.seconds,
            },
        }
        if isinstance(self.D_seen, AugmentedDiscriminator):
            record["augmentation"] = self.D_seen.status()
        record["collapse"] = {name: self.state.watch[name] for name in SIGNS if name in self.state.watch}
        record["divergence"] = {"skipped": round(self.left_out.read()[0]), "rollbacks": self.state.rollbacks}
        self.report.tick(record)
        self.observers.tell("ganzoo_tick", run_dir=self.run_dir, record=record)
        self.sums.clear()
        self.state.count = 0
        self.reals.seconds_waited = 0.0
        self.tick_start = (self.state.nimg, now)

    def count_terms(self, player: str, logged: dict[str, Tensor], left_out: Tensor, *, lazy: bool) -> None:
        """After an update: add its terms to the running totals, and count it if it was left out.

        Where such updates are skipped, the totals are without their terms. lazy: it was a lazy regularizer's.
        """
        self.left_out.add(left_out)
        if not lazy:
            share = left_out / (self.recipe.train.d_steps if player == "D" else 1)
            logged = {**logged, f"{player}{_LEFT_OUT}": share}
        for name, value in logged.items():
            if self.recipe.train.on_divergence == "skip" and not name.endswith(_LEFT_OUT):
                value = torch.where(left_out > 0, torch.zeros_like(value), value)
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def meet_divergence(self) -> bool:
        """If losses, gradients or weights were not finite, do what the recipe wants. True: training was rolled back.

        Raises GanzooError where that is to stop, or has been done too often.
        """
        config = self.recipe.train
        _, _, longest = self.left_out.read()
        self.left_out.reset()
        networks = (self.G, self.D, self.G_ema)
        whole = all_finite(tensor for network in networks for tensor in network.state_dict().values())
        lost = distributed.any_process(not whole, self.system.device)
        if not longest and not lost:
            return False
        totals = self._totals()
        bad = [name for name, value in totals.items() if not math.isfinite(value)]
        bad = bad or [f"the gradient of {p}" for p in ("D", "G") if totals.get(f"{p}{_LEFT_OUT}")]
        what = ", ".join(bad or ["a weight" if lost else "the gradient of a lazy regularizer"])
        where = f"before kimg {self.state.nimg / 1000:g}"
        if config.on_divergence == "skip" and not lost and longest < config.divergence_limit:
            self.report.log(f"warning: {longest:.0f} update(s) in a row were skipped {where}: {what} is not finite")
            return False
        if config.on_divergence == "rollback" and self.state.rollbacks < config.divergence_limit:
            return self._roll_back(f"diverged {where} ({what} is not finite)")
        newest = checkpoint.newest_valid_checkpoint(self.run_dir / "checkpoints", log=self.report.log)
        tried = {
            "stop": "",
            "skip": f" {longest:.0f} updates in a row were skipped."
            if longest
            else " Skipping updates cannot mend that.",
            "rollback": f" It was rolled back {self.state.rollbacks} times.",
        }[config.on_divergence]
        others = (
            "There is no checkpoint yet."
            if newest is None
            else f"The newest checkpoint, {newest}, is from before; to go on from it with other random numbers: "
            f"`ganzoo run --resume {self.run_dir} --set train.on_divergence=rollback`."
        )
        raise GanzooError(
            f"{self.run_dir}: training diverged {where}: {what} is not a finite number.{tried} Nothing was written "
            f"since. {others} Or start anew with a lower growth.args.lr, or with system.precision: fp32."
        )

    def _roll_back(self, why: str) -> bool:
        """To the newest checkpoint, which is written again with other random numbers: it counts the rollbacks."""
        position, rollbacks = self.state.position, self.state.rollbacks + 1
        path = checkpoint.newest_valid_checkpoint(self.run_dir / "checkpoints", log=self.report.log)
        assert path is not None, "one is written before the first step"
        self.restore(path)
        self.state.position, self.state.rollbacks = position, rollbacks  # the images that led there are not shown again
        rng.seed_again(self.recipe.seed, self.processes.rank, self.processes.world_size, rollbacks)
        self.report.log(f"warning: {why}; rolled back to {path}, for the {rollbacks}. time")
        self.report.attach(self.run_dir, self.state.nimg)
        self.tick_start = (self.state.nimg, time.perf_counter())
        self.save_checkpoint()
        return True

    def restore(self, path: Path) -> None:
        """Everything as a checkpoint of this run has it, but for what was chosen since."""
        restored = checkpoint.restore_checkpoint(
            path,
            self.trainee,
            fingerprint=self.metadata["data_fingerprint"],
            rank=self.processes.rank,
            world_size=self.processes.world_size,
            seed=self.recipe.seed,
        )
        restored.choices |= self.state.choices
        vars(self.state).update(vars(restored))  # other parts hold this object
        self.sums = sums_of(restored, self.processes, self.system.device)
        self.left_out.load(self.state)
        self.left_out.reset()
        self.reals.close()
        self.entered = ""

    def out_of_memory(self) -> GanzooError:
        """What to tell somebody whose GPU is too small for the present phase."""
        growth = self.schedule.at(self.state.nimg)
        return GanzooError(
            f"{self.run_dir}: {device_name(self.system.device)} has not enough memory at kimg "
            f"{self.state.nimg / 1000:g}, {growth.resolution} px with a batch of {growth.batch_size} over "
            f"{self.processes.world_size} process(es). Start anew with a smaller growth.args.batch_size or "
            "train.accumulate: auto, or go on with system.recompute: auto, or where there is more: on a larger GPU, on "
            f"several, or with system.precision: bf16 (ganzoo run --resume {self.run_dir})."
        )

    def _totals(self) -> dict[str, float]:
        """The running totals since the last tick, means over all processes."""
        names = sorted(self.sums)
        if not names:
            return {}
        totals = distributed.mean(torch.stack([self.sums[name] for name in names])).tolist()
        return dict(zip(names, totals, strict=True))

    def _means(self) -> dict[str, float]:
        """Every logged term, its mean over the updates since the last tick and over all processes."""
        totals = self._totals()
        steps = {player: self.state.count - totals.pop(f"{player}{_LEFT_OUT}", 0.0) for player in ("D", "G")}
        return {name: total / steps[name[0]] for name, total in totals.items() if steps[name[0]] > 1e-3}

    def save_fakes(self, growth: GrowthState) -> None:
        """The grid of the fixed latents, and what it says of collapse."""
        if self.processes.is_main:
            name = f"fakes_{self.state.nimg // 1000:06d}.png" if self.state.nimg else "fakes_init.png"
            with whole_batch.alone():
                fakes = self.grids.save_fakes(self.G_ema, growth, self.run_dir / name)
                found = self.watch.measure(fakes, growth) if self.state.nimg else {}
            if found:
                self.state.watch |= found
                share = self.state.nimg / (self.recipe.train.total_kimg * 1000)
                if warning := episode(found, self.state.watch, share=share):
                    self.report.log(f"{warning} See {self.run_dir / name}")
            self.observers.tell("ganzoo_grid", run_dir=self.run_dir, nimg=self.state.nimg, path=self.run_dir / name)

    def save_snapshot(self, growth: GrowthState, name: str | None = None) -> None:
        """G_ema, to use and share."""
        if self.processes.is_main:
            folder = self.run_dir / "snapshots"
            checkpoint.save_snapshot(
                folder, self.G_ema, self.state, growth, recipe=dump_recipe(self.recipe), extra=self.metadata, name=name
            )

    def evaluate(self, stop: StopRequest) -> bool:
        """Measure G_ema if it is due, and keep it if it is the best. False: a signal interrupted, and it stays due."""
        if self.metrics is None or self.state.evaluate_as_at is None:
            self.state.evaluate_as_at = None
            return True
        growth, started = self.schedule.at(self.state.evaluate_as_at), time.perf_counter()
        with whole_batch.alone(), self.watchdog.paused():
            results = self.metrics.measure(
                self.G_ema,
                growth,
                name=f"{self.run_dir.name} at kimg {self.state.nimg / 1000:g}",
                bar=self.report.side_bar,
                stop=lambda: stop.signal is not None,
            )
        seconds = time.perf_counter() - started
        self.state.seconds += seconds
        self.tick_start = (self.tick_start[0], self.tick_start[1] + seconds)  # this was no training
        if results is None:
            return False
        self.state.evaluate_as_at = None
        if results:
            record = record_of(results, nimg=self.state.nimg, growth=growth, seconds=seconds)
            self.report.evaluated(record)
            self.observers.tell("ganzoo_evaluated", run_dir=self.run_dir, record=record)
            self._keep_best(results, growth)
        return True

    def _keep_best(self, results: list[Result], growth: GrowthState) -> None:
        assert self.metrics is not None
        name = self.metrics.best
        for result in results:
            if result.name == name and checkpoint.is_best(
                self.state, name, result.value, lower_is_better=result.lower_is_better
            ):
                self.save_snapshot(growth, f"best-{name}.safetensors")

    def save_checkpoint(self) -> None:
        """Everything needed to go on exactly from here; then drop the oldest."""
        folder = self.run_dir / "checkpoints"
        self.state.sums = self._totals()
        own = {name: total.item() for name, total in self.sums.items()}
        data = torch.frombuffer(bytearray(json.dumps(own).encode()), dtype=torch.uint8)
        everywhere = distributed.gather_bytes(data, self.system.device)
        self.state.sums_of_ranks = [json.loads(of_rank.numpy().tobytes()) for of_rank in everywhere]
        self.state.left_out = self.left_out.read()
        path = checkpoint.save_checkpoint(
            folder,
            self.trainee,
            self.state,
            recipe=dump_recipe(self.recipe),
            extra={**self.metadata, "computed_by": computed_by(self.system, self.processes)},
            device=self.system.device,
        )
        if path is not None:
            checkpoint.prune_checkpoints(path, self.recipe.train.keep_checkpoints)

    def finish(self, signal: int | None) -> None:
        """Last words."""
        self.report.end()
        self.report.draw_curves()
        self.observers.tell("ganzoo_run_ended", run_dir=self.run_dir)
        if signal is not None:
            self.report.log(
                f"stopped by {signals.Signals(signal).name} at kimg {self.state.nimg / 1000:g}, after a checkpoint. "
                f"Go on with: ganzoo run --resume {self.run_dir}"
            )
            return
        kimg = self.state.nimg // 1000
        self.report.log(f"done: kimg {self.state.nimg / 1000:g} in {format_seconds(self.state.seconds)}")
        snapshots = self.run_dir / "snapshots"
        for name, (value, nimg) in self.state.best.items():
            self.report.log(
                f"best {name}: {value:.4g} at kimg {nimg / 1000:g}: {snapshots / f'best-{name}.safetensors'}"
            )
        for what, path in (
            ("snapshot:   ", snapshots / f"snapshot-{kimg:06d}.safetensors"),
            ("sample grid:", self.run_dir / f"fakes_{kimg:06d}.png"),
        ):
            if path.exists():  # not where a run was told to end before the point that it had reached
                self.report.log(f"{what} {path}")


def computed_by(system: System, processes: Processes) -> str:
    """All that decides on the last bits beside the recipe and the data."""
    return (
        f"{processes.world_size} process(es) on {device_name(system.device)} in {system.asked} with "
        f"{system.threads} thread(s), torch {torch.__version__}"
    )


def sums_of(state: TrainingState, processes: Processes, device: torch.device) -> dict[str, Tensor]:
    """This process's running totals of a checkpoint; the means over all, if they were other processes."""
    same = len(state.sums_of_ranks) == processes.world_size
    sums = state.sums_of_ranks[processes.rank] if same else state.sums
    return {name: torch.tensor(value, device=device) for name, value in sums.items()}
