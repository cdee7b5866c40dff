"""Writes the table of what was run into recipes.md, from what-was-run.json, which tests/e2e/conftest.py writes."""

import json
from pathlib import Path

DOCS = Path(__file__).parent
PAGE, RUNS = DOCS / "recipes.md", DOCS / "what-was-run.json"
BEGIN, END = "<!-- by docs/make_what_was_run.py -->\n\n", "\n<!-- end -->\n"


def page() -> str:
    """recipes.md with its table as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


def table() -> str:
    rows = [_row(run) for run in json.loads(RUNS.read_text(encoding="utf-8"))]
    return "\n".join(["| program | version | recipe | date | test |", "|---|---|---|---|---|", *rows, ""])


def _row(run: dict[str, str]) -> str:
    cells = (run["program"], run["version"], f"`{run['recipe']}`", run["date"], f"`{run['test']}`")
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
