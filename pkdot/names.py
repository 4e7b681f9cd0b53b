"""Names of methods, models and encoders, read from the source of the package that defines them."""

import ast
import sys
from importlib.util import find_spec
from pathlib import Path


def names_in(module: str, dictionary: str) -> tuple[str, ...]:
    """Return the keys of a module's dict without importing the module.

    The module may need torch, which takes a second to import; ``--help`` must not wait for it. Once the module is
    imported, its live dict is read instead, so that an entry that the user added counts.

    Args:
        module: the module that defines the dict, which must be a literal at its top level.
        dictionary: the name of the dict.

    Raises:
        ValueError: there is no such module, or no such dict in it.

    >>> names_in("pkdot.students", "STUDENTS")
    ('visual', 'hallucinating')
    """
    live = getattr(sys.modules.get(module), dictionary, None)
    if live is not None:
        return tuple(live)
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"no module {module!r}")
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if isinstance(node.value, ast.Dict) and any(isinstance(t, ast.Name) and t.id == dictionary for t in targets):
            return tuple(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise ValueError(f"{module} has no dict literal {dictionary}")


def listed(module: str, dictionary: str) -> str:
    """Return :func:`names_in` in the form in which ``--help`` shows choices.

    >>> listed("pkdot.students", "STUDENTS")
    '{visual,hallucinating}'
    """
    return "{" + ",".join(names_in(module, dictionary)) + "}"
