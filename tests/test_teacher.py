"""`PersonaTeacher`: epochs that visit everything once, workers that divide it, streams, sharing."""

import json
from collections import Counter

import pytest
from conftest import worker_program
from parlai.core import teachers
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args

import parlai_persona.data.teacher as teacher_module
from parlai_persona import fields
from parlai_persona.data.dialogue import DataError, Dialogue, Turn
from parlai_persona.data.messages import persona_lines

DIALOGUES = 7


def teacher(datatype='train', **options):
    opt = setup_args().parse_kwargs(
        task='persona:sample', datatype=datatype, persona_sample_dialogues=DIALOGUES, **options
    )
    opt.setdefault('seed', None)
    return create_task_agent_from_taskname(opt)[0]


def visit(teacher, episodes: int) -> list[str]:
    """The ids of the next dialogues."""
    seen = []
    while len(seen) < episodes:
        message = teacher.act()
        if message[fields.TURN] == 0:
            seen.append(message[fields.DIALOGUE_ID])
        teacher.observe({'text': 'hello'})
    return seen


def everything(count=DIALOGUES):
    return {f'train-{n}' for n in range(count)}


def test_an_epoch_visits_every_dialogue_once_in_another_order_each_time():
    task = teacher()
    first, second = visit(task, DIALOGUES), visit(task, DIALOGUES)
    assert set(first) == set(second) == everything()
    assert first != second


def test_the_rows_of_a_batch_share_the_epoch():
    task = teacher()
    rows = [task, *(task.clone() for _ in range(2))]
    seen = Counter(id for _ in range(DIALOGUES) for row in rows for id in visit(row, 1))
    assert seen == dict.fromkeys(everything(), 3)  # three epochs by three rows


def test_the_same_seed_gives_the_same_order():
    orders = []
    for seed in (1, 1, 2):
        task = teacher()
        task.opt['seed'] = seed
        orders.append(visit(task, 3 * DIALOGUES))
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize('datatype', ['train', 'train:stream'])
def test_workers_share_an_epoch_out(monkeypatch, datatype):
    """Two workers, simulated one after the other: together they see every dialogue the same number of times."""
    seen = Counter()
    for rank in (0, 1):
        monkeypatch.setattr(teacher_module, 'num_workers', lambda: 2)
        monkeypatch.setattr(teacher_module, 'get_rank', lambda rank=rank: rank)
        task = teacher(datatype)
        task.opt['seed'] = 5
        share = DIALOGUES if datatype == 'train' else (DIALOGUES + 1 - rank) // 2  # two epochs' half, one epoch's share
        seen.update(visit(task, share))
        assert (task.num_episodes(), task.num_examples()) == (DIALOGUES, 8 * DIALOGUES)
    assert set(seen) == everything()
    assert len(set(seen.values())) == 1


def test_workers_share_an_evaluation_out(monkeypatch):
    """Two workers, simulated: each example is seen once, and the shares are as large as they can be equal."""
    monkeypatch.setattr(teachers, 'is_distributed', lambda: True)
    monkeypatch.setattr(teachers, 'num_workers', lambda: 2)
    seen = []
    for rank in (0, 1):
        monkeypatch.setattr(teachers, 'get_rank', lambda rank=rank: rank)
        seen.append([(message[fields.DIALOGUE_ID], message[fields.TURN]) for message in teacher('valid')])
    together = Counter(seen[0] + seen[1])
    assert together == {(f'valid-{dialogue}', turn): 1 for dialogue in range(100) for turn in range(8)}
    assert [len(share) for share in seen] == [400, 400]


def test_a_stream_sends_what_the_list_sends():
    assert list(teacher('valid:stream')) == list(teacher('valid'))


def test_a_stream_counts_without_writing_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # ParlAI's own streams write `<datafile>.lengths`
    assert teacher('train:stream').num_examples() == 8 * DIALOGUES
    assert list(tmp_path.iterdir()) == []


def test_share_shares_the_data():
    task = teacher('valid')
    clone = task.clone()
    assert clone.data.data is task.data.data
    assert clone.epoch_order is task.epoch_order


def test_the_reply_has_to_be_among_the_candidates_of_the_data():
    turn = Turn('hello', 'hi', ('no', 'never'))
    with pytest.raises(DataError, match="'d7', turn 3: the reply 'hi' is not among its 2 candidates"):
        teacher('valid').candidates('d7', 3, turn, None)


def test_persona_lines():
    dialogue = Dialogue('d', (), ('i sing.',), ('i dance.',))
    assert persona_lines(dialogue, 'both') == ['your persona: i sing.', "partner's persona: i dance."]
    assert persona_lines(dialogue, 'none') == []
    assert persona_lines(Dialogue('d', ()), 'self') == []


RECORDER = '''
import json, os
from parlai.core.agents import Agent
from parlai.utils.distributed import get_rank

class RecorderAgent(Agent):
    """Writes down which examples it is given."""
    def __init__(self, opt, shared=None):
        super().__init__(opt, shared)
        self.path = f"{opt['datapath']}/seen-{get_rank()}"
    def act(self):
        seen = self.observation
        if 'dialogue_id' in seen:
            with open(self.path, 'a') as f:
                f.write(json.dumps([seen['dialogue_id'], seen['turn']]) + '\\n')
        return {'id': 'recorder', 'text': 'hello'}
    def save(self, path=None):
        pass
'''


@pytest.mark.parametrize(
    ('script', 'datatype', 'fold', 'dialogues'),
    [
        pytest.param('multiprocessing_eval', 'valid', 'valid', 100, marks=pytest.mark.slow),
        ('multiprocessing_train', 'train', 'train', 6),
        pytest.param('multiprocessing_train', 'train:stream', 'train', 6, marks=pytest.mark.slow),
    ],
)
def test_two_processes_see_each_example_once(parlai, tmp_path, script, datatype, fold, dialogues):
    worker_program(tmp_path, 'recorder_agent', RECORDER)
    data = tmp_path / 'data'
    data.mkdir()
    (tmp_path / 'm.dict').touch()  # ParlAI wants it to be there before distributed training
    # an epoch of each of two workers is 6 / 2 = 3 dialogues of 8 turns
    extra = ['-mf', 'm', '--max-train-steps', '24', '--evaltask', 'integration_tests'] if 'train' in script else []
    done = parlai(
        script,
        '-t',
        'persona:sample',
        '--persona-sample-dialogues',
        '6',
        '-m',
        'recorder_agent:RecorderAgent',
        '-dt',
        datatype,
        '--distributed-world-size',
        '2',
        '--datapath',
        str(data),
        *extra,
        PYTHONPATH=str(tmp_path),
    )
    seen = [Counter(map(tuple, map(json.loads, path.read_text().splitlines()))) for path in data.glob('seen-*')]
    assert len(seen) == 2, done.stderr[-2000:]
    train_only = [Counter({k: v for k, v in c.items() if k[0].startswith(fold)}) for c in seen]
    together = train_only[0] + train_only[1]
    assert together == {(f'{fold}-{d}', t): 1 for d in range(dialogues) for t in range(8)}
    assert min(c.total() for c in train_only) >= 8 * (dialogues // 2)
