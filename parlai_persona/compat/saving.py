"""Checkpoints that are whole: all files of a save appear together, and a resumed training goes on where it was."""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parlai_persona.compat.hooks import fixes
from parlai_persona.files import draft, read_json, write_json

DRAFT, READY, PLACE = '.saving', '.ready', '.place'


@fixes('parlai.core.opt')
def options_are_written_whole(module: Any) -> bool:
    """A kill or a full disk in the wrong moment leaves half of a `.opt`.

    ParlAI 1.7.2 writes it in place, on every stack. It is now written under another name and then renamed.
    """
    save = module.Opt.save

    @functools.wraps(save)
    def whole(self, filename):
        with draft(Path(filename)) as part:
            save(self, str(part))

    module.Opt.save = whole
    return True


@fixes('parlai.core.dict')
def dictionaries_are_written_whole(module: Any) -> bool:
    """A kill or a full disk in the wrong moment leaves half of a dictionary, and nobody notices.

    ParlAI 1.7.2 writes it in place, on every stack. It is now written under another name and then renamed. A dictionary
    with further files beside it (those of byte pairs), or one that is appended to, is written as before.
    """
    save = module.DictionaryAgent.save

    @functools.wraps(save)
    def whole(self, filename=None, append=False, sort=True):
        filename = self.opt['dict_file'] if filename is None else filename
        if append or hasattr(self, 'bpe'):
            save(self, filename, append, sort)
            return
        with draft(Path(filename)) as part:
            save(self, str(part), append, sort)
            os.replace(f'{part}.opt', f'{filename}.opt')

    module.DictionaryAgent.save = whole
    return True


@fixes('parlai.scripts.train_model')
def saves_are_whole(module: Any) -> bool:
    """A kill while a training saves leaves weights and statistics of different steps.

    ParlAI 1.7.2 writes one file after the other under their real names, on every stack. All files of a save are now
    written under other names. When they are complete, they are renamed; after a kill, the next training finishes this.
    """
    loop = module.TrainLoop
    init, save, save_stats = loop.__init__, loop.save_model, loop._save_train_stats

    @functools.wraps(init)
    def after_finishing(self, opt):
        if opt.get('model_file') and module.is_primary_worker():
            for suffix in ('', '.checkpoint'):
                finish(opt['model_file'] + suffix)
        init(self, opt)

    @functools.wraps(save)
    def save_together(self, suffix=None):
        file = self.opt.get('model_file')
        if not file or not module.is_primary_worker():
            save(self, suffix)
            return
        with commit(file + (suffix or '')):
            save(self, (suffix or '') + DRAFT)

    @functools.wraps(save_stats)
    def save_stats_whole(self, suffix=None):
        file, suffix = self.opt.get('model_file'), suffix or ''
        if not file or suffix.endswith(DRAFT) or not module.is_primary_worker():
            save_stats(self, suffix)
            return
        save_stats(self, suffix + DRAFT)
        os.replace(f'{file}{suffix}{DRAFT}.trainstats', f'{file}{suffix}.trainstats')

    loop.__init__, loop.save_model, loop._save_train_stats = after_finishing, save_together, save_stats_whole
    return True


@contextmanager
def commit(file: str) -> Iterator[None]:
    """Give the files that are written as `<file>.saving…` their names, `<file>…`, all or none."""
    discard(file)
    dictionary = Path(f'{file}{DRAFT}.dict')
    if Path(f'{file}.dict').exists():
        dictionary.touch()  # agents write a dictionary only where none is
    yield
    if dictionary.exists() and not dictionary.stat().st_size:
        dictionary.unlink()
    names = [path.name for path in drafts(file)]
    for path in drafts(file):
        with path.open('rb') as written:
            os.fsync(written.fileno())
    write_json(Path(f'{file}{READY}'), names)
    finish(file)


def finish(file: str) -> None:
    """Rename what a save left complete; remove what one left incomplete."""
    ready = Path(f'{file}{READY}')
    if ready.exists():
        for name in read_json(ready):
            path = ready.with_name(name)
            if path.exists():  # else it has its name already
                path.replace(ready.with_name(name.replace(DRAFT, '', 1)))
        ready.unlink()
    discard(file)


def drafts(file: str) -> list[Path]:
    path = Path(f'{file}{DRAFT}')
    return sorted(one for one in path.parent.glob('*') if one.name.startswith(path.name))


def discard(file: str) -> None:
    for path in drafts(file):
        path.unlink()


@fixes('parlai.scripts.train_model')
def resumed_training_goes_on_in_its_data(module: Any) -> bool:
    """A resumed training starts again at the beginning of its data, with new random numbers.

    ParlAI 1.7.2 saves no place in the data, on every stack. A save now has a file `.place` with the place of each
    process in its data and the states of its random generators, and a resumed training goes there. A training that was
    killed and resumed ends with the same weights as one that was not. It cannot be done with `--num-workers`, for
    streamed data (`-dt train:stream`), or for data in pieces with dynamic batches: the log says so. With
    `--update-freq`, a save waits for the end of an update.
    """
    _save_places(module)
    _go_to_places(module)
    return True


def _save_places(module: Any) -> None:
    """Let each save have the place of every worker; all workers save at the same time."""
    import torch
    from parlai.utils.distributed import is_distributed, num_workers, sync_object

    from parlai_persona.compat.place import NoPlace, place_of

    loop = module.TrainLoop
    save, save_stats, get_time = loop.save_model, loop._save_train_stats, loop._get_time

    @functools.wraps(get_time)
    def at_the_same_time(self, world):
        times = get_time(self, world)
        if within_update(self):
            times = (*times[:3], 0.0)  # time since the last save: it is too early for the next
        return sync_object(times) if is_distributed() else times

    @functools.wraps(save)
    def save_with_place(self, suffix=None):
        try:
            here = place_of(self.world) if hasattr(self, 'world') else None  # ParlAI deletes it after a training
        except NoPlace:
            here = None
        workers = [here]
        if is_distributed():
            workers = [None] * num_workers()
            torch.distributed.all_gather_object(workers, here)
        start = self.opt.get('starttime')  # without a seed, it decides on the order of the data
        self.place = {'workers': workers, 'last_valid_steps': self._last_valid_steps, 'starttime': start}
        save(self, suffix)

    @functools.wraps(save_stats)
    def save_stats_and_place(self, suffix=None):
        save_stats(self, suffix)
        if suffix and suffix.endswith(DRAFT) and module.is_primary_worker() and None not in self.place['workers']:
            write_json(Path(f'{self.opt["model_file"]}{suffix}{PLACE}'), self.place)

    loop._get_time, loop.save_model, loop._save_train_stats = at_the_same_time, save_with_place, save_stats_and_place


def _go_to_places(module: Any) -> None:
    """Let a resumed training go on at the place of its worker, with the random numbers that come next."""
    import parlai.utils.logging as logging
    from parlai.utils.distributed import get_rank, num_workers

    from parlai_persona.compat.place import NoPlace, go_to, random_state, set_random_state

    loop = module.TrainLoop
    init, validate, train_steps = loop.__init__, loop.validate, loop.train_steps

    @functools.wraps(init)
    def resumed(self, opt):
        file = f'{opt.get("model_file")}.checkpoint'
        file = file if opt.get('load_from_checkpoint') and os.path.exists(file) else opt.get('model_file')
        kept, problem = {}, None
        try:
            kept = read_place(file, num_workers())
        except NoPlace as no_place:
            problem = no_place
        opt['starttime'] = kept.get('starttime', opt.get('starttime'))
        init(self, opt)
        if not self.parleys:  # a new training
            return
        try:
            if problem:
                raise problem
            place = kept['workers'][get_rank()]
            go_to(self.world, place)
        except NoPlace as problem:
            logging.warning(f'{file}: the training goes on, but its data start again from the beginning: {problem}')
            return
        self._preempted_epochs, self._last_valid_steps = 0.0, kept['last_valid_steps']
        self._total_epochs = num_workers() * self.world.get_total_epochs()  # a training may end in its next step
        self.random_state = place['random']

    @functools.wraps(train_steps)
    def with_the_same_draws(self):
        if hasattr(self, 'random_state'):
            set_random_state(self.random_state)  # now, because `TrainModel` sets the seed after it has made the loop
        yield from train_steps(self)

    @functools.wraps(validate)
    def validate_apart(self):
        """Leave the random generators alone: the first validation after a resumption draws more than the others."""
        state, before = random_state(), self._last_valid_steps
        self._last_valid_steps = self._train_steps  # ParlAI says so after the validation, which may save
        try:
            return validate(self)
        except BaseException:
            self._last_valid_steps = before
            raise
        finally:
            set_random_state(state)

    loop.__init__, loop.train_steps, loop.validate = resumed, with_the_same_draws, validate_apart


def within_update(loop: Any) -> bool:
    """Tell whether gradients wait for those of further batches (--update-freq). No save would hold them."""
    return bool(getattr(getattr(loop, 'agent', None), '_number_grad_accum', 0))


def read_place(file: str, workers: int) -> Any:
    """Return what a save says about the place of each worker."""
    from parlai_persona.compat.place import NoPlace

    path = Path(f'{file}{PLACE}')
    if not path.exists():
        raise NoPlace(
            f'there is no {path}. Older trainings have none, and those with -dt train:stream, --num-workers or, for '
            'data in pieces, dynamic batches'
        )
    kept = read_json(path)
    if not isinstance(kept, dict) or not isinstance(kept.get('workers'), list):
        raise NoPlace(f'{path} is damaged')
    if len(kept['workers']) != workers:
        raise NoPlace(f'it was trained by {len(kept["workers"])} processes, expected {workers}')
    return kept
