import ast
import shutil
import sys
import threading
from pathlib import Path

import pytest

from driftrates import simulate
from driftrates.measurements import assumptions
from driftrates.pipeline import digest
from driftrates.pipeline.digest import source_digest, used

FILES = {
    "__init__.py": "",
    "base.py": '''
        """Docstring."""
        import math

        STEP = 1.0
        UNUSED = 2.0
        TABLE = {}


        class Base:
            """Docstring."""

            def __init_subclass__(cls):
                TABLE[cls.__name__] = cls


        class Child(Base):
            value = 3


        def half(x: float) -> float:
            """Docstring."""
            return x / 2 * STEP


        def root(x):
            return math.sqrt(x)
        ''',
    "facade/__init__.py": "from driftrates.base import half\n",
    "facade/inner.py": """
        def whole():
            return 1
        """,
    "work.py": """
        from driftrates import base
        from driftrates.facade import half


        def plain(x):
            return half(x)


        def lazily(x):
            from driftrates.facade import inner

            return inner.whole()


        def anything(name):
            return getattr(base, name)


        def lookup(name):
            return base.TABLE[name]


        def by_name(name):
            import importlib

            return importlib.import_module(f"driftrates.chapters.{name}")
        """,
    "chapters/__init__.py": "",
    "chapters/one.py": "def run():\n    return 1\n",
    "chapters/two.py": "def run():\n    return 2\n",
    "decorated.py": """
        KNOWN = {}


        def known(f):
            KNOWN[f.__name__] = f
            return f


        @known
        def entry():
            return 1


        def call(name):
            return KNOWN[name]()
        """,
    "starred/__init__.py": "from driftrates.base import *\n",
    "indirect.py": """
        from typing import TYPE_CHECKING

        from driftrates import starred

        try:
            from driftrates.facade import inner as fast
        except ImportError:
            fast = None

        if TYPE_CHECKING:
            from driftrates import decorated


        def guarded():
            return fast.whole()


        def star(x):
            return starred.half(x)
        """,
    "effects.py": """
        from driftrates import decorated
        from driftrates.base import root


        def idle():
            return 1
        """,
}


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        indent = text.lstrip("\n")
        margin = len(indent) - len(indent.lstrip(" "))
        path.write_text("\n".join(line[margin:] for line in indent.splitlines()) + "\n")
    return folder


@pytest.fixture
def package(tmp_path):
    return write(tmp_path / "driftrates", FILES)


def edited(package, tmp_path, file, old, new):
    copy = tmp_path / "edited" / "driftrates"
    shutil.copytree(package, copy)
    text = (copy / file).read_text()
    assert text.count(old) == 1
    (copy / file).write_text(text.replace(old, new))
    return copy


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("base.py", "import math", "import math  # a comment"),
        ("base.py", "    return x / 2 * STEP", "    # a comment\n    return (x / 2) * STEP"),
        ("base.py", '    """Docstring."""\n    return x / 2', '    """Another."""\n\n    return x / 2'),
        ("base.py", "half(x: float) -> float", "half(x: int) -> int"),
        ("base.py", "UNUSED = 2.0", "UNUSED = 5.0"),
        ("base.py", "return math.sqrt(x)", "return math.cbrt(x)"),
        ("work.py", "return inner.whole()", "return inner.whole() + 1"),
        ("facade/inner.py", "return 1", "return 2"),
    ],
)
def test_what_does_not_matter_leaves_the_digest(package, tmp_path, file, old, new):
    copy = edited(package, tmp_path, file, old, new)
    assert source_digest("driftrates.work:plain", root=package) == source_digest("driftrates.work:plain", root=copy)


@pytest.mark.parametrize(
    ("entry", "file", "old", "new"),
    [
        ("driftrates.work:plain", "work.py", "return half(x)", "return half(-x)"),
        ("driftrates.work:plain", "base.py", "x / 2", "x / 3"),
        ("driftrates.work:plain", "base.py", "STEP = 1.0", "STEP = 1.5"),
        ("driftrates.work:plain", "facade/__init__.py", "half", "root as half"),
        ("driftrates.work:lazily", "facade/inner.py", "return 1", "return 2"),
        ("driftrates.work:anything", "base.py", "return math.sqrt(x)", "return math.cbrt(x)"),
        ("driftrates.work:lookup", "base.py", "value = 3", "value = 4"),
        ("driftrates.work:by_name", "chapters/one.py", "return 1", "return 3"),
        ("driftrates.base:root", "base.py", "import math", "import cmath as math"),
        ("driftrates.decorated:call", "decorated.py", "return 1", "return 2"),
        ("driftrates.effects:idle", "decorated.py", "return 1", "return 2"),
        ("driftrates.indirect:guarded", "facade/inner.py", "return 1", "return 2"),
        ("driftrates.indirect:star", "base.py", "x / 2", "x / 3"),
        ("driftrates.base", "base.py", "UNUSED = 2.0", "UNUSED = 5.0"),
    ],
)
def test_what_matters_changes_the_digest(package, tmp_path, entry, file, old, new):
    copy = edited(package, tmp_path, file, old, new)
    assert source_digest(entry, root=package) != source_digest(entry, root=copy)


def test_imports_for_type_checkers_do_not_count(package):
    assert "driftrates.decorated" not in used("driftrates.indirect:guarded", root=package)


def test_a_module_loaded_by_name_is_the_one_that_is_named(package, tmp_path):
    copy = edited(package, tmp_path, "chapters/two.py", "return 2", "return 3")
    for chapter, same in (("one", True), ("two", False)):
        entries = ("driftrates.work:by_name", f"driftrates.chapters.{chapter}")
        assert (source_digest(*entries, root=package) == source_digest(*entries, root=copy)) is same


def test_a_script_counts_with_what_it_uses_beside_it(package, tmp_path):
    def scripts(name, beside):
        files = {"stage.py": "from beside import help\nfrom driftrates.work import plain\nhelp(plain)\n", "beside.py": beside}
        return write(tmp_path / name, files) / "stage.py"

    text = "def help(f):\n    return f\n\n\ndef other():\n    return 1\n"
    first = source_digest(scripts("a", text), root=package)
    assert first == source_digest(scripts("b", text.replace("return 1", "return 2")), root=package)
    assert first != source_digest(scripts("c", text.replace("return f", "return f()")), root=package)
    copy = edited(package, tmp_path, "base.py", "x / 2", "x / 3")
    assert first != source_digest(tmp_path / "a" / "stage.py", root=copy)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("driftrates.nothing", "defines no 'driftrates.nothing'"),
        ("driftrates.work:nothing", "defines no 'driftrates.work:nothing'"),
        ("nowhere/script.py", "no script 'nowhere/script.py'"),
    ],
)
def test_unknown_entries(package, entry, message):
    with pytest.raises(ValueError, match=message):
        source_digest(entry, root=package)


def test_code_that_is_no_python_is_named(tmp_path):
    root = write(tmp_path / "driftrates", {"broken.py": "def f(:\n"})
    with pytest.raises(ValueError, match=r"broken\.py, line 1"):
        source_digest("driftrates.broken", root=root)


def executed(function):
    """(module, top-level definition) of every function of the package that runs during ``function()``: what the closure must cover."""
    found = set()

    def note(frame, event, argument):
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname.partition(".")[0]
        written = frame.f_code.co_filename.endswith(".py") and not name.startswith("<")
        if event == "call" and module.startswith("driftrates") and written:
            found.add((module, name))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


EXPERIMENT = {
    "name": "tiny",
    "target": {"mixture": {"means": [[0.0, 0.0]], "standard_deviations": [1.0]}},
    "smooth_target": True,
    "start": {"gaussian": {"mean": 0.0, "standard_deviation": 1.5}},
    "field": "conservative",
    "leave_one_out": False,
    "kernel": {"name": "matern52"},
    "bandwidth": 0.5,
    "n_particles": 5,
    "replicates": 2,
    "times": {"stop": 0.1, "count": 2, "spacing": "linear"},
    "integrator": {"method": "rkc", "rtol": 1e-4, "atol": 1e-6},
    "dtype": "float64",
    "entropy": False,
    "keep_clouds": 2,
}


@pytest.mark.parametrize(
    ("entry", "call"),
    [
        ("driftrates.simulate:simulate_flow", lambda: simulate.simulate_flow({**EXPERIMENT, "kernel": {"name": "gaussian"}}, seed=1)),
        (
            "driftrates.simulate:simulate_flow",
            lambda: simulate.simulate_flow(
                {**EXPERIMENT, "target": {"data": {"name": "two_moons", "size": 8}}, "start": {"data": {"name": "uniform"}}}, seed=1
            ),
        ),
        (
            "driftrates.measurements.assumptions:tabulate_kernels",
            lambda: assumptions.tabulate_kernels([{"name": "inverse_multiquadric", "dof": 4}], [2]),
        ),
    ],
)
def test_everything_that_runs_is_in_the_closure(entry, call):
    ran = executed(call)
    closure = {(module, name) for module, names in used(entry).items() for name in names}
    assert len(ran) > 5
    assert ran <= closure, sorted(ran - closure)


def test_the_closure_is_not_everything():
    assert set(used("driftrates.expressions:names_in")) == {"driftrates.expressions", "driftrates.messages"}
    assert "evaluate" not in used("driftrates.expressions:names_in")["driftrates.expressions"]
    assert not {"driftrates.simulate", "driftrates.targets"} & set(used("driftrates.measurements.assumptions:tabulate_kernels"))


def test_digest_of_this_package_is_stable_between_calls():
    digest._sources.cache_clear()
    first = source_digest("driftrates.kernels:make")
    digest._sources.cache_clear()
    assert first == source_digest("driftrates.kernels:make", root=Path(digest.__file__).parents[1])


def test_the_text_of_a_syntax_tree_has_no_field_that_only_some_versions_of_python_know():
    tree = ast.parse("@cache\ndef f(a, *, b=None):\n    return g([], a, not b) or f'{a:.2f}'\n")
    assert digest._dumped(tree) == (
        "Module(body=[FunctionDef(name='f', args=arguments(args=[arg(arg='a')], kwonlyargs=[arg(arg='b')], kw_defaults=[Constant()]), "
        "body=[Return(value=BoolOp(op=Or(), values=[Call(func=Name(id='g', ctx=Load()), args=[List(ctx=Load()), Name(id='a', ctx=Load()), "
        "UnaryOp(op=Not(), operand=Name(id='b', ctx=Load()))]), JoinedStr(values=[FormattedValue(value=Name(id='a', ctx=Load()), "
        "conversion=-1, format_spec=JoinedStr(values=[Constant(value='.2f')]))])]))], decorator_list=[Name(id='cache', ctx=Load())])])"
    )
