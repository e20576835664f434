"""`twins plan`: recipes and runs on GPUs that are not here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import refusal
from helpers.run_folders import write_json, write_noise, write_run
from twins.cli import main
from twins.flops import count_flops
from twins.planning.hardware import GPUS
from twins.zoo import create_model

RECIPE = ["plan", "--recipe", "twins_svt_small"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([*RECIPE, "--gpu", "h10"], "--gpu h10: not known (did you mean h100"),
        ([*RECIPE, "--gpu", "cpu"], "--gpu cpu is not offered"),
        ([*RECIPE, "--price", "-1"], "--price must be 0 or more, not -1"),
        ([*RECIPE, "--mfu", "0"], "--mfu must be a number above 0, not 0"),
        ([*RECIPE, "--mfu", "40"], "--mfu is a share of the peak, at most 1, not 40"),
        ([*RECIPE, "--mfu", "0.2", "--images-per-second", "9"], "pass one of them"),
        ([*RECIPE, "--mtbf", "nan"], "--mtbf must be a number above 0, not nan"),
        ([*RECIPE, "--gpus", "1000000000"], "--gpus must be 100000 or less, not 1000000000"),
        ([*RECIPE, "--gpus", "0"], "--gpus must be 1 or more, not 0"),
        ([*RECIPE, "--save-every", "soon"], "--save-every: 'soon' is no number or length of time above 0"),
        (["plan"], "twins plan takes --recipe NAME or the folder of a run"),
        ([*RECIPE, "runs/classify/digits"], "twins plan takes --recipe NAME or the folder of a run"),
        (["plan", "--recipe", "twins_svt_smal"], "unknown recipe 'twins_svt_smal' (did you mean twins_svt_small"),
        (["plan", "--recipe", "pictures"], "--recipe pictures: has no data of its own; pass --images N"),
        ([*RECIPE, "--gpus", "12"], "--gpus 12: do not share out the global batch of 2048 images, an even number"),
        (["plan", "--recipe", "twins_pcpvt_small", "--gpus", "512"], "mixup pairs images; 320 or 640 would"),
        ([*RECIPE, "--gpus", "2048"], "since mixup pairs images; 1024 would"),
        (["plan", "--recipe", "retinanet_svt_small_1x"], "pass --images-per-second N"),
    ],
)
def test_refusals(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert message in refusal(capsys, *flags)


def planned(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    """The JSON of a plan."""
    assert main(["plan", *flags, "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_stated_speed_needs_no_model(capsys: pytest.CaptureFixture[str]):
    """300 epochs of 625 updates of 2048 images at 8 x 1000 images/s; an evaluated image takes a third of that."""
    plan = planned(capsys, *RECIPE[1:], "--images-per-second", "1000", "--price", "2", "--mtbf", "1e12")
    (eight,) = plan["plans"]
    (estimate,) = eight["estimates"]
    training, evaluation = 300 * 625 * 2048 / 8000, 300 * 50_000 / 3 / 8000
    saving = 0.5 * ((training + evaluation) / 600 + 300)
    hours = (training + evaluation + saving) / 3600
    assert (estimate["training"], estimate["evaluation"]) == pytest.approx((training / 3600, evaluation / 3600))
    assert (estimate["hours"], estimate["cost"]) == pytest.approx((hours, hours * 8 * 2), rel=1e-6)
    assert eight["batch"] == 256
    assert estimate["input_bytes_per_second"] == pytest.approx(8000 * 115_440, rel=1e-4)
    assert estimate["cores"] == pytest.approx(1000 / 251.84)
    assert estimate["limit"] == "the GPU, as measured"


def test_hours_by_a_share_of_the_peak(capsys: pytest.CaptureFixture[str]):
    """Three times the forward pass of every image, two operations a multiply-add, at a tenth of 8 x 989 TFLOP/s."""
    plan = planned(capsys, *RECIPE[1:], "--mfu", "0.1", "--cores", "100")
    flops = count_flops(create_model("twins_svt_small"))
    seconds = 300 * 625 * 2048 * 3 * 2 * (flops.projections + flops.attention) / (0.1 * 8 * 989e12)
    assert plan["plans"][0]["estimates"][0]["training"] == pytest.approx(seconds / 3600)


def test_checkpoints_by_updates(capsys: pytest.CaptureFixture[str]):
    """187,500 updates, and as many more as the evaluation lasts: one checkpoint in 500 of them, and one an epoch."""
    plan = planned(capsys, *RECIPE[1:], "--images-per-second", "1000", "--save-every", "500")
    (estimate,) = plan["plans"][0]["estimates"]
    updates = (estimate["training"] + estimate["evaluation"]) * 3600 / 0.256
    assert estimate["saving"] * 3600 == pytest.approx(0.5 * (updates / 500 + 300))
    assert "checkpoints: every 500 updates" in " ".join(plan["assumptions"])


def test_too_few_cores_bind(capsys: pytest.CaptureFixture[str]):
    plan = planned(capsys, *RECIPE[1:], "--images-per-second", "1000", "--cores", "2")
    (estimate,) = plan["plans"][0]["estimates"]
    assert estimate["limit"] == "reading images"
    assert estimate["images_per_second"] == pytest.approx(8 * 2 * 251.84)


def test_a_slow_network_binds(capsys: pytest.CaptureFixture[str]):
    """One Gbit/s, 70 % of it: 0.0875 GB/s for 190 MB; 32 images take 32 ms, two thirds of which it hides behind."""
    plan = planned(capsys, *RECIPE[1:], "--gpus", "64", "--images-per-second", "1000", "--network-gbps", "1")
    (estimate,) = plan["plans"][0]["estimates"]
    assert estimate["limit"] == "all-reduce"
    assert estimate["update"] == pytest.approx(189_478_611 / 0.0875e9 + 0.032 / 3, rel=1e-6)


def test_what_does_not_fit_is_said(capsys: pytest.CaptureFixture[str]):
    plan = planned(capsys, *RECIPE[1:], "--gpus", "1", "--gpu", "l4", "--images-per-second", "100")
    assert not plan["plans"][0]["fits"]
    assert plan["plans"][0]["estimates"][0]["limit"] == "memory: does not fit"


def test_the_page_states_its_assumptions(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "plan.json"
    assert main([*RECIPE, "--gpus", "8", "64", "--json", str(file)]) == 0
    page = capsys.readouterr().out
    assert "twins_svt_small on ImageNet-1k: 300 epochs of 1,281,167 images, on NVIDIA H100 SXM" in page
    rows = {line[:30].strip(): line[30:].split() for line in page.splitlines()}
    assert rows["GPUs"] == ["8", "64"]
    assert rows["images a GPU and step"] == ["256", "32"]
    for assumption in ("modelled, not measured on any h100", "989 TFLOP/s in half precision", "252 images/s each",
                       "115 kB an image", "every 10 min", "one in 50,000 hours", "3.00 dollars an hour"):  # fmt: skip
        assert assumption in page
    assert len(json.loads(file.read_text())["plans"]) == 2


def test_a_detector_takes_a_stated_speed(capsys: pytest.CaptureFixture[str]):
    plan = planned(capsys, "--recipe", "retinanet_svt_small_1x", "--images-per-second", "10", "--gpus", "8")
    assert plan["plans"][0]["memory"] is None
    assert plan["plans"][0]["batch"] == 2
    assert plan["plans"][0]["all_reduce_bytes"] > 2 * 7 / 8 * 4 * 24e6


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Of the digits, at the speeds 300, 301 and 302 images/s on a CPU."""
    return write_run(tmp_path / "runs" / "classify" / "digits")


def test_a_run_on_another_device_is_modelled(run: Path, capsys: pytest.CaptureFixture[str]):
    plan = planned(capsys, str(run), "--gpu", "h100", "--gpus", "2")
    assert plan["images"] == 1437
    assert plan["plans"][0]["batch"] == 32
    assert any(line.startswith("not used: 301.0 images/s a process on cpu") for line in plan["assumptions"])
    assert len(plan["plans"][0]["estimates"]) == 2


def test_a_run_on_the_same_gpu_is_its_own_measurement(run: Path, capsys: pytest.CaptureFixture[str]):
    """Two processes of it: half of the speed each, and twice the batch."""
    setup = json.loads((run / "setup.json").read_text())
    write_json(run / "setup.json", setup | {"device": "NVIDIA H100 80GB HBM3, 2 processes"})
    (run / "steps.csv").write_text("epoch,step,images_per_second\n0,50,400\n0,100,500\n1,50,600\n")
    plan = planned(capsys, str(run), "--gpus", "4")
    assert plan["gpu"]["name"] == "h100"
    assert plan["plans"][0]["batch"] == 32
    (estimate,) = plan["plans"][0]["estimates"]
    assert estimate["images_per_second"] == pytest.approx(4 * 250)


def test_bytes_of_a_runs_own_images(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = tmp_path / "flowers"
    for name in ("a.png", "b.png"):
        write_noise(data / "rose" / name, 32, 32)
    stored = json.loads((run / "recipe.json").read_text())
    stored["recipe"]["data"] = str(data)
    write_json(run / "recipe.json", stored)
    plan = planned(capsys, str(run), "--gpu", "h100", "--gpus", "1", "--images-per-second", "100")
    size = (data / "rose" / "a.png").stat().st_size
    assert plan["plans"][0]["estimates"][0]["input_bytes_per_second"] == pytest.approx(100 * size)


def test_folders_that_are_no_runs(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "pass --gpu with one of b200, h200" in refusal(capsys, "plan", str(run))
    assert "there is no recipe.json" in refusal(capsys, "plan", str(tmp_path), "--gpu", "h100")
    assert "no such folder" in refusal(capsys, "plan", str(tmp_path / "nowhere"))
    (run / "setup.json").unlink()
    assert "says of no training images" in refusal(capsys, "plan", str(run), "--gpu", "h100")


def test_help_names_every_gpu(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    assert ", ".join(GPUS) in " ".join(capsys.readouterr().out.split())


def test_a_recipe_on_ones_own_images(capsys: pytest.CaptureFixture[str]):
    """40,000 for training in 625 updates of 64, a quarter as many for validation; decoding is counted as measured."""
    flags = (
        "--recipe",
        "pictures",
        "--images",
        "40000",
        "--classes",
        "12",
        "--images-per-second",
        "100",
        "--gpus",
        "4",
    )
    plan = planned(capsys, *flags)
    (estimate,) = plan["plans"][0]["estimates"]
    assert plan["plans"][0]["batch"] == 16
    assert estimate["training"] == pytest.approx(50 * 625 * 64 / 400 / 3600)
    assert estimate["evaluation"] == pytest.approx(50 * 10_000 / 3 / 400 / 3600)
    assert estimate["cores"] is not None
    assert estimate["input_bytes_per_second"] is None
