"""A mixin that lets any of ParlAI's generators learn from persona tasks, and become someone."""

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import add
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from parlai.core.torch_generator_agent import PPLMetric, TorchGeneratorAgent
from parlai.utils.distributed import is_distributed, num_workers
from torch import Tensor, nn

from parlai_persona import fields
from parlai_persona.agents.paml.delta import read_delta, write_delta
from parlai_persona.agents.paml.meta import Calls, Lesson, Loss, Nll, Params, Rates, adapted, learn, leave_out
from parlai_persona.agents.paml.options import PREFIX, Inner
from parlai_persona.agents.paml.parts import FullPrecision, Task, Turns, alike, precise
from parlai_persona.flags import add_flags, from_opt

KEPT = 10_000  # vectorised dialogues in memory
RATES, QUICKER = 'paml_rates', 20  # how much faster the logarithms of learned rates move than weights do
# What a further batch costs: what a token costs, times this, over the number of weights (measured on a CPU).
BATCH_COST, BATCH_COST_BFLOAT16 = 1e9, 1e10


class PersonaTasks(TorchGeneratorAgent):
    """In front of a generator: `class PamlAgent(PersonaTasks, TransformerGeneratorAgent)`.

    A Message with `fields.DIALOGUES` is a person. In training each gives a term of eq. 6; in an evaluation the answers
    in held-out dialogues come back in `fields.REPLIES`, each with its own metrics; where there is nothing to answer,
    the agent becomes that person. Any other Message is a turn of a dialogue, as for the generator alone.
    """

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Persona-agnostic meta-learning'), PREFIX, Inner)
        return parser

    def __init__(self, opt: Opt, shared=None):
        self.inner = from_opt(Inner, opt, PREFIX)
        self.vectors: dict[Any, Turns] = shared['vectors'] if shared else {}
        self.person: list[Params] = shared['person'] if shared else []  # theta' of whom the agent has become
        super().__init__(opt, shared)
        self.calls = Calls(self.net())
        cost = BATCH_COST_BFLOAT16 if self.inner.amp else BATCH_COST
        self.batch_cost = cost / sum(p.numel() for p in self.net().parameters())
        if not shared and self.inner.delta:
            self.person.append(read_delta(Path(self.inner.delta), self.theta()))

    def share(self):
        return {**super().share(), 'vectors': self.vectors, 'person': [*self.person]}

    def net(self) -> Any:
        """The model itself, in multiprocessing too."""
        return self.model.module if isinstance(self.model, nn.parallel.DistributedDataParallel) else self.model

    def generator(self) -> nn.Module:
        """The network that learns."""
        return super().build_model()

    def build_model(self):
        model = self.generator()
        if self.inner.learn_rates:
            names = [name for name, p in model.named_parameters() if p.requires_grad]
            rates = {name.replace('.', '__'): nn.Parameter(torch.zeros(())) for name in self.inner.adapting(names)}
            model.register_module(RATES, nn.ParameterDict(rates))
        return model

    def load_state_dict(self, state_dict) -> None:
        """A generator that knows nothing of rates starts with those of the options."""
        own = self.net().state_dict()
        fresh = {name: own[name] for name in own if name.startswith(f'{RATES}.') and name not in state_dict}
        kept = {name: p for name, p in state_dict.items() if name in own or not name.startswith(f'{RATES}.')}
        super().load_state_dict({**kept, **fresh})

    # ------------------------------------------------------------------------------------- observations

    def observe(self, observation: Message) -> Message:
        if fields.DIALOGUES not in observation:
            return super().observe(observation)
        dialogues = [self.turns(one) for one in observation[fields.DIALOGUES]]
        task = Task(dialogues, observation[fields.FOLDS], 'labels' in observation)
        seen = Message({'episode_done': True, 'task': task})
        if 'labels' in observation:
            seen['labels'] = observation['labels']  # by which a TorchAgent knows that it is to learn
        self.observation = seen
        return seen

    def vectorize(self, *args, **kwargs):
        """An empty first message is a context, too; ParlAI would pass it over."""
        seen = super().vectorize(*args, **kwargs)
        if seen.get('text') == '' and seen.get('text_vec') is None:
            seen.force_set('text_vec', torch.tensor([self.END_IDX]))
            seen.force_set('full_text_vec', [self.END_IDX])
        return seen

    def self_observe(self, self_message: Message) -> None:
        if self.observation is not None and 'task' in self.observation:
            self.reset()
        else:
            super().self_observe(self_message)

    def turns(self, dialogue: dict[str, Any]) -> Turns:
        """The turns of a dialogue as the generator sees them one by one."""
        told = dialogue[fields.MESSAGES]
        key = tuple((turn['text'], turn['labels'][0]) for turn in told)
        if key not in self.vectors:
            if len(self.vectors) >= KEPT:
                self.vectors.clear()
            self.vectors[key] = self.vectorised(told)
        return self.vectors[key]

    def vectorised(self, told: list[dict[str, Any]]) -> Turns:
        history, turns = self.build_history(), []
        for turn in told:
            message = Message({'text': turn['text'], 'eval_labels': turn['labels'], 'episode_done': False})
            if self.rank_candidates and turn.get('label_candidates'):
                message['label_candidates'] = turn['label_candidates']
            history.update_history(message, temp_history=self.get_temp_history(message))
            turns.append(
                self.vectorize(message, history, text_truncate=self.text_truncate, label_truncate=self.label_truncate)
            )
            history.add_reply(turn['labels'][0])
        return turns

    def batch_act(self, observations):
        tasks = [observation.get('task') for observation in observations]
        if any(task and not task.training for task in tasks):
            return [self.answer(task) for task in tasks]
        if self.person and not any(tasks):
            return self.calls.run(self.person[0], lambda: super(PersonaTasks, self).batch_act(observations))
        return super().batch_act(observations)

    def batchify(self, obs_batch, sort=False) -> Batch:
        places = [place for place, observation in enumerate(obs_batch) if 'task' in observation]
        if not places:
            return super().batchify(obs_batch, sort=sort)
        return Batch(
            batchsize=len(places),
            valid_indices=torch.tensor(places),
            is_training=True,
            tasks=[obs_batch[place]['task'] for place in places],
        )

    # ------------------------------------------------------------------------------------------- losses

    def theta(self) -> Params:
        return {name: p for name, p in self.calls.params().items() if not name.startswith(f'{RATES}.')}

    def rates(self, theta: Params) -> Rates:
        """alpha of each parameter that adapts."""
        learned = getattr(self.net(), RATES, None)
        names = self.inner.adapting(theta)
        if learned is None:
            return dict.fromkeys(names, self.inner.inner_lr)
        return {name: self.inner.inner_lr * (QUICKER * learned[name.replace('.', '__')]).exp() for name in names}

    def loss(self, turns: Turns, dropout: bool = False) -> Loss:
        """Of replies, as a function of parameters."""
        batches = [self.to_device(self.batchify(part)) for part in alike(turns, self.batch_cost)]

        def total(params: Params) -> Nll:
            self.model.train(dropout)
            return self.calls.run(params, lambda: reduce(add, map(self.nll, batches)))

        return total

    def to_device(self, batch: Batch) -> Batch:
        return batch.to(0 if self.opt['gpu'] == -1 else self.opt['gpu']) if self.use_cuda else batch

    def autocast(self):
        return torch.autocast('cuda' if self.use_cuda else 'cpu', torch.bfloat16, enabled=self.inner.amp)

    def build_criterion(self):
        """In 32 bits, whatever the scores are in."""
        plain = super().build_criterion()
        return FullPrecision(plain) if self.inner.amp else plain

    def compute_loss(self, batch: Batch, return_output: bool = False):
        with self.autocast():
            return super().compute_loss(batch, return_output)

    def _generate(self, *args, **kwargs):
        with self.autocast():
            return super()._generate(*args, **kwargs)

    def nll(self, batch: Batch) -> Nll:
        """eq. 4; unlike `compute_loss` it spends nothing on padding and metrics."""
        model, labels = self.net(), batch.label_vec
        there = labels != self.NULL_IDX  # (B, T)
        with self.autocast():
            inputs = model._get_initial_forced_decoder_input(len(labels), labels[:, :-1])
            latent, _ = model.decoder(inputs, model.encoder(*self._encoder_input(batch)))
            scores = model.output(latent[there][:, None])[:, 0]  # (N, V)
        return Nll(F.cross_entropy(precise(scores), labels[there], reduction='sum'), int(there.sum()))

    def steps(self, turns: Turns, passes: int) -> list[Loss]:
        """The mini-batches of the inner SGD; without dropout, as in a conversation."""
        size = self.inner.inner_batch or len(turns) or 1
        return [self.loss(turns[start : start + size]) for start in range(0, len(turns), size)] * passes

    # ----------------------------------------------------------------------------------------- training

    def train_step(self, batch: Batch):
        """Algorithm 1, lines 4 to 9; in memory there is one person at a time."""
        if not batch.get('tasks'):
            return super().train_step(batch)
        if self.fp16:
            raise ValueError('--fp16 halves the weights, and inner steps are lost in that: use --paml-amp')
        self.zero_grad()
        lessons = []
        for task in batch.tasks:
            lesson = self.lesson(task)
            for name, p in self.calls.params().items():
                g, share = lesson.gradient.pop(name), 1 / len(batch.tasks)
                p.grad = g.mul_(share) if p.grad is None else p.grad.add_(g, alpha=share)
            lessons.append(lesson)
        self.average_gradients()
        self.update_params()
        for name, kind in (('loss', AverageMetric), ('ppl', PPLMetric)):
            self.record_local_metric(name, [kind(*lesson.query) for lesson in lessons])
        if all(lesson.support for lesson in lessons):
            self.record_local_metric('support_loss', [AverageMetric(lesson.support[0]) for lesson in lessons])
        return None

    def lesson(self, task: Task) -> Lesson:
        theta, fold = self.theta(), task.folds[0]
        own = {name: p for name, p in self.calls.params().items() if name not in theta}
        support = self.steps(task.turns(fold[fields.SUPPORT]), self.inner.inner_steps)
        query = self.loss(task.turns(fold[fields.QUERY]), dropout=True)
        return learn(theta, support, query, self.rates(theta), self.inner.order == 'second', own, self.inner.prior)

    def average_gradients(self) -> None:
        """Between the processes of multiprocessing_train. DistributedDataParallel does so in `backward` only."""
        if is_distributed():
            for p in self.calls.params().values():
                torch.distributed.all_reduce(p.grad)
                p.grad /= num_workers()

    # --------------------------------------------------------------------------------------- adaptation

    def answer(self, task: Task | None) -> Message:
        """Whether to answer held-out dialogues, each after adapting to others, or to become someone."""
        reply = Message({'id': self.getID(), 'episode_done': False})
        if task is None:  # padding of a last batch
            return reply
        if not any(fold[fields.QUERY] for fold in task.folds):
            reply.update({'text': self.become(task), fields.REPLIES: []})
            return reply
        reply[fields.REPLIES] = [
            self.replies(theta, task.turns(fold[fields.QUERY]))
            for theta, fold in zip(self.people(task), task.folds, strict=True)
        ]
        return reply

    def people(self, task: Task) -> Iterator[Params]:
        """theta' of each fold."""
        theta, passes = self.theta(), self.inner.eval_steps
        rates = {name: rate.detach() if isinstance(rate, Tensor) else rate for name, rate in self.rates(theta).items()}
        supports, size, prior = [fold[fields.SUPPORT] for fold in task.folds], self.inner.inner_batch, self.inner.prior
        whole = not size or all(len(task.turns(support)) <= size for support in supports)
        after: Iterable[Params] = [theta] * len(supports)
        with torch.enable_grad():
            if whole and passes and len(supports) > 1:  # folds share what their first steps cost
                parts = [self.loss(turns) for turns in task.dialogues]
                after, passes = leave_out(theta, parts, supports, rates, prior), passes - 1
            for support, theta_i in zip(supports, after, strict=True):
                yield adapted(theta_i, self.steps(task.turns(support), passes), rates, prior)

    def replies(self, theta: Params, turns: Turns) -> list[Message]:
        return self.calls.run(theta, lambda: super(PersonaTasks, self).batch_act(turns))

    def become(self, task: Task) -> str:
        """Adapt for good, until the next time; what to tell the person at the keyboard."""
        start = perf_counter()
        support = task.turns(task.folds[0][fields.SUPPORT])
        theta = next(self.people(task))
        self.person[:] = [theta]
        seconds = perf_counter() - start
        loss = self.loss(support)
        with torch.no_grad():
            before, after = (float(loss(params).mean()) for params in (self.theta(), theta))
        said = (
            f'Adapted to {len(task.folds[0][fields.SUPPORT])} dialogues ({len(support)} replies) in {seconds:.1f} s; '
            f'loss on them {before:.3f} -> {after:.3f}.'
        )
        if self.inner.save_delta:
            write_delta(Path(self.inner.save_delta), self.theta(), theta)
            said += f' The change is in {self.inner.save_delta}.'
        return said
