"""Score the published replies of other systems with our metrics: LMEDR, and eight language models without training.

    python -m benchmarks.p2bot.published --datapath data --peers data/peers

PEERS holds lmedr_{original,revised}.tsv (persona, query, response, in the order of ConvAI2's valid split) and
llm_zero_shot/ (prompts.csv, and a file of replies for each model). A prompt is found in the valid split by its last
message and the reply to it, letters only; those that are not found are left out.

These are no fair rivals: LMEDR learned from all of the training split and from Dialogue NLI, and the language models
were told to answer as a persona, in replies three times as long as people's.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.eval_model import EvalModel

import parlai_persona  # noqa: F401  tells ParlAI about persona:
from benchmarks.common import record
from benchmarks.common.record import Row, append, split_label
from benchmarks.p2bot.transmitter import CORPUS, CSV, FORMS, METRICS, NLI, TASK
from parlai_persona.data.other_task import episodes

EXAMPLES = 512
DATA = 'published replies'
Pair = tuple[Message, str]


def teacher(datapath: str, form: str):
    opt = EvalModel.setup_args().parse_kwargs(
        task=TASK,
        datapath=datapath,
        datatype='valid',
        persona_source='convai2',
        persona_form=form,
        persona_nli=NLI,
        model='repeat_label',
        loglevel='error',
    )
    return create_task_agent_from_taskname(opt)[0]


def examples(datapath: str, form: str) -> list[Message]:
    return [message for turns in episodes(teacher(datapath, form)) for message in turns]


def letters(text: str) -> str:
    return re.sub('[^a-z]', '', text.lower())


def score(task, pairs: Iterable[Pair]) -> dict[str, float]:
    """Return the metrics of replies to messages of a task."""
    for message, text in pairs:
        reply = Message({'text': text})
        task.metrics.clear_recent()
        task.metrics.evaluate_response(reply, message['eval_labels'])
        task.custom_evaluation(message, message['eval_labels'], reply)
        task.metrics.add('gen_n_toks', AverageMetric(len(text.split())))
    return {name: value.value() for name, value in task.metrics.report().items()}


def lmedr(messages: list[Message], path: Path) -> Iterator[Pair]:
    with path.open(encoding='utf-8', newline='') as lines:
        rows = list(csv.DictReader(lines, delimiter='\t'))
    if len(rows) != len(messages):
        raise SystemExit(f'{path}: saw {len(rows)} rows, expected {len(messages)}, one for each valid example')
    for number, (message, row) in enumerate(zip(messages, rows, strict=True)):
        if letters(row['query']) != letters(message['text'].rpartition('\n')[2]):
            raise SystemExit(f'{path}, row {number + 1}: saw {row["query"]!r}, expected {message["text"]!r}')
        yield message, row['response'].strip()


def zero_shot(messages: list[Message], prompts: Path, path: Path) -> Iterator[Pair]:
    known = {(letters(one['text'].rpartition('\n')[2]), letters(one['eval_labels'][0])): one for one in messages}
    with prompts.open(encoding='utf-8', newline='') as asked, path.open(encoding='utf-8', newline='') as said:
        for prompt, reply in zip(csv.DictReader(asked), csv.DictReader(said), strict=True):
            key = tuple(letters(prompt[name].partition(': ')[2]) for name in ('context', 'act_response'))
            if key in known:
                yield known[key], (reply['gen_response'] or '').strip()


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', required=True, help="ParlAI's data folder")
    parser.add_argument('--peers', type=Path, required=True, help='the folder with the replies')
    args = record.parse_arguments(parser)
    command = 'python -m benchmarks.p2bot.published --datapath data --peers data/peers'

    def add(name: str, split: str, task, pairs: list[Pair]) -> None:
        found = score(task, pairs)
        rows = [
            Row(name, TASK, DATA, split, 0, metric, found[metric], command) for metric in METRICS if metric in found
        ]
        append(rows, CSV, allow_dirty=args.allow_dirty)
        print(f'{name}, {split}: {len(pairs)} replies, F1 {found["f1"]:.4f}', flush=True)

    for form in FORMS:
        task = teacher(args.datapath, form)
        pairs = list(lmedr(examples(args.datapath, form), args.peers / f'lmedr_{form}.tsv'))[:EXAMPLES]
        add('LMEDR', f'{split_label(CORPUS, "valid", EXAMPLES)}, {form}', task, pairs)
    prompts = args.peers / 'llm_zero_shot' / 'prompts.csv'
    messages = examples(args.datapath, 'original')
    for path in sorted(prompts.parent.glob('*.csv')):
        if path != prompts:
            pairs = list(zero_shot(messages, prompts, path))
            add(path.stem, f'valid, {len(pairs):,} of 1,183 prompts', teacher(args.datapath, 'original'), pairs)


if __name__ == '__main__':
    main()
