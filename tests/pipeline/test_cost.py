"""What a simulation is said to need, against what small ones really take."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from driftrates.pipeline import cost
from driftrates.pipeline.config import resolve
from driftrates.pipeline.preflight import Need
from driftrates.simulate import simulate_flow

ROOT = Path(__file__).parents[2]
RAW = yaml.safe_load((ROOT / "config.yaml").read_text())
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


@pytest.fixture(scope="module", params=["smoke", "paper", "full"])
def config(request):
    return resolve({**RAW, "scale": request.param}, SCHEMA, check_device=False)


@pytest.mark.parametrize("name", ["entropy_d1", "laplace_d2", "long_d1", "figure1_score_laplace", "identity_displacement", "rates_d3"])
def test_evaluations_and_stored_bytes_of_a_simulation(name):
    experiment = resolve({**RAW, "scale": "smoke"}, SCHEMA, check_device=False)["experiments"][name]
    flow = simulate_flow(experiment, seed=1)
    counted, said = flow["evaluations"].max().item(), cost.evaluations(experiment)
    assert said / 4 <= counted <= 2 * said
    if experiment["integrator"]["method"] == "euler":
        assert counted == said
    clouds = sum(flow[v].nbytes for v in flow if v.startswith("cloud_"))
    assert cost._stored(experiment, cost.cells(experiment, seed=1)) >= clouds
    assert cost._stored(experiment, cost.cells(experiment, seed=1)) >= 0.5 * flow.nbytes


def test_cells_follow_the_order_of_the_simulation(config):
    for experiment in config["experiments"].values():
        cells = cost.cells(experiment, seed=config["seed"])
        shape = len(np.atleast_1d(experiment["bandwidth"])), len(np.atleast_1d(experiment["n_particles"]))
        assert len(cells) == (shape[1] if experiment["paired"] else shape[0] * shape[1])
        assert [c.n for c in cells[: shape[1]]] == np.atleast_1d(experiment["n_particles"]).tolist()


def test_no_request_is_silly(config):
    for experiment in config["experiments"].values():
        memory = cost.flow_memory_mib(experiment, seed=config["seed"])
        state = 8 * max(c.replicates * c.n * c.d for c in cost.cells(experiment, seed=config["seed"])) / 2**20
        assert cost.BASE_MIB + 8 * state <= memory <= 2 * cost.BASE_MIB + 100 * state, "an explicit method holds some ten states"
        assert 2 * cost.BASE_MIB <= cost.measure_memory_mib(experiment, seed=config["seed"]) <= 128_000
        gpu = cost.flow_minutes(experiment, seed=config["seed"], gpu=True)
        cpu = cost.flow_minutes(experiment, seed=config["seed"], gpu=False)
        assert 30 <= gpu <= cpu <= 1440
        assert cost.flow_minutes(experiment, seed=config["seed"], gpu=False, threads=4) <= cpu
    assert cost.disk_mib(config["experiments"], seed=config["seed"]) < 100_000


def test_requests_grow_with_the_sizes():
    experiment = resolve({**RAW, "scale": "full"}, SCHEMA, check_device=False)["experiments"]["rates_d5"]
    small, large = (({**experiment, "n_particles": [n], "bandwidth": [0.5]}) for n in (1000, 20_000))
    assert cost.flow_memory_mib(large, seed=1) > cost.flow_memory_mib(small, seed=1)
    assert cost.flow_minutes(large, seed=1, gpu=False) > cost.flow_minutes(small, seed=1, gpu=False) == 30
    assert cost.stored_mib({**large, "keep_clouds": 9}, seed=1) > cost.stored_mib(large, seed=1)


def test_arguments_of_the_preflight(config):
    needs = {n.stage: n for n in (Need(*_need(a)) for a in cost.largest(config["experiments"], seed=config["seed"], gpu=True))}
    experiments = config["experiments"].values()
    assert needs.keys() == {"simulate_flow", *(f"measure_{m}" for e in experiments for m in e["measure"])}
    flow = needs.pop("simulate_flow")
    assert (flow.threads, flow.gpus) == (4, 1) and flow.runtime >= 30
    assert flow.memory == max(cost.flow_memory_mib(e, seed=config["seed"]) for e in experiments)
    entropy = max(cost.measure_memory_mib(e, seed=config["seed"]) for e in experiments if "entropy" in e["measure"])
    assert needs["measure_entropy"] == ("measure_entropy", entropy, cost.STAGE_MINUTES, 1, 0)


def _need(argument):
    stage, *numbers = argument.removeprefix("--need=").split(",")
    return stage, *map(int, numbers)
