"""Options of a method: dataclass -> flags -> `opt` -> dataclass."""

from dataclasses import dataclass

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


def read(*words: str, **others) -> Soup:
    parser = ParlaiParser(add_parlai_args=False, add_model_args=False)
    add_flags(parser.add_argument_group('Soup'), 'soup', Soup)
    return from_opt(Soup, parser.parse_args([*words]), 'soup', **others)


def test_defaults_are_those_of_the_dataclass():
    assert read() == Soup()


def test_every_flag_arrives():
    words = ['--soup-salt', '2', '--soup-bowl-size', 'large', '--soup-hot', 'false', '--soup-with-bread', 'rye']
    assert read(*words, secret=8) == Soup(2.0, 'large', False, 'rye', 8)


@pytest.mark.parametrize(
    'opt, said',
    [
        ({'soup_salt': -1.0}, '--soup-salt is -1.0; it has to be 0 or more'),
        ({'soup_salt': 9.5}, '--soup-salt is 9.5; it has to be 9 or less'),
        ({'soup_bowl_size': 'huge'}, "--soup-bowl-size is 'huge'; expected small or large"),
    ],
)
def test_values_that_passed_no_parser_are_checked(opt, said):
    opt = {'soup_salt': 1.0, 'soup_bowl_size': 'small', 'soup_hot': True, 'soup_with_bread': None, **opt}
    with pytest.raises(ValueError, match=said):
        from_opt(Soup, opt, 'soup')


def test_what_an_older_checkpoint_lacks_is_as_the_dataclass_has_it():
    assert from_opt(Soup, {'soup_salt': 2.0}, 'soup') == Soup(salt=2.0)
