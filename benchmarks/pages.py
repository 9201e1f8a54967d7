"""The tables of RESULTS.md and of the pages under results/. `benchmarks/common/tables.py` says what the fields mean."""

import re
from typing import Any

from benchmarks.common.tables import Table
from benchmarks.pednet.figure2 import AS_TIED
from benchmarks.suite import table as compared


def flags(**names: str) -> str:
    """Return a pattern for a command that makes a column of each flag's last value: `flags(k='--few-shot-shots')`."""
    return '(?s)' + ''.join(rf'(?:(?=.* {flag} (?P<{name}>\S+)))?' for name, flag in names.items()) + '.*'


# ---------------------------------------------------------------------------------------------------- columns

FEW_SHOT = {
    'task': 'persona:few_shot',
    'method': r'(?P<method>.*?)(, no prior)?(, α = [\d.]+)?(, k = \d+)?',
    'command': flags(
        k='--few-shot-shots',
        α='--paml-inner-lr',
        steps='--paml-eval-steps',
        batch='--paml-inner-batch',
        prior='--paml-prior',
    ),
}
SECOND_HALF = {'split': '.*, second half'}  # the first half has chosen the rates
OLDER = {'split': 'valid, first dialogue of each person'}  # all people; C by an older classifier
ADAPTATION = ('method', 'k', 'α', 'steps', 'batch', 'prior')
GRADIENTS = {
    'data': r'(?P<people>\d+) people, (?P<dialogues>\d+) dialogues to adapt to, '
    r'alpha (?P<α>\S+), (?P<steps>\d+) steps'
}
BABI = {
    'method': r'meta_memnn (?P<mode>\w+)( \((?P<variant>.*)\))?',
    'data': r'(?P<dialogues>[\d,]+) dialogues',
    'split': 'test',
}
DIGITS = {
    'method': r'meta_memnn mnist (?P<mode>\w+)( \(iterations (?P<iterations>\S+), alpha (?P<α>\S+), '
    r'gamma (?P<γ>\S+), beta (?P<β>\S+), images (?P<images>\w+)\))?'
}
VALIDATED = {'split': 'valid(, (?P<part>.*))?'}
SIZES: dict[str, Any] = {'across': 'dialogues', 'heading': '{} dialogues'}
STEPS = ('split', 'people', 'dialogues', 'α', 'steps')
MODE, RATES = ('mode', 'variant'), ('mode', 'iterations', 'α', 'γ', 'β', 'images')
COMPARISON = ('data', 'method', 'metric')
UNTRAINED = (
    'chance',
    *(f'fewest words shared with the {known}' for known in ('history', 'persona', 'persona and history')),
)
CLASSIFIERS = (*UNTRAINED, 'parlai', 'minilm, all weights', 'minilm')
NO_CASES = {'data': 'no training|.* pairs without utterances of the cases'}
SOME_CASES = {'data': r'[\d,]+ pairs|Dialogue NLI evaluation cases'}

# ------------------------------------------------------------------------------------------ RESULTS.md, by name

RANKED = ('hits@1', 'hits@10', 'mrr')
FULL_STEPS = 'Dialogue+Fine-tuning, full steps'
MODES = ('primary', 'pretrain', 'joint', 'multitask', 'random_fixed', 'random_changing', 'learned')
OTHER_RATES = ' (iterations 6000, alpha 5e-05, gamma 0.01, beta 4e-06, images centred)'
PERCEIVED = {'split': 'valid, first half, (?P<personas>original|revised)(, all sentences)?'}
FORESEEN = {'method': 'sentence .*'}
NOT_FORESEEN = {'method': '(?!sentence ).*'}
CHECKPOINT = {'task': 'persona:congeneric', 'split': 'valid(, .*, (?P<checkpoint>best epoch of each metric))?'}
PEDNETS = (
    *('PEDNet (K = 15)', f'Seq2Seq{AS_TIED}', 'GPMN', f'PostKS{AS_TIED}', f'PEDNet, γ = .0{AS_TIED}'),
    *(f'PEDNet (K = {k}){AS_TIED}' for k in (1, 5, 10, 15, 20)),
)
RECEIVERS = (
    *('Random', 'IR (ir_baseline)', 'MiniLM as it is'),
    *('Receiver, margin loss (the paper)', 'Receiver, our best'),
)
TRANSMITTERS = ('S', 'S, no persona', 'S, no next-utterance prediction', 'S, new tokens')
REWARDS = ('RS1', 'RS1 + RS2', 'RS1 + RS2 + RS3 (P²Bot)')
OTHER_MEETINGS = (
    'P²Bot, leave-one-out, NLI reward, KL 30, rate 0.0001',
    *(f'P²Bot, {count} meetings, one at a time' for count in (25, 100)),
)
SUMMARY = {
    'paml': Table(
        'paml',
        ADAPTATION,
        FEW_SHOT | SECOND_HALF,
        (*('Dialogue', 'Dialogue+Fine-tuning', FULL_STEPS, f'{FULL_STEPS}, α = 0.45'), *('PAML', 'PAML, α = 0.45')),
        ('ppl_fold', 'bleu_fold', 'consistency_fold'),
    ),
    'p2bot': Table(
        'p2bot',
        where={'split': r'valid, first 512 of 7,801 examples, (?P<personas>original|revised)'},
        methods=('SmolLM2, zero-shot', *TRANSMITTERS, 'LMEDR', 'Human'),
        metrics=('hits@1', 'ppl_word', 'f1', 'consistency'),
        across='personas',
        paper=False,  # the published C of people is by another judge
    ),
    'self_play': Table(
        'p2bot',
        where={'split': r'valid, first 256 of 7,801 examples, (?P<personas>original|revised)'},
        methods=('S, with perception', 'S, best of eight', *(f'S + {one}' for one in REWARDS), *OTHER_MEETINGS),
        metrics=('f1', 'ppl_word', 'persona_perception_score', 'gen_n_toks'),
        across='personas',
    ),
    'p2bot_receiver': Table(
        'p2bot_receiver', where=PERCEIVED, methods=RECEIVERS, metrics=('hits@1', 'mrr_sentences'), across='personas'
    ),
    'pednet': Table(
        'pednet',
        where=CHECKPOINT,
        methods=PEDNETS,
        metrics=('persona_f1', 'persona_cover_train', 'distinct_raw_2', 'ppl_word', 'choice_acc'),
        across='checkpoint',
        heading='best epoch',
    ),
    'memnet_personachat': Table(
        'memnet',
        where={'task': 'persona:personachat'},
        methods=(
            *('biencoder', 'memnet transformer, no persona', 'memnet transformer'),
            *('memnet trained on Reddit', 'memnet trained on Reddit, then Persona-Chat'),
            *('TF-IDF of memnet, no persona', 'TF-IDF of memnet', 'memnet transformer + TF-IDF'),
            *('MiniLM as it is', 'memnet MiniLM, no persona', 'memnet MiniLM'),
            *('memnet MiniLM + TF-IDF, no persona', 'memnet MiniLM + TF-IDF'),
        ),
        metrics=RANKED,
    ),
    'meta_memnn': Table(
        'meta_memnn',
        MODE,
        BABI,
        (
            *(f'meta_memnn {mode}' for mode in MODES[:2]),
            'meta_memnn pretrain (10,000 iterations)',
            *('meta_memnn joint', 'meta_memnn joint (2,000 iterations)'),
            *(f'meta_memnn {mode}' for mode in MODES[3:]),
        ),
        ('accuracy',),
        **SIZES,
    ),
    'mnist': Table(
        'meta_memnn_mnist',
        RATES,
        DIGITS,
        (
            *(f'meta_memnn mnist {mode}' for mode in ('ones', 'random_fixed', 'random_changing', 'learned')),
            f'meta_memnn mnist learned{OTHER_RATES}',
            'meta_memnn mnist oracle',
        ),
        ('accuracy', 'weight_right', 'weight_wrong'),
    ),
}

# ------------------------------------------------------------- results/<page>.md: its title, CSV files and tables

BABI_TABLES = {
    'Accuracy, test split': ('test', 'accuracy'),
    'Share of dialogues without a mistake, test split': ('test', 'dialogue_accuracy'),
    'Accuracy, valid split (chooses the checkpoint)': ('valid', 'accuracy'),
}

NAMES = tuple(arm.name for arm in compared.ARMS.values())
COMPARED = {
    'valid': (
        f'Replies to the first {compared.EXAMPLES} examples; retrievers choose among 20',
        (*compared.RANKED, *compared.SAID),
    ),
    'reply': ('The same, where retrievers choose among all replies of the train split', compared.SAID),
    'self_chat': ('Self-chats as the people of 20 dialogues, and people there', compared.CHAT),
    'train': ('Seconds of training', ('train_seconds',)),
}


def page(title: str, *tables: Table) -> tuple[str, tuple[Table, ...]]:
    return title, tables


PAGES = {
    'baselines': page(
        "ParlAI's own agents on Persona-Chat",
        Table('baselines', ('method', 'part'), VALIDATED, title='2,072 training dialogues, valid split'),
    ),
    'congeneric': page(
        'persona:congeneric beside the released valid files of PEDNet',
        Table('pednet_released', ('method', 'metric'), NOT_FORESEEN, title='Specific words and labels, 7,800 examples'),
        Table(
            'pednet_released', where=FORESEEN, title='How often the sentence nearest to the context is the labelled one'
        ),
    ),
    'pednet': page(
        'PEDNet and its baselines',
        Table('pednet', ('method', 'checkpoint'), CHECKPOINT, title='Persona-Chat, valid split'),
        Table(
            'pednet_use',
            ('method', 'sentence'),
            {'split': 'valid, first .* examples, (?P<sentence>.*)'},
            title='What the decoder draws on: 2,048 examples with another sentence than the chosen one',
        ),
        Table('pednet_grammar', title='Generated dialogues (persona:sample): the message says which sentence answers'),
    ),
    'memnet': page(
        'persona:memnet',
        Table('memnet', where={'task': 'persona:personachat'}, title='Persona-Chat, valid split'),
        Table('memnet', where={'task': 'persona:reddit'}, title='Reddit, test split'),
        Table('memnet', where={'task': 'persona:sample'}, title='The embedded sample, valid split'),
    ),
    'meta_memnn': page(
        'persona:meta_memnn on personalised bAbI',
        *(
            Table('meta_memnn', MODE, BABI | {'split': split}, metrics=(metric,), **SIZES, title=title)
            for title, (split, metric) in BABI_TABLES.items()
        ),
    ),
    'meta_memnn_mnist': page(
        'Digits with wrong labels', Table('meta_memnn_mnist', RATES, DIGITS, title='MNIST, test split')
    ),
    'nli': page(
        'Classifiers of entailment, the judges of consistency',
        Table('nli', ('method', 'data'), NO_CASES, CLASSIFIERS, across='split', title='Dialogue NLI'),
        Table(
            'nli',
            ('method', 'data', 'split'),
            SOME_CASES,
            title='Earlier classifiers, whose pairs had some utterances of the cases with other punctuation',
        ),
    ),
    'p2bot': page('persona:p2bot', Table('p2bot', ('method', 'split'), title='Replies on ConvAI2')),
    'p2bot_receiver': page(
        'persona:p2bot/receiver',
        Table(
            'p2bot_receiver',
            ('method', 'personas'),
            PERCEIVED,
            RECEIVERS,
            title='Whose utterances are these, of 32 personas?',
        ),
    ),
    'paml': page(
        'persona:paml',
        Table(
            'paml',
            ('method', 'metric'),
            FEW_SHOT | SECOND_HALF,
            tuple(f'{name}{k}' for name in (FULL_STEPS, 'PAML') for k in (*(f', k = {k}' for k in (0, 1, 3, 5)), '')),
            ('consistency_fold', 'ppl_fold'),
            across='k',
            heading='k = {}',
            paper=False,
            title='Figure 2: how C grows with k, and what it does to perplexity',
        ),
        Table(
            'paml', ADAPTATION, FEW_SHOT | SECOND_HALF, title='Second half of the people, after adapting to k dialogues'
        ),
        Table(
            'paml',
            ADAPTATION,
            FEW_SHOT | {'split': '.*, first half'},
            title='First half of the people: the rates that were tried, after adapting to five dialogues',
        ),
        Table(
            'paml',
            ADAPTATION,
            FEW_SHOT | OLDER,
            title='Older rows: all people (the rates were chosen on them too); C by an older classifier',
        ),
        Table('paml', ('method', 'split'), {'method': 'Human'}, title='Replies of people'),
        Table(
            'paml_lm',
            ('method', 'people', 'k', 'α', 'steps'),
            FEW_SHOT | {'split': r'.* of (?P<people>\d+) people, second half'},
            title='`persona:paml/lm` on SmolLM2, other people',
        ),
        Table(
            'paml_lm',
            ADAPTATION[:3],
            FEW_SHOT | {'split': '.*, first half'},
            title='`persona:paml/lm`: the rates that were tried, on five people',
        ),
        Table('paml_gradients', STEPS, GRADIENTS, title='Meta-gradient and gradient of multi-task training'),
    ),
    'reddit': page(
        'The Reddit pipeline',
        Table('reddit_pipeline', ('method', 'data'), title='Costs'),
        Table('reddit_verbs', ('data', 'metric'), title='Does a sentence have a verb? Lexicon against tagger'),
    ),
    'robustness': page(
        'What was tried to break it',
        Table('robustness', ('task', 'data', 'method'), metrics=('tried', 'lost'), title='Tried, and lost'),
    ),
    'speed': page(
        'Speed of the agents',
        Table('memnet_speed', COMPARISON, title='persona:memnet'),
        Table('meta_memnn_speed', ('task', *COMPARISON), title='persona:meta_memnn'),
        Table('paml_speed', COMPARISON, title='persona:paml'),
        Table('p2bot_speed', COMPARISON, title='persona:p2bot, on SmolLM2-135M and MiniLM'),
        Table('pednet_speed', COMPARISON, title="persona:pednet, at the paper's sizes"),
        Table('pednet_preparation', COMPARISON, title='persona:congeneric, preparation'),
    ),
    'startup': page(
        'What the plugin adds to the start of a command',
        Table('startup', ('metric',), across='method', heading='`{}`', title='Interleaved runs, seconds'),
    ),
    'table': page(
        'All agents on the same examples',
        *(
            Table(
                'table',
                ('method',),
                {'split': re.escape(compared.SPLITS[name])},
                NAMES,
                metrics,
                paper=False,
                title=title,
            )
            for name, (title, metrics) in COMPARED.items()
        ),
    ),
    'first_answer': page(
        'Until the first answer of a model of the zoo',
        Table('first_answer', title='Seconds from an empty folder: in the terminal, and in the browser'),
    ),
    'web_load': page(
        'How long visitors of the browser chat wait for an answer',
        Table('web_load', ('method',), title='Seconds, median and 95 %; number of answers, and how many were wrong'),
    ),
}
