"""The model card: a README in the form of Hugging Face's hub."""

from typing import Any

import yaml

from parlai_persona.zoo.registry import About

JUDGES = {
    'persona:entailment': '--persona-nli',
    'transformer/classifier': '--persona-nli',
    'transformers': '--persona-nli',
    'persona:p2bot/receiver': '--persona-receiver',
}


PERSONA = '--persona "i own two cats.|i work as a nurse."'
# How to chat with agents that read no persona; the others are given one.
CHATS = {'persona:meta_memnn': '', 'persona:paml': '--person mine.txt'}


def usage(agent: str, model: str) -> str:
    """Return a command that uses a model: a chat, or an evaluation for which a judge is asked."""
    if agent in JUDGES:
        return f'parlai eval_model -t persona:sample -dt valid -m repeat_label {JUDGES[agent]} {model}'
    options = next((own for name, own in CHATS.items() if agent.startswith(name)), PERSONA)
    return f'parlai interactive -mf {model} {options}'.rstrip()


def card(name: str, about: About, load: str) -> str:
    """Return the card of a model; `load` says how it is loaded."""
    lines = [
        '---',
        yaml.safe_dump(front_matter(name, about), sort_keys=False, allow_unicode=True, width=120).rstrip(),
        '---',
        '',
        f'# {name}',
        '',
        about.title,
        '',
        'A model of [ParlAI](https://parl.ai) 1.7.2 with the plugin parlai-persona:',
        '',
        *code(load),
        '',
        *table(about),
    ]
    if about.command:
        lines += ['', 'Trained by', '', *code(about.command)]
    if about.value is not None:
        lines += [
            '',
            f'`{about.metric}` is {about.value:.4g} (± {about.tolerance:g}), measured with these weights by',
            '',
        ]
        lines += code(about.evaluate)
    return '\n'.join(lines) + '\n'


def code(text: str) -> list[str]:
    return ['```', text, '```']


def front_matter(name: str, about: About) -> dict[str, Any]:
    """Return the entries that the hub reads."""
    entries: dict[str, Any] = {
        'license': about.license,
        'language': ['en'],
        'library_name': 'parlai',
        'tags': ['parlai', 'parlai-persona', 'dialogue', about.agent],
    }
    if about.base:
        entries['base_model'] = about.base.partition('@')[0]
    if about.value is not None:
        words = about.evaluate.split()
        task, split = (words[words.index(option) + 1] for option in ('-t', '-dt'))
        result = {
            'task': {'type': 'text-generation'},
            'dataset': {'name': task, 'type': task, 'split': split},
            'metrics': [{'type': about.metric, 'value': about.value}],
        }
        entries['model-index'] = [{'name': name, 'results': [result]}]
    return entries


def table(about: About) -> list[str]:
    """Return what is known of the model, as rows."""
    rows = {
        'agent': f'`{about.agent}`',
        'base model': about.base,
        'weights of the base': f'those of the package {about.package}; others are refused' * bool(about.package),
        'data': about.data,
        'licence': about.license,
        'attribution': '; '.join(about.attribution),
        'cost': about.cost,
        'seed': about.seed,
        'commit': about.commit,
    }
    return ['| | |', '|---|---|', *(f'| {name} | {value} |' for name, value in rows.items() if value not in (None, ''))]
