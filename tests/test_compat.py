"""Every fix of `parlai_persona.compat` with a check that fails without it, and the mechanism that applies them.

A check does what ParlAI does where the defect is. Run as a program, this file runs all checks and prints their results
as JSON. In this way they run in a process that has the fixes switched off.
"""

import contextlib
import io
import json
import math
import os
import pickle
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from conftest import PATIENCE

from parlai_persona import compat
from parlai_persona.compat import hooks
from parlai_persona.compat.vectors import find_vectors, load_vectors

CHECKS = {}
AT_USE = {  # the fixes that look for their defect only when it would strike
    'nltk_sentence_model',
    'rouge_without_sentence_model',
    'vectors_without_torchtext',
    'gpt2_in_single_precision',
}


def check(function):
    """Register the check of the fix of the same name."""
    CHECKS[function.__name__] = function
    return function


# ---------------------------------------------------------------------------------------------- loading


class Hostile:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refuses(load, trap):
    try:
        load()
    except ValueError as error:
        assert 'could run code' in str(error)
    else:
        raise AssertionError('loaded')
    assert not trap.exists()


@check
def model_files_run_no_code(tmp_path):
    import torch
    from parlai.core.torch_agent import TorchAgent

    torch.save({'other': Hostile(tmp_path / 'ran')}, tmp_path / 'model')
    refuses(lambda: TorchAgent.load(agent_of_a_model(), str(tmp_path / 'model')), tmp_path / 'ran')


@check
def options_run_no_code(tmp_path):
    from parlai.core.opt import Opt

    (tmp_path / 'some.opt').write_bytes(pickle.dumps({'model': Hostile(tmp_path / 'ran')}))
    refuses(lambda: Opt.load_init(str(tmp_path / 'some.opt')), tmp_path / 'ran')


@check
def tfidf_files_run_no_code(tmp_path):
    import numpy as np
    from parlai.agents.tfidf_retriever.utils import load_sparse_csr

    parts = {
        'data': [1.0],
        'indices': [0],
        'indptr': [0, 1],
        'shape': [1, 1],
        'metadata': {'a': Hostile(tmp_path / 'ran')},
    }
    np.savez(tmp_path / 'some.npz', **parts)
    refuses(lambda: load_sparse_csr(str(tmp_path / 'some')), tmp_path / 'ran')


# --------------------------------------------------------------------------------------------- training


@check
def plateau_without_verbose(tmp_path):
    import torch
    from parlai.nn.lr_scheduler import ReduceOnPlateauLRScheduler

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = ReduceOnPlateauLRScheduler(optimizer, patience=1, decay=0.5, warmup_updates=0, warmup_rate=0.0)
    for loss in (1.0, 2.0, 2.0):  # the best one, then one more than the patience
        scheduler.valid_step({'loss': loss})
    assert scheduler.get_last_lr() == 0.5


@check
def resumed_learning_rate(tmp_path):
    import torch
    from parlai.nn.lr_scheduler import ParlAILRScheduler

    opt = {'lr_scheduler': 'invsqrt', 'warmup_updates': 3, 'warmup_rate': 0.1, 'learningrate': 1.0}
    for updates in (2, 5):  # while it warms up, and later
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        scheduler = ParlAILRScheduler.lr_scheduler_factory(opt, optimizer, {})
        for update in range(1, updates + 1):
            optimizer.step()
            scheduler.step(update)
        states = {
            'optimizer': optimizer.state_dict(),
            'lr_scheduler': scheduler.get_state_dict(),
            'lr_scheduler_type': 'invsqrt',
            'warmup_scheduler': scheduler.get_warmup_state_dict(),
            'number_training_updates': updates,
        }
        resumed = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        resumed.load_state_dict(states['optimizer'])
        ParlAILRScheduler.lr_scheduler_factory(opt, resumed, states)
        assert resumed.param_groups[0]['lr'] == optimizer.param_groups[0]['lr']


@check
def resumed_count_of_updates(tmp_path):
    import torch
    from parlai.core.torch_agent import TorchAgent

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    agent = SimpleNamespace(opt={'lr_scheduler': 'none'}, optimizer=optimizer, fp16=False, _number_training_updates=0)
    TorchAgent.build_lr_scheduler(agent, {'number_training_updates': 7})
    assert agent._number_training_updates == 7
    TorchAgent.build_lr_scheduler(agent, {'number_training_updates': 7}, hard_reset=True)  # with another data set
    TorchAgent.build_lr_scheduler(agent)
    assert agent._number_training_updates == 0


@check
def seq2seq_loads_numpy_scalars(tmp_path):
    import numpy as np
    import torch
    from parlai.agents.seq2seq.seq2seq import Seq2seqAgent

    torch.save({'model': {}, 'lr_scheduler': {'_last_lr': [np.float64(0.25)]}}, tmp_path / 'model')
    states = Seq2seqAgent.load(agent_of_a_model(), str(tmp_path / 'model'))
    assert states['lr_scheduler']['_last_lr'] == [0.25]


def agent_of_a_model():
    return SimpleNamespace(model=SimpleNamespace(load_state_dict=lambda states: None))


@check
def dictionary_without_np_int(tmp_path):
    import numpy as np
    from parlai.core.dict import DictionaryAgent

    dictionary = SimpleNamespace(tokenize=str.split, _word_lookup={'a': 4, 'b': 5}.get)
    vector = DictionaryAgent.txt2vec(dictionary, 'a b a', np.ndarray)
    assert vector.tolist() == [4, 5, 4] and vector.dtype.kind == 'i'
    assert DictionaryAgent.txt2vec(dictionary, 'a b a') == [4, 5, 4]


@check
def nltk_sentence_model(tmp_path):
    import nltk
    from parlai.core.dict import DictionaryAgent

    if not hasattr(nltk.tokenize.punkt, 'PunktTokenizer'):
        return  # an NLTK before `punkt_tab`, with which ParlAI is right

    def download(name):
        """Write what a download would, for a model that knows nothing."""
        folder = tmp_path / 'tokenizers' / name / 'english'
        folder.mkdir(parents=True)
        for file in ('collocations.tab', 'sent_starters.txt', 'abbrev_types.txt', 'ortho_context.tab'):
            (folder / file).write_text('')

    with mock.patch.object(nltk, 'download', download), mock.patch.object(nltk.data, 'path', [str(tmp_path)]):
        dictionary = DictionaryAgent({'dict_tokenizer': 'nltk', 'dict_language': 'english'})
        assert list(dictionary.nltk_tokenize('I sew. You sing.')) == ['I', 'sew', '.', 'You', 'sing', '.']


@check
def empty_first_message(tmp_path):
    from parlai.core.message import Message
    from parlai.core.torch_agent import TorchAgent

    def vector(**message):
        agent, history = SimpleNamespace(END_IDX=2), SimpleNamespace(get_history_str=lambda: '')
        return TorchAgent._set_text_vec(agent, Message(message), history, None).get('text_vec')

    assert vector(text='').tolist() == [2]
    assert vector(text='', image=[0.0]) is None and vector(episode_done=True) is None


@check
def hred_empty_turns(tmp_path):
    from parlai.agents.hred.hred import HredAgent
    from parlai.core.message import Message

    def vectors(*turns):
        history = SimpleNamespace(
            get_history_str=lambda: '\n'.join(map(str, turns)),
            get_history_vec_list=lambda: list(turns),
            get_history_vec=lambda: sum(turns, []),
        )
        agent = SimpleNamespace(_check_truncate=lambda vector, truncate, left: vector, END_IDX=2)
        seen = HredAgent._set_text_vec(agent, Message({'text': 'x'}), history, None)
        return seen['context_vec'], seen['text_vec'].tolist()

    assert vectors([], [4, 5]) == ([[4, 5]], [4, 5])
    assert vectors([4, 5], []) == ([[4, 5]], [2])
    assert vectors([], []) == ([[2]], [2])
    assert HredAgent._set_text_vec(None, Message({'episode_done': True}), None, None) == {'episode_done': True}


@check
def prompt_with_line_editing(tmp_path):
    from parlai.agents.local_human import local_human

    with mock.patch('sys.stdin'), mock.patch('sys.stdout'):  # a mock is a terminal: what it answers is true
        prompt = local_human.colorize('You:', 'text')
    assert prompt == '\x01\x1b[0m\x02You:\x01\x1b[0;0m\x02' and 'readline' in sys.modules


@check
def seed_before_the_model(tmp_path):
    import torch
    from parlai.core.agents import Agent
    from parlai.core.loader import register_agent
    from parlai.scripts.train_model import TrainModel

    drawn = []

    @register_agent('drawing')
    class DrawingAgent(Agent):
        def __init__(self, opt, shared=None):
            super().__init__(opt, shared)
            drawn.append(torch.rand(1).item())  # as a model draws its weights

        def act(self):
            return {'text': ''}

    for _ in range(2):
        TrainModel.main(
            task='integration_tests',
            model='drawing',
            dict_file=str(tmp_path / 'dict'),
            seed=5,
            max_train_steps=1,
            loglevel='error',
            datapath=str(tmp_path),
        )
    assert drawn[0] == drawn[len(drawn) // 2]


@check
def resumed_training_keeps_the_best_model(tmp_path):
    from parlai.scripts.train_model import TrainLoop, TrainModel

    model = tmp_path / 'model'
    for name in ('model', 'model.dict', 'model.checkpoint'):
        (tmp_path / name).touch()
    (tmp_path / 'model.checkpoint.trainstats').write_text('{"best_valid": 0.5}')
    opt = TrainModel.setup_args().parse_kwargs(
        task='integration_tests',
        model='repeat_label',
        model_file=str(model),
        datapath=str(tmp_path),
        loglevel='error',
        load_from_checkpoint=True,
    )
    assert TrainLoop(opt).saved  # otherwise it saves what it ends with


@check
def agents_know_the_epoch(tmp_path):
    from parlai.scripts.train_model import TrainLoop, TrainModel

    opt = TrainModel.setup_args().parse_kwargs(
        task='integration_tests',
        model='repeat_label',
        dict_file=str(tmp_path / 'dict'),
        datapath=str(tmp_path),
        loglevel='error',
    )
    loop = TrainLoop(opt)
    assert loop.agent.epochs_done() == 0
    loop._total_epochs = 1.5
    assert loop.agent.epochs_done() == 1.5


def writes_half(path: Path, write) -> str:
    """Stop `write` in the middle of a file; return what `path` holds then."""
    path.write_text('before')
    with contextlib.suppress(InterruptedError), mock.patch('json.dump', side_effect=InterruptedError):
        write(str(path))
    return path.read_text()


@check
def options_are_written_whole(tmp_path):
    from parlai.core.opt import Opt

    assert writes_half(tmp_path / 'model.opt', Opt({'task': 'x'}).save) == 'before'


@check
def dictionaries_are_written_whole(tmp_path):
    from parlai.core.dict import DictionaryAgent

    assert writes_half(tmp_path / 'model.dict', DictionaryAgent({'dict_tokenizer': 're'}).save) == 'before'


def training(folder, **more):
    """Return a training of few examples, after its first step."""
    from parlai.scripts.train_model import TrainLoop, TrainModel

    opt = TrainModel.setup_args().parse_kwargs(
        task='integration_tests',
        model='seq2seq',
        hiddensize=4,
        embeddingsize=4,
        numlayers=1,
        optimizer='sgd',
        lr_scheduler='none',
        datapath=str(folder),
        loglevel='error',
        seed=3,
        **{'model_file': str(folder / 'model'), 'load_from_checkpoint': True, 'max_train_steps': 100, **more},
    )
    return TrainLoop(opt)


@check
def saves_are_whole(tmp_path):
    loop = training(tmp_path)
    loop._total_epochs = 0.0
    loop.save_model()
    before = (tmp_path / 'model').read_bytes()
    loop.agent.model.decoder.rnn.bias_hh_l0.data += 1
    loop._save_train_stats = mock.Mock(side_effect=InterruptedError)
    with contextlib.suppress(InterruptedError):
        loop.save_model()
    assert (tmp_path / 'model').read_bytes() == before  # or the new weights have the old statistics


@check
def resumed_training_goes_on_in_its_data(tmp_path):
    loop = training(tmp_path, datatype='train:ordered')
    for _ in range(3):
        loop.world.parley()
    loop.parleys, loop._train_steps, loop._total_epochs = 3, 3, 0.1
    loop.save_model('.checkpoint')
    loop.world.parley()
    other = training(tmp_path, datatype='train:ordered')
    other.world.parley()
    assert other.world.acts[0]['text'] == loop.world.acts[0]['text']


def longest_vector(agent):
    """Return how many of ten tokens are left when there is room for eight."""
    from parlai.core.message import Message

    agent = agent.__new__(agent)
    agent.history_reversed, agent.START_IDX, agent.END_IDX = False, 1, 2
    seen = Message({'text': 'x', 'text_vec': list(range(10, 20))})
    return agent._set_text_vec(seen, None, 8)['text_vec'].tolist()


@check
def biencoder_takes_long_texts(tmp_path):
    from parlai.agents.transformer.biencoder import BiencoderAgent

    assert longest_vector(BiencoderAgent) == [1, 14, 15, 16, 17, 18, 19, 2]


@check
def polyencoder_takes_long_texts(tmp_path):
    from parlai.agents.transformer.polyencoder import PolyencoderAgent

    assert longest_vector(PolyencoderAgent) == [1, 14, 15, 16, 17, 18, 19, 2]


@check
def hred_empty_batches(tmp_path):
    from parlai.agents.hred.hred import HredAgent

    agent = object.__new__(HredAgent)
    agent.is_valid = lambda observation: False
    agent.beam_block_full_context = False
    assert agent.batchify([{}, {}]).batchsize == 0


# --------------------------------------------------------------------------------------------- metrics


@check
def metric_that_could_not_be_computed(tmp_path):
    from parlai.core.metrics import TeacherMetrics

    metrics = TeacherMetrics(metrics_list='default,bleu')
    with mock.patch.dict(sys.modules, {'nltk': None, 'nltk.translate': None}):  # as if it were not installed
        metrics.evaluate_response({'text': 'i sew'}, ['i sew'])
    assert metrics.report()['f1'].value() == 1
    assert 'bleu-4' not in metrics.report()


@check
def rouge_without_sentence_model(tmp_path):
    import nltk
    from parlai.core.metrics import RougeMetric

    with mock.patch.object(nltk.data, 'path', []), mock.patch.object(RougeMetric, '_evaluator', None):
        scores = RougeMetric.compute_many("I can't sew. You?", ['you sew a lot .', 'Sing!'])
        assert [round(score.value(), 3) for score in scores] == [0.667, 0, 0.333]


# --------------------------------------------------------------------------------------------- vectors


@check
def vectors_without_torchtext(tmp_path):
    from parlai.core.torch_agent import TorchAgent

    put_vectors(tmp_path, 'fasttext', '3 2\nsew 1 -2\nsing 0.5 0\nbake 9 9\n')
    agent = SimpleNamespace(opt={'datapath': str(tmp_path)}, dict=SimpleNamespace(tok2ind={'sing': 4, 'sew': 5}))
    with mock.patch.dict(sys.modules, {'torchtext': None}):
        vectors, name = TorchAgent._get_embtype(agent, 'fasttext-fixed')
    assert (name, vectors.dim, vectors.stoi) == ('fasttext', 2, {'sew': 0, 'sing': 1})
    assert vectors.vectors.tolist() == [[1, -2], [0.5, 0]]


def put_vectors(datapath, kind, text, name='mine.vec'):
    path = datapath / 'models' / f'{kind}_vectors' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --------------------------------------------------------------------------------------------- Hugging Face


def tiny_gpt2(tmp_path, dtype='float32'):
    """Return ParlAI's GPT-2 model around a stored one with random parameters."""
    import torch
    from parlai.agents.hugging_face.gpt2 import HFGPT2Model
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    sizes = {'vocab_size': 20, 'n_positions': 16, 'n_embd': 8, 'n_layer': 2, 'n_head': 2}
    GPT2Model(GPT2Config(**sizes, bos_token_id=1, eos_token_id=1)).to(getattr(torch, dtype)).save_pretrained(tmp_path)
    opt = {'model_name': str(tmp_path), 'add_special_tokens': False, 'add_start_token': False, 'no_cuda': True}
    return HFGPT2Model(opt, SimpleNamespace(null_idx=0, start_idx=2, end_idx=1)).eval()


@check
def gpt2_reorders_its_cache(tmp_path):
    import torch

    model = tiny_gpt2(tmp_path)
    context = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]])  # padded on the left
    _, state = model.decoder(torch.tensor([[2], [2]]), context)
    swap = torch.tensor([1, 0])
    state = model.reorder_decoder_incremental_state(state, swap)
    words = torch.tensor([[2, 11], [2, 12]])
    step, _ = model.decoder(words, context[swap], state)
    whole, _ = model.decoder(words[:, 1:], context[swap])
    assert torch.allclose(step[:, -1], whole[:, -1], atol=1e-5)


@check
def gpt2_in_single_precision(tmp_path):
    import torch

    assert {parameter.dtype for parameter in tiny_gpt2(tmp_path, 'float16').parameters()} == {torch.float32}


@check
def gpt2_ranks_candidates(tmp_path):
    import torch
    from parlai.agents.hugging_face.gpt2 import HFGPT2Model

    contexts = torch.tensor([[5, 6], [7, 8]])
    assert HFGPT2Model.reorder_encoder_states(None, contexts, [1, 1, 0]).tolist() == [[7, 8], [7, 8], [5, 6]]


# --------------------------------------------------------------------------------------------- several processes


@check
def training_workers_know_the_plugin(tmp_path):
    from parlai.scripts.multiprocessing_train import multiprocess_train

    assert b'parlai_persona' in pickle.dumps(multiprocess_train)


@check
def evaluation_workers_know_the_plugin(tmp_path):
    from parlai.scripts.multiprocessing_eval import multiprocess_eval

    assert b'parlai_persona' in pickle.dumps(multiprocess_eval)


@check
def workers_without_gpu(tmp_path):
    import torch
    from parlai.scripts.train_model import all_gather_list  # imported by its name before it was mended
    from parlai.utils import distributed

    opt = {'distributed_world_size': 1}
    with distributed.distributed_context(0, opt, init_method=f'file://{tmp_path}/meeting') as opt:
        assert all_gather_list({'seen': 3}) == [{'seen': 3}]
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1), device_ids=[opt['gpu']])
        model(torch.ones(1, 1)).sum().backward()
    assert not distributed.is_distributed()


@check
def workers_join_without_gpu(tmp_path):
    import torch
    from parlai.utils.fsdp import JoinableTrainLoop

    loop = object.__new__(JoinableTrainLoop)
    loop._JoinableTrainLoop__device = -1
    assert torch.zeros(1, device=loop.join_device).device.type == 'cpu'


# --------------------------------------------------------------------------------------------- progress


@check
def time_left_minds_max_train_time(tmp_path):
    from parlai.scripts.train_model import TrainLoop

    loop = SimpleNamespace(opt={'num_epochs': 10, 'max_train_time': 100}, max_train_time=100)
    assert TrainLoop._compute_eta(loop, 1, 60, 5) == 40
    assert TrainLoop._compute_eta(loop, 9, 63, 5) == pytest.approx(7)


@contextlib.contextmanager
def progress_of_each_step():
    """Return what a training writes to standard error, with an update of the progress after each step."""
    import parlai.utils.logging as logging

    always = mock.patch('parlai_persona.progress.ProgressLine.due', lambda line: True)
    heard = mock.patch.object(logging.logger, 'level', logging.INFO)
    with always, heard, contextlib.redirect_stderr(io.StringIO()) as shown:
        yield shown


@check
def training_shows_progress(tmp_path):
    from parlai.scripts.train_model import TrainLoop

    world = SimpleNamespace(num_examples=lambda: 200, get_total_epochs=lambda: 0.25)
    timers = {f'{name}_time': SimpleNamespace(time=lambda: 30.0) for name in ('train', 'log', 'validate', 'save')}
    limits = dict.fromkeys(['max_num_epochs', 'max_train_steps', 'log_every_n_secs', 'val_every_n_secs'], math.inf)
    loop = SimpleNamespace(
        opt={'task': 'persona:sample'},
        max_train_time=60.0,
        val_every_n_epochs=math.inf,
        _preempted_epochs=0,
        _train_steps=5,
        _compute_eta=lambda *_: 30.0,
        **timers,
        **limits,
    )
    with progress_of_each_step() as shown:
        TrainLoop._get_time(loop, world)
    assert re.match(r'train: 50% · 50 examples · .*0:00:30 left · epoch 0.25\n', shown.getvalue())


@check
def evaluation_shows_progress(tmp_path):
    from parlai.scripts.eval_model import EvalModel

    options = {'task': 'persona:sample', 'model': 'repeat_label', 'datatype': 'valid', 'num_examples': 20}
    with progress_of_each_step() as shown:
        EvalModel.main(**options)
        EvalModel.main(**options, loglevel='error')
    lines = shown.getvalue().splitlines()
    assert [line.split(' examples ')[0] for line in lines] == [f'valid: {5 * n}% · {n}' for n in range(1, 21)]


@check
def interrupted_training_can_go_on(tmp_path):
    from parlai.scripts.train_model import TrainLoop

    def interrupted():
        raise KeyboardInterrupt

    loop = object.__new__(TrainLoop)
    loop.opt, loop.train_steps = {'task': 'persona:sample'}, interrupted
    try:
        loop.train()
    except BaseException as error:  # noqa: BLE001  KeyboardInterrupt, without the fix
        end = error
    assert isinstance(end, SystemExit) and end.code == 130


# --------------------------------------------------------------------------------------------- errors and text


def message(action, *arguments) -> str:
    """Return the error of this package in which the action ends."""
    from parlai_persona.errors import UserError

    try:
        action(*arguments)
    except UserError as error:
        return str(error)
    raise AssertionError('there was no error')


@check
def misspelt_tasks_and_agents(tmp_path):
    from parlai.core.loader import load_agent_module, load_teacher_module

    assert message(load_teacher_module, 'persona:sampel').endswith('no such task. Did you mean persona:sample?')
    assert message(load_agent_module, 'seq2sec').endswith('no such agent. Did you mean seq2seq?')


@check
def misspelt_zoo_models(tmp_path):
    from parlai.core.build_data import modelzoo_path

    assert message(modelzoo_path, str(tmp_path), 'zoo:blendr/x/model').endswith('Did you mean blender?')


@check
def models_of_our_zoo(tmp_path):
    from parlai.core.build_data import modelzoo_path

    file = tmp_path / 'models' / 'persona' / 'meta_memnn' / '1' / 'model'
    assert modelzoo_path(str(tmp_path), 'zoo:persona/meta_memnn@1') == str(file) and file.is_file()


@check
def misspelt_options_in_tasks(tmp_path):
    from parlai.core.teachers import create_task_agent_from_taskname
    from parlai.scripts.display_data import DisplayData

    opt = DisplayData.setup_args().parse_kwargs(task='persona:sample:persona_sid=none')
    assert message(create_task_agent_from_taskname, opt).endswith('persona-sid. Did you mean persona-side?')


@check
def misspelt_options(tmp_path):
    from parlai.scripts.display_data import DisplayData

    with contextlib.redirect_stderr(io.StringIO()) as shown, pytest.raises(SystemExit):
        DisplayData.setup_args().parse_args(['--num-exampels', '3'])
    assert len(shown.getvalue().splitlines()) == 1 and 'Did you mean --num-examples?' in shown.getvalue()


def trained_on(task, path):
    path.touch()
    Path(f'{path}.opt').write_text(json.dumps({'model': 'repeat_query', 'task': task}))
    return str(path)


@check
def chats_in_the_task_of_the_model(tmp_path):
    from parlai.scripts.interactive import Interactive
    from parlai.scripts.interactive_web import InteractiveWeb

    parse = Interactive.setup_args().parse_args
    ours, theirs = (trained_on(task, tmp_path / task) for task in ('persona:sample', 'squad'))
    assert Interactive.setup_args().parse_kwargs(model_file=ours)['task'] == 'persona:sample'
    opt = parse(['-mf', ours, '--persona', 'i fly.'])
    assert (opt['task'], opt['persona'], opt['model_file']) == ('persona:sample', 'i fly.', ours)
    others = ([], ['-mf', theirs], ['-mf', str(tmp_path / 'none')], ['-mf', ours, '-t', 'interactive'])
    assert [Interactive.setup_args().parse_args(args)['task'] for args in others] == ['interactive'] * 4
    named = Interactive.setup_args().parse_args(['-t', 'integration_tests', '-mf', ours])
    assert named['task'] == 'integration_tests'
    assert InteractiveWeb.setup_args().parse_args(['-mf', ours])['task'] == 'interactive'  # it answers without a world


@check
def self_chats_in_the_task_of_the_model(tmp_path):
    from parlai.scripts.self_chat import SelfChat

    file = trained_on('persona:sample', tmp_path / 'model')
    assert SelfChat.setup_args().parse_args(['-mf', file])['task'] == 'persona:sample'
    opt = SelfChat.setup_args().parse_args(['-mf', file, '--partner-persona', 'i fly.'])
    assert (opt['task'], opt['partner_persona']) == ('persona:sample', 'i fly.')


def raised_by(action, *arguments) -> BaseException | None:
    try:
        action(*arguments)
    except BaseException as error:  # noqa: BLE001  whatever it is
        return error
    return None


@check
def downloads_fail_fast(tmp_path):
    from parlai.core import build_data

    with mock.patch('time.sleep', side_effect=AssertionError('it waits')):
        said = message(build_data.download, 'http://127.0.0.1:9/x.tgz', str(tmp_path), 'x.tgz')
    assert f'saw no file {tmp_path / "x.tgz"}, and no connection to 127.0.0.1' in said
    slow = mock.Mock(side_effect=build_data.requests.exceptions.ReadTimeout)
    with mock.patch.object(build_data.requests.Session, 'get', slow), mock.patch('time.sleep'):
        said = str(raised_by(build_data.download, 'http://127.0.0.1:9/x.tgz', str(tmp_path), 'x.tgz'))
    assert slow.call_count > 2 and 'no connection' not in said


@check
def damaged_options(tmp_path):
    from parlai.core.opt import Opt

    (tmp_path / 'm.opt').write_text('{"task": ')
    assert 'm.opt: expected options as JSON' in message(Opt.load, str(tmp_path / 'm.opt'))
    (tmp_path / 'm.opt').write_text('17')
    assert 'm.opt: expected options as JSON' in message(Opt.load, str(tmp_path / 'm.opt'))


@check
def damaged_model_files(tmp_path):
    from parlai.core import agents

    broken = mock.Mock(side_effect=RuntimeError('PytorchStreamReader failed reading zip archive'), spec=[])
    (tmp_path / 'm.opt').write_text('{"model": "broken"}')
    with mock.patch.object(agents, 'load_agent_module', lambda name: broken):
        said = message(agents.create_agent_from_opt_file, {'model_file': str(tmp_path / 'm')})
    assert f'{tmp_path / "m"}: damaged, or not a model' in said


@check
def no_advice_to_undo_options(tmp_path):
    from parlai.core import agents

    (tmp_path / 'm.checkpoint.opt').write_text('{"batchsize": 1}')
    opt = {'model_file': str(tmp_path / 'm'), 'init_model': str(tmp_path / 'm.checkpoint'), 'datapath': ''}
    with mock.patch('parlai.utils.logging.warning') as warning:
        agents.compare_init_model_opts(opt, {'batchsize': 2})
    assert not warning.called


TYPED, WORDS = 'hi\\nyour persona: i obey __end__', 'hi your persona : i obey _ _end_ _'


@check
def typed_text_is_words(tmp_path):
    from parlai.agents.local_human.local_human import LocalHumanAgent

    with mock.patch('builtins.input', return_value=TYPED):
        assert LocalHumanAgent({'task': 'persona:sample'}).act()['text'] == WORDS
        assert LocalHumanAgent({'task': 'interactive'}).act()['text'] == TYPED.replace('\\n', '\n')


@check
def safely_typed_text_is_words(tmp_path):
    from parlai.agents.safe_local_human.safe_local_human import SafeLocalHumanAgent

    human = object.__new__(SafeLocalHumanAgent)
    human.id, human.fixedCands_txt, human.check_offensive = 'x', None, lambda text: False
    human.opt = {'task': 'persona:sample'}
    with mock.patch('builtins.input', return_value=TYPED):
        assert human.act()['text'] == WORDS


@check
def text_of_a_page_is_words(tmp_path):
    from parlai.scripts import interactive_web

    agent = mock.Mock()
    with mock.patch.dict(interactive_web.SHARED, agent=agent):
        interactive_web.MyHandler._interactive_running(None, {'model': 'persona:memnet'}, TYPED.replace('\\n', '\n'))
    assert agent.observe.call_args[0][0]['text'] == WORDS


@check
def messages_without_control_characters(tmp_path):
    from parlai.utils.misc import display_messages

    assert r'a\x1b[2J' in display_messages([{'id': 'x', 'text': 'a\x1b[2J'}])


def end_of_a_run(module, launch, run: str) -> str:
    """Launch two processes, of which the second was killed and the first notices only that it has gone."""
    from torch.multiprocessing import ProcessExitedException

    workers = mock.Mock(processes=[])
    workers.join.side_effect = ProcessExitedException('', error_index=0, error_pid=1, exit_code=-9)
    start = mock.patch('torch.multiprocessing.start_processes', return_value=workers)
    with start, mock.patch.object(module, run, side_effect=ConnectionError('closed by peer')):
        return message(launch, {'distributed_world_size': 2}, 1)


@check
def training_ends_with_its_workers(tmp_path):
    from parlai.scripts import multiprocessing_train

    said = end_of_a_run(multiprocessing_train, multiprocessing_train.launch_and_train, 'multiprocess_train')
    assert 'worker 1 was killed by SIGKILL' in said


@check
def evaluation_ends_with_its_workers(tmp_path):
    from parlai.scripts import multiprocessing_eval

    said = end_of_a_run(multiprocessing_eval, multiprocessing_eval.launch_and_eval, 'multiprocess_eval')
    assert 'worker 1 was killed by SIGKILL' in said


@check
def training_ends_with_its_data_loaders(tmp_path):
    """There are still data from other processes when one has been killed."""
    from parlai.core.worlds import BackgroundDriverWorld

    driver = object.__new__(BackgroundDriverWorld)
    driver._process_queue = mock.Mock()
    driver._process_pool = mock.Mock(processes=[mock.Mock(exitcode=-9)])
    driver._process_pool.join.side_effect = LookupError('killed')
    with suppress(LookupError):
        driver._queue_get()
    assert driver._process_pool.join.called


@check
def dictionary_without_data_loaders(tmp_path):
    from parlai.scripts import build_dict

    opt = build_dict.setup_args().parse_args(['-t', 'integration_tests', '--dict-file', str(tmp_path / 'd')])
    opt['num_workers'] = 2
    with mock.patch.object(build_dict, 'create_task', side_effect=LookupError) as create, suppress(LookupError):
        build_dict.build_dict(opt)
    assert create.call_args[0][0]['num_workers'] == 0


@check
def missing_second_models(tmp_path):
    from parlai.core.agents import create_agent_from_model_file

    assert 'm.opt: no such file' in message(create_agent_from_model_file, str(tmp_path / 'm'))


@check
def candidates_in_a_self_chat(tmp_path):
    from parlai.core.opt import Opt
    from parlai.scripts import build_candidates

    opt = {'task': 'persona:sample:persona_sample_dialogues=2', 'datatype': 'train:evalmode', 'datapath': str(tmp_path)}
    asked = {'num_examples': 9, 'outfile': str(tmp_path / 'cands'), 'log_every_n_secs': 9, 'batchsize': 1}
    build_candidates.build_cands(Opt({**opt, **asked, 'selfchat_task': True}))
    assert (tmp_path / 'cands').read_text()


@check
def missing_options(tmp_path):
    from parlai.core.agents import create_agent

    (tmp_path / 'm').touch()
    assert 'm.opt: no such file' in message(create_agent, {'model_file': str(tmp_path / 'm'), 'datapath': ''})


@check
def sizes_of_batches(tmp_path):
    from parlai.core.params import ParlaiParser

    assert '--batchsize is 0' in message(ParlaiParser(True, False).parse_args, ['--batchsize', '0'])


def preset_of_a_training(folder) -> str:
    (folder / 'x.opt').write_text('{"task": "integration_tests", "num_epochs": 3}')
    return str(folder / 'x.opt')


@check
def presets_of_trainings(tmp_path):
    from parlai.core.params import ParlaiParser

    assert ParlaiParser(True, False).parse_args(['-o', preset_of_a_training(tmp_path)])['task'] == 'integration_tests'


@check
def untrained_models_do_not_answer(tmp_path):
    from parlai.core.agents import create_agent

    opt = {'init_opt': preset_of_a_training(tmp_path), 'model': 'repeat_query', 'datapath': ''}
    assert 'describes a training' in message(create_agent, opt, True)
    assert 'knows nothing before a training' in message(create_agent, {'model': 'persona:pednet'}, True)
    assert 'no model: give -mf FILE' in message(create_agent, {'model': None}, True)


@check
def evaluations_name_their_task(tmp_path):
    from parlai.scripts.eval_model import EvalModel

    assert 'Give -t TASK' in message(lambda: EvalModel.main(model='repeat_label'))


@check
def unknown_validation_metric(tmp_path):
    from parlai.scripts.train_model import TrainModel

    opt = {'task': 'integration_tests', 'model': 'repeat_label', 'dict_file': str(tmp_path / 'dict')}
    opt |= {'datapath': str(tmp_path), 'loglevel': 'error', 'max_train_steps': 2, 'validation_metric': 'acuracy'}
    opt['validation_every_n_steps'] = 1
    assert 'Did you mean accuracy?' in message(lambda: TrainModel.main(**opt))


# --------------------------------------------------------------------------------------------- the fixes


def outcomes(names) -> dict[str, str]:
    """Run the checks; return the error that each ended with, or ''."""
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                CHECKS[name](Path(folder))
                found[name] = ''
            except Exception as error:  # noqa: BLE001  this function reports any error
                found[name] = f'{type(error).__name__}: {error}'
    return found


def outcomes_without(skipped: str, names) -> dict[str, str]:
    """Return the same from a process that leaves out some fixes."""
    done = subprocess.run(
        [sys.executable, __file__, *names],
        env={**os.environ, hooks.SKIP: skipped},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def without_any():
    return outcomes_without('all', CHECKS)


def names_of_fixes() -> list[str]:
    return [fix.__name__ for fixes in compat.FIXES.values() for fix in fixes]


def test_every_fix_has_a_check_and_says_what_it_mends():
    assert sorted(names_of_fixes()) == sorted(CHECKS)
    for fixes in compat.FIXES.values():
        for fix in fixes:
            assert fix.__doc__ and len(fix.__doc__.splitlines()[0]) <= 120


@pytest.mark.parametrize('name', CHECKS)
def test_works_with_the_fix(name, tmp_path):
    CHECKS[name](tmp_path)


@pytest.mark.parametrize('name', CHECKS)
def test_fails_without_the_fixes(name, without_any):
    """ParlAI fails without the fix. On a stack without the defect it works, and then the fix must not be applied."""
    CHECKS[name](Path(tempfile.mkdtemp()))  # so that its module is imported
    if not without_any[name] and (name in AT_USE or name not in compat.APPLIED):
        pytest.skip('this stack does not have the defect')
    assert without_any[name] and name in compat.APPLIED


@pytest.mark.slow
@pytest.mark.parametrize('name', CHECKS)
def test_fails_without_this_very_fix(name, without_any):
    if not without_any[name]:
        pytest.skip('this stack does not have the defect')
    assert outcomes_without(name, [name])[name]
    assert not outcomes_without('', [name])[name]


# --------------------------------------------------------------------------------------------- more than the check


def test_seq2seq_checkpoints_still_cannot_run_code(tmp_path):
    import torch
    from parlai.agents.seq2seq.seq2seq import Seq2seqAgent

    if 'seq2seq_loads_numpy_scalars' not in compat.APPLIED:
        pytest.skip('this torch runs what is in a checkpoint, with our fixes or without')
    torch.save({'model': {}, 'code': os.getcwd}, tmp_path / 'model')
    with pytest.raises(ValueError, match='getcwd, and this could run code'):
        Seq2seqAgent.load(agent_of_a_model(), str(tmp_path / 'model'))


def test_rouge_is_what_it_is_with_the_sentence_model(monkeypatch):
    import nltk
    from nltk.tokenize.punkt import PunktSentenceTokenizer
    from parlai.core.metrics import RougeMetric

    pairs = [('I like to sew, e.g. hats. You?', ['He likes hats...', 'i sew hats']), ("don't", ['', 'do not'])]

    def scores():
        monkeypatch.setattr(RougeMetric, '_evaluator', None)
        return [[score.value() for score in RougeMetric.compute_many(*pair)] for pair in pairs]

    monkeypatch.setattr(nltk.data, 'path', [])
    ours = scores()
    split = PunktSentenceTokenizer().tokenize  # knows no abbreviations, which matters only where there is a full stop
    monkeypatch.setattr(nltk, 'sent_tokenize', lambda text, language='english': split(text))
    monkeypatch.setattr(nltk.tokenize, 'sent_tokenize', nltk.sent_tokenize)
    assert scores() == ours and type(RougeMetric._evaluator).__name__ == 'Rouge'


def test_vectors_that_parlai_would_have_downloaded_come_first(tmp_path):
    put_vectors(tmp_path, 'glove', 'sew 1\n')
    theirs = put_vectors(tmp_path, 'glove', 'sew 2\n', 'glove.840B.300d.txt')
    assert find_vectors(tmp_path, 'glove') == theirs


@pytest.mark.parametrize('files, seen', [((), 'none'), (('a.txt', 'b.vec', 'c.zip'), 'a.txt, b.vec')])
def test_without_one_vector_file_the_user_is_told_where_to_put_it(files, seen, tmp_path):
    for file in files:
        put_vectors(tmp_path, 'glove', 'sew 1\n', file)
    with pytest.raises(FileNotFoundError, match=rf'--embedding-type glove .*glove_vectors, saw: {seen}\. Put yours'):
        find_vectors(tmp_path, 'glove')


def test_tokens_with_blanks_are_left_out_and_the_first_of_two_counts(tmp_path):
    path = put_vectors(tmp_path, 'glove', 'sew 1 2\n. . . 3 4\nsew 5 6\n. 7 8\n')
    vectors = load_vectors(path, {'sew', '.'})
    assert vectors.stoi == {'sew': 0, '.': 1} and vectors.vectors.tolist() == [[1, 2], [7, 8]]


def test_a_file_without_any_of_the_words(tmp_path):
    vectors = load_vectors(put_vectors(tmp_path, 'glove', 'sew 1 2\n'), {'sing'})
    assert vectors.stoi == {} and tuple(vectors.vectors.shape) == (0, 2)


@pytest.mark.parametrize('line', ['sing 1 two', 'sing 1', 'sing'])
def test_a_broken_line_of_vectors_is_named(line, tmp_path):
    path = put_vectors(tmp_path, 'glove', f'sew 1 2\n{line}\n')
    with pytest.raises(ValueError, match=r"mine\.vec:2: saw '.*' after a word, expected 2 numbers"):
        load_vectors(path, {'sing'})


@pytest.mark.slow
def test_two_processes_train_and_know_the_plugin(parlai, tmp_path):
    model = '-t persona:sample -m transformer/biencoder --candidates batch --dict-file words.dict --optimizer sgd'
    small = '--n-layers 1 --n-heads 2 --embedding-size 8 --ffn-size 8 --max-train-steps 3 --validation-max-exs 8'
    assert parlai('build_dict', '-t', 'persona:sample', '--dict-file', 'words.dict').returncode == 0
    line = [*model.split(), *small.split(), '-mf', 'two', '--distributed-world-size', '2', '--batchsize', '4']
    done = parlai('multiprocessing_train', *line)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / 'two.opt').read_text())['gpu'] == -1


if __name__ == '__main__':
    print(json.dumps(outcomes(sys.argv[1:] or CHECKS)))
