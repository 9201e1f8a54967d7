"""`-m persona:paml`: a Transformer that adapts to a person from a few of their dialogues (Madotto et al. 2019)."""

from dataclasses import dataclass

from parlai.agents.transformer.transformer import TransformerGeneratorAgent
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from parlai_persona.agents.paml.model import PointerGenerator
from parlai_persona.agents.paml.persona_tasks import PersonaTasks
from parlai_persona.flags import add_flags, flag, from_opt


@dataclass(frozen=True)
class Output:
    pointer: bool = flag(False, "mix copying from the context into the output, as the authors' code does (p_gen)")


class PointerAgent(TransformerGeneratorAgent):
    """ParlAI's Transformer, with a pointer if `--paml-pointer` asks for it."""

    def build_model(self):
        if not from_opt(Output, self.opt, PersonaTasks.PREFIX).pointer:
            return super().build_model()
        model = PointerGenerator.build(self.opt, self.dict)
        if self.opt['embedding_type'] != 'random':
            self._copy_embeddings(model.embeddings.weight, self.opt['embedding_type'])
        return model


class PamlAgent(PersonaTasks, PointerAgent):
    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Persona-agnostic meta-learning: output'), cls.PREFIX, Output)
        parser.set_defaults(optimizer='adam', learningrate=3e-4, gradient_clip=2.0)  # beta of sec. 3; clip of the code
        return parser
