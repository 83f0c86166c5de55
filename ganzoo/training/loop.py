"""The training loop: one function trains every GAN of the zoo.

    ganzoo run recipes/quickstart.yaml                                        one process
    ganzoo run recipes/progan_1024_8gpu.yaml --gpus 8                         eight, of one machine
    torchrun --nproc-per-node 8 -m ganzoo run recipes/progan_1024_8gpu.yaml   the same, or of several

Whatever changes while training lives in ``state`` and in the tensors that a checkpoint holds; everything else (the
resolution, the fade, the learning rates, which image comes next and whether it is mirrored) is recomputed from
``state``. That is why a run that was killed and resumed ends with the same bits as one that was left alone.
"""

from __future__ import annotations

import math
import signal as signals
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo import whole_batch
from ganzoo.interfaces import Batch, GrowthState
from ganzoo.plugins import LoadedPlugins
from ganzoo.recipe import Recipe
from ganzoo.recomputation import recomputing
from ganzoo.training import distributed
from ganzoo.training.choosing import enter
from ganzoo.training.divergence import step_if_finite
from ganzoo.training.ema import ema_beta, update_ema
from ganzoo.training.extras import AugmentedDiscriminator, TermsOf, joined
from ganzoo.training.opening import open_session
from ganzoo.training.players import Players
from ganzoo.training.report import Reporter
from ganzoo.training.shortage import Attempt, split_further
from ganzoo.training.signals import StopRequest

Player = Literal["D", "G"]


@dataclass(frozen=True)
class TrainingResult:
    """How a call of ``train`` ended. signal: number of the signal that stopped it early; None: it is complete."""

    run_dir: Path
    nimg: int
    signal: int | None

    @property
    def exit_code(self) -> int:
        """Of a command that trains: Ctrl-C is a wish fulfilled, 0; SIGTERM is 143, as schedulers expect."""
        return 0 if self.signal in (None, signals.SIGINT) else 128 + self.signal


def train(
    recipe: Recipe,
    *,
    plugins: LoadedPlugins,
    outdir: Path = Path("runs"),
    resume_from: Path | None = None,
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Train ``recipe`` to its end, in a new folder under ``outdir`` or on from the run folder ``resume_from``.

    Raises GanzooError for anything wrong with recipe, data, folder or checkpoint, before the first step.
    """
    with (
        open_session(recipe, plugins, outdir=outdir, resume_from=resume_from, reporter=reporter) as s,
        StopRequest() as stop,  # until here there is no step to finish, and Ctrl-C interrupts at once
    ):
        state, config = s.state, recipe.train
        total_nimg = round(config.total_kimg * 1000)
        s.report.start(state.nimg, total_nimg)

        stopped = False
        if state.evaluate_as_at is not None:  # a signal kept the run that this one resumes from it
            stopped = not s.evaluate(stop)
            s.save_checkpoint()
        while state.nimg < total_nimg and not stopped:
            # Where are we? The resolution, the fade and the learning rates follow from the images shown so far.
            growth = s.schedule.at(state.nimg)

            # A new phase: fresh Adam states (the official reset, at the start and at the end of every fade).
            phase = f"{growth.resolution} px, {'fading' if growth.alpha < 1 else 'stable'}"
            if state.phase != phase:
                if state.phase and recipe.optimizer.reset_on_growth:
                    s.opt_D.state.clear()
                    s.opt_G.state.clear()
                s.report.log(f"kimg {state.nimg / 1000:g}: {phase}, batch {growth.batch_size}")
            if not enter(s, growth, begun=state.phase.startswith(f"{growth.resolution} px,")):
                continue  # from the newest checkpoint
            state.phase = phase

            with Attempt(s, growth) as attempt:
                # Train D. An update from numbers that are not finite is left out.
                s.left_out.begin()
                batch = train_D(s, growth)

                # Train G, on fresh latents, or on the images of D's step.
                train_G(s, batch)
                s.left_out.end()

                # Update G_ema.
                follow_G(s, growth)
            if attempt.failed:  # for want of memory
                split_further(s, growth)
                continue

            # Advance the clock.
            before, state.nimg = state.nimg, state.nimg + growth.batch_size
            state.count += 1
            s.report.progress(state.nimg, growth)
            s.watchdog.progress(state.nimg)
            finished = state.nimg >= total_nimg

            # Once a tick: status line, statistics. Now and then: an image grid, a snapshot to use, metrics, and a
            # checkpoint to resume from; none after losses that are no numbers.
            tick_due = finished or passed(before, state.nimg, config.tick_kimg)
            images_due = finished or passed(before, state.nimg, config.image_kimg or config.tick_kimg)
            snapshot_due = finished or passed(before, state.nimg, config.snapshot_kimg)
            checkpoint_due = finished or passed(before, state.nimg, config.checkpoint_kimg or config.snapshot_kimg)
            if recipe.eval and (finished or passed(before, state.nimg, recipe.eval.every_kimg)):
                state.evaluate_as_at = before
            stopped = distributed.any_process(stop.signal is not None, s.system.device)
            writing = tick_due or images_due or snapshot_due or checkpoint_due or stopped
            if (writing or state.evaluate_as_at is not None) and s.meet_divergence():
                continue  # from the newest checkpoint
            if images_due:
                s.save_fakes(growth)
            if tick_due:
                s.end_tick(growth)
            if snapshot_due:
                s.save_snapshot(growth)
            if not stopped:
                stopped = not s.evaluate(stop)
            if checkpoint_due or stopped:
                s.save_checkpoint()

        complete = state.nimg >= total_nimg and state.evaluate_as_at is None
        stopped_by = None if complete else distributed.largest(stop.signal or 0, s.system.device)
        s.finish(stopped_by)
        return TrainingResult(s.run_dir, state.nimg, stopped_by)


def train_D(s: Players, growth: GrowthState) -> Batch:
    """The step of D: ``d_steps`` updates, those of lazy regularizers, and now and then its augmentation.

    Returns the last batch that it saw.
    """
    s.G.requires_grad_(False)
    s.D.requires_grad_(True)
    d_steps = s.recipe.train.d_steps
    for i in range(d_steps):
        batch = make_batch(s, *s.reals.next(growth), growth)
        remembers = reuses_fakes(s) and i == d_steps - 1
        with s.fakes.of("D") if remembers else nullcontext():
            update(s, "D", batch)
        take_lazy_steps(s, "D", s.state.d_step, batch)
        if isinstance(s.D_seen, AugmentedDiscriminator):
            s.D_seen.adapt(batch.real, batch.c, growth, s.state.d_step, parts=s.choice.accumulate)
        s.state.d_step += 1
    return batch


def train_G(s: Players, seen: Batch) -> None:
    """The step of G, and those of lazy regularizers. seen: by D, as ``train_D`` returned it."""
    s.G.requires_grad_(True)
    s.D.requires_grad_(False)
    if reuses_fakes(s):
        with s.fakes.of("G"):
            update(s, "G", seen)
    else:
        update(s, "G", make_batch(s, seen.real, seen.c, seen.growth))
    take_lazy_steps(s, "G", s.state.g_step, seen)
    s.state.g_step += 1


def reuses_fakes(s: Players) -> bool:
    """Whether G learns by the images of D's step: not in micro-batches, since that takes what they spare of memory."""
    return s.recipe.train.reuse_fakes and s.choice.accumulate == 1


def follow_G(s: Players, growth: GrowthState) -> None:
    """Update G_ema, before the clock advances."""
    config = s.recipe.train
    beta = ema_beta(
        growth.batch_size,
        s.state.nimg,
        beta=config.ema_beta,
        half_life_kimg=config.ema_kimg,
        rampup=config.ema_rampup,
    )
    update_ema(s.G_ema, s.G, beta)


def make_batch(s: Players, real: Tensor, c: Tensor | None, growth: GrowthState) -> Batch:
    """Real images with fresh latents (or the images to translate that came with them), and labels to generate with.

    Labels are drawn anew, if the data have any; those of pairs are the real images' own.
    """
    inputs = s.reals.inputs
    z = whole_batch.randn(len(real), s.G.z_dim, device=real.device) if inputs is None else inputs
    return Batch(real, c, z, c if s.reals.paired else s.reals.random_labels(len(real)), growth)


def update(s: Players, player: Player, batch: Batch) -> None:
    """The optimiser step of one player, on its loss and the regularizers of every step."""
    of_loss = s.loss.d_loss if player == "D" else s.loss.g_loss
    take_step(s, player, batch, [of_loss, *s.regularizers.of_every_step(player)])


def take_step(s: Players, player: Player, batch: Batch, terms_of: Sequence[TermsOf], *, strength: int = 1) -> None:
    """One optimiser step of one player, on the sum of the means of all the terms, ``strength`` times.

    Of the batch as a whole, or of one part of it after another, whose gradients add up (``train.accumulate``).
    """
    module, optimizer, lr = (s.D, s.opt_D, batch.growth.d_lr) if player == "D" else (s.G, s.opt_G, batch.growth.g_lr)
    parts = split_batch(batch, s.choice.accumulate)
    weight = 1 / len(parts) / (s.recipe.train.d_steps if player == "D" else 1)
    optimizer.zero_grad(set_to_none=True)
    logged: dict[str, Tensor] = {}
    for part in parts:
        terms: dict[str, Tensor] = {}
        with s.system.autocast(), recomputing(s.choice.recompute):
            for one in terms_of:
                terms = joined(terms, one(s.G, s.D_seen, part))
        terms = {name: term * strength for name, term in terms.items()}
        add_terms(logged, player, terms, weight=weight)
        (total_loss(terms) / len(parts)).backward()
    left_out = follow_gradients(module, optimizer, lr * s.regularizers.steps_share(player), logged[player])
    s.regularizers.after_step(player, module)
    s.count_terms(player, logged, left_out, lazy=strength > 1)


def take_lazy_steps(s: Players, player: Player, step: int, seen: Batch) -> None:
    """An optimiser step for every lazy regularizer that is due, as many times stronger as it is rarer."""
    for regularizer in s.regularizers.due(player, step):
        batch = make_batch(s, seen.real, seen.c, seen.growth)
        take_step(s, player, batch, [regularizer.terms], strength=regularizer.every)


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """``parts`` batches of equal size, in order; their growth is that of the whole. One part is the batch itself."""
    if parts == 1:
        return [batch]
    cs, gen_cs = ([None] * parts if x is None else x.chunk(parts) for x in (batch.c, batch.gen_c))
    pieces = zip(batch.real.chunk(parts), cs, batch.z.chunk(parts), gen_cs, strict=True)
    return [replace(batch, real=real, c=c, z=z, gen_c=gen_c) for real, c, z, gen_c in pieces]


def follow_gradients(player: nn.Module, optimizer: Optimizer, lr: float, loss: Tensor) -> Tensor:
    """The optimiser's step itself, on gradients averaged over all processes, if they and ``loss`` are finite.

    Returns 1.0 if it was left out, else 0.0, on the device and the same in all processes.
    """
    loss = distributed.all_reduce_grads(player.parameters(), loss)
    for group in optimizer.param_groups:
        group["lr"] = lr
    return step_if_finite(optimizer, loss)


def total_loss(terms: dict[str, Tensor]) -> Tensor:
    """What is minimised: the sum of the means of all terms, in fp32."""
    return torch.stack([term.float().mean() for term in terms.values()]).sum()


def add_terms(logged: dict[str, Tensor], player: str, terms: dict[str, Tensor], weight: float = 1.0) -> None:
    """Add the means of these terms, and their sum, to what is logged of a step: on the device, not to wait for it."""
    means = {player: total_loss(terms), **{f"{player}/{name}": term.float().mean() for name, term in terms.items()}}
    for name, value in means.items():
        value = value.detach() * weight
        logged[name] = logged[name] + value if name in logged else value


def passed(before: int, after: int, every_kimg: float) -> bool:
    """Whether a multiple of ``every_kimg`` lies in (before, after]: no state, so that resuming keeps the beat."""
    every = every_kimg * 1000
    return math.floor(after / every) > math.floor(before / every)
