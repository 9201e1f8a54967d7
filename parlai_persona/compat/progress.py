"""Long runs: progress of training and evaluation, time left, and Ctrl-C.

Except for the time left, these fixes apply only to runs with one of our tasks or agents. With `--loglevel error`, no
progress is shown.
"""

import functools
import json
import math
import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from parlai_persona.compat.hooks import fixes
from parlai_persona.compat.saving import within_update


@fixes('parlai.scripts.train_model')
def time_left_minds_max_train_time(module: Any) -> bool:
    """The time left in the log of a training ignores `--max-train-time`.

    ParlAI 1.7.2 reads `max_training_time`, an option that does not exist, on every stack. Detected by that name in the
    method. The time left is now never more than the limit leaves.
    """
    compute = module.TrainLoop._compute_eta
    if 'max_training_time' not in compute.__code__.co_consts:
        return False

    @functools.wraps(compute)
    def within_limit(self, epochs_completed, time_elapsed, steps_taken):
        eta = compute(self, epochs_completed, time_elapsed, steps_taken)
        left = min(math.inf if eta is None else eta, self.max_train_time - time_elapsed)
        return None if left == math.inf else left

    module.TrainLoop._compute_eta = within_limit
    return True


@fixes('parlai.scripts.train_model')
def training_shows_progress(module: Any) -> bool:
    """A training shows nothing between two logs, and a validation or final evaluation shows nothing until its end.

    ParlAI 1.7.2 does this on every stack. A training now has a progress line, and so has each evaluation in it. The
    line of the training is updated when the training asks for the time, after each step.
    """
    loop = module.TrainLoop
    get_time, evaluate = loop._get_time, loop._run_single_eval

    @functools.wraps(get_time)
    def shown(self, world):
        times = get_time(self, world)
        if ours(self.opt) and heard():
            _update(self, times[0], world.num_examples())
        return times

    @functools.wraps(evaluate)
    def watched(self, opt, valid_world, max_exs, datatype, *rest):
        line = vars(self).get('progress_line')
        if line:
            line.erase()
        if ours(self.opt) and heard():
            watch(valid_world, datatype, max_exs, replies)
        report = evaluate(self, opt, valid_world, max_exs, datatype, *rest)
        if line:
            line.restart(self._total_exs)
        return report

    loop._get_time, loop._run_single_eval = shown, watched
    return True


@fixes('parlai.scripts.eval_model')
def evaluation_shows_progress(module: Any) -> bool:
    """`eval_model` and `multiprocessing_eval` show nothing until their end.

    This is the same fix as `training_shows_progress`. ParlAI's own `--log-every-n-secs` prints a table of all metrics
    each time.
    """
    create = module.create_task

    @functools.wraps(create)
    def create_watched(opt, *args, **kwargs):
        world = create(opt, *args, **kwargs)
        if ours(opt) and heard():
            watch(world, opt['datatype'].split(':')[0], opt.get('num_examples', -1), messages)
        return world

    module.create_task = create_watched
    return True


@fixes('parlai.scripts.train_model')
def interrupted_training_can_go_on(module: Any) -> bool:
    """Ctrl-C in a training prints a traceback, and everything learned since the last checkpoint is lost.

    ParlAI 1.7.2 does this on every stack. A training now stops after its current step and saves a checkpoint. It says
    what is saved and which command continues the training. A second Ctrl-C stops it at once. A training with several
    processes is not changed.
    """
    loop = module.TrainLoop
    train, get_time, evaluate = loop.train, loop._get_time, loop._run_eval

    @functools.wraps(get_time)
    def stoppable_get_time(self, world):
        times = get_time(self, world)
        if getattr(self, 'stop_after_step', False) and not within_update(self):
            raise BetweenSteps
        return times

    @functools.wraps(evaluate)
    def stoppable_evaluation(self, *args, **kwargs):
        if getattr(self, 'stop_after_step', False):
            raise BetweenSteps
        self.evaluating = True
        report = evaluate(self, *args, **kwargs)
        self.evaluating = False
        return report

    @functools.wraps(train)
    def stoppable_training(self):
        if module.is_distributed() or not ours(self.opt):
            return train(self)
        try:
            with _interrupts_between_steps(self):
                return train(self)
        except KeyboardInterrupt as interrupt:
            sys.stderr.write(f'\n{_farewell(self, isinstance(interrupt, BetweenSteps))}\n')
            raise SystemExit(130) from None

    loop.train, loop._get_time, loop._run_eval = stoppable_training, stoppable_get_time, stoppable_evaluation
    return True


class BetweenSteps(KeyboardInterrupt):
    """A Ctrl-C at a moment when the model can be saved."""


@contextmanager
def _interrupts_between_steps(loop: Any):
    """Delay the first Ctrl-C to the end of a training step. Stop an evaluation at once, as it changes nothing."""

    def stop(signum, frame):
        if getattr(loop, 'evaluating', False):
            raise BetweenSteps
        if getattr(loop, 'stop_after_step', False):
            raise KeyboardInterrupt
        loop.stop_after_step = True
        sys.stderr.write('\nStopping after this step. Press Ctrl-C again to stop at once, without saving.\n')

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _farewell(loop: Any, can_be_saved: bool) -> str:
    """Save a checkpoint if that is possible; return what is saved and how to continue."""
    file = loop.opt.get('model_file')
    if not file:
        return 'Stopped. Nothing is saved: there is no --model-file.'
    if not hasattr(loop, 'world'):  # ParlAI deletes it when the training is over
        evaluation = shlex.join(['parlai', 'eval_model', '-mf', file, '-t', loop.opt['task']])
        return f'Stopped in the final evaluation. The trained model is saved: {file}\nTo evaluate it: {evaluation}'
    if can_be_saved:
        loop.save_model('.checkpoint')
    lines = [f'Stopped after {loop._train_steps} steps ({getattr(loop, "_total_epochs", 0):.2f} epochs).']
    stats = f'{file}.checkpoint.trainstats'
    if os.path.exists(stats):
        with open(stats) as text:
            lines.append(f'Saved: {file}.checkpoint, after {json.load(text)["train_steps"]} steps')
    if loop.best_valid is not None and os.path.exists(file):
        lines.append(f'Saved: {file}, the best so far ({loop.opt["validation_metric"]} {loop.best_valid:.4g})')
    if len(lines) == 1:
        return f'{lines[0]}\nNothing is saved: it was stopped within a step, before the first checkpoint.'
    name = os.path.basename(sys.argv[0])
    command = shlex.join(['parlai', *sys.argv[1:]]) if name == 'parlai' else 'run the same program again'
    return '\n'.join([*lines, f'To go on: {command}'])


# -------------------------------------------------------------------------------------------------- progress


def ours(opt: dict) -> bool:
    """Tell whether a run has a task or an agent of this package."""
    names = ','.join(str(opt.get(name)) for name in ('task', 'evaltask', 'model'))
    return 'persona:' in names or 'parlai_persona' in names


def heard() -> bool:
    """Tell whether this process is the one that reports, and the log level lets it report."""
    import parlai.utils.logging as logging
    from parlai.utils.distributed import is_primary_worker

    return is_primary_worker() and logging.logger.level <= logging.INFO  # isEnabledFor remembers an earlier level


def _update(loop: Any, seconds: float, examples_per_epoch: int) -> None:
    """Update the progress line of a training. With several limits, the share done is that of the nearest limit."""
    from parlai_persona.progress import ProgressLine

    examples = round(loop._total_epochs * examples_per_epoch)
    line = vars(loop).get('progress_line')
    if line is None:
        line = loop.progress_line = ProgressLine('train', examples)
    share = max(
        loop._total_epochs / loop.max_num_epochs,
        seconds / loop.max_train_time,
        loop._train_steps / loop.max_train_steps,
    )
    if line.due():
        left = loop._compute_eta(loop._total_epochs, seconds, loop._train_steps)
        line.show(share or None, examples, left, f'epoch {loop._total_epochs:.2f}')


def replies(world: Any) -> int:
    """Return how many replies were evaluated. A message has more than one if it holds a whole dialogue or a person."""
    return int(world.report().get('exs') or 0)


def messages(world: Any) -> int:
    """Return how many messages were evaluated, as `eval_model` counts them."""
    return world.get_total_parleys() * world.opt['batchsize']


def watch(world: Any, label: str, limit: float, count: Callable[[Any], int]) -> None:
    """Make a world show the progress of its evaluation.

    The evaluation ends with the data, or when `count` reaches `limit`, if that is positive.
    """
    from parlai.utils.distributed import num_workers

    from parlai_persona.progress import ProgressLine

    line, parley = ProgressLine(label), type(world).parley

    def parley_and_show():
        parley(world)
        over = world.epoch_done()
        if line.due() or (over and line.ever_shown):
            share = world.get_total_epochs() * num_workers()
            share = max(share, count(world) / limit) if limit > 0 else share
            line.show(share or None, replies(world))
        if over:
            line.finish()

    world.parley = parley_and_show
