"""What agents that choose a sentence of the persona report: how good the choice is, and what the reply draws on."""

from collections.abc import Iterable

from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.torch_agent import TorchAgent
from torch import Tensor

from parlai_persona import fields
from parlai_persona.fields import NO_SENTENCE


def label_of(message: Message) -> int:
    """Return the place of the sentence that the reply expresses; NO_SENTENCE if it expresses none, or nobody knows."""
    label = message.get(fields.PERSONA_LABEL)
    return NO_SENTENCE if label is None else label


def record_choice(agent: TorchAgent, scores: Tensor, label: Tensor, is_sentence: Tensor) -> None:
    """Record how often the labelled sentence has the best score, and how often it would by chance.

    Examples without a label do not count. Shapes: scores and is_sentence (B, N), label (B,).
    """
    is_labelled = label != NO_SENTENCE
    counted = is_labelled.int().tolist()
    right = (scores.argmax(-1) == label) & is_labelled
    chance = is_labelled / is_sentence.sum(1).clamp(min=1)
    if any(counted):
        agent.record_local_metric('choice_acc', AverageMetric.many(right.float().tolist(), counted))
        agent.record_local_metric('choice_chance', AverageMetric.many(chance.tolist(), counted))


def weights_by_sentence(weights: Tensor, is_sentence: Tensor) -> list[list[float]]:
    """Return the weights (B, N) of the sentences that there are: what `fields.PERSONA_WEIGHTS` holds."""
    rows: Iterable[tuple[list[float], int]] = zip(weights.tolist(), is_sentence.sum(1).tolist(), strict=True)
    return [row[:count] for row, count in rows]
