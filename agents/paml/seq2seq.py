"""`-m persona:paml/seq2seq`: ParlAI's recurrent generator, meta-learned."""

from parlai.agents.seq2seq.seq2seq import Seq2seqAgent as ParlaiSeq2seqAgent

from parlai_persona.agents.paml.persona_tasks import PersonaTasks


class Seq2seqAgent(PersonaTasks, ParlaiSeq2seqAgent):
    pass
