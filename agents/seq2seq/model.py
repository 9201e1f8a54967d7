"""A sequence-to-sequence network with attention (Vinyals and Le 2015; Bahdanau et al. 2015). It knows no persona.

It is the backbone that GPMN, PostKS and PEDNet have in common. Shapes: B examples; T words of a text; L layers; d size
of a state.
"""

from torch import Tensor

from parlai_persona.models.recurrent import Encoded, Reader, RecurrentGenerator, Sizes, one_text


class Seq2Seq(RecurrentGenerator):
    def __init__(self, sizes: Sizes, words: int, start: int, end: int, pad: int):
        super().__init__(sizes, words, start, end, pad, [sizes.attention], [sizes.hidden])
        self.reader = Reader(sizes)

    def encoder(self, context: Tensor) -> Encoded:  # (B, T)
        u, h, is_word = self.read(self.reader, context)  # (L, B, d), (B, T, d), (B, T)
        return Encoded(u, (self.attend[0].memory(*one_text(h, is_word)),))
