"""Text that a person types to an agent in ParlAI's own chats, and text that its screens show."""

import functools
from typing import Any

from parlai_persona.compat.hooks import fixes, replace_everywhere
from parlai_persona.compat.progress import ours
from parlai_persona.errors import printable


@fixes('parlai.agents.local_human.local_human')
def typed_text_is_words(module: Any) -> bool:
    r"""In `parlai interactive`, a typed `\n` begins a new line, and "your persona: …" there becomes its persona.

    ParlAI 1.7.2 does this on every stack, and special tokens such as `__end__` are tokens when a person types them. A
    typed message is now one line of words, in a chat with one of our tasks or agents. The chats of this package do the
    same after they have looked for a command.
    """
    return _words_only(module.LocalHumanAgent)


@fixes('parlai.agents.safe_local_human.safe_local_human')
def safely_typed_text_is_words(module: Any) -> bool:
    """`parlai safe_interactive` has the same defect; see `typed_text_is_words`."""
    return _words_only(module.SafeLocalHumanAgent)


@fixes('parlai.scripts.interactive_web')
def text_of_a_page_is_words(module: Any) -> bool:
    """`parlai interactive_web` has the same defect; see `typed_text_is_words`."""
    running = module.MyHandler._interactive_running

    @functools.wraps(running)
    def with_words(self, opt, reply_text):
        return running(self, opt, _words(reply_text, opt))

    module.MyHandler._interactive_running = with_words
    return True


def _words(text: str, opt: dict) -> str:
    """Return a text as words, in a chat with one of our tasks or agents."""
    from parlai_persona.chat.typed import words_of

    return words_of(text) if ours(opt) else text


def _words_only(human: Any) -> bool:
    act = human.act

    @functools.wraps(act)
    def act_in_words(self):
        reply = act(self)
        if reply.get('text') and not getattr(self, 'as_typed', False):
            reply.force_set('text', _words(reply['text'], self.opt))
        return reply

    human.act = act_in_words
    return True


@fixes('parlai.utils.misc')
def messages_without_control_characters(module: Any) -> bool:
    """A message with control characters changes the terminal that shows it: colours, title, and lines above it.

    ParlAI 1.7.2 does this on every stack. They are now shown escaped.
    """
    display = module.display_messages

    @functools.wraps(display)
    def display_escaped(msgs, *args, **kwargs):
        shown = [msg if msg is None else {field: _escaped(value) for field, value in msg.items()} for msg in msgs]
        return display(shown, *args, **kwargs)

    replace_everywhere(display, display_escaped)
    return True


def _escaped(value: Any) -> Any:
    """Return strings, alone or in a list, with control characters escaped."""
    if isinstance(value, str):
        return printable(value)
    return [_escaped(one) for one in value] if isinstance(value, (list, tuple)) else value
