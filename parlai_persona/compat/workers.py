"""Defects of `multiprocessing_train` and `multiprocessing_eval`, most of them on machines without a GPU."""

import copy
import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from parlai_persona.compat.errors import explanation
from parlai_persona.compat.hooks import fixes, replace_everywhere
from parlai_persona.errors import UserError

# Gloo's process groups, kept as long as the process lives. Freeing a group holds Python's global lock and waits for the
# group's threads. If one of these is freeing its last tensor, it waits for the lock. One run in five hung like that.
_KEPT: list[Any] = []


class Worker:
    """The function that a worker process runs. To unpickle it, the new process has to import this plugin."""

    def __init__(self, run: Callable[..., Any]) -> None:
        functools.update_wrapper(self, run)
        self.run = run

    def __call__(self, *args, **kwargs):
        return self.run(*args, **kwargs)

    def __reduce__(self):
        return _in_new_process, (self.run.__module__, self.run.__name__)


@contextmanager
def explained() -> Iterator[None]:
    """Let a worker end with what the user has to know: torch sends the text of its error to the first process."""
    try:
        yield
    except Exception as error:
        text = explanation(error)
        if text is None:
            raise
        raise UserError(text) from None


def _in_new_process(module: str, name: str) -> Callable[..., None]:
    """Return the function for the new process. This one is in our package, so the new process imports the plugin."""
    run = getattr(importlib.import_module(module), name)

    def run_and_end(*args):
        with explained():
            run(*args)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # torch needs nothing more; a normal exit would free the groups in `_KEPT`

    return run_and_end


@fixes('parlai.scripts.multiprocessing_train')
def training_workers_know_the_plugin(module: Any) -> bool:
    """The workers of `multiprocessing_train` know neither `persona:` nor these fixes.

    ParlAI 1.7.2 does this on every stack: a worker is a new Python process, and only the `parlai` command looks for
    plugins. The function that a worker receives is now in this package.
    """
    module.multiprocess_train = Worker(module.multiprocess_train)
    return True


@fixes('parlai.scripts.multiprocessing_eval')
def evaluation_workers_know_the_plugin(module: Any) -> bool:
    """The workers of `multiprocessing_eval` know neither `persona:` nor these fixes.

    This is the same fix as `training_workers_know_the_plugin`.
    """
    module.multiprocess_eval = Worker(module.multiprocess_eval)
    return True


@fixes('parlai.utils.distributed')
def workers_without_gpu(module: Any) -> bool:
    """Each of several processes needs a GPU: ParlAI divides by the number of GPUs and knows only the backend NCCL.

    ParlAI 1.7.2 does this on every stack. Detected by asking torch for a GPU; if there is one, nothing changes. On a
    CPU the processes now talk through torch's backend Gloo, and torch's own function gathers objects.
    """
    import torch

    if torch.cuda.is_available():
        return False

    @contextmanager
    def distributed_context(rank, opt, rank_offset=0, gpu=None, init_method='tcp://localhost:61337'):
        opt = copy.deepcopy(opt)
        if opt['distributed_world_size'] < 1:
            raise UserError('--distributed-world-size is 0, the number of GPUs: give a number of processes')
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
    """Ignore the GPU that ParlAI names for its model's replica, because torch refuses it for a model on the CPU."""
    replica = parallel.DistributedDataParallel

    class CpuReplica(replica):  # type: ignore[misc, valid-type]
        def __init__(self, module, device_ids=None, **kwargs):
            super().__init__(module, **kwargs, find_unused_parameters=True)  # such as those of `memnn` without memories

    parallel.DistributedDataParallel = CpuReplica
    try:
        yield
    finally:
        parallel.DistributedDataParallel = replica


@fixes('parlai.utils.fsdp')
def workers_join_without_gpu(module: Any) -> bool:
    """ParlAI passes the number of a worker's GPU to torch's `Join` as the device; without a GPU that number is -1.

    This is the second half of `workers_without_gpu`. The device is now the CPU.
    """
    import torch

    if torch.cuda.is_available():
        return False
    for loop in (module.JoinableTrainLoop, module.JoinableEvaluator):
        loop.join_device = property(lambda self: torch.device('cpu'))
    return True
