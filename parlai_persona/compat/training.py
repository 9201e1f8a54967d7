"""Defects of training: scheduler, checkpoints, seed, dictionary, and defects of single agents."""

import functools
import inspect
import io
import pickle
from types import SimpleNamespace
from typing import Any

from parlai_persona.compat.hooks import fails, fixes


@fixes('parlai.nn.lr_scheduler')
def plateau_without_verbose(module: Any) -> bool:
    """ParlAI's default scheduler passes `verbose=` to `ReduceLROnPlateau`, so every training fails at its start.

    The cause: torch 2.7 dropped the argument. Detected by the arguments of both, because making a scheduler would
    import torch's compiler and slow down `parlai --help`. ParlAI's class gets the same constructor without the
    argument.
    """
    import torch

    scheduler = module.ReduceOnPlateauLRScheduler
    arguments = inspect.signature(torch.optim.lr_scheduler.ReduceLROnPlateau).parameters
    if 'verbose' in arguments or 'verbose' not in inspect.getsource(scheduler.__init__):
        return False

    def __init__(self, optimizer, patience, decay, warmup_updates, warmup_rate):
        module.ParlAILRScheduler.__init__(self, warmup_updates, warmup_rate)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, 'min', factor=decay, patience=patience)

    scheduler.__init__ = __init__
    return True


@fixes('parlai.nn.lr_scheduler')
def resumed_learning_rate(module: Any) -> bool:
    """A resumed training takes its first step at a wrong learning rate, after the warm-up at the highest one.

    ParlAI 1.7.2 does this on every stack: torch's schedulers set the rate when they are made, and loading their state
    does not set it back. The rate is now that of the checkpoint's optimiser, if it was trained with the same scheduler.
    """
    make = module.ParlAILRScheduler.lr_scheduler_factory.__func__

    @functools.wraps(make)
    def at_the_saved_rate(cls, opt, optimizer, states, hard_reset=False):
        rates = [group['lr'] for group in optimizer.param_groups]
        scheduler = make(cls, opt, optimizer, states, hard_reset)
        same = states and states.get('lr_scheduler_type') == opt.get('lr_scheduler') and states.get('optimizer')
        if scheduler is not None and same and not hard_reset:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group['lr'] = rate
        return scheduler

    module.ParlAILRScheduler.lr_scheduler_factory = classmethod(at_the_saved_rate)
    return True


@fixes('parlai.core.torch_agent')
def resumed_count_of_updates(module: Any) -> bool:
    """A training resumed with `--lr-scheduler none` counts its updates from 0, so schedules by updates begin again.

    ParlAI 1.7.2 reads the count of a checkpoint only with a scheduler, on every stack. It is now read without one, too.
    """
    build = module.TorchAgent.build_lr_scheduler

    @functools.wraps(build)
    def with_count(self, states=None, hard_reset=False):
        build(self, states, hard_reset)
        if self.scheduler is None and not hard_reset:
            self._number_training_updates = (states or {}).get('number_training_updates', 0)

    module.TorchAgent.build_lr_scheduler = with_count
    return True


@fixes('parlai.agents.seq2seq.seq2seq')
def seq2seq_loads_numpy_scalars(module: Any) -> bool:
    """A `seq2seq` checkpoint of `--lr-scheduler invsqrt` cannot be loaded, so training ends in an error.

    The cause: since torch 2.6, `torch.load` reads only tensors and plain values. The scheduler computes with numpy, so
    its learning rates are numpy scalars. Detected by writing and reading one. Loading stays safe: while
    `Seq2seqAgent.load` runs, only plain objects of numpy and ParlAI are allowed in addition.
    """
    import numpy as np
    import torch

    scalar = np.float64(0.0)
    buffer = io.BytesIO()
    torch.save(scalar, buffer)
    buffer.seek(0)
    if not fails(lambda: torch.load(buffer), pickle.UnpicklingError):
        return False
    from parlai_persona.models.saved import read_saved

    load = module.Seq2seqAgent.load

    @functools.wraps(load)
    def safe_load(self, path):
        states = read_saved(path)
        self.model.load_state_dict(states['model'])
        if 'longest_label' in states:
            self.model.longest_label = states['longest_label']
        return states

    module.Seq2seqAgent.load = safe_load
    return True


@fixes('parlai.core.dict')
def dictionary_without_np_int(module: Any) -> bool:
    """`DictionaryAgent.txt2vec(text, np.ndarray)` fails because it uses `np.int`.

    The cause: numpy 1.24 dropped the name. Detected by its absence. The array is now made from the list.
    """
    np = module.np
    if hasattr(np, 'int'):
        return False
    txt2vec = module.DictionaryAgent.txt2vec

    @functools.wraps(txt2vec)
    def with_int(self, text, vec_type=list):
        if vec_type is np.ndarray:
            return np.array(txt2vec(self, text, list), dtype=int)
        return txt2vec(self, text, vec_type)

    module.DictionaryAgent.txt2vec = with_int
    return True


@fixes('parlai.core.dict')
def nltk_sentence_model(module: Any) -> bool:
    """`--dict-tokenizer nltk` downloads `punkt`, and NLTK then looks for `punkt_tab`.

    The cause: NLTK 3.8.2 renamed the model. Detected when the tokenizer is chosen, by looking for both. The model that
    NLTK needs is now downloaded before ParlAI looks for the old one. Without a network, NLTK's message says what to do.
    """
    init = module.DictionaryAgent.__init__

    @functools.wraps(init)
    def with_model(self, opt, shared=None):
        if opt.get('dict_tokenizer') == 'nltk':
            _fetch_sentence_model()
        init(self, opt, shared)

    module.DictionaryAgent.__init__ = with_model
    return True


def _fetch_sentence_model() -> None:
    """Download `punkt_tab` if the installed NLTK needs it and it is not on this machine."""
    try:
        import nltk
        from nltk.tokenize.punkt import PunktTokenizer  # noqa: F401  the class that reads it
    except ImportError:  # without NLTK, ParlAI says so; with an older one, ParlAI is right
        return
    try:
        nltk.data.find('tokenizers/punkt_tab')
    except LookupError:
        nltk.download('punkt_tab')


@fixes('parlai.core.torch_agent')
def empty_first_message(module: Any) -> bool:
    """An empty first message gets no answer, and it ends the training of some agents with an error.

    ParlAI 1.7.2 does this on every stack: `TorchAgent` makes no vector of an empty text. Detected with an empty text.
    The vector is now the end token. A message with an image does not change, because the agent answers the image.
    """
    import torch

    set_text_vec = module.TorchAgent._set_text_vec
    if 'text_vec' in set_text_vec(None, module.Message(text=''), SimpleNamespace(get_history_str=str), None):
        return False

    @functools.wraps(set_text_vec)
    def never_empty(self, obs, history, truncate):
        obs = set_text_vec(self, obs, history, truncate)
        if obs.get('text') is not None and obs.get('text_vec') is None and 'image' not in obs:
            obs.force_set('text_vec', torch.tensor([self.END_IDX]))
            obs.force_set('full_text_vec', [self.END_IDX])
        return obs

    module.TorchAgent._set_text_vec = never_empty
    return True


@fixes('parlai.agents.hred.hred')
def hred_empty_turns(module: Any) -> bool:
    """`hred` fails on a dialogue with an empty turn, and `self_chat` always begins with one.

    ParlAI 1.7.2 does this on every stack: a recurrent network cannot read an utterance without words. Detected by the
    empty turn, which is now left out of the context. A context without any words becomes the end token.
    """
    import torch

    set_text_vec = module.HredAgent._set_text_vec

    @functools.wraps(set_text_vec)
    def without_empty_turns(self, obs, history, truncate):
        obs = set_text_vec(self, obs, history, truncate)
        if obs.get('text') is None:
            return obs
        words = [turn for turn in obs.get('context_vec') or () if turn]
        obs.force_set('context_vec', words or [[self.END_IDX]])
        if not len(obs.get('text_vec', ())):
            obs.force_set('text_vec', torch.tensor([self.END_IDX]))
        return obs

    module.HredAgent._set_text_vec = without_empty_turns
    return True


@fixes('parlai.scripts.train_model')
def seed_before_the_model(module: Any) -> bool:
    """`train_model --seed` sets the seed after it has made the model, so two runs with one seed differ.

    ParlAI 1.7.2 does this on every stack. Detected by the order of the two calls. `TrainLoop` now sets the seed before
    it makes the model, even when it is used without `TrainModel`.
    """
    calls = inspect.getsource(module.TrainModel.run)
    if calls.find('set_seed(') < calls.find('TrainLoop('):
        return False
    init = module.TrainLoop.__init__

    @functools.wraps(init)
    def seeded(self, opt):
        if opt.get('seed') is not None:
            module.set_seed(opt['seed'])
        init(self, opt)

    module.TrainLoop.__init__ = seeded
    return True


@fixes('parlai.scripts.train_model')
def resumed_training_keeps_the_best_model(module: Any) -> bool:
    """A resumed training that finds no better model ends with its last weights instead of the best ones.

    ParlAI 1.7.2 forgets that the best model has been saved, on every stack. Detected whenever a training resumes: the
    statistics have a best validation, and the model file exists.
    """
    init = module.TrainLoop.__init__

    @functools.wraps(init)
    def remembering(self, opt):
        init(self, opt)
        if self.best_valid is not None and module.PathManager.exists(opt.get('model_file') or ''):
            self.saved = True

    module.TrainLoop.__init__ = remembering
    return True


@fixes('parlai.scripts.train_model')
def agents_know_the_epoch(module: Any) -> bool:
    """An agent cannot have a schedule in epochs: ParlAI does not tell it how many are over.

    ParlAI 1.7.2 does this on every stack. The agent of a training now has a function `epochs_done`. A resumed training
    has the number of its checkpoint.
    """
    init = module.TrainLoop.__init__

    @functools.wraps(init)
    def telling(self, opt):
        init(self, opt)
        self.agent.epochs_done = lambda: vars(self).get('_total_epochs', self._preempted_epochs)

    module.TrainLoop.__init__ = telling
    return True


@fixes('parlai.agents.transformer.biencoder')
def biencoder_takes_long_texts(module: Any) -> bool:
    """`transformer/biencoder` fails on a text of `--text-truncate` tokens or more: two of the tokens have no position.

    ParlAI 1.7.2 adds the start and end tokens after it has cut the text, on every stack. Detected in the method that
    adds them. The text is now cut two tokens earlier.
    """
    return _room_for_start_and_end(module.BiencoderAgent)


@fixes('parlai.agents.transformer.polyencoder')
def polyencoder_takes_long_texts(module: Any) -> bool:
    """`transformer/polyencoder` fails on long texts like the biencoder; see `biencoder_takes_long_texts`."""
    return _room_for_start_and_end(module.PolyencoderAgent)


def _room_for_start_and_end(agent: Any) -> bool:
    set_text_vec = vars(agent).get('_set_text_vec')
    if set_text_vec is None or '_add_start_end_tokens' not in set_text_vec.__code__.co_names:
        return False

    @functools.wraps(set_text_vec)
    def shorter(self, obs, history, truncate):
        return set_text_vec(self, obs, history, truncate - 2 if truncate and truncate > 2 else truncate)

    agent._set_text_vec = shorter
    return True


@fixes('parlai.agents.hred.hred')
def hred_empty_batches(module: Any) -> bool:
    """`hred` fails on an empty batch; with several processes, an evaluation can end with one.

    ParlAI 1.7.2 does this on every stack. Detected by the empty batch, which is now made as in ParlAI's other agents.
    """
    batchify = module.HredAgent.batchify

    @functools.wraps(batchify)
    def batchify_or_nothing(self, obs_batch, sort=True):
        if any(self.is_valid(obs) for obs in obs_batch):
            return batchify(self, obs_batch, sort)
        return module.TorchGeneratorAgent.batchify(self, obs_batch, sort)

    module.HredAgent.batchify = batchify_or_nothing
    return True
