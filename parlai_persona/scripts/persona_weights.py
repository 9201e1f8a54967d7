"""`parlai persona_weights`: shows which related examples a `persona:meta_memnn` learns from, and how that changed.

Every `parlai` command imports this module, so it imports the rest only when it runs.
"""

from dataclasses import dataclass

from parlai.core.params import ParlaiParser
from parlai.core.script import ParlaiScript, register_script

from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, flag, from_opt


@dataclass(frozen=True)
class WeightFiles:
    output: str | None = flag(None, 'JSONL: one related example with its weight a line', metavar='FILE')
    plot: str | None = flag(None, 'PNG: histograms of the weights over training', metavar='FILE')


@register_script('persona_weights')
class PersonaWeights(ParlaiScript):
    """Write the related examples of a checkpoint with their weights (JSONL), and histograms over training (PNG)."""

    @classmethod
    def setup_args(cls) -> ParlaiParser:
        parser = ParlaiParser(True, True, 'Write the learned weights of related examples')
        add_flags(parser.add_argument_group('Weights'), 'weights', WeightFiles)
        return parser

    def run(self) -> str:
        """Write the files; return a sentence that says what was written."""
        from parlai_persona.agents.meta_memnn.weights import write

        files = from_opt(WeightFiles, self.opt, 'weights')
        if not files.output and not files.plot:
            raise UserError('nothing to write: name --weights-output FILE or --weights-plot FILE')
        said = write(self.opt, files.output, files.plot)
        print(said)
        return said
