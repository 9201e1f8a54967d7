"""`parlai persona_weights`: shows which related examples a `persona:meta_memnn` learns from, and how that changed.

Every `parlai` command imports this module, so it imports the rest only when it runs.
"""

from parlai.core.params import ParlaiParser
from parlai.core.script import ParlaiScript, register_script


@register_script('persona_weights')
class PersonaWeights(ParlaiScript):
    """Write the related examples of a checkpoint with their weights (JSONL), and histograms over training (PNG)."""

    @classmethod
    def setup_args(cls) -> ParlaiParser:
        parser = ParlaiParser(True, True, 'Write the learned weights of related examples')
        group = parser.add_argument_group('Weights')
        group.add_argument(
            '--weights-output', default=None, metavar='FILE', help='JSONL: one related example with its weight a line'
        )
        group.add_argument(
            '--weights-plot', default=None, metavar='FILE', help='PNG: histograms of the weights over training'
        )
        return parser

    def run(self) -> str:
        """Write the files; return a sentence that says what was written."""
        from parlai_persona.agents.meta_memnn.weights import write

        opt = self.opt
        if not opt.get('weights_output') and not opt.get('weights_plot'):
            raise SystemExit('persona_weights: nothing to write: name --weights-output FILE or --weights-plot FILE')
        try:
            said = write(opt, opt.get('weights_output'), opt.get('weights_plot'))
        except ValueError as error:
            raise SystemExit(f'persona_weights: {error}') from None
        print(said)
        return said
