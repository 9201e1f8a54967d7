"""`-m persona:meta_memnn`: a memory network that learns which examples of related tasks to learn from.

The ParlAI side only: flags, messages -> examples, metrics, saving. `model.py` is the network, `meta.py` the gradient
of learning, `learner.py` the iteration.
"""

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
from parlai.utils.io import PathManager
from torch import Tensor

from parlai_persona.agents.meta_memnn.corpus import Corpus
from parlai_persona.agents.meta_memnn.examples import Met, distinct_candidates, task_examples
from parlai_persona.agents.meta_memnn.learner import ONE_HEAD, PRIMARY, RELATED, Learner, Pool, Recipe
from parlai_persona.agents.meta_memnn.model import KEPT, DialogModel, Shape, WeightModel
from parlai_persona.agents.meta_memnn.parts import Network, StoryHistory, Words
from parlai_persona.agents.meta_memnn.stories import Bags, Batch, Example
from parlai_persona.flags import add_flags, flag, from_opt

PREFIX = 'meta_memnn'
SHOWN = 100  # ranked candidates in a reply


@dataclass(frozen=True)
class Material:
    """What to learn from, and what to keep of it."""

    related: str | None = flag(
        None,
        'related tasks, each with its options in its name (persona:personalized_babi:babi_task=5)',
        metavar='TASK[,TASK]',
    )
    time: str = flag(
        'line',
        'time tokens: the number of a line in the dialogue (Joshi et al. 2017), or how many lines ago it was',
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
        'what to choose replies from: all candidates that come with the training examples, or their labels',
        choices=('inline', 'labels'),
    )
    histograms: int = flag(
        500, 'keep a histogram of all weights so often, for `parlai persona_weights`; 0: never', metavar='ITERATIONS'
    )

    def back(self) -> bool:
        return self.time == 'back'

    def tasks(self) -> dict[str, str]:
        """Head -> related task."""
        tasks = [task.strip() for task in (self.related or '').split(',') if task.strip()]
        return {RELATED if len(tasks) == 1 else f'{RELATED}{n}': task for n, task in enumerate(tasks)}


@dataclass(frozen=True)
class Listed:
    """Replies to choose from."""

    replies: list[str]
    places: dict[str, int]
    bags: Bags


class MetaMemnnAgent(TorchAgent):
    """End-to-end memory network with learned weights for related examples.

    `--task` is the primary task; `--meta-memnn-related` names the related ones. To put other networks in the place
    of the two memory networks override `build_dialog_model` or `build_weight_model`.
    """

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Meta-weighted memory network'), PREFIX, Material, Recipe, Shape)
        parser.set_defaults(optimizer='adam', learningrate=Recipe().alpha, gradient_clip=-1.0)
        return parser

    @staticmethod
    def dictionary_class():
        return Words

    @classmethod
    def history_class(cls):
        return StoryHistory

    def __init__(self, opt: Opt, shared=None):
        init_model, is_finetune = self._get_init_model(opt, shared)
        super().__init__(opt, shared)
        self.material, self.shape = (from_opt(kind, opt, PREFIX) for kind in (Material, Shape))
        self.recipe = from_opt(Recipe, opt, PREFIX, alpha=opt['learningrate'])
        self.check()
        self.criterion = None
        if shared:
            for name in SHARED:
                if name in shared:
                    setattr(self, name, shared[name])
            return
        if is_distributed():
            raise RuntimeError(
                'persona:meta_memnn trains in one process: its batches are small, and the simulated steps follow each '
                'other. Use train_model instead of multiprocessing_train.'
            )
        self.learner: Learner | None = None
        self.places: dict[Example, int] = {}  # of the primary task's examples in its table
        self.listed: dict[int, Listed] = {}  # long lists of candidates that came with examples
        self.histograms: list[dict[str, Any]] = []  # of the weights, in training
        training = self._should_initialize_optimizer() and not opt.get('interactive_mode')
        if not training and not init_model:
            raise ValueError(
                'persona:meta_memnn has learned nothing yet: saw no model file, expected one. Train it first '
                '(parlai train_model), then name it with -mf'
            )
        states = self.load(init_model) if init_model else {}
        self.met = self.collect() if training else {}
        self.corpus = self.build_corpus(states)
        self.dialog_model, self.weight_model = self.build_dialog_model(), self.build_weight_model()
        self.model = self.build_model()
        if states:
            self.load_state_dict(states['model'])
        if self.use_cuda:
            self.model.cuda()
        if training:
            self.prepare_training({} if is_finetune else states)
            self.met.pop(PRIMARY)  # those of the related tasks are there for `parlai persona_weights`

    def check(self) -> None:
        """Flags that only make sense together."""
        if self.recipe.mode != 'primary' and not self.material.tasks():
            raise ValueError(
                f'--meta-memnn-mode {self.recipe.mode} learns from related tasks: name one with '
                '--meta-memnn-related, or choose --meta-memnn-mode primary'
            )

    # ---------------------------------------------------------------------------------------- building

    def collect(self) -> dict[str, list[Met]]:
        """Head -> training examples."""
        back, tasks = self.material.back(), self.material.tasks()
        found = {PRIMARY: list(task_examples(self.opt, self.opt['task'], own=True, back=back))}
        if self.recipe.mode != 'primary':
            for head, task in tasks.items():
                found[head] = list(task_examples(self.opt, task, back=back))
        for head, met in found.items():
            task = tasks.get(head, self.opt['task'])
            if not met:
                raise ValueError(f'the training split of {task} has no example with a label: nothing to learn from')
            logging.info(f'{head}: {len(met)} examples of {task}')
        return found

    def build_corpus(self, states: dict[str, Any]) -> Corpus:
        """Words from the checkpoint if there is one; candidates of the tasks in training, else from the checkpoint."""
        vocabulary = self.dict.vocabulary
        if states:
            vocabulary.add(states['words'])
            vocabulary.related = states['related_words']
        one_head, memory = self.recipe.mode in ONE_HEAD, self.material.memory
        if not self.met:
            return Corpus(vocabulary, states['candidates'], one_head, memory)
        inline = self.material.candidates == 'inline'
        replies = {head: distinct_candidates(met, inline and head == PRIMARY) for head, met in self.met.items()}
        examples = {head: [one.example for one in met] for head, met in self.met.items()}
        return Corpus.gather(vocabulary, examples, replies, one_head, memory)

    def build_dialog_model(self) -> DialogModel:
        """M_theta, with a head for each list of candidates."""
        lists = self.corpus.candidates.items()
        bags = {head: self.corpus.bags(listed, head).to(self.device()) for head, listed in lists}
        return DialogModel(self.shape, bags)

    def build_weight_model(self) -> WeightModel:
        """P_eta."""
        return WeightModel(self.shape)

    def build_model(self) -> Network:
        """First values of all parameters."""
        words, seed = self.corpus.blocks(), int(torch.randint(2**31, ()))
        learned = self.recipe.mode == 'learned'
        eta = self.weight_model.init(1, {'0': words['0']}, seed + 1) if learned else {}
        return Network(self.dialog_model.init(1, words, seed), eta)

    def prepare_training(self, states: dict[str, Any]) -> None:
        tables = {head: self.corpus.table(head, (one.example for one in met)) for head, met in self.met.items()}
        seeds = np.random.SeedSequence(int(torch.randint(2**31, ()))).spawn(len(tables) + 1)
        pools = [
            Pool(table, [np.arange(len(table))], [np.random.default_rng(seed)])
            for table, seed in zip(tables.values(), seeds, strict=False)
        ]
        judge = None
        if self.material.judge == 'valid':
            held = self.corpus.table(PRIMARY, self.held_out())
            usable = np.flatnonzero(np.array(held.targets) >= 0)
            judge = Pool(held, [usable], [np.random.default_rng(seeds[-1].spawn(1)[0])])
        self.places = {one.example: place for place, one in enumerate(self.met[PRIMARY])}
        self.learner = Learner(
            self.recipe,
            self.dialog_model,
            self.weight_model,
            self.model.group('theta'),
            self.model.group('eta'),
            pools[0],
            pools[1:],
            [int(seeds[-1].generate_state(1)[0])],
            self.descend,
            self.device(),
            judge,
        )
        self.init_optim(list(self.learner.theta.values()), states.get('optimizer'), states.get('optimizer_type'))
        self.build_lr_scheduler(states, hard_reset=not states)
        if states.get('learner'):
            self.learner.load_state_dict(states['learner'])
        self.histograms = list(states.get('histograms', ()))

    def held_out(self) -> list[Example]:
        """The examples of the primary task's validation split."""
        met = task_examples(self.opt, self.opt['task'], own=True, back=self.material.back(), fold='valid')
        found = [one.example for one in met]
        if not found:
            raise ValueError(f'the validation split of {self.opt["task"]} is empty: use --meta-memnn-judge train')
        return found

    def device(self) -> str:
        return 'cuda' if self.use_cuda else 'cpu'

    def descend(self, loss: Tensor) -> None:
        """A step of theta with ParlAI's optimiser, clipping and scheduler."""
        self.zero_grad()
        self.backward(loss)
        self.update_params()

    def share(self) -> dict[str, Any]:
        return {**super().share(), **{name: getattr(self, name) for name in SHARED if hasattr(self, name)}}

    # ---------------------------------------------------------------------------------------- messages

    def vectorize(self, obs, history, **_):
        """The example that the message poses, with its label if there is one."""
        labels = obs.get('labels') or obs.get('eval_labels')
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

    # ---------------------------------------------------------------------------------------- training

    def train_step(self, batch: ParlaiBatch) -> Output | None:
        learner = self.learner
        assert learner is not None, 'training without a learner'
        known = learner.primary.table.candidates
        examples = [obs['example'] for obs in batch.observations if obs['example'].reply in known]
        if not examples:  # nothing that could be chosen
            return None
        seen = learner.iterate([self.known(examples)])
        for name, value in seen.items():
            self.record_local_metric(name, AverageMetric.many([float(value.mean())] * batch.batchsize))
        loss = seen.get('primary_loss', next(iter(seen.values())))
        self.record_local_metric('loss', AverageMetric.many([float(loss.mean())] * batch.batchsize))
        every = self.material.histograms
        if learner.recipe.mode == 'learned' and every and learner.iteration % every == 0:
            self.keep_histogram()
        return None

    def known(self, examples: list[Example]) -> Batch:
        """The batch in the table of the primary task; examples that it does not have come as a table of their own."""
        places = [self.places.get(example) for example in examples]
        assert self.learner is not None
        if None not in places:
            return self.learner.primary.table.batch(np.array([places]), self.device())
        return self.batch(examples)

    def batch(self, examples: list[Example]) -> Batch:
        table = self.corpus.table(PRIMARY, examples)
        return table.batch(np.arange(len(examples))[None], self.device())

    def keep_histogram(self) -> None:
        assert self.learner is not None
        for number, head in enumerate(self.material.tasks()):
            counts = self.learner.histogram(number)[0]
            self.histograms.append({'iteration': self.learner.iteration, 'head': head, 'counts': counts.tolist()})

    # -------------------------------------------------------------------------------------- evaluation

    def eval_step(self, batch: ParlaiBatch) -> Output | None:
        if not batch.batchsize:
            return None
        theta = self.model.group('theta')
        state = self.dialog_model.state(theta, self.batch([obs['example'] for obs in batch.observations]))[0]
        said, ranked, scores, losses = [], [], [], []
        for u, obs in zip(state, batch.observations, strict=True):
            listed = self.choices(obs.get('label_candidates'))
            z = self.dialog_model.candidates(theta, PRIMARY, listed.bags)[0] @ u
            best = z.topk(min(SHOWN, len(listed.replies)))
            ranked.append([listed.replies[place] for place in best.indices.tolist()])
            scores.append(best.values.tolist())
            said.append(ranked[-1][0])
            losses.append(self.loss(z, listed, obs))
        if any(loss is not None for loss in losses):
            counts = [int(loss is not None) for loss in losses]
            self.record_local_metric('loss', AverageMetric.many([loss or 0.0 for loss in losses], counts))
        if self.opt.get('return_cand_scores'):
            return Output(said, text_candidates=ranked, sorted_scores=scores)
        return Output(said, text_candidates=ranked)

    def choices(self, inline) -> 'Listed':
        """What to choose from: what came with the message, else what training knew."""
        replies = inline if isinstance(inline, list) else list(inline or ())
        own = self.corpus.candidates[PRIMARY]
        if not replies or replies == own:
            replies = own
        if id(replies) in self.listed:
            return self.listed[id(replies)]
        places = {reply: place for place, reply in enumerate(replies)}
        listed = Listed(replies, places, self.corpus.bags(replies).to(self.device()))
        if replies is own or len(replies) > SHOWN:  # one list for all examples of a task: looked up once
            if len(self.listed) > KEPT:
                self.listed.clear()
            self.listed[id(replies)] = listed
        return listed

    @staticmethod
    def loss(z: Tensor, listed: 'Listed', obs) -> float | None:
        """Cross-entropy of the reply; None without a label, or where it is not among the candidates."""
        place = listed.places.get(obs['example'].reply)
        return float(z.logsumexp(-1) - z[place]) if obs['labelled'] and place is not None else None

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

    def load(self, path: str) -> dict[str, Any]:
        with PathManager.open(path, 'rb') as file:
            states = torch.load(file, map_location='cpu', weights_only=False)
        missing = {'model', 'words', 'candidates'} - set(states)
        if missing:
            raise ValueError(f'{path}: saw no {", ".join(sorted(missing))}; expected a model of persona:meta_memnn')
        if states['mode'] != self.recipe.mode:
            raise ValueError(
                f'{path} was trained in mode {states["mode"]!r}, with other parameters than '
                f'{self.recipe.mode!r} has: leave --meta-memnn-mode out'
            )
        return states


SHARED = (
    'learner',
    'corpus',
    'dialog_model',
    'weight_model',
    'listed',
    'histograms',
    'met',
    'places',
    'optimizer',
    'scheduler',
)
