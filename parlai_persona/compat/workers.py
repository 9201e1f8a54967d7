"""Defects of `multiprocessing_train` and `multiprocessing_eval`, most of all without a GPU."""

import copy
import functools
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from parlai_persona.compat.hooks import fixes, replace_everywhere

# Gloo's process groups, kept as long as the process lives. Freeing one waits for its threads under Python's global
# lock, and a thread that is just then freeing its last tensor waits for the lock: one run in five hung.
_KEPT: list[Any] = []


class Worker:
    """The function that a worker process runs. Unpickled in the new process, it brings this plugin along."""

    def __init__(self, run: Callable[..., Any]) -> None:
        functools.update_wrapper(self, run)
        self.run = run

    def __call__(self, *args, **kwargs):
        return self.run(*args, **kwargs)

    def __reduce__(self):
        return _in_new_process, (self.run.__module__, self.run.__name__)


def _in_new_process(module: str, name: str) -> Callable[..., None]:
    """The function as the new process runs it; that this one is of our package gets the plugin imported there."""
    run = getattr(importlib.import_module(module), name)

    def run_and_end(*args):
        run(*args)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # torch asks for no more; an orderly end would free what `_KEPT` keeps

    return run_and_end


@fixes('parlai.scripts.multiprocessing_train')
def training_workers_know_the_plugin(module: Any) -> bool:
    """The workers of `multiprocessing_train` know neither `persona:` nor these fixes.

    In ParlAI 1.7.2 whatever the stack: a worker is a new Python that does not go through the `parlai` command,
    which is what looks for plugins. The function that a worker is sent now belongs to this package.
    """
    module.multiprocess_train = Worker(module.multiprocess_train)
    return True


@fixes('parlai.scripts.multiprocessing_eval')
def evaluation_workers_know_the_plugin(module: Any) -> bool:
    """The workers of `multiprocessing_eval`: as `training_workers_know_the_plugin`."""
    module.multiprocess_eval = Worker(module.multiprocess_eval)
    return True


@fixes('parlai.utils.distributed')
def workers_without_gpu(module: Any) -> bool:
    """Several processes need a GPU each: ParlAI divides by the number of GPUs and knows only the backend NCCL.

    In ParlAI 1.7.2 whatever the stack. Detected by asking torch for a GPU; where there is one, nothing changes.
    On a CPU the processes talk through torch's backend Gloo, and objects are gathered by torch's own function.
    """
    import torch

    if torch.cuda.is_available():
        return False

    @contextmanager
    def distributed_context(rank, opt, rank_offset=0, gpu=None, init_method='tcp://localhost:61337'):
        opt = copy.deepcopy(opt)
        if opt['distributed_world_size'] < 1:
            raise ValueError('--distributed-world-size is 0, the number of GPUs: give a number of processes')
        opt.update(rank=rank + rank_offset, gpu=-1)
        opt.setdefault('override', {})['gpu'] = -1
        silent = opt['rank'] != 0 and not opt.get('verbose')
        prefix = f'rank:{opt["rank"]:3d} |' if opt['rank'] != 0 or opt.get('verbose') else None
        with module.override_print(silent, prefix), _replicas_on_cpu(torch.nn.parallel):
            module.dist.init_process_group(
                'gloo', init_method=init_method, world_size=opt['distributed_world_size'], rank=opt['rank']
            )
            _KEPT.append(module.dist.group.WORLD)
            torch.manual_seed(42)  # every worker must build the same model
            try:
                yield opt
            finally:
                module.dist.destroy_process_group()

    def all_gather_list(data):
        if not module.is_distributed():
            return [data]
        gathered = [None] * module.dist.get_world_size()
        module.dist.all_gather_object(gathered, data)
        return gathered

    replace_everywhere(module.distributed_context, distributed_context)
    replace_everywhere(module.all_gather_list, all_gather_list)
    return True


@contextmanager
def _replicas_on_cpu(parallel):
    """ParlAI names a GPU for its model's replica, which torch refuses for a model on the CPU."""
    replica = parallel.DistributedDataParallel

    class CpuReplica(replica):  # type: ignore[misc, valid-type]
        def __init__(self, module, device_ids=None, **kwargs):
            super().__init__(module, **kwargs, find_unused_parameters=True)  # `memnn` without memories has some

    parallel.DistributedDataParallel = CpuReplica
    try:
        yield
    finally:
        parallel.DistributedDataParallel = replica


@fixes('parlai.utils.fsdp')
def workers_join_without_gpu(module: Any) -> bool:
    """The number of a worker's GPU is what torch's `Join` is given for a device; without a GPU that is -1.

    As `workers_without_gpu`, of which it is the second half. The device is the CPU.
    """
    import torch

    if torch.cuda.is_available():
        return False
    for loop in (module.JoinableTrainLoop, module.JoinableEvaluator):
        loop.join_device = property(lambda self: torch.device('cpu'))
    return True
