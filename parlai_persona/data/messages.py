"""`Dialogue` records -> ParlAI Messages, with the options that all our tasks share; for any kind of teacher."""

import parlai.utils.logging as logging
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.utils.data import DatatypeHelper

from parlai_persona import fields
from parlai_persona.data.candidates import Distractors, example_rng, shuffled
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit, Turn

SIDES = ('self', 'other', 'both', 'none')
CANDIDATES = ('inline', 'sampled', 'none')
MARKS = (fields.YOUR_PERSONA, fields.PARTNERS_PERSONA)  # how the lines of the two personas begin in `text`


class DialogueMessages:
    """`text` is what ParlAI's own Persona-Chat teachers send: the persona lines chosen by `--persona-side` before
    the first message of a dialogue, then one message a turn. Whatever the side, both personas, the dialogue id
    and the turn also travel in fields of their own, where truncation of `text` does not reach them.

    A task says what suits it where the options do not.
    """

    opt: Opt
    SIDE = 'self'
    CANDIDATES = 'inline'
    COUNT = 20  # of candidates
    MARKS = MARKS

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)  # type: ignore[misc]
        group = parser.add_argument_group('Persona dialogues')
        group.add_argument(  # no defaults here: several tasks share the flags, not what suits them
            '--persona-side',
            choices=SIDES,
            default=None,
            help="whose persona stands in the text: the replying speaker's (default, if the task knows no better), "
            "the partner's, both or none",
        )
        group.add_argument(
            '--persona-candidates',
            choices=CANDIDATES,
            default=None,
            help='label candidates: those that came with the data (default, if the task knows no better), seeded '
            'draws from the same split, or none',
        )
        group.add_argument(
            '--persona-candidates-count',
            type=int,
            default=None,
            help='number of sampled candidates, the reply included (default 20, if the task knows no better)',
        )
        group.add_argument(
            '--persona-candidates-seed',
            type=int,
            default=0,
            help='seed of the sampled candidates and of the order in which candidates are shown',
        )
        return parser

    @classmethod
    def settle(cls, opt: Opt) -> None:
        """Fill in what the task prefers, and check the rest; options in the task string pass no parser."""
        preferred = {'side': cls.SIDE, 'candidates': cls.CANDIDATES, 'candidates_count': cls.COUNT}
        for name, value in preferred.items():
            if opt.get(f'persona_{name}') is None:
                opt[f'persona_{name}'] = value
        check_choice(opt, 'persona_side', SIDES)
        check_choice(opt, 'persona_candidates', CANDIDATES)
        if opt['persona_candidates'] == 'sampled' and opt['persona_candidates_count'] < 2:
            raise ValueError(f'--persona-candidates-count is {opt["persona_candidates_count"]}; it has to be 2 or more')

    def forgive(self, error: NoSplit, fold: str) -> None:
        """A missing test split is an error only for someone who asked for it: `train_model` runs a last test without
        being asked, and should not fail after hours of training."""
        asked = self.opt.get('override', {}).get('datatype', '')
        if fold != 'test' or DatatypeHelper.fold(asked) == 'test':
            raise error
        logging.error(f'No final test. {error}')

    def message(self, dialogue: Dialogue, number: int, distractors: Distractors | None) -> Message:
        turn = dialogue.turns[number]
        fields_ = {
            'text': self.text(dialogue, number, turn.text),
            'labels': [turn.reply],
            fields.PERSONA: list(dialogue.persona),
            fields.PARTNER_PERSONA: list(dialogue.partner_persona),
            fields.DIALOGUE_ID: dialogue.id,
            fields.TURN: number,
        }
        if turn.kind:
            fields_[fields.KIND] = turn.kind
        if dialogue.speaker:
            fields_[fields.SPEAKER] = dialogue.speaker
        candidates = self.candidates(dialogue.id, number, turn, distractors)
        if candidates:
            fields_['label_candidates'] = candidates
        return Message(fields_)

    def text(self, dialogue: Dialogue, number: int, said: str) -> str:
        """What an agent is sent as `text`: the persona lines stand before the first message of a dialogue."""
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
    """The persona as the lines of text that ParlAI's agents expect before the first message."""
    own, partner = (
        [f'{mark}{line}' for line in persona]
        for mark, persona in zip(marks, (dialogue.persona, dialogue.partner_persona), strict=True)
    )
    return {'self': own, 'other': partner, 'both': own + partner, 'none': []}[side]


def check_choice(opt: Opt, key: str, choices: tuple) -> None:
    """Options given inside the task string (`-t persona:x:key=value`) pass no parser; check them here."""
    if opt.get(key) not in choices:
        flag = '--' + key.replace('_', '-')
        raise ValueError(f'{flag} is {opt.get(key)!r}; it has to be one of: {", ".join(map(str, choices))}')
