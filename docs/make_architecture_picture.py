"""Makes docs/architecture.svg, the path of one run through the rooms: `python docs/make_architecture_picture.py`."""

from html import escape
from pathlib import Path

STEPS = (
    ("what was typed", "launch rl @ rl.toml --nproc 8", ""),
    ("cli, commands", "parse, call, exit code", "one module per command"),
    ("options, config", "files and options, validated", "the resolved configuration"),
    ("machine", "GPUs, interpreters, free ports", "a Machine"),
    ("plan", "pure: every process, its argv and environment", "a Plan, which --dry-run and Slurm render"),
    ("session", "directory, panes, guard, then the supervisor", "an exit code"),
)
LOOP = (
    ("sensors", "children, ranks, signals, servers, watchdog, other nodes"),
    ("queue", "one queue of events"),
    ("policy", "pure: an event in, actions out"),
    ("components", "start, signal, kill"),
)
LISTENERS = ("run.json", "launcher.log", "console", "metrics", "evidence")
VIEWS = ("launch status", "launch logs", "launch attach", "launch stacks")

WIDTH, LEFT, BOX, ROW, HALF = 860, 30, 380, 62, 40
STYLE = """
  .box { fill: #f6f8fa; stroke: #57606a; } .loop { fill: #ddf4ff; stroke: #0969da; }
  text { font: 13px sans-serif; fill: #1f2328; } .name { font-weight: bold; } .more { fill: #57606a; font-size: 12px; }
  .arrow { stroke: #57606a; fill: none; marker-end: url(#tip); }
"""


def box(x: int, y: int, width: int, name: str, text: str = "", kind: str = "box") -> str:
    height = HALF if not text else ROW - 16
    lines = [
        f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>',
        f'<text class="name" x="{x + 12}" y="{y + (19 if text else 25)}">{escape(name)}</text>',
    ]
    if text:
        lines.append(f'<text x="{x + 12}" y="{y + 37}">{escape(text)}</text>')
    return "\n".join(lines)


def arrow(x: int, y: int, to_x: int, to_y: int, text: str = "") -> str:
    label = f'<text class="more" x="{x + 8}" y="{(y + to_y) // 2 + 5}">{escape(text)}</text>' if text else ""
    return f'<path class="arrow" d="M{x} {y} L{to_x} {to_y}"/>{label}'


def picture() -> str:
    parts, y = [], 20
    for name, text, result in STEPS:
        parts.append(box(LEFT, y, BOX, name, text))
        parts.append(f'<text class="more" x="{LEFT + BOX + 16}" y="{y + 28}">{escape(result)}</text>')
        parts.append(arrow(LEFT + 40, y + ROW - 16, LEFT + 40, y + ROW))
        y += ROW
    right = LEFT + BOX + 60
    top = y
    for index, (name, text) in enumerate(LOOP):
        parts.append(box(LEFT, y, BOX, f"supervisor: {name}" if index == 0 else name, text, "loop"))
        if index < len(LOOP) - 1:
            parts.append(arrow(LEFT + 40, y + ROW - 16, LEFT + 40, y + ROW))
        y += ROW
    back = LEFT - 14
    parts.append(
        f'<path class="arrow" d="M{LEFT} {y - ROW + 22} L{back} {y - ROW + 22} L{back} {top + 22} L{LEFT} {top + 22}"/>'
    )
    parts.append(f'<text class="more" x="{right}" y="{top - 8}">listeners hear it all</text>')
    for index, name in enumerate(LISTENERS):
        parts.append(box(right, top + index * 46, 160, name))
    parts.append(arrow(LEFT + BOX, top + 2 * ROW + 22, right - 6, top + 2 * ROW + 22))
    parts.append(f'<text class="more" x="{right + 200}" y="{top - 8}">views only read</text>')
    for index, name in enumerate(VIEWS):
        parts.append(box(right + 200, top + index * 46, 160, name))
    parts.append(arrow(right + 160, top + 22, right + 194, top + 22))
    height = max(y, top + len(LISTENERS) * 46) + 10
    head_of_arrow = '<path d="M0 0 L8 4 L0 8 z"/>'
    tip = f'<marker id="tip" markerWidth="9" markerHeight="9" refX="7" refY="4" orient="auto">{head_of_arrow}</marker>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", f"<defs>{tip}</defs>", ground, *parts, "</svg>", ""])


if __name__ == "__main__":
    Path(__file__).with_name("architecture.svg").write_text(picture(), encoding="utf-8")
