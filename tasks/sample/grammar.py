"""The grammar of `persona:sample`: small talk in which each reply depends on a known source.

Two people talk about four topics. For each topic both have a value of their own, drawn uniformly and independently. A
dialogue has eight turns: a greeting, one question about each topic, and three questions in which the partner asks
what they said before. So, with the inline candidates,

* a `persona` reply depends on the persona alone. Ten candidates differ only in the value, which nothing else in the
  dialogue tells: without the persona an agent finds 1/10 of these replies;
* a `history` reply depends on the history alone: without it an agent finds 1/10 of these replies;
* an `open` reply (to the greeting) needs neither.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from parlai_persona.data.dialogue import Dialogue, Turn

TOPICS_PER_DIALOGUE = 4
RECALLS_PER_DIALOGUE = 3
CANDIDATES = 20
WRONG_PERSON = 5  # candidates that speak of the wrong person
SIZES = {'train': 1000, 'valid': 100, 'test': 100}  # dialogues


@dataclass(frozen=True)
class Topic:
    """Ten values, and sentences with a place for one (`{}`). `answers` are statements in the second person."""

    values: tuple[str, ...]
    lines: tuple[str, ...]
    statements: tuple[str, ...]
    answers: tuple[str, ...]
    questions: tuple[str, ...]
    recalls: tuple[str, ...]


def topic(values: str, *sentences: str) -> Topic:
    return Topic(tuple(values.split()), *(tuple(alternatives.split('|')) for alternatives in sentences))


TOPICS = (
    topic(
        'cat dog rabbit hamster parrot turtle goldfish snake pony lizard',
        'i own a {}.|my pet is a {}.',
        'i have a {} at home .|i share my home with a {} .',
        'you have a {} .',
        'do you have any pets ?|what kind of pet do you have ?',
        'what pet did i tell you about ?|which pet do i have ?',
    ),
    topic(
        'nurse teacher baker lawyer pilot farmer plumber chef librarian carpenter',
        'i work as a {}.|i am a {} by trade.',
        'i am a {} .|i earn my living as a {} .',
        'you are a {} .',
        'what do you do for a living ?|what is your job ?',
        'can you remember what my job is ?|what do i do for a living ?',
    ),
    topic(
        'paris london tokyo boston chicago madrid berlin sydney cairo toronto',
        'i live in {}.|my home is in {}.',
        'i am living in {} .|my place is in {} .',
        'you live in {} .',
        'where do you live ?|which city are you from ?',
        'which city did i say i live in ?|where do i live ?',
    ),
    topic(
        'pizza sushi tacos pasta curry salad steak soup burgers pancakes',
        'my favorite food is {}.|i love to eat {}.',
        'i could eat {} every day .|there is nothing better than {} .',
        'you like {} the most .',
        'what do you like to eat ?|do you have a favorite food ?',
        'what did i say i like to eat ?|which food do i like ?',
    ),
    topic(
        'painting fishing dancing hiking knitting gardening swimming cooking sailing reading',
        'i enjoy {} in my free time.|my hobby is {}.',
        'i spend my weekends {} .|i am really into {} .',
        'you said you enjoy {} .',
        'what do you do for fun ?|do you have a hobby ?',
        'what is my hobby again ?|what do i do for fun ?',
    ),
    topic(
        'jazz rock opera country techno blues reggae rap folk metal',
        'i listen to {} music.|i like {} music best.',
        'i play {} songs all day .|i am a fan of {} music .',
        'you like {} music .',
        'what music do you listen to ?|do you like music ?',
        'what kind of music did i mention ?|which music do i like ?',
    ),
    topic(
        'red blue green yellow purple orange pink brown black white',
        'my favorite color is {}.|i always wear {} clothes.',
        'i think {} is the nicest color .|everything i own is {} .',
        'your favorite color is {} .',
        'what is your favorite color ?|which color do you like ?',
        'do you remember my favorite color ?|what color did i say i like ?',
    ),
    topic(
        'tennis soccer golf hockey baseball basketball volleyball rugby boxing cricket',
        'i play {} on a team.|i am good at {}.',
        'i train {} three times a week .|i never miss a {} match .',
        'your sport is {} .',
        'do you play any sports ?|which sport are you into ?',
        'what sport did i talk about ?|which sport do i like ?',
    ),
)
GREETINGS = ('hello ! how are you today ?', 'hi , how is it going ?', 'hey there . how are you doing ?')
WELCOMES = ('hi ! i am doing great , thanks .', 'i am fine , how nice to meet you .', 'hello ! i am well , and you ?')


SENTENCES = {t: [s.format(v) for s in (*t.statements, *t.answers) for v in t.values] for t in TOPICS}


def ceilings() -> dict[str, Fraction]:
    """Return the best possible hits@1 with the inline candidates, by what an agent reads."""
    turns = 1 + TOPICS_PER_DIALOGUE + RECALLS_PER_DIALOGUE
    guess = Fraction(1, len(TOPICS[0].values))
    blind_persona, blind_history = TOPICS_PER_DIALOGUE * (1 - guess), RECALLS_PER_DIALOGUE * (1 - guess)
    return {
        'all': Fraction(1),
        'no persona': 1 - blind_persona / turns,
        'no history': 1 - blind_history / turns,
        'neither': 1 - (blind_persona + blind_history) / turns,
    }


def dialogues(fold: str, seed: int = 0, count: int | None = None) -> Iterator[Dialogue]:
    """Yield the dialogues of a split. Each depends only on the seed, the split and its number."""
    for number in range(SIZES[fold] if count is None else count):
        id = f'{fold}-{number}'
        yield write(id, random.Random(f'{seed}/{id}'))


def write(id: str, rng: random.Random) -> Dialogue:
    topics = rng.sample(TOPICS, TOPICS_PER_DIALOGUE)
    own = [rng.choice(t.values) for t in topics]
    partners = [rng.choice(t.values) for t in topics]
    turns = [greet(rng)]
    for kind, number in plan(rng):
        make = ask if kind == 'persona' else recall
        turns.append(make(rng, topics[number], own[number], partners[number]))
    return Dialogue(
        id,
        tuple(turns),
        tuple(rng.choice(t.lines).format(v) for t, v in zip(topics, own, strict=True)),
        tuple(rng.choice(t.lines).format(v) for t, v in zip(topics, partners, strict=True)),
    )


def plan(rng: random.Random) -> list[tuple[str, int]]:
    """Return the order of the questions: one about every topic, later a second one about some of them.

    The partner tells their own value with the first question, so they can ask for it in the second.
    """
    recalled = rng.sample(range(TOPICS_PER_DIALOGUE), RECALLS_PER_DIALOGUE)
    steps = [*range(TOPICS_PER_DIALOGUE), *recalled]
    rng.shuffle(steps)
    seen: set[int] = set()
    kinds = []
    for number in steps:
        kinds.append(('history' if number in seen else 'persona', number))
        seen.add(number)
    return kinds


def greet(rng: random.Random) -> Turn:
    hello, reply = rng.choice(GREETINGS), rng.choice(WELCOMES)
    return Turn(hello, reply, (*elsewhere(rng, None, CANDIDATES - 1), reply), 'open')


def ask(rng: random.Random, topic: Topic, own: str, partners: str) -> Turn:
    """Return a turn in which the partner tells their value and asks for ours. The reply is only in our persona."""
    told = rng.choice(topic.statements).format(partners)
    return Turn(f'{told} {rng.choice(topic.questions)}', *choices(rng, topic, 'statements', own), 'persona')


def recall(rng: random.Random, topic: Topic, own: str, partners: str) -> Turn:
    """Return a turn in which the partner asks for their own value. The reply is only in the history."""
    return Turn(rng.choice(topic.recalls), *choices(rng, topic, 'answers', partners), 'history')


def choices(rng: random.Random, topic: Topic, form: str, value: str) -> tuple[str, tuple[str, ...]]:
    """Return the reply and its candidates: the same sentence with the topic's other values, sentences about the wrong
    person, and sentences about other topics.

    The values of the wrong person are drawn independently of the right one, so they do not give it away.
    """
    sentence = rng.choice(getattr(topic, form))
    same_topic = [sentence.format(v) for v in topic.values if v != value]
    wrong = getattr(topic, 'answers' if form == 'statements' else 'statements')
    others = [rng.choice(wrong).format(v) for v in rng.sample(topic.values, WRONG_PERSON)]
    others += elsewhere(rng, topic, CANDIDATES - 1 - len(same_topic) - len(others))
    reply = sentence.format(value)
    return reply, (*same_topic, *others, reply)


def elsewhere(rng: random.Random, excluded: Topic | None, count: int) -> list[str]:
    """Draw `count` different sentences about topics other than this one."""
    return rng.sample([s for t in TOPICS if t is not excluded for s in SENTENCES[t]], count)
