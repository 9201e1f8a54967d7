"""The names of the Message fields that our agents and tasks share, beside ParlAI's own (`text`, `labels`, …)."""

from collections.abc import Iterable, Mapping
from typing import Any

PERSONA = 'persona'  # list of str: sentences about the speaker of the labels
PARTNER_PERSONA = 'partner_persona'  # list of str: sentences about the other speaker
DIALOGUE_ID = 'dialogue_id'  # str: the same for all turns of a dialogue, unique within a split
TURN = 'turn'  # int: 0 for the first reply of a dialogue
TURNS = 'turns'  # int: how many turns the dialogue has

YOUR_PERSONA = 'your persona: '  # how ParlAI marks a line of PERSONA in `text`
PARTNERS_PERSONA = "partner's persona: "  # and a line of PARTNER_PERSONA
STATED = {PERSONA: YOUR_PERSONA.strip(), PARTNER_PERSONA: PARTNERS_PERSONA.strip()}  # so that they are recognised
SILENCE = '__SILENCE__'  # how the data files write the missing turn before the opening one
KIND = 'kind'  # str: the sort of reply that is asked for, if the task knows it; its README lists the sorts

PERCEPTION = 'perception'  # float, in conversations: how well the text fits the speaker's persona, by a receiver
PERCEIVED = 'perceived'  # str: the sentence of the persona that it fits best
PERCEPTION_RANK = 'perception_rank'  # int, at the end: place of the persona among others by all that was said

SPEAKER = 'speaker'  # str: who replies, if the task knows people and not only personas
DIALOGUES = 'dialogues'  # list of a person's dialogues, each with DIALOGUE_ID, both personas and MESSAGES
MESSAGES = 'messages'  # list of the turns of such a dialogue: text, labels, perhaps label_candidates
FOLDS = 'folds'  # list of {SUPPORT, QUERY}: places in DIALOGUES to learn from, and places to answer after that
SUPPORT, QUERY = 'support', 'query'
REPLIES = 'replies'  # from an agent: for each fold, its replies to the messages of the query

SPECIFIC_WORDS = 'specific_words'  # list of str: words of the text that go with the persona (persona:congeneric)
CONGENERIC = 'congeneric'  # list of str: the text with MASK for these words, then similar ones of the training split
PERSONA_LABEL = 'persona_label'  # int: place in PERSONA of the sentence that the reply expresses; -1: none
NO_SENTENCE = -1  # a PERSONA_LABEL
PERSONA_WEIGHTS = 'persona_weights'  # from an agent: for each sentence of PERSONA, how much the reply draws on it
MASK = '<KEY>'  # stands for a specific word


def labels_of(message: Mapping[str, Any]) -> list[str]:
    """Return the labels of a Message, of a training or of an evaluation; none if it has none."""
    return list(message.get('labels') or message.get('eval_labels') or ())


def stated_persona(
    message: Mapping[str, Any], field: str, lines: Iterable[str], known: Iterable[str] = ()
) -> list[str]:
    """Return the persona in a field of a Message, else that in the lines of its text, else the one known before."""
    if field in message:
        return list(message[field])
    mark = STATED[field]
    return [line.removeprefix(mark).strip() for line in lines if line.startswith(mark)] or list(known)
