"""What the bot says: one wording for each of its acts in the plain bAbI dialog tasks, six in the personalised ones.

The acts are the same in both; how one is worded depends on the user's gender and age and on nothing else. The table
states what the released files say (spelling included); `tests/test_real_babi_generator.py` compares the two.
"""

import re
from typing import NamedTuple

GENDERS = ('male', 'female')
AGES = ('young', 'middle-aged', 'elderly')
DIETS = ('veg', 'non-veg')


class Wording(NamedTuple):
    """`{}` stands for a restaurant, or for its properties; `male` and `female` have one wording for each of `AGES`."""

    plain: str
    male: tuple[str, str, str]
    female: tuple[str, str, str]


def alike(plain: str, *ages: str) -> Wording:
    """An act that is worded by age alone."""
    young, middle_aged, elderly = ages
    return Wording(plain, (young, middle_aged, elderly), (young, middle_aged, elderly))


WORDINGS = {
    'greet': Wording(
        'hello what can i help you with today',
        male=(
            'hey dude what is up',
            'hello sir what can i help you with',
            'greetings sir what may i assist you with today',
        ),
        female=(
            'hey girl how is it going',
            'hello maam how can i help you',
            'good day madam how could i assist you today',
        ),
    ),
    'start': Wording(
        "i'm on it",
        male=("i'm on your request", "i'm processing the request", 'excellent sir i will start the request now'),
        female=(
            'be right back with your reservation',
            'give me a second for processing the reservation',
            'thank you madam i shall start the reservation now',
        ),
    ),
    'ask cuisine': Wording(
        'any preference on a type of cuisine',
        male=(
            'what food are you looking for',
            'what type of cuisine would you like to eat',
            'may i know your preference on the type of cuisine',
        ),
        female=(
            'what food are you looking for',
            'what type of cuisine would you like to eat',
            'could you tell me your preference on the type of cuisine',
        ),
    ),
    'ask location': Wording(
        'where should it be',
        male=('where should it be', 'where should it be located', 'may i know where the restaurant should be located'),
        female=(
            'where should it be',
            'where should it be located',
            'could you tell me where the restaurant should be located',
        ),
    ),
    'ask number': Wording(
        'how many people would be in your party',
        male=(
            'how many are you',
            'how many people would be in your party',
            'may i know how many guests will be at your table',
        ),
        female=(
            'how many are you',
            'how many people would be in your party',
            'would you mind telling me how many guests shall be at your table',
        ),
    ),
    'ask price': Wording(
        'which price range are looking for',
        male=(
            'what should the price be',
            'which price range are you looking for',
            'may i know your prefered price range',
        ),
        female=(
            'what should the price be',
            'which price range are you looking for',
            'would you mind telling me your price range',
        ),
    ),
    'search': Wording(
        'ok let me look into some options for you',
        male=(
            'ok looking for options',
            "ok sir i'm looking for options for you",
            'excellent sir please give me a moment to provide you with options',
        ),
        female=(
            'sure finding some options',
            "sure maam i'm finding some options for you",
            'thank you madam i shall provide you with options shortly',
        ),
    ),
    'update': Wording(
        'sure is there anything else to update',
        male=(
            'cool anything else you want to update',
            'great is there anything else to modify',
            'i will modify your request is there anything else to change',
        ),
        female=(
            'awesome is there any other update',
            'great is there any other thing to modify',
            'i shall modify your reservation is there any other change',
        ),
    ),
    'suggest': Wording(
        'what do you think of this option: {}',
        male=('is this one cool: {}', 'is this a good option: {}', 'may i suggest this option: {}'),
        female=('how about this one: {}', 'what do you think of this option: {}', 'would you consider this option: {}'),
    ),
    'another': Wording(
        'sure let me find an other option for you',
        male=(
            'ok looking for something else',
            "ok i'll look for a better option",
            'yes sir i will look for another suitable option',
        ),
        female=(
            'sure finding something else',
            "sure i'll find a better option",
            'yes maam i shall find another suitable option',
        ),
    ),
    'book': Wording(
        'great let me do the reservation',
        male=('cool its done', "great i'll finalise the request", 'excellent i will finalise your request'),
        female=('awesome you are done', 'great let me do the reservation', 'thank you i shall finish your reservation'),
    ),
    'inform': alike('here it is {}', 'here you go {}', 'here it is {}', 'here is the information you asked for {}'),
    'more': Wording(
        'is there anything i can help you with',
        male=('want anything else', 'is there anything i can help you with', 'may i help you in any other way sir'),
        female=(
            'need something else',
            'can i assist you with something else',
            'could i assist you in some other manner madam',
        ),
    ),
    'end': Wording(
        "you're welcome",
        male=('no problem', "you're welcome", 'it was a pleasure to be of help to you sir'),
        female=('happy to help', "you're welcome", 'i am grateful to assist you madam'),
    ),
}

ASKS = {slot: f'ask {slot}' for slot in ('cuisine', 'location', 'number', 'price')}
# What the user says where it is drawn anew; all else they say as in the plain tasks.
ACCEPTS = ("it's perfect", "let's do it", 'i love that', 'that looks great')
REFUSES = ("no i don't like that", 'do you have something else', 'no this does not work for me')
QUESTIONS = {
    'contact': (
        'may i have the contact details of the restaurant',
        'do you have its contact details',
        'what are the contact details of the restaurant',
    ),
    'direction': (
        'may i have the direction information to the restaurant',
        'do you have direction information',
        'can you provide direction to the restaurant',
    ),
}

RESTAURANTS = re.compile(r'\bresto_\S+(?: resto_\S+)*')


class Profile(NamedTuple):
    """Who the bot talks to; diet and favourite food are known where it suggests restaurants."""

    gender: str
    age: str
    diet: str = ''
    favourite: str = ''

    @property
    def line(self) -> str:
        return ' '.join(filter(None, self))

    @property
    def wordings(self) -> dict[str, str]:
        """Wording -> act, for this user."""
        return STYLED_ACTS[self.gender, self.age]


def read_profile(line: str) -> Profile | None:
    """`'male elderly veg pizza'` -> its parts; None where it is no profile."""
    words = line.split()
    fits = len(words) in (2, 4) and words[0] in GENDERS and words[1] in AGES and (not words[2:] or words[2] in DIETS)
    return Profile(*words) if fits else None


def styled(act: str, profile: Profile, slot: str = '') -> str:
    """The act in the words for this user."""
    wording = WORDINGS[act]
    return (wording.male if profile.gender == 'male' else wording.female)[AGES.index(profile.age)].format(slot)


def plain(act: str, slot: str = '') -> str:
    return WORDINGS[act].plain.format(slot)


def split_reply(reply: str) -> tuple[str, str]:
    """A reply without the restaurants in it (or their properties), and these: `'here it is {}'`, `'resto_x_phone'`."""
    found = RESTAURANTS.search(reply)
    return (RESTAURANTS.sub('{}', reply, count=1), found[0]) if found else (reply, '')


PLAIN_ACTS = {wording.plain: act for act, wording in WORDINGS.items()}
STYLED_ACTS = {
    (gender, age): {getattr(wording, gender)[number]: act for act, wording in WORDINGS.items()}
    for gender in GENDERS
    for number, age in enumerate(AGES)
}
