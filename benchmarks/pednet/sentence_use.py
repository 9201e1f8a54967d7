"""Measure how much PEDNet's decoder draws on the sentence that it is given, and how much the choice on the message.

    python -m benchmarks.pednet.sentence_use --datapath data          # the model of the zoo; half a minute an arm
    python -m benchmarks.pednet.sentence_use --datapath data --model runs/pednet/label-1/model --name "PEDNet, …"

Perplexity of the first 2,048 valid examples if the decoder attends to the sentence that CDNet chooses, to the labelled
one, to one drawn at random, or to the chosen one of somebody else; and if the choice hears the message of another
example. If these are alike, the decoder does not listen. Rows go to results/pednet_use.csv.
"""

import shlex
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import record
from benchmarks.common.jobs import Job, program, run_all
from benchmarks.common.record import RESULTS, split_label
from benchmarks.pednet.table2 import ARMS as TABLE2
from benchmarks.pednet.table2 import CORPUS, DATA, TASK
from parlai_persona.agents.pednet.model import Chosen, ContextDominated, PedNet
from parlai_persona.agents.pednet.pednet import PednetAgent
from parlai_persona.fields import NO_SENTENCE

CSV = RESULTS / 'pednet_use.csv'
OUT = Path('runs/pednet_use')
EXAMPLES, BATCH = 2048, 64
MODULE = 'benchmarks.pednet.sentence_use'
FAR = 32  # places in a batch, so that another example is of another dialogue
METRICS = ('ppl_word', 'choice_acc', 'choice_chance')


class Given(PedNet):
    """Attends to one sentence, which `given` names."""

    def given(self, scores: Tensor, label: Tensor) -> Tensor:
        raise NotImplementedError

    def read_sentences(self, scores: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        assert label is not None
        return self.given(scores, label)[:, None], scores.new_ones(len(scores), 1)


class LabelledSentence(Given):
    def given(self, scores: Tensor, label: Tensor) -> Tensor:
        return torch.where(label == NO_SENTENCE, scores.argmax(-1), label)


class RandomSentence(Given):
    def given(self, scores: Tensor, label: Tensor) -> Tensor:
        is_sentence = scores > torch.finfo(scores.dtype).min
        return torch.multinomial(is_sentence.float(), 1)[:, 0]


class AnotherPersona(PedNet):
    def context_dominated(self, inputs: ContextDominated) -> Chosen:
        persona, is_sentence = (part.roll(FAR, 0) for part in (inputs.persona, inputs.is_sentence))
        return super().context_dominated(inputs._replace(persona=persona, is_sentence=is_sentence))


class AnotherMessage(PedNet):
    def sentence_scores(self, z: Tensor, u: Tensor, is_sentence: Tensor) -> Tensor:
        return super().sentence_scores(z.roll(FAR, 0), u, is_sentence)


class LabelledAgent(PednetAgent):
    NETWORK = LabelledSentence


class RandomAgent(PednetAgent):
    NETWORK = RandomSentence


class PersonaAgent(PednetAgent):
    NETWORK = AnotherPersona


class MessageAgent(PednetAgent):
    NETWORK = AnotherMessage


ARMS = {
    'chosen': ('the chosen sentence', 'persona:pednet'),
    'labelled': ('the labelled sentence', f'{MODULE}:LabelledAgent'),
    'random': ('a random sentence', f'{MODULE}:RandomAgent'),
    'persona': ('a sentence of somebody else', f'{MODULE}:PersonaAgent'),
    'message': ('chosen by the message of another example', f'{MODULE}:MessageAgent'),
}


def job(key: str, model: str, name: str, datapath: str) -> Job:
    sentence, agent = ARMS[key]
    report = OUT / name.replace(' ', '_') / f'{key}.json'
    evaluate = (
        f'{program(agent)} eval_model -m {agent} -mf {model} -t {TASK} --datapath {shlex.quote(datapath)} -dt valid '
        f'-bs {BATCH} --num-examples {EXAMPLES} --skip-generation true --report-filename {report}'
    )
    split = f'{split_label(CORPUS, "valid", EXAMPLES)}, {sentence}'
    metrics = METRICS[:1] if key == 'persona' else METRICS  # labels are of the own persona
    return Job(name, TASK, DATA, split, 1, {}, evaluate, report, metrics, EXAMPLES)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', required=True, help="ParlAI's data folder")
    parser.add_argument('--only', nargs='+', choices=[*ARMS], default=[*ARMS], help='these alone (default: all)')
    parser.add_argument('--model', default='zoo:persona/pednet@2', help='model file (default: %(default)s)')
    parser.add_argument('--name', default=TABLE2['tied'].name, help='what the rows call it (default: %(default)s)')
    args = record.parse_arguments(parser)
    run_all([job(key, args.model, args.name, args.datapath) for key in args.only], CSV, args.allow_dirty)


if __name__ == '__main__':
    main()
