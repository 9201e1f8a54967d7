"""`-t persona:sample`: persona conversations from a small grammar. The best possible scores are known."""

from collections.abc import Iterator
from dataclasses import dataclass

from parlai.core.metrics import AverageMetric

from parlai_persona.data.dialogue import Dialogue
from parlai_persona.data.teacher import PersonaTeacher
from parlai_persona.fields import KIND
from parlai_persona.flags import flag
from parlai_persona.tasks.sample.grammar import SIZES, dialogues


@dataclass(frozen=True)
class Sample:
    """Persona sample"""

    seed: int = flag(0, 'seed of the generated dialogues')
    size: int = flag(
        SIZES['train'],
        f'dialogues in the training split; valid and test have {SIZES["valid"]} each',
        'dialogues',
        least=0,
    )


class DefaultTeacher(PersonaTeacher):
    """Reports hits@1 for each kind of turn beside the usual metrics (`hits@1_persona`, `_history`, `_open`)."""

    OPTIONS = Sample
    PREFIX = 'persona_sample'

    def dialogues(self, fold: str) -> Iterator[Dialogue]:
        return dialogues(fold, self.options.seed, self.options.size if fold == 'train' else SIZES[fold])

    def custom_evaluation(self, teacher_action, labels, model_response) -> None:
        super().custom_evaluation(teacher_action, labels, model_response)
        ranked = model_response.get('text_candidates')
        if labels and ranked:
            self.metrics.add(f'hits@1_{teacher_action[KIND]}', AverageMetric(ranked[0] in labels))
