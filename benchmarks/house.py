"""How the code is laid out, in figures: `python benchmarks/house.py [CHECKOUT [ROOM …]]`.

Lines, modules, files in each folder, imports inside functions, imports that run up, modules in circles, and how long
functions and modules are. The rooms are given from the ground up; for this checkout the tests know them.
"""

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
SHARE = 0.02  # of all lines; smaller folders are not listed


def imports(tree: ast.AST, modules: set[str]) -> Iterator[str]:
    """The modules of the package that a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield from [name for name in (inner, node.module) if name in modules][:1]


def circles(edges: dict[str, set[str]]) -> int:
    """How many modules import themselves by way of others."""
    left = {name: set(targets) for name, targets in edges.items()}
    while free := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in free}
    return len(left)


def main(checkout: Path, rooms: list[str]) -> None:
    package = checkout / "launcher"
    files = sorted(package.rglob("*.py"))
    names = {path: ".".join(("launcher", *path.relative_to(package).with_suffix("").parts)) for path in files}
    trees = {path: ast.parse(path.read_text()) for path in files}
    lines = {path: len(path.read_text().splitlines()) for path in files}
    total = sum(lines.values())
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Function)]
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for node in functions]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    late = [
        node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) in inside
    ]
    edges = {names[path]: set(imports(tree, set(names.values()))) for path, tree in trees.items()}

    def place(module: str) -> int:
        room = module.split(".")[1]
        return rooms.index(room) if room in rooms else -1

    up = [(one, other) for one, others in edges.items() for other in others if 0 <= place(one) < place(other)]
    longest = max(files, key=lines.__getitem__)
    print(f"lines                     {total}")
    print(f"modules                   {sum(path.name != '__init__.py' for path in files)}")
    print(f"imports inside functions  {len(late)}")
    print(f"imports that run up       {len(up) if rooms else 'unknown: no order of the rooms'}")
    print(f"modules in circles        {circles(edges)}")
    print(f"functions                 {len(lengths)}")
    print(f"  median, longest         {statistics.median(lengths):g}, {max(lengths)} lines")
    print(f"longest module            {longest.relative_to(package)}, {lines[longest]} lines")
    for folder in sorted({path.parent for path in files}):
        there = [path for path in files if path.parent == folder and path.name != "__init__.py"]
        share = sum(lines[path] for path in there) / total
        if share >= SHARE:
            name = "launcher" if folder == package else str(folder.relative_to(package))
            print(f"  {name:<20} {len(there):>3} files {share:>6.1%}")


def order() -> list[str]:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.test_architecture import ROOMS

    return list(ROOMS)


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    main(where, sys.argv[2:] or (order() if len(sys.argv) == 1 else []))
