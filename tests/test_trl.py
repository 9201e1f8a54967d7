"""The rewards of P²Bot in TRL's trainer: the example of agents/p2bot/README.md runs."""

import json
import math
import re
from pathlib import Path

import pytest
import tiny_bert
import tiny_lm
import tiny_p2bot
import torch
from test_readme import shortened

PAGE = Path(__file__).parents[1] / 'agents/p2bot/README.md'
CHATML = (
    "{% for one in messages %}{{ '<|im_start|>' + one['role'] + '\n' + one['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
REWARDS = ('language_style', 'coherence', 'perception', 'consistency')


def chat_model(folder: Path) -> str:
    """Write the tiny language model with a chat template."""
    tokenizer = tiny_lm.tokenizer()
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    tiny_lm.model().save_pretrained(folder)
    return str(folder)


def classifier(folder: Path) -> str:
    """Write a tiny entailment classifier."""
    import transformers as hf

    hf.AutoTokenizer.from_pretrained(tiny_bert.folder()).save_pretrained(folder)
    names = dict(enumerate(('contradiction', 'entailment', 'neutral')))
    kinds = {'id2label': names, 'label2id': {name: number for number, name in names.items()}}
    torch.manual_seed(0)
    hf.BertForSequenceClassification(hf.BertConfig.from_pretrained(tiny_bert.folder(), **kinds)).save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_grpo_takes_the_rewards(shell, tmp_path):
    pytest.importorskip('trl', reason="TRL's trainers are not part of this package: pip install trl")
    found = re.search(r'```python\n(from datasets .*?)```', PAGE.read_text(), re.S)
    assert found, f'{PAGE} has no example for TRL'
    tiny = {
        'HuggingFaceTB/SmolLM2-135M-Instruct': chat_model(tmp_path / 'chat'),
        'zoo:persona/nli': classifier(tmp_path / 'nli'),
        'zoo:persona/p2bot_receiver': tiny_p2bot.receiver(tmp_path / 'receiver/model'),
        'zoo:persona/p2bot': tiny_p2bot.transmitter(tmp_path / 's/model'),
    }
    program = found[1]
    for name, path in tiny.items():
        program = shortened(program, repr(name), repr(path))
    shell(f"python - <<'END'\n{program}\nEND\n")
    steps = json.loads((tmp_path / 'runs/grpo/checkpoint-3/trainer_state.json').read_text())['log_history']
    assert len(steps) == 3
    for step in steps:
        values = [step[f'rewards/{name}/mean'] for name in REWARDS]
        assert all(map(math.isfinite, values)) and values[0] < 0 > values[1] and -2 <= values[3] <= 2
        weighted = sum(weight * value for weight, value in zip((0.4, 0.1, 0.5, 0.5), values, strict=True))
        assert step['reward'] == pytest.approx(weighted, abs=1e-4)
