"""The page in a real browser: Chromium, driven by Playwright. It runs where Chromium is installed.

`PERSONA_SCREENSHOTS=docs/images pytest tests/test_web_browser.py` also writes the pictures of docs/web.md.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import PATIENCE
from parlai.scripts.interactive import Interactive
from parlai.scripts.train_model import TrainModel
from playwright import sync_api as playwright
from test_web import OPTIONS, Scripted, running

import parlai_persona  # noqa: F401  registers persona:, before ParlAI is used
from parlai_persona.models.packages import MINILM, SMOLLM2, packaged
from parlai_persona.models.saved import NotLoaded
from parlai_persona.web.guard import Guard
from parlai_persona.web.models import Model
from parlai_persona.web.options import Limits
from parlai_persona.web.server import Server

CHROMIUM = shutil.which('chromium')
pytestmark = pytest.mark.skipif(not CHROMIUM, reason='there is no chromium')
PICTURES = os.environ.get('PERSONA_SCREENSHOTS')
PERSONA = ['i own a cat.', 'i live in tokyo.', 'i work as a baker.', 'i enjoy hiking in my free time.']
SECOND = 1000  # milliseconds, Playwright's unit
# Lets the next answer break off when `cut()` is called, as a connection does.
BREAK = """() => {
  const real = window.fetch;
  window.cut = new Promise((ready) => {
    window.fetch = async (...asked) => {
      const answer = await real(...asked);
      if (!asked[0].endsWith('say')) return answer;
      window.fetch = real;
      return { ok: true, body: new ReadableStream({ start(to) { ready(() => to.error(new TypeError('cut'))); } }) };
    };
  });
}"""


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp('model') / 'memnet'
    TrainModel.main(init_opt='persona:memnet/sample', model_file=str(path), seed=1, loglevel='error')
    return path


@pytest.fixture(scope='module')
def person(tmp_path_factory):
    """The model file of an agent that adapts to people, hardly trained."""
    folder = tmp_path_factory.mktemp('person')
    path, people = folder / 'paml', folder / 'people.txt'
    people.write_text(
        '\n'.join(
            f'your persona: i have a {pet}.\nyour persona: i like it.\nthem: hi {n} .\nme: my {pet} says hi .\n'
            for pet in ('cat', 'dog', 'bird')
            for n in range(3)
        )
    )
    TrainModel.main(
        task='persona:few_shot',
        few_shot_of='persona:own',
        own_file=str(people),
        own_valid_file=str(people),
        model='persona:paml',
        model_file=str(path),
        max_train_steps=2,
        n_layers=1,
        n_heads=2,
        embedding_size=16,
        ffn_size=16,
        batchsize=1,
        loglevel='error',
    )
    return path


class Command:
    """`parlai persona_web` on a port of its own."""

    def __init__(self, folder: Path, *arguments: object, port: int | None = None):
        with socket.create_server(('127.0.0.1', port or 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f'http://127.0.0.1:{self.port}'
        self.arguments, self.log = arguments, folder / f'log-{self.port}'
        self.start()

    def start(self) -> None:
        command = ['persona_web', *map(str, self.arguments), '--port', str(self.port), '--loglevel', 'error']
        with self.log.open('a') as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).parent / 'parlai', *command], stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                with urllib.request.urlopen(f'{self.address}/api/state') as answer:
                    states = [model['state'] for model in json.load(answer)['models']]
                if not {'waiting', 'loading'} & {*states}:
                    assert 'failed' not in states, answer
                    return
            except OSError:
                pass
            time.sleep(0.2)

    def stop(self, how: int = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)


@pytest.fixture(scope='module')
def server(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp('server')
    arguments = ['-mf', model, '-mf', model, '--persona', '|'.join(PERSONA), '--partner-persona', 'i am a nurse.']
    command = Command(folder, *arguments)
    yield command
    command.stop()


@pytest.fixture
def start(tmp_path):
    """Starts commands that end with the test."""
    commands = []

    def run(*arguments: object) -> Command:
        commands.append(Command(tmp_path, *arguments))
        return commands[-1]

    yield run
    for command in commands:
        if command.process.poll() is None:
            command.stop()


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, request):
    """Opens the page as a new visitor; errors of the page's script fail the test at its end."""
    contexts, wrong = [], []

    def open_page(address: str | None = None, ready: str = '.log', **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE * SECOND)
        page.on('pageerror', lambda error: wrong.append(str(error)))
        page.on('console', lambda message: wrong.append(message.text) if 'Security Policy' in message.text else None)
        page.goto(address or request.getfixturevalue('server').address)
        page.locator(ready).first.wait_for()
        settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def say(page, text: str) -> str:
    """Type a message with the keyboard alone; return the answer."""
    answers = page.locator('.said:not(.first):not(.typing)')
    before = answers.count()
    page.get_by_role('textbox', name='Your message').fill(text)
    page.keyboard.press('Enter')
    answers.nth(before).wait_for()
    settled(page)
    return answers.last.inner_text()


def settled(page) -> None:
    """Wait until the page does nothing any more."""
    playwright.expect(page.locator('.typing')).to_have_count(0, timeout=PATIENCE * SECOND)
    playwright.expect(page.locator('#reset')).to_be_enabled(timeout=PATIENCE * SECOND)


def picture(page, name: str, whole: bool = False) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f'web-{name}.png', full_page=whole)


def test_the_page_works_in_a_browser(visit):
    """The only fast test here: an agent that needs no training, and a server in this process."""
    opt = Interactive.setup_args().parse_kwargs(**OPTIONS)
    with running(Server([Model('scripted', lambda: Scripted(opt))], Limits(), Guard())) as address:
        page = visit(address)
        assert say(page, 'hello <b>') == 'Model: \n1 hello < b >'
        assert page.locator('.bar').count() == 2


def test_a_connection_that_breaks_during_an_answer(visit):
    """The server goes on, and the page shows what it said; if the server has ended, too, the line can be sent again."""
    opt = Interactive.setup_args().parse_kwargs(**OPTIONS)
    Scripted.gate.clear()
    with running(Server([Model('scripted', lambda: Scripted(opt))], Limits(), Guard())) as address:
        page = visit(address)
        page.evaluate(BREAK)
        page.get_by_role('textbox', name='Your message').fill('slow')
        page.keyboard.press('Enter')
        page.locator('.typing').wait_for()
        Scripted.gate.set()
        page.evaluate('window.cut.then((cut) => cut())')
        playwright.expect(page.locator('.said:not(.first):not(.typing)')).to_have_count(1, timeout=PATIENCE * SECOND)
        settled(page)
        assert page.locator('.said').all_inner_texts() == ['First: \nslow', 'Model: \n1 slow']
        assert page.get_by_role('textbox', name='Your message').input_value() == ''
        assert say(page, 'and ?') == 'Model: \n2 and ?'


@pytest.mark.slow
def test_chat_and_edit_the_persona(visit):
    page = visit(viewport={'width': 1100, 'height': 760})
    assert 'cat' in say(page, 'i have a dog . do you have any pets ?')
    bars = page.locator('.bar')
    assert bars.count() == len(PERSONA) and bars.nth(0).get_by_role('meter').is_visible()
    say(page, 'i am a nurse . what is your job ?')
    picture(page, 'chat')
    page.get_by_label("The model's persona").fill('\n'.join(['i own a turtle.', *PERSONA[1:]]))
    page.get_by_role('button', name='Use').first.click()
    settled(page)
    assert page.locator('.said').count() == 4
    assert 'turtle' in say(page, 'i have a dog . do you have any pets ?')
    page.reload()
    page.locator('.said').nth(5).wait_for()
    assert page.locator('.said').count() == 6
    with page.expect_download() as download:
        page.get_by_role('button', name='Download').click()
    (line,) = Path(download.value.path()).read_text().splitlines()
    assert len(json.loads(line)['dialog']) == 3


@pytest.mark.slow
def test_two_visitors_in_the_dark_and_on_a_phone(visit):
    first, second = visit(color_scheme='dark'), visit(viewport={'width': 360, 'height': 640}, has_touch=True)
    say(first, 'my secret is x')
    say(second, 'hello there')
    assert 'secret' not in second.content() and 'hello there' not in first.content()
    assert second.evaluate('document.documentElement.scrollWidth <= innerWidth')
    assert first.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(22, 24, 28)'
    picture(second, 'phone')
    picture(first, 'dark')


@pytest.mark.slow
def test_hostile_text_is_text(visit):
    page = visit()
    hostile = '<img src=x onerror="document.title = 1"><script>document.title = 1</script>'
    say(page, hostile)
    assert hostile in page.locator('.said.first').inner_text()
    page.get_by_label("The model's persona").fill(hostile)
    page.get_by_role('button', name='Use').first.click()
    settled(page)
    say(page, 'hello')
    assert page.locator('img').count() == 0 and page.title() == 'parlai-persona'


@pytest.mark.slow
def test_compare_and_watch(visit):
    page = visit(viewport={'width': 1100, 'height': 760})
    page.get_by_role('button', name='Compare').click()
    page.locator('.log').nth(1).wait_for()
    say(page, 'do you have any pets ?')
    assert page.locator('.said').count() == 4
    picture(page, 'compare')
    page.get_by_role('button', name='Watch').click()
    page.get_by_role('button', name='One exchange').click()
    page.locator('.said:not(.typing)').nth(1).wait_for()
    page.get_by_role('button', name='Keep going').click()
    page.locator('.said:not(.typing)').nth(5).wait_for()
    page.get_by_role('button', name='Keep going').click()
    picture(page, 'watch')


@pytest.mark.slow
def test_models_of_the_zoo(visit, start):
    """Two models answer as the same persona, and a receiver says which sentence each answer sounds like."""
    for package in (SMOLLM2, MINILM):
        try:
            packaged(package, '')
        except NotLoaded as error:
            pytest.skip(str(error))
    names = [f'zoo:persona/{name}@1' for name in ('p2bot', 'memnet')]
    server = start('-mf', names[0], '-mf', names[1], '--persona-receiver', 'zoo:persona/p2bot_receiver@1')
    page = visit(server.address, viewport={'width': 1100, 'height': 800})
    page.get_by_role('button', name='Compare').click()
    settled(page)
    assert [page.locator('h2').nth(pane).inner_text() for pane in range(2)] == names
    page.get_by_label("The model's persona").fill('i own two cats.\ni work as a nurse.\ni love to bake bread.')
    page.get_by_role('button', name='Use').first.click()
    settled(page)
    for line in ('hello ! how are you today ?', 'what do you do for a living ?', 'do you have any pets ?'):
        say(page, line)
    page.get_by_role('button', name='Heat map').click()
    tables = page.locator('#heat table')
    playwright.expect(tables).to_have_count(2, timeout=PATIENCE * SECOND)
    picture(page, 'zoo', whole=True)
    job = [float(cell) for cell in tables.first.locator('tr').nth(2).locator('td').all_inner_texts()]
    assert job[1] == max(job[:3])  # of the sentences, the answer about the job sounds most like that of the job


@pytest.mark.slow
def test_votes_about_two_logs(visit, start, tmp_path):
    for name in 'ab':
        acts = [[[{'id': 'x', 'text': '<b>hello</b>'}, {'id': 'y', 'text': f'from {name}'}]]]
        (tmp_path / f'{name}.jsonl').write_text(json.dumps({'dialog': acts[0]}) + '\n')
    logs, votes = f'{tmp_path}/a.jsonl,{tmp_path}/b.jsonl', tmp_path / 'votes.jsonl'
    command = start('--judge-logs', logs, '--judge-votes', votes)
    page = visit(command.address, ready='#question')
    for number in range(1, 4):
        side = page.get_by_role('list', name='Left conversation')
        playwright.expect(side.locator('li')).to_have_count(2)
        choice = 'Left' if 'from a' in side.inner_text() else 'Right'
        page.get_by_role('button', name=choice).click()
        if number == 1:
            page.get_by_text('Votes so far').click()
        page.locator('#results tr').last.filter(has_text=re.compile(rf'all\s*{number}\s*0')).wait_for()
        settled(page)
    picture(page, 'judge')
    assert len(votes.read_text().splitlines()) == 3


@pytest.mark.slow
def test_the_keyboard_alone_reaches_everything(visit):
    page = visit()
    reached = set()
    for _ in range(30):
        page.keyboard.press('Tab')
        reached.add(page.evaluate('document.activeElement.id || document.activeElement.textContent.trim()'))
    buttons = {'Chat', 'Compare', 'Watch', 'Send', 'Use', 'reset', 'download'}
    assert reached >= buttons | {'first', 'text', 'own', 'partners'}
    page.get_by_role('button', name='Watch').focus()
    page.keyboard.press('Enter')
    page.get_by_role('button', name='One exchange').wait_for()
    settled(page)
    assert page.evaluate('document.activeElement.textContent') == 'Watch'
    page.get_by_role('button', name='One exchange').focus()
    for exchanges in (1, 2):  # the focus stays where it was
        page.keyboard.press('Space')
        page.locator('.said:not(.typing)').nth(2 * exchanges - 1).wait_for()
        settled(page)


@pytest.mark.slow
def test_a_server_that_was_killed_and_is_back(visit, model, start):
    command = start('-mf', model)
    page = visit(command.address)
    page.get_by_label("The model's persona").fill('i own a turtle.')
    page.get_by_role('button', name='Use').first.click()
    settled(page)
    say(page, 'hello')
    command.stop(signal.SIGKILL)
    page.get_by_role('textbox', name='Your message').fill('are you there ?')
    page.keyboard.press('Enter')
    page.get_by_role('alert').filter(has_text='does not answer').wait_for()
    assert page.get_by_role('textbox', name='Your message').input_value() == 'are you there ?'
    command.start()
    page.keyboard.press('Enter')
    page.get_by_role('alert').filter(has_text='has ended').wait_for()
    assert say(page, 'and now ?')
    assert page.get_by_label("The model's persona").input_value() == 'i own a turtle.'


@pytest.mark.slow
def test_becoming_someone_from_a_file(visit, person, start, tmp_path):
    command = start('-mf', person)
    page = visit(command.address)
    mine = tmp_path / 'mine.txt'
    mine.write_text('them: do you have any pets ?\nme: yes , i have a cat .\n\nthem: hello !\nme: hi there !\n')
    page.get_by_label('Become someone').set_input_files(mine)
    note = page.locator('.note').filter(has_text='Adapted to 2 dialogues')
    note.wait_for()
    assert re.search(r'in \d+\.\d s; loss on them \d+\.\d+ -> \d+\.\d+', note.inner_text())
    picture(page, 'upload')
    assert command.stop() == 0  # Ctrl-C is how it ends
