"""Defects of ParlAI's Hugging Face agents on transformers 5."""

import functools
from typing import Any

from parlai_persona.compat.hooks import fails, fixes


@fixes('parlai.agents.hugging_face.gpt2')
def gpt2_reorders_its_cache(module: Any) -> bool:
    """`hugging_face/gpt2` and `dialogpt` cannot generate: they expect the model's cache to be tuples of two tensors.

    The cause: models return a `Cache` since transformers 5. Detected by reordering one. Now the cache reorders itself.
    """
    import torch
    from transformers import DynamicCache

    reorder = module.HFGPT2Model.reorder_decoder_incremental_state
    cache = DynamicCache()
    cache.update(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), 0)  # keys and values of layer 0
    if not fails(lambda: reorder(None, cache, torch.tensor([0])), AssertionError, TypeError):
        return False

    @functools.wraps(reorder)
    def reorder_cache(self, incremental_state, inds):
        if not hasattr(incremental_state, 'reorder_cache'):
            return reorder(self, incremental_state, inds)
        incremental_state.reorder_cache(inds)
        return incremental_state

    module.HFGPT2Model.reorder_decoder_incremental_state = reorder_cache
    return True


@fixes('parlai.agents.hugging_face.gpt2')
def gpt2_in_single_precision(module: Any) -> bool:
    """A GPT-2 that was stored in half precision is trained in half precision, and its loss is soon NaN.

    The cause: transformers 5 keeps the precision of the file. Before, a model was always loaded in single precision,
    and `--fp16` starts from that. Detected by the parameters of the loaded model. They become single precision again.
    """
    init = module.GPT2Decoder.__init__

    @functools.wraps(init)
    def then_float(self, opt, dictionary):
        init(self, opt, dictionary)
        self.float()  # changes nothing on a model in single precision

    module.GPT2Decoder.__init__ = then_float
    return True


@fixes('parlai.agents.hugging_face.gpt2')
def gpt2_ranks_candidates(module: Any) -> bool:
    """`--rank-candidates True` (hits@k) fails with `hugging_face/gpt2`: it indexes a tensor with a list.

    ParlAI 1.7.2 does this on every stack. Detected by doing the same. The list becomes a tensor, as in ParlAI's other
    generators.
    """
    import torch

    reorder = module.HFGPT2Model.reorder_encoder_states
    if not fails(lambda: reorder(None, torch.zeros(1, 1), [0]), TypeError):
        return False

    @functools.wraps(reorder)
    def reorder_by_tensor(self, encoder_states, indices):
        return reorder(self, encoder_states, torch.as_tensor(indices, device=encoder_states.device))

    module.HFGPT2Model.reorder_encoder_states = reorder_by_tensor
    return True
