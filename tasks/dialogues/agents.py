"""`-t persona:dialogues`: in training a Message is a whole dialogue of another task; in evaluation it is a turn."""

from dataclasses import dataclass

from parlai.core.message import Message
from parlai.core.opt import Opt

from parlai_persona import fields
from parlai_persona.data.other_task import OtherTaskTeacher, episodes, from_all_workers, whole_dialogue
from parlai_persona.flags import flag


@dataclass(frozen=True)
class Dialogues:
    """Whole dialogues"""

    of: str = flag('persona:personachat', 'the task with the dialogues', metavar='TASK')


class DefaultTeacher(OtherTaskTeacher):
    """Presents the dialogues of any ParlAI task, for an agent that learns all replies of a dialogue at once."""

    PREFIX, OPTIONS = 'dialogues', Dialogues

    def __init__(self, opt: Opt, shared=None):
        super().__init__(opt, shared)
        self.episodes: list[list[dict]] = shared['episodes'] if shared else self.read_episodes()
        self.reset()

    def read_episodes(self) -> list[list[dict]]:
        """Return the dialogues: all of them in training, else this worker's."""
        own = list(episodes(self.other_teacher(self.fold)))
        return from_all_workers(own) if self.random else own

    def share(self):
        return {**super().share(), 'episodes': self.episodes}

    def num_episodes(self) -> int:
        return len(self.episodes)

    def num_examples(self) -> int:
        return len(self.episodes) if self.random else sum(map(len, self.episodes))

    def get(self, episode_idx: int, entry_idx: int = 0) -> Message:
        """Return a dialogue in training, else a turn of one."""
        messages = self.episodes[episode_idx]
        if not self.random:
            return messages[entry_idx].copy()
        dialogue = whole_dialogue(messages, episode_idx)
        replies = [reply for turn in dialogue[fields.MESSAGES] for reply in turn['labels']]
        return Message(
            {
                'text': f'dialogue {dialogue[fields.DIALOGUE_ID]}: {len(replies)} replies',
                'labels': replies,
                fields.DIALOGUES: [dialogue],
                'episode_done': True,
            }
        )
