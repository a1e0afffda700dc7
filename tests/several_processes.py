"""Run a function in several processes that form a gloo group."""

import os
import pickle
import socket
import traceback

import torch

_held = []


def free_port():
    """A port that the system gives to nobody else, since this process holds it.

    Whoever asks for that very port, and says SO_REUSEADDR as torch's store does, may listen there all the same.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    return held.getsockname()[1]


def variables_of(rank, size, port):
    """What torchrun puts into the environment."""
    found = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=size, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    return {key: str(value) for key, value in found.items()}


def run_ranks(target, size, *args, group=True, timeout=300):
    """``target(rank, *args)`` in ``size`` processes; what each returned, by rank.

    Args:
        group: form the group first; without it the variables are there and the target does so.
    """
    port, fork = free_port(), torch.multiprocessing.get_context("fork")
    pipes = [fork.Pipe(duplex=False) for _ in range(size)]
    processes = [
        fork.Process(target=_one, args=(rank, size, port, group, pipes[rank][1], target, args)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        results = []
        for rank, (receiver, sender) in enumerate(pipes):
            sender.close()
            assert receiver.poll(timeout), f"rank {rank} said nothing for {timeout} s"
            error, result = pickle.loads(receiver.recv_bytes())
            assert error is None, f"rank {rank}: {error}"
            results.append(result)
    finally:
        for process in processes:
            process.join(60)
            process.kill()
    return results


def _one(rank, size, port, group, pipe, target, args):
    os.environ.update(variables_of(rank, size, port))
    torch.set_num_threads(1)
    try:
        if group:
            torch.distributed.init_process_group("gloo")
        answer = None, target(rank, *args)
    except BaseException:
        answer = traceback.format_exc(), None
    pipe.send_bytes(pickle.dumps(answer))
    if group and answer[0] is None:
        torch.distributed.barrier()  # rank 0 keeps the store that the others need to the end
