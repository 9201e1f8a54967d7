"""`parlai interactive` and `parlai self_chat` without `-t`."""

from typing import Any

from parlai_persona.compat.hooks import fixes


@fixes('parlai.scripts.interactive')
def chats_in_the_task_of_the_model(module: Any) -> bool:
    """`parlai interactive -mf MODEL` without `-t` has no task: the model gets no persona, and `--persona` is unknown.

    ParlAI 1.7.2 does this on every stack. The chat is now in the task that the model was trained on, if it is one of
    ours. With a model of our zoo it is in a task that needs no data. With `-t interactive` after `-mf` it is as before.
    """
    _name_the_task(module.Interactive)
    return True


@fixes('parlai.scripts.self_chat')
def self_chats_in_the_task_of_the_model(module: Any) -> bool:
    """`parlai self_chat` has the same defect; see `chats_in_the_task_of_the_model`."""
    _name_the_task(module.SelfChat)
    return True


def _name_the_task(script: Any) -> None:
    setup = script.setup_args

    def setup_args(cls):
        from parlai_persona.chat.model_task import ModelFile

        parser = setup()
        known = parser._option_string_actions['--model-file']
        parser.add_argument(*known.option_strings, action=ModelFile, default=known.default, help=known.help)
        return parser

    script.setup_args = classmethod(setup_args)
