"""What agents that choose a sentence of the persona report: how good the choice is, and what the reply draws on."""

import torch
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.torch_agent import Batch, Output, TorchAgent
from torch import Tensor

from parlai_persona import fields
from parlai_persona.data.dialogue import DataError
from parlai_persona.fields import NO_SENTENCE
from parlai_persona.models.recurrent_agent import RecurrentAgent


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


class ChoosingAgent(RecurrentAgent):
    """Says with each reply how probable each sentence of the persona is as the one to reply with.

    What its network's encoder returns has `probabilities` (B, N). With labels, `compute_loss` notes them in `weights`.
    """

    weights: Tensor
    added = 0  # sentences of its own that an agent puts before those of the persona

    def batchify(self, obs_batch, sort: bool = False) -> Batch:
        batch = super().batchify(obs_batch, sort=sort)
        if batch.valid_indices is not None:
            places = [self.place_of_label(obs_batch[row]) for row in batch.valid_indices]
            batch['sentence_place'] = torch.tensor(places)
        return batch

    def place_of_label(self, message: Message) -> int:
        """Return the place of the sentence that the reply expresses; NO_SENTENCE if nobody knows.

        If it expresses none, that is the last of the added ones. Sentences without words are not read and do not count.
        """
        label = message.get(fields.PERSONA_LABEL)
        if label is None:
            return NO_SENTENCE
        vecs = [self.sentence_vec(sentence) for sentence in message['persona_read']]
        if not NO_SENTENCE <= label < len(vecs):
            raise DataError(
                f'{message.get("text", "")[:60]!r}: saw {fields.PERSONA_LABEL} {label} beside {len(vecs)} sentences; '
                f'expected the place of one of them, or {NO_SENTENCE} for none'
            )
        if label == NO_SENTENCE or not vecs[label]:
            return self.added + NO_SENTENCE
        return self.added + sum(map(bool, vecs[:label]))

    def eval_step(self, batch: Batch) -> Output | None:
        output = super().eval_step(batch)
        if output is not None:
            weights = self.weights if batch.label_vec is not None else self.weights_of(batch)
            output[fields.PERSONA_WEIGHTS] = self.by_sentence(weights[:, self.added :], batch)
        return output

    @torch.no_grad()
    def weights_of(self, batch: Batch) -> Tensor:
        return self.net.encoder(*self._model_input(batch)).probabilities
