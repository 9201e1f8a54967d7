"""The base of every torch agent with personas: put `PersonaAgent` in front of one of ParlAI's generators or rankers."""

from typing import Any

from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.torch_agent import Batch, TorchAgent
from parlai.utils.io import PathManager
from torch import Tensor

from parlai_persona.data.dialogue import DataError
from parlai_persona.models.batches import persona_tensors
from parlai_persona.models.dictionary import PersonaDictionary
from parlai_persona.models.history import PersonaHistory
from parlai_persona.models.network import unwrapped
from parlai_persona.models.saved import expected_parts, saved_words

REMEMBERED = 100_000  # persona sentences


class PersonaAgent(TorchAgent):
    """Adds the persona of the speaker who replies to each batch, sentence by sentence and never truncated.

    `batch.personas`: the sentences; `batch.persona_vec`: words (B, N, L), padded with `NULL_IDX`; `batch.persona_mask`:
    where there is a sentence (B, N), which may be nowhere in a row. Use it as
    `class MyAgent(PersonaAgent, TorchRankerAgent)`. To leave persona lines out of `batch.text_vec`, return
    `ContextHistory` from `history_class`.

    Its checkpoints hold the words of the dictionary, because the words decide what the rows of an embedding mean. A
    dictionary with other words is refused; if the file is missing, the words come from the checkpoint.
    """

    def __init__(self, opt: Opt, shared=None):
        super().__init__(opt, shared)
        self.sentence_vecs: dict[str, list[int]] = shared['sentence_vecs'] if shared else {}

    def share(self) -> dict[str, Any]:
        return {**super().share(), 'sentence_vecs': self.sentence_vecs}

    # -------------------------------------------------------------------------------------------- words

    def words(self) -> list[str]:
        return [self.dict.ind2tok[number] for number in range(len(self.dict))]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), 'words': self.words()}

    def build_dictionary(self):
        dictionary = super().build_dictionary()
        model = self.opt.get('model_file')
        if model and PathManager.exists(model) and not PathManager.exists(self.opt.get('dict_file') or ''):
            for word in saved_words(model) or ():
                dictionary.add_token(word)
        return dictionary

    def load(self, path: str) -> dict[str, Any]:
        self.check_words(path, saved_words(path))
        with expected_parts(path):
            return super().load(path)

    def check_words(self, path: str, known: list[str] | None) -> None:
        """Refuse a dictionary with other words than the checkpoint knows; new special tokens may follow them."""
        words = self.words()
        if known is None or words[: len(known)] == known and set(words[len(known) :]) <= set(self.special_toks):
            return
        raise DataError(
            f'{self.opt["dict_file"]} has {len(words)} words, and not the {len(known)} that {path} was trained with: '
            'it is damaged, or belongs to another model. Put the right one there, or remove it: without it, the words '
            'are taken from the model'
        )

    # ----------------------------------------------------------------------------------------- personas

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
        vecs = map(self.sentence_vec, history.persona)
        obs.force_set('persona_vecs', [vec for vec in vecs if vec])
        obs.force_set('persona_read', list(history.persona))
        return obs

    def sentence_vec(self, sentence: str) -> list[int]:
        """Return the words of a persona sentence, which comes again at every turn."""
        if sentence not in self.sentence_vecs:
            if len(self.sentence_vecs) >= REMEMBERED:
                self.sentence_vecs.clear()
            self.sentence_vecs[sentence] = self.dict.txt2vec(sentence)
        return self.sentence_vecs[sentence]

    def by_sentence(self, weights: Tensor, batch: Batch) -> list[list[float]]:
        """Return the weights (B, N) of what was read for each sentence of the personas; 0 for one without words."""
        rows = zip(map(iter, weights.tolist()), batch.personas, strict=True)
        return [[next(row) if self.sentence_vec(sentence) else 0.0 for sentence in persona] for row, persona in rows]

    def batchify(self, obs_batch, sort: bool = False) -> Batch:
        batch = super().batchify(obs_batch, sort=sort)
        if batch.valid_indices is not None:
            valid = [obs_batch[row] for row in batch.valid_indices]
            batch['personas'] = [obs['persona_read'] for obs in valid]
            vecs = [obs['persona_vecs'] for obs in valid]
            batch['persona_vec'], batch['persona_mask'] = persona_tensors(vecs, self.NULL_IDX)
        return batch
