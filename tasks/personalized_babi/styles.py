"""The bot's wordings: one for each of its acts in the plain bAbI dialog tasks, six in the personalised ones.

The acts are the same in both. The wording depends only on the user's gender and age. The table has the wordings of the
released files, with their spelling; `tests/test_real_babi_generator.py` compares it with them.
"""

import re
from typing import NamedTuple

GENDERS = ('male', 'female')
AGES = ('young', 'middle-aged', 'elderly')
DIETS = ('veg', 'non-veg')


class Wording(NamedTuple):
    """The bot's wordings of an act; `male` and `female` have one wording for each of `AGES`.

    `{}` stands for a restaurant or for its properties.
    """

    plain: str
    male: tuple[str, ...]
    female: tuple[str, ...]


# For each act: the wording of the plain tasks, then by age what it says to male | female users.
TABLE = """
    greet
        plain: hello what can i help you with today
        young: hey dude what is up | hey girl how is it going
        middle-aged: hello sir what can i help you with | hello maam how can i help you
        elderly: greetings sir what may i assist you with today | good day madam how could i assist you today

    start
        plain: i'm on it
        young: i'm on your request | be right back with your reservation
        middle-aged: i'm processing the request | give me a second for processing the reservation
        elderly: excellent sir i will start the request now | thank you madam i shall start the reservation now

    ask cuisine
        plain: any preference on a type of cuisine
        young: what food are you looking for | what food are you looking for
        middle-aged: what type of cuisine would you like to eat | what type of cuisine would you like to eat
        elderly: may i know your preference on the type of cuisine
            | could you tell me your preference on the type of cuisine

    ask location
        plain: where should it be
        young: where should it be | where should it be
        middle-aged: where should it be located | where should it be located
        elderly: may i know where the restaurant should be located
            | could you tell me where the restaurant should be located

    ask number
        plain: how many people would be in your party
        young: how many are you | how many are you
        middle-aged: how many people would be in your party | how many people would be in your party
        elderly: may i know how many guests will be at your table
            | would you mind telling me how many guests shall be at your table

    ask price
        plain: which price range are looking for
        young: what should the price be | what should the price be
        middle-aged: which price range are you looking for | which price range are you looking for
        elderly: may i know your prefered price range | would you mind telling me your price range

    search
        plain: ok let me look into some options for you
        young: ok looking for options | sure finding some options
        middle-aged: ok sir i'm looking for options for you | sure maam i'm finding some options for you
        elderly: excellent sir please give me a moment to provide you with options
            | thank you madam i shall provide you with options shortly

    update
        plain: sure is there anything else to update
        young: cool anything else you want to update | awesome is there any other update
        middle-aged: great is there anything else to modify | great is there any other thing to modify
        elderly: i will modify your request is there anything else to change
            | i shall modify your reservation is there any other change

    suggest
        plain: what do you think of this option: {}
        young: is this one cool: {} | how about this one: {}
        middle-aged: is this a good option: {} | what do you think of this option: {}
        elderly: may i suggest this option: {} | would you consider this option: {}

    another
        plain: sure let me find an other option for you
        young: ok looking for something else | sure finding something else
        middle-aged: ok i'll look for a better option | sure i'll find a better option
        elderly: yes sir i will look for another suitable option | yes maam i shall find another suitable option

    book
        plain: great let me do the reservation
        young: cool its done | awesome you are done
        middle-aged: great i'll finalise the request | great let me do the reservation
        elderly: excellent i will finalise your request | thank you i shall finish your reservation

    inform
        plain: here it is {}
        young: here you go {}
        middle-aged: here it is {}
        elderly: here is the information you asked for {}

    more
        plain: is there anything i can help you with
        young: want anything else | need something else
        middle-aged: is there anything i can help you with | can i assist you with something else
        elderly: may i help you in any other way sir | could i assist you in some other manner madam

    end
        plain: you're welcome
        young: no problem | happy to help
        middle-aged: you're welcome | you're welcome
        elderly: it was a pleasure to be of help to you sir | i am grateful to assist you madam
"""


def read_wording(block: str) -> tuple[str, Wording]:
    """Read a block of `TABLE`."""
    act, plain, *ages = re.split(r' (?:plain|young|middle-aged|elderly): ', ' '.join(block.split()))
    by_gender = [age.split(' | ') for age in ages]
    return act, Wording(plain, tuple(texts[0] for texts in by_gender), tuple(texts[-1] for texts in by_gender))


WORDINGS = dict(map(read_wording, TABLE.split('\n\n')))
ASKS = {slot: f'ask {slot}' for slot in ('cuisine', 'location', 'number', 'price')}
# What the user says where it is drawn anew; everything else they say as in the plain tasks.
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
    """The user that the bot talks to. Diet and favourite food are known only in tasks with suggestions."""

    gender: str
    age: str
    diet: str = ''
    favourite: str = ''

    @property
    def line(self) -> str:
        return ' '.join(filter(None, self))

    @property
    def wordings(self) -> dict[str, str]:
        """Return wording -> act for this user."""
        return STYLED_ACTS[self.gender, self.age]


def read_profile(line: str) -> Profile | None:
    """Split `'male elderly veg pizza'` into its parts; return None if it is no profile."""
    words = line.split()
    fits = len(words) in (2, 4) and words[0] in GENDERS and words[1] in AGES and (not words[2:] or words[2] in DIETS)
    return Profile(*words) if fits else None


def styled(act: str, profile: Profile, slot: str = '') -> str:
    """Return the act in the words for this user."""
    wording = WORDINGS[act]
    return (wording.male if profile.gender == 'male' else wording.female)[AGES.index(profile.age)].format(slot)


def plain(act: str, slot: str = '') -> str:
    return WORDINGS[act].plain.format(slot)


def split_reply(reply: str) -> tuple[str, str]:
    """Split a reply into its wording and the restaurants or properties in it: `'here it is {}'`, `'resto_x_phone'`."""
    names = RESTAURANTS.search(reply)
    return (RESTAURANTS.sub('{}', reply, count=1), names[0]) if names else (reply, '')


PLAIN_ACTS = {wording.plain: act for act, wording in WORDINGS.items()}
STYLED_ACTS = {
    (gender, age): {getattr(wording, gender)[number]: act for act, wording in WORDINGS.items()}
    for gender in GENDERS
    for number, age in enumerate(AGES)
}
