"""The arithmetic of plans, and the two commands."""

import json

import pytest
import torch
from click.testing import CliRunner

from ganzoo.cli import main
from ganzoo.errors import GanzooError
from ganzoo.plugins import load_plugins
from ganzoo.profiling.gpus import GPUS, find_gpu
from ganzoo.profiling.machines import parse_numbers
from ganzoo.profiling.phases import count_step, stretches
from ganzoo.profiling.roofline import OF_LINKS, Rates, collective_seconds, seconds
from ganzoo.recipe import load_recipe


def invoke(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_a_kernel_takes_as_long_as_its_slowest_side():
    rates = Rates(bf16=100.0, fp32=10.0, bandwidth=5.0, kernel_seconds=1.0)
    assert seconds({(1000, 5, torch.bfloat16): 2}, rates) == 20
    assert seconds({(1000, 5, torch.float32): 1}, rates) == 100
    assert seconds({(0, 50, None): 1}, rates) == 10
    assert seconds({(0, 1, None): 3}, rates) == 3


def test_an_all_reduce_goes_round_the_ring_twice_and_a_gathering_once():
    gpu, size = find_gpu("a100"), 10**12
    ring = 7 / 8 * size / (gpu.link * OF_LINKS)
    assert collective_seconds([("allreduce_", size)], gpu, 8) == pytest.approx(2 * ring, rel=1e-3)
    assert collective_seconds([("allgather_", size)], gpu, 8) == pytest.approx(ring, rel=1e-3)
    assert collective_seconds([("allreduce_", size)], gpu, 1) == 0
    between = 63 / 64 * size / (gpu.network * OF_LINKS)
    assert collective_seconds([("allreduce_", size)], gpu, 512) == pytest.approx(2 * (ring + between), rel=1e-3)


@pytest.mark.parametrize("gpu", GPUS.values(), ids=list(GPUS))
def test_the_table_is_in_si_units(gpu):
    assert gpu.bf16 == 0 or 5e13 < gpu.bf16 < 5e15
    assert 1e13 < gpu.fp32 <= gpu.tf32 <= 2e15
    assert 16e9 <= gpu.memory < 1e12 and 1e11 < gpu.bandwidth < 2e13
    assert 50 < gpu.watts < 2000 and gpu.network < gpu.link * gpu.per_machine


def test_what_processes_send_is_what_the_code_sends(recipes):
    """Two gradient reductions with a flag a parameter and the loss; the rest is minibatch stddev, and the stop flag."""
    registry = load_plugins().registry
    recipe = load_recipe(recipes / "quickstart.yaml", registry, ["data.img_resolution=8"])
    stretch = stretches(recipe, registry, 4)[-1]
    cost = count_step(recipe, registry, stretch, precision="fp32", processes=4)
    alone = count_step(recipe, registry, stretch, precision="fp32")
    assert (cost.images, alone.images) == (8, 32)
    assert cost.flops * 4 == alone.flops
    assert cost.weights == alone.weights
    reductions = sorted((size for name, size in cost.collectives if "reduce" in name), reverse=True)[:2]
    assert cost.gradients < sum(reductions) < 1.01 * cost.gradients + 1000
    assert alone.collectives == {}


def test_a_batch_that_cannot_be_shared_is_made_larger_and_marked(recipes):
    registry = load_plugins().registry
    recipe = load_recipe(recipes / "stylegan2_ffhq_1024.yaml", registry)
    assert [(s.batch_size, s.scaled) for n in (8, 32, 64) for s in stretches(recipe, registry, n, 4)] == [
        (32, False),
        (32, False),
        (256, True),
    ]


def test_plan_of_a_gpu(recipes, tmp_path):
    path = tmp_path / "plan.json"
    arguments = ["--gpu-type", "A100", "--gpus", "1,2", "--json", path, "--set", "data.img_resolution=8"]
    result = invoke("plan", recipes / "quickstart.yaml", *arguments)
    assert result.exit_code == 0, result.output
    assert "a100-80 in bf16" in result.output and "estimated" in result.output and "kWh" in result.output
    assert max(map(len, result.output.splitlines())) <= 100
    numbers = json.loads(path.read_text())
    one, two = numbers["plans"]
    assert [phase["resolution"] for phase in one["phases"]] == [4, 8]
    assert one["hours"] == pytest.approx(sum(p["sec_per_kimg"] * p["kimg"] / 3600 for p in one["phases"]))
    assert one["kwh"] == pytest.approx(one["hours"] * 0.4)
    assert one["communication"] == 0 < two["communication"] < 1
    kimg, last = sum(p["kimg"] for p in one["phases"]), one["phases"][-1]["sec_per_kimg"]
    assert one["progressive_saving"] == pytest.approx(last * kimg / 3600 / one["hours"])


@pytest.mark.parametrize("reuse_fakes", ["false", "true"])
def test_bench_writes_what_plan_reads(recipes, tmp_path, reuse_fakes):
    path, quick = tmp_path / "bench.json", ["--set", "data.img_resolution=8", "--set", "data.max_images=64"]
    quick += ["--set", f"train.reuse_fakes={reuse_fakes}"]
    recipe = recipes / "quickstart.yaml"
    result = invoke("bench", recipe, "--seconds", "0.05", "--rounds", 1, "--precision", "fp32", "--json", path, *quick)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 100
    rows = json.loads(path.read_text())["rows"]
    assert [row["resolution"] for row in rows] == [4, 8]
    apart = {seconds is not None for row in rows for seconds in (row["d_seconds"], row["g_seconds"])}
    assert apart == {reuse_fakes == "false"}
    assert all(row["of_floor"] > 0 and row["loader"] > 0 and row["peak_bytes"] > 0 for row in rows)
    result = invoke("plan", recipe, "--measured", path, "--precision", "fp32", "--gpu-type", "h100", *quick)
    assert result.exit_code == 0, result.output
    assert [f"{row['sec_per_kimg']:.3g}" in result.output for row in rows] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "nowhere.yaml"], "no such recipe"),
        (["plan", "quickstart.yaml", "--gpus", "0"], "give one number or several"),
        (["plan", "quickstart.yaml", "--gpus", "eight"], "give one number or several"),
        (["plan", "quickstart.yaml", "--gpu-type", "h10"], "did you mean 'h100'"),
        (["plan", "quickstart.yaml", "--gpu-type", "v100", "--precision", "bf16"], "does not compute in bf16"),
        (["plan", "quickstart.yaml", "--gpu-type", "h100", "--measured", "quickstart.yaml"], "ganzoo bench"),
        (["plan", "acgan_cifar10.yaml", "--gpu-type", "h100"], "--classes N"),
        (["bench", "quickstart.yaml", "--resolution", "33"], "it does at: 4, 8, 16, 32"),
        (["bench", "quickstart.yaml", "--precision", "fp8"], "fp8"),
        (["bench", "nowhere.yaml"], "no such recipe"),
    ],
)
def test_mistakes_are_told(arguments, message, recipes, monkeypatch):
    monkeypatch.chdir(recipes)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_numbers_of_processes():
    assert parse_numbers("--gpus", "1, 8,64") == [1, 8, 64]
    with pytest.raises(GanzooError):
        parse_numbers("--gpus", "1,,8")
