"""Comments -> pairs -> personas and examples, as relational expressions: the one definition for every engine.

Tables:

comments   part, at, id, parent, author, order, text, hashes, sentences [hash, lot, score, text]   (stage.py)
pairs      shelf, id, author, order, context, response, hashes      a comment and the one it answers
sentences  shelf, author, order, hash, lot, score, text             what personas are chosen from
personas   shelf, persona_id, persona [text]                        N sentences at most, of training comments
examples   shelf, order, persona_id, context, response, without [place in persona]

Rows of a thread share a `part`, and those of a persona a `shelf`, so that parts and shelves can be computed one by one.
`order`, `lot`: random numbers of comments and sentences, from hashes of their ids.
"""

from dataclasses import dataclass

import ibis
from ibis import Table
from ibis.expr.types import IntegerValue

FOLDS = ('test', 'valid', 'train')  # in the order of `order`
LAST = 2**63 - 1


@dataclass(frozen=True)
class Choice:
    """How personas are chosen, and which comments are held out: test below the first cut, valid below the second."""

    shelves: int
    selection: str = 'rules'
    most: int = 100  # sentences of a persona
    cuts: tuple[int, int] = (0, 0)

    def folds(self) -> dict[str, tuple[int, int]]:
        """From where to where the numbers of each go."""
        limits = (0, *self.cuts, LAST)
        return {fold: (limits[n], limits[n + 1]) for n, fold in enumerate(FOLDS)}


def copied(comments: Table) -> Table:
    """The comments that are there more than once."""
    found = comments.group_by(['part', 'id']).agg(count=comments.count())
    return found.filter(found['count'] > 1)


def unique(comments: Table) -> Table:
    """Dumps overlap: each comment once, the first of them."""
    kept = comments.group_by(['part', 'id']).agg(at=comments['at'].min())
    return comments.semi_join(kept, ['part', 'id', 'at'])


def counted(comments: Table) -> Table:
    return comments.group_by('part').agg(comments=comments.count())


def first(table: Table, group: list[str], order: list[str]) -> Table:
    """Of each group the first row."""
    numbered = table.mutate(number=ibis.row_number().over(ibis.window(group_by=group, order_by=order)))
    return numbered.filter(numbered.number == 0).drop('number')


def pairs(comments: Table, choice: Choice) -> Table:
    """Successive comments of a thread (sec. 3.3): the context is what the response answers."""
    contexts = comments.select('part', parent=comments.id, context=comments.text)
    responses = comments.select('part', 'id', 'parent', 'author', 'order', 'hashes', response=comments.text)
    joined = responses.join(contexts, ['part', 'parent'])
    return joined.select('id', 'author', 'order', 'context', 'response', 'hashes', shelf=shelf(joined.author, choice))


def sentences(comments: Table, choice: Choice) -> Table:
    """The sentences that a persona may have, each with the author and the number of its comment."""
    one = comments.select('author', 'order', sentence=comments.sentences.unnest())
    found = one.select('author', 'order', *(one.sentence[name].name(name) for name in ('hash', 'lot', 'score', 'text')))
    mixed = choice.selection == 'random-dataset'
    return found.mutate(shelf=shelf(found.lot if mixed else found.author, choice))


def shelf(number: IntegerValue, choice: Choice) -> IntegerValue:
    return (number % choice.shelves).cast('int32')


def cut(pairs: Table, count: int) -> IntegerValue:
    """The number that `count` pairs lie below."""
    return pairs.select('order').order_by('order').limit(count).order.max() + 1


def owned(sentences: Table, choice: Choice) -> Table:
    """Sentences of training comments, with the persona that they may go into: that of their author, or for a random
    draw from the whole data set one of as many as can be filled."""
    training = sentences.filter(sentences.order >= choice.cuts[1])
    if choice.selection != 'random-dataset':
        return training.mutate(persona_id=training.author)
    sizes = piles(training, choice)
    joined = training.join(sizes, 'shelf')
    return joined.mutate(persona_id=pile(joined.lot // choice.shelves, joined.piles, choice, joined.shelf))


def piles(training: Table, choice: Choice) -> Table:
    """How many personas a shelf's sentences fill."""
    counted = training.group_by('shelf').agg(count=training.count())
    return counted.select('shelf', piles=ibis.greatest(counted['count'] // choice.most, 1))


def pile(number: IntegerValue, piles: IntegerValue, choice: Choice, shelf: IntegerValue) -> IntegerValue:
    return (number % piles) * choice.shelves + shelf


def chosen(sentences: Table, choice: Choice) -> Table:
    """The sentences of each persona, no two alike, with their places in it: the best scored, or at random."""
    different = first(owned(sentences, choice), ['shelf', 'persona_id', 'hash'], ['lot'])
    best = [ibis.desc('score'), 'lot', 'hash']
    place = ibis.row_number().over(ibis.window(group_by=['shelf', 'persona_id'], order_by=best)).cast('int32')
    numbered = different.mutate(place=place)
    return numbered.filter(numbered.place < choice.most).select('shelf', 'persona_id', 'place', 'hash', 'text')


def personas(chosen: Table) -> Table:
    """One row a persona."""
    line = ibis.struct({'place': chosen.place, 'text': chosen.text})
    grouped = chosen.group_by(['shelf', 'persona_id']).agg(lines=line.collect())
    return grouped.select('shelf', 'persona_id', persona=grouped.lines.sort().map(lambda one: one['text']))


def examples(pairs: Table, sentences: Table, chosen: Table, choice: Choice) -> Table:
    """`without`: the places in the persona of sentences that the response consists of."""
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
    sizes = piles(sentences.filter(sentences.order >= choice.cuts[1]), choice)
    joined = pairs.left_join(sizes, 'shelf')
    number = joined.author // choice.shelves
    return joined.mutate(persona_id=pile(number, ibis.coalesce(joined.piles, 1), choice, joined.shelf)).drop('piles')


def frequent(words: Table, most: int) -> Table:
    """The most frequent words of all blocks."""
    total = words.group_by('word').agg(count=words['count'].sum().cast('int64'))
    return total.order_by([ibis.desc('count'), 'word']).limit(most)
