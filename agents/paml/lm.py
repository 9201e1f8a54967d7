"""`-m persona:paml/lm`: a causal language model, meta-learned; its adapters adapt to a person."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from torch.nn.attention import SDPBackend, sdpa_kernel

from parlai_persona import fields
from parlai_persona.agents.paml.meta import Nll
from parlai_persona.agents.paml.people import Task, Turns
from parlai_persona.agents.paml.persona_tasks import PersonaTasks
from parlai_persona.errors import UserError
from parlai_persona.models.lm_agent import LanguageModelAgent
from parlai_persona.models.precision import autocast
from parlai_persona.models.tokenizer import TokenizerDictionary
from parlai_persona.models.tree import rows_of


class LmAgent(PersonaTasks, LanguageModelAgent):
    """A loss reads each dialogue of a person once. The model is not shown a persona, unless asked to."""

    NEEDS_TRAINING = False
    MERGES = False  # a conversation adapts, too

    def __init__(self, opt: Opt, shared=None):
        if opt.get('lm_checkpointing'):
            raise UserError(
                '--lm-checkpointing true: the backward pass would read the weights from before adapting. Leave it out; '
                'for less memory, give --batchsize 1 or --paml-order first'
            )
        super().__init__(opt, shared)

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        parser.set_defaults(lm_persona=False)
        return parser

    @staticmethod
    def dictionary_class():
        return TokenizerDictionary

    def shown_in(self, dialogue: dict[str, Any]) -> list[str] | None:
        return dialogue[fields.PERSONA] if self.options.persona else None

    def batches(self, turns: Turns) -> list[Turns]:
        return [turns]

    def nll(self, batch: Batch) -> Nll:
        with autocast(self.net, self.amp), self.differentiable():
            tree = self.tree(rows_of(map(self.with_others, batch.turns)))
            words = self.net.log_likelihoods(tree, self.net.states(tree), self.NULL_IDX)
        return Nll(-words.sum(), int(tree.targets.ne(self.NULL_IDX).sum()))

    def differentiable(self) -> AbstractContextManager:
        """Let attention be differentiated twice, if it has to be; torch's faster ways cannot."""
        return sdpa_kernel(SDPBackend.MATH) if self.inner.order == 'second' else nullcontext()

    def become(self, task: Task) -> str:
        said = super().become(task)
        self.version[0] = object()  # what was read as someone else counts no more
        return said
