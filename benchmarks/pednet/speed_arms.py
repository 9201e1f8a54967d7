"""The arms of `speed.py`, which calls each in a process of its own with the arguments of its command line."""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from parlai.core.agents import create_agent
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.train_model import TrainModel
from torch import Tensor
from torch.nn.functional import cross_entropy

import parlai_persona  # noqa: F401
from benchmarks.common.arms import Figures, memory
from parlai_persona.agents.pednet.model import ContextDominated, PedNet, PersonaDominated, choice_loss
from parlai_persona.fields import NO_SENTENCE
from parlai_persona.models.recurrent import Attention, Memory, one_text

BATCH = 128
SIZE = (
    '-o persona:pednet --congeneric-labels overlap --pednet-dropout 0 --embedding-type random --seed 1 --loglevel error'
)


def agent_and_batch(args: argparse.Namespace, k: int, gamma: float) -> tuple[Any, list]:
    """Return the agent, and its observations of a batch of training examples with K contexts."""
    more = {'datapath': args.datapath, 'dict_file': args.folder / 'dictionary', 'congeneric_k': k}
    flags = [word for name, value in more.items() for word in (f'--{name.replace("_", "-")}', str(value))]
    opt = TrainModel.setup_args().parse_args([*SIZE.split(), '--pednet-gamma', str(gamma), *flags])
    torch.manual_seed(opt['seed'])
    agent, teacher = create_agent(opt), create_task_agent_from_taskname(opt)[0]
    return agent, [agent.clone().observe(teacher.act()) for _ in range(BATCH)]


def ours(args: argparse.Namespace, k: int) -> Figures:
    """Measure a training step of CDNet (k = 0) or PDNet."""
    agent, seen = agent_and_batch(args, max(k, 1), float(k > 0))
    return timed(lambda: agent.batch_act(seen), lambda: loss_of(agent, seen))


def loop(args: argparse.Namespace, k: int) -> Figures:
    """Measure the same step as the authors take it."""
    agent, seen = agent_and_batch(args, max(k, 1), float(k > 0))
    net, optimizer = agent.model, torch.optim.Adam(agent.model.parameters(), 5e-4)
    batch = agent.batchify(seen)
    inputs = agent._model_input(batch)[0]

    def step() -> None:
        optimizer.zero_grad()
        loop_loss(net, inputs, batch.label_vec).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()

    net.train()
    with torch.no_grad():
        loss = float(loop_loss(net, inputs, batch.label_vec))
    return timed(step, lambda: loss)


def timed(step: Callable[[], Any], loss: Callable[[], float]) -> Figures:
    """Measure a step, after a loss without one: CPU seconds and memory."""
    first = loss()
    start = time.process_time()
    step()
    return {'seconds': time.process_time() - start, 'memory (GB)': memory('VmHWM') / 1e6, 'loss': first}


@torch.no_grad()
def loss_of(agent: Any, seen: list) -> float:
    agent.model.train()
    return float(agent.compute_loss(agent.batchify(seen)))


# ---------------------------------------------------------------------------------------- the authors' loop


def loop_loss(net: PedNet, inputs: ContextDominated | PersonaDominated, replies: Tensor) -> Tensor:
    """Return the loss of a batch: K contexts one by one, each persona sentence read anew, one word after another."""
    choice = replies.new_zeros((), dtype=torch.float)
    if isinstance(inputs, PersonaDominated):
        read = [net.read(net.context_reader, context) for context in inputs.contexts.unbind(1)]
        start = sum(u for u, _, _ in read) / len(read)
        contexts = [net.attend[0].memory(*one_text(h, is_word)) for _, h, is_word in read]
        sentence = net.attend[1].memory(*one_text(*net.read(net.persona_reader, inputs.sentence)[1:]))
    else:
        start, h, is_word = net.read(net.context_reader, inputs.context)
        contexts = [net.attend[0].memory(*one_text(h, is_word))]
        sentence, choice = loop_choice(net, inputs, start)
    total = sum(word_losses(net, start, contexts, sentence, replies))
    return total / len(replies) + choice


def loop_choice(net: PedNet, inputs: ContextDominated, u: Tensor) -> tuple[Memory, Tensor]:
    """Return the chosen sentences and the loss of the choice."""
    read = [net.read(net.persona_reader, sentence) for sentence in inputs.persona.unbind(1)]
    q = net.embeddings(inputs.specific).sum(1)
    sentences = torch.stack([u_p[-1] for u_p, _, _ in read], 1)
    scores = net.sentence_scores(net.query(torch.cat([u[-1], q], -1)), sentences, inputs.is_sentence)
    rows, place = torch.arange(len(scores)), scores.argmax(-1)
    h, is_word = (torch.stack([one[part] for one in read], 1)[rows, place] for part in (1, 2))
    choice = choice_loss(scores, inputs.label).sum() / (inputs.label != NO_SENTENCE).sum()
    return net.attend[1].memory(*one_text(h, is_word)), choice


def word_losses(net: PedNet, s: Tensor, contexts: list[Memory], sentence: Memory, replies: Tensor):
    word = net.START.expand(len(replies))
    for answer in replies.unbind(1):
        c = torch.stack([attended(net.attend[0], s, context) for context in contexts]).mean(0)
        s = net.step(net.embeddings(word), [c, attended(net.attend[1], s, sentence)], s)
        scores = net.output(torch.cat([s[-1], c], -1))
        yield cross_entropy(scores, answer, ignore_index=net.NULL_IDX, reduction='sum')
        word = answer


def attended(attention: Attention, s: Tensor, memory: Memory) -> Tensor:
    """Attend to a memory, and project all that was read again, as the authors' module does at each word."""
    return attention(s[-1], memory._replace(keys=attention.key(memory.h)))
