"""A mixin that lets any of ParlAI's generators learn from people's dialogues, and adapt to a person.

A training step reads from top to bottom: `observe` turns a message into a `Task`, `train_step` sums what each task
teaches, `lesson` is one task's part, and `loss` is the function of parameters that both support and query are.
"""

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import add
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from parlai.core.torch_generator_agent import PPLMetric
from parlai.utils.distributed import is_distributed, num_workers
from torch import Tensor

from parlai_persona import fields
from parlai_persona.agents.paml.meta import Calls, Inner, Lesson, Loss, Nll, Params, Rates, adapted, learn, leave_out
from parlai_persona.agents.paml.model import LearnedRates, reply_nll
from parlai_persona.agents.paml.people import Task, Turns, batches_of_like_length, read_delta, write_delta
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, from_opt
from parlai_persona.models.dictionary import DialoguesDictionary
from parlai_persona.models.generator import PersonaGenerator
from parlai_persona.models.network import device_of
from parlai_persona.models.precision import autocast

KEPT = 10_000  # vectorised dialogues in memory
RATES = 'paml_rates'  # the name of the learned rates among the parameters
# What a further batch costs in tokens: this over the number of weights (measured on a CPU).
BATCH_COST, BATCH_COST_BFLOAT16 = 1e9, 1e10


class PersonaTasks(PersonaGenerator):
    """Stands in front of a generator: `class PamlAgent(PersonaTasks, TransformerGeneratorAgent)`.

    A message with `fields.DIALOGUES` is a person. In training, each person adds a term to eq. 6. In evaluation, the
    answers in held-out dialogues come back in `fields.REPLIES`, each with metrics of its own. If there is nothing to
    answer, the agent adapts to the person for good. Any other message is a turn of a dialogue, as for the generator.
    """

    PREFIX = 'paml'
    NEEDS_TRAINING = True
    TALKS_IN = 'persona:few_shot'  # the task of a chat with a model that names none

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Persona-agnostic meta-learning'), cls.PREFIX, Inner)
        return parser

    @staticmethod
    def dictionary_class():
        return DialoguesDictionary

    def __init__(self, opt: Opt, shared=None):
        self.inner = from_opt(Inner, opt, self.PREFIX)
        self.vectors: dict[Any, Turns] = shared['vectors'] if shared else {}
        self.person: list[Params] = shared['person'] if shared else []  # theta' of the person adapted to, if any
        super().__init__(opt, shared)
        self.calls = Calls(self.net)
        cost = BATCH_COST_BFLOAT16 if self.amp else BATCH_COST
        self.batch_cost = cost / sum(p.numel() for p in self.net.parameters())
        if not shared and self.inner.delta:
            self.person.append(read_delta(Path(self.inner.delta), self.theta()))

    def share(self):
        return {**super().share(), 'vectors': self.vectors, 'person': [*self.person]}

    def build_model(self):
        model = super().build_model()
        if self.inner.learn_rates:
            names = [name for name, p in model.named_parameters() if p.requires_grad]
            model.register_module(RATES, LearnedRates(self.inner.adapting(names)))
        return model

    def load_state_dict(self, state_dict) -> None:
        """Load a checkpoint with or without learned rates; rates that it lacks start from the options."""
        own = self.net.state_dict()
        fresh = {name: own[name] for name in own if name.startswith(f'{RATES}.') and name not in state_dict}
        kept = {name: p for name, p in state_dict.items() if name in own or not name.startswith(f'{RATES}.')}
        super().load_state_dict({**kept, **fresh})

    def theta(self) -> Params:
        return {name: p for name, p in self.calls.params().items() if not name.startswith(f'{RATES}.')}

    def rates(self, theta: Params) -> Rates:
        """Return alpha of each parameter that adapts."""
        names, learned = self.inner.adapting(theta), getattr(self.net, RATES, None)
        if learned is None:
            return dict.fromkeys(names, self.inner.inner_lr)
        return learned.rates(names, self.inner.inner_lr)

    # ------------------------------------------------------------------------------------- observations

    def observe(self, observation: Message) -> Message:
        if fields.FOLDS not in observation:
            return super().observe(observation)
        dialogues = [self.turns(one) for one in observation[fields.DIALOGUES]]
        task = Task(dialogues, observation[fields.FOLDS], 'labels' in observation)
        # labels tell a TorchAgent that it has to learn
        labels = {'labels': observation['labels']} if 'labels' in observation else {}
        return self.observe_whole(task=task, **labels)

    def turns(self, dialogue: dict[str, Any]) -> Turns:
        """Return the turns of a dialogue as the generator would see them one by one."""
        messages, persona = dialogue[fields.MESSAGES], self.shown_in(dialogue)
        key = (*(persona or ()), *((turn['text'], turn['labels'][0]) for turn in messages))
        if key not in self.vectors:
            if len(self.vectors) >= KEPT:
                self.vectors.clear()
            self.vectors[key] = self.turns_of(messages, persona)
        return self.vectors[key]

    def shown_in(self, dialogue: dict[str, Any]) -> list[str] | None:
        """Return the persona that the generator reads with a dialogue: none, it learns who speaks."""
        return None

    def batchify(self, obs_batch, sort=False) -> Batch:
        places = [place for place, observation in enumerate(obs_batch) if 'task' in observation]
        if not places:
            return super().batchify(obs_batch, sort=sort)
        self.refuse_mixture(obs_batch)
        return Batch(
            batchsize=len(places),
            valid_indices=torch.tensor(places),
            is_training=True,
            tasks=[obs_batch[place]['task'] for place in places],
        )

    def batch_act(self, observations):
        tasks = [observation.get('task') for observation in observations]
        if any(task and not task.training for task in tasks):
            return [self.answer(task) for task in tasks]
        if self.person and not any(tasks):
            return self.calls.run(self.person[0], lambda: super(PersonaTasks, self).batch_act(observations))
        return super().batch_act(observations)

    # ----------------------------------------------------------------------------------------- training

    def train_step(self, batch: Batch):
        """Take Algorithm 1, lines 4 to 9, for the people of a batch. Memory is that of one person at a time."""
        if self.person:
            raise UserError('--paml-delta is for chats, and for evaluations on turns: a training has to leave it out')
        if not batch.get('tasks'):
            return super().train_step(batch)
        if self.opt.get('update_freq', 1) > 1:
            raise UserError(
                f'--update-freq {self.opt["update_freq"]}: the people of a step come in one batch. Leave it out, and '
                'give a larger --batchsize; the memory is that of one person'
            )
        if self.fp16:
            raise UserError('--fp16 stores weights in 16 bits, too few for inner steps: use --paml-amp')
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
        """Return the gradient of the query's loss after adapting to the support."""
        theta, fold = self.theta(), task.folds[0]
        own = {name: p for name, p in self.calls.params().items() if name not in theta}
        support = self.steps(task.turns(fold[fields.SUPPORT]), self.inner.inner_steps)
        query = self.loss(task.turns(fold[fields.QUERY]), dropout=True)
        return learn(theta, support, query, self.rates(theta), self.inner.order == 'second', own, self.inner.prior)

    def steps(self, turns: Turns, passes: int) -> list[Loss]:
        """Return the mini-batches of the inner SGD; without dropout, as in a conversation."""
        size = self.inner.inner_batch or len(turns) or 1
        return [self.loss(turns[start : start + size]) for start in range(0, len(turns), size)] * passes

    def loss(self, turns: Turns, dropout: bool = False) -> Loss:
        """Return the loss of the replies in these turns as a function of parameters."""
        device = device_of(self.net)
        batches = [self.batchify(some).to(device) for some in self.batches(turns)]

        def total(params: Params) -> Nll:
            self.model.train(dropout)
            return self.calls.run(params, lambda: reduce(add, map(self.nll, batches)))

        return total

    def batches(self, turns: Turns) -> list[Turns]:
        """Divide turns into the batches that their loss is computed in."""
        return batches_of_like_length(turns, self.batch_cost)

    def nll(self, batch: Batch) -> Nll:
        with autocast(self.net, self.amp):
            return reply_nll(self.net, self._encoder_input(batch), batch.label_vec, self.NULL_IDX)

    def average_gradients(self) -> None:
        """Average between the processes of multiprocessing_train; torch does so only in `backward`."""
        if is_distributed():
            for p in self.calls.params().values():
                torch.distributed.all_reduce(p.grad)
                p.grad /= num_workers()

    # --------------------------------------------------------------------------------------- adaptation

    def answer(self, task: Task | None) -> Message:
        """Answer held-out dialogues after adapting, or adapt for good."""
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
        """Yield theta' of each fold."""
        theta, passes = self.theta(), self.inner.eval_steps
        rates = {name: rate.detach() if isinstance(rate, Tensor) else rate for name, rate in self.rates(theta).items()}
        supports, size, prior = [fold[fields.SUPPORT] for fold in task.folds], self.inner.inner_batch, self.inner.prior
        whole = not size or all(len(task.turns(support)) <= size for support in supports)
        after: Iterable[Params] = [theta] * len(supports)
        with torch.enable_grad():
            if whole and passes and len(supports) > 1:  # folds share the gradients of their first steps
                dialogues = [self.loss(turns) for turns in task.dialogues]
                after, passes = leave_out(theta, dialogues, supports, rates, prior), passes - 1
            for support, theta_i in zip(supports, after, strict=True):
                yield adapted(theta_i, self.steps(task.turns(support), passes), rates, prior)

    def replies(self, theta: Params, turns: Turns) -> list[Message]:
        return self.calls.run(theta, lambda: super(PersonaTasks, self).batch_act(turns))

    def become(self, task: Task) -> str:
        """Adapt to this person until told to adapt to another; return what to tell the user."""
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
