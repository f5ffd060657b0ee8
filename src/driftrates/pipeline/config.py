"""From the configuration as written to the values that the stages use; every mistake ends in one message that names its key."""

from __future__ import annotations

import copy
import difflib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from jsonschema import Draft202012Validator, ValidationError, validators

from driftrates import datasets, kernels
from driftrates.messages import one_line, short, shown
from driftrates.pipeline import cost
from driftrates.sums import cuda
from driftrates.targets import mixture_from_config

SCALES = ("smoke", "paper", "full")
FIELDS: dict[str, tuple[tuple[str, bool], ...]] = {
    "occupancy": (),
    "entropy": (("conservative", False), ("displacement", True), ("sharp", True)),
    "coercivity": (("displacement", True),),
}
"""(field, leave_one_out) for which a measurement is defined; () for all; the conservative field with the full KDE where none is given."""

MAGNITUDES = (1e-100, 1e100)
"""Numbers other than 0 lie in this range, so that squares and products of them are finite and positive in double precision."""
LARGEST_WHOLE = 2**53 - 1
"""Above it not every whole number is one in double precision."""
LARGEST_COUNT = 10**7
"""Largest whole number under ``measurements``: no study draws more of anything."""
LARGEST_MEMORY = 2**20
"""MiB that a simulation may be predicted to need; no machine is expected to have more."""
LARGEST_STEPS = 1e9
_DEPTH, _VALUES = 32, 200_000

SUMS_BELOW_STEPS = 0.01
"""Largest kernel_rtol over the rtol of an adaptive integrator. An error e of the sums is one of e / h in the velocity. A step of length t
that is bounded by stability has t ~ s^2 h^2 / 2 for s stages, and sees it as s^2 h e / 2 beside rtol: 10 e for s = 6, h = 1/2."""


def resolve(raw: Mapping[str, Any], schema: Mapping[str, Any], *, check_device: bool = True) -> dict[str, Any]:
    """The configuration at its scale, complete and checked.

    raw: as written, where any value may be ``{smoke: .., paper: .., full: ..}``; schema: JSON schema (draft 2020-12) of the result,
    whose defaults are filled in. Experiments gain their own ``name`` and, if they lack it, ``start_label``. ``check_device=False``
    leaves the presence of a GPU to the machine that runs the job. Raises ``ValueError`` with the key path and what is allowed.
    """
    if not isinstance(raw, Mapping):
        raise _error((), f"{shown(raw)} is not allowed; allowed: a mapping of keys to values")
    scale = raw.get("scale", schema["properties"]["scale"]["default"])
    if scale not in SCALES:
        raise _error(("scale",), f"{shown(scale)} is unknown{_meant(scale, SCALES)}; allowed: {', '.join(SCALES)}")
    config = _at_scale(raw, scale, (), itertools.count())
    _check_numbers(config, ())
    with np.errstate(all="ignore"):
        return _checked(config, schema, check_device)


def _checked(config: dict[str, Any], schema: Mapping[str, Any], check_device: bool) -> dict[str, Any]:
    problems = sorted(_filling(schema).iter_errors(config), key=lambda e: (len(e.absolute_path), [str(p) for p in e.absolute_path]))
    if problems:
        raise _explain(problems[0])
    dimensions = {}
    for name, experiment in config["experiments"].items():
        experiment["name"] = name
        experiment.setdefault("start_label", name)
        dimensions[name] = _check_experiment(("experiments", name), experiment, config["seed"])
    for i, kernel in enumerate(config["kernels"]):
        made = _attempt(("kernels", i), kernels.make, **kernel)
        for d in config["kernel_dimensions"]:
            _attempt(("kernels", i), made.check_dimension, d)
    for name, field_map in config["field_maps"].items():
        _check_field_map(("field_maps", name), field_map, dimensions, config["experiments"])
    if check_device and config["device"] == "gpu" and not cuda.available():
        raise _error(
            ("device",), "gpu is asked for, but no usable GPU with CuPy is here; install an extra (cuda12, cuda13), or use cpu or auto"
        )
    return config


def _at_scale(value: Any, scale: str, path: tuple, visited: Iterator[int]) -> Any:
    # References may nest a short text, or one that holds itself, without bound.
    if len(path) > _DEPTH or next(visited) > _VALUES:
        raise _error(path[:2], f"is too large: at most {_DEPTH} levels and {_VALUES} values in all, with every reference written out")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise _error(path, f"{shown(key)} is no key; keys are texts (quote words that YAML reads otherwise: yes, no, on, off)")
        if set(value) & set(SCALES):
            for key in value:
                if key not in SCALES:
                    raise _error((*path, key), f"is unknown{_meant(key, SCALES)}; beside a scale only {', '.join(SCALES)} are allowed")
            if scale not in value:
                raise _error(path, f"has no value for scale {scale}; give one for each of {', '.join(SCALES)}")
            return _at_scale(value[scale], scale, (*path, scale), visited)
        return {key: _at_scale(v, scale, (*path, key), visited) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_at_scale(v, scale, (*path, i), visited) for i, v in enumerate(value)]
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise _error(path, f"{shown(value)} is not allowed; allowed: numbers, texts, true, false, null, lists and mappings")
    return value


def _check_numbers(value: Any, path: tuple) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _error(path, f"{value} is not allowed; finite numbers only")
    if isinstance(value, (int, float)) and value and not MAGNITUDES[0] <= abs(value) <= MAGNITUDES[1]:
        raise _error(path, f"{shown(value)} is not allowed; allowed: 0, or a magnitude from {MAGNITUDES[0]:g} to {MAGNITUDES[1]:g}")
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise _error(path, f"{shown(value)} is not allowed; whole numbers have a magnitude of at most {LARGEST_WHOLE}")
    if isinstance(value, int) and path[:1] == ("measurements",) and value > LARGEST_COUNT:
        raise _error(path, f"{value} is not allowed; allowed: a value <= {LARGEST_COUNT}")
    for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ():
        _check_numbers(inner, (*path, key))


def _filling(schema: Mapping[str, Any]) -> Any:
    """Validator of ``schema`` that puts the defaults of absent properties in place before it looks at them."""
    check = Draft202012Validator.VALIDATORS["properties"]

    def fill(validator: Any, properties: Mapping, instance: Any, parent: Mapping) -> Iterator[Any]:
        if isinstance(instance, dict):
            for key, sub in properties.items():
                if "default" in sub:
                    instance.setdefault(key, copy.deepcopy(sub["default"]))
        yield from check(validator, properties, instance, parent)

    # To JSON 8.0 is a whole number, to Python it is none.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool))
    return validators.extend(Draft202012Validator, {"properties": fill, "powerOfTwo": _power_of_two}, type_checker=types)(schema)


def _power_of_two(validator: Any, wanted: bool, value: Any, schema: Mapping) -> Iterator[ValidationError]:
    if wanted and isinstance(value, int) and (value < 1 or value & (value - 1)):
        yield ValidationError(f"{value} is no power of two")


def _explain(problem: Any) -> ValueError:
    """The message of a validation error, in the words of the schema."""
    path, rule, schema, value = tuple(problem.absolute_path), problem.validator, problem.schema, problem.instance
    about = f" ({schema['description'].rstrip('.')})" if "description" in schema else ""
    if rule == "additionalProperties":
        allowed = list(schema.get("properties", {}))
        key = next(k for k in value if k not in allowed)
        return _error((*path, key), f"is unknown{_meant(key, allowed)}; allowed: {', '.join(allowed)}")
    if rule == "required":
        key = next(k for k in problem.validator_value if k not in value)
        inner = schema.get("properties", {}).get(key, {}).get("description", "").rstrip(".")
        return _error((*path, key), "is missing" + (f" ({inner})" if inner else ""))
    if rule == "minProperties" and "properties" not in schema:
        return _error(path, f"is empty; at least {problem.validator_value} entry is needed{about}")
    if rule in ("minProperties", "maxProperties"):
        return _error(path, f"needs exactly one of: {', '.join(schema['properties'])}{about}")
    if rule == "pattern":
        return _error(path, f"{shown(value)} is no name for this: letters, digits and _ only, beginning with a letter")
    if rule == "uniqueItems":
        return _error(path, f"{shown(value)} holds a value twice{about}")
    words = {
        "type": lambda v: " or ".join(_TYPES[t] for t in ([v] if isinstance(v, str) else v)),
        "enum": lambda v: "one of: " + ", ".join(map(str, v)),
        "const": lambda v: f"{v}",
        "minimum": lambda v: f"a value >= {v}",
        "exclusiveMinimum": lambda v: f"a value > {v}",
        "maximum": lambda v: f"a value <= {v}",
        "exclusiveMaximum": lambda v: f"a value < {v}",
        "minItems": lambda v: f"at least {v} value{'s' * (v > 1)}",
        "maxItems": lambda v: f"at most {v} value{'s' * (v > 1)}",
        "maxLength": lambda v: f"at most {v} characters",
        "powerOfTwo": lambda v: "a power of two",
        "multipleOf": lambda v: f"a multiple of {v}",
    }
    hint = _meant(value, problem.validator_value) if rule == "enum" else _number_hint(value) if rule == "type" else ""
    allowed = words[rule](problem.validator_value) if rule in words else problem.message
    return _error(path, f"{shown(value)} is not allowed{hint}; allowed: {allowed}{about}")


_TYPES = {
    "number": "a number",
    "integer": "a whole number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def _number_hint(value: Any) -> str:
    """Why a number came in as a text: quotes, or YAML 1.1, which reads 1e-6 so."""
    try:
        float(value)
    except (TypeError, ValueError):
        return ""
    if not isinstance(value, str):
        return ""
    return " (a text: a number with an exponent is written 1.0e-6)" if "e" in value.lower() else " (a text, not a number)"


def _check_experiment(path: tuple, experiment: Mapping[str, Any], seed: int) -> int:
    """The dimension of a sound experiment."""
    kernel = _attempt((*path, "kernel"), kernels.make, **experiment["kernel"])
    target, start = experiment["target"], experiment["start"]
    sizes = np.atleast_1d(experiment["n_particles"])
    if "data" in target:
        points = _attempt((*path, "target", "data"), datasets.load, target["data"], seed=seed)
        d = points.shape[1]
    else:
        d = _attempt((*path, "target", "mixture"), mixture_from_config, target["mixture"]).dimension
        smoothing = "the gaussian kernel (in d = 1 also laplace)"
        closed_form = kernel.name == "gaussian" or (kernel.name == "laplace" and d == 1)
        if experiment["field"] != "conservative" and not (closed_form and experiment["smooth_target"]):
            raise _error(
                (*path, "field"), f"{experiment['field']} toward a mixture needs smooth_target: true and {smoothing}; or give data"
            )
        if experiment["smooth_target"] and not closed_form:
            raise _error(
                (*path, "kernel"), f"a mixture smoothed by {kernel.name!r} has no closed form in d = {d}; use {smoothing}, or give data"
            )
    _attempt((*path, "kernel"), kernel.check_dimension, d)
    if "data" in start:
        if "size" in start["data"]:
            raise _error((*path, "start", "data", "size"), "is not for a start: n_particles says how many are drawn")
        drawn = _attempt((*path, "start", "data"), datasets.load, {**start["data"], "size": int(sizes.max())}, seed=seed)
        if drawn.shape[1] != d:
            raise _error((*path, "start", "data"), f"has {drawn.shape[1]} components, but the target has {d}; both need the same dimension")
    else:
        for key, value in start["gaussian"].items():
            if isinstance(value, list) and len(value) != d:
                raise _error(
                    (*path, "start", "gaussian", key), f"has {len(value)} components, but the target has {d}; give one number or {d}"
                )
    if isinstance(experiment["bandwidth"], Mapping):
        rule = {"exponent": -1 / (d + 4), **experiment["bandwidth"]}
        experiment["bandwidth"] = [float(rule["prefactor"] * n ** rule["exponent"]) for n in sizes.tolist()]
    if experiment["paired"] and np.size(experiment["bandwidth"]) != sizes.size:
        raise _error(
            (*path, "paired"), f"needs a bandwidth for each of the {sizes.size} values of n_particles, or bandwidth: {{prefactor: ..}}"
        )
    _check_measurements((*path, "measure"), experiment)
    if experiment["entropy"]:
        if "data" in start:
            raise _error((*path, "entropy"), "needs the density of the start in closed form; use start: gaussian")
        if experiment["field"] == "conservative" and kernel.smoothness < 2:
            smooth = ", ".join(n for n in kernels.names() if kernels.make(n).smoothness >= 2)
            raise _error(
                (*path, "entropy"),
                f"the conservative field of kernel {kernel.name!r} has no divergence at its kink; allowed kernels: {smooth}",
            )
    times = experiment["times"]
    if times["spacing"] == "log" and not 0 < times.get("first", 0) < times["stop"]:
        raise _error((*path, "times", "first"), f"spacing: log needs first between 0 and stop ({times['stop']}), not {times.get('first')}")
    integrator = experiment["integrator"]
    if integrator["method"] == "euler" and "step" not in integrator:
        raise _error((*path, "integrator", "step"), "is missing; method: euler needs it (a time > 0)")
    if integrator["method"] == "euler" and times["stop"] > LARGEST_STEPS * integrator["step"]:
        raise _error(
            (*path, "integrator", "step"), f"{integrator['step']:g} divides {times['stop']:g} into more than {LARGEST_STEPS:g} steps"
        )
    if times["spacing"] == "log" and times["count"] < 3:
        raise _error((*path, "times", "count"), "spacing: log needs at least 3 times: 0, first and stop")
    memory = cost.flow_memory_mib(experiment, seed=seed)
    if memory > LARGEST_MEMORY:
        raise _error(
            path, f"would need about {memory / 1024:.3g} GiB of memory; reduce n_particles, replicates, keep_clouds or times.count"
        )
    accuracy, allowed = experiment["kernel_rtol"], integrator["rtol"] * SUMS_BELOW_STEPS
    if accuracy is not None and integrator["method"] != "euler" and accuracy > allowed * (1 + 1e-9):
        raise _error(
            (*path, "kernel_rtol"),
            f"{accuracy:g} is too coarse: the integrator would take the errors of the sums for its own; "
            f"at most {allowed:g}, a hundredth of integrator.rtol",
        )
    return d


def _check_measurements(path: tuple, experiment: Mapping[str, Any]) -> None:
    for measurement in experiment["measure"]:
        fields = FIELDS.get(measurement, (("conservative", False),))
        if fields and (experiment["field"], experiment["leave_one_out"]) not in fields:
            allowed = " or ".join(f"field: {name} with leave_one_out: {str(left_out).lower()}" for name, left_out in fields)
            raise _error(path, f"{measurement} is defined for {allowed} only")
        if experiment["paired"] and measurement != "rates":
            raise _error(
                path, f"{measurement} needs every combination of bandwidth and n_particles; with paired: true only rates is defined"
            )
        if measurement in ("entropy", "rates") and not experiment["entropy"]:
            raise _error(path, f"{measurement} needs entropy: true in the same experiment")
    if "entropy" in experiment["measure"] and experiment["replicates"] < 2:
        raise _error((*path[:-1], "replicates"), "must be at least 2, since measure: [entropy] gives an interval over replicates")
    cells = [np.atleast_1d(experiment[key]).size for key in ("n_particles", "bandwidth")]
    if "rates" in experiment["measure"] and (cells[0] != cells[1] or cells[0] < 3 or experiment["replicates"] < 4):
        raise _error(path, "rates needs at least 3 values of n_particles, bandwidth: {prefactor: ..} and at least 4 replicates")


def _check_field_map(path: tuple, field_map: Mapping[str, Any], dimensions: Mapping[str, int], experiments: Mapping[str, Any]) -> None:
    for i, name in enumerate(field_map["experiments"]):
        where = (*path, "experiments", i)
        if name not in dimensions:
            raise _error(where, f"{name!r} is no experiment{_meant(name, dimensions)}; allowed: {', '.join(dimensions)}")
        if dimensions[name] != 2:
            raise _error(where, f"{name!r} has d = {dimensions[name]}; maps need d = 2")
        if experiments[name]["paired"]:
            raise _error(where, f"{name!r} has paired: true; maps need every combination of bandwidth and n_particles")


def _attempt(path: tuple, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        raise _error(path, str(error)) from None


def _meant(word: Any, known: Any) -> str:
    close = difflib.get_close_matches(word, [str(k) for k in known], n=1) if isinstance(word, str) and len(word) < 100 else ()
    return f" (did you mean {close[0]!r}?)" if close else ""


def _error(path: tuple, text: str) -> ValueError:
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{short(p)}" for p in path).removeprefix(".")
    return ValueError(one_line(f"configuration, {where or 'top level'}: {text}"))
