"""The start and the end of several processes: those of `multiprocessing_train` and `_eval`, and data loaders."""

import copy
import functools
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from parlai_persona.compat.errors import debugging, end, ended, explanation, is_of_a_worker, worker_failure
from parlai_persona.compat.hooks import fixes, replace_everywhere
from parlai_persona.compat.workers import Worker, explained  # its fixes come first
from parlai_persona.errors import UserError

TRACEBACKS = ('Traceback', 'Got the above exception', 'Exception on background preprocesser')  # in ParlAI's log
PATIENCE = 10.0  # seconds between the end of a worker and the end of the others


@fixes('parlai.scripts.multiprocessing_train')
def training_ends_with_its_workers(module: Any) -> bool:
    """A worker that fails or is killed leaves the others waiting for it, up to half an hour, and prints tracebacks.

    ParlAI 1.7.2 does this on every stack. All processes now end together, and the error is that of the worker that
    failed first. `multiprocessing_train` also builds the dictionary of a new model, which ParlAI refuses to do.
    """
    train = module.multiprocess_train

    def launch_and_train(opt, port=None):
        _build_dictionary(opt)
        port = port or module.distributed_utils.find_free_port()
        return _launch(module, module.multiprocess_train, opt, port)

    module.multiprocess_train = Worker(_without_tracebacks(train.run))
    module.launch_and_train = launch_and_train
    return True


@fixes('parlai.scripts.multiprocessing_eval')
def evaluation_ends_with_its_workers(module: Any) -> bool:
    """`multiprocessing_eval` has the first of these defects; see `training_ends_with_its_workers`."""
    module.launch_and_eval = lambda opt, port: _launch(module, module.multiprocess_eval, opt, port)
    return True


@fixes('parlai.core.worlds')
def training_ends_with_its_data_loaders(module: Any) -> bool:
    """A process of `--num-workers` that fails prints its traceback twice. If it is killed, the others go on without it.

    ParlAI 1.7.2 does this on every stack, because it looks at the processes only when no data come. It now looks before
    every batch, and the error is that of the process.
    """
    driver, loader = module.BackgroundDriverWorld, module.BackgroundWorkerDynamicBatchWorld
    launch = _without_tracebacks(loader.launch_process.__func__)

    def launch_process(cls, *args):
        with explained():
            launch(cls, *args)

    def get_from_living(self):
        while True:
            if any(process.exitcode is not None for process in self._process_pool.processes):
                self._process_pool.join()  # raises the error of the process
            try:
                return self._process_queue.get(timeout=1)
            except queue.Empty:
                pass

    loader.launch_process, driver._queue_get = classmethod(launch_process), get_from_living
    return True


@fixes('parlai.scripts.build_dict')
def dictionary_without_data_loaders(module: Any) -> bool:
    """`train_model --num-workers` fails on a new model: ParlAI starts the processes for the dictionary as well.

    ParlAI 1.7.2 does this on every stack. The dictionary is now built by one process.
    """
    build = module.build_dict

    @functools.wraps(build)
    def build_alone(opt, skip_if_built=False):
        if isinstance(opt, dict):
            opt = copy.deepcopy(opt)
            opt['num_workers'] = 0
        return build(opt, skip_if_built)

    replace_everywhere(build, build_alone)
    return True


def _build_dictionary(opt: Any) -> None:
    """Build the dictionary of a new model, if its agent has one, before there are workers."""
    from parlai.scripts.build_dict import build_dict

    if 'dict_file' not in opt:
        return
    plain = copy.deepcopy(opt)
    if plain['dict_file'] is None and plain.get('model_file'):
        plain['dict_file'] = f'{plain["model_file"]}.dict'
    build_dict(plain, skip_if_built=True)


def _launch(module: Any, run: Callable[..., Any], opt: Any, port: int) -> Any:
    """Run worker 0 in this process and the others in new ones. If one fails, end all."""
    workers = module.torch.multiprocessing.start_processes(
        run, (opt, port, 1), nprocs=opt['distributed_world_size'] - 1, join=False, start_method='spawn'
    )
    over = threading.Event()
    threading.Thread(target=_watch, args=(workers.processes, over), daemon=True).start()
    try:
        result = run(0, opt, port)
        while not workers.join(PATIENCE):
            pass
    except KeyboardInterrupt:
        for worker in workers.processes:
            if worker.is_alive():
                os.kill(worker.pid, signal.SIGINT)
        raise
    except Exception as error:
        over.set()
        its_own = explanation(error) and not isinstance(error, ConnectionError)
        cause = None if its_own else failure(workers, error)
        _stop(workers.processes)
        if cause is None:
            raise
        raise cause from error
    finally:
        over.set()
    return result


def failure(workers: Any, error: Exception) -> Exception | None:
    """Return why a worker failed; None if none did within some seconds."""
    try:
        if not is_of_a_worker(error):
            workers.join(PATIENCE)
            return None
    except Exception as its:  # noqa: BLE001  torch's, which tell how a worker ended
        error = its
    return worker_failure(error)


def _stop(processes: list[Any]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()


def _watch(processes: list[Any], over: threading.Event) -> None:
    """End this process if a worker has failed and this process does not notice, because it waits for that worker."""
    while not over.wait(1):
        failed = [(number, process.exitcode) for number, process in enumerate(processes, 1) if process.exitcode]
        if failed and not over.wait(PATIENCE):
            _stop(processes)
            error = UserError(ended(*failed[0]))
            end(UserError, error, None)
            os._exit(1)


def _without_tracebacks(run: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out the tracebacks that ParlAI logs for each worker; the last error is reported once, at the end."""

    def unexpected(record: Any) -> bool:
        return not str(record.msg).startswith(TRACEBACKS) or debugging(sys.argv)

    @functools.wraps(run)
    def run_quietly(*args, **kwargs):
        import parlai.utils.logging as logging

        logging.logger.addFilter(unexpected)
        try:
            return run(*args, **kwargs)
        finally:
            logging.logger.removeFilter(unexpected)

    return run_quietly
