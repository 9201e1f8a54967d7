"""ParlAI messages as the examples that a memory network learns from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parlai.core.message import Message
from parlai.core.opt import Opt

from parlai_persona import fields
from parlai_persona.agents.meta_memnn.stories import Example, Story
from parlai_persona.data.other_task import episodes, teachers
from parlai_persona.models.history import TextHistory


@dataclass(frozen=True)
class TaskExample:
    """An example, with its task and its place in it."""

    example: Example
    task: str
    dialogue: str
    turn: int
    candidates: list[str] | None = None  # that came with it


class StoryHistory(TextHistory):
    """A history that also keeps the dialogue as a `story`, which the network reads."""

    def __init__(self, opt: Opt, **options):
        self.back = opt['meta_memnn_time'] == 'back'
        super().__init__(opt, **options)
        self.story = Story(self.back)

    def reset(self) -> None:
        super().reset()
        self.story = Story(self.back)

    def update_history(self, obs: Message, temp_history: str | None = None) -> None:
        super().update_history(obs, temp_history)
        self.story.hear(obs.get('text') or '', profile_lines(obs))

    def add_reply(self, text: str) -> None:
        super().add_reply(text)
        self.story.say(text)


def profile_lines(message: Message) -> int:
    """Return how many lines at the start of the text are in the persona fields, with or without a mark."""
    persona = {*message.get(fields.PERSONA, ()), *message.get(fields.PARTNER_PERSONA, ())}
    marks = ('', fields.YOUR_PERSONA, fields.PARTNERS_PERSONA)
    count = 0
    for line in (message.get('text') or '').split('\n'):
        if not any(line.startswith(mark) and line[len(mark) :] in persona for mark in marks):
            break
        count += 1
    return count


def task_examples(opt: Opt, task: str, own: bool = False, back: bool = False, fold: str = 'train') -> list[TaskExample]:
    """Return every example of a split of a task, or of several joined by commas, in order.

    The options of the command line are those of the run's `own` task. Another task has the options in its name alone
    (`task:option=value`).
    """
    return [one for teacher in teachers(opt, task, fold, own) for one in examples_of(teacher, back)]


def examples_of(teacher, back: bool) -> Iterator[TaskExample]:
    for number, messages in enumerate(episodes(teacher)):
        story = Story(back)
        for turn, message in enumerate(messages):
            story.hear(message.get('text') or '', profile_lines(message))
            labels = fields.labels_of(message)
            if labels:
                dialogue = str(message.get(fields.DIALOGUE_ID, number))
                candidates = message.get('label_candidates')
                listed = candidates if isinstance(candidates, list) else list(candidates or ())
                yield TaskExample(story.example(labels[0]), teacher.getID(), dialogue, turn, listed or None)
                story.say(labels[0])


def distinct_replies(examples: Iterable[TaskExample], inline: bool) -> list[str]:
    """Return the replies, and if `inline` all candidates that came with them, in the order of first appearance."""
    replies: dict[str, None] = {}
    seen: set[int] = set()  # many tasks have one list for all examples
    for one in examples:
        replies[one.example.reply] = None
        if inline and one.candidates and id(one.candidates) not in seen:
            seen.add(id(one.candidates))
            replies.update(dict.fromkeys(one.candidates))
    return list(replies)
