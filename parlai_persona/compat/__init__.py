"""ParlAI 1.7.2 on today's Python stack: one function for each defect, applied once and only where the defect is.

`hooks` holds the mechanism. A fix names the module it mends and runs right after that module is first imported
(at once, if it already was), so arming the fixes imports neither torch nor ParlAI's agents. The fixes:

* `loading`: model files and options that could run code;
* `training`: scheduler, checkpoints, seed and dictionary, and defects of single agents;
* `metrics`: metrics that need something the machine lacks;
* `saving`: saves that are whole, and trainings that resume in the middle of their data (`place`);
* `progress`: the progress of training and evaluation, and how to continue after Ctrl-C;
* `vectors`: `--embedding-type` from a local file;
* `huggingface`: the GPT-2 family on transformers 5;
* `keyboard`: line editing in `parlai interactive`;
* `workers`: `multiprocessing_train` and `multiprocessing_eval` without a GPU;
* `launching`: how several processes start and end;
* `chats`: chats without `-t`;
* `names`: misspelt names of tasks, agents, models and options;
* `options`: sizes of batches, and presets of a training in other commands;
* `typed`: what a person types is words; control characters are shown escaped;
* `files`: downloads without a network, damaged model files;
* `zoo`: models of our zoo by name and version.

`errors` is no fix: it is how a `parlai` command ends that fails.

`docs/compatibility.md` lists them all. To leave some out, put their names, or `all`, separated by commas into
the environment variable `PARLAI_PERSONA_SKIP_FIXES`.
"""

from parlai_persona.compat import (  # noqa: F401  they register
    chats,
    files,
    huggingface,
    keyboard,
    launching,
    loading,
    metrics,
    names,
    options,
    progress,
    saving,
    training,
    typed,
    vectors,
    workers,
    zoo,
)
from parlai_persona.compat.hooks import APPLIED, FIXES, arm, fixes, replace_everywhere

__all__ = ['APPLIED', 'FIXES', 'arm', 'fixes', 'replace_everywhere']
