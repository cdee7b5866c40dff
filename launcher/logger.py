"""One log format for the console and, under torchrun, for each rank's file.

    from launcher import get_logger, setup_logger

    setup_logger()                       # once, at the start of an entry point
    get_logger().info("loaded {} rows", 3)

Your own entry point needs no arguments: `launch` passes them in the environment (LAUNCH_COMPONENT, LAUNCH_RUN_DIR,
LAUNCH_ATTEMPT, LAUNCH_LOG_LEVEL, LAUNCH_LOG_JSON). Only the first line of a message or traceback has a time:

    2026-11-23 03:10:02.123 | INFO    | loaded 3 rows

The console is stdout. stderr is left to Python, torch and native libraries, so the end of a rank's stderr.log shows why
the rank died.
"""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from loguru import logger

from launcher.borders.files import open_regular
from launcher.borders.screen import printable
from launcher.instrumentation.marks import IMPORTS, mark, report_marks
from launcher.instrumentation.recorder import open_recorder
from launcher.instrumentation.traceable import make_traceable
from launcher.instrumentation.waiting import report_waits
from launcher.rundir import RunDir

if TYPE_CHECKING:
    from loguru import Logger, Record

_TEXT = "<dim>{time:YYYY-MM-DD HH:mm:ss.SSS}</dim> | <level>{level: <7}</level> | {message}"
_NOISY = ("httpx", "httpx2", "httpcore", "openai", "urllib3", "uvicorn.access")

_is_set_up = False


def setup_logger(
    component: str | None = None,
    *,
    run: RunDir | None = None,
    level: str | None = None,
    json_lines: bool | None = None,
) -> None:
    """Send the records of loguru, `logging` and `warnings` to the console and, under torchrun, to the rank's file.

    `level` is the lowest level shown (TRACE … CRITICAL, default INFO). `json_lines` writes one JSON object per line.
    Missing arguments are taken from the environment. If launch started this process, `launch stacks` can now read its
    stacks and, under torchrun, the collectives that it has enqueued.

    Raises:
        RuntimeError: at the second call.
        ValueError: if there is no such level.
    """
    global _is_set_up
    if _is_set_up:
        raise RuntimeError("setup_logger() was called before; call it exactly once, at the start of the entry point")
    component = component or os.environ.get("LAUNCH_COMPONENT")
    level = (level or os.environ.get("LAUNCH_LOG_LEVEL") or "INFO").upper()
    if json_lines is None:
        json_lines = os.environ.get("LAUNCH_LOG_JSON", "") not in ("", "0")

    threshold = logger.level(level).no
    line_format = partial(_json_line, component=component) if json_lines else _TEXT
    add = partial(logger.add, level=level, format=line_format, backtrace=False, diagnose=False)
    logger.remove()
    logger.configure(patcher=_make_plain)
    _add_console(add, json_lines)
    run = run or run_from_environment()
    _add_rank_file(add, component, run)
    _forward_logging(threshold)
    _log_uncaught()
    if run:
        make_traceable(run)
        open_recorder(run)
    report_waits(run, component, rank_from_environment())
    report_marks(run, component, rank_from_environment())
    mark(IMPORTS)
    _is_set_up = True


def get_logger() -> "Logger":
    """The process's only logger, loguru's. Before `setup_logger()` it writes to stderr in loguru's format."""
    return logger


def run_from_environment() -> RunDir | None:
    """The run that this process belongs to, if launch started it."""
    root, node = os.environ.get("LAUNCH_RUN_DIR"), os.environ.get("LAUNCH_NODE")
    attempt = int(os.environ.get("LAUNCH_ATTEMPT") or 1)
    return RunDir(Path(root), attempt, int(node) if node else None) if root else None


def rank_from_environment() -> int | None:
    """This process's global rank, if torchrun started it."""
    rank = os.environ.get("RANK")
    return int(rank) if rank else None


def log_to(path: Path) -> None:
    """Send loguru's records to this file only. For launch itself, which prints to the console by other means.

    Raises OSError if the file cannot be opened.
    """
    os.close(open_regular(path, os.O_WRONLY | os.O_CREAT))  # refuses links and FIFOs, which loguru would open
    logger.remove()
    logger.configure(patcher=_make_plain)
    add = partial(logger.add, format=_TEXT, colorize=False, backtrace=False, diagnose=False)
    add(_plain_path(path), watch=True, errors="backslashreplace")


# --- where lines go ---------------------------------------------------------------------------------------------------


def _add_console(add: Callable[..., int], json_lines: bool) -> None:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    colorize = not json_lines and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    add(sys.stdout, colorize=colorize, filter=None if json_lines else _is_caught)


def _add_rank_file(add: Callable[..., int], component: str | None, run: RunDir | None) -> None:
    rank = rank_from_environment()
    if run is None or rank is None:
        return
    path = run.rank_log(rank, component or "trainer")
    try:
        # watch: a deleted log file is created again at the next line
        add(_plain_path(path), colorize=False, watch=True, errors="backslashreplace")
    except OSError as error:
        logger.warning("cannot write {}: {}; the log is on the console only", path, error.strerror)


def _plain_path(path: Path) -> str:
    """The path for loguru, with braces escaped: loguru would read `{…}` as a time format."""
    return str(path).replace("{", "{{").replace("}", "}}")


# --- what a line looks like -------------------------------------------------------------------------------------------


def _make_plain(record: "Record") -> None:
    message = record["message"]
    if not message.isprintable():
        record["message"] = printable(message.replace("\r\n", "\n").replace("\r", "\n"))


def _json_line(record: "Record", component: str | None) -> str:
    error = record["exception"]
    fields = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "message": record["message"],
        "component": component,
        "rank": rank_from_environment(),
        "source": f"{record['name']}:{record['line']}",
        "exception": "".join(traceback.format_exception(*error)) if error else None,
    }
    present = {name: value for name, value in fields.items() if value is not None}
    record["extra"]["json"] = json.dumps(present | _bound(record), default=str)
    return "{extra[json]}\n"


def _bound(record: "Record") -> dict[str, object]:
    """The values added by `logger.bind()`."""
    return {name: value for name, value in record["extra"].items() if name != "json"}


# --- what else is logged ----------------------------------------------------------------------------------------------


class _Forwarder(logging.Handler):
    """Passes records of `logging` to loguru, with their module and line."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = _loguru_level(record)
            error = record.exc_info if record.exc_info and record.exc_info[0] else None
            origin = {"name": record.name, "function": record.funcName, "line": record.lineno}
            logger.patch(lambda ours: ours.update(origin)).opt(exception=error).log(level, record.getMessage().rstrip())  # type: ignore[typeddict-item]
        except Exception:
            self.handleError(record)


def _loguru_level(record: logging.LogRecord) -> str | int:
    try:
        return logger.level(record.levelname).name
    except ValueError:
        return record.levelno


def _forward_logging(threshold: int) -> None:
    logging.basicConfig(handlers=[_Forwarder()], level=threshold, force=True)
    logging.captureWarnings(True)
    adopt_console_loggers()
    if threshold > logging.DEBUG:  # these log every request at INFO
        for name in _NOISY:
            logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def adopt_console_loggers() -> None:
    """Redirect libraries that log to the console themselves, such as an imported torch."""
    loggers = [known for known in logging.root.manager.loggerDict.values() if isinstance(known, logging.Logger)]
    for known in loggers:
        for handler in [each for each in known.handlers if type(each) is logging.StreamHandler]:
            known.removeHandler(handler)
            known.propagate = True


def _is_caught(record: "Record") -> bool:
    return "uncaught" not in record["extra"]


class _UncaughtHook:
    """Logs an uncaught exception. `show` (at first Python's own hook) prints it to the console."""

    def __init__(self) -> None:
        self.show = sys.excepthook

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        uncaught = logger.bind(uncaught=True).opt(exception=(kind, error, trace))
        uncaught.critical("uncaught {}", kind.__name__)
        self.show(kind, error, trace)


def _log_uncaught() -> None:
    sys.excepthook = _UncaughtHook()
    show_in_thread = threading.excepthook

    def log_in_thread(args: threading.ExceptHookArgs) -> None:
        uncaught = logger.bind(uncaught=True).opt(exception=(args.exc_type, args.exc_value, args.exc_traceback))
        uncaught.critical("uncaught {} in a thread", args.exc_type.__name__)
        show_in_thread(args)

    threading.excepthook = log_in_thread


@contextmanager
def hooks_below() -> Iterator[None]:
    """Let a library install its `sys.excepthook` below ours. Above ours, it would print the traceback twice."""
    ours = sys.excepthook
    if not isinstance(ours, _UncaughtHook):
        yield
        return
    sys.excepthook = ours.show
    try:
        yield
    finally:
        ours.show, sys.excepthook = sys.excepthook, ours
