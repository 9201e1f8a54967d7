"""Measure how long visitors of `parlai persona_web` wait, one and fifty at once, beside ParlAI's `interactive_web`.

    python -m benchmarks.suite.web_load          # about three minutes; rows go to results/web_load.csv

All servers have the same small model, a `persona:memnet` trained on `persona:sample`. Each visitor gives it a persona
and says lines that nobody else has, and waits for each answer. In the arm with pauses, people think for some seconds in
between. At the end each conversation must hold the lines of its visitor alone, in order, and answers that draw on the
persona of this conversation. The script fails after an error or a mix-up. `--web-rate` and `--web-sessions` are raised,
because all visitors have one address.
"""

import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests

from benchmarks.common import record
from benchmarks.common.arms import Figures, Report

LINES = 10  # of each visitor
PRESET = 'persona:memnet/sample'
PATIENCE = 600  # seconds


@contextmanager
def server(command: str, model: Path | str, ready: str, *options: str, folder: Path | None = None) -> Iterator[str]:
    """Run a `parlai` command that serves the model on a free port; yield its address once `ready` is there."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    parlai = Path(sys.executable).parent / 'parlai'
    arguments = [command, '-mf', model, '--port', port, '--loglevel', 'error', *options]
    process = subprocess.Popen(
        [str(parlai), *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
    )
    address = f'http://localhost:{port}'
    try:
        while not answers(address + ready):
            if process.poll() is not None:
                sys.exit(f'parlai {command} ended with status {process.returncode}')
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answers(address: str) -> bool:
    try:
        answer = requests.get(address, timeout=PATIENCE)
    except requests.ConnectionError:
        return False
    return answer.ok and not any(state in answer.text for state in ('"waiting"', '"loading"'))


def visit(address: str, name: str, pause: float) -> tuple[list[float], list[str]]:
    """Talk to `persona_web` as a visitor; return the seconds of each answer, and what went wrong."""
    draw, times, wrong = random.Random(name), [], []
    opened = requests.post(f'{address}/api/open', json={'view': 'chat', 'models': [0]}, timeout=PATIENCE).json()
    headers = {'X-Conversation': opened['id']}
    persona = [f'i own {name} .', f'i live in {name} .']
    given = {'speaker': 1, 'sentences': persona}
    requests.post(f'{address}/api/persona', json=given, headers=headers, timeout=PATIENCE).raise_for_status()
    said = [f'{name} says {number} . do you have any pets ?' for number in range(LINES)]
    for text in said:
        time.sleep(draw.uniform(0, 2 * pause))
        start = time.perf_counter()
        answer = requests.post(f'{address}/api/say', json={'text': text}, headers=headers, timeout=PATIENCE)
        times.append(time.perf_counter() - start)
        kinds = [json.loads(part.removeprefix('data: '))['kind'] for part in answer.text.split('\n\n') if part]
        if kinds != ['said', 'said']:
            wrong.append(f'{name}: saw {kinds}')
    events = requests.get(f'{address}/api/conversation', headers=headers, timeout=PATIENCE).json()['panes'][0]['events']
    if [event['text'] for event in events if event['speaker'] == 0] != said:
        wrong.append(f'{name}: the conversation holds other lines')
    drawn_on = [[sentence for sentence, _ in event['bars']] for event in events if event['speaker'] == 1]
    if drawn_on != [persona] * LINES:
        wrong.append(f'{name}: an answer is of another conversation')
    return times, wrong


def visit_parlai(address: str, name: str, pause: float) -> tuple[list[float], list[str]]:
    """Talk to ParlAI's `interactive_web` in the same way."""
    times = []
    for number in range(LINES):
        start = time.perf_counter()
        text = f'{name} says {number} . do you have any pets ?'
        requests.post(f'{address}/interact', data=text.encode(), timeout=PATIENCE).json()
        times.append(time.perf_counter() - start)
    return times, []


def figures(visitors: int, address: str, talk=visit, pause: float = 0.0) -> Figures:
    with ThreadPoolExecutor(visitors) as pool:
        talks = [pool.submit(talk, address, f'visitor{number}', pause) for number in range(visitors)]
        done = [one.result() for one in talks]
    times = sorted(second for seconds, _ in done for second in seconds)
    for wrong in (text for _, texts in done for text in texts):
        print(wrong, file=sys.stderr)
    return {
        'median_s': statistics.median(times),
        'p95_s': statistics.quantiles(times, n=20)[-1],
        'answers': len(times),
        'wrong': sum(len(texts) for _, texts in done),
    }


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--visitors', type=int, default=50, help='visitors at once (default: %(default)s)')
    parser.add_argument('--pause', type=float, default=5.0, help='mean seconds of thinking (default: %(default)s)')
    args = record.parse_arguments(parser)
    command = f'python -m benchmarks.suite.web_load --visitors {args.visitors} --pause {args.pause:g}'
    report = Report(record.RESULTS / 'web_load.csv', command, args.allow_dirty)
    many = f'{args.visitors} visitors'
    results: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / 'model'
        parlai = str(Path(sys.executable).parent / 'parlai')
        subprocess.run([parlai, 'train_model', '-o', PRESET, '-mf', str(model), '--loglevel', 'error'], check=True)
        task = ('-t', 'persona:sample')
        with server('interactive_web', model, '/', *task) as address:
            results['interactive_web, 1 visitor'] = figures(1, address, visit_parlai)
        limits = ('--web-rate', '100000', '--web-sessions', '1000')
        with server('persona_web', model, '/api/state', *task, *limits) as address:
            results['persona_web, 1 visitor'] = figures(1, address)
            results[f'persona_web, {many} without pauses'] = figures(args.visitors, address)
            results[f'persona_web, {many}, pauses of {args.pause:g} s'] = figures(
                args.visitors, address, pause=args.pause
            )
    for method, values in results.items():
        report.add(method, 'answers in a browser chat', f'{PRESET}', f'{LINES} lines each', values, threads=None)
    report.expect(not any(values['wrong'] for values in results.values()), 'no error and no mix-up')
    report.exit()


if __name__ == '__main__':
    main()
