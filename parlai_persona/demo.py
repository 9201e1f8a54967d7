"""`make demo`: train, evaluate and talk to a small agent on `persona:sample`, all with ParlAI's own scripts."""

import contextlib
import io
import shutil
import sys
from pathlib import Path

import parlai.utils.logging as logging
import torch
from parlai.core.agents import Agent, create_agent
from parlai.core.message import Message
from parlai.core.worlds import create_task
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.interactive import Interactive
from parlai.scripts.train_model import TrainLoop, TrainModel
from tqdm import tqdm

import parlai_persona  # noqa: F401  registers persona:, before ParlAI is used
from parlai_persona.tasks.sample.grammar import SIZES, ceilings

FOLDER = Path('runs/demo')
TASK = 'persona:sample'
QUIET = 'error'  # ParlAI logs every option of every run
# ParlAI's memory network with every persona line and message as a memory of its own; `re` splits off the full
# stop of "i live in tokyo.", and inline candidates teach it to tell values apart, not topics.
AGENT = {
    'model': 'memnn',
    'hops': 2,
    'embedding_size': 64,
    'memsize': 32,
    'split_lines': True,
    'dict_tokenizer': 're',
    'candidates': 'inline',
    'eval_candidates': 'inline',
    'optimizer': 'adam',
    'learningrate': 3e-3,
    'lr_scheduler': 'none',
    'gradient_clip': 1.0,
    'batchsize': 64,
}
EPOCHS = 9
PERSONA = 'i own a cat.|i work as a baker.|i live in tokyo.|i listen to jazz music.'
SCRIPT = (
    'hello ! how are you today ?',
    'i have a dog at home . do you have any pets ?',
    'i am a nurse . what is your job ?',
    'what pet did i tell you about ?',
    'i live in paris . where do you live ?',
)


def main() -> None:
    model_file = str(FOLDER / 'model')
    torch.set_num_threads(1)  # the tensors are small: more threads would wait for each other
    shutil.rmtree(FOLDER, ignore_errors=True)
    say(f"1. Training ParlAI's memory network on {TASK}, {SIZES['train']} generated persona dialogues")
    train(model_file)
    say('2. Evaluating it on dialogues it has not seen, with the persona and with the persona withheld')
    evaluate(model_file)
    say('3. Talking to it')
    talk(model_file)


def say(text: str) -> None:
    print(f'\n\033[1m{text}\033[0m' if sys.stdout.isatty() else f'\n{text}', flush=True)


def train(model_file: str) -> None:
    opt = TrainModel.setup_args().parse_kwargs(
        task=TASK, model_file=model_file, num_epochs=EPOCHS, log_every_n_steps=10, loglevel=QUIET, seed=1, **AGENT
    )
    logging.set_log_level(QUIET.upper())
    loop = TrainLoop(opt)
    total = EPOCHS * loop.world.num_examples()
    with tqdm(total=total, unit=' examples', unit_scale=True) as bar:
        for log in loop.train_steps():
            bar.set_postfix_str(f'loss {float(log["mean_loss"]):.3f}', refresh=False)
            bar.update(min(int(float(log['exs'])), total - int(bar.n)))
    loop.save_model()


def evaluate(model_file: str) -> None:
    settings = {'task': TASK, 'model_file': model_file, 'datatype': 'valid', 'loglevel': QUIET, 'batchsize': 64}
    with contextlib.redirect_stdout(io.StringIO()):  # ParlAI prints each report; the table below has them side by side
        reports = [EvalModel.main(persona_side=side, **settings) for side in ('self', 'none')]
    best = ceilings()
    rows = [
        ('hits@1', 'hits@1', (best['all'], best['no persona'])),
        ('  replies that need the persona', 'hits@1_persona', (1, 0.1)),
        ('  replies that need the history', 'hits@1_history', (1, 1)),
        ('F1', 'f1', None),
        ('MRR', 'mrr', None),
        ('perplexity', None, None),
        ('persona F1 (words shared with the persona)', 'persona_f1', None),
    ]
    print(f'{"":44}{"with persona":>20}{"without":>20}')
    for name, metric, limits in rows:
        if metric is None:
            cells = ['– (a retriever)'] * 2
        else:
            values = [float(report[metric]) for report in reports]
            bounds = [f' of {float(limit):.3f}' for limit in limits] if limits else ['', '']
            cells = [f'{value:.3f}{bound}' for value, bound in zip(values, bounds, strict=True)]
        print(f'{name:44}' + ''.join(f'{cell:>20}' for cell in cells))
    print('("of": the best possible, known from how the dialogues are made; see tasks/sample/README.md)')


def talk(model_file: str) -> None:
    settings = {'task': TASK, 'model_file': model_file, 'persona': PERSONA, 'loglevel': QUIET}
    command = f'parlai interactive -mf {model_file} -t {TASK}'
    if sys.stdin.isatty() and sys.stdout.isatty():
        print(f'This is `{command}`; ask it what its persona can answer, and try /help.')
        Interactive.main(**settings)
        return
    opt = Interactive.setup_args().parse_kwargs(**settings)
    opt['interactive_task'] = True
    world = create_task(opt, [ScriptedHuman(opt), create_agent(opt, requireModelExists=True)])
    for _ in SCRIPT:
        world.parley()
    print(f'\nTo talk to it yourself: .venv/bin/{command}')


class ScriptedHuman(Agent):
    """Says the lines of `SCRIPT` and prints the conversation, for where nobody sits at the keyboard."""

    def __init__(self, opt):
        super().__init__(opt)
        self.id = 'you'
        self.lines = iter(SCRIPT)

    def act(self) -> Message:
        text = next(self.lines)
        print(f'   you:   {text}')
        return Message({'id': self.id, 'text': text, 'episode_done': False})

    def observe(self, observation):
        print(f'   model: {observation["text"]}')

    def epoch_done(self) -> bool:
        return False


if __name__ == '__main__':
    main()
