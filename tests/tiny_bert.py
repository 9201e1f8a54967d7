"""A tiny BERT with random weights and a vocabulary of whole words, of the classes that real encoders have."""

import functools
import re
import tempfile
from pathlib import Path

import torch

from parlai_persona.tasks.sample import grammar

SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']


@functools.cache
def folder() -> str:
    """Return a folder with the encoder, which is written once in a process."""
    import transformers as hf

    path = Path(tempfile.mkdtemp(prefix='tiny-bert-'))
    texts = ['hello']
    for dialogue in grammar.dialogues('train', count=40):
        texts += [*dialogue.persona, *(text for turn in dialogue.turns for text in (turn.text, turn.reply))]
    words = sorted({word for text in texts for word in re.findall(r'\w+|[^\w\s]', text.lower())})
    (path / 'vocab.txt').write_text('\n'.join([*SPECIAL, *words]))
    hf.BertTokenizerFast(str(path / 'vocab.txt')).save_pretrained(path)
    model(len(SPECIAL) + len(words)).save_pretrained(path)
    return str(path)


def model(words: int, seed: int = 0):
    import transformers as hf

    torch.manual_seed(seed)
    return hf.BertModel(
        hf.BertConfig(
            vocab_size=words,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        )
    ).eval()
