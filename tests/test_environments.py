"""The lists of packages agree: pyproject.toml, the pins, the conda files, the imports; and the README's commands with them."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(r) for r in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(r) for r in rs] for name, rs in PROJECT["optional-dependencies"].items()}
BENCH = EXTRAS.pop("bench")
"""The peers of the benchmarks have pins of their own."""
PINS = [Requirement(line) for line in (ROOT / "envs/pins.txt").read_text().splitlines() if not line.startswith("#")]

PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
ENVIRONMENTS = [
    {
        "python_version": v,
        "python_full_version": f"{v}.0",
        "sys_platform": s,
        "platform_system": n,
        "platform_machine": m,
    }
    for v in PYTHONS
    for s, n, m in PLATFORMS
]

CONDA = {"matplotlib": "matplotlib-base", "seaborn": "seaborn-base", "snakemake": "snakemake-minimal", "typst": "typst-py"}
CONDA_CUDA = {"cpu": None, "cuda12": "12", "cuda13": "13"}
"""Conda files and the major version of CUDA in each."""

DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "netCDF4": "netcdf4", "ot": "pot", "cuda": "cuda-bindings"}
DISTRIBUTIONS |= {"xdist": "pytest-xdist"}
"""Distributions whose name is not that of the module."""

NOT_IMPORTED = {
    "netcdf4": "the engine by which xarray reads and writes NetCDF-4",
    "snakemake": "the command that runs the workflow",
    "tabulate": "pandas writes Markdown tables with it",
}
NOT_IMPORTED_BY_TESTS = {
    "nvidia-cuda-nvdisasm": "a command",
    "nvidia-cuda-nvrtc-cu12": "the library behind cuda-bindings",
    "ruff": "a command",
    "snakefmt": "a command",
}


def name_of(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)


def holds(requirement: Requirement, environment: dict[str, str], extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def pinned(environment: dict[str, str]) -> dict[str, Version]:
    """Name and version of what the pins install in an environment."""
    chosen = [p for p in PINS if holds(p, environment)]
    names = [name_of(p) for p in chosen]
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
    return {name_of(p): Version(next(iter(p.specifier)).version) for p in chosen}


def imports(*files: Path) -> set[str]:
    """Distributions that the files import, without the standard library, this package and the files' neighbours."""
    modules: set[str] = set()
    for file in files:
        if file.suffix == ".smk" or file.name == "Snakefile":
            modules |= set(re.findall(r"^\s*(?:import|from)\s+(\w+)", file.read_text(), re.MULTILINE))
            continue
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                modules |= {a.name.split(".")[0] for a in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "importorskip" and isinstance(node.args[0], ast.Constant):
                modules.add(node.args[0].value.split(".")[0])
    modules -= {*sys.stdlib_module_names, "driftrates", *(f.stem for f in files)}
    return {canonicalize_name(DISTRIBUTIONS.get(m, m)) for m in modules}


def test_pins_are_exact_and_without_addresses():
    text = (ROOT / "envs/pins.txt").read_text()
    assert "://" not in text and "--hash" not in text
    assert not [line for line in text.splitlines() if line.startswith("-")]
    for pin in PINS:
        assert pin.url is None and not pin.extras, pin
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, pin


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: f"{e['python_version']}-{e['sys_platform']}-{e['platform_machine']}")
def test_every_direct_dependency_is_pinned_within_its_bounds(environment):
    pins = pinned(environment)
    direct = [r for r in [*RUNTIME, *sum(EXTRAS.values(), [])] if holds(r, environment)]
    assert len(direct) > len(RUNTIME)
    assert not [r.name for r in direct if name_of(r) not in pins]
    assert not [f"{r}: {pins[name_of(r)]}" for r in direct if pins[name_of(r)] not in r.specifier]


def test_every_dependency_has_a_lower_bound():
    for requirement in [*RUNTIME, *sum(EXTRAS.values(), [])]:
        assert [s for s in requirement.specifier if s.operator == ">="], requirement
    for requirement in RUNTIME:
        assert {s.operator for s in requirement.specifier} == {">="}, requirement
        assert requirement.marker is None or name_of(requirement) == "finufft", requirement
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


def test_transitive_dependencies_are_pinned():
    """Walks the packages installed here; those of extras that are not installed end the walk at the direct dependency."""
    pins = pinned({})
    installed = {canonicalize_name(d.name): d for d in importlib.metadata.distributions()}
    waiting = [r for r in [*RUNTIME, *sum(EXTRAS.values(), [])] if holds(r, {})]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            if (name_of(requirement), extra) in seen:
                continue
            seen.add((name_of(requirement), extra))
            distribution = installed.get(name_of(requirement))
            needs = [Requirement(r) for r in distribution.requires or ()] if distribution else []
            waiting += [r for r in needs if holds(r, {}, extra)]
    needed = {name for name, _ in seen}
    assert len(needed) > 2 * len(RUNTIME)
    assert not sorted(needed - set(pins))
    assert not sorted(set(pins) & set(installed) - needed), "pins that nothing needs"


def test_package_is_installed_from_here():
    assert importlib.metadata.version("driftrates") == PROJECT["version"], "run: pip install -c envs/pins.txt -e '.[test]'"
    assert shutil.which("snakemake", path=Path(sys.executable).parent), "the command snakemake is not beside Python"


@pytest.mark.parametrize("name", CONDA_CUDA)
def test_conda_file_equals_pins(name):
    text = (ROOT / f"envs/{name}.yaml").read_text()
    assert "://" not in text
    content = yaml.safe_load(text)
    assert content["channels"] == ["conda-forge", "bioconda", "nodefaults"]
    versions = dict(d.split("=") for d in content["dependencies"] if d != "pip")
    pins = {name: str(version) for name, version in pinned(ENVIRONMENTS[0]).items()}
    assert versions.pop("python") in PYTHONS
    major = CONDA_CUDA[name]
    if major:
        assert versions.pop("cuda-version").split(".")[0] == major
        assert versions.pop("cupy") == pins[f"cupy-cuda{major}x"]
    assert versions.pop("pygments") == pins["pygments"], "Snakemake's extra `reports`"
    assert versions == {CONDA.get(name_of(r), name_of(r)): pins[name_of(r)] for r in RUNTIME}


def test_peers_of_the_benchmarks_have_exact_pins_without_addresses():
    text = (ROOT / "benchmarks/pins.txt").read_text()
    assert "://" not in text and "--hash" not in text
    pins = [Requirement(line) for line in text.splitlines() if not line.startswith("#")]
    versions = {name_of(p): Version(next(iter(p.specifier)).version) for p in pins}
    assert len(versions) == len(pins) and {s.operator for p in pins for s in p.specifier} == {"=="}
    for requirement in BENCH:
        assert [s.operator for s in requirement.specifier] == [">="] and versions[name_of(requirement)] in requirement.specifier
    assert set(versions) & set(pinned({})) <= {"mpmath"}, "an installation of both would have two versions"


def test_cuda_extras_name_the_same_libraries():
    libraries = {n: {re.sub(r"-cu12$|-cuda1\dx$", "", r.name) for r in EXTRAS[n]} for n in ("cuda12", "cuda13")}
    assert libraries["cuda12"] - {"cufinufft"} == libraries["cuda13"]


def test_imports_are_declared():
    package = imports(*ROOT.glob("src/**/*.py"))
    workflow = imports(*ROOT.glob("workflow/**/*.py"), *ROOT.glob("workflow/**/*.smk"), ROOT / "Snakefile")
    runtime = {name_of(r) for r in RUNTIME}
    assert {"numpy", "scipy"} <= package
    assert "snakemake" not in package, "the library does not know Snakemake"
    assert not sorted(package - runtime - {"cupy", "cufinufft"})
    assert not sorted(workflow - runtime)
    assert sorted(runtime - package - workflow) == sorted(n for n in NOT_IMPORTED if n not in workflow)
    assert not set(NOT_IMPORTED) & package


def test_imports_of_the_tests_are_declared():
    used = imports(*ROOT.glob("tests/**/*.py"))
    test = {name_of(r) for r in EXTRAS["test"]}
    assert not sorted(used - test - {name_of(r) for r in RUNTIME} - {"cupy"})
    assert sorted(test - used) == sorted(NOT_IMPORTED_BY_TESTS)


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert [i["value"] for r in citation["references"] for i in r["identifiers"]] == ["arXiv:2605.22795", "arXiv:2603.09936"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    # The Citation File Format 1.2.0 requires these keys, allows these types, and people have family names, entities a name.
    assert {"authors", "cff-version", "message", "title"} <= set(citation)
    assert citation["type"] in {"software", "dataset"}
    for work in [citation, *citation["references"]]:
        assert work["authors"] and all({"family-names", "given-names"} == set(a) or {"name"} == set(a) for a in work["authors"])
        assert isinstance(work["title"], str) and work["title"]
    for reference in citation["references"]:
        assert reference["type"] == "article" and isinstance(reference["year"], int)
        assert all(i["type"] in {"doi", "url", "swh", "other"} for i in reference["identifiers"])


def test_workflow_catalog_file():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert "pip install -c envs/pins.txt -e ." in usage["mandatory-flags"]["desc"]
    deployment = usage["software-stack-deployment"]
    assert set(deployment) == {"conda", "apptainer", "apptainer+conda", "report"}
    assert all(isinstance(value, bool) for value in deployment.values())
    rules = (ROOT / "workflow").glob("rules/*.smk")
    named = {ROOT / "workflow/rules" / path for rule in rules for path in re.findall(r'"(\S+/envs/\w+\.yaml)"', rule.read_text())}
    assert named and all(path.is_file() for path in named)


def test_readme_and_ci_run_the_same_commands():
    readme = (ROOT / "README.md").read_text()
    reproduce, test = "pip install -c envs/pins.txt -e . && snakemake --cores all", "pip install -c envs/pins.txt -e '.[test]' && pytest"
    for command in (reproduce, test):
        assert re.search(rf"^{re.escape(command)}( *#.*)?$", readme, re.MULTILINE), command
    assert f'"{test}"\n' in (ROOT / ".ci/run").read_text()
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_ci_names_a_missing_python(tmp_path):
    for name in ("python3", "python3.11"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "dirname").symlink_to(shutil.which("dirname"))
    environment = {"PATH": str(tmp_path), "TMPDIR": str(tmp_path / "unused")}
    command = [shutil.which("bash"), ROOT / ".ci/run"]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith(".ci/run: found no Python >= 3.11")
    assert run.stdout == ""


def test_ci_goes_on_where_packages_cannot_be_installed(tmp_path):
    """As root, with a package manager that fails; ended where the environment would be made."""
    scripts = {
        "python3": 'case "$2" in -c) echo "$0";; -m) exit 7;; *) echo Python;; esac',
        "id": "echo 0",
        "apt-get": 'echo "$*" >> calls; echo no network; exit 100',
    }
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("dirname", "mktemp", "rm", "tail", "timeout"):
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    run = subprocess.run([shutil.which("bash"), ".ci/run"], env={"PATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 7, run.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "update" and [c.split()[-1] for c in calls[1:]] == ["munge", "chromium-driver"]
    assert "could not install slurmctld slurmd slurm-client munge (no network)" in run.stderr
    assert "could not install chromium chromium-driver (no network)" in run.stderr
