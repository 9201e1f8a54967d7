"""A tiny language model with random weights and a tokenizer of its own, of the classes that real ones have."""

import functools
import tempfile
from pathlib import Path

import torch

from parlai_persona.tasks.sample import grammar

MARKS = ['<|im_start|>', '<|im_end|>', '<|endoftext|>']


@functools.cache
def folder(kind: str = 'llama') -> str:
    """Return a folder with the model, which is written once in a process."""
    path = Path(tempfile.mkdtemp(prefix='tiny-lm-'))
    tokenizer().save_pretrained(path)
    model(kind).save_pretrained(path)
    return str(path)


def tokenizer():
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    texts = ['My persona: Them: Me:'] * 9
    for dialogue in grammar.dialogues('train', count=40):
        texts += [f' {text}' for turn in dialogue.turns for text in (turn.text, turn.reply)]
        texts += [f' {sentence}' for sentence in dialogue.persona]
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(texts, vocab_size=600, min_frequency=2, special_tokens=MARKS, show_progress=False)
    bos, eos, unk = MARKS
    return PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer, bos_token=bos, eos_token=eos, pad_token=eos, unk_token=unk
    )


def model(kind: str = 'llama'):
    import transformers as hf

    torch.manual_seed(0)
    size = {'vocab_size': len(tokenizer()), 'bos_token_id': 0, 'eos_token_id': 1, 'pad_token_id': 1}
    if kind == 'gpt2':
        return hf.GPT2LMHeadModel(hf.GPT2Config(**size, n_embd=16, n_layer=2, n_head=2, n_positions=1024)).eval()
    size |= {'hidden_size': 48 if kind == 'wide' else 16, 'intermediate_size': 32, 'num_hidden_layers': 2}
    size |= {'num_attention_heads': 4, 'num_key_value_heads': 2, 'max_position_embeddings': 8192}
    if kind == 'window':
        return hf.MistralForCausalLM(hf.MistralConfig(**size, sliding_window=300)).eval()
    return hf.LlamaForCausalLM(hf.LlamaConfig(**size, tie_word_embeddings=True)).eval()
