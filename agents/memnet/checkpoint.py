"""Checkpoints that know their words, so that the word vectors of a model fit another dictionary."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import parlai.utils.logging as logging
import torch
from parlai.core.opt import Opt
from parlai.core.torch_ranker_agent import TorchRankerAgent
from parlai.utils.io import PathManager
from torch import Tensor

from parlai_persona.agents.memnet.encoders import MemoryShape
from parlai_persona.agents.memnet.model import MemNet
from parlai_persona.errors import UserError
from parlai_persona.models.agent import PersonaAgent
from parlai_persona.models.saved import expected_parts, read_saved
from parlai_persona.models.vectors import read_vectors, vector_size

TRAINING_ONLY = ('dropout', 'persona_start')  # fields of Shape that may differ from those of a checkpoint
BY_WORD = {'embedding.weight', 'lexical.having'}  # tensors with a row for each word


class SavesWords(PersonaAgent, TorchRankerAgent):
    """Saves the words and the shape with the weights, and loads word vectors by word."""

    NAME, SAVED = 'persona:memnet', ('model', 'words', 'shape')  # what a checkpoint has to hold
    shape: MemoryShape
    vectors_file: str | None  # for words that no checkpoint has
    starts_from: str | None  # the checkpoint that was loaded
    is_finetune: bool  # whether that was the one of `--init-model`

    # ------------------------------------------------------------------------------------------- saving

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), 'shape': asdict(self.shape)}

    def save(self, path: str | None = None) -> None:
        """Also save the dictionary: with `--init-model`, ParlAI has put that of the new task beside the model."""
        super().save(path)
        path = path or self.opt.get('model_file')
        if path and path not in self.__dict__.setdefault('with_dictionary', set()):
            self.dict.save(f'{path}.dict', sort=False)
            self.with_dictionary.add(path)

    # ------------------------------------------------------------------------------------------ loading

    def _get_init_model(self, opt: Opt, shared):
        """Prefer the dictionary that the user asked for to that of `--init-model`, which ParlAI always takes."""
        asked = opt.get('dict_file')
        found, self.is_finetune = super()._get_init_model(opt, shared)
        if self.is_finetune and asked and asked != f'{opt.get("model_file")}.dict' and PathManager.exists(asked):
            opt['dict_file'] = asked
        self.starts_from = found
        return found, self.is_finetune

    def load(self, path: str) -> dict[str, Any]:
        """Load the weights."""
        states = read_saved(path)
        with expected_parts(path):
            missing = {*self.SAVED} - set(states)
            if missing:
                raise UserError(f'{path}: saw no {", ".join(sorted(missing))}; expected a model of {self.NAME}')
            self.check_shape(path, states.pop('shape'))
            self.load_weights(path, states)
        return states

    def load_weights(self, path: str, states: dict[str, Any]) -> None:
        """Load the weights. After `--init-model`, a dictionary with other words takes the rows of those it knows."""
        known, words = states.pop('words'), self.words()
        new: list[str] = []
        if not self.is_finetune:
            self.check_words(path, known)
        if known != words:
            own = self.net.state_dict()
            for name in BY_WORD & set(own):
                rows = own[name].clone()
                new = copy_rows(states['model'][name], known, rows, words)
                states['model'][name] = rows
            self.resized_embeddings = True  # makes ParlAI start with a fresh optimiser
            logging.info(
                f'{path} has other words than the dictionary: kept the vectors of {len(words) - len(new)} words, '
                f'dropped {len(known) - len(words) + len(new)}; {len(new)} words are new'
            )
        self.load_state_dict(states['model'])
        self.start_from_file(self.net, new)

    def check_shape(self, path: str, saved: dict[str, Any]) -> None:
        """Refuse weights of another shape. With other heads they would load, but mean something else."""
        defaults = asdict(type(self.shape)())
        for name, wanted in asdict(self.shape).items():
            trained = saved.get(name, defaults[name])  # files of before a field existed lack it
            if name not in TRAINING_ONLY and trained != wanted:
                raise UserError(
                    f'{path} was trained with --memnet-{name.replace("_", "-")} {trained}, this is {wanted}: give '
                    'the flags that it was trained with'
                )

    def start_from_file(self, net: MemNet, words: list[str]) -> None:
        """Set the vectors of new words to those of the file, if there is one, at the start of training."""
        if not (self.vectors_file and words and self._should_initialize_optimizer()):
            return
        path, size = Path(self.vectors_file), net.embedding.embedding_dim
        if not path.is_file():
            raise UserError(f'--memnet-vectors {path}: no such file; expected a text file of word vectors')
        if (seen := vector_size(path)) != size:
            raise UserError(
                f'{path}: its vectors have {seen} dimensions, --memnet-embedding-size is {size}: set it to {seen}, or '
                'take another file'
            )
        found = read_vectors(path, set(words))
        with torch.no_grad():
            for word, vector in found.items():
                net.embedding.weight[self.dict.tok2ind[word]] = vector.to(net.embedding.weight)
        share = f'{len(found)} of {len(words)} words ({len(found) / len(words):.1%})'
        logging.info(f'{path} has vectors of {share}; the others begin at random')


def copy_rows(old: Tensor, known: Sequence[str], rows: Tensor, words: Sequence[str]) -> list[str]:
    """Copy the rows that `known` words have in `old` to those of `words` in `rows`; return the words that are new."""
    place = {word: number for number, word in enumerate(known)}
    pairs = [(number, place[word]) for number, word in enumerate(words) if word in place]
    here, there = torch.tensor(pairs, dtype=torch.long).view(-1, 2).T
    with torch.no_grad():
        rows[here] = old[there].to(rows)
    return [word for word in words if word not in place]
