"""`-t persona:sample`: persona conversations out of a small grammar; no download, and the ceilings are known."""

from collections.abc import Iterator

from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from parlai_persona.data.dialogue import Dialogue
from parlai_persona.data.teacher import PersonaTeacher
from parlai_persona.fields import KIND
from parlai_persona.tasks.sample.grammar import SIZES, dialogues


class DefaultTeacher(PersonaTeacher):
    """Reports hits@1 for each kind of turn beside the usual metrics (`hits@1_persona`, `_history`, `_open`)."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        group = parser.add_argument_group('Persona sample')
        group.add_argument('--persona-sample-seed', type=int, default=0, help='seed of the generated dialogues')
        group.add_argument(
            '--persona-sample-dialogues',
            type=int,
            default=SIZES['train'],
            help=f'dialogues in the training split; valid and test have {SIZES["valid"]} each',
        )
        return parser

    def dialogues(self, fold: str) -> Iterator[Dialogue]:
        count = self.opt['persona_sample_dialogues'] if fold == 'train' else SIZES[fold]
        return dialogues(fold, self.opt['persona_sample_seed'], count)

    def custom_evaluation(self, teacher_action, labels, model_response) -> None:
        super().custom_evaluation(teacher_action, labels, model_response)
        ranked = model_response.get('text_candidates')
        if labels and ranked:
            self.metrics.add(f'hits@1_{teacher_action[KIND]}', AverageMetric(ranked[0] in labels))
