"""A run is opened: everything built, in an order that finds mistakes before anything is written; or resumed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

import ganzoo
from ganzoo import build, whole_batch
from ganzoo.data import open_data
from ganzoo.errors import CheckpointError, LostProcessError
from ganzoo.files import write_text
from ganzoo.plugins import LoadedPlugins
from ganzoo.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from ganzoo.registry import Registry
from ganzoo.training import checkpoint, distributed, restarts, rng, rundir
from ganzoo.training.checkpoint import Trainee, TrainingState
from ganzoo.training.choices import Choices
from ganzoo.training.collapse import CollapseWatch
from ganzoo.training.distributed import Processes
from ganzoo.training.divergence import LeftOut
from ganzoo.training.evaluation import TrainingMetrics
from ganzoo.training.grids import GridMaker
from ganzoo.training.observers import Observers
from ganzoo.training.plan import (
    component_versions,
    describe_inputs,
    describe_losses,
    describe_networks,
    describe_phases,
)
from ganzoo.training.players import build_players
from ganzoo.training.probe import probe
from ganzoo.training.reals import RealImages
from ganzoo.training.report import Reporter
from ganzoo.training.session import Session, computed_by, sums_of
from ganzoo.training.shortage import is_out_of_memory
from ganzoo.training.system import System, choose_system, device_name
from ganzoo.training.watchdog import Watchdog
from ganzoo.weights import read_metadata


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
        players = build_players(recipe, plugins.registry, system, **sizes, world_size=processes.world_size)
        G, D, G_ema, schedule, trainee = players.G, players.D, players.G_ema, players.schedule, players.trainee
        rng.seed_own(recipe.seed, processes.rank, processes.world_size)
        phases = schedule.phases(round(recipe.train.total_kimg * 1000))
        for line in (
            *describe_networks(recipe, G, D),
            *describe_losses(recipe, players.regularizers.all),
            *describe_phases(phases),
        ):
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
            state = _resume(recipe, plugins.registry, resume_from, trainee, info.fingerprint, system, processes, report)
            sums = sums_of(state, processes, system.device)
            if recorded.eval != recipe.eval:  # numbers of another protocol are not the ones to beat
                state.best.clear()

        # See whether every phase fits into memory.
        choices = Choices(recipe, system, state, kind=device_name(system.device), world_size=processes.world_size)
        if resume_from is not None:
            choices.load(resume_from)
        coming = [phase for phase in phases if phase.end_nimg > state.nimg]
        probe(players, plugins.registry, coming, choices, processes, log=report.log)

        # Open the run folder, now that nothing can be wrong any more.
        run_dir = resume_from or _new_run_dir(recipe, info.name, outdir, processes, system.device)
        if lock is None and processes.is_main:
            lock = rundir.lock_run_dir(run_dir)
        if processes.is_main:
            write_text(run_dir / rundir.RECIPE_FILE, dump_recipe(recipe))
        report.attach(run_dir, state.nimg, evaluated=state.evaluate_as_at is None)
        report.log(f"run folder: {run_dir}")
        choices.attach(run_dir, writes=processes.is_main)
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
        learning = {name: module for name, module in trainee.modules.items() if name != "G_ema"}
        left_out = LeftOut(state, learning if recipe.train.on_divergence == "skip" else {}, system.device)
        watch = CollapseWatch(
            data,
            G,
            D,
            schedule,
            grids,
            seed=recipe.seed,
            system=system,
            parts=lambda: session.choice.accumulate * (1 if recipe.system.whole_batch else processes.world_size),
            log=report.log,
        )
        observers = Observers(plugins, active=processes.is_main, log=report.log)
        observers.tell("ganzoo_run_started", run_dir=run_dir, recipe=recipe.model_dump(), nimg=state.nimg)
        metadata = {
            "class_names": json.dumps(info.class_names),
            "plugins": json.dumps(component_versions(recipe, plugins)),
            "data_fingerprint": info.fingerprint,
            "ganzoo": ganzoo.__version__,
        }
        session = Session(
            **vars(players), run_dir=run_dir, processes=processes, report=report, state=state, reals=reals, grids=grids,
            metrics=metrics, observers=observers, watch=watch, left_out=left_out, choices=choices,
            metadata=metadata, sums=sums,
            tick_start=(state.nimg, time.perf_counter()),
            watchdog=(watchdog := Watchdog(processes, recipe.system.timeout, nimg=state.nimg)),
        )  # fmt: skip
        batch.callback(watchdog.close)
        if state.nimg == 0 and processes.is_main:
            with whole_batch.alone():
                grids.save_reals(run_dir)
            session.save_fakes(schedule.at(0))
        if state.nimg == 0 and recipe.train.on_divergence == "rollback":
            session.save_checkpoint()
        try:
            yield session
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise session.out_of_memory() from error
            if processes.world_size == 1 or not (isinstance(error, RuntimeError) and distributed.is_loss(error)):
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
    registry: Registry,
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
    made_with = parse_recipe(read_metadata(path)["recipe"], registry, filename=str(path))
    way_out = f"{run_dir / rundir.RECIPE_FILE} was edited since: put these back, or start a new run without --resume."
    rundir.check_same_run(recipe, made_with, path, way_out=way_out)
    state = checkpoint.restore_checkpoint(
        path, trainee, fingerprint=fingerprint, rank=processes.rank, world_size=processes.world_size, seed=recipe.seed
    )
    report.log(f"resumed from {path} at kimg {state.nimg / 1000:g}")
    if state.nimg >= round(recipe.train.total_kimg * 1000):
        report.log(f"nothing is left to train: train.total_kimg is {recipe.train.total_kimg:g}; --kimg N sets another")
    before, now = read_metadata(path).get("computed_by"), computed_by(system, processes)
    if before != now:
        report.log(f"warning: trained by {before} so far, and by {now} from here: close to the same, not bit for bit")
    return state
