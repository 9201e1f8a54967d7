"""`-m persona:meta_memnn`: a memory network that learns which examples of related tasks to learn from.

The ParlAI side only: flags, messages -> examples, metrics, saving. `model.py` is the network, `meta.py` the gradient
of learning, `learner.py` the iteration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import parlai.utils.logging as logging
import torch
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch as ParlaiBatch
from parlai.core.torch_agent import Output, TorchAgent
from parlai.utils.distributed import is_distributed
from torch import Tensor, nn

from parlai_persona import fields
from parlai_persona.agents.meta_memnn import checkpoint
from parlai_persona.agents.meta_memnn.batches import Bags, Batch
from parlai_persona.agents.meta_memnn.corpus import Corpus
from parlai_persona.agents.meta_memnn.learner import ONE_HEAD, PRIMARY, RELATED, Learner, Pool, Recipe
from parlai_persona.agents.meta_memnn.model import DialogModel, Shape, WeightModel
from parlai_persona.agents.meta_memnn.stories import Example
from parlai_persona.agents.meta_memnn.task_examples import StoryHistory, TaskExample, distinct_replies, task_examples
from parlai_persona.agents.meta_memnn.vocabulary import Vocabulary
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, flag, from_opt

PREFIX = 'meta_memnn'
SHOWN = 100  # ranked candidates in a reply
SHARED = ('learner', 'corpus', 'dialog_model', 'weight_model', 'own_replies', 'other_replies', 'histograms', 'examples')
OPTIMISERS = ('optimizer', 'scheduler')  # in training only


@dataclass(frozen=True)
class Data:
    """Options of the data: the tasks to learn from, and how they are read."""

    related: str | None = flag(
        None,
        'related tasks, each with its options in its name (persona:personalized_babi:babi_task=5)',
        metavar='TASK[,TASK]',
    )
    time: str = flag(
        'line',
        'time tokens: the number of a turn in the dialogue (Joshi et al. 2017), or how many turns ago it was',
        choices=('line', 'back'),
    )
    memory: int = flag(250, 'lines to remember, the newest', least=1)
    judge: str = flag(
        'train',
        'which primary examples judge the simulated model (eq. 8): those that theta learns from, as in the '
        'paper, or those of the validation split',
        choices=('train', 'valid'),
    )
    candidates: str = flag(
        'inline',
        'replies to choose from: all candidates that come with the training examples, or their labels',
        choices=('inline', 'labels'),
    )
    histograms: int = flag(
        500,
        'iterations between two histograms of all weights, for `parlai persona_weights`; 0: none',
        metavar='ITERATIONS',
    )

    def tasks(self) -> dict[str, str]:
        """Return head -> related task."""
        tasks = [task.strip() for task in (self.related or '').split(',') if task.strip()]
        return {RELATED if len(tasks) == 1 else f'{RELATED}{n}': task for n, task in enumerate(tasks)}


@dataclass(frozen=True, eq=False)
class ReplyList:
    """Replies to choose from, the place of each, and their bags of words."""

    replies: list[str]
    places: dict[str, int]
    bags: Bags


class MetaMemnnAgent(TorchAgent):
    """End-to-end memory network with learned weights for related examples.

    `--task` is the primary task; `--meta-memnn-related` names the related ones. To put other networks in the place
    of the two memory networks override `build_dialog_model` or `build_weight_model`.
    """

    NEEDS_TRAINING = True
    TALKS_IN = 'persona:sample:persona_side=none:persona=none'  # a chat without data and without a persona

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Meta-weighted memory network'), PREFIX, Data, Recipe, Shape)
        parser.set_defaults(optimizer='adam', learningrate=1e-3, gradient_clip=-1.0)
        return parser

    @staticmethod
    def dictionary_class():
        return Vocabulary

    @classmethod
    def history_class(cls):
        return StoryHistory

    def __init__(self, opt: Opt, shared=None):
        init_model, is_finetune = self._get_init_model(opt, shared)
        super().__init__(opt, shared)
        self.data, self.recipe, self.shape = (from_opt(kind, opt, PREFIX) for kind in (Data, Recipe, Shape))
        self.criterion = None
        if shared:
            for name in set(shared).intersection(SHARED + OPTIMISERS):
                setattr(self, name, shared[name])
            return
        training = self._should_initialize_optimizer() and not opt.get('interactive_mode')
        self.check_options(training, bool(init_model))
        self.learner: Learner | None = None
        self.histograms: list[dict[str, Any]] = []  # of the weights, in training
        states = checkpoint.load(init_model, self.recipe.mode) if init_model else {}
        self.examples = self.read_examples() if training else {}
        self.corpus = self.build_corpus(states)
        self.dialog_model, self.weight_model = self.build_dialog_model(), self.build_weight_model()
        own = (lists[PRIMARY] for lists in (self.corpus.candidates, self.corpus.places, self.dialog_model.heads))
        self.own_replies = ReplyList(*own)
        self.other_replies = self.own_replies  # the list that came with a message last
        self.model = self.build_model()
        if states:
            self.load_state_dict(checkpoint.fitting(states['model'], self.model.state_dict()))
        if self.use_cuda:
            self.model.cuda()
        if training:
            self.prepare_training({} if is_finetune else states)
            self.examples.pop(PRIMARY)  # those of the related tasks are for `parlai persona_weights`

    def check_options(self, training: bool, has_model: bool) -> None:
        if self.recipe.mode != 'primary' and not self.data.tasks():
            raise UserError(
                f'--meta-memnn-mode {self.recipe.mode} learns from related tasks: name one with '
                '--meta-memnn-related, or choose --meta-memnn-mode primary'
            )
        if training and is_distributed():
            raise UserError(
                'persona:meta_memnn trains in one process: its batches are small, and the simulated steps follow each '
                'other. Use train_model instead of multiprocessing_train.'
            )
        if training and self.opt.get('update_freq', 1) > 1:
            raise UserError(
                f'--update-freq {self.opt["update_freq"]}: an iteration takes a step after each of its batches. Leave '
                'it out; for larger batches give --batchsize and --meta-memnn-batch'
            )
        if not (training or has_model):
            raise UserError(
                'persona:meta_memnn has learned nothing yet: saw no model file, expected one. Train it first '
                '(parlai train_model), then name it with -mf'
            )

    # ---------------------------------------------------------------------------------------- building

    def read_examples(self) -> dict[str, list[TaskExample]]:
        """Return head -> training examples."""
        found = {PRIMARY: self.read_task(self.opt['task'], own=True)}
        if self.recipe.mode != 'primary':
            found |= {head: self.read_task(task) for head, task in self.data.tasks().items()}
        for head, examples in found.items():
            logging.info(f'{head}: {len(examples)} examples')
        return found

    def read_task(self, task: str, own: bool = False, fold: str = 'train') -> list[TaskExample]:
        examples = task_examples(self.opt, task, own, self.data.time == 'back', fold)
        if not examples:
            raise UserError(f'the {fold} split of {task} has no example with a label: nothing to learn from')
        return examples

    def build_corpus(self, states: dict[str, Any]) -> Corpus:
        """Take words from the checkpoint if there is one, candidates from the tasks in training."""
        vocabulary: Vocabulary = self.dict
        if states:
            vocabulary.add(states['words'])
            vocabulary.related = states['related_words']
        one_head, memory = self.recipe.mode in ONE_HEAD, self.data.memory
        if not self.examples:
            return Corpus(vocabulary, states['candidates'], one_head, memory)
        inline = self.data.candidates == 'inline'
        read = self.examples.items()
        replies = {head: distinct_replies(examples, inline and head == PRIMARY) for head, examples in read}
        examples = {head: [one.example for one in examples] for head, examples in read}
        return Corpus.gather(vocabulary, examples, replies, one_head, memory)

    def build_dialog_model(self) -> DialogModel:
        """Return M_theta, with a head for each list of candidates."""
        lists = self.corpus.candidates.items()
        return DialogModel(self.shape, {head: self.corpus.bags(texts, head).to(self.device()) for head, texts in lists})

    def build_weight_model(self) -> WeightModel:
        """Return P_eta."""
        return WeightModel(self.shape)

    def build_model(self) -> nn.ModuleDict:
        """Draw the first values of all parameters."""
        words, seed = self.corpus.blocks(), int(torch.randint(2**31, ()))
        learned = self.recipe.mode == 'learned'
        eta = self.weight_model.init({'0': words['0']}, seed + 1) if learned else {}
        groups = {'theta': self.dialog_model.init(words, seed), 'eta': eta}
        # pairs keep their order, dictionaries are sorted; optimisers number the parameters in that order
        return nn.ModuleDict({name: nn.ParameterDict(list(group.items())) for name, group in groups.items()})

    def prepare_training(self, states: dict[str, Any]) -> None:
        seeds = np.random.SeedSequence(int(torch.randint(2**31, ()))).spawn(len(self.examples) + 1)
        primary, *related = (
            self.build_pool(head, examples, seed)
            for (head, examples), seed in zip(self.examples.items(), seeds, strict=False)
        )
        judge = None
        if self.data.judge == 'valid':
            judge = self.build_pool(PRIMARY, self.read_task(self.opt['task'], True, 'valid'), seeds[-1].spawn(1)[0])
            judge.members = judge.members[np.array(judge.table.targets) >= 0]
            if not len(judge.members):
                raise UserError(
                    f'--meta-memnn-judge valid: none of the {len(judge.table)} replies of the valid split is among the '
                    f'{len(self.corpus.candidates[PRIMARY])} candidates of the training. Leave it out'
                )
        theta, eta = (dict(self.model[group].named_parameters()) for group in ('theta', 'eta'))
        networks, seed = (self.dialog_model, self.weight_model), int(seeds[-1].generate_state(1)[0])
        self.learner = Learner(
            self.recipe, *networks, theta, eta, primary, related, seed, descend=self.descend, judge=judge
        )
        if states:
            checkpoint.fit_optimizers(states, list(theta.values()), list(eta.values()))
        self.init_optim(list(theta.values()), states.get('optimizer'), states.get('optimizer_type'))
        self.build_lr_scheduler(states, hard_reset=not states)
        if states.get('learner'):
            self.learner.load_state_dict(states['learner'])
        self.histograms = list(states.get('histograms', ()))

    def build_pool(self, head: str, examples: Sequence[TaskExample], seed: np.random.SeedSequence) -> Pool:
        table = self.corpus.table(head, (one.example for one in examples))
        return Pool(table, np.arange(len(table)), np.random.default_rng(seed))

    def device(self) -> str:
        return 'cuda' if self.use_cuda else 'cpu'

    def share(self) -> dict[str, Any]:
        return {**super().share(), **{name: value for name, value in vars(self).items() if name in SHARED + OPTIMISERS}}

    # ---------------------------------------------------------------------------------------- messages

    def vectorize(self, obs, history, **_):
        """Add the example that the message poses, with its label if it has one."""
        labels = fields.labels_of(obs)
        if 'text' in obs:
            obs['example'] = history.story.example(labels[0] if labels else '')
            obs['labelled'] = bool(labels)
        return obs

    def is_valid(self, obs) -> bool:
        return 'example' in obs

    def batchify(self, obs_batch, sort=False) -> ParlaiBatch:
        valid = [(place, obs) for place, obs in enumerate(obs_batch) if self.is_valid(obs)]
        return ParlaiBatch(
            batchsize=len(valid),
            valid_indices=torch.tensor([place for place, _ in valid], dtype=torch.long),
            observations=[obs for _, obs in valid],
            is_training=any('labels' in obs for _, obs in valid),
        )

    def batch(self, examples: Sequence[Example]) -> Batch:
        return self.corpus.table(PRIMARY, examples).batch(np.arange(len(examples)), self.device())

    # ---------------------------------------------------------------------------------------- training

    def train_step(self, batch: ParlaiBatch) -> Output | None:
        learner = self.learner
        assert learner is not None, 'training without a learner'
        known = self.corpus.places[PRIMARY]
        examples = [obs['example'] for obs in batch.observations if obs['example'].reply in known]
        if not examples:  # none has a reply that could be chosen
            return None
        seen = learner.iterate(self.batch(examples))
        seen['loss'] = seen.get('primary_loss', next(iter(seen.values())))
        for name, value in seen.items():
            self.record_local_metric(name, AverageMetric.many([value] * batch.batchsize))
        every = self.data.histograms
        if self.recipe.mode == 'learned' and every and learner.iteration % every == 0:
            for number, head in enumerate(self.data.tasks()):
                counts = learner.histogram(number)
                self.histograms.append({'iteration': learner.iteration, 'head': head, 'counts': counts})
        return None

    def descend(self, loss: Tensor) -> None:
        """Take a step of theta with ParlAI's optimiser, clipping and scheduler."""
        self.zero_grad()
        self.backward(loss)
        self.update_params()

    # -------------------------------------------------------------------------------------- evaluation

    def eval_step(self, batch: ParlaiBatch) -> Output | None:
        if not batch.batchsize:
            return None
        theta = dict(self.model['theta'].named_parameters())
        states = self.dialog_model.state(theta, self.batch([obs['example'] for obs in batch.observations]))
        embedded: dict[ReplyList, Tensor] = {}  # a list's candidates, once for all rows that have it
        ranked, scores = [], []
        losses: list[float | None] = []
        for u, obs in zip(states, batch.observations, strict=True):
            listed = self.reply_list(obs.get('label_candidates'))
            if listed not in embedded:
                embedded[listed] = self.dialog_model.candidates(theta, PRIMARY, listed.bags)
            z = embedded[listed] @ u  # (C,)
            best = z.topk(min(SHOWN, len(z)))
            ranked.append([listed.replies[place] for place in best.indices.tolist()])
            scores.append(best.values.tolist())
            place = listed.places.get(obs['example'].reply) if obs['labelled'] else None
            losses.append(None if place is None else float(z.logsumexp(-1) - z[place]))
        if any(loss is not None for loss in losses):
            counts = [int(loss is not None) for loss in losses]
            self.record_local_metric('loss', AverageMetric.many([loss or 0.0 for loss in losses], counts))
        given = {'sorted_scores': scores} if self.opt.get('return_cand_scores') else {}
        return Output([replies[0] for replies in ranked], text_candidates=ranked, **given)

    def reply_list(self, inline: Sequence[str] | None) -> ReplyList:
        """Return the replies to choose from: the candidates of the message, or else those of training."""
        replies = inline if isinstance(inline, list) else list(inline or ())
        if not replies or replies == self.own_replies.replies:
            return self.own_replies
        if replies is not self.other_replies.replies:  # many tasks have one long list for all examples
            places = {reply: place for place, reply in enumerate(replies)}
            self.other_replies = ReplyList(replies, places, self.corpus.bags(replies).to(self.device()))
        return self.other_replies

    # ------------------------------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Any]:
        states = super().state_dict()
        states.update(
            words=list(self.corpus.vocabulary.words),
            related_words=self.corpus.vocabulary.related,
            candidates=self.corpus.candidates,
            histograms=self.histograms,
            mode=self.recipe.mode,
        )
        if self.learner:
            states['learner'] = self.learner.state_dict()
        return states
