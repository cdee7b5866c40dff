"""Stacks as py-spy sees them, made up."""

from launcher.stacks.frames import Frame, PythonProcess, Stack, Thread

SITE = "/venv/lib/python3.11/site-packages/"
STDLIB = "/usr/lib/python3.11/"
ALL_REDUCE = (
    Frame("all_reduce", f"{SITE}torch/distributed/distributed_c10d.py", 3252),
    Frame("_exception_logger.<locals>.wrapper", f"{SITE}torch/distributed/c10d_logger.py", 83),
    Frame("Trainer.step", "/home/otter/train.py", 12),
    Frame("<module>", "/home/otter/train.py", 30),
)
LOADING = (
    Frame("Connection.poll", f"{STDLIB}multiprocessing/connection.py", 257),
    Frame("_MultiProcessingDataLoaderIter._next_data", f"{SITE}torch/utils/data/dataloader.py", 1409),
    Frame("_BaseDataLoaderIter.__next__", f"{SITE}torch/utils/data/dataloader.py", 701),
    Frame("<module>", "/home/otter/train.py", 28),
)
COMPUTING = (Frame("Model.forward", "/home/otter/model.py", 5), Frame("<module>", "/home/otter/train.py", 29))
TORCHRUN = (
    Frame("SimpleElasticAgent._invoke_run", f"{SITE}torch/distributed/elastic/agent/server/api.py", 923),
    Frame("_run_code", "<frozen runpy>", 88),
)


def rank(number: int, frames: tuple[Frame, ...], *others: Thread) -> Stack:
    process = PythonProcess(100 + number, "trainer", number)
    return Stack(process, (Thread("MainThread", frames, waits=True), *others))


def component(name: str, frames: tuple[Frame, ...], has_ranks: bool = False) -> Stack:
    return Stack(PythonProcess(50, name, has_ranks=has_ranks), (Thread("MainThread", frames, waits=True),))


def child(pid: int, of_rank: int, frames: tuple[Frame, ...]) -> Stack:
    return Stack(PythonProcess(pid, "trainer", of_rank, is_child=True), (Thread("MainThread", frames, waits=True),))
