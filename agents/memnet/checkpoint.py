"""A ranker whose checkpoints know their words: rows of the embedding find their way to another dictionary."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import parlai.utils.logging as logging
import parlai.utils.pickle
import torch
from parlai.core.opt import Opt
from parlai.core.torch_ranker_agent import TorchRankerAgent
from parlai.utils.io import PathManager

from parlai_persona.agents.memnet import vectors
from parlai_persona.agents.memnet.model import MemNet, Shape

OF_TRAINING = ('dropout', 'persona_start')  # fields of the shape that trained weights do not depend on


class KeepsWords(TorchRankerAgent):
    """Saving and loading; `vectors_file` is where words begin that no checkpoint knows."""

    shape: Shape
    vectors_file: str | None
    starts_from: str | None

    @property
    def net(self) -> MemNet:
        """The network inside whatever ParlAI wrapped around it."""
        return getattr(self.model, 'module', self.model)

    def put_vectors(self, model: MemNet, words: list[str]) -> None:
        """Vectors of these words from the file, if there is one and training begins."""
        if not (self.vectors_file and words and self._should_initialize_optimizer()):
            return
        place = {word: self.dict.tok2ind[word] for word in words}
        found = vectors.read(Path(self.vectors_file), place, model.embedding.embedding_dim)
        vectors.put(model.embedding.weight, found, place)
        share = f'{len(found)} of {len(words)} words ({len(found) / len(words):.1%})'
        logging.info(f'{self.vectors_file} has vectors of {share}; the others begin at random')

    def _get_init_model(self, opt: Opt, shared):
        """ParlAI takes the dictionary of `--init-model` even if another was asked for; here it is taken if not."""
        asked = opt.get('dict_file')
        found, is_finetune = super()._get_init_model(opt, shared)
        if is_finetune and asked and asked != f'{opt.get("model_file")}.dict' and PathManager.exists(asked):
            opt['dict_file'] = asked
        self.starts_from = found
        return found, is_finetune

    def words(self) -> list[str]:
        return [self.dict.ind2tok[number] for number in range(len(self.dict))]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), 'words': self.words(), 'shape': asdict(self.shape)}

    def load(self, path: str) -> dict[str, Any]:
        """Weights by word: a checkpoint with other words than the dictionary has lends those it knows."""
        with PathManager.open(path, 'rb') as file:
            states = torch.load(file, map_location='cpu', pickle_module=parlai.utils.pickle, weights_only=False)
        missing = {'model', 'words', 'shape'} - set(states)
        if missing:
            raise ValueError(f'{path}: saw no {", ".join(sorted(missing))}; expected a model of persona:memnet')
        self.check_shape(path, states.pop('shape'))
        known, words = states.pop('words'), self.words()
        if known != words:
            rows = self.net.embedding.weight.detach().clone()
            new = vectors.carry_over(states['model']['embedding.weight'], known, rows, words)
            states['model']['embedding.weight'] = rows
            self.resized_embeddings = True  # ParlAI then begins with a fresh state of the optimiser
            logging.info(
                f'{path} has other words than the dictionary: {len(words) - len(new)} rows go over, {len(new)} words '
                f'are new, {len(known) - len(words) + len(new)} are dropped'
            )
        self.load_state_dict(states['model'])
        if known != words:
            self.put_vectors(self.net, new)
        return states

    def check_shape(self, path: str, seen: dict[str, Any]) -> None:
        """Of another shape, weights would not fit; with other heads they would, and mean something else."""
        for name, wanted in asdict(self.shape).items():
            if name not in OF_TRAINING and seen[name] != wanted:
                raise ValueError(
                    f'{path} was trained with --memnet-{name.replace("_", "-")} {seen[name]}, this is {wanted}: give '
                    'the flags that it was trained with'
                )

    def save(self, path: str | None = None) -> None:
        """The dictionary beside the model is that of the model: with `--init-model` ParlAI may have put another."""
        super().save(path)
        path = path or self.opt.get('model_file')
        if path and path not in self.__dict__.setdefault('with_dictionary', set()):
            self.dict.save(f'{path}.dict', sort=False)
            self.with_dictionary.add(path)
