"""Write a page with conversations of a transmitter with itself, before and after self-play.

    python -m benchmarks.p2bot.conversations -t persona:personachat --persona-source convai2 --datapath data \\
        --before runs/p2bot/s-1/model --after runs/p2bot/single-1/model \\
        --persona-receiver runs/p2bot_receiver/best-1/model

Both models hold the same meetings: the first dialogues of the valid split, with their personas and their opening lines.
The replies are the best ones of a beam of two: nothing is drawn. A conversation takes about a minute on one core.
"""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from parlai.core.agents import create_agent_from_model_file
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from tqdm import tqdm

from benchmarks.common.record import ROOT
from benchmarks.common.tables import grid
from benchmarks.suite.self_chat import Side, chosen, talk, write
from parlai_persona import fields
from parlai_persona.chat.context import TaskContext
from parlai_persona.chat.conversation import Said, Speakers
from parlai_persona.data.dialogue import Dialogue
from parlai_persona.metrics.heat_map import HeatMap
from parlai_persona.metrics.perception import Perception

SEARCH = {'inference': 'beam', 'beam_size': 2, 'skip_generation': False, 'lm_amp': False}
INTRODUCTION = """\
# Conversations before and after self-play

A transmitter talks to itself as the people of the first dialogues of the split, before self-play and after it. The
first line is that of the data; the model says the rest. A score is that of an utterance with its speaker's persona, as
the receiver of P²Bot perceives it (eq. 15). This page was made by:
"""
WHEN = 'before', 'after'
Talk = tuple[list[Said], list[Side]]


def conversations(model_file: str, context: TaskContext, dialogues: Sequence[Dialogue]) -> Iterator[Talk]:
    """Let a model go on from the opening line of each dialogue, as both of its people."""
    quiet = {'datatype': 'valid', 'datapath': context.opt['datapath'], 'loglevel': 'warning', **SEARCH}
    agent: Any = create_agent_from_model_file(model_file, quiet)
    speakers = Speakers(context, [agent, agent.clone()])
    for dialogue in tqdm(dialogues, desc=model_file):
        sides = talk(speakers, dialogue, context.opt['turns'])
        yield list(speakers.history), sides


def meeting(talks: dict[str, Talk], judge: Perception) -> list[str]:
    """Return the lines of a meeting: personas, both conversations side by side, and what the receiver makes of them."""
    history, sides = talks['after']
    lines = [f'{name}: {" · ".join(side.persona)}\n' for name, side in zip('AB', sides, strict=True)]
    rows: list[dict[str, str]] = [{'': 'AB'[said.speaker]} for said in history]
    for when, (history, _) in talks.items():
        for row, said in zip(rows, history, strict=True):
            row |= {when: said.text, f'score {when}': f'{said.act[fields.PERCEPTION]:.2f}'}
    lines += [*grid([*rows[0]], rows), '']
    for when, (_, sides) in talks.items():
        a, b = (judge.rank(side.said, judge.choices(side.persona, side.partners, side.dialogue)) for side in sides)
        lines += [f'From what the model said {when}, A is number {a} and B number {b} of {judge.among} personas.\n']
    return lines


def page(opt: Opt, command: str) -> list[str]:
    context = TaskContext(opt)
    judge, dialogues = context.perception, chosen(context.dialogues(), opt)
    if judge is None:
        raise SystemExit('expected --persona-receiver, which scores what is said')
    talks = {when: list(conversations(opt[when], context, dialogues)) for when in WHEN}
    lines = [INTRODUCTION, f'```\n{command}\n```\n']
    for number in range(len(dialogues)):
        own = {when: some[number] for when, some in talks.items()}
        lines += [f'## Meeting {number + 1}\n', *meeting(own, judge)]
    side = talks['after'][0][1][1]
    shown = HeatMap.of(judge.receiver, side.said, side.persona).text()
    return [*lines, "## B's persona in the first meeting, after self-play\n", '```', *shown.splitlines(), '```']


def public(command: str) -> str:
    """Return a command without the folders of this machine: /home/me/runs/model is runs/model."""
    return re.sub(r'(?<![^\s=])/\S*?/(?=(runs|data|docs)(/|\s|$)|[^/\s]*(\s|$))', '', command)


def options() -> ParlaiParser:
    parser = ParlaiParser(True, False, description=__doc__)
    group = parser.add_argument_group('Conversations')
    for when in WHEN:
        group.add_argument(f'--{when}', required=True, help=f'model file {when} self-play')
    group.add_argument('--conversations', type=int, default=3)
    group.add_argument('--turns', type=int, default=4, help='messages of each speaker, the given one included')
    group.add_argument('--page', type=Path, default=ROOT / 'docs/self_play_conversations.md')
    parser.set_defaults(datatype='valid')
    return parser


if __name__ == '__main__':
    asked = options().parse_args()
    write(asked['page'], page(asked, public(f'python -m benchmarks.p2bot.conversations {shlex.join(sys.argv[1:])}')))
