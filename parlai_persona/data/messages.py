"""`Dialogue` records -> ParlAI Messages, with the options that all our tasks share; for any kind of teacher."""

from dataclasses import dataclass, replace

import parlai.utils.logging as logging
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.utils.data import DatatypeHelper

from parlai_persona import fields
from parlai_persona.data.candidates import Distractors, example_rng, shuffled
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit, Turn
from parlai_persona.flags import add_flags, flag, from_opt

SIDES = ('self', 'other', 'both', 'none')
CANDIDATES = ('inline', 'sampled', 'none')
MARKS = (fields.YOUR_PERSONA, fields.PARTNERS_PERSONA)  # how the lines of the two personas begin in `text`


@dataclass(frozen=True)
class DialogueOptions:
    """Options of all tasks. None means what suits the task, because several tasks share these flags."""

    side: str | None = flag(
        None,
        "persona in the text: that of the speaker who replies (the usual default), the partner's, both or none",
        choices=SIDES,
    )
    candidates: str | None = flag(
        None,
        'label candidates: those that come with the data (the usual default), seeded draws from the same split, or '
        'none',
        choices=CANDIDATES,
    )
    candidates_count: int | None = flag(
        None, 'number of sampled candidates, the reply included (the usual default: 20)', least=2
    )
    order: int | None = flag(
        None, "seed of another order of each persona's sentences (the usual order: that of the data)"
    )
    candidates_seed: int = flag(0, 'seed of the sampled candidates and of the order in which candidates are shown')


class DialogueMessages:
    """Makes Messages like those of ParlAI's own Persona-Chat teachers: the persona lines chosen by `--persona-side`
    stand before the first message of a dialogue, then there is one message a turn.

    Both personas, the dialogue id and the turn also travel in fields of their own, which truncation of `text` does
    not reach. A task sets the class attributes to what suits it.
    """

    opt: Opt
    SIDE = 'self'
    CANDIDATES = 'inline'
    COUNT = 20  # of candidates
    MARKS = MARKS
    OPTIONS: type | None = None  # the task's own options: a dataclass of flags; its docstring heads them in --help
    PREFIX = 'persona'  # of these flags

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)  # type: ignore[misc]
        add_flags(parser.add_argument_group('Persona dialogues'), 'persona', DialogueOptions)
        if cls.OPTIONS:
            add_flags(parser.add_argument_group(cls.OPTIONS.__doc__), cls.PREFIX, cls.OPTIONS)
        return parser

    @classmethod
    def settle(cls, opt: Opt) -> None:
        """Check the shared options, and fill in what suits the task where they are not given."""
        asked = from_opt(DialogueOptions, opt, 'persona')
        opt['persona_side'] = asked.side or cls.SIDE
        opt['persona_candidates'] = asked.candidates or cls.CANDIDATES
        opt['persona_candidates_count'] = asked.candidates_count or cls.COUNT
        opt['persona_candidates_seed'] = asked.candidates_seed
        opt['persona_order'] = asked.order

    def forgive(self, error: NoSplit, fold: str) -> None:
        """Raise the error, unless the missing split is a test that nobody asked for.

        `train_model` always ends with a test, and should not fail after hours of training.
        """
        asked = self.opt.get('override', {}).get('datatype', '')
        if fold != 'test' or DatatypeHelper.fold(asked) == 'test':
            raise error
        logging.info(f'No final test. {error}')

    def message(self, dialogue: Dialogue, number: int, distractors: Distractors | None) -> Message:
        """Return turn `number` of the dialogue as a Message."""
        if self.opt['persona_order'] is not None:
            rng = example_rng(self.opt['persona_order'], dialogue.id, 0)
            dialogue = replace(dialogue, persona=tuple(shuffled(dialogue.persona, rng)))
        turn = dialogue.turns[number]
        message = Message(
            {
                'text': self.text(dialogue, number, turn.text),
                'labels': [turn.reply],
                fields.PERSONA: list(dialogue.persona),
                fields.PARTNER_PERSONA: list(dialogue.partner_persona),
                fields.DIALOGUE_ID: dialogue.id,
                fields.TURN: number,
                fields.TURNS: len(dialogue.turns),
            }
        )
        if turn.kind:
            message[fields.KIND] = turn.kind
        if dialogue.speaker:
            message[fields.SPEAKER] = dialogue.speaker
        candidates = self.candidates(dialogue.id, number, turn, distractors)
        if candidates:
            message['label_candidates'] = candidates
        return message

    def text(self, dialogue: Dialogue, number: int, said: str) -> str:
        """Return the `text` that an agent is sent, with the persona lines if it is the first of a dialogue."""
        before = persona_lines(dialogue, self.opt['persona_side'], self.MARKS) if number == 0 else []
        return '\n'.join([*before, said])

    def candidates(self, dialogue_id: str, number: int, turn: Turn, distractors: Distractors | None) -> list[str]:
        if distractors:
            return distractors.candidates(dialogue_id, number, turn.reply, self.opt['persona_candidates_count'])
        if self.opt['persona_candidates'] == 'none' or not turn.candidates:
            return []
        if turn.reply not in turn.candidates:
            raise DataError(
                f'dialogue {dialogue_id!r}, turn {number}: the reply {turn.reply!r} is not among its '
                f'{len(turn.candidates)} candidates'
            )
        return shuffled(turn.candidates, example_rng(self.opt['persona_candidates_seed'], dialogue_id, number))


def persona_lines(dialogue: Dialogue, side: str, marks: tuple[str, str] = MARKS) -> list[str]:
    """Return the persona as the lines that ParlAI's agents expect before the first message."""
    own, partner = (
        [f'{mark}{line}' for line in persona]
        for mark, persona in zip(marks, (dialogue.persona, dialogue.partner_persona), strict=True)
    )
    return {'self': own, 'other': partner, 'both': own + partner, 'none': []}[side]
