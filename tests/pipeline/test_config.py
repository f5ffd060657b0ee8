import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from driftrates import datasets, kernels
from driftrates.pipeline import config
from driftrates.sums import cuda

ROOT = Path(__file__).parents[2]
RAW = yaml.safe_load((ROOT / "config.yaml").read_text())
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())

SMALL = {
    "scale": "smoke",
    "experiments": {
        "plane": {
            "target": {"mixture": {"means": [[0.0, 0.0], [1.0, 0.0]], "standard_deviations": [1.0, 0.5]}},
            "start": {"gaussian": {"mean": 0.0, "standard_deviation": [1.5, 2.0]}},
            "field": "conservative",
            "kernel": {"name": "gaussian"},
            "bandwidth": 0.5,
            "n_particles": {"smoke": 8, "paper": [32, 64], "full": 128},
            "times": {"stop": 1.0},
            "entropy": True,
        },
        "moons": {
            "target": {"data": {"name": "two_moons", "size": 20}},
            "start": {"data": {"name": "uniform"}},
            "start_label": "shared",
            "field": "displacement",
            "kernel": {"name": "laplace"},
            "bandwidth": [0.3, 0.5],
            "n_particles": 10,
            "times": {"stop": 1, "count": 3, "spacing": "log", "first": 0.1},
        },
    },
    "field_maps": {"map": {"experiments": ["moons"], "box": 2.0}},
}


def changed(**changes):
    """SMALL with values at dotted paths replaced; ``...`` removes a key."""
    raw = copy.deepcopy(SMALL)
    for path, value in changes.items():
        *parents, last = path.split("__")
        inner = raw
        for key in parents:
            inner = inner[int(key) if key.isdigit() else key]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return raw


def resolve(raw):
    return config.resolve(raw, SCHEMA, check_device=False)


def scales_left(value):
    if isinstance(value, dict):
        return bool(set(value) & set(config.SCALES)) or any(map(scales_left, value.values()))
    return isinstance(value, list) and any(map(scales_left, value))


@pytest.mark.parametrize("scale", config.SCALES)
def test_the_configuration_of_the_paper_resolves_at_every_scale(scale):
    resolved = resolve({**RAW, "scale": scale})
    assert not scales_left(resolved)
    assert set(resolved) == set(SCHEMA["properties"])
    assert set(resolved["experiments"]) == set(RAW["experiments"])


def test_the_experiment_of_every_scale_is_the_same_but_for_its_size():
    sizes = {"n_particles", "replicates", "times", "keep_clouds"}
    smoke, paper = (resolve({**RAW, "scale": scale})["experiments"] for scale in ("smoke", "paper"))
    for name in smoke:
        for key in set(smoke[name]) - sizes - {"target", "bandwidth"}:
            assert smoke[name][key] == paper[name][key], (name, key)


def test_the_configuration_and_the_schema_know_the_same_keys():
    assert set(RAW) <= set(SCHEMA["properties"])
    used = set().union(*RAW["experiments"].values())
    assert used <= set(SCHEMA["$defs"]["experiment"]["properties"])


def described(schema, path=()):
    """Every schema of a key, with its path."""
    for where in ("properties", "$defs"):
        for key, inner in schema.get(where, {}).items():
            if where == "properties":
                yield (*path, key), inner
            yield from described(inner, (*path, key))
    for where in ("items", "additionalProperties"):
        if isinstance(schema.get(where), dict):
            yield from described(schema[where], path)


def test_every_key_has_a_type_a_sentence_and_more_than_one_letter():
    found = list(described(SCHEMA))
    assert len(found) > 50
    for path, schema in found:
        target = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
        assert {**target, **schema}.get("description", "").endswith("."), path
        assert "type" in target, path
        assert len(path[-1]) > 1, path


def test_the_schema_bounds_every_number():
    def open_ended(schema):
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        bounds = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
        return ("number" in kinds or "integer" in kinds) and not bounds & set(schema)

    free = {path[-1] for path, schema in described(SCHEMA) if open_ended(schema)}
    assert free == {"mean"}


def test_the_scale_chooses_and_nothing_else_changes():
    assert resolve(SMALL)["experiments"]["plane"]["n_particles"] == 8
    assert resolve(changed(scale="paper"))["experiments"]["plane"]["n_particles"] == [32, 64]
    raw = copy.deepcopy(SMALL)
    resolve(raw)
    assert raw == SMALL


def test_defaults_are_filled_in():
    resolved = resolve(SMALL)
    plane, moons = resolved["experiments"]["plane"], resolved["experiments"]["moons"]
    assert resolved["device"] == "auto"
    assert plane["integrator"] == {"method": "dormand_prince", "rtol": 1e-6, "atol": 1e-8}
    assert plane["times"] == {"stop": 1.0, "count": 41, "spacing": "linear"}
    assert (plane["dtype"], plane["leave_one_out"], plane["smooth_target"], plane["replicates"]) == ("float64", False, True, 1)
    assert (plane["name"], plane["start_label"]) == ("plane", "plane")
    assert (moons["name"], moons["start_label"]) == ("moons", "shared")
    assert resolved["field_maps"]["map"]["loops"] == []
    plane["integrator"]["rtol"] = 0.5
    assert resolve(SMALL)["experiments"]["plane"]["integrator"]["rtol"] == 1e-6


def test_the_default_scale_is_paper():
    assert resolve(changed(scale=...))["scale"] == "paper"


P, M = "experiments__plane__", "experiments__moons__"
BAD = {
    "scale": ({"scale": "smok"}, r"scale: 'smok' is unknown \(did you mean 'smoke'\?\); allowed: smoke, paper, full"),
    "unknown key": ({"sead": 1}, r"sead: is unknown \(did you mean 'seed'\?\); allowed: scale"),
    "unknown key inside": ({P + "n_particle": 3}, r"experiments\.plane\.n_particle: is unknown \(did you mean 'n_particles'\?\)"),
    "unknown key of a mixture": ({P + "target__mixture__mean": 3}, r"plane\.target\.mixture\.mean: is unknown"),
    "no experiments": ({"experiments": ...}, r"experiments: is missing \(Simulations by name"),
    "missing key": ({P + "bandwidth": ...}, r"plane\.bandwidth: is missing"),
    "scale with a typo": ({P + "n_particles": {"smoke": 3, "papre": 4}}, r"n_particles\.papre: is unknown \(did you mean 'paper'\?\)"),
    "scale left out": ({P + "n_particles": {"paper": 3}}, r"plane\.n_particles: has no value for scale smoke"),
    "mistyped": ({P + "replicates": "many"}, r"plane\.replicates: 'many' is not allowed; allowed: a whole number"),
    "truth for a number": ({P + "replicates": True}, r"plane\.replicates: True is not allowed; allowed: a whole number"),
    "half a replicate": ({P + "replicates": 1.5}, r"plane\.replicates: 1\.5 is not allowed"),
    "YAML 1.1 number": (
        {P + "bandwidth": "1e-2"},
        r"plane\.bandwidth: '1e-2' is not allowed \(a text: a number with an exponent is written 1\.0e-6\)",
    ),
    "h = 0": ({P + "bandwidth": 0}, r"plane\.bandwidth: 0 is not allowed; allowed: a value > 0"),
    "h < 0 in a list": ({M + "bandwidth": [0.1, -0.2]}, r"moons\.bandwidth\[1\]: -0\.2 is not allowed; allowed: a value > 0"),
    "no h": ({M + "bandwidth": []}, r"moons\.bandwidth: \[\] is not allowed; allowed: at least 1 value"),
    "h NaN": ({P + "bandwidth": float("nan")}, r"plane\.bandwidth: nan is not allowed; finite numbers only"),
    "h infinite": ({M + "bandwidth": [float("inf")]}, r"moons\.bandwidth\[0\]: inf is not allowed"),
    "N = 1": ({P + "n_particles": 1}, r"plane\.n_particles: 1 is not allowed; allowed: a value >= 2"),
    "N twice": ({P + "n_particles": [4, 4]}, r"plane\.n_particles: \[4, 4\] holds a value twice"),
    "N fractional": ({P + "n_particles": [4.5]}, r"plane\.n_particles\[0\]: 4\.5 is not allowed"),
    "unknown field": ({P + "field": "conservativ"}, r"plane\.field: 'conservativ' is not allowed \(did you mean 'conservative'\?\)"),
    "unknown kernel": ({P + "kernel": {"name": "gausian"}}, r"plane\.kernel: unknown kernel 'gausian'; known: gaussian, laplace"),
    "unknown kernel parameter": ({P + "kernel__eps": 1.0}, r"plane\.kernel: kernel 'gaussian' has no parameter 'eps'"),
    "kernel parameter out of range": ({M + "kernel": {"name": "smoothed_laplace", "eps": -1.0}}, r"moons\.kernel: .* needs eps > 0"),
    "kernel table": ({"kernels": [{"name": "gaussian"}, {"name": "cauchy"}]}, r"kernels\[1\]: unknown kernel 'cauchy'"),
    "dimension 0": ({"kernel_dimensions": [0]}, r"kernel_dimensions\[0\]: 0 is not allowed; allowed: a value >= 1"),
    "two targets": ({P + "target__data": {"name": "two_moons"}}, r"plane\.target: needs exactly one of: mixture, data"),
    "no target": ({P + "target": {}}, r"plane\.target: needs exactly one of: mixture, data"),
    "weights and means": ({P + "target__mixture__weights": [1.0]}, r"plane\.target\.mixture: mixture: weights must be 2"),
    "no spread": ({P + "target__mixture__standard_deviations": ...}, r"plane\.target\.mixture: .*exactly one of"),
    "unknown data": ({M + "target__data__name": "two_moon"}, r"moons\.target\.data: unknown data set 'two_moon'; known"),
    "unknown data key": ({M + "target__data__sizes": 3}, r"moons\.target\.data: data set 'two_moons' has no key 'sizes'"),
    "one data point": ({M + "target__data__size": 1}, r"moons\.target\.data\.size: 1 is not allowed; allowed: a value >= 2"),
    "d that the data lacks": (
        {M + "target__data": {"name": "digits", "components": 65}},
        r"moons\.target\.data: data set 'digits': components",
    ),
    "missing file": ({M + "target__data": {"name": "file", "path": "no.csv"}}, r"moons\.target\.data: .*no\.csv.* no such file"),
    "size of a start": ({M + "start__data__size": 5}, r"moons\.start\.data\.size: is not for a start"),
    "dimensions": ({M + "start__data": {"name": "uniform", "dimension": 3}}, r"moons\.start\.data: has 3 components, but the target has 2"),
    "start too long": (
        {P + "start__gaussian__mean": [0.0, 0.0, 0.0]},
        r"plane\.start\.gaussian\.mean: has 3 components, but the target has 2",
    ),
    "entropy from data": (
        {M + "entropy": True},
        r"moons\.entropy: needs the density of the start in closed form; use start: gaussian",
    ),
    "entropy with a kink": (
        {M + "entropy": True, M + "start": {"gaussian": {}}, M + "field": "conservative"},
        r"moons\.entropy: .*'laplace' has no divergence at its kink; allowed kernels: gaussian, matern32",
    ),
    "mixture without closed form": (
        {P + "kernel__name": "matern32", P + "entropy": False},
        r"plane\.kernel: a mixture smoothed by 'matern32'",
    ),
    "mixture in the plane under the Laplace kernel": (
        {P + "kernel__name": "laplace", P + "entropy": False},
        r"plane\.kernel: a mixture smoothed by 'laplace' has no closed form in d = 2; use the gaussian kernel \(in d = 1 also laplace\)",
    ),
    "displacement toward a mixture": (
        {P + "field": "displacement", P + "smooth_target": False, P + "entropy": False},
        r"plane\.field: displacement toward a mixture needs smooth_target: true",
    ),
    "measured without entropy": ({P + "entropy": False, P + "measure": ["entropy"]}, r"plane\.measure: entropy needs entropy: true"),
    "measured under another field": (
        {M + "measure": ["observables"]},
        r"moons\.measure: observables is defined for field: conservative",
    ),
    "entropy of the full displacement field": (
        {M + "measure": ["entropy"]},
        r"moons\.measure: entropy is defined for .* or field: displacement with leave_one_out: true or field: sharp with",
    ),
    "unknown measurement": ({P + "measure": ["entropie"]}, r"plane\.measure\[0\]: 'entropie' is not allowed \(did you mean 'entropy'\?\)"),
    "interval from one replicate": ({P + "measure": ["entropy"], P + "replicates": 1}, r"plane\.replicates: must be at least 2"),
    "rates off the diagonal": ({P + "measure": ["rates"]}, r"plane\.measure: rates needs at least 3 values of n_particles, bandwidth"),
    "pairs of unequal numbers": (
        {P + "paired": True, P + "bandwidth": [0.3, 0.4], P + "n_particles": [8, 16, 32]},
        r"plane\.paired: needs a bandwidth for each of the 3 values of n_particles",
    ),
    "pairs measured on a grid": (
        {P + "paired": True, P + "n_particles": [8], P + "bandwidth": 0.5, P + "measure": ["occupancy"]},
        r"plane\.measure: occupancy needs every combination of bandwidth and n_particles",
    ),
    "coarse sums": (
        {P + "kernel_rtol": 1e-5, P + "integrator": {"rtol": 1e-4}},
        r"plane\.kernel_rtol: 1e-05 is too coarse: .*; at most 1e-06, a hundredth of integrator\.rtol",
    ),
    "sums beyond rounding": ({P + "kernel_rtol": 1e-15}, r"plane\.kernel_rtol: 1e-15 is not allowed; allowed: a value >= 1e-13"),
    "growing bandwidth": ({P + "bandwidth": {"prefactor": 1.0, "exponent": 0.5}}, r"plane\.bandwidth\.exponent: 0\.5 is not allowed"),
    "bandwidth without prefactor": ({P + "bandwidth": {"exponent": -0.5}}, r"plane\.bandwidth\.prefactor: is missing"),
    "log times": (
        {M + "times": {"stop": 1, "spacing": "log"}},
        r"moons\.times\.first: spacing: log needs first between 0 and stop \(1\), not None",
    ),
    "late log times": ({M + "times__first": 2}, r"moons\.times\.first: .*not 2"),
    "one time": ({M + "times__count": 1}, r"moons\.times\.count: 1 is not allowed; allowed: a value >= 2"),
    "Euler without step": ({M + "integrator": {"method": "euler"}}, r"moons\.integrator\.step: is missing"),
    "tolerance": ({M + "integrator": {"rtol": 1}}, r"moons\.integrator\.rtol: 1 is not allowed; allowed: a value < 1"),
    "map of nothing": (
        {"field_maps__map__experiments": ["moon"]},
        r"field_maps\.map\.experiments\[0\]: 'moon' is no experiment \(did you mean 'moons'\?\)",
    ),
    "map in space": (
        {
            "field_maps__map__experiments": ["plane"],
            P + "target__mixture": {"means": [[0.0]], "standard_deviations": [1.0]},
            P + "start__gaussian": {},
        },
        r"field_maps\.map\.experiments\[0\]: 'plane' has d = 1; maps need d = 2",
    ),
    "name with a slash": ({"experiments__a/b": SMALL["experiments"]["moons"]}, r"experiments: 'a/b' is no name for this"),
    "seed": ({"seed": -1}, r"seed: -1 is not allowed; allowed: a value >= 0"),
}


@pytest.mark.parametrize("field", ["displacement", "sharp"])
def test_the_laplace_kernel_smooths_a_mixture_on_the_line(field):
    line = {P + "target__mixture": {"means": [[0.0]], "standard_deviations": [1.0]}, P + "start__gaussian": {}}
    raw = {**line, P + "kernel__name": "laplace", P + "field": field, P + "leave_one_out": True, P + "measure": ["entropy"]}
    known = resolve(changed(**{**raw, P + "replicates": 2}))["experiments"]["plane"]
    assert known["field"] == field and known["smooth_target"]
    with pytest.raises(ValueError, match=r"plane\.field: .* toward a mixture needs smooth_target: true and the gaussian kernel \(in d = 1"):
        resolve(changed(**{**raw, P + "smooth_target": False}))


def test_a_bandwidth_may_follow_the_number_of_particles():
    rule = resolve(changed(**{P + "bandwidth": {"prefactor": 2.0}, P + "n_particles": [8, 64]}))["experiments"]["plane"]["bandwidth"]
    assert rule == pytest.approx([2.0 * 8 ** (-1 / 6), 2.0 * 64 ** (-1 / 6)], rel=1e-14)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_message_that_names_the_key(case):
    changes, message = BAD[case]
    with pytest.raises(ValueError, match=f"^configuration, .*{message}") as caught:
        resolve(changed(**changes))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nan.csv", "1,2\n3,nan\n", "finite"),
        ("ragged.csv", "1,2\n3\n", "cells"),
        ("empty.csv", "", "empty|no rows|no numbers"),
        ("words.csv", "a,b\nc,d\n", "number"),
    ],
)
def test_bad_data_files_are_named_with_the_key(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"^configuration, experiments\.moons\.target\.data: .*{name}.*({message})"):
        resolve(changed(**{M + "target__data": {"name": "file", "path": str(path)}}))


def test_the_users_own_file_is_taken(tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).normal(size=(30, 2)))
    spec = {"name": "file", "path": str(tmp_path / "mine.npy")}
    assert resolve(changed(**{M + "target__data": spec}))["experiments"]["moons"]["target"] == {"data": spec}


@pytest.mark.parametrize("name", kernels.names())
def test_every_kernel_can_be_configured(name):
    found = resolve(changed(**{M + "kernel": {"name": name}, "kernels": [{"name": name}]}))
    assert found["experiments"]["moons"]["kernel"]["name"] == found["kernels"][0]["name"] == name


@pytest.mark.parametrize("name", ["eight_gaussians", "checkerboard", "swiss_roll", "thin_horizontal", "digits"])
def test_data_sets_can_be_configured(name):
    assert name in datasets.NAMES
    assert resolve(changed(**{M + "target__data": {"name": name, "size": 12}}))["experiments"]["moons"]["target"]["data"]["name"] == name


def test_a_gpu_that_is_not_there_is_refused():
    raw = changed(device="gpu")
    assert config.resolve(raw, SCHEMA, check_device=False)["device"] == "gpu"
    if cuda.available():
        assert config.resolve(raw, SCHEMA)["device"] == "gpu"
    else:
        with pytest.raises(ValueError, match=r"^configuration, device: gpu is asked for, but no usable GPU .* use cpu or auto$"):
            config.resolve(raw, SCHEMA)
