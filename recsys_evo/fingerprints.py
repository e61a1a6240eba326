"""Fingerprints: what a stored result rests on, as one number that changes when that does.

A result rests on its script and on those parts of the package's modules that the script uses,
directly or through others:

    book/results/x.py ── uses ──▶ auc ── uses ──▶ _Pairs, _column        in the fingerprint
                                  bootstrap_auc                          not in it

So a module may grow without making the results stale that use its older parts.
"""

import ast
import hashlib
import importlib.util
from pathlib import Path

_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


def fingerprint(script):
    """Return the SHA-256 of what a result rests on: the script, and what it uses of `MODULES`.

    Syntax trees are hashed, without docstrings and without the list of seeds: a comment, a blank
    line or one more seed makes no result stale; any other change of what is used does. Names decide
    what is used: a statement of a module is taken if the script, or a statement taken before,
    speaks of a name that it binds, even if it means another thing of that name.
    """
    body = [part for part in _body(script) if not _assigns(part, "SEEDS")]
    modules = {}
    for module in declared(script, "MODULES"):
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.origin:
            raise ValueError(f"`MODULES` must be names of modules. Received: {module!r}")
        modules[module] = _body(spec.origin)
    digest = hashlib.sha256()
    for module, used in _used(modules, _names(*body)).items():
        digest.update(f"{module}:{_shape(used)}\n".encode())
    digest.update(_shape(body).encode())
    return digest.hexdigest()


def declared(script, name):
    """The literal list that the script assigns to `name`, read without running it."""
    for node in _body(script):
        if _assigns(node, name):
            try:
                return list(ast.literal_eval(node.value))
            except (ValueError, TypeError):
                break
    raise ValueError(f"`script` must assign a literal list to {name}. Received: {script}")


def _body(path):
    """The statements of a file, without its docstring."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return tree.body[ast.get_docstring(tree, clean=False) is not None :]


def _used(modules, names):
    """The statements of each module that bind one of `names`, or a name that those speak of."""
    used = {module: [] for module in modules}
    spoken = dict.fromkeys(modules, frozenset())  # names that its used statements speak of
    grown = True
    while grown:
        grown = False
        for module, body in modules.items():
            for part in body:
                # An import serves its own module alone. What binds nothing (a call, a condition)
                # may change anything, so it is taken.
                wanted = spoken[module] if isinstance(part, _IMPORTS) else names
                bound = _bound(part)
                if part not in used[module] and (not bound or bound & wanted):
                    used[module].append(part)
                    spoken[module] |= _names(part)
                    names = names | _names(part)
                    grown = True
    return {name: [part for part in body if part in used[name]] for name, body in modules.items()}


def _bound(part):
    """The names that a definition, an import or an assignment binds; else none."""
    if isinstance(part, _DEFINITIONS):
        return {part.name}
    if isinstance(part, _IMPORTS):
        return {alias.asname or alias.name.split(".")[0] for alias in part.names}
    if not isinstance(part, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return set()
    targets = part.targets if isinstance(part, ast.Assign) else [part.target]
    names = (node for target in targets for node in ast.walk(target))
    return {n.id for n in names if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _names(*parts):
    """All names that the code speaks of: variables, attributes, what is imported."""
    nodes = [node for part in parts for node in ast.walk(part)]
    return {
        getattr(node, field).split(".")[0]
        for kind, field in ((ast.Name, "id"), (ast.Attribute, "attr"), (ast.alias, "name"))
        for node in nodes
        if isinstance(node, kind)
    }


def _shape(node):
    """A syntax tree as text that is the same under every Python that we support."""
    if isinstance(node, list):
        return "[" + ",".join(map(_shape, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, _DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty texts
        fields["values"] = [part for part in node.values if part.value != ""]
    # Newer versions know more fields, which older code leaves empty.
    kept = (f"{name}={_shape(value)}" for name, value in fields.items() if value not in (None, []))
    return f"{type(node).__name__}({','.join(kept)})"


def _assigns(node, name):
    return isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]
