"""What the loop works on, built in order, and what it writes. Opened and closed around ``loop.train``."""

from __future__ import annotations

import copy
import json
import math
import os
import signal as signals
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer, RMSprop

import ganzoo
from ganzoo import build, whole_batch
from ganzoo.data import open_data
from ganzoo.errors import CheckpointError, GanzooError, LostProcessError
from ganzoo.evaluation.results import Result
from ganzoo.files import write_text
from ganzoo.interfaces import Discriminator, Generator, GrowthSchedule, GrowthState, Loss
from ganzoo.plugins import LoadedPlugins
from ganzoo.recipe import OptimizerConfig, Recipe, dump_recipe, load_recipe
from ganzoo.recipe.models import RMSpropArgs
from ganzoo.training import checkpoint, distributed, restarts, rng, rundir
from ganzoo.training.checkpoint import Trainee, TrainingState
from ganzoo.training.distributed import Processes
from ganzoo.training.evaluation import TrainingMetrics, record_of
from ganzoo.training.extras import AugmentedDiscriminator, Regularizers
from ganzoo.training.grids import GridMaker
from ganzoo.training.observers import Observers
from ganzoo.training.plan import (
    component_versions,
    describe_inputs,
    describe_losses,
    describe_networks,
    describe_phases,
)
from ganzoo.training.reals import RealImages
from ganzoo.training.report import Reporter, format_seconds, peak_memory_gb
from ganzoo.training.signals import StopRequest
from ganzoo.training.system import System, choose_system, device_name
from ganzoo.training.watchdog import Watchdog
from ganzoo.weights import read_metadata


@dataclass
class Session:
    """The live objects of one run.

    ``D_seen`` is D, with its augmentation if there is one. ``sums`` holds the running totals of the logged terms, on
    the device.
    """

    recipe: Recipe
    run_dir: Path
    system: System
    processes: Processes
    report: Reporter
    G: Generator
    D: Discriminator
    G_ema: Generator
    D_seen: Discriminator
    loss: Loss
    regularizers: Regularizers
    schedule: GrowthSchedule
    opt_G: Optimizer
    opt_D: Optimizer
    trainee: Trainee
    state: TrainingState
    reals: RealImages
    grids: GridMaker
    metrics: TrainingMetrics | None
    observers: Observers
    metadata: dict[str, str]
    sums: dict[str, Tensor] = field(default_factory=dict)
    tick_start: tuple[int, float] = (0, 0.0)
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(Processes(), math.inf))

    def end_tick(self, growth: GrowthState) -> None:
        """Report the means since the last tick and start anew."""
        means = self._means()
        now, (nimg, then) = time.perf_counter(), self.tick_start
        self.state.seconds += now - then
        record: dict[str, Any] = {
            "nimg": self.state.nimg,
            "resolution": growth.resolution,
            "alpha": growth.alpha,
            "batch_size": growth.batch_size,
            "g_lr": growth.g_lr,
            "d_lr": growth.d_lr,
            "loss": means,
            "timing": {
                "sec_per_kimg": (now - then) / max(1, self.state.nimg - nimg) * 1000,
                "data_wait": self.reals.seconds_waited / (now - then),
                "memory_gb": peak_memory_gb(self.system.device.type),
                "seconds": self.state.seconds,
            },
        }
        if isinstance(self.D_seen, AugmentedDiscriminator):
            record["augmentation"] = self.D_seen.status()
        self.report.tick(record)
        self.observers.tell("ganzoo_tick", run_dir=self.run_dir, record=record)
        self.sums.clear()
        self.state.count = 0
        self.reals.seconds_waited = 0.0
        self.tick_start = (self.state.nimg, now)

    def refuse_divergence(self) -> None:
        """Raise GanzooError if a loss is no longer a number, before what it made of the weights is written."""
        bad = [name for name, value in self._means().items() if not math.isfinite(value)]
        if bad:
            raise GanzooError(
                f"{self.run_dir}: training diverged before kimg {self.state.nimg / 1000:g}: {', '.join(bad)} is not a "
                "finite number. Every checkpoint and snapshot is from before; start anew with a lower growth.args.lr, "
                "or with system.precision: fp32."
            )

    def out_of_memory(self) -> GanzooError:
        """What to tell somebody whose GPU is too small for the present phase."""
        growth = self.schedule.at(self.state.nimg)
        return GanzooError(
            f"{self.run_dir}: {device_name(self.system.device)} has not enough memory at kimg "
            f"{self.state.nimg / 1000:g}, {growth.resolution} px with a batch of {growth.batch_size} over "
            f"{self.processes.world_size} process(es). Start anew with a smaller growth.args.batch_size or "
            "a larger train.accumulate, or go on where there is more: on a larger GPU, on several, or with "
            f"system.precision: bf16 (ganzoo run --resume {self.run_dir})."
        )

    def _means(self) -> dict[str, float]:
        """Every logged term, its mean over the steps since the last tick and over all processes."""
        names = sorted(self.sums)
        if not names:
            return {}
        totals = distributed.mean(torch.stack([self.sums[name] for name in names])).tolist()
        return {name: total / self.state.count for name, total in zip(names, totals, strict=True)}

    def save_fakes(self, growth: GrowthState) -> None:
        """The grid of the fixed latents."""
        if self.processes.is_main:
            name = f"fakes_{self.state.nimg // 1000:06d}.png" if self.state.nimg else "fakes_init.png"
            with whole_batch.alone():
                self.grids.save_fakes(self.G_ema, growth, self.run_dir / name)
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
        self.state.sums = {name: total.item() for name, total in self.sums.items()}
        path = checkpoint.save_checkpoint(
            folder,
            self.trainee,
            self.state,
            recipe=dump_recipe(self.recipe),
            extra={**self.metadata, "computed_by": _computed_by(self.system, self.processes)},
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


@contextmanager
def open_session(
    recipe: Recipe, plugins: LoadedPlugins, *, outdir: Path, resume_from: Path | None, reporter: Reporter | None
) -> Iterator[Session]:
    """Build everything, in an order that finds mistakes before anything is written."""
    processes = distributed.start(
        "cuda" if torch.cuda.is_available() and recipe.system.device != "cpu" else "cpu",
        # The watchdog is to be first, as it says more; and the others wait while rank 0 computes metrics.
        timeout_minutes=max(1 + 2 * recipe.system.timeout, 10 if recipe.eval is None else 180),
    )
    report = reporter or Reporter(active=processes.is_main)
    lock, recorded, batch = None, recipe, ExitStack()
    try:
        # Choose device, precision and threads. Claim the folder.
        system = choose_system(
            recipe.system, local_rank=processes.local_rank, local_processes=processes.local_world_size
        )
        report.log(f"system: {system.describe()}")
        if resume_from is None:
            resume_from = _before_restart(recipe, plugins, outdir, processes, system.device)
        if resume_from is not None:
            recorded = _check_resumable(recipe, plugins, resume_from)
            if processes.is_main:
                # A process that was lost may hold it for a moment yet.
                lock = rundir.lock_run_dir(resume_from, timeout=60 if restarts.attempt() else 0)
                rundir.remove_leftovers(resume_from)

        # Load the data set.
        data = open_data(recipe.data, plugins.registry, log=report.log, progress=processes.is_main)
        info = data.info
        report.log(f"data: {info.name}, {info.num_images:,} images, {info.img_channels} channels, labels {info.c_dim}")
        for line in describe_inputs(recipe, data):
            report.log(line)

        # Build the players, the loss, the schedule and the optimisers.
        rng.seed_all(recipe.seed)  # the same weights on every rank
        degradation, in_channels = build.build_degradation(recipe, plugins.registry, img_channels=info.img_channels)
        if data.inputs is not None:
            in_channels = data.inputs.info.img_channels
        sizes = {"img_channels": info.img_channels, "c_dim": info.c_dim, "in_channels": in_channels}
        G, D = build.build_networks(recipe, plugins.registry, **sizes, device="cpu")
        for player in (G, D):
            player.to(system.device).to(memory_format=system.memory_format)  # type: ignore[call-overload]
        G_ema = copy.deepcopy(G).eval().requires_grad_(False)
        schedule = build.build_growth(recipe, plugins.registry, world_size=processes.world_size)
        loss, parts, augmentation = build.build_objective(recipe, plugins.registry, G, D)
        regularizers = Regularizers(parts)
        D_seen = D if augmentation is None else AugmentedDiscriminator(D, augmentation.to(system.device))
        opt_G = make_optimizer(recipe.optimizer, G, regularizers.steps_share("G"))
        opt_D = make_optimizer(recipe.optimizer, D, regularizers.steps_share("D"))
        modules: dict[str, torch.nn.Module] = {"G": G, "D": D, "G_ema": G_ema}
        others = {"loss": loss, "augmentation": augmentation} | {f"regularizer{i}": r for i, r in enumerate(parts)}
        for name, part in others.items():
            if isinstance(part, torch.nn.Module):  # with running statistics of its own
                modules[name] = part.to(system.device)
        trainee = Trainee(modules, {"opt_G": (G, opt_G), "opt_D": (D, opt_D)})
        rng.seed_own(recipe.seed, processes.rank, processes.world_size)
        phases = schedule.phases(round(recipe.train.total_kimg * 1000))
        for line in (*describe_networks(recipe, G, D), *describe_losses(recipe, parts), *describe_phases(phases)):
            report.log(line)
        build.check_phases(recipe, plugins.registry, G, D, phases, world_size=processes.world_size)
        batch.enter_context(
            whole_batch.together(
                processes.rank,
                processes.world_size,
                seed=rng.common_seed(recipe.seed),
                whole=recipe.system.whole_batch,
            )
        )

        # Resume from the newest whole checkpoint.
        state, sums = TrainingState(), {}
        if resume_from is not None:
            state = _resume(recipe, resume_from, trainee, info.fingerprint, system, processes, report)
            sums = {name: torch.tensor(value, device=system.device) for name, value in state.sums.items()}
            if recorded.eval != recipe.eval:  # numbers of another protocol are not the ones to beat
                state.best.clear()

        # Open the run folder, now that nothing can be wrong any more.
        run_dir = resume_from or _new_run_dir(recipe, info.name, outdir, processes, system.device)
        if lock is None and processes.is_main:
            lock = rundir.lock_run_dir(run_dir)
        if processes.is_main:
            write_text(run_dir / rundir.RECIPE_FILE, dump_recipe(recipe))
        report.attach(run_dir, state.nimg, evaluated=state.evaluate_as_at is None)
        report.log(f"run folder: {run_dir}")
        if degradation is not None:
            degradation = degradation.to(system.device)
        with whole_batch.alone():
            grids = GridMaker(
                data, G_ema, shape=recipe.train.grid, seed=recipe.seed, device=system.device, degradation=degradation
            )
        reals = RealImages(recipe, data, schedule, state, system, processes, degradation)
        metrics = None
        if recipe.eval is not None:
            metrics = TrainingMetrics(
                recipe.eval,
                recipe,
                data,
                plugins.registry,
                system=system,
                processes=processes,
                log=report.log,
                degradation=degradation,
            )
            with whole_batch.alone():
                metrics.rehearse(G_ema, schedule.at(0))
        observers = Observers(plugins, active=processes.is_main, log=report.log)
        observers.tell("ganzoo_run_started", run_dir=run_dir, recipe=recipe.model_dump(), nimg=state.nimg)
        metadata = {
            "class_names": json.dumps(info.class_names),
            "plugins": json.dumps(component_versions(recipe, plugins)),
            "data_fingerprint": info.fingerprint,
            "ganzoo": ganzoo.__version__,
        }
        session = Session(
            recipe, run_dir, system, processes, report, G, D, G_ema, D_seen, loss, regularizers, schedule, opt_G, opt_D,
            trainee, state, reals, grids, metrics, observers, metadata, sums, (state.nimg, time.perf_counter()),
            watchdog := Watchdog(processes, recipe.system.timeout, nimg=state.nimg),
        )  # fmt: skip
        batch.callback(watchdog.close)
        if state.nimg == 0 and processes.is_main:
            with whole_batch.alone():
                grids.save_reals(run_dir)
            session.save_fakes(schedule.at(0))
        try:
            yield session
        except torch.cuda.OutOfMemoryError as error:
            raise session.out_of_memory() from error
        except RuntimeError as error:
            if processes.world_size == 1 or not distributed.is_loss(error):
                raise
            raise LostProcessError(
                f"process {processes.rank}: another one was lost after kimg {state.nimg / 1000:g}: "
                f"{str(error).splitlines()[0]}. Go on from the last checkpoint: ganzoo run --resume {run_dir}"
            ) from error
        finally:
            reals.close()
    finally:
        batch.close()
        report.end()
        if lock is not None:
            lock.release()
        distributed.stop()


def make_optimizer(config: OptimizerConfig, player: torch.nn.Module, steps_share: float = 1.0) -> Optimizer:
    """Adam or RMSprop over all of a player's parameters; the schedule sets the learning rate before each step.

    steps_share: of ``Regularizers``.
    """
    if isinstance(config.args, RMSpropArgs):
        alpha, momentum = config.args.alpha**steps_share, config.args.momentum**steps_share
        return RMSprop(player.parameters(), lr=0.0, alpha=alpha, eps=config.args.eps, momentum=momentum)
    beta1, beta2 = (float(beta) ** steps_share for beta in config.args.betas)
    return Adam(player.parameters(), lr=0.0, betas=(beta1, beta2), eps=config.args.eps, fused=True)


def _new_run_dir(recipe: Recipe, data_name: str, outdir: Path, processes: Processes, device: torch.device) -> Path:
    """Made by rank 0, which tells the others its name."""
    path = Path()
    if processes.is_main:
        path = rundir.create_run_dir(outdir, recipe.name, data_name)
        restarts.mark(path)
    return _told_by_main(path, device)


def _before_restart(
    recipe: Recipe, plugins: LoadedPlugins, outdir: Path, processes: Processes, device: torch.device
) -> Path | None:
    """The folder of an unfinished run that this launch had before it lost a process, as rank 0 finds it."""
    if processes.world_size == 1 and restarts.launch_id() is None:
        return None
    path = restarts.find_marked(outdir) if processes.is_main else None
    if (
        path is not None and not restarts.attempt()
    ):  # torchrun counts no restart when a machine joins, or with an old id
        checkpoints = checkpoint.list_checkpoints(path / "checkpoints")
        finished = checkpoints and checkpoint.nimg_of(checkpoints[-1]) >= round(recipe.train.total_kimg * 1000)
        try:
            _check_resumable(recipe, plugins, path)
        except CheckpointError:
            finished = True
        path = None if finished else path
    told = _told_by_main(path or Path(), device)
    return None if told == Path() else told


def _told_by_main(path: Path, device: torch.device) -> Path:
    name = torch.frombuffer(bytearray(os.fsencode(path)), dtype=torch.uint8)
    return Path(os.fsdecode(distributed.gather_bytes(name, device)[0].numpy().tobytes()))


def _check_resumable(recipe: Recipe, plugins: LoadedPlugins, run_dir: Path) -> Recipe:
    """The recipe that the run was made with."""
    recorded = run_dir / rundir.RECIPE_FILE
    if not recorded.is_file():
        raise CheckpointError(f"{run_dir}: not a run folder: it has no {rundir.RECIPE_FILE}")
    made_with = load_recipe(recorded, plugins.registry)
    rundir.check_same_run(recipe, made_with, run_dir)
    return made_with


def _resume(
    recipe: Recipe,
    run_dir: Path,
    trainee: Trainee,
    fingerprint: str,
    system: System,
    processes: Processes,
    report: Reporter,
) -> TrainingState:
    path = checkpoint.newest_valid_checkpoint(run_dir / "checkpoints", log=report.log)
    if path is None:
        report.log(f"{run_dir}: no checkpoint yet, so training starts from the beginning")
        return TrainingState()
    state = checkpoint.restore_checkpoint(
        path, trainee, fingerprint=fingerprint, rank=processes.rank, world_size=processes.world_size, seed=recipe.seed
    )
    report.log(f"resumed from {path} at kimg {state.nimg / 1000:g}")
    if state.nimg >= round(recipe.train.total_kimg * 1000):
        report.log(f"nothing is left to train: train.total_kimg is {recipe.train.total_kimg:g}; --kimg N sets another")
    before, now = read_metadata(path).get("computed_by"), _computed_by(system, processes)
    if before != now:
        report.log(f"warning: trained by {before} so far, and by {now} from here: close to the same, not bit for bit")
    return state


def _computed_by(system: System, processes: Processes) -> str:
    """All that decides on the last bits beside the recipe and the data."""
    return (
        f"{processes.world_size} process(es) on {device_name(system.device)} in {system.precision} with "
        f"{system.threads} thread(s), torch {torch.__version__}"
    )
