"""The base of every torch agent with personas: put `PersonaAgent` in front of one of ParlAI's generators or rankers."""

from typing import Any

from parlai.core.message import Message
from parlai.core.torch_agent import Batch, TorchAgent

from parlai_persona.models.batches import persona_tensors
from parlai_persona.models.dictionary import PersonaDictionary
from parlai_persona.models.history import PersonaHistory
from parlai_persona.models.network import unwrapped


class PersonaAgent(TorchAgent):
    """Adds the persona of the speaker who replies to each batch, sentence by sentence and never truncated.

    `batch.persona_vec`: words (B, N, L), padded with `NULL_IDX`; `batch.persona_mask`: where there is a sentence
    (B, N), which may be nowhere in a row. Use it as `class MyAgent(PersonaAgent, TorchRankerAgent)`. To leave persona
    lines out of `batch.text_vec`, return `ContextHistory` from `history_class`.
    """

    @staticmethod
    def dictionary_class():
        return PersonaDictionary

    @classmethod
    def history_class(cls):
        return PersonaHistory

    @property
    def net(self) -> Any:
        """The network itself, in `multiprocessing_train` too."""
        return unwrapped(self.model)

    def vectorize(self, obs: Message, history: PersonaHistory, *args, **kwargs) -> Message:
        obs = super().vectorize(obs, history, *args, **kwargs)
        vecs = [self.dict.txt2vec(sentence) for sentence in history.persona]
        obs.force_set('persona_vecs', [vec for vec in vecs if vec])
        return obs

    def batchify(self, obs_batch, sort: bool = False) -> Batch:
        batch = super().batchify(obs_batch, sort=sort)
        if batch.valid_indices is not None:
            personas = [obs_batch[row]['persona_vecs'] for row in batch.valid_indices]
            batch['persona_vec'], batch['persona_mask'] = persona_tensors(personas, self.NULL_IDX)
        return batch
