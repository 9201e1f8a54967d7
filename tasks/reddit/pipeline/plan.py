"""Comments -> pairs -> personas and examples, as relational expressions: the one definition for every engine.

Tables:

comments   part, at, id, parent, author, order, text, sentences [hash, lot, score, text]   (stage.py)
pairs      shelf, id, author, order, context, response, hashes      a comment and the one it answers
sentences  shelf, author, order, hash, lot, score, text             what personas are chosen from
chosen     shelf, persona_id, place, hash, text                     the sentences of each persona
personas   shelf, persona_id, persona [text]                        N sentences at most, of training comments
examples   shelf, order, persona_id, context, response, without [place in persona]

Rows of a thread share a `part`, and those of a persona a `shelf`, so that parts and shelves can be computed one by one.
`order` and `lot` are random numbers of comments and sentences, from hashes of their ids.
"""

from dataclasses import dataclass

import ibis
from ibis import Table
from ibis.expr.types import IntegerValue

FOLDS = ('test', 'valid', 'train')  # sorted by `order`
LAST = 2**63 - 1


@dataclass(frozen=True)
class Choice:
    """How personas are chosen, and which comments are held out: test below the first cut, valid below the second."""

    shelves: int
    selection: str = 'rules'
    most: int = 100  # sentences of a persona
    cuts: tuple[int, int] = (0, 0)


# ------------------------------------------------------------------------------------ comments of a part


def copied(comments: Table) -> Table:
    """Return the ids that several comments have."""
    found = comments.group_by(['part', 'id']).agg(count=comments.count())
    return found.filter(found['count'] > 1)


def unique(comments: Table) -> Table:
    """Return each comment once, the first of its copies: dumps overlap."""
    kept = comments.group_by(['part', 'id']).agg(at=comments['at'].min())
    return comments.semi_join(kept, ['part', 'id', 'at'])


def counted(comments: Table) -> Table:
    return comments.group_by('part').agg(comments=comments.count())


def pairs(comments: Table, choice: Choice) -> Table:
    """Return successive comments of a thread (sec. 3.3): the context is what the response answers."""
    hashes = comments.sentences.map(lambda one: one['hash'])
    contexts = comments.select('part', parent=comments.id, context=comments.text)
    responses = comments.select('part', 'id', 'parent', 'author', 'order', response=comments.text, hashes=hashes)
    joined = responses.join(contexts, ['part', 'parent'])
    return joined.select('id', 'author', 'order', 'context', 'response', 'hashes', shelf=shelf(joined.author, choice))


def sentences(comments: Table, choice: Choice) -> Table:
    """Return the sentences that a persona may have, with the author and the number of their comments."""
    one = comments.select('author', 'order', sentence=comments.sentences.unnest())
    found = one.select('author', 'order', *(one.sentence[name].name(name) for name in ('hash', 'lot', 'score', 'text')))
    mixed = choice.selection == 'random-dataset'
    return found.mutate(shelf=shelf(found.lot if mixed else found.author, choice))


def shelf(number: IntegerValue, choice: Choice) -> IntegerValue:
    return (number % choice.shelves).cast('int32')


# --------------------------------------------------------------------------------------------- splits


def cut(pairs: Table, count: int) -> IntegerValue:
    """Return the number that `count` pairs lie below."""
    return pairs.select('order').order_by('order').limit(count).order.max() + 1


def fold(examples: Table, choice: Choice, name: str) -> Table:
    limits, number = (0, *choice.cuts, LAST), FOLDS.index(name)
    return examples.filter((examples.order >= limits[number]) & (examples.order < limits[number + 1]))


def training(sentences: Table, choice: Choice) -> Table:
    return sentences.filter(sentences.order >= choice.cuts[1])


# --------------------------------------------------------------------------- personas and examples of a shelf


def piles(sentences: Table, choice: Choice) -> Table:
    """Return how many personas the training sentences of each shelf fill (random-dataset)."""
    kept = training(sentences, choice)
    counted = kept.group_by('shelf').agg(count=kept.count())
    return counted.select('shelf', piles=ibis.greatest(counted['count'] // choice.most, 1))


def dealt(number: IntegerValue, table: Table, choice: Choice) -> IntegerValue:
    """Return one of the personas of a shelf; `table` has the column `piles`."""
    piles = ibis.coalesce(table.piles, 1)
    return (number // choice.shelves % piles) * choice.shelves + table.shelf


def owned(sentences: Table, choice: Choice) -> Table:
    """Return training sentences with the persona that each may go into: its author's, or one that it is dealt to."""
    kept = training(sentences, choice)
    if choice.selection != 'random-dataset':
        return kept.mutate(persona_id=kept.author)
    joined = kept.join(piles(sentences, choice), 'shelf')
    return joined.mutate(persona_id=dealt(joined.lot, joined, choice))


def chosen(sentences: Table, choice: Choice) -> Table:
    """Return the sentences of each persona, all different, with their places in it: the best scored, or at random."""
    mine = owned(sentences, choice)
    copy = ibis.row_number().over(ibis.window(group_by=['shelf', 'persona_id', 'hash'], order_by=['lot']))
    different = mine.mutate(copy=copy).filter(ibis._.copy == 0).drop('copy')
    best = [ibis.desc('score'), 'lot', 'hash']
    place = ibis.row_number().over(ibis.window(group_by=['shelf', 'persona_id'], order_by=best)).cast('int32')
    numbered = different.mutate(place=place)
    return numbered.filter(numbered.place < choice.most).select('shelf', 'persona_id', 'place', 'hash', 'text')


def personas(chosen: Table) -> Table:
    """Return a row a persona."""
    line = ibis.struct({'place': chosen.place, 'text': chosen.text})
    grouped = chosen.group_by(['shelf', 'persona_id']).agg(lines=line.collect())
    return grouped.select('shelf', 'persona_id', persona=grouped.lines.sort().map(lambda one: one['text']))


def examples(pairs: Table, sentences: Table, chosen: Table, choice: Choice) -> Table:
    """Return pairs with their personas. `without`: the places in the persona of the response's own sentences."""
    known = with_persona(pairs, sentences, choice)
    said = known.select('shelf', 'persona_id', 'id', hash=known.hashes.unnest())
    copies = said.join(chosen.select('shelf', 'persona_id', 'hash', 'place'), ['shelf', 'persona_id', 'hash'])
    copies = copies.select('shelf', 'id', 'place').distinct()
    without = copies.group_by(['shelf', 'id']).agg(without=copies.place.collect())
    found = known.left_join(without, ['shelf', 'id'])
    none = ibis.literal([], type='array<int32>')
    return found.select(
        'shelf', 'order', 'persona_id', 'context', 'response', without=found.without.sort().fill_null(none)
    )


def with_persona(pairs: Table, sentences: Table, choice: Choice) -> Table:
    if choice.selection != 'random-dataset':
        return pairs.mutate(persona_id=pairs.author)
    joined = pairs.left_join(piles(sentences, choice), 'shelf')
    return joined.mutate(persona_id=dealt(joined.author, joined, choice)).drop('piles')


# ------------------------------------------------------------------------------------------- dictionary


def frequent(words: Table, most: int) -> Table:
    """Return the most frequent words of all blocks."""
    total = words.group_by('word').agg(count=words['count'].sum().cast('int64'))
    return total.order_by([ibis.desc('count'), 'word']).limit(most)
