"""The end of a `parlai` command that fails: one or two lines for an error that the user can correct.

`--loglevel debug` shows the traceback too. An error that nobody expected keeps its traceback, for a report of it.
"""

import errno
import re
import signal
import sys
from types import TracebackType

from parlai_persona.errors import UserError, printable

ADVICE = {
    errno.ENOSPC: 'The disk is full. What was saved before is complete; free some space and run the command again',
    errno.EDQUOT: 'Your disk quota is used up. What was saved before is complete; free some space and run it again',
    errno.EFBIG: 'The file is larger than this system allows (ulimit -f). What was saved before is complete',
    errno.EACCES: 'Choose another path, or change the permissions of this one',
    errno.EPERM: 'Choose another path, or change the permissions of this one',
    errno.EROFS: 'Choose a path that can be written to',
    errno.ENOENT: 'Check the path',
    errno.EMFILE: 'Raise the number of files that a process may open (ulimit -n)',
}
NO_MEMORY = re.compile(r'out of memory|can.t allocate memory|Cannot allocate memory|DefaultCPUAllocator')
UNWRITTEN = re.compile(r'inline_container|PytorchStreamWriter')  # how torch ends when a write has failed
# Messages of ParlAI and torch about something that the user did. The rest of the messages is left out.
KNOWN = re.compile(
    r'Model file does not exist.*|Need to set `model` argument.*|No task specified.*|'
    r'Trying to set opt from file that does not exist.*|Could not find filename.*|You should (?:specify|supply).*|'
    r'Must provide a world log.*|Please (?:specify|provide).*|Failed to parse one or more kwargs.*|'
    r'Error importing library for.*|Invalid learning rate.*|The teacher has either empty data.*|Checksum for.*|'
    r'Simple view only support.*',
    re.IGNORECASE,
)


def install() -> None:
    """Let this process end so. Only the `parlai` command does it: Python code gets exceptions."""
    sys.excepthook = end


def end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an uncaught error. Python calls this last, and then exits with status 1."""
    sys.stdout.flush()
    text = explanation(error)
    if text is None or debugging(sys.argv):
        sys.__excepthook__(kind, error, traceback)
    if text is not None:
        sys.stderr.write(f'parlai: {printable(text)}\n')
        sys.stderr.flush()


def explanation(error: BaseException) -> str | None:
    """Return what to tell the user of an error; None if only a traceback explains it."""
    if isinstance(error, UserError):
        return str(error)
    if is_of_a_worker(error):
        cause = worker_failure(error)
        return str(cause) if isinstance(cause, UserError) else None
    if isinstance(error, KeyboardInterrupt):
        return 'interrupted'
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and NO_MEMORY.search(str(error))):
        return f'Out of memory ({first_line(error)}): lower --batchsize, or shorten the texts with --text-truncate'
    if isinstance(error, ConnectionError):
        return f'{error}: a process that this one talks to has ended, perhaps out of memory: a worker or a data loader'
    if isinstance(error, OSError):
        return system_error(error)
    if isinstance(error, RuntimeError) and UNWRITTEN.search(str(error)):
        reason = explanation(error.__context__) if error.__context__ else None
        return reason or f'The weights could not be written ({first_line(error)}). Is the disk full?'
    known = KNOWN.search(str(error)) if isinstance(error, Exception) else None
    if known and known[0].startswith('Trying to set opt'):
        return f'{known[0]}: the command has no such option; --allow-missing-init-opts true ignores it'
    return known[0] if known else None


def is_of_a_worker(error: BaseException) -> bool:
    """Tell whether torch raised the error because another process failed."""
    return type(error).__module__ == 'torch.multiprocessing.spawn'


def worker_failure(error: BaseException) -> Exception:
    """Return why a worker failed, from the error that torch raises for it."""
    code = getattr(error, 'exit_code', None)
    number = getattr(error, 'error_index', 0) + 1
    if code is not None:
        return UserError(ended(number, code))
    _, ours, said = str(error).rpartition('UserError: ')  # torch sends the traceback as text
    return UserError(said.strip()) if ours else RuntimeError(f'worker {number}: {error}')


def ended(number: int, code: int) -> str:
    how = f'was killed by {signal.Signals(-code).name}' if code < 0 else f'ended with status {code}'
    memory = ' (out of memory?)' if code == -signal.SIGKILL else ''
    advice = 'What was saved before is complete; the same command continues from there'
    return f'worker {number} {how}{memory}, so the run ended. {advice}'


def system_error(error: OSError) -> str:
    """Return what the operating system refused: the file, the reason, and what to do."""
    if error.errno is None or error.strerror is None:
        return str(error)
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    advice = ADVICE.get(error.errno, '')
    return f'{" -> ".join([*names]) + ": " if names else ""}{error.strerror}{". " + advice if advice else ""}.'


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def debugging(arguments: list[str]) -> bool:
    """Tell whether the user asked for everything. The arguments count as well, for an error while they are read."""
    import parlai.utils.logging as logging

    levels = [value for flag, value in zip(arguments, arguments[1:], strict=False) if flag == '--loglevel']
    levels += [argument.removeprefix('--loglevel=') for argument in arguments if argument.startswith('--loglevel=')]
    return logging.logger.level < logging.INFO or any(level in ('debug', 'verbose', 'spam') for level in levels)
