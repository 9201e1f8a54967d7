"""Personas by name, and the conversations that use them."""

import json
import random

import pytest
from parlai.core.agents import Agent
from parlai.core.loader import register_agent
from parlai.scripts.interactive import Interactive
from parlai.scripts.self_chat import SelfChat

from parlai_persona.data.dialogue import Dialogue
from parlai_persona.data.personas import PersonaBook, PersonaError, numbered
from parlai_persona.errors import UserError
from parlai_persona.tasks.sample.grammar import GREETINGS

DIALOGUES = [
    Dialogue('a', (), ('i sing.', 'i own a cat.'), ('i dance.',)),
    Dialogue('b', (), ('i sing.', 'i own a cat.'), ()),
    Dialogue('c', (), ('i am a CAT person.',), ('i row.',)),
]


@pytest.fixture
def book():
    return PersonaBook(lambda: DIALOGUES, random.Random(0))


def test_personas_are_numbered_in_order_of_appearance(book):
    assert book.personas == [('i sing.', 'i own a cat.'), ('i dance.',), ('i am a CAT person.',), ('i row.',)]
    assert book.find('3') == ('i am a CAT person.',)
    assert book.find('random') in book.personas
    assert book.find('none') == ()


def test_personas_are_found_by_their_words(book):
    assert book.matching('cat') == [(1, ('i sing.', 'i own a cat.')), (3, ('i am a CAT person.',))]
    assert [n for n, _ in book.matching('own cat')] == [1]
    assert len(book.matching('')) == 4


def test_a_persona_typed_in_or_from_a_file(book, tmp_path):
    assert book.find(' i fly. | i fish.') == ('i fly.', 'i fish.')
    path = tmp_path / 'me.txt'
    path.write_text("your persona: i fly.\n\npartner's persona:  i fish.\n")
    assert book.find(str(path)) == ('i fly.', 'i fish.')


@pytest.mark.parametrize(
    ('asked', 'answer'),
    [
        ('0', 'there is no persona 0: they are numbered from 1 to 4'),
        ('5', 'there is no persona 5'),
        ('nowhere.txt', 'cannot read the file nowhere.txt: No such file'),
        (' | ', 'holds no sentence; a persona is'),
        ('', 'holds no sentence; a persona is'),
        ('~nosuchuser/x.txt', 'there is no user with this home folder'),
        ('a\0b.txt', 'embedded null byte'),
        ('9' * 5000, 'there is no persona 999999999999999999: they are'),
        ('x' * 5000 + '.txt', 'File name too long'),
        ('/.txt', 'cannot read the file /.txt'),
    ],
)
def test_what_is_no_persona_is_answered(book, asked, answer):
    with pytest.raises(UserError, match=answer):
        book.find(asked)


def test_a_file_that_is_not_text(book, tmp_path):
    (tmp_path / 'x.txt').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(UserError, match=r'x\.txt, line 1: byte 1 of the line is 0xff, which is not UTF-8'):
        book.find(str(tmp_path / 'x.txt'))


def test_data_without_personas():
    with pytest.raises(PersonaError, match='the data hold no personas'):
        PersonaBook(lambda: [Dialogue('a', ())], random.Random(0)).find('random')


def test_the_data_are_read_only_when_they_are_needed():
    def broken():
        raise AssertionError('read')

    assert PersonaBook(broken, random.Random(0)).find('i sing.') == ('i sing.',)


@register_agent('echo')
class EchoAgent(Agent):
    """Answers with what it was given."""

    def act(self):
        seen = self.observation
        shown = {k: seen.get(k) for k in ('text', 'persona', 'partner_persona', 'turn')}
        return {'id': 'echo', 'text': json.dumps(shown), 'episode_done': False}

    def reset(self):
        print('(reset)')
        super().reset()


@pytest.fixture
def chat(monkeypatch, capsys):
    """`parlai interactive` with these lines typed, and an agent that answers what it was given; all it prints."""

    def run(*lines: str, **options) -> str:
        typed = iter(lines)

        def answer(prompt: str) -> str:
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr('builtins.input', answer)
        Interactive.main(task='persona:sample', model='echo', **options)
        return capsys.readouterr().out

    return run


def test_a_chat_with_a_persona(chat):
    """The persona is shown, reaches the model as it does in training, and once."""
    out = chat('hello', 'again', '[EXIT]', persona='i fly.|i fish.')
    assert "The model's persona:\n  - i fly.\n  - i fish.\n" in out
    assert r'"text": "your persona: i fly.\nyour persona: i fish.\nhello", "persona": ["i fly.", "i fish."]' in out
    assert '"text": "again", "persona": ["i fly.", "i fish."], "partner_persona": [], "turn": 1' in out


def test_commands_inside_the_chat(chat):
    out = chat(
        'hello',
        '/persona',
        '/list tokyo',
        '/persona 2',
        '/me i row.',
        'well',
        '/reset',
        'so',
        '/help',
        '[EXIT]',
        persona='1',
        persona_side='both',
    )
    assert out.count('Started again.') == 3  # /persona 2, /me and /reset each reset the model
    assert out.count('(reset)') >= 3
    assert 'tokyo' in out
    assert r"npartner's persona: i row.\nwell" in out
    assert r"npartner's persona: i row.\nso" in out
    assert '/persona  [WHICH]  show' in out


def test_wrong_input_gets_an_answer(chat):
    out = chat(
        '', '/fly', '/persona 99999', '/persona nowhere.txt', '/me |', '/list zzzz', 'still here', '[DONE]', 'and here'
    )  # the end of the input ends the chat
    for answer in (
        'Say something, or type /help.',
        'Unknown command /fly.',
        'there is no persona 99999',
        'still here',
        'cannot read the file nowhere.txt',
        'holds no sentence',
        "No persona has 'zzzz' in it.",
        'and here',
    ):
        assert answer in out


@pytest.mark.parametrize('flag', ['persona', 'partner_persona'])
def test_a_wrong_persona_on_the_command_line(chat, flag):
    with pytest.raises(UserError, match=f"--{flag.replace('_', '-')} 'nowhere.txt': cannot read the file nowhere.txt"):
        chat(**{flag: 'nowhere.txt'})


def test_the_same_seed_draws_the_same_persona(chat):
    shown = [chat('[EXIT]', persona_seed=seed).partition("The model's")[2] for seed in (5, 5, 6)]
    assert shown[0] == shown[1] != shown[2]


def test_self_chat(capsys, tmp_path):
    logs = SelfChat.main(
        task='persona:sample',
        model='echo',
        persona='i fly.',
        partner_persona='i row.',
        num_self_chats=2,
        selfchat_max_turns=3,
        outfile=str(tmp_path / 'log'),
        seed_messages_from_task=True,
        persona_seed=3,
    )
    first, second = (log for log in logs if log)
    assert len(first) == len(second) == 3
    assert [act['persona'] for act in first[0]] == [['i fly.'], ['i row.']]
    opener = first[0][0]['text']
    assert opener in GREETINGS
    assert json.loads(first[0][1]['text']) == {
        'text': f'your persona: i row.\n{opener}',
        'persona': ['i row.'],
        'partner_persona': ['i fly.'],
        'turn': 0,
    }
    assert json.loads(first[1][0]['text'])['text'] == first[0][1]['text']  # from then on without persona lines
    assert 'persona:\n  - i fly.' in capsys.readouterr().out
    assert '"i row."' in (tmp_path / 'log.jsonl').read_text()


def test_numbers_begin_with_1_and_end_with_the_last():
    assert [numbered('abc', number, 'letter') for number in (1, 2, 3)] == ['a', 'b', 'c']
    for number in (0, 4):
        with pytest.raises(PersonaError, match=f'there is no letter {number}: they are numbered from 1 to 3'):
            numbered('abc', number, 'letter')
