"""Batches: what is seen follows from keys alone, whatever loads it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import transforms

from helpers.tiny import make_images
from twins.data.classify.transforms import eval_transform
from twins.data.loading import Batch, ImageDataset, UnreadableImages, make_loader
from twins.data.randomness import keyed_randomness, seed_of
from twins.data.sampling import EvaluationSampler, SampleKey, TrainingSampler
from twins.errors import TwinsError
from twins.preprocessing import ClassifyPreprocessing
from twins.recipes import ClassifyRecipe
from twins.tasks.classify import Classification

CPU = torch.device("cpu")
STRONG = {"aa": "rand-m9-mstd0.5-inc1", "reprob": 0.5, "img_size": 48}


def keys(count: int, batch: int, ranks: int = 1, drop_last: bool = False, views: int = 1) -> list[list[SampleKey]]:
    return [list(TrainingSampler(count, batch, 0, rank, ranks, drop_last, views)) for rank in range(ranks)]


@pytest.mark.parametrize(
    ("count", "drop_last", "length"), [(25, True, 24), (25, False, 28), (3, True, 4), (24, False, 24)]
)
def test_an_epoch_is_whole_batches(count: int, drop_last: bool, length: int) -> None:
    (seen,) = keys(count, 4, drop_last=drop_last)
    assert len(seen) == length
    assert len({key.image_index for key in seen}) == min(count, length)
    assert len(set(seen)) == length  # what comes twice comes in another view


def test_every_update_sees_the_same_samples_on_any_number_of_processes() -> None:
    (alone,) = keys(50, 12)
    for ranks in (2, 3):
        shares = keys(50, 12, ranks)
        for update in range(5):
            mine = [share[update * 12 // ranks : (update + 1) * 12 // ranks] for share in shares]
            assert sorted(key for share in mine for key in share) == sorted(alone[update * 12 : (update + 1) * 12])


def test_repeated_augmentation_shows_three_views_in_a_row_to_neighbouring_ranks() -> None:
    shares = keys(24, 6, ranks=3, views=3)
    for views in zip(*shares, strict=True):
        assert len({key.image_index for key in views}) == 1
        assert {key.repeat for key in views} == {0, 1, 2}
    assert sum(len(share) for share in shares) == 24


def test_epochs_shuffle_differently_and_can_be_entered_in_the_middle() -> None:
    sampler = TrainingSampler(30, 6, seed=3, rank=1, ranks=2, drop_last=False)
    sampler.set_epoch(4)
    whole = list(sampler)
    sampler.set_epoch(5)
    assert [key.image_index for key in sampler] != [key.image_index for key in whole]
    sampler.set_epoch(4, samples=12)
    assert list(sampler) == whole[6:]
    assert len(sampler) == 9


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_evaluation_sees_each_sample_once(ranks: int) -> None:
    indices = [key.image_index for rank in range(ranks) for key in EvaluationSampler(11, rank, ranks)]
    assert sorted(indices) == list(range(11))


def batches(recipe: ClassifyRecipe, workers: int, epoch: int = 0) -> list[Batch]:
    task = Classification(recipe)
    training, _ = task.datasets()
    assert training is not None
    sampler = TrainingSampler(len(training), 6, recipe.seed, 0, 1, drop_last=False)
    sampler.set_epoch(epoch)
    return list(make_loader(training, sampler, 6, workers, CPU))


def test_batches_are_identical_with_any_number_of_workers(tiny_recipe: ClassifyRecipe) -> None:
    recipe = tiny_recipe.replace(**STRONG)
    alone = batches(recipe, workers=0)
    for ours, theirs in zip(alone, batches(recipe, workers=3), strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert ours.indices == theirs.indices
    assert not torch.equal(alone[0].images, batches(recipe, workers=0, epoch=1)[0].images)


def test_samples_do_not_depend_on_how_many_processes_share_an_epoch(tiny_recipe: ClassifyRecipe) -> None:
    task = Classification(tiny_recipe.replace(**STRONG))
    training, _ = task.datasets()
    assert training is not None
    of_one = {key: training[key].image for key in keys(36, 12)[0]}
    for share in keys(36, 12, ranks=3):
        for key in share:
            assert torch.equal(of_one[key], training[key].image)  # type: ignore[arg-type]


def test_repeats_of_a_sample_differ(tiny_recipe: ClassifyRecipe) -> None:
    training, _ = Classification(tiny_recipe.replace(**STRONG)).datasets()
    assert training is not None
    views = [training[SampleKey(3, epoch=1, repeat=r)].image for r in range(3)]
    assert not torch.equal(views[0], views[1])  # type: ignore[arg-type]
    assert not torch.equal(views[1], views[2])  # type: ignore[arg-type]
    assert torch.equal(views[1], training[SampleKey(3, 1, 1)].image)  # type: ignore[arg-type]


def test_keyed_randomness_gives_the_generators_back() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    undisturbed = [draw(), draw()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first = draw()
    with keyed_randomness("a", 1):
        inside = draw()
    with keyed_randomness("a", 1):
        assert draw() == inside
    with keyed_randomness("a", 2):
        assert draw() != inside
    with keyed_randomness("a", 1):
        one = draw()
        with keyed_randomness("b"):
            draw()
        other = draw()
    with keyed_randomness("a", 1):
        assert [draw(), draw()] == [one, other]
    assert [first, draw()] == undisturbed


def test_seeds_are_the_same_on_every_machine() -> None:
    assert seed_of("sample", 0, 1, 2, 3) == 6_560_732_443_625_873_875


def mixed(recipe: ClassifyRecipe, *key: int) -> Batch:
    task = Classification(recipe, ("ant", "bee", "cat"))
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8).clone()
    return task.mix(Batch(images, torch.tensor([0, 1, 2, 0]), (0, 1, 2, 3)), *key)


@pytest.mark.parametrize(
    "alphas", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}, {"cutmix_minmax": (0.2, 0.8)}]
)
def test_mixing_belongs_to_the_batch(alphas: dict[str, object]) -> None:
    recipe = ClassifyRecipe(smoothing=0.1, **alphas)  # type: ignore[arg-type]
    batch = mixed(recipe, 0, 5, 1, 0)
    assert torch.equal(batch.images, mixed(recipe, 0, 5, 1, 0).images)
    assert any(not torch.equal(batch.images, mixed(recipe, 0, step, 1, 0).images) for step in range(6, 9))
    torch.testing.assert_close(batch.labels.sum(dim=1), torch.ones(4))
    assert batch.labels.min() >= 0.1 / 3 - 1e-6  # smoothed


@pytest.mark.parametrize("alphas", [{}, {"mixup": 0.8}, {"cutmix": 1.0}])
def test_the_loss_follows_the_labels(alphas: dict[str, float]) -> None:
    """Cutmix alone works, and without mixing the smoothing is the loss's."""
    recipe = ClassifyRecipe(smoothing=0.1, **alphas)  # type: ignore[arg-type]
    batch = mixed(recipe, 0, 0, 0, 0)
    logits = torch.randn(4, 3)
    loss = Classification(recipe, ("a", "b", "c")).losses(lambda images: logits, batch)["loss"]  # type: ignore[arg-type]
    target = batch.labels if alphas else 0.9 * torch.eye(3)[batch.labels] + 0.1 / 3
    torch.testing.assert_close(loss, -(target * logits.log_softmax(dim=1)).sum(dim=1).mean())


def test_mixing_an_odd_batch_is_refused() -> None:
    task = Classification(ClassifyRecipe(mixup=0.8), ("a", "b"))
    with pytest.raises(TwinsError, match="--batch-size must be even"):
        task.mix(Batch(torch.zeros(3, 3, 8, 8), torch.tensor([0, 1, 0]), (0, 1, 2)), 0)


def test_evaluation_transform_is_the_published_one(tmp_path: Path) -> None:
    """Short side to int(256 / 224 x size), bicubic, centre crop, ImageNet mean and deviation."""
    make_images(tmp_path, {"a": 100}, train=2)
    from PIL import Image

    image = Image.open(tmp_path / "train/a/00.png")
    for size in (64, 224, 250, 384):
        published = transforms.Compose(
            [
                transforms.Resize(int(256 / 224 * size), transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(size),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )
        assert torch.equal(eval_transform(ClassifyPreprocessing(img_size=size))(image), published(image))
    assert all(int(256 / 224 * size) == int(size / 0.875) for size in range(33, 2049))


def test_small_images_are_neither_resized_nor_cropped() -> None:
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8))
    tensor = eval_transform(ClassifyPreprocessing(img_size=32, mean=(0.0,) * 3, std=(1.0,) * 3))(image)
    assert torch.equal(tensor, transforms.ToTensor()(image))


def broken(recipe: ClassifyRecipe, training: bool) -> ImageDataset:
    root = Path(recipe.data)
    part = "train" if training else "val"
    for name in ("00.png", "01.png"):
        (root / part / "bee" / name).write_bytes(b"\x89PNG broken")
    train, val = Classification(recipe).datasets()
    assert train is not None
    return train if training else val


def test_training_takes_the_next_readable_image(tiny_recipe: ClassifyRecipe) -> None:
    dataset = broken(tiny_recipe, training=True)
    sample = dataset.at(12)
    assert sample.image_index == 14
    assert len(sample.unreadable) == 2
    assert "bee/00.png" in sample.unreadable[0]
    assert sample.image is not None


def test_evaluation_leaves_unreadable_images_out(tiny_recipe: ClassifyRecipe) -> None:
    dataset = broken(tiny_recipe, training=False)
    found = list(make_loader(dataset, EvaluationSampler(15, 0, 1), 4, 0, CPU))
    assert [index for batch in found for index in batch.indices] == [0, 1, 2, 3, 4, *range(7, 15)]
    skipping, stopping = UnreadableImages("skip"), UnreadableImages("stop")
    for batch in found:
        skipping.note(batch)
    assert len(skipping.names) == 2
    with pytest.raises(TwinsError, match=r"unreadable image .*bee.00\.png.*--bad-images skip"):
        stopping.note(found[1])


def test_nothing_readable_at_all(tmp_path: Path) -> None:
    make_images(tmp_path, {"a": 0, "b": 9}, train=2, val=1)
    for path in tmp_path.glob("train/*/*.png"):
        path.write_bytes(b"no image")
    training, _ = Classification(ClassifyRecipe(data=str(tmp_path), img_size=32)).datasets()
    assert training is not None
    assert training.at(0).image is None
