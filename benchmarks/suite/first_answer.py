"""Measure how long somebody waits for the first answer of each model of the zoo that talks, from an empty folder.

    python -m benchmarks.suite.first_answer          # about four minutes on an idle machine

In the terminal: from `parlai interactive` to the answer, the first time (the model is unpacked, and a base in 4 bits is
written in 32) and the second time. In the browser, after that: from `parlai persona_web` until the model is ready, and
from a message to its first words and to the whole answer. No network, no data. Rows go to results/first_answer.csv.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from benchmarks.common import record
from benchmarks.common.arms import Figures, Report
from benchmarks.suite.web_load import PATIENCE, server

LINE = 'hello ! what do you do for a living ?'
PERSON = 'them: what do you do ?\nme: i am a baker .\n\nthem: do you have any pets ?\nme: yes , i have two cats .\n'
DATA = ('--datapath', 'data')
PERSONA = ('-t', 'persona:sample', '--persona', 'i own two cats.|i work as a nurse.')
MODELS = {
    'memnet': PERSONA,
    'memnet_minilm': PERSONA,
    'pednet': PERSONA,
    'p2bot': PERSONA,
    'paml': ('-t', 'persona:few_shot', '--person', 'mine.txt'),
    'meta_memnn': (),
}


def in_the_terminal(name: str, folder: Path) -> float:
    """Return the seconds from the start of a chat to the end of its first answer."""
    parlai = Path(sys.executable).with_name('parlai')
    command = [parlai, 'interactive', '-mf', f'zoo:persona/{name}', *MODELS[name], *DATA]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*map(str, command), '--loglevel', 'error'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, 'PYTHONUNBUFFERED': '1'},
    )
    assert process.stdin and process.stdout
    process.stdin.write(f'{LINE}\n')
    process.stdin.flush()
    said = []
    for line in process.stdout:
        said.append(line)
        if ']: ' in line and 'Enter Your Message' in line:
            seconds = time.perf_counter() - start
            process.communicate('[EXIT]\n', timeout=PATIENCE)
            return seconds
    sys.exit(f'{name} did not answer:\n{"".join(said)}')


def in_the_browser(name: str, folder: Path) -> Figures:
    """Return the seconds until the model is ready, until its first words and until its answer is there."""
    start = time.perf_counter()
    with server('persona_web', f'zoo:persona/{name}', '/api/state', *MODELS[name], *DATA, folder=folder) as address:
        ready = time.perf_counter() - start
        asked = {'view': 'chat', 'models': [0]}
        opened = requests.post(f'{address}/api/open', json=asked, timeout=PATIENCE).json()
        headers, said = {'X-Conversation': opened['id']}, {'text': LINE}
        times, start = [], time.perf_counter()
        with requests.post(f'{address}/api/say', json=said, headers=headers, stream=True, timeout=PATIENCE) as answer:
            for line in filter(None, answer.iter_lines(chunk_size=1)):
                event = json.loads(line.removeprefix(b'data: '))
                if event['kind'] == 'words' or event.get('speaker') == 1:
                    times.append(time.perf_counter() - start)
                assert event['kind'] != 'error', event
    return {'browser_ready_s': ready, 'browser_first_words_s': times[0], 'browser_answer_s': times[-1]}


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--only', nargs='+', choices=[*MODELS], default=[*MODELS], help='these alone (default: all)')
    args = record.parse_arguments(parser)
    report = Report(record.RESULTS / 'first_answer.csv', 'python -m benchmarks.suite.first_answer', args.allow_dirty)
    for name in args.only:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / 'mine.txt').write_text(PERSON, encoding='utf-8')
            times = {
                'terminal_first_time_s': in_the_terminal(name, folder),
                'terminal_s': in_the_terminal(name, folder),
            }
            figures = {**times, **in_the_browser(name, folder)}
        report.add(f'zoo:persona/{name}', 'first answer', 'none', 'from an empty folder', figures, threads=None)
    report.exit()


if __name__ == '__main__':
    main()
