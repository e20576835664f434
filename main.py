"""The original repository's command line, flag for flag, on top of this package.

    python -m torch.distributed.launch --nproc_per_node=8 --use_env main.py --model alt_gvt_base --batch-size 128 \
        --data-path path_to_imagenet --dist-eval --drop-path 0.3
    python main.py --eval --resume alt_gvt_large.pth --model alt_gvt_large --data-path path_to_imagenet

What differs: `--model` has no default, since the original's did not exist; an unset `--device` takes the best there is;
the class count is the data's; `--finetune` loads what it names; evaluation always shares the images out over the
processes and counts each once. `--resplit`, `--cooldown-epochs`, `--pin-mem`, `--world_size` and `--dist_url` are
accepted and change nothing, as the original's loop never came to them or torchrun now decides.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from twins.checkpoints.info import read_info
from twins.checkpoints.resume import TrainingState, holds_training_state
from twins.cli import Parser
from twins.data.loading import collate, cores_of_rank
from twins.distributed.world import choose_device
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe, tuples_for_lists
from twins.tasks import Task, make_task
from twins.training.evaluation import evaluate_checkpoint, with_conventions
from twins.training.loop import fit
from twins.training.run_folder import RunFolder
from twins.zoo import model_name

DATASETS = {"CIFAR": "cifar100", "IMNET": "folder", "INAT": "inat2018", "INAT19": "inat2019"}
REFERENCE_BATCH = 512  # the global batch that --lr is for


def main(argv: Sequence[str] | None = None) -> int:
    try:
        args = make_parser().parse_args(argv)
        model_name(args.model)
        if args.eval:
            return run_eval(args)
        if args.throughout:
            return run_throughput(args)
        return run_train(args)
    except TwinsError as error:
        print(f"main.py: {error}", file=sys.stderr)
        return 2


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="main.py", description="Twins training and evaluation, by the original's flags")
    add = parser.add_argument
    add("--batch-size", default=64, type=int, help="images per process per step")
    add("--epochs", default=300, type=int, help="passes over the training images")
    add("--model", required=True, help="alt_gvt_small, alt_gvt_base, alt_gvt_large, pcpvt_small_v0, ...")
    add("--input-size", default=224, type=int, help="side of the square that the network sees")
    add("--drop", type=float, default=0.0, help="dropout rate")
    add("--drop-path", type=float, default=0.1, help="stochastic depth")

    add("--opt", default="adamw", help="optimiser")
    add("--opt-eps", default=1e-8, type=float, help="epsilon of the optimiser")
    add("--opt-betas", default=None, type=float, nargs="+", help="betas of the optimiser")
    add("--clip-grad", type=float, default=5, help="largest norm of the gradient")
    add("--momentum", type=float, default=0.9, help="momentum of SGD")
    add("--weight-decay", type=float, default=0.05, help="weight decay")
    add("--sched", default="cosine", help="schedule of the learning rate")
    add("--lr", type=float, default=5e-4, help="learning rate for a global batch of 512; scales with the batch")
    add(
        "--lr-noise",
        type=float,
        nargs="+",
        default=None,
        help="noise on the learning rate between these shares of a run",
    )
    add("--lr-noise-pct", type=float, default=0.67, help="limit of the noise")
    add("--lr-noise-std", type=float, default=1.0, help="deviation of the noise")
    add("--warmup-lr", type=float, default=1e-6, help="learning rate at the start of the warm-up")
    add("--min-lr", type=float, default=1e-5, help="learning rate at the end")
    add("--decay-epochs", type=float, default=30, help="epochs between drops")
    add("--warmup-epochs", type=int, default=5, help="epochs of warm-up")
    add("--cooldown-epochs", type=int, default=10, help="no effect")
    add("--patience-epochs", type=int, default=10, help="epochs without a better metric before a drop (plateau)")
    add("--decay-rate", "--dr", type=float, default=0.1, help="factor of a drop")

    add("--color-jitter", type=float, default=0.4, help="colour jitter; RandAugment replaces it")
    add("--aa", default="rand-m9-mstd0.5-inc1", help="RandAugment or AutoAugment policy")
    add("--smoothing", type=float, default=0.1, help="label smoothing")
    add("--train-interpolation", default="bicubic", help="random, bilinear or bicubic")
    add("--repeated-aug", action="store_true", help="repeated augmentation")
    add("--no-repeated-aug", action="store_false", dest="repeated_aug", help="no repeated augmentation (default)")
    add("--reprob", type=float, default=0.25, help="chance of random erasing")
    add("--remode", default="pixel", help="fill of erased parts")
    add("--recount", type=int, default=1, help="most erased parts")
    add("--resplit", action="store_true", help="no effect")
    add("--mixup", type=float, default=0.8, help="alpha of mixup; 0 is off")
    add("--cutmix", type=float, default=1.0, help="alpha of cutmix; 0 is off")
    add("--cutmix-minmax", type=float, nargs="+", default=None, help="share of the side that cutmix cuts")
    add("--mixup-prob", type=float, default=1.0, help="chance of mixing a batch")
    add("--mixup-switch-prob", type=float, default=0.5, help="chance of cutmix where both are on")
    add("--mixup-mode", default="batch", help="batch, pair or elem")

    add("--finetune", default="", help="start from the weights in this file")
    add("--data-path", default="/datasets01/imagenet_full_size/061417/", help="the data's folder")
    add("--data-set", default="IMNET", choices=list(DATASETS), help="its layout")
    add("--use-mcloader", action="store_true", help="read the lists meta/train.txt and meta/val.txt")
    add("--inat-category", default="name", help="what iNaturalist's classes are",
        choices=["kingdom", "phylum", "class", "order", "supercategory", "family", "genus", "name"])  # fmt: skip

    add("--output_dir", default="", help="where to write; a folder named after the model if empty")
    add("--device", default="auto", help="cuda, cuda:N, mps, cpu; the best there is if not given")
    add("--seed", default=0, type=int, help="all randomness follows from it")
    add("--resume", default="", help="go on from this checkpoint, or evaluate it with --eval")
    add("--start_epoch", default=0, type=int, help="count epochs from here")
    add("--eval", action="store_true", help="evaluate only")
    add("--dist-eval", action="store_true", help="no effect: evaluation is always shared out")
    add("--num_workers", default=10, type=int, help="worker processes per rank that load data, at most one a core")
    add("--pin-mem", action="store_true", default=True, help="no effect: pinned wherever it helps")
    add("--no-pin-mem", action="store_false", dest="pin_mem", help="no effect")
    add("--world_size", default=1, type=int, help="no effect: torchrun decides")
    add("--dist_url", default="env://", help="no effect: torchrun decides")
    add("--throughout", action="store_true", help="measure the speed of inference only")
    return parser


def recipe_of(args: argparse.Namespace) -> ClassifyRecipe:
    """The flags as a recipe; the learning rate is the original's, in proportion to the global batch."""
    # Most flags are fields of a recipe by the same name; --lr is not, since it scales with the batch.
    same = set(vars(args)) & {f.name for f in dataclasses.fields(ClassifyRecipe)} - {"lr"}
    fields: dict[str, Any] = {name: getattr(args, name) for name in same}
    return ClassifyRecipe(
        **tuples_for_lists(fields),
        weights=args.finetune or None,
        data=args.data_path,
        dataset="list" if args.use_mcloader else DATASETS[args.data_set],
        img_size=args.input_size,
        workers=min(args.num_workers, cores_of_rank()),
        lr_base=args.lr,
        lr_base_size=REFERENCE_BATCH,
        sched_unit="epoch",
        sched_lag=1,
        drop_last=True,
        amp=choose_device(args.device).type == "cuda",
    )


def run_train(args: argparse.Namespace) -> int:
    recipe, resume = recipe_of(args), read_info(args.resume) if args.resume else None
    if resume is not None and not holds_training_state(resume):
        recipe, resume = recipe.replace(weights=args.resume), None
    started = time.time()
    tell(f"Start training for {recipe.epochs} epochs")
    folder = Path(args.output_dir or args.model)
    outcome = fit(
        recipe, folder=folder, resume=resume, start_epoch=args.start_epoch, announce=announce, val_prefix="test_"
    )
    tell(f"Training time {datetime.timedelta(seconds=int(time.time() - started))}")
    return outcome.status


def run_eval(args: argparse.Namespace) -> int:
    if not args.resume:
        raise TwinsError("--eval needs --resume with the checkpoint to evaluate")

    def announce(task: Task, metrics: dict[str, float]) -> None:
        tell_accuracy(metrics["acc1"], metrics["acc5"], metrics["loss"], metrics["images"])

    info = read_info(args.resume)
    evaluate_checkpoint(with_conventions(recipe_of(args).replace(val_split=0.0), info), info, announce=announce)
    return 0


def run_throughput(args: argparse.Namespace) -> int:
    """Images a second of the network alone, on the first validation batch: 50 forwards unmeasured, then 30."""
    recipe = recipe_of(args)
    device = choose_device(args.device)
    task = make_task(recipe)
    _, val = task.datasets(evaluation_only=True)
    model = task.build().to(device).eval()
    count = int(1.5 * args.batch_size)
    few = collate([val.at(index) for index in range(min(count, len(val)))]).images
    images = few.repeat(-(-count // len(few)), 1, 1, 1)[:count].to(device)
    with torch.inference_mode(), torch.autocast(device.type, enabled=recipe.amp):
        for forwards in (50, 30):
            started = time.time()
            for _ in range(forwards):
                model(images)
            if device.type == "cuda":
                torch.cuda.synchronize()
    print(f"batch_size {count} throughput {30 * count / (time.time() - started)}")
    return 0


def announce(folder: RunFolder, task: Task, record: dict[str, Any], state: TrainingState) -> None:
    """The original's lines after each epoch."""
    tell_accuracy(record["test_acc1"], record["test_acc5"], record["test_loss"], record["test_images"])
    tell(f"Max accuracy: {state.best['value']:.2f}%")


def tell_accuracy(acc1: float, acc5: float, loss: float, images: float) -> None:
    tell(f"* Acc@1 {acc1:.3f} Acc@5 {acc5:.3f} loss {loss:.3f}")
    tell(f"Accuracy of the network on the {images:.0f} test images: {acc1:.1f}%")


def tell(text: str) -> None:
    """Print once, however many processes there are."""
    if int(os.environ.get("RANK", 0)) == 0:
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
