"""Digests of source code: what a stage of the workflow really uses, and nothing else.

The package is read, never imported. From an entry the names used are followed from definition to definition, through
imports (also those inside functions) and attributes of modules; the syntax trees met are hashed without comments,
docstrings and the annotations of functions. Where a name cannot be followed the whole module counts. What a module runs
while it is imported (registering decorators and base classes, for example) counts as soon as anything of it is used.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "driftrates"

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_WHOLE, _ENTERED = "*", ""
"""In place of a name: the whole module; or only what the module runs while it is imported."""

_Reference = tuple[str, str]
"""(module, name bound at its top level)."""


class _Strip(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> Any:
        """Imports for type checkers do not run."""
        name = getattr(node.test, "id", getattr(node.test, "attr", ""))
        return self.generic_visit(node) if name != "TYPE_CHECKING" else [self.visit(n) for n in node.orelse] or ast.Pass()

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """``node`` and what runs with it: all below it but the bodies of functions."""
    yield node
    for child in ast.iter_child_nodes(node):
        body = isinstance(node, (*_FUNCTIONS, ast.Lambda)) and child is not node.args and child not in getattr(node, "decorator_list", ())
        if not body:
            yield from _at_import(child)


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement binds."""
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return {statement.name}
    names: set[str] = set()
    for node in _at_import(statement):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, _IMPORTS):
            names |= {a.asname or a.name.split(".")[0] for a in node.names}
    return names


class _Module:
    """A source file: its top-level statements (imports split name by name) and which of them bind each name."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.statements: list[ast.stmt] = []
        for node in _Strip().visit(ast.parse(path.read_bytes(), filename=str(path))).body:
            if isinstance(node, ast.Import):
                self.statements += [ast.Import([a]) for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                self.statements += [ast.ImportFrom(node.module, [a], node.level) for a in node.names]
            elif not isinstance(node, ast.Pass):
                self.statements.append(node)
        self.bindings: dict[str, list[int]] = {}
        for i, statement in enumerate(self.statements):
            for bound in _bound(statement):
                self.bindings.setdefault(bound, []).append(i)

    def absolute(self, module: str | None, level: int) -> str:
        """Dotted name of a module written with ``level`` leading dots."""
        parts = self.name.split(".")
        base = parts[: len(parts) - level + (self.path.stem == "__init__")] if level else []
        return ".".join([*base, *([module] if module else [])])


class _Sources:
    """The modules of the package at ``root``, and scripts beside it, as a graph of definitions."""

    def __init__(self, root: Path) -> None:
        self.modules: dict[str, _Module] = {}
        self.effects = cache(self._effects)
        self.uses = cache(self._uses)
        for path in sorted(root.rglob("*.py")):
            parts = (PACKAGE, *path.relative_to(root).with_suffix("").parts)
            name = ".".join(parts[:-1] if path.stem == "__init__" else parts)
            self.modules[name] = _Module(path, name)

    def add_script(self, path: Path) -> str:
        """Read a file outside the package, and every file of its folder, which it may import."""
        for beside in sorted(path.parent.glob("*.py")):
            if beside.stem not in self.modules or self.modules[beside.stem].path != beside:
                self.modules[beside.stem] = _Module(beside, beside.stem)
                self.effects.cache_clear()
                self.uses.cache_clear()
        return path.stem

    def imported(self, module: _Module, node: ast.Import | ast.ImportFrom) -> dict[str, _Reference]:
        """What an import binds, as far as it is read here."""
        out: dict[str, _Reference] = {}
        for alias in node.names:
            if isinstance(node, ast.Import):
                reference = (alias.name if alias.asname else alias.name.split(".")[0], _WHOLE)
            else:
                source = module.absolute(node.module, node.level)
                inner = f"{source}.{alias.name}"
                defined = (
                    source in self.modules and alias.name in self.modules[source].bindings and not self.is_import((source, alias.name))
                )
                reference = (inner, _WHOLE) if inner in self.modules and not defined else (source, alias.name)
            if reference[0] in self.modules:
                out[alias.asname or alias.name.split(".")[0]] = reference
        return out

    def resolve(self, reference: _Reference) -> _Reference:
        """The definition behind a name, through re-exports, or the import of what lies outside."""
        module, name = self.modules[reference[0]], reference[1]
        if name in (_WHOLE, _ENTERED):
            return reference
        if name not in module.bindings:
            inner = f"{module.name}.{name}"
            return (inner if inner in self.modules else module.name, _WHOLE)
        statement = module.statements[module.bindings[name][0]]
        if not isinstance(statement, _IMPORTS):
            return reference
        target = self.imported(module, statement).get(name)
        return self.resolve(target) if target else reference

    def references(self, module: _Module, statement: ast.stmt, nodes: Iterable[ast.AST]) -> set[_Reference]:
        """What ``nodes``, from ``statement`` of ``module``, refer to."""
        local: dict[str, set[_Reference]] = {}
        for node in ast.walk(statement):
            for name, reference in self.imported(module, node).items() if isinstance(node, _IMPORTS) else ():
                local.setdefault(name, set()).add(reference)
        found: set[_Reference] = set()
        inside: set[int] = set()
        for node in nodes:
            if id(node) in inside:
                continue
            attributes: list[str] = []
            while isinstance(node, ast.Attribute):
                attributes.append(node.attr)
                node = node.value
                inside.add(id(node))
            if not isinstance(node, ast.Name):
                continue
            if node.id in ("globals", "vars") and node.id not in module.bindings:
                found.add((module.name, _WHOLE))
            for target in local.get(node.id) or ({(module.name, node.id)} if node.id in module.bindings else ()):
                target = self.resolve(target)
                for attribute in reversed(attributes):
                    if target[1] == _WHOLE:
                        target = self.resolve((target[0], attribute))
                found.add(target)
        return found

    def loaded(self, module: _Module, statement: ast.stmt, named: set[str]) -> set[_Reference]:
        """Modules loaded by a computed name: those among ``named`` that begin like it, else all that do."""
        found: set[_Reference] = set()
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and node.args and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
                text = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
                start = str(text.value) if isinstance(text, ast.Constant) else PACKAGE
                below = {name for name in self.modules if name.startswith(start)}
                found |= {(name, _WHOLE) for name in below if not below & named}
        return found

    def _uses(self, name: str, i: int) -> frozenset[_Reference]:
        """What statement ``i`` of a module refers to; imports inside a compound statement count as used."""
        module, statement = self.modules[name], self.modules[name].statements[i]
        found = self.references(module, statement, ast.walk(statement))
        if not isinstance(statement, _IMPORTS):
            for node in _at_import(statement):
                found |= set(self.imported(module, node).values()) if isinstance(node, _IMPORTS) else set()
        return frozenset(found)

    def _effects(self, name: str) -> tuple[int, ...]:
        """The statements of a module for which importing it does more than to bind a name."""
        module = self.modules[name]
        used = {n.id for s in module.statements for n in ast.walk(s) if isinstance(n, ast.Name)}
        return tuple(i for i, statement in enumerate(module.statements) if self.runs_at_import(module, statement, used))

    def runs_at_import(self, module: _Module, statement: ast.stmt, used: set[str]) -> bool:
        """Whether ``statement`` runs package code, or imports it without using it; ``used``: the names that ``module`` uses."""
        if isinstance(statement, _IMPORTS):
            for_effect = not _bound(statement) & used and (module.path.stem != "__init__" or _bound(statement) == {"*"})
            return for_effect and bool(self.imported(module, statement))
        if not _bound(statement):
            return True
        nodes = list(_at_import(statement))
        called = [n.func for n in nodes if isinstance(n, ast.Call)] + [d for n in nodes for d in getattr(n, "decorator_list", ())]
        own = {r for r in self.references(module, statement, called) if not self.is_import(r)}
        return bool(own) or self.registers(module, statement)

    def is_import(self, reference: _Reference) -> bool:
        """Whether a resolved name is bound by an import, that is, from outside."""
        module, name = self.modules[reference[0]], reference[1]
        return name in module.bindings and isinstance(module.statements[module.bindings[name][0]], _IMPORTS)

    def registers(self, module: _Module, statement: ast.stmt) -> bool:
        """Whether a class statement calls an ``__init_subclass__`` of the package."""
        for base, name in self.references(module, statement, getattr(statement, "bases", ())):
            for parent in (self.modules[base].statements[i] for i in self.modules[base].bindings.get(name, ())):
                hooks = {getattr(n, "name", "") for n in getattr(parent, "body", ())}
                if "__init_subclass__" in hooks or self.registers(self.modules[base], parent):
                    return True
        return False

    def closure(self, entries: Iterable[_Reference]) -> set[tuple[str, int]]:
        """The (module, statement) that the entries use."""
        waiting = list(entries)
        named = {module for module, _ in waiting}
        reached: set[tuple[str, int]] = set()
        seen: set[_Reference] = set()
        while waiting:
            reference = waiting.pop()
            if reference in seen:
                continue
            seen.add(reference)
            module, name = self.modules[reference[0]], reference[1]
            everything = range(len(module.statements))
            if name == _ENTERED:
                wanted = self.effects(module.name)
                if module.name.rpartition(".")[0] in self.modules:
                    waiting.append((module.name.rpartition(".")[0], _ENTERED))
            else:
                wanted = everything if name == _WHOLE else module.bindings[name]
                waiting.append((module.name, _ENTERED))
            for i in wanted:
                statement = module.statements[i]
                reached.add((module.name, i))
                waiting += self.uses(module.name, i) | self.loaded(module, statement, named)
                if isinstance(statement, _IMPORTS) and name == _ENTERED:
                    waiting += self.imported(module, statement).values()
        return reached


@cache
def _sources(root: Path) -> _Sources:
    return _Sources(root)


def used(*entries: str | Path, root: Path | None = None) -> dict[str, list[str]]:
    """What `source_digest` hashes: for each module the definitions used (names, or the first line of other statements)."""
    out: dict[str, list[str]] = {}
    for module, statement in _closure(entries, root):
        names = sorted(_bound(statement)) or [ast.unparse(statement).splitlines()[0]]
        out.setdefault(module, []).extend(names)
    return out


def source_digest(*entries: str | Path, root: Path | None = None) -> str:
    """Hash (32 hexadecimal digits) of all code that the entries use.

    An entry is ``"package.module:definition"``, ``"package.module"`` for a whole module, or the path of a script outside
    the package, which counts as a whole together with what it uses of the files beside it. A module that the code loads
    by a computed name must be an entry; else all modules that the name may mean are taken. ``root`` is the folder of
    the package (default: this one). Raises ``ValueError`` for an entry that does not exist or code that is no Python.
    """
    text = "\n".join(f"{module} {_dumped(statement)}" for module, statement in _closure(entries, root))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _dumped(value: Any) -> str:
    """A syntax tree as text that is the same for every version of Python: `ast.dump` writes fields that are empty in some of them."""
    if isinstance(value, list):
        return f"[{', '.join(map(_dumped, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = ((name, inner) for name, inner in ast.iter_fields(value) if inner is not None and inner != [])
    return f"{type(value).__name__}({', '.join(f'{name}={_dumped(inner)}' for name, inner in fields)})"


def _closure(entries: Iterable[str | Path], root: Path | None) -> list[tuple[str, ast.stmt]]:
    root = Path(__file__).parents[1] if root is None else Path(root)
    try:
        sources = _sources(root)
        references: list[_Reference] = []
        for entry in entries:
            if str(entry).endswith(".py"):
                if not Path(entry).is_file():
                    raise ValueError(f"no script {str(entry)!r}")
                references.append((sources.add_script(Path(entry)), _WHOLE))
                continue
            module, _, name = str(entry).partition(":")
            if module not in sources.modules or name and name not in sources.modules[module].bindings:
                raise ValueError(f"{root} defines no {entry!r}")
            references.append(sources.resolve((module, name or _WHOLE)))
        reached = sources.closure(references)
    except SyntaxError as error:
        raise ValueError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    return [(module, sources.modules[module].statements[i]) for module, i in sorted(reached)]
