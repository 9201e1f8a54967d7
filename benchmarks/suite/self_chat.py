"""Let an agent talk to itself as the people of valid dialogues, and measure what it says; or what people said there.

    python -m benchmarks.suite.self_chat -t persona:personachat --persona-source convai2 --datapath data \\
        --persona-nli zoo:persona/nli --persona-receiver zoo:persona/p2bot_receiver \\
        -mf runs/p2bot/s-1/model --report-filename report.json
    python -m benchmarks.suite.self_chat -t … --people true --report-filename people.json

Both sides of the first dialogues of the split are played by copies of one agent, with the personas of the people there.
The first message is theirs and does not count; then the agent says all. People are measured on as many messages of the
same dialogues. The report has, as averages over messages unless said otherwise:

    persona_perception     share of speakers whose persona the receiver finds first among 32, by all that they said
    contradicts_itself     whether the classifier sees a contradiction to an earlier message of the same speaker
    contradicts_persona    … to a sentence of the speaker's persona
    contradiction          … to one of both
    repetition             as in docs/metrics.md: trigrams that the speaker has said before
    reply_words, distinct_raw_2
    answers_per_second     messages by seconds of CPU time, one message at a time; the first dialogue does not count
    parameters, trained_parameters

The conversations are kept beside the report, in a file that ends with .jsonl.
"""

import json
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from parlai.core.agents import create_agent
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.utils.torch import total_parameters, trainable_parameters
from tqdm import tqdm

import parlai_persona  # noqa: F401  tells ParlAI about persona:
from parlai_persona.chat.context import TaskContext
from parlai_persona.chat.conversation import Speakers
from parlai_persona.data.dialogue import Dialogue
from parlai_persona.fields import SILENCE
from parlai_persona.files import draft
from parlai_persona.metrics import formulas
from parlai_persona.metrics.nli import Nli, load
from parlai_persona.metrics.perception import Perception

Figures = dict[str, float]


class Side(NamedTuple):
    """What one of the two speakers of a dialogue said, without its first message."""

    dialogue: str
    persona: Sequence[str]
    partners: Sequence[str]
    said: Sequence[str]


def sides(dialogue: Dialogue, first: Sequence[str], second: Sequence[str]) -> list[Side]:
    """Return both sides of a dialogue; the second speaker is the one who replies in it."""
    return [
        Side(dialogue.id, dialogue.partner_persona, dialogue.persona, first),
        Side(dialogue.id, dialogue.persona, dialogue.partner_persona, second),
    ]


def people(dialogue: Dialogue, turns: int) -> list[Side]:
    """Return what people said in the first turns of a dialogue."""
    own = dialogue.turns[:turns]
    return sides(dialogue, [turn.text for turn in own[1:]], [turn.reply for turn in own])


def talk(speakers: Speakers, dialogue: Dialogue, turns: int) -> list[Side]:
    """Let two agents go on from the first message of a dialogue, as the people who held it."""
    speakers.personas = [dialogue.partner_persona, dialogue.persona]
    speakers.restart()
    speakers.speak(0, dialogue.turns[0].text)
    for number in range(2 * turns - 1):
        speakers.speak(1 - number % 2)
    return sides(dialogue, speakers.said(0)[1:], speakers.said(1))


# ---------------------------------------------------------------------------------------------------- measures


def contradicts(nli: Nli, text: str, sentences: Sequence[str]) -> bool:
    return 'contradiction' in nli.classify([(text, sentence) for sentence in sentences])


def contradictions(nli: Nli, side: Side) -> Iterator[tuple[bool, bool]]:
    """Yield for each message whether it contradicts an earlier one of its speaker, and whether their persona."""
    for number, text in enumerate(side.said):
        yield contradicts(nli, text, side.said[:number]), contradicts(nli, text, side.persona)


def perceived(judge: Perception, side: Side) -> bool:
    """Return whether the speaker's persona comes first among others, by all that was said."""
    return judge.rank(side.said, judge.choices(side.persona, side.partners, side.dialogue)) == 1


def measured(spoken: Sequence[Side], nli: Nli, judge: Perception) -> Figures:
    """Return the figures of what was said."""
    texts = [text for side in spoken for text in side.said]
    against = [seen for side in spoken for seen in contradictions(nli, side)]
    repeated = [formulas.repetition(text, side.said[:n]) for side in spoken for n, text in enumerate(side.said)]
    pairs = [pair for text in texts for pair in formulas.ngrams(text.split(), 2)]
    return {
        'persona_perception': statistics.fmean(perceived(judge, side) for side in spoken),
        'contradiction': statistics.fmean(itself or persona for itself, persona in against),
        'contradicts_itself': statistics.fmean(itself for itself, _ in against),
        'contradicts_persona': statistics.fmean(persona for _, persona in against),
        'repetition': statistics.fmean(repeated),
        'reply_words': statistics.fmean(len(text.split()) for text in texts),
        'distinct_raw_2': len(set(pairs)) / len(pairs),
        'exs': len(texts),
    }


# --------------------------------------------------------------------------------------------------- the agent


def conversations(opt: Opt, dialogues: Sequence[Dialogue]) -> tuple[list[Side], Figures]:
    """Let the agent talk to itself; return what it said, how fast, and how large it is."""
    plain = Opt({**opt, 'persona_nli': None, 'persona_receiver': None})  # nobody listens while the clock runs
    agent = create_agent(plain, requireModelExists=True)
    speakers = Speakers(TaskContext(plain), [agent, agent.clone()])
    spoken, seconds = [], []
    for dialogue in tqdm(dialogues, desc='self-chat', mininterval=10):
        start = time.process_time()
        spoken.append(talk(speakers, dialogue, opt['turns']))
        seconds.append(time.process_time() - start)
    answers = sum(len(side.said) for both in spoken[1:] for side in both)
    return [side for both in spoken for side in both], {'answers_per_second': answers / sum(seconds[1:]), **size(agent)}


def size(agent: Any) -> Figures:
    """Return how many parameters an agent has, if it has a network."""
    net = getattr(agent, 'model', None)
    if not isinstance(net, torch.nn.Module):
        return {}
    return {'parameters': total_parameters(net), 'trained_parameters': trainable_parameters(net)}


def chosen(dialogues: Iterable[Dialogue], opt: Opt) -> list[Dialogue]:
    """Return the first dialogues that are long enough and begin with a message."""
    long = (one for one in dialogues if len(one.turns) >= opt['turns'] and one.turns[0].text != SILENCE)
    return list(islice(long, opt['conversations']))


def options() -> ParlaiParser:
    parser = ParlaiParser(True, True, description=__doc__)
    group = parser.add_argument_group('Self-chat')
    group.add_argument('--conversations', type=int, default=20)
    group.add_argument('--turns', type=int, default=6, help='messages of each speaker, the given one included')
    group.add_argument('--people', type='bool', default=False, help='measure what people said in these dialogues')
    group.add_argument('--seed', type=int, default=1)
    group.add_argument('--report-filename', required=True)
    parser.set_defaults(datatype='valid', skip_generation=False)
    return parser


def write(path: Path, lines: Iterable[str]) -> None:
    with draft(path) as part:
        part.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def main() -> None:
    opt = options().parse_args()
    random.seed(opt['seed'])
    torch.manual_seed(opt['seed'])
    context = TaskContext(opt)
    if context.perception is None or not opt.get('persona_nli'):
        raise SystemExit('expected --persona-nli and --persona-receiver, which judge what was said')
    judge, nli = context.perception, load(opt['persona_nli'], opt['datapath'])
    dialogues = chosen(context.dialogues(), opt)
    if len(dialogues) < 2:
        raise SystemExit(
            f'saw {len(dialogues)} dialogues; expected two at least: the first one does not count for speed'
        )
    figures: Figures = {}
    if opt['people']:
        spoken = [side for one in dialogues for side in people(one, opt['turns'])]
    else:
        spoken, figures = conversations(opt, dialogues)
    report = Path(opt['report_filename'])
    write(report.with_suffix('.jsonl'), (json.dumps(side._asdict()) for side in spoken))
    write(report, [json.dumps({'report': measured(spoken, nli, judge) | figures})])


if __name__ == '__main__':
    main()
