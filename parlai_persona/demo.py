"""`make demo`: train, evaluate and talk to `persona:memnet` on `persona:sample`, then talk to a model of the zoo.

All of it runs by ParlAI's own scripts.
"""

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

import parlai_persona  # noqa: F401  registers persona:, before ParlAI is used
from parlai_persona.models.packages import SMOLLM2, packaged
from parlai_persona.models.saved import NotLoaded
from parlai_persona.progress import ProgressLine
from parlai_persona.tasks.sample.grammar import SIZES, ceilings

FOLDER = Path('runs/demo')
TASK = 'persona:sample'
QUIET = 'error'  # ParlAI logs every option of every run
# A bag of words is enough for the sample's grammar. The candidates of a message teach the agent to tell values apart
# (those of the batch would only teach it topics); the tokenizer `re` splits off the full stop of "i live in tokyo.".
PRESET = 'persona:memnet/sample'
NO_PERSONA = {'memnet_sentences': 0}  # withholds the persona from the agent; --persona-side concerns only the text
PERSONA = ('i own a cat.', 'i work as a baker.', 'i live in tokyo.', 'i listen to jazz music.')
SCRIPT = (
    'hello ! how are you today ?',
    'i have a dog at home . do you have any pets ?',
    'i am a nurse . what is your job ?',
    'i live in paris . where do you live ?',
)
NEEDS_NOTHING = 'memnet'  # the best of the zoo for a conversation about the persona, without a base model


def main() -> None:
    model_file = str(FOLDER / 'model')
    torch.set_num_threads(1)  # the tensors are small: more threads would wait for each other
    shutil.rmtree(FOLDER, ignore_errors=True)
    say(f'1. Training {PRESET} on {TASK}, {SIZES["train"]} generated persona dialogues')
    train(model_file)
    say('2. Evaluating it on dialogues it has not seen, with the persona and with the persona withheld')
    evaluate(model_file)
    say('3. Talking to it, and looking at which persona sentences its memory reads for each reply')
    talk(model_file)
    name = best_of_zoo()
    say(f'4. Talking to zoo:persona/{name}, trained on real dialogues (Persona-Chat); it comes with this package')
    talk(f'zoo:persona/{name}')
    invite(f'zoo:persona/{name}')


def best_of_zoo() -> str:
    """Return the name of the zoo's P²Bot if its base model is at hand, else of the best model that needs none."""
    with contextlib.suppress(NotLoaded):
        packaged(SMOLLM2, '--lm-model')
        return 'p2bot'
    return NEEDS_NOTHING


def say(text: str) -> None:
    print(f'\n\033[1m{text}\033[0m' if sys.stdout.isatty() else f'\n{text}', flush=True)


def train(model_file: str) -> None:
    """Train the agent with ParlAI's loop, as `parlai train_model` does, and show one line of progress."""
    opt = TrainModel.setup_args().parse_kwargs(
        init_opt=PRESET, model_file=model_file, log_every_n_steps=10, loglevel=QUIET, seed=1
    )
    logging.set_log_level(QUIET.upper())
    with contextlib.redirect_stderr(io.StringIO()):  # the bar of the dictionary, which takes a second
        loop = TrainLoop(opt)
    line = ProgressLine('train', out=sys.stdout)
    for log in loop.train_steps():
        share = loop._total_epochs / opt['num_epochs']
        if line.due() or share >= 1:
            line.show(share, loop._total_exs, note=f'loss {float(log["loss"]):.3f}')
    line.finish()


def evaluate(model_file: str) -> None:
    settings = {'task': TASK, 'model_file': model_file, 'datatype': 'valid', 'loglevel': QUIET, 'batchsize': 64}
    with contextlib.redirect_stdout(io.StringIO()):  # ParlAI prints each report; the table below has them side by side
        reports = [EvalModel.main(**settings, **change) for change in ({}, NO_PERSONA)]
    best = ceilings()
    rows = [
        ('hits@1', 'hits@1', (best['no history'], best['neither'])),
        ('  replies that need the persona', 'hits@1_persona', (1, 0.1)),
        ('  replies that need the history', 'hits@1_history', (0.1, 0.1)),
        ('F1', 'f1', None),
        ('MRR', 'mrr', None),
        ('persona F1 (words shared with the persona)', 'persona_f1', None),
    ]
    print(f'{"":44}{"with persona":>20}{"without":>20}')
    for name, metric, limits in rows:
        values = [float(report[metric]) for report in reports]
        bounds = [f' of {float(limit):.3f}' for limit in limits] if limits else ['', '']
        cells = [f'{value:.3f}{bound}' for value, bound in zip(values, bounds, strict=True)]
        print(f'{name:44}' + ''.join(f'{cell:>20}' for cell in cells))
    print(
        '("of": the best that an agent can expect which reads the last message only, as this one does; known from how\n'
        'the dialogues are made, see tasks/sample/README.md)'
    )


def chat_options(model_file: str) -> dict[str, str]:
    return {'task': TASK, 'model_file': model_file, 'persona': '|'.join(PERSONA), 'loglevel': QUIET}


def talk(model_file: str) -> None:
    """Show a scripted conversation."""
    opt = Interactive.setup_args().parse_kwargs(**chat_options(model_file))
    opt['interactive_task'] = True
    agent = create_agent(opt, requireModelExists=True)
    world = create_task(opt, [ScriptedHuman(opt), agent])
    for _ in SCRIPT:
        world.parley()


def invite(model_file: str) -> None:
    """Open a conversation where somebody sits at the keyboard; elsewhere say how."""
    command = f'parlai interactive -mf {model_file} -t {TASK}'
    if sys.stdin.isatty() and sys.stdout.isatty():
        print(f'\nYour turn. This is `{command}`; ask it what its persona can answer, and try /help.')
        Interactive.main(**chat_options(model_file))
    else:
        print(f'\nTo talk to it yourself: .venv/bin/{command}')
        print('In the browser: .venv/bin/parlai persona_web -mf ' + model_file)


class ScriptedHuman(Agent):
    """Says the lines of `SCRIPT` and prints the conversation."""

    def __init__(self, opt):
        super().__init__(opt)
        self.id = 'you'
        self.lines = iter(SCRIPT)

    def act(self) -> Message:
        text = next(self.lines)
        print(f'   you:   {text}')
        return Message({'id': self.id, 'text': text, 'episode_done': False})

    def observe(self, observation):
        print(f'   model: {observation["text"]}', flush=True)  # with a bar for each persona sentence below it

    def epoch_done(self) -> bool:
        return False


if __name__ == '__main__':
    main()
