"""`persona:own`: files of the user's own dialogues, their splits and candidates, and the page docs/own_data.md."""

import re
from pathlib import Path

import pytest
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args

from parlai_persona import fields
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit, Turn
from parlai_persona.data.dialogue_file import read_dialogues
from parlai_persona.tasks.own.parse import add_candidates, split

PAGE = Path(__file__).parents[1] / 'docs/own_data.md'


def file(folder: Path, content: str, name: str = 'mine.txt') -> Path:
    (folder / name).write_text(content)
    return folder / name


def teacher(path: Path, datatype: str = 'train:evalmode', **options):
    opt = setup_args().parse_kwargs(task='persona:own', own_file=str(path), datatype=datatype, **options)
    return create_task_agent_from_taskname(opt)[0]


def dialogues(count: int) -> str:
    return '\n\n'.join(
        f'your persona: i am {n}.\nthem: who ?\nme: {n} .\nthem: sure ?\nme: yes , {n} .' for n in range(count)
    )


def test_golden_records(tmp_path):
    path = file(
        tmp_path,
        "Your persona: i sing.\nyour persona : i dance: a lot.\npartner's persona: i cook.\nthem: hi\nthem: you ?\n"
        'Me: great :-)\nme: and you ?\nthem: fine\n\n\nthem: nobody answers\n\nme: hello\n',
    )
    assert read_dialogues(path) == [
        Dialogue(
            'mine.txt/0', (Turn('hi you ?', 'great :-) and you ?'),), ('i sing.', 'i dance: a lot.'), ('i cook.',)
        ),
        Dialogue('mine.txt/1', (Turn(fields.SILENCE, 'hello'),)),
    ]


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        ('them: hi\nyou: hello\n', 'mine.txt, line 2: saw \'you: hello\'; expected lines "them: ..."'),
        ('your persona: i sing.\n\nthem: hi\nme: hi\n', 'line 2: saw an empty line after a persona'),
        ('me: a\n\nyour persona: i sing.\n\nme: b\n', 'line 4: saw an empty line after a persona'),
        ('me: a\n' + 'x' * 61, f"line 2: saw '{'x' * 60}'; expected"),
        ('them: hi\nme: hi\nyour persona: i sing.\n', 'line 3: saw a persona line after a message'),
        ('them: hi\n', 'holds no answer'),
    ],
)
def test_a_wrong_line_is_named(tmp_path, content, complaint):
    with pytest.raises(DataError, match=complaint):
        read_dialogues(file(tmp_path, content))


def test_one_dialogue_in_ten_is_for_validation_and_most_stay_there(tmp_path):
    few, many = (read_dialogues(file(tmp_path, dialogues(count))) for count in (100, 110))
    ids = [{name: {one.id for one in part} for name, part in split(part, tmp_path).items()} for part in (few, many)]
    assert [len(one['valid']) for one in ids] == [10, 11]
    assert [len(one['train']) for one in ids] == [90, 99]
    assert all(not one['train'] & one['valid'] for one in ids)
    assert len(ids[0]['valid'] & ids[1]['valid']) >= 8
    with pytest.raises(DataError, match='holds one dialogue'):
        split(few[:1], tmp_path)


def test_two_dialogues_are_enough_for_a_split():
    ours = [Dialogue(f'{number}', (Turn('hi', f'{number}'),)) for number in range(9)]
    for count in (2, 9):
        assert [len(part) for part in split(ours[:count], Path('x')).values()] == [count - 1, 1]
    with pytest.raises(DataError, match='x holds one dialogue'):
        split(ours[:1], Path('x'))


def test_every_turn_has_all_candidates_however_many_replies_are_its_own():
    dialogue = Dialogue('x', tuple(Turn('hi', f'{number}') for number in range(12)))
    found = add_candidates(dialogue, [f'{number}' for number in range(40)])
    assert {len(set(turn.candidates)) for turn in found.turns} == {20}
    assert found.turns[1].candidates[:5] == ('36', '32', '18', '28', '13')  # in every version


def test_candidates_come_from_other_dialogues(tmp_path):
    read = read_dialogues(file(tmp_path, dialogues(30)))
    replies = [turn.reply for one in read for turn in one.turns]
    for one in read:
        for turn in add_candidates(one, replies).turns:
            own = {each.reply for each in one.turns}
            assert len(set(turn.candidates)) == 20
            assert set(turn.candidates) & own == {turn.reply}
    assert add_candidates(read[0], replies) == add_candidates(read[0], replies)
    assert sorted(add_candidates(read[0], replies[:4]).turns[0].candidates) == ['0 .', '1 .', 'yes , 1 .']


def test_the_teacher(tmp_path):
    file(tmp_path, dialogues(2), 'b.txt')
    file(tmp_path, dialogues(1), 'a.txt')
    valid = file(tmp_path, dialogues(3), 'valid')
    train = list(teacher(tmp_path, own_valid_file=str(valid)))
    assert [one[fields.DIALOGUE_ID] for one in train] == ['a.txt/0'] * 2 + ['b.txt/0'] * 2 + ['b.txt/1'] * 2
    assert train[0]['text'] == 'your persona: i am 0.\nwho ?'
    assert (train[1]['text'], train[1]['eval_labels']) == ('sure ?', ['yes , 0 .'])
    assert sorted(train[0]['label_candidates']) == ['0 .', '1 .', '2 .', 'yes , 1 .', 'yes , 2 .']
    assert len(list(teacher(tmp_path, 'valid', own_valid_file=str(valid)))) == 6
    assert len(list(teacher(tmp_path))) + len(list(teacher(tmp_path, 'valid'))) == 6
    with pytest.raises(NoSplit, match='no test split'):
        teacher(tmp_path, 'test')
    with pytest.raises(DataError, match='--own-file is missing'):
        teacher('')
    with pytest.raises(ValueError, match='cannot read the file .*nowhere'):
        teacher(tmp_path / 'nowhere')


@pytest.mark.slow
def test_the_page_runs(shell):
    """Run all commands of the page, with one epoch a training and generated dialogues instead of Persona-Chat."""
    commands = '\n'.join(re.findall(r'```sh\n(.*?)```', PAGE.read_text(), re.S))
    quick = commands.replace('--num-epochs 15', '--num-epochs 1')
    quick = quick.replace('persona:personachat,', 'persona:sample:persona_sample_dialogues=50,')
    assert quick.count('--num-epochs 1\n') == 2 and 'persona:sample' in quick
    done = shell(quick, 'do you have any pets ?\n[EXIT]\n')
    for shown in ('your persona: i own two cats.', 'hits@1', '  - i work as a nurse.', '[Memnet]: ', '   persona:own '):
        assert shown in done.stdout + done.stderr, f'{shown!r} not in {done.stdout[-3000:]}'
