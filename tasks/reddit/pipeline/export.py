"""A split of a data set -> JSON lines of persona, context, response and speaker."""

import json
from pathlib import Path

from tqdm import tqdm

from parlai_persona.files import draft
from parlai_persona.tasks.reddit.parse import chunks, read


def export(folder: Path, fold: str, output: Path) -> Path:
    if output.exists():
        raise FileExistsError(f'{output} is there already; name another --output, or remove it')
    with draft(output) as unfinished, unfinished.open('w', encoding='utf-8') as file:
        dialogues = (dialogue for chunk in chunks(folder, fold) for dialogue in read(chunk))
        for dialogue in tqdm(dialogues, desc=f'{fold} examples', unit=''):
            turn = dialogue.turns[0]
            line = {
                'persona': dialogue.persona,
                'context': turn.text,
                'response': turn.reply,
                'speaker': dialogue.speaker,
            }
            file.write(json.dumps(line, ensure_ascii=False) + '\n')
    return output
