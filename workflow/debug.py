"""Run the script of one job in this process: for a debugger, a profiler, or prints that are seen at once.

    python -m pdb workflow/debug.py measure_entropy experiment=entropy_d1 --config scale=smoke

The job is the one that Snakemake would run: its inputs, parameters, threads and resources. Nothing goes to its log, and its outputs go to a
folder of their own, so that no result is touched; what it reads has to be there. Called where `snakemake` is called.
"""

import argparse
import difflib
import os
import re
import runpy
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import yaml
from snakemake.api import SnakemakeApi
from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Log, OutputFiles, Snakemake
from snakemake.jobs import Job
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"


def main(arguments=None):
    options = parse(arguments)
    script, job = prepare(options)
    for path in job.output:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), init_globals={"snakemake": job})
    print("written:", *job.output, sep="\n  ")


def parse(arguments):
    def assignment(text):
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
        return name, value

    parser = argparse.ArgumentParser(prog="workflow/debug.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rule", help="name of a rule, as Snakemake prints it")
    parser.add_argument("wildcards", nargs="*", type=assignment, metavar="WILDCARD=VALUE", help="what stands for the rule's wildcards")
    parser.add_argument("--config", nargs="+", default=[], type=assignment, metavar="KEY=VALUE", help="as for snakemake")
    parser.add_argument("--configfile", nargs="+", default=[], type=Path, metavar="FILE", help="as for snakemake")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where outputs go (a new temporary folder if left out)")
    return parser.parse_args(arguments)


def prepare(options):
    """Path of the script and the object ``snakemake`` that it finds; exits with one message where there is no such job."""
    config = {key: yaml.safe_load(value) for key, value in options.config}
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        try:
            workflow = api.workflow(
                ResourceSettings(cores=os.cpu_count()),
                config_settings=ConfigSettings(config=config, configfiles=options.configfile),
                snakefile=SNAKEFILE,
            )._workflow
            rule = choose(options.rule, {rule.name: rule for rule in workflow.rules})
            job = Job(rule, SimpleNamespace(workflow=workflow), check(dict(options.wildcards), rule, workflow))
            missing = [path for path in job.input if not Path(path).exists()]
            if missing:
                again = [f"--config {' '.join('='.join(pair) for pair in options.config)}"] * bool(options.config)
                again += [f"--configfile {' '.join(map(str, options.configfile))}"] * bool(options.configfile)
                command = " ".join(["snakemake --cores all", *again, "--", *missing])
                raise WorkflowError(f"rule {rule.name} reads what is not there yet; to make it:\n{command}")
            folder = (options.output or Path(tempfile.mkdtemp(prefix="driftrates-"))).absolute()
            output = OutputFiles(toclone=job.output, custom_map=lambda path: str(folder / path.lstrip(os.sep)))
            given = (job.input, output, job.params, job.wildcards, job.threads, job.resources, Log(), workflow.config, rule.name, None)
            return Path(rule.basedir.join(rule.script).get_path_or_uri(secret_free=True)).resolve(), Snakemake(*given)
        except (WorkflowError, OSError) as error:
            sys.exit(str(error))


def choose(name, rules):
    if name not in rules:
        raise WorkflowError(f"there is no rule {name!r}{alike(name, rules)}")
    if rules[name].script is None:
        raise WorkflowError(f"rule {name} runs no script; what it asks for is made by other rules: snakemake -n {name} shows them")
    return rules[name]


def check(wildcards, rule, workflow):
    """The wildcards of the rule; each name is one of its own, and each value one that it allows."""
    if set(wildcards) != rule.wildcard_names:
        wanted = " ".join(f"{name}=.." for name in sorted(rule.wildcard_names)) or "no wildcards"
        raise WorkflowError(f"rule {rule.name} takes {wanted}, not {' '.join(sorted(wildcards)) or 'none'}")
    for name, value in wildcards.items():
        allowed = {**workflow.wildcard_constraints, **rule.wildcard_constraints}.get(name, ".+")
        if not re.fullmatch(allowed, value):
            raise WorkflowError(f"{name}={value} is not allowed{alike(value, allowed.split('|'))}")
    return wildcards


def alike(name, known):
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


if __name__ == "__main__":
    main()
