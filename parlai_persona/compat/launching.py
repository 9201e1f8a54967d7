"""The start and the end of `multiprocessing_train` and `multiprocessing_eval`: dictionary, and workers that fail."""

import copy
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from parlai_persona.compat.errors import debugging, end, explanation
from parlai_persona.compat.hooks import fixes
from parlai_persona.compat.workers import Worker  # its fixes come first
from parlai_persona.errors import UserError

PATIENCE = 10.0  # seconds between the end of a worker and the end of the others
ADVICE = 'What was saved before is complete; the same command continues from there'


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
        if error.__class__.__module__ != 'torch.multiprocessing.spawn':
            workers.join(PATIENCE)
            return None
    except Exception as its:  # noqa: BLE001  torch's, which tell how a worker ended
        error = its
    code = getattr(error, 'exit_code', None)
    number = getattr(error, 'error_index', 0) + 1
    if code is None:  # torch sends the traceback as text
        _, ours, said = str(error).rpartition('UserError: ')
        return UserError(said.strip()) if ours else RuntimeError(f'worker {number}: {error}')
    return UserError(ended(number, code))


def ended(number: int, code: int) -> str:
    how = f'was killed by {signal.Signals(-code).name}' if code < 0 else f'ended with status {code}'
    memory = ' (out of memory?)' if code == -signal.SIGKILL else ''
    return f'worker {number} {how}{memory}, so the run ended. {ADVICE}'


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
        return not str(record.msg).startswith(('Traceback', 'Got the above exception')) or debugging(sys.argv)

    @functools.wraps(run)
    def run_quietly(*args, **kwargs):
        import parlai.utils.logging as logging

        logging.logger.addFilter(unexpected)
        try:
            return run(*args, **kwargs)
        finally:
            logging.logger.removeFilter(unexpected)

    return run_quietly
