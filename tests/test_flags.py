"""Options of a method, task or script: dataclass -> flags -> `opt` -> dataclass."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from parlai.core.params import ParlaiParser

from parlai_persona.flags import add_flags, flag, from_opt


@dataclass(frozen=True)
class Soup:
    salt: float = flag(0.5, 'grams', least=0, most=9)
    size: str = flag('small', 'of the bowl', 'bowl_size', choices=('small', 'large'))
    hot: bool = flag(True, 'or cold')
    with_bread: str | None = flag(None, 'which', metavar='BREAD')
    secret: int = 7
    guests: int | None = flag(None, 'at the table', least=1)
    recipe: Path | None = flag(None, 'file')
    days: tuple[int, ...] = flag((1, 2), 'of the week', choices=(1, 2, 3))


def parse(*words: str, **others) -> Soup:
    parser = ParlaiParser(add_parlai_args=False, add_model_args=False)
    add_flags(parser.add_argument_group('Soup'), 'soup', Soup)
    return from_opt(Soup, parser.parse_args([*words]), 'soup', **others)


def test_defaults_are_those_of_the_dataclass():
    assert parse() == Soup()


def test_every_flag_arrives():
    words = ['--soup-salt', '2', '--soup-bowl-size', 'large', '--soup-hot', 'false', '--soup-with-bread', 'rye']
    words += ['--soup-guests', '4', '--soup-recipe', '~/soup.txt', '--soup-days', '3, 1']
    wanted = Soup(2.0, 'large', False, 'rye', 8, 4, Path.home() / 'soup.txt', (3, 1))
    assert parse(*words, secret=8) == wanted


@pytest.mark.parametrize(
    'opt, said',
    [
        ({'soup_salt': -1.0}, '--soup-salt is -1.0; it has to be 0 or more'),
        ({'soup_salt': 9.5}, '--soup-salt is 9.5; it has to be 9 or less'),
        ({'soup_bowl_size': 'huge'}, "--soup-bowl-size is 'huge'; expected small or large"),
        ({'soup_salt': 'much'}, "--soup-salt is 'much'; expected a number"),
        ({'soup_salt': 10**400}, '--soup-salt is 10*; expected a number'),
        ({'soup_guests': 0}, '--soup-guests is 0; it has to be 1 or more'),
        ({'soup_guests': 1.5}, '--soup-guests is 1.5; expected a whole number'),
        ({'soup_hot': 'yes'}, "--soup-hot is 'yes'; expected true or false"),
        ({'soup_days': '1,4'}, '--soup-days is 4; expected 1 or 2 or 3'),
        ({'soup_days': 'monday'}, "--soup-days is 'monday'; expected a whole number"),
    ],
)
def test_values_that_passed_no_parser_are_checked(opt, said):
    opt = {'soup_salt': 1.0, 'soup_bowl_size': 'small', 'soup_hot': True, 'soup_with_bread': None, **opt}
    with pytest.raises(ValueError, match=said):
        from_opt(Soup, opt, 'soup')


def test_values_of_a_task_string_get_the_type_of_the_field():
    """ParlAI turns what looks like a number into one."""
    opt = {'soup_salt': 1, 'soup_with_bread': 2012, 'soup_recipe': 7, 'soup_days': 3, 'soup_hot': 0}
    soup = from_opt(Soup, opt, 'soup')
    assert soup == Soup(1.0, hot=False, with_bread='2012', recipe=Path('7'), days=(3,))
    assert type(soup.salt) is float


def test_the_smallest_and_the_largest_value_are_allowed():
    assert from_opt(Soup, {'soup_salt': 9, 'soup_guests': 1}, 'soup') == Soup(salt=9.0, guests=1)
    assert from_opt(Soup, {'soup_salt': 0}, 'soup').salt == 0


def test_an_empty_path_is_not_given_and_an_empty_text_is():
    soup = from_opt(Soup, {'soup_recipe': '', 'soup_with_bread': ''}, 'soup')
    assert soup.recipe is None and soup.with_bread == ''


def test_what_an_older_checkpoint_lacks_is_as_the_dataclass_has_it():
    assert from_opt(Soup, {'soup_salt': 2.0}, 'soup') == Soup(salt=2.0)
