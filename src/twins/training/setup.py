"""From a recipe to everything that a run needs before its first update."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ..checkpoints.info import CheckpointInfo
from ..checkpoints.resume import TrainingState, read_training_checkpoint
from ..class_names import check_classes
from ..data.loading import Batch, ImageDataset, UnreadableImages, make_loader
from ..data.randomness import seed_of
from ..data.sampling import TrainingSampler
from ..distributed.collectives import from_main, on_main
from ..distributed.torchrun import agents_of_job
from ..distributed.world import World, wrap_ddp
from ..errors import TwinsError
from ..optional_dependencies import need
from ..recipes import Recipe
from ..run_lock import only_run_in
from ..tasks import Task, make_task
from . import optim
from .mixed_precision import amp_dtype
from .remembered_split import known_split
from .rest_of_epoch import RestOfEpoch
from .resumption import describe_resumption
from .run_folder import RunFolder, new_run_folder, provenance
from .sharded_state import describe_sharding, is_sharded, shard_state
from .trackers.tracking import Tracking, make_trackers


@dataclass(frozen=True)
class Setup:
    """What stays the same while a run lasts; what changes is its TrainingState."""

    recipe: Recipe  # resolved: nothing is left to be worked out
    world: World
    sharded: bool  # whether each rank holds a share of the network, not the whole of it
    task: Task
    training: ImageDataset
    val: ImageDataset
    unreadable: UnreadableImages
    sampler: TrainingSampler
    batches: DataLoader[Batch]
    network: Any  # the state's model as an update calls it: within DistributedDataParallel, compiled
    frozen: list[nn.Module]  # parts of the model that are not trained
    folder: RunFolder
    tracking: Tracking
    provenance: dict[str, Any]
    resumption: tuple[str, ...]  # what there is to say of where it goes on

    @property
    def updates_per_epoch(self) -> int:
        return self.sampler.batches_left()


def set_up(
    recipe: Recipe,
    world: World,
    folder: Path | None,
    resume: Path | CheckpointInfo | None,
    start_epoch: int,
    val_prefix: str,
    held: contextlib.ExitStack,
) -> tuple[Setup, TrainingState]:
    """Data, network, optimiser, schedule and folder, fresh or as a checkpoint left them. `fit` says what it raises.

    What keeps other runs out of the folder is added to `held`.
    """
    trackers = make_trackers(recipe.track)
    sharded = is_sharded(recipe, world)
    info = None if resume is None else read_training_checkpoint(resume)

    task = make_task(recipe if info is None else recipe.replace(split=known_split(info)))
    training, val = task.datasets()
    assert training is not None
    if info is not None and info.classes_named:
        check_classes(task.classes, info.classes, recipe.data)
    sampler, batches = training_batches(recipe, world, training)

    torch.manual_seed(seed_of("initial weights", recipe.seed))
    model: Any = task.build()
    if not sharded:
        model = model.to(world.device)
    model.set_grad_checkpointing(recipe.grad_checkpointing)
    try:
        frozen = model.freeze_stages(recipe.freeze_stages)
    except ValueError as error:
        raise TwinsError(f"--freeze-stages: {error}") from error
    state = fresh_state(recipe, model, world.device, sampler.batches_left())
    state.epoch = start_epoch
    if info is not None:
        state.restore(info)
        if recipe.sched == "plateau":
            state.schedule.load_state_dict(info.checkpoint.get("lr_scheduler") or {})
    path = from_main(folder or new_run_folder(recipe))
    run_folder = RunFolder(path, main=world.is_main, val_prefix=val_prefix)
    if state.epoch >= recipe.epochs and not run_folder.lacks_its_end(state.epoch):
        raise TwinsError(f"{state.epoch} epochs are done and --epochs is {recipe.epochs}: pass a larger --epochs")
    resumption: list[str] = []
    if state.epoch or state.step:
        rest = RestOfEpoch.of(sampler, state)
        optim.position(recipe, state.schedule, state.epoch, rest.start, rest.whole)
        resumption = describe_resumption(state, sampler, recipe, (info and info.recipe) or {}, path)
    state.global_batch, state.training_images = sampler.global_batch, sampler.count
    network: Any = shard_state(state, world) if sharded else wrap_ddp(model, world)
    if recipe.parallel == "fsdp":
        task.notes.append(describe_sharding(world))

    setup = Setup(
        recipe=recipe,
        world=world,
        sharded=sharded,
        task=task,
        training=training,
        val=val,
        unreadable=UnreadableImages(recipe.bad_images),
        sampler=sampler,
        batches=batches,
        network=torch.compile(network) if recipe.torchcompile else network,
        frozen=frozen,
        folder=run_folder,
        tracking=Tracking(trackers, run_folder),
        provenance=provenance() | {"agents": agents_of_job()},
        resumption=tuple(resumption),
    )
    if note := on_main(lambda: held.enter_context(only_run_in(path))):
        setup.task.notes.append(note)
    setup.folder.create(afresh=resume is None)
    setup.folder.forget_after(state.epoch, state.step)
    setup.folder.write_json("recipe.json", {"recipe": recipe.to_dict(), "ran_on": setup.provenance})
    names = [val.images.name(index) for index in range(len(val))]
    setup.folder.write_json("split.json", {"classes": task.classes, "val": names})
    return setup, state


def training_batches(recipe: Recipe, world: World, training: ImageDataset) -> tuple[TrainingSampler, DataLoader[Batch]]:
    """This rank's share of each epoch, `grad_accum_steps` batches an update."""
    assert recipe.batch_size is not None
    sampler = TrainingSampler(
        len(training),
        global_batch=recipe.batch_size * world.size * recipe.grad_accum_steps,
        seed=recipe.seed,
        rank=world.rank,
        ranks=world.size,
        drop_last=recipe.drop_last,
        views=3 if recipe.repeated_aug else 1,
        batches=recipe.steps_per_epoch,
    )
    return sampler, make_loader(training, sampler, recipe.batch_size, recipe.workers, world.device)


def fresh_state(recipe: Recipe, model: Any, device: torch.device, updates_per_epoch: int) -> TrainingState:
    """A run's state before its first update."""
    optimizer = optim.make_optimizer(recipe, model)
    scaled = amp_dtype(recipe, device) is torch.float16
    average = need("timm.utils", extra="train").ModelEmaV3 if recipe.model_ema else None
    return TrainingState(
        model=model,
        optimizer=optimizer,
        schedule=optim.make_schedule(recipe, optimizer, updates_per_epoch),
        scaler=torch.amp.GradScaler(device.type, enabled=scaled),
        ema=None if average is None else average(model, recipe.model_ema_decay),
    )
