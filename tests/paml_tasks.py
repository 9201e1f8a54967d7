"""A small ParlAI task with speakers, for the tests of `persona:few_shot` and `persona:paml`."""

import tempfile
from pathlib import Path

from parlai.core.agents import create_agent
from parlai.core.message import Message
from parlai.core.params import ParlaiParser
from parlai.core.teachers import DialogTeacher, create_task_agent_from_taskname, register_teacher

import parlai_persona  # noqa: F401
from parlai_persona.agents import paml

FOLDER = Path(paml.__file__).parent
TASK = 'persona_paml_test'
PETS, JOBS = ('dog', 'cat', 'cow', 'bird'), ('nurse', 'cook', 'pilot', 'baker')
PEOPLE = [(pet, job) for pet in PETS for job in JOBS]
TRAINING = {
    'dict_tokenizer': 're',
    'optimizer': 'sgd',
    'learningrate': 0.1,
    'gradient_clip': -1.0,
    'lr_scheduler': 'none',
    'no_cuda': True,
}
TINY = {
    'persona:paml': {'n_layers': 1, 'n_heads': 2, 'embedding_size': 16, 'ffn_size': 16},
    'persona:paml/seq2seq': {
        'hiddensize': 6,
        'embeddingsize': 6,
        'numlayers': 1,
        'attention': 'dot',
        'lookuptable': 'all',
    },
    'persona:paml/lm': {'lm_rank': 2, 'lm_layout': 'tokens'},
}


@register_teacher(TASK)
class PeopleTeacher(DialogTeacher):
    """Everyone has three dialogues of two turns."""

    def __init__(self, opt, shared=None):
        fold = opt['datatype'].split(':')[0]
        opt['datafile'] = str(Path(tempfile.gettempdir()) / f'{TASK}-{fold}')  # beside it ParlAI counts streams
        super().__init__(opt, shared)
        self.id = TASK

    def setup_data(self, datafile):
        for number, (pet, job) in enumerate(PEOPLE):
            for dialogue in range(3):
                for turn, (text, reply) in enumerate(
                    [
                        (f'hello ! nice day {dialogue} .', f'hi , i am a {job} and you ?'),
                        ('i am old . do you have a pet ?', f'yes , my {pet} is here .'),
                    ]
                ):
                    yield (
                        {
                            'text': text,
                            'labels': [reply],
                            'speaker': f'someone {number}',
                            'persona': [f'i have a {pet}.', f'i am a {job}.', f'i am number {number}.'],
                            'dialogue_id': f'{number}/{dialogue}',
                        },
                        turn == 0,
                    )


def options(**more) -> dict:
    return {'task': 'persona:few_shot', 'few_shot_of': TASK, 'few_shot_by': 'speaker', 'loglevel': 'error', **more}


def teacher(datatype: str = 'valid', **more):
    line = ParlaiParser(True, False)
    opt = line.parse_kwargs(**options(datatype=datatype, **more))
    return create_task_agent_from_taskname(opt)[0]


def agent(dictionary, model: str = 'persona:paml', **more):
    """Return an untrained agent, for evaluation; `dictionary` is a folder."""
    path = dictionary / 'dict'
    if not path.exists():
        words = sorted(
            {
                word
                for pet, job in PEOPLE
                for word in (
                    f'hello ! nice day 0 1 2 . hi , i am a {job} and you ? old do have pet yes my {pet} is here'
                ).split()
            }
        )
        path.write_text(''.join(f'{word}\t1\n' for word in words))
    parser = ParlaiParser(True, True)
    more = {**TRAINING, **TINY[model], 'model': model, 'dict_file': str(path), 'datatype': 'valid', **more}
    return create_agent(parser.parse_kwargs(**options(**more)))


def message(teacher) -> Message:
    return Message(dict(teacher.act()))
